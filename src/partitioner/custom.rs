//! A partitioner of one's own.
//!
//! Source: API-4, API-5, PRT-1 of the Java producer.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::shield::Shield;

/// Chooses the partition of records that name none. Set it with
/// [`ConfigBuilder::partitioner`](crate::ConfigBuilder::partitioner), or for one topic with
/// [`ConfigBuilder::topic_partitioner`](crate::ConfigBuilder::topic_partitioner). A closure of the
/// same shape is one.
///
/// ```
/// use kuring::{Producer, Unplaced};
///
/// let builder = Producer::builder()
///     .bootstrap_servers("localhost:9092")
///     // What is urgent goes to the last partition, and nothing else does.
///     .topic_partitioner("orders", |record: &Unplaced<'_>| {
///         let last = record.partition_count() as i32 - 1;
///         match record.key() {
///             Some(key) if key.starts_with(b"urgent-") => last,
///             key => key.map_or(0, <[u8]>::len) as i32 % last.max(1),
///         }
///     });
/// # let _ = builder;
/// ```
///
/// It runs on the thread that sends, once per record, before anything is claimed for the record: it
/// may be slow, and may block, at that thread's cost only. A panic in it is that thread's; the
/// record was not sent, and the producer goes on. It is called from all threads that send, at the
/// same time.
pub trait Partitioner: Send + Sync {
    /// The partition, from 0 to [`Unplaced::partition_count`] less one. Any other answer fails the
    /// record at once, with [`SendError::NoSuchPartition`](crate::SendError::NoSuchPartition).
    fn partition(&self, record: &Unplaced<'_>) -> i32;
}

impl<F: Fn(&Unplaced<'_>) -> i32 + Send + Sync> Partitioner for F {
    fn partition(&self, record: &Unplaced<'_>) -> i32 {
        self(record)
    }
}

impl<P: Partitioner> Partitioner for Shield<P> {
    #[inline]
    fn partition(&self, record: &Unplaced<'_>) -> i32 {
        (**self).partition(record)
    }
}

/// A record that names no partition, and the topic that it goes to, as a [`Partitioner`] sees them.
#[derive(Clone, Copy)]
pub struct Unplaced<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) partition_count: u32,
    pub(crate) is_led: &'a dyn Fn(i32) -> bool,
}

impl<'a> Unplaced<'a> {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The record's value; None also for one that is [reserved](crate::Topic::reserve_record), and
    /// not written yet.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// How many partitions the topic has; at least 1.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.partition_count
    }

    /// Whether the partition has a leader, as far as the metadata tells. Records for one without
    /// are taken, and wait for a leader. Looks the topic up.
    #[must_use]
    pub fn is_available(&self, partition: i32) -> bool {
        (self.is_led)(partition)
    }

    /// The partitions that have a leader, in order; none when no partition has one.
    pub fn available(&self) -> impl Iterator<Item = i32> + '_ {
        (0..self.partition_count as i32).filter(|partition| self.is_available(*partition))
    }
}

impl fmt::Debug for Unplaced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Unplaced");
        out.field("topic", &self.topic).field("partition_count", &self.partition_count);
        out.finish_non_exhaustive()
    }
}

/// A partitioner that is shared by those who send.
#[derive(Clone)]
pub struct Custom(Arc<dyn Partitioner>);

impl Custom {
    fn new(partitioner: impl Partitioner + 'static) -> Self {
        Self(Arc::new(Shield::new("partitioner", partitioner)))
    }

    /// Asks it.
    pub fn ask(&self, record: &Unplaced<'_>) -> i32 {
        self.0.partition(record)
    }
}

/// The same one, not one that does the same.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Custom {}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}

/// The partitioners that a producer was given, beside those that have a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitioners {
    everywhere: Option<Custom>,
    by_topic: BTreeMap<String, Custom>,
}

impl Partitioners {
    /// For every topic that has none of its own.
    pub fn set(&mut self, partitioner: impl Partitioner + 'static) {
        self.everywhere = Some(Custom::new(partitioner));
    }

    /// For one topic.
    pub fn set_for(&mut self, topic: String, partitioner: impl Partitioner + 'static) {
        self.by_topic.insert(topic, Custom::new(partitioner));
    }

    /// The one of a topic.
    pub fn of_topic(&self, topic: &str) -> Option<&Custom> {
        self.by_topic.get(topic).or(self.everywhere.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(partitioners: &Partitioners, topic: &str) -> Option<i32> {
        let is_led = |partition| partition != 1;
        let record =
            Unplaced { topic, key: Some(b"k"), value: None, partition_count: 3, is_led: &is_led };
        partitioners.of_topic(topic).map(|custom| custom.ask(&record))
    }

    #[test]
    fn a_topic_has_its_own_partitioner_or_that_of_all() {
        let mut partitioners = Partitioners::default();
        assert_eq!(ask(&partitioners, "t"), None);
        partitioners.set_for("t".into(), |_: &Unplaced<'_>| 7);
        assert_eq!((ask(&partitioners, "t"), ask(&partitioners, "u")), (Some(7), None));
        partitioners.set(|record: &Unplaced<'_>| record.available().last().unwrap_or(-1));
        assert_eq!((ask(&partitioners, "t"), ask(&partitioners, "u")), (Some(7), Some(2)));
    }

    #[test]
    fn an_unplaced_record_tells_which_partitions_have_a_leader() {
        let is_led = |partition| partition != 1;
        let record = Unplaced {
            topic: "t",
            key: None,
            value: Some(b"v"),
            partition_count: 4,
            is_led: &is_led,
        };
        assert_eq!(record.available().collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!((record.topic(), record.key(), record.value()), ("t", None, Some(&b"v"[..])));
    }
}
