//! Answers as brokers write them, whoever the broker is: a cluster for tests, or a null broker.
//!
//! Never:    decides; allocates beyond the answer.
//! Source:   the Kafka protocol guide; KIP-511, KIP-516 (topic ids), KIP-951 (who leads).
#![forbid(unsafe_code)]

use crate::ids::TopicId;
use crate::protocol::{ErrorCode, Writer};

/// A line of an ApiVersions answer: key, lowest and highest version.
pub type Announced = (i16, i16, i16);

/// The body of an ApiVersions answer. `version` is that of the answer, which is 0 for whoever asks
/// in one that is not spoken.
pub fn api_versions(
    fields: &mut Writer<'_>,
    version: i16,
    code: ErrorCode,
    announced: impl ExactSizeIterator<Item = Announced>,
    throttle_ms: i32,
) {
    fields.i16(code.wire());
    fields.array_len(Some(announced.len()));
    for (key, lowest, highest) in announced {
        fields.i16(key);
        fields.i16(lowest);
        fields.i16(highest);
        fields.no_tags();
    }
    if version >= 1 {
        fields.i32(throttle_ms);
    }
    fields.no_tags();
}

/// The body of an InitProducerId answer: an id with epoch 0, or why there is none.
pub fn init_producer_id(
    fields: &mut Writer<'_>,
    producer_id: Result<i64, ErrorCode>,
    throttle_ms: i32,
) {
    fields.i32(throttle_ms);
    fields.i16(producer_id.err().unwrap_or(ErrorCode::None).wire());
    fields.i64(producer_id.unwrap_or(-1));
    fields.i16(if producer_id.is_ok() { 0 } else { -1 });
    fields.no_tags();
}

/// Where a broker listens.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The node id.
    pub node: i32,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// Node id, host, port and, where the version has one, no rack.
    fn encode(&self, fields: &mut Writer<'_>, has_rack: bool) {
        fields.i32(self.node);
        fields.string(&self.host);
        fields.i32(i32::from(self.port));
        if has_rack {
            fields.nullable_string(None);
        }
        fields.no_tags();
    }
}

/// What stands in front of a topic's partitions in a Metadata answer.
#[derive(Clone, Copy, Debug)]
pub struct TopicHead<'a> {
    /// What is wrong with it.
    pub code: ErrorCode,
    /// Its name; None where it was asked for by an id that nobody knows.
    pub name: Option<&'a str>,
    /// Its id, or zero.
    pub id: TopicId,
    /// How many partitions follow.
    pub partitions: usize,
}

/// A partition in a Metadata answer.
#[derive(Clone, Copy, Debug)]
pub struct PartitionHead {
    /// What is wrong with it.
    pub code: ErrorCode,
    /// Its number.
    pub index: i32,
    /// The leader; -1 for none.
    pub leader: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
}

/// The body of a Metadata answer, piece by piece: [`begin`](Self::begin), each
/// [`topic`](Self::topic) with its [partitions](Self::partition) and [end](Self::end_topic),
/// [`end`](Self::end).
#[derive(Debug)]
pub struct MetadataAnswer<'a> {
    fields: Writer<'a>,
    version: i16,
}

impl<'a> MetadataAnswer<'a> {
    /// Everything in front of the topics, of which there will be `topics`.
    pub fn begin(
        mut fields: Writer<'a>,
        version: i16,
        throttle_ms: i32,
        brokers: &[Endpoint],
        cluster_id: &str,
        topics: usize,
    ) -> Self {
        if version >= 3 {
            fields.i32(throttle_ms);
        }
        fields.array_len(Some(brokers.len()));
        brokers.iter().for_each(|broker| broker.encode(&mut fields, version >= 1));
        if version >= 2 {
            fields.string(cluster_id);
        }
        if version >= 1 {
            fields.i32(brokers.first().map_or(-1, |broker| broker.node)); // controller
        }
        fields.array_len(Some(topics));
        Self { fields, version }
    }

    /// Bytes of the frame so far, for a bound.
    pub fn bytes(&self) -> usize {
        self.fields.position()
    }

    /// A topic's own fields.
    pub fn topic(&mut self, topic: &TopicHead<'_>) {
        let (fields, version) = (&mut self.fields, self.version);
        fields.i16(topic.code.wire());
        match topic.name {
            Some(name) => fields.string(name),
            // The name became nullable only with version 12, when asking by id did.
            None if version >= 12 => fields.nullable_string(None),
            None => fields.string(""),
        }
        if version >= 10 {
            fields.uuid(topic.id);
        }
        if version >= 1 {
            fields.bool(false); // internal
        }
        fields.array_len(Some(topic.partitions));
    }

