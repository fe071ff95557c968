//! Client telemetry: the producer's metrics, pushed to a cluster that asks for them.
//!
//! Owns:     the client's instance id, its subscription, and when the next request is due.
//! Thread:   that of the shard that writes the metadata: a producer is one client, however many
//!           shards it has. The others' tasks are off.
//! Bounds:   one request at a time, and at the end the last push beside it.
//! Never:    asks a broker that does not have both requests; has a timer where none was met; takes
//!           a connection that something is being written to.
//! Source:   KIP-714, KIP-1076; TEL-1 to TEL-8 of the Java producer.
//!
//! What moves between the stages:
//!
//! ```text
//! Unmet ─a broker has both─► Ask ─answer─► Push ─due─► Measuring ─► Measured ─answer─► Push
//!                             ▲                                        │
//!                             └─ nothing wanted, refused, lost ◄───────┘
//! ```
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::limited;
use super::metadata::Choice;
use super::node::{Link, Node, Request};
use super::timers::{Armed, Timer};
use super::{Action, Sender};
use crate::ids::ClientInstanceId;
use crate::protocol::api::ApiKey;
use crate::protocol::compression::Codec;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::get_telemetry_subscriptions::{self, Subscription, TelemetrySubscriptions};
use crate::protocol::push_telemetry::{self, Push};
use crate::protocol::wire::WireError;

/// Java's interval where nobody has said another one, and after a lost request (TEL-5).
const INTERVAL_DEFAULT: Duration = Duration::from_secs(300);
/// The shortest interval that Kafka lets anyone configure.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// How long a connection that is being written to is left alone before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Metrics, as they go into a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The codec of the bytes.
    pub codec: Codec,
    /// OTLP `MetricsData`, in that codec.
    pub bytes: Vec<u8>,
}

/// Why there is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// The brokers would refuse it.
    #[error("the metrics need {bytes} bytes, and telemetry.max.bytes of the brokers is {limit}")]
    TooLarge {
        /// What they need, compressed.
        bytes: usize,
        /// What the brokers take.
        limit: i32,
    },
    /// The system gives this process no more threads.
    #[error("no thread could be started to measure on")]
    NoThread,
    /// A panic, which is a bug of ours.
    #[error("the measuring panicked")]
    Panicked,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    /// Nothing: switched off, another shard's, refused for good, or over.
    Off,
    /// A question, to the first broker that has the requests.
    Unmet,
    /// The question what is wanted, at that time.
    Ask(Instant),
    /// A push, at that time.
    Push(Instant),
    /// The metrics for it, which are being put together.
    Measuring,
    /// These, with the first connection that is free.
    Measured(Payload),
    /// The answer to either request.
    Answer,
}

/// What becomes of the task after an answer (TEL-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Success,
    /// Ask for the subscription again, at once.
    AskNow,
    /// Ask for it again, after the interval.
    AskLater,
    /// Never ask again.
    Stop,
}

/// See the module head.
#[derive(Debug)]
pub(super) struct TelemetryTask {
    stage: Stage,
    /// The first one given, for life (TEL-1).
    instance: ClientInstanceId,
    /// What is wanted; none where nothing is.
    subscription: Option<Arc<Subscription>>,
    interval: Duration,
    /// Who is asked, for as long as that works (TEL-4).
    node: Option<u32>,
    /// Requests that wait for their answer.
    unanswered: u32,
    /// The next push is the last one (TEL-6).
    ends: bool,
    armed: Armed,
}

impl TelemetryTask {
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            stage: if is_on { Stage::Unmet } else { Stage::Off },
            instance: ClientInstanceId::ZERO,
            subscription: None,
            interval: INTERVAL_DEFAULT,
            node: None,
            unanswered: 0,
            ends: false,
            armed: Armed::default(),
        }
    }

    fn stop(&mut self) {
        self.stage = Stage::Off;
        self.subscription = None;
    }
}

/// A connection for telemetry.
enum Reach {
    /// This node's.
    Now(u32),
    /// One that is up and taken, until then at least.
    Later(Instant),
    /// None is up.
    Not,
}

