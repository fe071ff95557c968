//! The cluster's topics: names, ids, leaders and logs, as all brokers know them.
//!
//! Bounds:   `TOPICS_MAX` topics, `PARTITIONS_MAX` partitions each.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::error::ClusterError;
use super::log::Log;
use super::requests::TopicRef;
use super::{BROKERS_MAX, PARTITIONS_MAX};
use crate::ids::{BrokerId, TopicId};
use crate::protocol::ErrorCode;

/// Above this, requests that would create topics are refused: a client could ask for any number.
const TOPICS_MAX: usize = 10_000;
/// Kafka's own limit of a topic name.
const NAME_BYTES_MAX: usize = 249;

#[derive(Debug, Default)]
pub(super) struct Partition {
    /// None: nobody leads it.
    pub(super) leader: Option<BrokerId>,
    /// Counts the leaders that it has had.
    pub(super) leader_epoch: i32,
    pub(super) log: Log,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) partitions: Vec<Partition>,
}

impl Topic {
    pub(super) fn partition(&self, partition: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(super) fn partition_mut(&mut self, partition: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(partition).ok()?)
    }
}

#[derive(Debug)]
pub(super) struct Topics {
    by_name: BTreeMap<String, Topic>,
    /// Counts the topics that were ever made: the ids come from it.
    made: u64,
    brokers: usize,
}

impl Topics {
    pub(super) fn new(brokers: usize) -> Self {
        debug_assert!((1..=BROKERS_MAX).contains(&brokers));
        Self { by_name: BTreeMap::new(), made: 0, brokers }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Topic)> {
        self.by_name.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    pub(super) fn find(&self, topic: TopicRef<'_>) -> Option<(&str, &Topic)> {
        match topic {
            TopicRef::Name(name) => {
                self.by_name.get_key_value(name).map(|(name, topic)| (name.as_str(), topic))
            }
            TopicRef::Id(id) => self.iter().find(|(_, topic)| topic.id == id),
        }
    }

    /// A partition that a request names.
    ///
    /// # Errors
    /// What a broker says where there is none.
    pub(super) fn asked(
        &self,
        topic: TopicRef<'_>,
        partition: i32,
    ) -> Result<&Partition, ErrorCode> {
        let unknown = match topic {
            TopicRef::Name(_) => ErrorCode::UnknownTopicOrPartition,
            TopicRef::Id(_) => ErrorCode::UnknownTopicId,
        };
        let (_, topic) = self.find(topic).ok_or(unknown)?;
        topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// As [`asked`](Self::asked), by the name that it found.
    pub(super) fn partition_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.by_name.get_mut(topic)?.partition_mut(partition)
    }

    /// Makes a topic, whose partitions the brokers lead in turn.
    pub(super) fn create(&mut self, name: &str, partitions: i32) -> Result<(), ClusterError> {
        if !is_valid(name) {
            return Err(ClusterError::InvalidTopic { topic: name.to_owned() });
        }
        if self.by_name.contains_key(name) {
            return Err(ClusterError::TopicExists { topic: name.to_owned() });
        }
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(ClusterError::PartitionCount { topic: name.to_owned(), partitions });
        }
        self.made += 1;
        let mut topic = Topic { id: id_of(self.made), partitions: Vec::new() };
        self.extend(&mut topic, partitions);
        self.by_name.insert(name.to_owned(), topic);
        Ok(())
    }

    /// Makes a topic because a client asked for it.
    ///
    /// # Errors
    /// What a broker says.
    pub(super) fn create_asked(&mut self, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        if self.by_name.len() >= TOPICS_MAX {
            return Err(ErrorCode::PolicyViolation);
        }
        self.create(name, partitions).map_err(|_| ErrorCode::InvalidTopicException)
    }

    fn extend(&self, topic: &mut Topic, partitions: i32) {
        for index in topic.partitions.len()..partitions as usize {
            let leader = Some(BrokerId((index % self.brokers) as i32 + 1));
            topic.partitions.push(Partition { leader, ..Partition::default() });
        }
    }

    /// Adds partitions until there are so many.
    pub(super) fn grow(&mut self, name: &str, partitions: i32) -> Result<(), ClusterError> {
        let there = self.known(name)?.partitions.len() as i32;
        if !(there..=PARTITIONS_MAX).contains(&partitions) {
            return Err(ClusterError::PartitionCount { topic: name.to_owned(), partitions });
        }
        if let Some(mut topic) = self.by_name.remove(name) {
            self.extend(&mut topic, partitions);
            self.by_name.insert(name.to_owned(), topic);
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<Topic, ClusterError> {
        self.known(name)?;
        self.by_name.remove(name).ok_or_else(|| self.unknown(name))
    }

    /// The topic of this name.
    pub(super) fn known(&self, name: &str) -> Result<&Topic, ClusterError> {
        self.by_name.get(name).ok_or_else(|| self.unknown(name))
    }

    /// The partition of this name and number.
    pub(super) fn known_partition(
        &mut self,
        name: &str,
        partition: i32,
    ) -> Result<&mut Partition, ClusterError> {
        let partitions = self.known(name)?.partitions.len() as i32;
        let wrong =
            ClusterError::UnknownPartition { topic: name.to_owned(), partition, partitions };
        self.partition_mut(name, partition).ok_or(wrong)
    }

    fn unknown(&self, name: &str) -> ClusterError {
        let known = self.by_name.keys().cloned().collect();
        ClusterError::UnknownTopic { topic: name.to_owned(), known }
    }
}

/// Kafka's rule: letters, digits, dot, underscore, hyphen; neither `.` nor `..`.
fn is_valid(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && name.bytes().all(legal)
}

/// The id of the topic that was made as number `made`: each its own, the same in every run. It has
/// the shape of a random UUID, which also keeps clear of Kafka's reserved ids 0 and 1.
fn id_of(made: u64) -> TopicId {
    let mut id = *b"kuring\x40\0\x80\0\0\0\0\0\0\0";
    id[8..].copy_from_slice(&(made | 1 << 63).to_be_bytes());
    TopicId(id)
}
