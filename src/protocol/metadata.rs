//! Metadata: brokers, topics, partitions and who leads them, versions 4 to 13.
//!
//! | request | since | | response | since |
//! |---|---|---|---|---|
//! | topics: id | 10 | | throttle time | 4 |
//! | topics: name, nullable from 10 | 4 | | brokers: id, host, port, rack | 4 |
//! | allow auto topic creation | 4 | | cluster id, controller id | 4 |
//! | include cluster operations | 8-10 | | topics: error, name (nullable from 12) | 4 |
//! | include topic operations | 8 | | topics: id | 10 |
//! | | | | topics: internal, partitions | 4 |
//! | | | | partitions: error, index, leader | 4 |
//! | | | | partitions: leader epoch | 7 |
//! | | | | partitions: replicas, isr | 4 |
//! | | | | partitions: offline replicas | 5 |
//! | | | | topics: authorized operations | 8 |
//! | | | | cluster authorized operations | 8-10 |
//! | | | | error code | 13 |
//!
//! Source:   KIP-430, KIP-482, KIP-516 (topic ids), KIP-1102 (the error at the end).
#![forbid(unsafe_code)]

use super::api::{ApiKey, RequestHeader};
use super::error_code::ErrorCode;
use super::wire::{Reader, WireError};
use crate::ids::{BrokerId, TopicId};

/// Appends a whole request, size prefix included: for the named topics, or all when None. Topics
/// that do not exist may be created (MD-12). An empty list asks for the brokers only.
///
/// # Panics
/// When the version is not one of ours, or a name is longer than 32767 bytes.
pub fn encode_request<S: AsRef<str>>(
    out: &mut Vec<u8>,
    header: &RequestHeader<'_>,
    topics: Option<&[S]>,
) {
    encode(out, header, topics, true);
}

/// Appends a whole request as [`encode_request`] does, but no topic is created by asking for it.
///
/// # Panics
/// When the version is not one of ours, or a name is longer than 32767 bytes.
pub fn encode_inquiry<S: AsRef<str>>(
    out: &mut Vec<u8>,
    header: &RequestHeader<'_>,
    topics: Option<&[S]>,
) {
    encode(out, header, topics, false);
}

fn encode<S: AsRef<str>>(
    out: &mut Vec<u8>,
    header: &RequestHeader<'_>,
    topics: Option<&[S]>,
    may_create: bool,
) {
    let version = header.version;
    let mut request = header.begin(ApiKey::Metadata, out);
    let fields = &mut request.fields;
    fields.array_len(topics.map(<[S]>::len));
    for topic in topics.unwrap_or_default() {
        if version >= 10 {
            fields.uuid(TopicId::ZERO);
        }
        fields.string(topic.as_ref());
        fields.no_tags();
    }
    fields.bool(may_create);
    if (8..=10).contains(&version) {
        fields.bool(false);
    }
    if version >= 8 {
        fields.bool(false);
    }
    fields.no_tags();
    request.end(0);
}

/// One broker's view of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponse {
    /// How long the broker wants the connection to rest.
    pub throttle_ms: i32,
    /// The live brokers.
    pub brokers: Vec<Broker>,
    /// The cluster's id, if it has one.
    pub cluster_id: Option<String>,
    /// The controller, -1 when unknown.
    pub controller_id: BrokerId,
    /// The topics that were asked for.
    pub topics: Vec<TopicMetadata>,
    /// The answer as a whole; `RebootstrapRequired` can stand here (RBT-3).
    pub error: ErrorCode,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The node id.
    pub id: BrokerId,
    /// A host name or an address.
    pub host: String,
    /// The port as it came; 0 to 65535 is for the user of it to check.
    pub port: i32,
    /// The rack, if the broker was told its own.
    pub rack: Option<String>,
}

/// One topic of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// The verdict on the topic.
    pub error: ErrorCode,
    /// The name; null only for an id that the broker does not know.
    pub name: Option<String>,
    /// The id; zero when the broker has none or speaks a version before 10.
    pub id: TopicId,
    /// Whether the topic belongs to Kafka itself.
    pub internal: bool,
    /// The partitions, in the broker's order.
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The verdict on the partition.
    pub error: ErrorCode,
    /// The partition's number.
    pub index: i32,
    /// The leader, -1 when there is none.
    pub leader: BrokerId,
    /// The leader's epoch, -1 before version 7.
    pub leader_epoch: i32,
    /// The brokers that hold the partition.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are in sync.
    pub isr: Vec<BrokerId>,
    /// Those of them that are offline; empty before version 5.
    pub offline: Vec<BrokerId>,
}

