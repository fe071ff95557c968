//! What a broker does with a request, and what it answers; decided here, sent elsewhere.
//!
//! Never:    touches a socket or a clock.
//! Source:   the Kafka protocol guide; KIP-951 (who leads), KIP-516 (topic ids), KIP-511.
#![forbid(unsafe_code)]

use super::answers::{self, ProducedPartition};
use super::api::{Answer, Header};
use super::batch::{self, Refusal};
use super::faults::{Part, Plan};
use super::requests::{Body, Fetch, Intended, Metadata, Produce, Sent, TopicRef};
use super::shared::{Node, State};
use super::topics::Topics;
use crate::ids::BrokerId;
use crate::protocol::{ErrorCode, Writer};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Served {
    /// A whole frame.
    Answer(Vec<u8>),
    /// It wants no answer.
    Silent,
    /// The connection is closed.
    Close,
    /// There is nothing to read yet; the client waits that many milliseconds for it.
    Wait(u64),
}

/// Where a batch is, or why it is not.
struct Written {
    code: ErrorCode,
    base_offset: i64,
    text: Option<String>,
    /// Who leads, and since which epoch.
    leader: Option<(BrokerId, i32)>,
}

impl Written {
    fn error(code: ErrorCode) -> Self {
        Self { code, base_offset: -1, text: None, leader: None }
    }
}

impl From<Refusal> for Written {
    fn from(refusal: Refusal) -> Self {
        Self { text: Some(refusal.text), ..Self::error(refusal.code) }
    }
}

impl<'a> Part<'a> {
    fn of(topic: TopicRef<'a>, partition: Option<i32>, topics: &'a Topics) -> Self {
        let known = topics.find(topic).map(|(name, _)| name);
        let named = match topic {
            TopicRef::Name(name) => Some(name),
            TopicRef::Id(_) => None,
        };
        Self { topic: known.or(named), partition }
    }
}

