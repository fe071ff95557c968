//! Requests as a broker reads them: every byte of a body is accounted for.
//!
//! Bounds:   a count is believed only where the bytes behind it could hold that many elements.
//! Source:   the Kafka protocol guide; KIP-516 (topic ids).
#![forbid(unsafe_code)]

use super::api::{Api, Header};
use crate::ids::TopicId;
use crate::protocol::{Reader, WireError};

/// How a request names a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopicRef<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// What a produce request carries for one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) topic: TopicRef<'a>,
    pub(super) partition: i32,
    pub(super) records: Option<&'a [u8]>,
}

/// Which broker of which cluster a client wants to talk to (KIP-1242).
#[derive(Clone, Copy, Debug)]
pub(super) struct Intended<'a> {
    pub(super) cluster_id: Option<&'a str>,
    /// Negative for none.
    pub(super) node: i32,
}

impl Intended<'_> {
    pub(super) const NOBODY: Self = Self { cluster_id: None, node: -1 };
}

#[derive(Debug)]
pub(super) struct Produce<'a> {
    pub(super) is_transactional: bool,
    pub(super) acks: i16,
    pub(super) sent: Vec<Sent<'a>>,
}

#[derive(Debug)]
pub(super) struct Metadata<'a> {
    /// None asks for all.
    pub(super) topics: Option<Vec<TopicRef<'a>>>,
    pub(super) may_create: bool,
}

/// What a consumer asks of one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) topic: TopicRef<'a>,
    pub(super) partition: i32,
    /// Fetch: from here on. ListOffsets: the time, or -1 for the end, -2 for the start.
    pub(super) position: i64,
    pub(super) bytes_max: i32,
}

#[derive(Debug)]
pub(super) struct Fetch<'a> {
    pub(super) wait_ms: i32,
    pub(super) bytes_max: i32,
    pub(super) wanted: Vec<Wanted<'a>>,
}

#[derive(Debug)]
pub(super) enum Body<'a> {
    ApiVersions(Intended<'a>),
    Metadata(Metadata<'a>),
    InitProducerId { is_transactional: bool },
    Produce(Produce<'a>),
    ListOffsets(Vec<Wanted<'a>>),
    Fetch(Fetch<'a>),
}

impl<'a> Body<'a> {
    /// Reads the body of a request whose header was read.
    ///
    /// # Errors
    /// When it is not what its version says, to the last byte.
    pub(super) fn read(header: &Header<'_>, bytes: &'a [u8]) -> Result<Self, WireError> {
        if !header.is_spoken {
            return Ok(Self::ApiVersions(Intended::NOBODY));
        }
        let mut reader = Reader::new(bytes, header.is_flexible());
        let version = header.version;
        let body = match header.api {
            Api::ApiVersions => {
                if version >= 3 {
                    reader.string("client_software_name")?;
                    reader.string("client_software_version")?;
                }
                let mut intended = Intended::NOBODY;
                if version >= 5 {
                    intended.cluster_id = reader.nullable_string("cluster_id")?;
                    intended.node = reader.i32("node_id")?;
                }
                Self::ApiVersions(intended)
            }
            Api::Metadata => Self::Metadata(metadata(version, &mut reader)?),
            Api::InitProducerId => {
                let transactional_id = reader.nullable_string("transactional_id")?;
                reader.i32("transaction_timeout_ms")?;
                if version >= 3 {
                    reader.i64("producer_id")?;
                    reader.i16("producer_epoch")?;
                }
                Self::InitProducerId { is_transactional: transactional_id.is_some() }
            }
            Api::Produce => Self::Produce(produce(version, &mut reader)?),
            Api::ListOffsets => Self::ListOffsets(list_offsets(version, &mut reader)?),
            Api::Fetch => Self::Fetch(fetch(version, &mut reader)?),
        };
        reader.skip_tags("tags")?;
        reader.finish("the end of the request")?;
        Ok(body)
    }
}

/// A topic's name, no longer than an answer in any version can repeat it.
fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let offset = reader.position();
    let name = reader.string("topic")?;
    if i16::try_from(name.len()).is_err() {
        return Err(WireError::Malformed { field: "topic", offset });
    }
    Ok(name)
}

/// The count of an array, zero for null.
fn count(reader: &mut Reader<'_>, field: &'static str) -> Result<usize, WireError> {
    Ok(reader.nullable_array_len(1, field)?.unwrap_or(0))
}

fn metadata<'a>(version: i16, reader: &mut Reader<'a>) -> Result<Metadata<'a>, WireError> {
    let asked = match reader.nullable_array_len(2, "topics")? {
        // Version 0 has no null: an empty list asks for all.
        Some(0) if version == 0 => None,
        asked => asked,
    };
    let mut topics = asked.map(|_| Vec::new());
    for _ in 0..asked.unwrap_or(0) {
        let id = if version >= 10 { reader.uuid("topic_id")? } else { TopicId::ZERO };
        let topic = match id {
            TopicId::ZERO => TopicRef::Name(name(reader)?),
            // Whoever asks by id need not know the name; whoever says both means the name.
            id => match reader.nullable_string("name")? {
                Some(name) if i16::try_from(name.len()).is_ok() => TopicRef::Name(name),
                Some(_) | None => TopicRef::Id(id),
            },
        };
        reader.skip_tags("topic tags")?;
        topics.as_mut().expect("it was asked for some").push(topic);
    }
    let may_create = version < 4 || reader.bool("allow_auto_topic_creation")?;
    if (8..=10).contains(&version) {
        reader.bool("include_cluster_authorized_operations")?;
    }
    if version >= 8 {
        reader.bool("include_topic_authorized_operations")?;
    }
    Ok(Metadata { topics, may_create })
}

/// A topic by name, or by id from version 13 on: Produce and Fetch changed in the same version.
fn topic<'a>(version: i16, reader: &mut Reader<'a>) -> Result<TopicRef<'a>, WireError> {
    if version >= 13 {
        return reader.uuid("topic_id").map(TopicRef::Id);
    }
    name(reader).map(TopicRef::Name)
}