/// Reads the answer to a request of `version`. Allocates in proportion to `body`.
///
/// # Errors
/// When the bytes are not such an answer.
pub fn decode_response(version: i16, body: &[u8]) -> Result<MetadataResponse, WireError> {
    let mut reader = ApiKey::Metadata.body_reader(version, body)?;
    let throttle_ms = reader.i32("throttle_time_ms")?;
    // id, host, port, rack in the flexible style, the shorter one.
    let brokers = decode_array(&mut reader, 4 + 1 + 4 + 1, "brokers", decode_broker)?;
    let cluster_id = reader.nullable_string("cluster_id")?.map(str::to_owned);
    let controller_id = BrokerId(reader.i32("controller_id")?);
    let topic = |reader: &mut Reader<'_>| decode_topic(version, reader);
    // error, name, internal, partitions
    let topics = decode_array(&mut reader, 2 + 1 + 1 + 1, "topics", topic)?;
    if (8..=10).contains(&version) {
        reader.i32("cluster_authorized_operations")?;
    }
    let error = if version >= 13 { reader.i16("error_code")? } else { 0 };
    reader.skip_tags("response tags")?;
    reader.finish("metadata")?;
    let error = ErrorCode::from_wire(error);
    Ok(MetadataResponse { throttle_ms, brokers, cluster_id, controller_id, topics, error })
}

fn decode_array<T>(
    reader: &mut Reader<'_>,
    min_element_bytes: usize,
    field: &'static str,
    mut decode: impl FnMut(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let count = reader.array_len(min_element_bytes, field)?;
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(decode(reader)?);
    }
    Ok(elements)
}

fn decode_broker(reader: &mut Reader<'_>) -> Result<Broker, WireError> {
    let id = BrokerId(reader.i32("node_id")?);
    let host = reader.string("host")?.to_owned();
    let port = reader.i32("port")?;
    let rack = reader.nullable_string("rack")?.map(str::to_owned);
    reader.skip_tags("broker tags")?;
    Ok(Broker { id, host, port, rack })
}

fn decode_topic(version: i16, reader: &mut Reader<'_>) -> Result<TopicMetadata, WireError> {
    let error = ErrorCode::from_wire(reader.i16("error_code")?);
    let name =
        if version >= 12 { reader.nullable_string("name")? } else { Some(reader.string("name")?) };
    let id = if version >= 10 { reader.uuid("topic_id")? } else { TopicId::ZERO };
    let internal = reader.bool("is_internal")?;
    let partition = |reader: &mut Reader<'_>| decode_partition(version, reader);
    // error, index, leader, and two arrays of replicas
    let partitions = decode_array(reader, 2 + 4 + 4 + 1 + 1, "partitions", partition)?;
    if version >= 8 {
        reader.i32("topic_authorized_operations")?;
    }
    reader.skip_tags("topic tags")?;
    Ok(TopicMetadata { error, name: name.map(str::to_owned), id, internal, partitions })
}

fn decode_partition(version: i16, reader: &mut Reader<'_>) -> Result<PartitionMetadata, WireError> {
    let error = ErrorCode::from_wire(reader.i16("error_code")?);
    let index = reader.i32("partition_index")?;
    let leader = BrokerId(reader.i32("leader_id")?);
    let leader_epoch = if version >= 7 { reader.i32("leader_epoch")? } else { -1 };
    let replicas = decode_nodes(reader, "replica_nodes")?;
    let isr = decode_nodes(reader, "isr_nodes")?;
    let offline = if version >= 5 { decode_nodes(reader, "offline_replicas")? } else { Vec::new() };
    reader.skip_tags("partition tags")?;
    Ok(PartitionMetadata { error, index, leader, leader_epoch, replicas, isr, offline })
}

fn decode_nodes(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<BrokerId>, WireError> {
    decode_array(reader, 4, field, |reader| reader.i32(field).map(BrokerId))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inquiry_differs_from_a_request_in_that_nothing_is_created() {
        for version in 4..=13 {
            let header = RequestHeader { version, correlation: 7, client_id: Some("c") };
            let (mut request, mut inquiry) = (Vec::new(), Vec::new());
            encode_request(&mut request, &header, Some(&["t"]));
            encode_inquiry(&mut inquiry, &header, Some(&["t"]));
            let pairs = request.iter().zip(&inquiry);
            let different: Vec<_> = pairs.filter(|(one, other)| one != other).collect();
            assert_eq!(request.len(), inquiry.len());
            assert_eq!(different, [(&1, &0)], "version {version}");
        }
    }
}
