//! Produce requests: what becomes of each batch, at once or when the followers have it.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::account::Success;
use super::agenda::{Event, Place};
use super::answers::{self, Verdict};
use super::batch::{self, Head, Stored};
use super::links::Step;
use super::plan::FaultKind;
use super::producers::Check;
use super::replica::Awaited;
use super::requests::{Header, Produce, Sent, TopicRef};
use super::{Cluster, codes};

const MILLISECOND: u64 = 1_000_000;

/// A topic as a request named it, for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Name(Rc<str>),
    Id(u128),
}

/// A batch that is in a log, or was there before.
#[derive(Clone, Debug)]
struct Appended {
    place: Place,
    batch: Rc<Stored>,
    is_duplicate: bool,
    leader_epoch: i32,
}

/// One partition of a request.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) topic: Named,
    pub(super) partition: i32,
    appended: Option<Appended>,
    /// None while followers are waited for.
    pub(super) verdict: Option<Verdict>,
}

/// A produce request that has no answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) connection: u64,
    pub(super) broker: i32,
    pub(super) header: Header,
    pub(super) acks: i16,
    pub(super) parts: Vec<Part>,
    left: usize,
}

/// What becomes of a batch, for the time being.
enum Outcome {
    Said(Verdict),
    Appended(Appended),
    AppendedAndSaid(Appended, Verdict),
}

impl Cluster {
    pub(super) fn produce(
        &mut self,
        connection: u64,
        broker: i32,
        ticket: u64,
        header: Header,
        asked: &Produce<'_>,
    ) -> Step {
        self.look_at(broker, asked);
        let parts = asked.sent.iter().map(|sent| Part {
            topic: self.named(sent.topic),
            partition: sent.partition,
            appended: None,
            verdict: None,
        });
        let (acks, parts) = (asked.acks, parts.collect::<Vec<_>>());
        let left = parts.len();
        self.waiting.insert(ticket, Waiting { connection, broker, header, acks, parts, left });
        let mut touched = Vec::new();
        for (place, sent) in asked.sent.iter().enumerate() {
            let outcome = self.take(broker, acks, sent);
            if let Outcome::Appended(it) | Outcome::AppendedAndSaid(it, _) = &outcome {
                touched.push(it.place);
            }
            self.settle_part(ticket, place, broker, acks, outcome);
        }
        touched.into_iter().for_each(|place| self.advance_high(place, broker));
        let is_done = self.waiting.get(&ticket).is_some_and(|waiting| waiting.left == 0);
        if !is_done {
            let timeout = u64::try_from(asked.timeout_ms).unwrap_or(0) * MILLISECOND;
            self.agenda.add(self.now + timeout, Event::Expire { ticket });
            return Step::Later;
        }
        self.complete.retain(|done| *done != ticket);
        self.answer_produce(ticket)
    }

    /// Looks for what no producer may send, whatever becomes of it.
    fn look_at(&mut self, broker: i32, asked: &Produce<'_>) {
        if asked.transactional_id.is_some() || !(-1..=1).contains(&asked.acks) {
            let acks = asked.acks;
            self.account.violation(format!("acks {acks}, transactions: an odd produce request"));
        }
        if asked.sent.is_empty() {
            self.account.violation("a produce request without partitions".into());
        }
        let mut places: Vec<_> = asked.sent.iter().map(|it| (it.topic, it.partition)).collect();
        places.sort_unstable();
        if let Some(twice) = places.windows(2).find(|pair| pair[0] == pair[1]) {
            let twice = twice[0];
            self.account.violation(format!("{twice:?} twice in a request to {broker}"));
        }
        for (topic, _) in places {
            if let TopicRef::Id(id) = topic
                && id != 0
                && !self.ids.contains_key(&id)
            {
                self.account.violation(format!("topic id {id:032x}, which nobody handed out"));
            }
        }
    }