    /// A partition, all of whose replicas are in sync.
    pub fn partition(
        &mut self,
        partition: &PartitionHead,
        replicas: impl ExactSizeIterator<Item = i32> + Clone,
    ) {
        let (fields, version) = (&mut self.fields, self.version);
        fields.i16(partition.code.wire());
        fields.i32(partition.index);
        fields.i32(partition.leader);
        if version >= 7 {
            fields.i32(partition.leader_epoch);
        }
        for _ in ["replicas", "in sync"] {
            fields.array_len(Some(replicas.len()));
            replicas.clone().for_each(|node| fields.i32(node));
        }
        if version >= 5 {
            fields.array_len(Some(0)); // offline
        }
        fields.no_tags();
    }

    /// What stands behind a topic's partitions.
    pub fn end_topic(&mut self) {
        if self.version >= 8 {
            self.fields.i32(i32::MIN); // authorised operations: not asked
        }
        self.fields.no_tags();
    }

    /// What stands behind the topics.
    pub fn end(mut self) {
        if (8..=10).contains(&self.version) {
            self.fields.i32(i32::MIN); // authorised operations: not asked
        }
        if self.version >= 13 {
            self.fields.i16(ErrorCode::None.wire());
        }
        self.fields.no_tags();
    }
}

/// What became of one partition's batch, for a Produce answer.
#[derive(Clone, Copy, Debug)]
pub struct ProducedPartition<'a> {
    /// The partition.
    pub index: i32,
    /// The base offset, or the error's number.
    pub written: Result<i64, i16>,
    /// What is wrong, in words; versions before 8 do not tell.
    pub message: Option<&'a str>,
    /// Node and epoch of who leads; versions before 10 do not tell.
    pub leader: Option<(i32, i32)>,
}

impl ProducedPartition<'_> {
    /// Writes it in the form of a version.
    #[inline]
    pub fn encode(&self, fields: &mut Writer<'_>, version: i16) {
        // -1 stands for the log append time, as the records' own time counts, and for a log start
        // that is not told.
        let mut fixed = [0xff; 36];
        fixed[..4].copy_from_slice(&self.index.to_be_bytes());
        let code = self.written.err().unwrap_or(ErrorCode::None.wire());
        fixed[4..6].copy_from_slice(&code.to_be_bytes());
        fixed[6..14].copy_from_slice(&self.written.unwrap_or(-1).to_be_bytes());
        if self.written.is_ok() {
            fixed[22..30].fill(0);
        }
        if self.message.is_some() || self.leader.is_some() {
            fields.raw(if version >= 5 { &fixed[..30] } else { &fixed[..22] });
            return self.encode_rest(fields, version);
        }
        // No record errors, no message, no tags. A null broker writes little else: in one piece.
        match version {
            ..5 => fields.raw(&fixed[..22]),
            5..8 => fields.raw(&fixed[..30]),
            8 => {
                fixed[30..34].fill(0);
                fields.raw(&fixed);
            }
            9.. => {
                fixed[30..33].copy_from_slice(&[1, 0, 0]);
                fields.raw(&fixed[..33]);
            }
        }
    }

    fn encode_rest(&self, fields: &mut Writer<'_>, version: i16) {
        if version >= 8 {
            fields.array_len(Some(0)); // record errors
            fields.nullable_string(self.message);
        }
        match self.leader {
            Some((leader, epoch)) if version >= 10 => close_with_tag_0(fields, |fields| {
                fields.i32(leader);
                fields.i32(epoch);
                fields.no_tags();
            }),
            _ => fields.no_tags(),
        }
    }
}

/// The end of a Produce answer, with the brokers that its partitions name as leaders.
pub fn end_produce(fields: &mut Writer<'_>, version: i16, throttle_ms: i32, leaders: &[Endpoint]) {
    fields.i32(throttle_ms);
    if version < 10 || leaders.is_empty() {
        return fields.no_tags();
    }
    close_with_tag_0(fields, |fields| {
        fields.array_len(Some(leaders.len()));
        leaders.iter().for_each(|leader| leader.encode(fields, true));
    });
}

/// Closes a structure with one tagged field, number 0, of the fields that `write` writes.
fn close_with_tag_0(fields: &mut Writer<'_>, write: impl FnOnce(&mut Writer<'_>)) {
    let mut content = Vec::new();
    write(&mut Writer::new(&mut content, true));
    fields.unsigned_varint(1);
    fields.unsigned_varint(0);
    fields.unsigned_varint(u32::try_from(content.len()).expect("a few brokers"));
    fields.raw(&content);
}
