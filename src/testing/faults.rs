//! Faults: what a test wants to go wrong, which requests it strikes, and how often.
//!
//! Bounds:   a fault that is spent, and holds nothing back, costs a comparison per request.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::api::Api;
use super::error::ClusterError;
use super::shared::Shared;
use crate::ids::BrokerId;
use crate::protocol::ErrorCode;

/// A fault that is being described. It does nothing before [`once`](Self::once),
/// [`times`](Self::times) or [`always`](Self::always) arms it.
///
/// Which requests: [`topic`](Self::topic), [`partition`](Self::partition),
/// [`broker`](Self::broker), [`client_id`](Self::client_id). What happens to them: an error
/// ([`with`](Self::with)), a late answer ([`delay`](Self::delay), [`hold`](Self::hold)), none
/// ([`lose_answer`](Self::lose_answer), [`lose_request`](Self::lose_request)), a closed connection
/// ([`disconnect`](Self::disconnect)), a quota ([`throttle`](Self::throttle)). An error may also be
/// late; of several ways to treat the answer the last one named counts.
///
/// Faults are asked in the order in which they were armed. An error strikes the partitions that no
/// earlier fault gave one to; of the ways to treat an answer, the first fault's counts. So faults
/// armed one after the other, each [`once`](Self::once), strike one request each.
#[derive(Debug)]
#[must_use = "a fault does nothing before `once`, `times` or `always`"]
pub struct Fault<'a> {
    shared: &'a Arc<Shared>,
    rule: Rule,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delay(Duration),
    /// Waits for the fault to be released.
    Hold,
    /// The request is carried out, the answer is not sent.
    LoseAnswer,
    /// The request is not even carried out.
    LoseRequest,
    Disconnect,
}

#[derive(Clone, Debug)]
struct Rule {
    api: Api,
    topic: Option<String>,
    partition: Option<i32>,
    broker: Option<BrokerId>,
    client_id: Option<String>,
    code: Option<ErrorCode>,
    after_append: bool,
    fate: Option<Fate>,
    throttle: Duration,
}

impl<'a> Fault<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, api: Api) -> Self {
        let rule = Rule {
            api,
            topic: None,
            partition: None,
            broker: None,
            client_id: None,
            code: None,
            after_append: false,
            fate: None,
            throttle: Duration::ZERO,
        };
        Self { shared, rule }
    }

    /// Only requests that name this topic; an error strikes this topic only.
    pub fn topic(mut self, topic: &str) -> Self {
        self.rule.topic = Some(topic.to_owned());
        self
    }

    /// Only requests that name this partition; an error strikes this partition only. A metadata
    /// request names all partitions of its topics.
    pub fn partition(mut self, topic: &str, partition: i32) -> Self {
        self.rule.partition = Some(partition);
        self.topic(topic)
    }

    /// Only requests to this broker.
    pub fn broker(mut self, broker: BrokerId) -> Self {
        self.rule.broker = Some(broker);
        self
    }

    /// Only requests of this client.
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.rule.client_id = Some(client_id.to_owned());
        self
    }

    /// The answer is this error: for the partitions (Produce, Fetch, ListOffsets), for the topics
    /// or the partition (Metadata) or for the request. Nothing is carried out where it strikes.
    pub fn with(mut self, code: ErrorCode) -> Self {
        self.rule.code = Some(code);
        self
    }

    /// The request is carried out before the error is answered or the connection closed: the
    /// records are in the log, and the producer does not know.
    pub fn after_append(mut self) -> Self {
        self.rule.after_append = true;
        self
    }

    /// The request is carried out at once; its answer, and those that follow it on the connection,
    /// wait that long.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.rule.fate = Some(Fate::Delay(delay));
        self
    }

    /// The request is carried out at once; its answer, and those that follow it on the connection,
    /// wait for [`Armed::release`].
    pub fn hold(mut self) -> Self {
        self.rule.fate = Some(Fate::Hold);
        self
    }

    /// The request is carried out, and never answered.
    pub fn lose_answer(mut self) -> Self {
        self.rule.fate = Some(Fate::LoseAnswer);
        self
    }

    /// The request is not carried out, and never answered.
    pub fn lose_request(mut self) -> Self {
        self.rule.fate = Some(Fate::LoseRequest);
        self
    }

    /// The connection is closed instead of an answer, once the answers before it are sent. Nothing
    /// is carried out, unless [`after_append`](Self::after_append) says so.
    pub fn disconnect(mut self) -> Self {
        self.rule.fate = Some(Fate::Disconnect);
        self
    }

    /// The answer tells the client to send nothing for that long (`throttle_time_ms`, whole
    /// milliseconds), and is otherwise what it would be.
    pub fn throttle(mut self, time: Duration) -> Self {
        self.rule.throttle = time;
        self
    }

    /// Arms the fault for one request.
    pub fn once(self) -> Armed {
        self.times(1)
    }

    /// Arms the fault for so many requests.
    pub fn times(self, requests: u32) -> Armed {
        self.arm(Some(requests))
    }

    /// Arms the fault until it is [disarmed](Armed::disarm).
    pub fn always(self) -> Armed {
        self.arm(None)
    }

    fn arm(self, left: Option<u32>) -> Armed {
        let Self { shared, rule } = self;
        let place = shared.change(|state| state.faults.add(rule, left));
        Armed { shared: Arc::clone(shared), place }
    }
}

