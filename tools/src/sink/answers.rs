//! The answers other than Produce's: ApiVersions, Metadata, InitProducerId, FindCoordinator.
//!
//! Bounds:   an answer stays below `ANSWER_BYTES_MAX`, or the connection is closed.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use kuring::ErrorCode;
use kuring::ids::TopicId;
use kuring::protocol::Writer;
use kuring::testing::answers::{
    self, Announced, Endpoint, MetadataAnswer, PartitionHead, TopicHead,
};

use super::topics::{TopicError, Topics};
use super::wire::{Reader, WireError};

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
const ANNOUNCED: [Announced; 6] = [
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

impl TopicError {
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::InvalidName => ErrorCode::InvalidTopicException,
            Self::TooMany => ErrorCode::PolicyViolation,
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
    let code = if is_known { ErrorCode::None } else { ErrorCode::UnsupportedVersion };
    let mut fields = Writer::new(out, version >= 3);
    answers::api_versions(&mut fields, version, code, ANNOUNCED.into_iter(), 0);
}

/// InitProducerId: every call gets a new id with epoch 0.
pub(crate) fn init_producer_id(version: i16, producer_id: i64, out: &mut Vec<u8>) {
    answers::init_producer_id(&mut Writer::new(out, version >= 2), Ok(producer_id), 0);
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
        writer.i16(ErrorCode::None.wire());
        if version >= 1 {
            writer.nullable_string(None);
        }
        writer.i32(FIRST_NODE);
        writer.string(&host);
        writer.i32(i32::from(address.port()));
        writer.no_tags();
        return Ok(());
    }
    reader.i8()?;
    let count = reader.count(flexible, bytes_left)?.unwrap_or(0);
    writer.i32(0); // throttle
    writer.array_len(Some(count));
    for _ in 0..count {
        writer.string(reader.string(flexible)?);
        writer.i32(FIRST_NODE);
        writer.string(&host);
        writer.i32(i32::from(address.port()));
        writer.i16(ErrorCode::None.wire());
        writer.nullable_string(None);
        writer.no_tags();
        check_size(writer.position())?;
    }
    writer.no_tags();
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
        let asked = match reader.count(version >= 9, bytes_left)? {
            // Version 0 has no null: an empty array means all topics.
            Some(0) if version == 0 => None,
            asked => asked,
        };
        let brokers: Vec<_> = self.brokers.iter().zip(FIRST_NODE..).map(endpoint).collect();
        let topics = asked.unwrap_or_else(|| self.topics.list().len());
        let fields = Writer::new(out, version >= 9);
        let mut answer = MetadataAnswer::begin(fields, version, 0, &brokers, "kuring-sink", topics);
        for index in 0..topics {
            if asked.is_some() {
                let asked = read_asked(reader, version)?;
                self.write_asked(&mut answer, &asked);
            } else {
                self.write_topic(&mut answer, index);
            }
            check_size(answer.bytes())?;
        }
        answer.end();
        Ok(())
    }

    fn write_asked(&mut self, answer: &mut MetadataAnswer<'_>, asked: &Asked<'_>) {
        let missing = |code, name, id| TopicHead { code, name, id, partitions: 0 };
        let head = match *asked {
            Asked::Name(name) => {
                let is_new = self.topics.find(name).is_none();
                match self.topics.open(name) {
                    Ok(_) if is_new && self.first_is_unknown => {
                        missing(ErrorCode::UnknownTopicOrPartition, Some(name), TopicId::ZERO)
                    }
                    Ok(index) => return self.write_topic(answer, index),
                    Err(error) => missing(error.code(), Some(name), TopicId::ZERO),
                }
            }
            Asked::Id(id) => match self.topics.find_id(&id) {
                Some(index) => return self.write_topic(answer, index),
                None => missing(ErrorCode::UnknownTopicId, None, TopicId(id)),
            },
        };
        answer.topic(&head);
        answer.end_topic();
    }

    /// A topic that is there, by its place in the table.
    fn write_topic(&self, answer: &mut MetadataAnswer<'_>, index: usize) {
        let (topic, partitions) = (self.topics.topic(index), self.topics.partition_count());
        let (code, name, id) = (ErrorCode::None, Some(&*topic.name), TopicId(topic.id));
        answer.topic(&TopicHead { code, name, id, partitions });
        for partition in 0..partitions {
            let leader = leader_of(partition, self.brokers.len());
            let index = i32::try_from(partition).expect("partition counts are i32 on the wire");
            let head = PartitionHead { code, index, leader, leader_epoch: 0 };
            answer.partition(&head, [leader].into_iter());
        }
        answer.end_topic();
    }
}

fn endpoint((address, node): (&SocketAddr, i32)) -> Endpoint {
    Endpoint { node, host: address.ip().to_string(), port: address.port() }
}

fn check_size(bytes: usize) -> Result<(), WireError> {
    if bytes > ANSWER_BYTES_MAX {
        return Err(WireError::Malformed("a request whose answer exceeds 16 MiB"));
    }
    Ok(())
}
