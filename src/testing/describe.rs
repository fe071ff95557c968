//! Metadata: brokers, topics, and who leads which partition.
//!
//! Bounds:   an answer of `ANSWER_BYTES_MAX`; a request that would need more ends its connection.
#![forbid(unsafe_code)]

use super::answers::{MetadataAnswer, PartitionHead, TopicHead};
use super::api::{Answer, Header};
use super::faults::{Plan, Verdict};
use super::requests::{Metadata, TopicRef};
use super::serve::Served;
use super::shared::{Node, State};
use super::topics::Topic;
use crate::ids::{BrokerId, TopicId};
use crate::protocol::ErrorCode;

/// A request of a megabyte could name one large topic a hundred thousand times.
const ANSWER_BYTES_MAX: usize = 64 << 20;

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
        let brokers: Vec<_> = self.nodes.iter().map(Node::endpoint).collect();
        let mut frame = Answer::to(header);
        let (version, throttle_ms, count) = (header.version, plan.throttle_ms, described.len());
        let mut answer = MetadataAnswer::begin(
            frame.fields(),
            version,
            throttle_ms,
            &brokers,
            &self.rules.cluster_id,
            count,
        );
        for topic in &described {
            self.write_topic(&mut answer, topic);
            if answer.bytes() > ANSWER_BYTES_MAX {
                self.journal.complain("a metadata request for an answer above 64 MiB".to_owned());
                return Served::Close;
            }
        }
        answer.end();
        Served::Answer(frame.finish())
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

    fn write_topic(&self, answer: &mut MetadataAnswer<'_>, described: &Described) {
        let name = described.name.as_deref();
        let found = name.filter(|_| described.code == ErrorCode::None);
        let found = found.and_then(|name| self.topics.find(TopicRef::Name(name)));
        let partitions = found.map_or(&[][..], |(_, topic)| &topic.partitions);
        let (code, id) = (described.code, described.id);
        answer.topic(&TopicHead { code, name, id, partitions: partitions.len() });
        // Any broker may be made the leader: all of them hold every partition.
        let replicas = self.nodes.iter().map(|node| node.id.0);
        for (partition, index) in partitions.iter().zip(0..) {
            let broken = described.broken.filter(|(broken, _)| *broken == index);
            let leader = partition.leader.filter(|_| broken.is_none());
            let own = match leader {
                Some(_) => ErrorCode::None,
                None => ErrorCode::LeaderNotAvailable,
            };
            let head = PartitionHead {
                code: broken.map_or(own, |(_, code)| code),
                index,
                leader: leader.map_or(-1, |BrokerId(id)| id),
                leader_epoch: partition.leader_epoch,
            };
            answer.partition(&head, replicas.clone());
        }
        answer.end_topic();
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