impl Sender {
    /// A connection is up whose broker has the requests. Its data goes first (TEL-8): the timer
    /// comes after what is ready.
    pub(super) fn telemetry_met(&mut self, now: Instant) {
        let task = &mut self.telemetry;
        match task.stage {
            Stage::Off => return,
            Stage::Unmet => task.stage = Stage::Ask(now),
            _ => {}
        }
        self.timers.arm(&mut task.armed, Timer::Telemetry, now);
    }

    pub(super) fn telemetry_due(&mut self, at: Instant, now: Instant) {
        if self.telemetry.armed.fires(at) {
            self.poll_telemetry(now);
        }
    }

    /// Does what is due, if a connection is free; else sets the timer.
    #[cold]
    pub(super) fn poll_telemetry(&mut self, now: Instant) {
        let due = match self.telemetry.stage {
            Stage::Ask(at) | Stage::Push(at) => at,
            Stage::Measured(_) => now,
            Stage::Off | Stage::Unmet | Stage::Measuring | Stage::Answer => return,
        };
        if self.closing.is_over() {
            return;
        }
        if due > now {
            return self.timers.arm(&mut self.telemetry.armed, Timer::Telemetry, due);
        }
        let Some(index) = self.telemetry_node(now) else { return };
        match std::mem::replace(&mut self.telemetry.stage, Stage::Answer) {
            Stage::Ask(_) => self.ask_subscription(index, now),
            Stage::Measured(payload) => self.push_telemetry(index, &payload, now),
            _ => self.measure(None),
        }
    }

    /// Has the metrics put together; [`handle_measured`](Self::handle_measured) follows.
    fn measure(&mut self, last: Option<Instant>) {
        let task = &mut self.telemetry;
        if let Some(subscription) = task.subscription.clone() {
            task.stage = Stage::Measuring;
            self.actions.push_back(Action::Measure { subscription, last });
        }
    }

    /// The metrics that [`Action::Measure`] asked for.
    pub fn handle_measured(&mut self, measured: Result<Payload, MeasureError>, now: Instant) {
        let task = &mut self.telemetry;
        if !matches!(task.stage, Stage::Measuring) {
            return;
        }
        match measured {
            Ok(payload) => task.stage = Stage::Measured(payload),
            Err(error) => {
                limited!(trouble, self.events, Telemetry, now, %error, "no metrics are pushed");
                if task.ends {
                    return task.stop();
                }
                task.stage = Stage::Push(now + task.interval);
            }
        }
        self.poll_telemetry(now);
    }

    fn ask_subscription(&mut self, index: u32, now: Instant) {
        self.telemetry.unanswered += 1;
        let (api, instance) = (ApiKey::GetTelemetrySubscriptions, self.telemetry.instance);
        self.request(index, api, api.versions().max, now, |out, header| {
            get_telemetry_subscriptions::encode_request(out, header, instance);
            None
        });
    }

    fn push_telemetry(&mut self, index: u32, payload: &Payload, now: Instant) {
        let task = &mut self.telemetry;
        let Some(subscription) = &task.subscription else { return };
        let push = Push {
            instance: task.instance,
            subscription: subscription.id,
            terminating: task.ends,
            codec: payload.codec,
            metrics: &payload.bytes,
        };
        task.unanswered += 1;
        let api = ApiKey::PushTelemetry;
        self.request(index, api, api.versions().max, now, |out, header| {
            push_telemetry::encode_request(out, header, &push);
            None
        });
    }

