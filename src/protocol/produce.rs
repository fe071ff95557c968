//! Produce: record batches for partition leaders, versions 3 to 13.
//!
//! The request is written around its batches, which stay where they are: the head is everything but
//! their bytes, and is cut into pieces where they go between. The response is read in place.
//!
//! | request | since | | response | since |
//! |---|---|---|---|---|
//! | transactional id, nullable | 3 | | topics: name | 3-12 |
//! | acks, timeout | 3 | | topics: id | 13 |
//! | topics: name | 3-12 | | partitions: index, error, base offset, append time | 3 |
//! | topics: id | 13 | | partitions: log start offset | 5 |
//! | partitions: index, records | 3 | | partitions: record errors, error message | 8 |
//! | | | | partitions: tag 0, current leader | 10 |
//! | | | | throttle time | 3 |
//! | | | | tag 0, node endpoints | 10 |
//!
//! Source:   KIP-467 (record errors), KIP-951 (leaders in the answer), KIP-516 (topic ids).
#![forbid(unsafe_code)]

use super::api::{ApiKey, RequestHeader, RequestWriter};
use super::error_code::ErrorCode;
use super::varint::VARINT_BYTES_MAX;
use super::wire::{Reader, WireError};
use crate::ids::{BrokerId, TopicId};

/// Bytes behind the last batch of a request at most: the tags of partition, topic and request.
pub const TAIL_BYTES_MAX: usize = 3;

/// The fields of a request that are not about a partition.
#[derive(Clone, Copy, Debug)]
pub struct ProduceOptions<'a> {
    /// None without transactions.
    pub transactional_id: Option<&'a str>,
    /// 0, 1 or -1 for all.
    pub acks: i16,
    /// How long the broker may wait for its followers.
    pub timeout_ms: i32,
}

/// A request whose head is being written.
///
/// Order: `begin`, then per topic `begin_topic`, per partition `begin_partition` and
/// `end_partition`, `end_topic`; last `end`.
#[derive(Debug)]
pub struct ProduceRequest<'a> {
    version: i16,
    request: RequestWriter<'a>,
}

impl<'a> ProduceRequest<'a> {
    /// Starts the head at the end of `out`; the size prefix is filled in by `end`.
    ///
    /// # Panics
    /// When the version is not one of ours, or a string is longer than 32767 bytes.
    pub fn begin(
        out: &'a mut Vec<u8>,
        header: &RequestHeader<'_>,
        options: &ProduceOptions<'_>,
        topic_count: usize,
    ) -> Self {
        let mut request = header.begin(ApiKey::Produce, out);
        request.fields.nullable_string(options.transactional_id);
        request.fields.i16(options.acks);
        request.fields.i32(options.timeout_ms);
        request.fields.array_len(Some(topic_count));
        Self { version: header.version, request }
    }

    /// Starts a topic. Version 13 sends the id, the versions before it the name (TID-5).
    pub fn begin_topic(&mut self, name: &str, id: TopicId, partition_count: usize) {
        let fields = &mut self.request.fields;
        if self.version >= 13 {
            fields.uuid(id);
        } else {
            fields.string(name);
        }
        fields.array_len(Some(partition_count));
    }

    /// Writes everything in front of the partition's batch; returns the length of `out`, where the
    /// batch's bytes belong.
    pub fn begin_partition(&mut self, index: i32, batch_bytes: usize) -> usize {
        self.request.fields.i32(index);
        self.request.fields.bytes_len(Some(batch_bytes));
        self.request.fields.position()
    }

    /// Ends the partition, behind its batch.
    pub fn end_partition(&mut self) {
        self.request.fields.no_tags();
    }

    /// Ends the topic.
    pub fn end_topic(&mut self) {
        self.request.fields.no_tags();
    }

    /// Ends the request: `batch_bytes` are those of all its batches together.
    pub fn end(mut self, batch_bytes: usize) {
        self.request.fields.no_tags();
        self.request.end(batch_bytes);
    }
}

