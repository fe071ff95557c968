//! Partitioners by name: Java's two, and librdkafka's, for topics that its clients have filled.
//!
//! Source: `partitioner` in librdkafka's CONFIGURATION.md and `rd_kafka_msg_partitioner_*` in its
//! `rdkafka_msg.c`; PRT-2 of the Java producer.
#![forbid(unsafe_code)]

use std::fmt;

use super::partition_of_key;

/// Where records without a partition of their own go (`partitioner.class`).
///
/// The names are those of librdkafka, except for the first two, which are Java's. Every hash is
/// taken modulo the count of all partitions, those without a leader included, so that a key stays
/// where it is. A record that a name's last column calls *sticky* is placed as one without a key
/// is by the built-in partitioner.
///
/// | name | with a key | with an empty key | without a key |
/// |---|---|---|---|
/// | (none) | murmur2 | murmur2 | sticky |
/// | `RoundRobinPartitioner` | in turn | in turn | in turn |
/// | `random` | random | random | sticky |
/// | `consistent` | CRC32 | CRC32 | CRC32 of nothing: one partition |
/// | `consistent_random` | CRC32 | sticky | sticky |
/// | `murmur2` | murmur2 | murmur2 | murmur2 of nothing: one partition |
/// | `murmur2_random` | murmur2 | murmur2 | sticky |
/// | `fnv1a` | FNV-1a | FNV-1a | FNV-1a of nothing: one partition |
/// | `fnv1a_random` | FNV-1a | FNV-1a | sticky |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartitionerClass {
    /// Java's built-in one. The default, and the only one that `partitioner.ignore.keys` is for.
    #[default]
    BuiltIn,
    /// The partitions that have a leader, one after another, record by record; all of them when
    /// none has one. Each record goes to another batch: batches stay small.
    RoundRobin,
    /// A random partition that has a leader for each record with a key.
    Random,
    /// CRC32 of the key.
    Consistent,
    /// CRC32 of a key that is not empty: librdkafka's default.
    ConsistentRandom,
    /// Java's hash of the key.
    Murmur2,
    /// Java's hash of a key that is there: the same as [`BuiltIn`](Self::BuiltIn).
    Murmur2Random,
    /// FNV-1a of the key, as in librdkafka and Sarama.
    Fnv1a,
    /// FNV-1a of a key that is there.
    Fnv1aRandom,
}

impl PartitionerClass {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BuiltIn,
        Self::RoundRobin,
        Self::Random,
        Self::Consistent,
        Self::ConsistentRandom,
        Self::Murmur2,
        Self::Murmur2Random,
        Self::Fnv1a,
        Self::Fnv1aRandom,
    ];

    /// The name as `partitioner.class` has it; empty for the built-in one.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "",
            Self::RoundRobin => "RoundRobinPartitioner",
            Self::Random => "random",
            Self::Consistent => "consistent",
            Self::ConsistentRandom => "consistent_random",
            Self::Murmur2 => "murmur2",
            Self::Murmur2Random => "murmur2_random",
            Self::Fnv1a => "fnv1a",
            Self::Fnv1aRandom => "fnv1a_random",
        }
    }

    /// The partitioner of this name; Java's names with or without their package.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = match name {
            // Kafka before 4.0 had a class for what is built in since.
            "org.apache.kafka.clients.producer.internals.DefaultPartitioner" => "",
            _ => name.strip_prefix("org.apache.kafka.clients.producer.").unwrap_or(name),
        };
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Where a record with this key goes. `count` is at least 1.
    pub(super) fn way(self, key: Option<&[u8]>, count: u32) -> Way {
        let bytes = key.unwrap_or_default();
        let by = |hash: fn(&[u8]) -> u32| Way::To((hash(bytes) % count) as i32);
        match (self, key) {
            (Self::RoundRobin, _) | (Self::Random, Some(_)) => Way::Anew,
            (Self::ConsistentRandom, Some([])) => Way::Sticky,
            (
                Self::BuiltIn
                | Self::Murmur2Random
                | Self::ConsistentRandom
                | Self::Fnv1aRandom
                | Self::Random,
                None,
            ) => Way::Sticky,
            (Self::BuiltIn | Self::Murmur2 | Self::Murmur2Random, _) => {
                Way::To(partition_of_key(bytes, count))
            }
            (Self::Consistent | Self::ConsistentRandom, _) => by(crc32),
            (Self::Fnv1a | Self::Fnv1aRandom, _) => by(fnv1a),
        }
    }
}

impl fmt::Display for PartitionerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a record goes that names no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There.
    To(i32),
    /// To the sticky partition of its thread.
    Sticky,
    /// It has to be asked for each record.
    Anew,
}

const CRC32_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut rest, mut bit) = (at as u32, 0);
        while bit < 8 {
            rest = (rest >> 1) ^ (0xedb8_8320 & (rest & 1).wrapping_neg());
            bit += 1;
        }
        table[at] = rest;
        at += 1;
    }
    table
};