    fn named(&self, topic: TopicRef<'_>) -> Named {
        match topic {
            TopicRef::Id(id) => Named::Id(id),
            TopicRef::Name(name) => {
                let known = self.names.get_key_value(name).map(|(known, _)| Rc::clone(known));
                Named::Name(known.unwrap_or_else(|| name.into()))
            }
        }
    }

    /// Takes one batch, or says why not.
    fn take(&mut self, broker: i32, acks: i16, sent: &Sent<'_>) -> Outcome {
        self.account.batches += 1;
        let bytes = sent.records.unwrap_or_default();
        let head = match batch::check(bytes) {
            Ok(head) => head,
            Err(wrong) => {
                self.account.violation(format!("{:?}-{}: {wrong}", sent.topic, sent.partition));
                return Outcome::Said(Verdict::error(codes::CORRUPT_MESSAGE));
            }
        };
        self.look_at_producer(&head);
        let place = match self.find_place(sent) {
            Ok(place) => place,
            Err(code) => return Outcome::Said(Verdict::error(code)),
        };
        if let Some(verdict) = self.fault_before(broker, place, &head) {
            return Outcome::Said(verdict);
        }
        let Topic { min_isr, batch_bytes_limit } = self.limits(place);
        let Some(leading) = self.partition(place).replica(broker).filter(|it| it.leads()) else {
            let leader = self.hint(broker, place);
            return Outcome::Said(Verdict { leader, ..Verdict::error(codes::NOT_LEADER) });
        };
        if bytes.len() > batch_bytes_limit {
            return Outcome::Said(Verdict::error(codes::MESSAGE_TOO_LARGE));
        }
        if acks == -1 && leading.view.isr.len() < min_isr {
            return Outcome::Said(Verdict::error(codes::NOT_ENOUGH_REPLICAS));
        }
        let appended = match self.append(broker, place, head, bytes) {
            Ok(appended) => appended,
            Err(verdict) => return Outcome::Said(verdict),
        };
        match self.fault_after() {
            Some(code) => Outcome::AppendedAndSaid(appended, Verdict::error(code)),
            None => Outcome::Appended(appended),
        }
    }

    fn look_at_producer(&mut self, head: &Head) {
        let is_identified = head.producer_id >= 0;
        if self.plan.is_idempotent.is_some_and(|is_idempotent| is_idempotent != is_identified) {
            self.account.violation(format!("an unwanted or missing producer id: {head:?}"));
        }
        if is_identified && !self.producer_ids.contains(&head.producer_id) {
            self.account.violation(format!("a producer id that nobody handed out: {head:?}"));
        }
    }

    fn find_place(&self, sent: &Sent<'_>) -> Result<Place, i16> {
        let (topic, unknown) = match sent.topic {
            TopicRef::Name(name) => (self.names.get(name), codes::UNKNOWN_TOPIC),
            TopicRef::Id(id) => (self.ids.get(&id), codes::UNKNOWN_TOPIC_ID),
        };
        let topic = *topic.filter(|topic| self.topics[**topic].is_live).ok_or(unknown)?;
        let partition = usize::try_from(sent.partition).map_err(|_| codes::UNKNOWN_TOPIC)?;
        let is_there = partition < self.topics[topic].partitions.len();
        is_there.then_some(Place { topic, partition }).ok_or(codes::UNKNOWN_TOPIC)
    }

    fn limits(&self, place: Place) -> Topic {
        let super::topics::Topic { min_isr, batch_bytes_limit, .. } = self.topics[place.topic];
        Topic { min_isr, batch_bytes_limit }
    }