/// Bytes of the head in front of the batch, at most, for a request of one batch of `topic`.
pub fn head_bytes_max(client_id: Option<&str>, options: &ProduceOptions<'_>, topic: &str) -> usize {
    const TOPIC_ID_BYTES: usize = 16;
    const ACKS_AND_TIMEOUT: usize = 2 + 4;
    const TOPIC_COUNT: usize = 4;
    const PARTITION_COUNT_AND_INDEX: usize = 4 + 4;
    let string_bytes_max = |text: &str| 3 + text.len();
    RequestHeader::bytes_max(client_id)
        + string_bytes_max(options.transactional_id.unwrap_or_default())
        + ACKS_AND_TIMEOUT
        + TOPIC_COUNT
        + string_bytes_max(topic).max(TOPIC_ID_BYTES)
        + PARTITION_COUNT_AND_INDEX
        + VARINT_BYTES_MAX
}

/// A topic as the response names it: by name before version 13, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// Versions 3 to 12.
    Name(&'a str),
    /// Version 13.
    Id(TopicId),
}

/// The verdict on one batch.
#[derive(Clone, Copy, Debug)]
pub struct PartitionResponse<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// The partition.
    pub index: i32,
    /// The verdict.
    pub error: ErrorCode,
    /// The offset of the batch's first record, -1 when there is none.
    pub base_offset: i64,
    /// The time of appending when the topic uses that, else -1.
    pub log_append_time_ms: i64,
    /// Where the log starts, -1 before version 5.
    pub log_start_offset: i64,
    /// The records that caused the batch to be dropped; none before version 8.
    pub record_errors: RecordErrors<'a>,
    /// What the broker says about the batch.
    pub error_message: Option<&'a str>,
    /// The leader and its epoch when the asked broker is not it; None before version 10.
    pub current_leader: Option<(BrokerId, i32)>,
}

/// Pairs of a record's place in the batch and the broker's message.
#[derive(Clone, Copy, Debug)]
pub struct RecordErrors<'a> {
    reader: Reader<'a>,
    count: usize,
}

impl<'a> RecordErrors<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        const INDEX_AND_MESSAGE: usize = 4 + 1;
        let count = reader.array_len(INDEX_AND_MESSAGE, "record_errors")?;
        let errors = Self { reader: *reader, count };
        for _ in 0..count {
            Self::read_one(reader)?;
        }
        Ok(errors)
    }

    fn read_one(reader: &mut Reader<'a>) -> Result<(i32, Option<&'a str>), WireError> {
        let index = reader.i32("batch_index")?;
        let message = reader.nullable_string("batch_index_error_message")?;
        reader.skip_tags("record_errors tags")?;
        Ok((index, message))
    }

    /// How many records are left.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether no record is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for RecordErrors<'a> {
    type Item = (i32, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        // `read` has been over these bytes: this cannot fail.
        Self::read_one(&mut self.reader).ok()
    }
}

/// Where a broker listens, as a produce response tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// The node id.
    pub id: BrokerId,
    /// A host name or an address.
    pub host: &'a str,
    /// The port as it came.
    pub port: i32,
    /// The rack, if the broker was told its own.
    pub rack: Option<&'a str>,
}

/// The endpoints of the leaders that the response names.
#[derive(Clone, Copy, Debug)]
pub struct NodeEndpoints<'a> {
    reader: Reader<'a>,
    count: usize,
}

impl<'a> NodeEndpoints<'a> {
    fn none() -> Self {
        Self { reader: Reader::new(&[], true), count: 0 }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        const ID_HOST_PORT_RACK_TAGS: usize = 4 + 1 + 4 + 1 + 1;
        let count = reader.array_len(ID_HOST_PORT_RACK_TAGS, "node_endpoints")?;
        let endpoints = Self { reader: *reader, count };
        for _ in 0..count {
            Self::read_one(reader)?;
        }
        Ok(endpoints)
    }