/// A fault in force. Dropping this changes nothing.
#[derive(Clone, Debug)]
pub struct Armed {
    shared: Arc<Shared>,
    place: usize,
}

impl Armed {
    /// How many requests it has struck.
    pub fn hits(&self) -> usize {
        self.shared.look(|state| state.faults.0[self.place].hits)
    }

    /// Strikes no further request. What it holds back stays held.
    pub fn disarm(&self) {
        self.shared.change(|state| state.faults.0[self.place].left = Some(0));
    }

    /// Lets go of every answer that it [holds](Fault::hold) back, now and later.
    pub fn release(&self) {
        self.shared.change(|state| state.faults.0[self.place].is_released = true);
    }

    /// Waits until it has struck so many requests.
    ///
    /// # Errors
    /// `TimedOut` when it has not within `patience`.
    pub fn await_hits(&self, count: usize, patience: Duration) -> Result<(), ClusterError> {
        let what = || "requests struck by the fault".to_owned();
        self.shared.wait(what, count, patience, |state| state.faults.0[self.place].hits)
    }
}

#[derive(Debug)]
struct InForce {
    rule: Rule,
    /// Requests that it may yet strike; None for any number.
    left: Option<u32>,
    hits: usize,
    is_released: bool,
}

#[derive(Debug, Default)]
pub(super) struct Faults(Vec<InForce>);

/// What a request names, as far as faults look at it: a partition, a topic, or the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) topic: Option<&'a str>,
    pub(super) partition: Option<i32>,
}

impl Part<'_> {
    pub(super) const WHOLE: Self = Self { topic: None, partition: None };
}

/// An error that a fault wants answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: ErrorCode,
    pub(super) after_append: bool,
    /// In a metadata answer: of this partition only.
    pub(super) partition: Option<i32>,
}

/// What becomes of one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// One per part.
    pub(super) verdicts: Vec<Option<Verdict>>,
    /// And the fault that wants it.
    pub(super) fate: Option<(Fate, usize)>,
    pub(super) throttle_ms: i32,
    /// Whether a request whose connection will be closed is carried out.
    pub(super) after_append: bool,
}

impl Plan {
    pub(super) fn is_carried_out(&self) -> bool {
        match self.fate {
            Some((Fate::LoseRequest, _)) => false,
            Some((Fate::Disconnect, _)) => self.after_append,
            Some((Fate::Delay(_) | Fate::Hold | Fate::LoseAnswer, _)) | None => true,
        }
    }

    /// The error for the whole of a request that has one part.
    pub(super) fn verdict(&self) -> Option<ErrorCode> {
        self.verdicts.first().copied().flatten().map(|verdict| verdict.code)
    }
}

impl Faults {
    fn add(&mut self, rule: Rule, left: Option<u32>) -> usize {
        self.0.push(InForce { rule, left, hits: 0, is_released: false });
        self.0.len() - 1
    }

    pub(super) fn is_released(&self, place: usize) -> bool {
        self.0[place].is_released
    }

    /// Asks every fault about a request.
    pub(super) fn strike(
        &mut self,
        api: Api,
        broker: BrokerId,
        client_id: Option<&str>,
        parts: &[Part<'_>],
    ) -> Plan {
        let mut plan = Plan { verdicts: vec![None; parts.len()], ..Plan::default() };
        for (place, fault) in self.0.iter_mut().enumerate() {
            let rule = &fault.rule;
            let is_meant = rule.api == api
                && rule.broker.is_none_or(|meant| meant == broker)
                && rule.client_id.as_deref().is_none_or(|meant| Some(meant) == client_id)
                && (rule.topic.is_none() || parts.iter().any(|part| rule.names(part)));
            if fault.left == Some(0) || !is_meant || !rule.apply(place, parts, &mut plan) {
                continue;
            }
            fault.hits += 1;
            fault.left = fault.left.map(|left| left - 1);
        }
        plan
    }
}

impl Rule {
    fn names(&self, part: &Part<'_>) -> bool {
        let topic = self.topic.is_none() || self.topic.as_deref() == part.topic;
        topic
            && (self.partition.is_none()
                || part.partition.is_none_or(|it| Some(it) == self.partition))
    }

    /// False when there is nothing left for it to do.
    fn apply(&self, place: usize, parts: &[Part<'_>], plan: &mut Plan) -> bool {
        if let Some(code) = self.code {
            let free = |verdict: &Option<Verdict>, part| verdict.is_none() && self.names(part);
            let mut struck = false;
            for (verdict, part) in plan.verdicts.iter_mut().zip(parts) {
                if free(verdict, part) {
                    let (after_append, partition) = (self.after_append, self.partition);
                    *verdict = Some(Verdict { code, after_append, partition });
                    struck = true;
                }
            }
            if !struck {
                return false;
            }
        } else if self.fate.is_some() && plan.fate.is_some() {
            return false;
        }
        if let (Some(fate), None) = (self.fate, plan.fate) {
            plan.fate = Some((fate, place));
            plan.after_append = self.after_append;
        }
        let throttle_ms = i32::try_from(self.throttle.as_millis()).unwrap_or(i32::MAX);
        plan.throttle_ms = plan.throttle_ms.max(throttle_ms);
        true
    }
}