    /// Appends a batch to the leader's log as its producer state allows.
    fn append(
        &mut self,
        broker: i32,
        place: Place,
        head: Head,
        bytes: &[u8],
    ) -> Result<Appended, Verdict> {
        let now = self.now;
        let rules = (self.plan.refuses_unknown_producers, self.plan.says_duplicate);
        let tells_log_start = self.plan.tells_log_start;
        let partition = self.partition_mut(place);
        let is_alone = partition.replicas.len() == 1;
        let leading = partition.replica_mut(broker).expect("it leads");
        let leader_epoch = leading.view.epoch;
        let check = match head.producer_id {
            -1 => Check::Append,
            _ => leading.producers.check(&head, rules.0),
        };
        let code = match check {
            Check::Append => {
                let before = leading.end();
                let caught = leading.followers.iter_mut().filter(|it| it.end == before);
                caught.for_each(|follower| follower.caught_at = now);
                let batch = leading.append(head, bytes);
                if !is_alone {
                    self.nodes_of(place).into_iter().for_each(|it| self.fetch_soon(place, it));
                    self.check_isr_later(place);
                }
                return Ok(Appended { place, batch, is_duplicate: false, leader_epoch });
            }
            Check::Duplicate { base_offset, .. } => {
                let found = leading.log.binary_search_by_key(&base_offset, |it| it.base_offset);
                let batch = Rc::clone(&leading.log[found.expect("what is remembered is there")]);
                return Ok(Appended { place, batch, is_duplicate: true, leader_epoch });
            }
            Check::BeforeWindow => match leading.find(&head).cloned() {
                Some(batch) if rules.1 => {
                    let appended = Appended { place, batch, is_duplicate: true, leader_epoch };
                    self.succeed(&appended, -1, false);
                    codes::DUPLICATE_SEQUENCE
                }
                _ => codes::OUT_OF_ORDER,
            },
            Check::Refuse(code) => code,
        };
        let log_start = match self.partition(place).replica(broker) {
            Some(leading) if tells_log_start => leading.start as i64,
            _ => -1,
        };
        Err(Verdict { log_start, ..Verdict::error(code) })
    }

    /// Gives a batch its verdict, or lets it wait for its followers.
    fn settle_part(&mut self, ticket: u64, place: usize, broker: i32, acks: i16, outcome: Outcome) {
        let (appended, verdict) = match outcome {
            Outcome::Said(verdict) => (None, Some(verdict)),
            Outcome::Appended(appended) if acks != -1 => {
                let verdict = self.success(broker, &appended);
                if acks == 1 {
                    self.succeed(&appended, verdict.base_offset, false);
                }
                (Some(appended), Some(verdict))
            }
            Outcome::Appended(appended) => (Some(appended), None),
            Outcome::AppendedAndSaid(appended, verdict) => (Some(appended), Some(verdict)),
        };
        if let (Some(appended), None) = (&appended, &verdict) {
            let end = appended.batch.end();
            let leading = self.partition_mut(appended.place).replica_mut(broker);
            leading.expect("it leads").awaited.push(Awaited { end, ticket, place });
        }
        let waiting = self.waiting.get_mut(&ticket).expect("it was put there");
        waiting.left -= usize::from(verdict.is_some());
        let part = &mut waiting.parts[place];
        (part.appended, part.verdict) = (appended, verdict);
    }

    fn success(&self, broker: i32, appended: &Appended) -> Verdict {
        let batch = &appended.batch;
        let replica = self.partition(appended.place).replica(broker);
        Verdict {
            base_offset: batch.base_offset as i64,
            // Of a duplicate, brokers tell the largest timestamp as the time of appending.
            append_time: if appended.is_duplicate { batch.head.max_timestamp } else { -1 },
            log_start: replica.map_or(0, |replica| replica.start as i64),
            ..Verdict::error(codes::NONE)
        }
    }

    fn succeed(&mut self, appended: &Appended, base_offset: i64, acks_all: bool) {
        let Appended { place, batch, leader_epoch, .. } = appended;
        self.account.successes.push(Success {
            topic: self.topics[place.topic].id,
            partition: place.partition as i32,
            base_offset,
            batch: Rc::clone(batch),
            acks_all,
            leader_epoch: *leader_epoch,
            at: self.now,
        });
    }

