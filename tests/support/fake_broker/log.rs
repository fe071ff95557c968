//! One partition's log, with the checks of sequences that a real leader makes (KIP-98).
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

use kafka_protocol::error::ResponseError;

use crate::support::batches::{BatchHead, next_batch};
use crate::support::fetch::OwnedRecord;

/// Batches per producer that a leader remembers, and knows again.
const REMEMBERED: usize = 5;

/// A batch as it was found in a produce request.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) head: BatchHead,
    pub(crate) bytes: usize,
    pub(crate) records: Vec<OwnedRecord>,
}

/// Reads the one batch that a produce request may have for a partition.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_batch(topic: &str, partition: i32, bytes: &[u8]) -> Result<Arrived, String> {
    let (mut rest, mut records) = (bytes, Vec::new());
    let head = next_batch(&mut rest, |record| records.push(OwnedRecord::from(record)))?;
    let head = head.ok_or_else(|| format!("{} bytes are no whole batch", bytes.len()))?;
    if !rest.is_empty() {
        return Err(format!("{} bytes after the batch", rest.len()));
    }
    Ok(Arrived { topic: topic.to_owned(), partition, head, bytes: bytes.len(), records })
}

/// As [`read_batch`], without a look at the records.
pub(crate) fn read_head(topic: &str, partition: i32, bytes: &[u8]) -> Result<Arrived, String> {
    let field = |at: usize, width: usize| {
        let field = bytes.get(at..at + width).ok_or("the batch ends in its header")?;
        Ok::<_, String>(field.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte)))
    };
    let head = BatchHead {
        base_offset: field(0, 8)?,
        producer_id: field(43, 8)?,
        producer_epoch: field(51, 2)? as i16,
        base_sequence: field(53, 4)? as i32,
        count: field(57, 4)? as i32,
        codec: field(21, 2)? as i16 & 7,
    };
    let records = Vec::new();
    Ok(Arrived { topic: topic.to_owned(), partition, head, bytes: bytes.len(), records })
}

/// What a partition's leader keeps.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<OwnedRecord>,
    /// Records per batch, in order.
    pub(crate) batches: Vec<usize>,
    end: i64,
    writers: HashMap<i64, Writer>,
    /// Batches that came again and were acknowledged where they are.
    pub(crate) duplicates: usize,
}

/// A producer id as a leader knows it.
#[derive(Debug)]
struct Writer {
    epoch: i16,
    next: i32,
    /// First sequence, records, base offset.
    recent: VecDeque<(i32, i32, i64)>,
}

impl Log {
    /// Appends a batch; returns its base offset, or that of the copy that is there.
    ///
    /// # Errors
    /// What a leader says to a batch out of its turn.
    pub(crate) fn append(&mut self, batch: &Arrived) -> Result<i64, ResponseError> {
        let (base, head) = (self.end, batch.head);
        if head.producer_id >= 0 {
            let fresh = Writer { epoch: head.producer_epoch, next: 0, recent: VecDeque::new() };
            let writer = self.writers.entry(head.producer_id).or_insert(fresh);
            if head.producer_epoch < writer.epoch {
                return Err(ResponseError::InvalidProducerEpoch);
            }
            if head.producer_epoch > writer.epoch {
                let epoch = head.producer_epoch;
                *writer = Writer { epoch, next: 0, recent: VecDeque::new() };
            }
            let same =
                |known: &&(i32, i32, i64)| (known.0, known.1) == (head.base_sequence, head.count);
            if let Some(known) = writer.recent.iter().find(same) {
                self.duplicates += 1;
                return Ok(known.2);
            }
            if head.base_sequence != writer.next {
                return Err(ResponseError::OutOfOrderSequenceNumber);
            }
            writer.next = (i64::from(writer.next) + i64::from(head.count)) as i32 & i32::MAX;
            writer.recent.push_back((head.base_sequence, head.count, base));
            while writer.recent.len() > REMEMBERED {
                writer.recent.pop_front();
            }
        }
        self.end += i64::from(head.count);
        if batch.records.is_empty() {
            return Ok(base);
        }
        self.batches.push(batch.records.len());
        self.records.extend(
            batch
                .records
                .iter()
                .cloned()
                .zip(base..)
                .map(|(record, offset)| OwnedRecord { offset, ..record }),
        );
        Ok(base)
    }

    /// Whether a producer id has written here, and the epoch it has now.
    pub(crate) fn epoch_of(&self, producer_id: i64) -> Option<i16> {
        self.writers.get(&producer_id).map(|writer| writer.epoch)
    }
}