    pub(super) fn handle_subscription_answer(
        &mut self,
        index: u32,
        request: &Request,
        body: &[u8],
        now: Instant,
    ) -> Result<(), WireError> {
        let answer = get_telemetry_subscriptions::decode_response(request.version, body)?;
        self.telemetry_answered(index, answer.throttle_ms, now);
        if self.telemetry.ends {
            return Ok(());
        }
        match verdict(answer.error) {
            Verdict::Success => self.subscribe(answer, now),
            // At once would be for ever at once, where it is the question that is answered so.
            Verdict::AskNow => {
                self.telemetry.stage = Stage::Ask(now + self.settings.retry_backoff.max);
            }
            Verdict::AskLater => {
                self.telemetry.stage = Stage::Ask(now + self.telemetry.interval);
            }
            Verdict::Stop => self.stop_telemetry(answer.error),
        }
        self.poll_telemetry(now);
        Ok(())
    }

    fn subscribe(&mut self, answer: TelemetrySubscriptions, now: Instant) {
        let task = &mut self.telemetry;
        if task.instance == ClientInstanceId::ZERO && answer.instance != ClientInstanceId::ZERO {
            task.instance = answer.instance;
            self.cluster.set_instance(answer.instance);
        }
        let subscription = answer.subscription;
        task.interval = match u64::try_from(subscription.push_interval_ms) {
            Ok(0) | Err(_) => INTERVAL_DEFAULT,
            Ok(ms) => Duration::from_millis(ms).max(INTERVAL_MIN),
        };
        if subscription.requested.is_empty() {
            // TEL-2.
            task.subscription = None;
            task.stage = Stage::Ask(now + task.interval);
            return;
        }
        task.subscription = Some(Arc::new(subscription));
        // TEL-3: clients that start together do not push together.
        let share = 0.5 + self.random.below(1_000_000) as f64 / 1e6;
        task.stage = Stage::Push(now + task.interval.mul_f64(share));
    }

    pub(super) fn handle_push_answer(
        &mut self,
        index: u32,
        request: &Request,
        body: &[u8],
        now: Instant,
    ) -> Result<(), WireError> {
        let answer = push_telemetry::decode_response(request.version, body)?;
        self.telemetry_answered(index, answer.throttle_ms, now);
        let task = &mut self.telemetry;
        if task.ends {
            return Ok(());
        }
        match verdict(answer.error) {
            Verdict::Success => task.stage = Stage::Push(now + task.interval),
            Verdict::AskNow => task.stage = Stage::Ask(now),
            Verdict::AskLater => task.stage = Stage::Ask(now + task.interval),
            Verdict::Stop => self.stop_telemetry(answer.error),
        }
        self.poll_telemetry(now);
        Ok(())
    }

    fn telemetry_answered(&mut self, index: u32, throttle_ms: i32, now: Instant) {
        self.throttle(index, u64::try_from(throttle_ms).unwrap_or(0), true, now);
        self.telemetry_settled();
    }

    /// A request has its answer, or will have none.
    fn telemetry_settled(&mut self) {
        let task = &mut self.telemetry;
        task.unanswered -= 1;
        if task.ends && task.unanswered == 0 && matches!(task.stage, Stage::Answer) {
            task.stop();
        }
    }

    fn stop_telemetry(&mut self, code: ErrorCode) {
        tracing::warn!(code = code.name(), "the broker refuses telemetry: nothing more is pushed");
        self.telemetry.stop();
    }

    /// The request was lost with its connection.
    pub(super) fn telemetry_failed(&mut self, now: Instant) {
        self.telemetry.node = None;
        self.telemetry_settled();
        if !self.telemetry.ends {
            self.telemetry.stage = Stage::Ask(now + INTERVAL_DEFAULT);
            self.poll_telemetry(now);
        }
    }

    /// No connection could be made to this node.
    pub(super) fn telemetry_unreachable(&mut self, index: u32, now: Instant) {
        let task = &mut self.telemetry;
        if task.node == Some(index) {
            task.node = None;
            // Another one may be up.
            self.timers.arm(&mut task.armed, Timer::Telemetry, now);
        }
    }