    /// The high watermark has passed a batch.
    pub(super) fn accept_awaited(&mut self, place: Place, broker: i32, awaited: Awaited) {
        let min_isr = self.limits(place).min_isr;
        let in_sync = self.partition(place).replica(broker).map_or(0, |it| it.view.isr.len());
        let part = |waiting: &Waiting| {
            let part = &waiting.parts[awaited.place];
            part.appended.clone().filter(|_| part.verdict.is_none())
        };
        let Some(appended) = self.waiting.get(&awaited.ticket).and_then(part) else { return };
        let verdict = if in_sync < min_isr {
            Verdict::error(codes::NOT_ENOUGH_REPLICAS_AFTER_APPEND)
        } else {
            let verdict = self.success(broker, &appended);
            self.succeed(&appended, verdict.base_offset, true);
            verdict
        };
        self.say(awaited.ticket, awaited.place, verdict);
    }

    /// The broker cannot wait any longer.
    pub(super) fn refuse_awaited(&mut self, ticket: u64, place: usize, code: i16) {
        let asked = self.waiting.get(&ticket).and_then(|waiting| {
            let place = waiting.parts[place].appended.as_ref()?.place;
            Some((waiting.broker, place))
        });
        let leader = match (code, asked) {
            (codes::NOT_LEADER, Some((broker, place))) => self.hint(broker, place),
            _ => None,
        };
        self.say(ticket, place, Verdict { leader, ..Verdict::error(code) });
    }

    pub(super) fn expire(&mut self, ticket: u64) {
        let parts = self.waiting.get(&ticket).map_or(0, |waiting| waiting.parts.len());
        for place in 0..parts {
            self.say(ticket, place, Verdict::error(codes::REQUEST_TIMED_OUT));
        }
    }

    /// A verdict for a part that has none.
    fn say(&mut self, ticket: u64, place: usize, verdict: Verdict) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return };
        let part = &mut waiting.parts[place];
        if part.verdict.is_none() {
            part.verdict = Some(verdict);
            waiting.left -= 1;
            if waiting.left == 0 {
                self.complete.push_back(ticket);
            }
        }
    }

    pub(super) fn asks_by_id(&self, ticket: u64) -> bool {
        self.waiting.get(&ticket).is_some_and(|waiting| waiting.header.version >= 13)
    }

    /// Leader and epoch for an answer, as the broker knows them or as a fault has it.
    pub(super) fn hint(&mut self, broker: i32, place: Place) -> Option<Hint> {
        if self.faults.strikes(FaultKind::WithoutHint) {
            return None;
        }
        let image = if self.faults.strikes(FaultKind::StaleHint) {
            let choice = self.faults.of(FaultKind::StaleHint).next();
            self.old_image(choice)
        } else {
            self.image_of(broker)
        };
        let (leader, epoch) = image.leader(&self.topics[place.topic].name, place.partition)?;
        let endpoint = image.endpoint(leader).cloned();
        (leader >= 0).then_some(Hint { leader, epoch, endpoint })
    }

    /// The answer to a request whose parts all have their verdicts.
    pub(super) fn answer_produce(&mut self, ticket: u64) -> Step {
        let Some(waiting) = self.waiting.remove(&ticket) else { return Step::Silent };
        if waiting.acks == 0 {
            let failed =
                waiting.parts.iter().any(|it| it.verdict.as_ref().is_some_and(|v| v.code != 0));
            return if failed { Step::Cut } else { Step::Silent };
        }
        let throttle_ms = self.throttle();
        let answer = answers::produce(&waiting, throttle_ms);
        self.conclude(waiting.connection, ticket, answer)
    }
}

/// The limits of a topic.
struct Topic {
    min_isr: usize,
    batch_bytes_limit: usize,
}

pub(super) use super::answers::Hint;