    fn read_one(reader: &mut Reader<'a>) -> Result<NodeEndpoint<'a>, WireError> {
        let id = BrokerId(reader.i32("node_id")?);
        let host = reader.string("host")?;
        let port = reader.i32("port")?;
        let rack = reader.nullable_string("rack")?;
        reader.skip_tags("node_endpoints tags")?;
        Ok(NodeEndpoint { id, host, port, rack })
    }
}

impl<'a> Iterator for NodeEndpoints<'a> {
    type Item = NodeEndpoint<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        // `read` has been over these bytes: this cannot fail.
        Self::read_one(&mut self.reader).ok()
    }
}

/// What a response says beside the verdicts.
#[derive(Clone, Copy, Debug)]
pub struct ProduceSummary<'a> {
    /// How long the connection has to rest (NET-5).
    pub throttle_ms: i32,
    /// The endpoints of the leaders that the verdicts name.
    pub node_endpoints: NodeEndpoints<'a>,
}

/// Reads the answer to a request of `version`: hands out each verdict in order, then returns the
/// rest. All of it is validated before the first verdict is handed out. Allocates nothing.
///
/// # Errors
/// When the bytes are not such an answer; then `visit` was not called.
pub fn decode_response<'a>(
    version: i16,
    body: &'a [u8],
    visit: &mut dyn FnMut(PartitionResponse<'a>),
) -> Result<ProduceSummary<'a>, WireError> {
    walk(version, body, &mut |_| ())?;
    walk(version, body, visit)
}

fn walk<'a>(
    version: i16,
    body: &'a [u8],
    visit: &mut dyn FnMut(PartitionResponse<'a>),
) -> Result<ProduceSummary<'a>, WireError> {
    let mut reader = ApiKey::Produce.body_reader(version, body)?;
    // A name and a count of partitions.
    for _ in 0..reader.array_len(1 + 1, "responses")? {
        let topic = if version >= 13 {
            TopicRef::Id(reader.uuid("topic_id")?)
        } else {
            TopicRef::Name(reader.string("name")?)
        };
        // index, error, base offset, append time
        for _ in 0..reader.array_len(4 + 2 + 8 + 8, "partition_responses")? {
            visit(read_partition(version, topic, &mut reader)?);
        }
        reader.skip_tags("topic tags")?;
    }
    let throttle_ms = reader.i32("throttle_time_ms")?;
    let mut node_endpoints = NodeEndpoints::none();
    reader.tags("response tags", |tag, tagged| {
        let known = tag == 0 && version >= 10;
        if known {
            node_endpoints = NodeEndpoints::read(tagged)?;
        }
        Ok(known)
    })?;
    reader.finish("produce")?;
    Ok(ProduceSummary { throttle_ms, node_endpoints })
}

fn read_partition<'a>(
    version: i16,
    topic: TopicRef<'a>,
    reader: &mut Reader<'a>,
) -> Result<PartitionResponse<'a>, WireError> {
    let index = reader.i32("index")?;
    let error = ErrorCode::from_wire(reader.i16("error_code")?);
    let base_offset = reader.i64("base_offset")?;
    let log_append_time_ms = reader.i64("log_append_time_ms")?;
    let log_start_offset = if version >= 5 { reader.i64("log_start_offset")? } else { -1 };
    let (record_errors, error_message) = if version >= 8 {
        (RecordErrors::read(reader)?, reader.nullable_string("error_message")?)
    } else {
        (RecordErrors { reader: *reader, count: 0 }, None)
    };
    let mut current_leader = None;
    reader.tags("partition tags", |tag, tagged| {
        let known = tag == 0 && version >= 10;
        if known {
            let leader = BrokerId(tagged.i32("leader_id")?);
            let epoch = tagged.i32("leader_epoch")?;
            tagged.skip_tags("current_leader tags")?;
            // -1 is the default of either field: nothing is known (LDR-1).
            current_leader = (leader.0 != -1 && epoch != -1).then_some((leader, epoch));
        }
        Ok(known)
    })?;
    Ok(PartitionResponse {
        topic,
        index,
        error,
        base_offset,
        log_append_time_ms,
        log_start_offset,
        record_errors,
        error_message,
        current_leader,
    })
}