    /// TEL-6: the last push, in a close that has nothing else left to send. Whether the close need
    /// not wait for it.
    pub(super) fn is_last_push_over(&mut self, now: Instant) -> bool {
        let task = &mut self.telemetry;
        if task.subscription.is_none() {
            return true;
        }
        let is_measured = match task.stage {
            Stage::Measuring => return false,
            Stage::Answer if task.ends => return false,
            Stage::Measured(_) => true,
            _ => false,
        };
        match self.telemetry_reach(now) {
            // No connection, and no rest of one, is waited for.
            Reach::Not => self.telemetry.stop(),
            Reach::Later(at) if at > now + LOOK_AGAIN => self.telemetry.stop(),
            // What was measured before the close goes first: the last push counts on from there.
            Reach::Now(_) | Reach::Later(_) if is_measured => self.poll_telemetry(now),
            Reach::Now(_) | Reach::Later(_) => {
                self.telemetry.ends = true;
                // The other half is for the push.
                let left = self.closing.deadline().map(|at| at.saturating_duration_since(now));
                self.measure(left.map(|left| now + left / 2));
            }
        }
        self.telemetry.subscription.is_none()
    }

    /// The connection to use. Where there is none the timer is set, one is being made, or the next
    /// one that is up brings us here.
    fn telemetry_node(&mut self, now: Instant) -> Option<u32> {
        match self.telemetry_reach(now) {
            Reach::Now(index) => {
                self.telemetry.node = Some(index);
                return Some(index);
            }
            Reach::Later(at) => {
                self.timers.arm(&mut self.telemetry.armed, Timer::Telemetry, at);
            }
            // A close connects to nobody for this alone.
            Reach::Not if self.closing.is_closing() => {}
            Reach::Not => self.connect_for_telemetry(now),
        }
        None
    }

    /// TEL-4: the broker that was asked last, for as long as it can be.
    fn same_node(&self, now: Instant) -> Option<u32> {
        self.telemetry.node.filter(|index| {
            let node = &self.nodes[*index as usize];
            let works = match node.link {
                Link::Up => true,
                _ if self.closing.is_closing() => false,
                Link::Down => node.can_connect(now),
                Link::Resolving | Link::Connecting(_) | Link::Greeting | Link::Closing => true,
            };
            works && speaks(node)
        })
    }

    /// The same broker's connection; else, of those that are up, the one with the least to answer.
    fn telemetry_reach(&self, now: Instant) -> Reach {
        let candidates = match self.same_node(now) {
            Some(index) => index..index + 1,
            None => 0..self.nodes.len() as u32,
        };
        let mut best: Option<(usize, u32)> = None;
        let mut free_at: Option<Instant> = None;
        for index in candidates {
            let node = &self.nodes[index as usize];
            if node.link != Link::Up || !speaks(node) {
                continue;
            }
            if node.can_send(now) {
                let load = (node.in_flight.len(), index);
                best = Some(best.map_or(load, |best| best.min(load)));
            } else {
                let look = now + LOOK_AGAIN;
                let at = node.throttled_until.map_or(look, |until| until.max(look));
                free_at = Some(free_at.map_or(at, |other| other.min(at)));
            }
        }
        match (best, free_at) {
            (Some((_, index)), _) => Reach::Now(index),
            (None, Some(at)) => Reach::Later(at),
            (None, None) => Reach::Not,
        }
    }

    fn connect_for_telemetry(&mut self, now: Instant) {
        let same = self.same_node(now);
        match same.map(|index| (index, self.nodes[index as usize].link)) {
            Some((index, Link::Down)) => self.connect(index, now),
            Some(_) => {}
            None => {
                if let Choice::Connect(index) = self.choose_node(now) {
                    self.connect(index, now);
                }
            }
        }
    }
}

/// Whether the broker is one of the cluster's and has, or had when it was last connected, the
/// requests.
fn speaks(node: &Node) -> bool {
    node.listed && !node.is_bootstrap() && node.versions.telemetry
}

/// TEL-5, for both requests. What is not named here is final, so no row for each code.
fn verdict(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::None => Verdict::Success,
        ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType => Verdict::AskNow,
        ErrorCode::TelemetryTooLarge | ErrorCode::ThrottlingQuotaExceeded => Verdict::AskLater,
        _ => Verdict::Stop,
    }
}
