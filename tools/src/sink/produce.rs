//! One produce request, taken apart piece by piece while its bytes arrive.
//!
//! Owns:     the place inside the request, and the answer as far as it is known.
//! Bounds:   a piece is a header, never records: of a batch the first 61 bytes are looked at, the
//!           rest is skipped (all of it is one piece when batches are verified).
//!
//! Stages: Head ─► Topic ─► Partition ─► Batch ─► PartitionTags ─► (Partition | TopicTags) ─► Tail.
#![forbid(unsafe_code)]

use kuring::ErrorCode;
use kuring::ids::TopicId;
use kuring::protocol::Writer;
use kuring::testing::answers::{ProducedPartition, end_produce};

use super::Broker;
use super::answers::is_flexible;
use super::verify::{BATCH_HEADER_BYTES, BatchHeader, Place, check_batch};
use super::wire::{Reader, WireError};

const INVALID_REQUIRED_ACKS: i16 = ErrorCode::InvalidRequiredAcks.wire();
const INVALID_RECORD: i16 = ErrorCode::InvalidRecord.wire();
const INVALID_TOPIC: i16 = ErrorCode::InvalidTopicException.wire();
const CORRUPT_MESSAGE: i16 = ErrorCode::CorruptMessage.wire();
const UNKNOWN_TOPIC_OR_PARTITION: i16 = ErrorCode::UnknownTopicOrPartition.wire();
const UNKNOWN_TOPIC_ID: i16 = ErrorCode::UnknownTopicId.wire();

/// What one step took from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes looked at, now done with.
    pub(crate) used: usize,
    /// Bytes behind them that nobody needs to look at.
    pub(crate) skip: usize,
}

