//! The topics of the null broker: every one that is asked for exists.
//!
//! Owns:     names, ids and the next offset of each partition.
//! Bounds:   `TOPICS_MAX` topics, names of Kafka's 249 characters, offsets allocated at the first
//!           produce request only.
#![forbid(unsafe_code)]

use std::collections::HashMap;

/// Enough for any benchmark; at Kafka's longest name the table stays below 40 MB.
const TOPICS_MAX: usize = 65_536;
/// Kafka's own limit of a topic name.
const NAME_BYTES_MAX: usize = 249;

pub(crate) struct Topic {
    pub(crate) name: Box<str>,
    pub(crate) id: [u8; 16],
    /// The next offset of each partition.
    pub(crate) offsets: Vec<i64>,
}

/// Why a name is not a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicError {
    InvalidName,
    TooMany,
}

pub(crate) struct Topics {
    list: Vec<Topic>,
    by_name: HashMap<Box<str>, usize>,
    by_id: HashMap<[u8; 16], usize>,
    partition_count: usize,
}

impl Topics {
    pub(crate) fn new(partition_count: usize) -> Self {
        Self { list: Vec::new(), by_name: HashMap::new(), by_id: HashMap::new(), partition_count }
    }

    pub(crate) fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub(crate) fn list(&self) -> &[Topic] {
        &self.list
    }

    pub(crate) fn topic(&self, index: usize) -> &Topic {
        &self.list[index]
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn find_id(&self, id: &[u8; 16]) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Finds the topic or makes it.
    pub(crate) fn open(&mut self, name: &str) -> Result<usize, TopicError> {
        if let Some(index) = self.find(name) {
            return Ok(index);
        }
        if !is_valid(name) {
            return Err(TopicError::InvalidName);
        }
        if self.list.len() >= TOPICS_MAX {
            return Err(TopicError::TooMany);
        }
        let index = self.list.len();
        let id = id_of(name);
        self.list.push(Topic { name: name.into(), id, offsets: Vec::new() });
        self.by_name.insert(name.into(), index);
        self.by_id.insert(id, index);
        Ok(index)
    }

    /// The offset of a batch of `count` records; the next batch follows it. `None` when the topic
    /// has no such partition.
    pub(crate) fn append(&mut self, index: usize, partition: i32, count: i64) -> Option<i64> {
        let partition = usize::try_from(partition).ok().filter(|&it| it < self.partition_count)?;
        let topic = &mut self.list[index];
        if topic.offsets.is_empty() {
            topic.offsets = vec![0; self.partition_count];
        }
        let next = &mut topic.offsets[partition];
        let base = *next;
        *next += count;
        Some(base)
    }
}

/// Kafka's rule: letters, digits, dot, underscore, hyphen; neither `.` nor `..`.
fn is_valid(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && name.bytes().all(legal)
}

/// The same name has the same id in every run, so that a client may outlive a sink.
fn id_of(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&fnv1a(0xcbf2_9ce4_8422_2325, name).to_be_bytes());
    id[8..].copy_from_slice(&fnv1a(0x6c62_272e_07bb_0142, name).to_be_bytes());
    // The shape of a random UUID, which also keeps clear of Kafka's reserved ids 0 and 1.
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

fn fnv1a(seed: u64, text: &str) -> u64 {
    text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        for name in ["a", "A-b_c.9", &"x".repeat(249)] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "ü", "a/b", &"x".repeat(250)] {
            assert!(!is_valid(name), "{name}");
        }
    }

    #[test]
    fn offsets_count_up_per_partition_and_unknown_partitions_have_none() {
        let mut topics = Topics::new(2);
        let topic = topics.open("t").unwrap();
        assert_eq!(topics.append(topic, 0, 10), Some(0));
        assert_eq!(topics.append(topic, 1, 3), Some(0));
        assert_eq!(topics.append(topic, 0, 1), Some(10));
        assert_eq!(topics.append(topic, 2, 1), None);
        assert_eq!(topics.append(topic, -1, 1), None);
    }

    #[test]
    fn the_id_of_a_name_is_the_same_in_every_run_and_differs_between_names() {
        assert_eq!(id_of("events"), id_of("events"));
        assert_ne!(id_of("events"), id_of("event"));
    }
}