fn produce<'a>(version: i16, reader: &mut Reader<'a>) -> Result<Produce<'a>, WireError> {
    let is_transactional = reader.nullable_string("transactional_id")?.is_some();
    let acks = reader.i16("acks")?;
    reader.i32("timeout_ms")?;
    let mut sent = Vec::new();
    for _ in 0..count(reader, "topics")? {
        let topic = topic(version, reader)?;
        for _ in 0..count(reader, "partitions")? {
            let partition = reader.i32("index")?;
            sent.push(Sent { topic, partition, records: reader.nullable_bytes("records")? });
            reader.skip_tags("partition tags")?;
        }
        reader.skip_tags("topic tags")?;
    }
    Ok(Produce { is_transactional, acks, sent })
}

fn list_offsets<'a>(version: i16, reader: &mut Reader<'a>) -> Result<Vec<Wanted<'a>>, WireError> {
    reader.i32("replica_id")?;
    if version >= 2 {
        reader.i8("isolation_level")?;
    }
    let mut wanted = Vec::new();
    for _ in 0..count(reader, "topics")? {
        let topic = TopicRef::Name(name(reader)?);
        for _ in 0..count(reader, "partitions")? {
            let partition = reader.i32("partition_index")?;
            if version >= 4 {
                reader.i32("current_leader_epoch")?;
            }
            let position = reader.i64("timestamp")?;
            wanted.push(Wanted { topic, partition, position, bytes_max: 0 });
            reader.skip_tags("partition tags")?;
        }
        reader.skip_tags("topic tags")?;
    }
    Ok(wanted)
}

fn fetch<'a>(version: i16, reader: &mut Reader<'a>) -> Result<Fetch<'a>, WireError> {
    reader.i32("replica_id")?;
    let wait_ms = reader.i32("max_wait_ms")?;
    reader.i32("min_bytes")?;
    let bytes_max = reader.i32("max_bytes")?;
    reader.i8("isolation_level")?;
    if version >= 7 {
        reader.i32("session_id")?;
        reader.i32("session_epoch")?;
    }
    let mut wanted = Vec::new();
    for _ in 0..count(reader, "topics")? {
        let topic = topic(version, reader)?;
        for _ in 0..count(reader, "partitions")? {
            wanted.push(fetched_partition(version, topic, reader)?);
        }
        reader.skip_tags("topic tags")?;
    }
    if version >= 7 {
        for _ in 0..count(reader, "forgotten_topics")? {
            topic_partitions(version, reader)?;
        }
    }
    if version >= 11 {
        reader.string("rack_id")?;
    }
    Ok(Fetch { wait_ms, bytes_max, wanted })
}

fn fetched_partition<'a>(
    version: i16,
    topic: TopicRef<'a>,
    reader: &mut Reader<'a>,
) -> Result<Wanted<'a>, WireError> {
    let partition = reader.i32("partition")?;
    if version >= 9 {
        reader.i32("current_leader_epoch")?;
    }
    let position = reader.i64("fetch_offset")?;
    if version >= 12 {
        reader.i32("last_fetched_epoch")?;
    }
    if version >= 5 {
        reader.i64("log_start_offset")?;
    }
    let bytes_max = reader.i32("partition_max_bytes")?;
    reader.skip_tags("partition tags")?;
    Ok(Wanted { topic, partition, position, bytes_max })
}

/// Partitions that a fetch session should forget: there are no sessions here.
fn topic_partitions(version: i16, reader: &mut Reader<'_>) -> Result<(), WireError> {
    topic(version, reader)?;
    for _ in 0..count(reader, "partitions")? {
        reader.i32("partition")?;
    }
    reader.skip_tags("forgotten tags")
}