impl Step {
    pub(crate) fn used(used: usize) -> Self {
        Self { used, skip: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Topic,
    Partition,
    Batch { partition: i32, length: usize },
    PartitionTags,
    TopicTags,
    Tail,
    Done,
}

pub(crate) struct Produce {
    version: i16,
    flexible: bool,
    stage: Stage,
    topics_left: usize,
    partitions_left: usize,
    /// The current topic's place in the broker's table, or why it has none.
    topic: Result<usize, i16>,
    acks: i16,
}

impl Produce {
    pub(crate) fn new(version: i16) -> Self {
        Self {
            version,
            flexible: is_flexible(super::answers::PRODUCE, version),
            stage: Stage::Head,
            topics_left: 0,
            partitions_left: 0,
            topic: Err(UNKNOWN_TOPIC_OR_PARTITION),
            acks: -1,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// acks=0: the client expects nothing back.
    pub(crate) fn wants_answer(&self) -> bool {
        self.acks != 0
    }

    /// Takes the next piece from `available`, of the `frame_left` bytes the request still has.
    pub(crate) fn step(
        &mut self,
        available: &[u8],
        frame_left: usize,
        broker: &mut Broker,
        answer: &mut Vec<u8>,
    ) -> Result<Step, WireError> {
        let mut reader = Reader::new(available);
        match self.stage {
            Stage::Head => self.head(&mut reader, frame_left, answer)?,
            Stage::Topic => self.topic(&mut reader, frame_left, broker, answer)?,
            Stage::Partition => self.partition(&mut reader, frame_left, answer)?,
            Stage::Batch { partition, length } => {
                return self.batch(available, partition, length, broker, answer);
            }
            Stage::PartitionTags => {
                reader.tags(self.flexible)?;
                self.next_partition();
            }
            Stage::TopicTags => {
                reader.tags(self.flexible)?;
                Writer::new(answer, self.flexible).no_tags();
                self.next_topic();
            }
            Stage::Tail => {
                reader.tags(self.flexible)?;
                end_produce(&mut Writer::new(answer, self.flexible), self.version, 0, &[]);
                self.stage = Stage::Done;
            }
            Stage::Done => return Err(WireError::Malformed("bytes after the produce request")),
        }
        Ok(Step::used(reader.position()))
    }

    fn head(
        &mut self,
        reader: &mut Reader<'_>,
        frame_left: usize,
        answer: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        reader.nullable_string(self.flexible)?; // transactional id
        self.acks = reader.i16()?;
        reader.i32()?; // timeout
        let count = reader.count(self.flexible, frame_left)?;
        self.topics_left = count.ok_or(WireError::Malformed("null topics"))?;
        Writer::new(answer, self.flexible).array_len(Some(self.topics_left));
        self.next_topic();
        Ok(())
    }

    fn topic(
        &mut self,
        reader: &mut Reader<'_>,
        frame_left: usize,
        broker: &mut Broker,
        answer: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        // All of it is read before anything is written: what has not arrived whole is read again.
        let mut writer = Writer::new(answer, self.flexible);
        let (topic, count);
        if self.version >= 13 {
            let id = reader.uuid()?;
            count = reader.count(self.flexible, frame_left)?;
            writer.uuid(TopicId(id));
            topic = broker.topics.find_id(&id).ok_or(UNKNOWN_TOPIC_ID);
        } else {
            let name = reader.string(self.flexible)?;
            if name.len() > i16::MAX as usize {
                return Err(WireError::Malformed("a topic name above 32767 bytes"));
            }
            count = reader.count(self.flexible, frame_left)?;
            writer.string(name);
            topic = broker.topics.open(name).map_err(|_| INVALID_TOPIC);
        }
        self.partitions_left = count.ok_or(WireError::Malformed("null partitions"))?;
        writer.array_len(Some(self.partitions_left));
        self.topic = topic;
        self.topics_left -= 1;
        self.next_partition();
        Ok(())
    }

    fn partition(
        &mut self,
        reader: &mut Reader<'_>,
        frame_left: usize,
        answer: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let partition = reader.i32()?;
        let length = reader.bytes_length(self.flexible)?;
        self.partitions_left -= 1;
        match length {
            Some(length) if length > frame_left => {
                return Err(WireError::Malformed("records longer than their request"));
            }
            Some(length) => self.stage = Stage::Batch { partition, length },
            None => {
                self.write_partition(answer, partition, Err(INVALID_RECORD));
                self.stage = Stage::PartitionTags;
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        available: &[u8],
        partition: i32,
        length: usize,
        broker: &mut Broker,
        answer: &mut Vec<u8>,
    ) -> Result<Step, WireError> {
        let looked_at = if broker.verifies() { length } else { length.min(BATCH_HEADER_BYTES) };
        let piece = available.get(..looked_at).ok_or(WireError::Short)?;
        let written = self.write_batch(piece, partition, broker);
        self.write_partition(answer, partition, written);
        broker.totals.batch_bytes += length as u64;
        if self.flexible {
            self.stage = Stage::PartitionTags;
        } else {
            self.next_partition();
        }
        Ok(Step { used: looked_at, skip: length - looked_at })
    }

    /// The batch's base offset, or the error a broker would answer.
    fn write_batch(&self, piece: &[u8], partition: i32, broker: &mut Broker) -> Result<i64, i16> {
        let topic = self.topic?;
        if !matches!(self.acks, -1..=1) {
            return Err(INVALID_REQUIRED_ACKS);
        }
        let unknown = UNKNOWN_TOPIC_OR_PARTITION;
        if broker.verifies() {
            let (header, place) = check(piece, topic, partition, broker)?;
            if let Place::Repeat(base_offset) = place {
                broker.totals.repeated_batches += 1;
                return Ok(base_offset);
            }
            let count = i64::from(header.count);
            let base = broker.topics.append(topic, partition, count).ok_or(unknown)?;
            broker.sequences.accept(&header, topic, partition, base);
            broker.count_batch(header.count);
            return Ok(base);
        }
        let header = BatchHeader::read(piece).ok_or(CORRUPT_MESSAGE)?;
        if header.magic != 2 || header.count <= 0 {
            return Err(INVALID_RECORD);
        }
        let base =
            broker.topics.append(topic, partition, i64::from(header.count)).ok_or(unknown)?;
        broker.count_batch(header.count);
        Ok(base)
    }

    fn write_partition(&self, answer: &mut Vec<u8>, partition: i32, written: Result<i64, i16>) {
        let produced = ProducedPartition { index: partition, written, message: None, leader: None };
        produced.encode(&mut Writer::new(answer, self.flexible), self.version);
    }

    fn next_partition(&mut self) {
        if self.partitions_left > 0 {
            self.stage = Stage::Partition;
        } else if self.flexible {
            self.stage = Stage::TopicTags;
        } else {
            self.next_topic();
        }
    }

    fn next_topic(&mut self) {
        self.stage = if self.topics_left > 0 { Stage::Topic } else { Stage::Tail };
    }
}

/// Checks a whole batch and its sequence, and counts what is wrong.
fn check(
    bytes: &[u8],
    topic: usize,
    partition: i32,
    broker: &mut Broker,
) -> Result<(BatchHeader, Place), i16> {
    let checked = check_batch(bytes).and_then(|header| {
        let place = broker.sequences.check(&header, topic, partition)?;
        Ok((header, place))
    });
    checked.map_err(|problem| {
        let name = &broker.topics.topic(topic).name;
        let text = format!("{name}-{partition}: {}", problem.text);
        broker.totals.count_error(text);
        problem.code
    })
}