/// The CRC-32 of zip and Ethernet. Keys are short: a table of one byte's is as fast as any.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |rest, byte| CRC32_TABLE[usize::from(rest as u8 ^ byte)] ^ (rest >> 8))
}

/// FNV-1a of 32 bits, without its sign as librdkafka and Sarama have it: the absolute value.
fn fnv1a(bytes: &[u8]) -> u32 {
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash as i32).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_java_s_or_librdkafka_s() {
        for class in PartitionerClass::ALL {
            assert_eq!(PartitionerClass::of_name(class.name()), Some(class));
            assert_eq!(class.to_string(), class.name());
        }
        let of = PartitionerClass::of_name;
        let package = "org.apache.kafka.clients.producer";
        let round_robin = format!("{package}.RoundRobinPartitioner");
        assert_eq!(of(&round_robin), Some(PartitionerClass::RoundRobin));
        let default = format!("{package}.internals.DefaultPartitioner");
        assert_eq!(of(&default), Some(PartitionerClass::BuiltIn));
        for name in ["com.example.Mine", "Consistent", "roundrobin", " "] {
            assert_eq!(of(name), None, "{name:?}");
        }
    }

    #[test]
    fn crc32_is_that_of_librdkafka_s_partitioner_test() {
        let long = "this is another string with more length to it perhaps";
        let vectors = [
            ("", 0),
            ("123456789", 0xcbf4_3926),
            ("23456", 0xb1b4_51d7),
            (long, 0xb015_0df7),
            ("hejsan", 0xd077_037e),
        ];
        for (key, hash) in vectors {
            assert_eq!(crc32(key.as_bytes()), hash, "{key:?}");
        }
    }

    #[test]
    fn fnv1a_is_that_of_librdkafka_s_partitioner_test() {
        let long = "this is another string with more length to it perhaps";
        let vectors = [
            ("", 0x7ee3_623b),
            ("23456", 0x27e6_f469),
            (long, 0x155e_3e5f),
            ("hejsan", 0x17b1_e27a),
            ("kafka", 0x0d33_c4e1),
            ("giberish123456789", 0x77a5_8295),
            ("1234", 0x023b_dd03),
        ];
        for (key, hash) in vectors {
            assert_eq!(fnv1a(key.as_bytes()), hash, "{key:?}");
        }
    }

    #[test]
    fn null_and_empty_keys_go_where_librdkafka_puts_them() {
        use PartitionerClass as Class;
        let crc_of_nothing = Way::To(0);
        let fnv_of_nothing = Way::To((0x7ee3_623b_u32 % 17) as i32);
        let murmur_of_nothing = Way::To((0x106e_08d9_u32 % 17) as i32);
        let expected = [
            (Class::BuiltIn, Way::Sticky, murmur_of_nothing),
            (Class::RoundRobin, Way::Anew, Way::Anew),
            (Class::Random, Way::Sticky, Way::Anew),
            (Class::Consistent, crc_of_nothing, crc_of_nothing),
            (Class::ConsistentRandom, Way::Sticky, Way::Sticky),
            (Class::Murmur2, murmur_of_nothing, murmur_of_nothing),
            (Class::Murmur2Random, Way::Sticky, murmur_of_nothing),
            (Class::Fnv1a, fnv_of_nothing, fnv_of_nothing),
            (Class::Fnv1aRandom, Way::Sticky, fnv_of_nothing),
        ];
        for (class, null, empty) in expected {
            assert_eq!(class.way(None, 17), null, "{class:?}, no key");
            assert_eq!(class.way(Some(b""), 17), empty, "{class:?}, empty key");
        }
    }

    #[test]
    fn keys_go_where_librdkafka_puts_them() {
        use PartitionerClass as Class;
        let keys = ["23456", "this is another string with more length to it perhaps", "hejsan"];
        let hashes = [
            (Class::Consistent, [0xb1b4_51d7_u32, 0xb015_0df7, 0xd077_037e]),
            (Class::ConsistentRandom, [0xb1b4_51d7, 0xb015_0df7, 0xd077_037e]),
            (Class::Murmur2, [0x058d_780f, 0x4f77_03da, 0x5ec1_9395]),
            (Class::Murmur2Random, [0x058d_780f, 0x4f77_03da, 0x5ec1_9395]),
            (Class::BuiltIn, [0x058d_780f, 0x4f77_03da, 0x5ec1_9395]),
            (Class::Fnv1a, [0x27e6_f469, 0x155e_3e5f, 0x17b1_e27a]),
            (Class::Fnv1aRandom, [0x27e6_f469, 0x155e_3e5f, 0x17b1_e27a]),
        ];
        for (class, hashes) in hashes {
            for (key, hash) in keys.iter().zip(hashes) {
                for count in [1, 7, 17, 1000] {
                    let way = class.way(Some(key.as_bytes()), count);
                    assert_eq!(way, Way::To((hash % count) as i32), "{class:?} {key:?} {count}");
                }
            }
        }
    }
}
