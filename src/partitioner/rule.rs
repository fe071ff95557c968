//! One topic's rule for records that name no partition.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::custom::{Custom, Unplaced};
use super::named::{PartitionerClass, Way};

/// What a key decides: all that the path of a usual record has to know of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The partition, by Java's hash; records without one are sticky.
    Murmur2,
    /// Nothing: every record is sticky.
    Ignored,
    /// See [`Rule::way`].
    Otherwise,
}

#[derive(Debug)]
enum Kind {
    Named(PartitionerClass),
    Custom(Custom),
}

/// See the module head.
#[derive(Debug)]
pub struct Rule {
    /// What a key decides.
    pub keys: Keys,
    kind: Kind,
    /// Counts the records that went in turn.
    turn: AtomicU32,
}

/// Who is asked about a record that goes [`Way::Anew`].
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// The partition after the last one.
    Next,
    /// Any partition.
    Random,
    /// The user.
    Custom(&'a Custom),
}

impl Rule {
    /// A partitioner by name; `ignores_keys` is for the built-in one only (PRT-1).
    pub fn named(class: PartitionerClass, ignores_keys: bool) -> Self {
        let keys = match class {
            PartitionerClass::BuiltIn if ignores_keys => Keys::Ignored,
            PartitionerClass::BuiltIn | PartitionerClass::Murmur2Random => Keys::Murmur2,
            _ => Keys::Otherwise,
        };
        Self { keys, kind: Kind::Named(class), turn: AtomicU32::new(0) }
    }

    /// A partitioner of the user's.
    pub fn custom(custom: Custom) -> Self {
        Self { keys: Keys::Otherwise, kind: Kind::Custom(custom), turn: AtomicU32::new(0) }
    }

    /// Where a record with this key goes (API-4). `count` is at least 1.
    #[inline]
    pub fn way(&self, key: Option<&[u8]>, count: u32) -> Way {
        match (self.keys, &self.kind) {
            (Keys::Ignored, _) => Way::Sticky,
            (_, Kind::Named(class)) => class.way(key, count),
            (_, Kind::Custom(_)) => Way::Anew,
        }
    }

    /// The partition of a key, if that is all that decides. `count` is at least 1.
    #[inline(never)]
    pub fn partition_of(&self, key: &[u8], count: u32) -> Option<i32> {
        match self.way(Some(key), count) {
            Way::To(partition) => Some(partition),
            Way::Sticky | Way::Anew => None,
        }
    }

    /// Who is asked about a record that goes [`Way::Anew`].
    pub fn asked(&self) -> Asked<'_> {
        match &self.kind {
            Kind::Custom(custom) => Asked::Custom(custom),
            Kind::Named(PartitionerClass::RoundRobin) => Asked::Next,
            Kind::Named(_) => Asked::Random,
        }
    }

    /// Counts a record that goes in turn.
    pub fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Relaxed)
    }
}

impl Asked<'_> {
    /// The answer, as it comes: not checked (API-5).
    pub fn answer(
        self,
        record: &Unplaced<'_>,
        next: impl FnOnce() -> i32,
        random: impl FnOnce() -> i32,
    ) -> i32 {
        match self {
            Self::Next => next(),
            Self::Random => random(),
            Self::Custom(custom) => custom.ask(record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partitioner::{Partitioners, partition_of_key};

    #[test]
    fn prt_1_keys_are_ignored_by_the_built_in_partitioner_only() {
        let hashed = Way::To(partition_of_key(b"key", 10));
        let ignoring = Rule::named(PartitionerClass::BuiltIn, true);
        assert_eq!((ignoring.keys, ignoring.way(Some(b"key"), 10)), (Keys::Ignored, Way::Sticky));
        assert_eq!(ignoring.partition_of(b"key", 10), None);
        let minding = Rule::named(PartitionerClass::BuiltIn, false);
        assert_eq!((minding.keys, minding.way(Some(b"key"), 10)), (Keys::Murmur2, hashed));
        assert_eq!(minding.way(None, 10), Way::Sticky);
        let other = Rule::named(PartitionerClass::Murmur2, true);
        assert_eq!((other.keys, other.way(Some(b"key"), 10)), (Keys::Otherwise, hashed));
    }

    #[test]
    fn api_4_a_partitioner_of_one_s_own_is_asked_about_every_record() {
        let mut partitioners = Partitioners::default();
        partitioners.set(|_: &Unplaced<'_>| 3);
        let rule = Rule::custom(partitioners.of_topic("t").unwrap().clone());
        assert_eq!((rule.way(Some(b"key"), 10), rule.way(None, 10)), (Way::Anew, Way::Anew));
        assert!(matches!(rule.asked(), Asked::Custom(_)));
    }
}
