//! The answers other than Produce's: ApiVersions, Metadata, InitProducerId, FindCoordinator.
//!
//! Bounds:   an answer stays below `ANSWER_BYTES_MAX`, or the connection is closed.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::topics::{TopicError, Topics};
use super::wire::{Reader, WireError, Writer};

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const METADATA: i16 = 3;
pub(crate) const FIND_COORDINATOR: i16 = 10;
pub(crate) const API_VERSIONS: i16 = 18;
pub(crate) const INIT_PRODUCER_ID: i16 = 22;

/// What is announced: key, lowest, highest version.
///
/// Two lines are there for librdkafka, which derives its features from this table: it takes a
/// broker without Produce 0 to 2 or without Fetch for one that cannot store record batches v2
/// (Kafka 4 announces Produce 0 for the same reason). Both are refused when really used.
const ANNOUNCED: [(i16, i16, i16); 6] = [
    (PRODUCE, 0, 13),
    (1, 0, 12),
    (METADATA, 0, 13),
    (FIND_COORDINATOR, 0, 6),
    (API_VERSIONS, 0, 4),
    (INIT_PRODUCER_ID, 0, 5),
];

/// The node id of the first broker; the others count up.
const FIRST_NODE: i32 = 1;
/// A request may ask for thousands of topics; what it gets back is bounded all the same.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 20;

pub(crate) const NO_ERROR: i16 = 0;
pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const INVALID_TOPIC: i16 = 17;
const UNSUPPORTED_VERSION: i16 = 35;
const POLICY_VIOLATION: i16 = 44;
pub(crate) const UNKNOWN_TOPIC_ID: i16 = 100;

impl TopicError {
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::InvalidName => INVALID_TOPIC,
            Self::TooMany => POLICY_VIOLATION,
        }
    }
}

/// Whether this request can be read: ApiVersions always can, its unknown versions have an answer.
pub(crate) fn is_served(api: i16, version: i16) -> bool {
    match api {
        PRODUCE => (3..=13).contains(&version),
        METADATA => (0..=13).contains(&version),
        FIND_COORDINATOR => (0..=6).contains(&version),
        API_VERSIONS => version >= 0,
        INIT_PRODUCER_ID => (0..=5).contains(&version),
        _ => false,
    }
}

/// Whether request and answer of this version are in the flexible form.
pub(crate) fn is_flexible(api: i16, version: i16) -> bool {
    let since = match api {
        PRODUCE | METADATA => 9,
        INIT_PRODUCER_ID => 2,
        _ => 3,
    };
    version >= since
}

/// ApiVersions; a version above 4 gets version 0's form, the error and the table.
pub(crate) fn api_versions(version: i16, out: &mut Vec<u8>) {
    let is_known = version <= 4;
    let version = if is_known { version } else { 0 };
    let mut writer = Writer::new(out, version >= 3);
    writer.i16(if is_known { NO_ERROR } else { UNSUPPORTED_VERSION });
    writer.count(ANNOUNCED.len());
    for (key, lowest, highest) in ANNOUNCED {
        writer.i16(key);
        writer.i16(lowest);
        writer.i16(highest);
        writer.tags();
    }
    if version >= 1 {
        writer.i32(0); // throttle
    }
    writer.tags();
}

/// InitProducerId: every call gets a new id with epoch 0.
pub(crate) fn init_producer_id(version: i16, producer_id: i64, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out, version >= 2);
    writer.i32(0); // throttle
    writer.i16(NO_ERROR);
    writer.i64(producer_id);
    writer.i16(0); // epoch
    writer.tags();
}

/// The node that leads a partition: they take turns.
fn leader_of(partition: usize, brokers: usize) -> i32 {
    FIRST_NODE + i32::try_from(partition % brokers).expect("there are few brokers")
}

/// FindCoordinator: the first broker, whatever the key.
pub(crate) fn find_coordinator(
    reader: &mut Reader<'_>,
    version: i16,
    address: SocketAddr,
    bytes_left: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let flexible = version >= 3;
    let host = address.ip().to_string();
    let mut writer = Writer::new(out, flexible);
    if version < 4 {
        reader.string(flexible)?;
        if version >= 1 {
            reader.i8()?;
            writer.i32(0); // throttle
        }
        writer.i16(NO_ERROR);
        if version >= 1 {
            writer.null_string();
        }
        writer.i32(FIRST_NODE);
        writer.string(&host);
        writer.i32(i32::from(address.port()));
        writer.tags();
        return Ok(());
    }
    reader.i8()?;
    let count = reader.count(flexible, bytes_left)?.unwrap_or(0);
    writer.i32(0); // throttle
    writer.count(count);
    for _ in 0..count {
        writer.string(reader.string(flexible)?);
        writer.i32(FIRST_NODE);
        writer.string(&host);
        writer.i32(i32::from(address.port()));
        writer.i16(NO_ERROR);
        writer.null_string();
        writer.tags();
        check_size(&writer)?;
    }
    writer.tags();
    Ok(())
}

/// What a metadata request names: by name, or by id since version 10.
enum Asked<'a> {
    Name(&'a str),
    Id([u8; 16]),
}

fn read_asked<'a>(reader: &mut Reader<'a>, version: i16) -> Result<Asked<'a>, WireError> {
    let flexible = version >= 9;
    let asked = if version >= 10 {
        let id = reader.uuid()?;
        match reader.nullable_string(flexible)? {
            Some(name) => Asked::Name(name),
            None => Asked::Id(id),
        }
    } else {
        Asked::Name(reader.string(flexible)?)
    };
    reader.tags(flexible)?;
    Ok(asked)
}

