//! Metadata: brokers, topics, and who leads which partition.
//!
//! Bounds:   an answer of `ANSWER_BYTES_MAX`; a request that would need more ends its connection.
#![forbid(unsafe_code)]

use super::api::{Answer, Header};
use super::faults::{Plan, Verdict};
use super::requests::{Metadata, TopicRef};
use super::serve::Served;
use super::shared::{Node, State};
use super::topics::{Partition, Topic};
use crate::ids::{BrokerId, TopicId};
use crate::protocol::{ErrorCode, Writer};

/// A request of a megabyte could name one large topic a hundred thousand times.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CLUSTER_ID: &str = "kuring-testing";

/// One topic of an answer: what was found, or why nothing was.
struct Described {
    name: Option<String>,
    id: TopicId,
    code: ErrorCode,
    /// A partition with an error of its own.
    broken: Option<(i32, ErrorCode)>,
}

impl State {
    pub(super) fn metadata(
        &mut self,
        header: &Header<'_>,
        asked: &Metadata<'_>,
        plan: &Plan,
    ) -> Served {
        let described: Vec<_> = match &asked.topics {
            Some(topics) => topics
                .iter()
                .zip(&plan.verdicts)
                .map(|(topic, verdict)| self.describe(*topic, asked.may_create, *verdict))
                .collect(),
            None => self
                .topics
                .iter()
                .zip(&plan.verdicts)
                .map(|((name, topic), verdict)| Described::found(name, topic, *verdict))
                .collect(),
        };
        let version = header.version;
        let mut answer = Answer::to(header);
        let mut fields = answer.fields();
        if version >= 3 {
            fields.i32(plan.throttle_ms);
        }
        fields.array_len(Some(self.nodes.len()));
        self.nodes.iter().for_each(|node| node.encode(&mut fields, version >= 1));
        if version >= 2 {
            fields.string(CLUSTER_ID);
        }
        if version >= 1 {
            fields.i32(self.nodes[0].id.0); // controller
        }
        fields.array_len(Some(described.len()));
        for topic in &described {
            self.encode_topic(&mut answer.fields(), version, topic);
            if answer.bytes() > ANSWER_BYTES_MAX {
                self.journal.complain("a metadata request for an answer above 64 MiB".to_owned());
                return Served::Close;
            }
        }
        let mut fields = answer.fields();
        if (8..=10).contains(&version) {
            fields.i32(i32::MIN); // authorised operations: not asked
        }
        if version >= 13 {
            fields.i16(ErrorCode::None.wire());
        }
        fields.no_tags();
        Served::Answer(answer.finish())
    }

    fn describe(
        &mut self,
        topic: TopicRef<'_>,
        may_create: bool,
        verdict: Option<Verdict>,
    ) -> Described {
        let is_struck = verdict.is_some_and(|it| it.partition.is_none() && !it.after_append);
        if let (TopicRef::Name(name), Some(partitions)) = (topic, self.rules.auto_create)
            && may_create
            && !is_struck
            && self.topics.find(topic).is_none()
            && let Err(code) = self.topics.create_asked(name, partitions)
        {
            return Described::missing(topic, code);
        }
        match (self.topics.find(topic), topic) {
            (Some((name, topic)), _) => Described::found(name, topic, verdict),
            (None, TopicRef::Name(_)) => {
                let code = ErrorCode::UnknownTopicOrPartition;
                Described::missing(topic, verdict.map_or(code, |verdict| verdict.code))
            }
            (None, TopicRef::Id(_)) => Described::missing(topic, ErrorCode::UnknownTopicId),
        }
    }

    fn encode_topic(&self, fields: &mut Writer<'_>, version: i16, described: &Described) {
        fields.i16(described.code.wire());
        match &described.name {
            Some(name) => fields.string(name),
            // The name became nullable only with version 12, when asking by id did.
            None if version >= 12 => fields.nullable_string(None),
            None => fields.string(""),
        }
        if version >= 10 {
            fields.uuid(described.id);
        }
        if version >= 1 {
            fields.bool(false); // internal
        }
        let found = described.name.as_deref().filter(|_| described.code == ErrorCode::None);
        let found = found.and_then(|name| self.topics.find(TopicRef::Name(name)));
        let partitions = found.map_or(&[][..], |(_, topic)| &topic.partitions);
        fields.array_len(Some(partitions.len()));
        for (partition, index) in partitions.iter().zip(0..) {
            let broken = described.broken.filter(|(broken, _)| *broken == index);
            self.encode_partition(fields, version, index, partition, broken.map(|(_, code)| code));
        }
        if version >= 8 {
            fields.i32(i32::MIN); // authorised operations: not asked
        }
        fields.no_tags();
    }

    fn encode_partition(
        &self,
        fields: &mut Writer<'_>,
        version: i16,
        index: i32,
        partition: &Partition,
        broken: Option<ErrorCode>,
    ) {
        let leader = partition.leader.filter(|_| broken.is_none());
        let own = match leader {
            Some(_) => ErrorCode::None,
            None => ErrorCode::LeaderNotAvailable,
        };
        fields.i16(broken.unwrap_or(own).wire());
        fields.i32(index);
        fields.i32(leader.map_or(-1, |BrokerId(id)| id));
        if version >= 7 {
            fields.i32(partition.leader_epoch);
        }
        // Any broker may be made the leader: all of them hold every partition.
        for _ in ["replicas", "in sync"] {
            fields.array_len(Some(self.nodes.len()));
            self.nodes.iter().for_each(|node| fields.i32(node.id.0));
        }
        if version >= 5 {
            fields.array_len(Some(0)); // offline
        }
        fields.no_tags();
    }
}

impl Described {
    fn found(name: &str, topic: &Topic, verdict: Option<Verdict>) -> Self {
        let of_topic = verdict.filter(|verdict| verdict.partition.is_none());
        let broken = verdict.and_then(|verdict| Some((verdict.partition?, verdict.code)));
        let code = of_topic.map_or(ErrorCode::None, |verdict| verdict.code);
        Self { name: Some(name.to_owned()), id: topic.id, code, broken }
    }

    fn missing(topic: TopicRef<'_>, code: ErrorCode) -> Self {
        let (name, id) = match topic {
            TopicRef::Name(name) => (Some(name.to_owned()), TopicId::ZERO),
            TopicRef::Id(id) => (None, id),
        };
        Self { name, id, code, broken: None }
    }
}

impl Node {
    /// Node id, host, port and no rack.
    pub(super) fn encode(&self, fields: &mut Writer<'_>, has_rack: bool) {
        fields.i32(self.id.0);
        fields.string(&self.address.ip().to_string());
        fields.i32(i32::from(self.address.port()));
        if has_rack {
            fields.nullable_string(None);
        }
        fields.no_tags();
    }
}