impl State {
    /// What the faults make of a request.
    pub(super) fn plan(&mut self, broker: BrokerId, header: &Header<'_>, body: &Body<'_>) -> Plan {
        let Self { topics, faults, .. } = self;
        let topics = &*topics;
        let parts: Vec<Part<'_>> = match body {
            Body::ApiVersions(_) | Body::InitProducerId { .. } => vec![Part::WHOLE],
            Body::Metadata(Metadata { topics: Some(asked), .. }) => {
                asked.iter().map(|topic| Part::of(*topic, None, topics)).collect()
            }
            Body::Metadata(Metadata { topics: None, .. }) => {
                topics.iter().map(|(name, _)| Part { topic: Some(name), partition: None }).collect()
            }
            Body::Produce(Produce { sent, .. }) => {
                sent.iter().map(|it| Part::of(it.topic, Some(it.partition), topics)).collect()
            }
            Body::ListOffsets(wanted) | Body::Fetch(Fetch { wanted, .. }) => {
                wanted.iter().map(|it| Part::of(it.topic, Some(it.partition), topics)).collect()
            }
        };
        faults.strike(header.api, broker, header.client_id, &parts)
    }

    /// Carries a request out and writes its answer. `may_wait` is false once a fetch has waited
    /// long enough.
    pub(super) fn serve(
        &mut self,
        broker: BrokerId,
        header: &Header<'_>,
        body: &Body<'_>,
        plan: &Plan,
        may_wait: bool,
    ) -> Served {
        match body {
            Body::ApiVersions(intended) => {
                Served::Answer(self.api_versions(broker, header, *intended, plan))
            }
            Body::Metadata(asked) => self.metadata(header, asked, plan),
            Body::InitProducerId { is_transactional } => {
                Served::Answer(self.init_producer_id(header, *is_transactional, plan))
            }
            Body::Produce(asked) => self.produce(broker, header, asked, plan),
            Body::ListOffsets(wanted) => {
                Served::Answer(self.list_offsets(broker, header, wanted, plan))
            }
            Body::Fetch(asked) => self.fetch(broker, header, asked, plan, may_wait),
        }
    }

    /// A client that wants another broker, or a broker of another cluster, is sent away (KIP-1242).
    fn api_versions(
        &self,
        broker: BrokerId,
        header: &Header<'_>,
        intended: Intended<'_>,
        plan: &Plan,
    ) -> Vec<u8> {
        let unspoken = (!header.is_spoken).then_some(ErrorCode::UnsupportedVersion);
        let is_meant = match intended.cluster_id {
            None if intended.node < 0 => ErrorCode::None,
            None => ErrorCode::InvalidRequest,
            Some(id) if id == self.rules.cluster_id && intended.node == broker.0 => ErrorCode::None,
            Some(_) => ErrorCode::RebootstrapRequired,
        };
        let code = unspoken.or_else(|| plan.verdict()).unwrap_or(is_meant);
        let version = if header.is_spoken { header.version } else { 0 };
        let mut answer = Answer::to(header);
        let mut fields = answer.fields();
        if code == ErrorCode::RebootstrapRequired {
            answers::api_versions(&mut fields, version, code, [].into_iter(), plan.throttle_ms);
        } else {
            let announced = self.versions.announced();
            answers::api_versions(&mut fields, version, code, announced, plan.throttle_ms);
        }
        answer.finish()
    }

    /// Every call gets a new id with epoch 0, as of a broker whose caller has no transactional id.
    fn init_producer_id(
        &mut self,
        header: &Header<'_>,
        is_transactional: bool,
        plan: &Plan,
    ) -> Vec<u8> {
        // Transactions have no coordinator here: this is final for every client.
        let refused = is_transactional.then_some(ErrorCode::TransactionalIdAuthorizationFailed);
        let given = plan.verdict().or(refused).map_or(Ok(self.next_producer_id), Err);
        self.next_producer_id += i64::from(given.is_ok());
        let mut answer = Answer::to(header);
        answers::init_producer_id(&mut answer.fields(), given, plan.throttle_ms);
        answer.finish()
    }

    fn produce(
        &mut self,
        broker: BrokerId,
        header: &Header<'_>,
        asked: &Produce<'_>,
        plan: &Plan,
    ) -> Served {
        let mut written = Vec::with_capacity(asked.sent.len());
        for (sent, verdict) in asked.sent.iter().zip(&plan.verdicts) {
            let before = verdict.filter(|verdict| !verdict.after_append);
            let mut outcome = match before {
                Some(verdict) => Written::error(verdict.code),
                None => self.write(broker, asked, sent),
            };
            if let Some(verdict) = verdict
                && verdict.after_append
                && outcome.code == ErrorCode::None
            {
                outcome = Written::error(verdict.code);
            }
            if outcome.code == ErrorCode::NotLeaderOrFollower && self.rules.hints {
                outcome.leader = self.leader(sent);
            }
            written.push(outcome);
        }
        if asked.acks == 0 {
            // Nothing else could tell such a client: so do real brokers.
            let has_failed = written.iter().any(|it| it.code != ErrorCode::None);
            return if has_failed { Served::Close } else { Served::Silent };
        }
        Served::Answer(self.produced(header, asked, &written, plan))
    }

    fn leader(&self, sent: &Sent<'_>) -> Option<(BrokerId, i32)> {
        let partition = self.topics.asked(sent.topic, sent.partition).ok()?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// Appends one batch, or says why not.
    fn write(&mut self, broker: BrokerId, asked: &Produce<'_>, sent: &Sent<'_>) -> Written {
        if !(-1..=1).contains(&asked.acks) {
            return Written::error(ErrorCode::InvalidRequiredAcks);
        }
        if asked.is_transactional {
            return Written::error(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        let place = match self.topics.asked(sent.topic, sent.partition) {
            Ok(place) => place,
            Err(code) => return Written::error(code),
        };
        if place.leader != Some(broker) {
            return Written::error(ErrorCode::NotLeaderOrFollower);
        }
        let bytes = sent.records.unwrap_or_default();
        let limit = self.rules.batch_bytes_max;
        if bytes.len() > limit {
            let text = format!("a batch of {} bytes, {limit} are allowed", bytes.len());
            return Written { text: Some(text), ..Written::error(ErrorCode::MessageTooLarge) };
        }
        let name = self.topics.find(sent.topic).map(|(name, _)| name.to_owned());
        let name = name.expect("its partition was found above");
        let checked = batch::check(bytes).and_then(|head| {
            let partition = self.topics.partition_mut(&name, sent.partition);
            let partition = partition.expect("it was found above");
            partition.log.append(head, partition.leader_epoch, bytes)
        });
        match checked {
            Ok(base_offset) => {
                self.appended += 1;
                Written { base_offset, ..Written::error(ErrorCode::None) }
            }
            Err(refusal) => {
                self.journal.complain(format!("{name}-{}: {}", sent.partition, refusal.text));
                refusal.into()
            }
        }
    }

    fn produced(
        &self,
        header: &Header<'_>,
        asked: &Produce<'_>,
        written: &[Written],
        plan: &Plan,
    ) -> Vec<u8> {
        let mut answer = Answer::to(header);
        let mut fields = answer.fields();
        let mut rest = written;
        let groups: Vec<_> = asked.sent.chunk_by(|one, next| one.topic == next.topic).collect();
        fields.array_len(Some(groups.len()));
        for group in groups {
            write_topic(&mut fields, group[0].topic);
            fields.array_len(Some(group.len()));
            let (of_group, others) = rest.split_at(group.len());
            rest = others;
            for (sent, written) in group.iter().zip(of_group) {
                written.answer(sent.partition).encode(&mut fields, header.version);
            }
            fields.no_tags();
        }
        let leads = |id| written.iter().any(|it| it.leader.is_some_and(|(node, _)| node == id));
        let leaders = self.nodes.iter().filter(|node| leads(node.id)).map(Node::endpoint);
        let leaders: Vec<_> = leaders.collect();
        answers::end_produce(&mut fields, header.version, plan.throttle_ms, &leaders);
        answer.finish()
    }
}

impl Written {
    fn answer(&self, partition: i32) -> ProducedPartition<'_> {
        let written = match self.code {
            ErrorCode::None => Ok(self.base_offset),
            code => Err(code.wire()),
        };
        let leader = self.leader.map(|(BrokerId(id), epoch)| (id, epoch));
        ProducedPartition { index: partition, written, message: self.text.as_deref(), leader }
    }
}

/// A topic as the request named it.
pub(super) fn write_topic(fields: &mut Writer<'_>, topic: TopicRef<'_>) {
    match topic {
        TopicRef::Name(name) => fields.string(name),
        TopicRef::Id(id) => fields.uuid(id),
    }
}