/// Metadata: the brokers lead the partitions of every topic in turn.
pub(crate) struct Metadata<'a> {
    pub(crate) version: i16,
    /// Where the brokers listen, at least one.
    pub(crate) brokers: &'a [SocketAddr],
    pub(crate) topics: &'a mut Topics,
    /// A topic is made by its first request, which is answered as a broker does that creates
    /// topics: unknown so far.
    pub(crate) first_is_unknown: bool,
}

impl Metadata<'_> {
    pub(crate) fn answer(
        &mut self,
        reader: &mut Reader<'_>,
        bytes_left: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let version = self.version;
        let mut writer = Writer::new(out, version >= 9);
        self.write_brokers(&mut writer);
        let asked = match reader.count(version >= 9, bytes_left)? {
            // Version 0 has no null: an empty array means all topics.
            Some(0) if version == 0 => None,
            asked => asked,
        };
        match asked {
            Some(count) => {
                writer.count(count);
                for _ in 0..count {
                    let asked = read_asked(reader, version)?;
                    self.write_asked(&mut writer, &asked);
                    check_size(&writer)?;
                }
            }
            None => {
                writer.count(self.topics.list().len());
                for index in 0..self.topics.list().len() {
                    self.write_topic(&mut writer, NO_ERROR, Some(index), "");
                    check_size(&writer)?;
                }
            }
        }
        if (8..=10).contains(&version) {
            writer.i32(i32::MIN); // authorised operations: not asked
        }
        if version >= 13 {
            writer.i16(NO_ERROR);
        }
        writer.tags();
        Ok(())
    }

    fn write_brokers(&self, writer: &mut Writer<'_>) {
        if self.version >= 3 {
            writer.i32(0); // throttle
        }
        writer.count(self.brokers.len());
        for (address, node) in self.brokers.iter().zip(FIRST_NODE..) {
            writer.i32(node);
            writer.string(&address.ip().to_string());
            writer.i32(i32::from(address.port()));
            if self.version >= 1 {
                writer.null_string(); // rack
            }
            writer.tags();
        }
        if self.version >= 2 {
            writer.string("kuring-sink");
        }
        if self.version >= 1 {
            writer.i32(FIRST_NODE); // controller
        }
    }

    fn write_asked(&mut self, writer: &mut Writer<'_>, asked: &Asked<'_>) {
        match *asked {
            Asked::Name(name) => {
                let is_new = self.topics.find(name).is_none();
                match self.topics.open(name) {
                    Ok(_) if is_new && self.first_is_unknown => {
                        self.write_topic(writer, UNKNOWN_TOPIC_OR_PARTITION, None, name);
                    }
                    Ok(index) => self.write_topic(writer, NO_ERROR, Some(index), name),
                    Err(error) => self.write_topic(writer, error.code(), None, name),
                }
            }
            Asked::Id(id) => match self.topics.find_id(&id) {
                Some(index) => self.write_topic(writer, NO_ERROR, Some(index), ""),
                None => self.write_unknown_id(writer, &id),
            },
        }
    }

    /// A topic by its index, or the name with an error and no partitions.
    fn write_topic(&self, writer: &mut Writer<'_>, error: i16, index: Option<usize>, name: &str) {
        let topic = index.map(|index| self.topics.topic(index));
        writer.i16(error);
        writer.string(topic.map_or(name, |topic| &topic.name));
        if self.version >= 10 {
            writer.raw(&topic.map_or([0; 16], |topic| topic.id));
        }
        if self.version >= 1 {
            writer.bool(false); // internal
        }
        let partition_count = topic.map_or(0, |_| self.topics.partition_count());
        writer.count(partition_count);
        for partition in 0..partition_count {
            self.write_partition(writer, partition);
        }
        self.end_topic(writer);
    }

    fn write_unknown_id(&self, writer: &mut Writer<'_>, id: &[u8; 16]) {
        writer.i16(UNKNOWN_TOPIC_ID);
        // The name became nullable only with version 12, when asking by id did.
        if self.version >= 12 {
            writer.null_string()
        } else {
            writer.string("")
        }
        writer.raw(id);
        writer.bool(false);
        writer.count(0);
        self.end_topic(writer);
    }

    fn write_partition(&self, writer: &mut Writer<'_>, partition: usize) {
        writer.i16(NO_ERROR);
        writer.i32(i32::try_from(partition).expect("partition counts are i32 on the wire"));
        let leader = leader_of(partition, self.brokers.len());
        writer.i32(leader);
        if self.version >= 7 {
            writer.i32(0); // leader epoch
        }
        for _ in ["replicas", "in sync"] {
            writer.count(1);
            writer.i32(leader);
        }
        if self.version >= 5 {
            writer.count(0); // offline
        }
        writer.tags();
    }

    fn end_topic(&self, writer: &mut Writer<'_>) {
        if self.version >= 8 {
            writer.i32(i32::MIN); // authorised operations: not asked
        }
        writer.tags();
    }
}

fn check_size(writer: &Writer<'_>) -> Result<(), WireError> {
    if writer.len() > ANSWER_BYTES_MAX {
        return Err(WireError::Malformed("a request whose answer exceeds 16 MiB"));
    }
    Ok(())
}
