//! Newtypes for everything that has a number, so that a node id is never taken for a partition.
#![forbid(unsafe_code)]

use std::fmt;

/// A broker's node id. Bootstrap addresses have negative ids of their own (MD-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerId(pub i32);

/// A topic's id (KIP-516). All zero means "not known".
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The id of a topic whose id is not known.
    pub const ZERO: Self = Self([0; 16]);
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A client's id in the telemetry of a cluster (KIP-714): 16 bytes. Displayed as Kafka writes a
/// `Uuid`, in 22 letters: the alphabet of URLs in RFC 4648 section 5, without padding. All zero
/// means "not given yet".
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ClientInstanceId(pub [u8; 16]);

impl ClientInstanceId {
    /// The id of a client that has not been given one.
    pub const ZERO: Self = Self([0; 16]);
}

/// The digits of base64 as URLs have them.
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for ClientInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(22);
        // 21 digits of six bits; the last two bits lead the 22nd.
        let digits = (0..21).map(|at| bits >> (122 - 6 * at)).chain([bits << 4]);
        text.extend(digits.map(|digit| char::from(BASE64_URL[(digit & 63) as usize])));
        f.pad(&text)
    }
}

impl fmt::Debug for ClientInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A connection of one shard: a slot that is reused, and the generation that tells its lives apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Index into the shard's connection table.
    pub slot: u32,
    /// Counts the lives of the slot: an event of an earlier life is recognised and dropped.
    pub generation: u32,
}

/// A producer id and its epoch, as the broker gave them (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer id; -1 when there is none.
    pub id: i64,
    /// The producer epoch; -1 when there is none.
    pub epoch: i16,
}

impl ProducerIdentity {
    /// No identity: what a producer without idempotence stamps.
    pub const NONE: Self = Self { id: -1, epoch: -1 };
}

/// A record sequence number: 0 to `i32::MAX`, then 0 again, never negative (RBF-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(i32);

impl Sequence {
    /// The first sequence of a partition.
    pub const ZERO: Self = Self(0);

    /// A sequence from its wire value; the sign bit is dropped.
    pub fn new(value: i32) -> Self {
        Self(value & i32::MAX)
    }

    /// The wire value.
    pub fn value(self) -> i32 {
        self.0
    }

    /// The sequence `count` records further on, wrapping from `i32::MAX` to 0.
    #[must_use]
    pub fn advance(self, count: u32) -> Self {
        Self((self.0 as u32).wrapping_add(count) as i32 & i32::MAX)
    }

    /// How many records `self` is ahead of `earlier`, modulo 2^31 (SEQ-11).
    pub fn distance_from(self, earlier: Self) -> u32 {
        (self.0 as u32).wrapping_sub(earlier.0 as u32) & i32::MAX as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tel_1_an_instance_id_is_written_as_kafka_writes_a_uuid() {
        let text = |bytes| ClientInstanceId(bytes).to_string();
        assert_eq!(text([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(text([0xff; 16]), "_____________________w");
        assert_eq!(text(*b"kuring-tests-001"), "a3VyaW5nLXRlc3RzLTAwMQ");
        assert_eq!(format!("{:>24}", ClientInstanceId::ZERO), "  AAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn rbf_11_sequences_wrap_to_zero_and_never_go_negative() {
        assert_eq!(Sequence::new(5).advance(5).value(), 10);
        assert_eq!(Sequence::new(i32::MAX).advance(1).value(), 0);
        assert_eq!(Sequence::new(i32::MAX - 5).advance(10).value(), 4);
        assert_eq!(Sequence::new(i32::MAX).advance(100).value(), 99);
    }

    #[test]
    fn seq_11_distance_is_taken_modulo_two_to_the_31() {
        assert_eq!(Sequence::new(4).distance_from(Sequence::new(i32::MAX - 5)), 10);
        assert_eq!(Sequence::ZERO.distance_from(Sequence::new(i32::MAX)), 1);
        assert_eq!(Sequence::new(7).distance_from(Sequence::new(7)), 0);
    }
}
