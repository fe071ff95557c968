//! One partition's log, with the checks of sequences that a leader makes.
//!
//! Owns:     the batches' bytes as they arrived (compressed ones stay so), and what is remembered
//!           of the producers that wrote them.
//! Bounds:   five batches are remembered per producer id, as in Kafka's ProducerStateEntry; the
//!           log itself grows with what is produced.
//! Source:   KIP-98, KIP-360; ProducerStateManager and ProducerAppendInfo of Kafka 4.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

use super::batch::{self, BatchHead, Refusal, StoredRecord, refuse};
use super::unpack::unpack;
use crate::ids::Sequence;
use crate::protocol::ErrorCode;
use crate::protocol::compression::Codec;
use crate::protocol::record_batch::HEADER_BYTES;

const REMEMBERED_BATCHES: usize = 5;

#[derive(Debug)]
struct StoredBatch {
    base_offset: i64,
    head: BatchHead,
    bytes: Box<[u8]>,
}

impl StoredBatch {
    /// The offset behind its last record.
    fn end(&self) -> i64 {
        self.base_offset + i64::from(self.head.count)
    }
}

/// A batch that a leader knows again.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    base_sequence: i32,
    count: i32,
    base_offset: i64,
}

/// A producer id as a leader knows it.
#[derive(Debug)]
struct Writer {
    epoch: i16,
    next: Sequence,
    recent: VecDeque<Remembered>,
}

/// Records that cannot be shown, and where they start.
#[derive(Debug)]
pub(super) struct Undecodable {
    pub(super) offset: i64,
    pub(super) codec: Codec,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    batches: Vec<StoredBatch>,
    writers: HashMap<i64, Writer>,
    /// Batches that came again, and were answered where they are.
    pub(super) duplicates: usize,
}

impl Log {
    /// The offset of the next record.
    pub(super) fn end(&self) -> i64 {
        self.batches.last().map_or(0, StoredBatch::end)
    }

    /// Appends a batch that was checked; returns its base offset, or that of the same batch if it
    /// is there already.
    ///
    /// # Errors
    /// What a leader says to a batch out of its turn.
    pub(super) fn append(
        &mut self,
        head: BatchHead,
        leader_epoch: i32,
        bytes: &[u8],
    ) -> Result<i64, Refusal> {
        let base_offset = self.end();
        if head.producer_id >= 0 {
            if let Some(first) = self.place(&head)? {
                self.duplicates += 1;
                return Ok(first);
            }
            self.note(&head, base_offset);
        }
        let mut bytes: Box<[u8]> = bytes.into();
        // Base offset and leader epoch are the broker's to set: the checksum starts behind them.
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
        self.batches.push(StoredBatch { base_offset, head, bytes });
        Ok(base_offset)
    }

    /// The base offset of the batch if it is one of the remembered ones; None if it comes next.
    fn place(&self, head: &BatchHead) -> Result<Option<i64>, Refusal> {
        // Brokers since Kafka 2.5 take whatever sequence a producer that they do not know begins
        // with.
        let Some(writer) = self.writers.get(&head.producer_id) else { return Ok(None) };
        let (id, epoch) = (head.producer_id, head.producer_epoch);
        if epoch < writer.epoch {
            let text = format!("producer {id}: epoch {epoch} after epoch {}", writer.epoch);
            return refuse(ErrorCode::InvalidProducerEpoch, text);
        }
        let mut expected = Sequence::ZERO;
        if epoch == writer.epoch {
            let same = |known: &&Remembered| {
                (known.base_sequence, known.count) == (head.base_sequence, head.count)
            };
            if let Some(known) = writer.recent.iter().find(same) {
                return Ok(Some(known.base_offset));
            }
            expected = writer.next;
        }
        if head.base_sequence == expected.value() {
            return Ok(None);
        }
        let text = format!(
            "producer {id} epoch {epoch}: sequence {} where {} must follow",
            head.base_sequence,
            expected.value()
        );
        refuse(ErrorCode::OutOfOrderSequenceNumber, text)
    }

    fn note(&mut self, head: &BatchHead, base_offset: i64) {
        let epoch = head.producer_epoch;
        let fresh = || Writer { epoch, next: Sequence::ZERO, recent: VecDeque::new() };
        let writer = self.writers.entry(head.producer_id).or_insert_with(fresh);
        if writer.epoch != epoch {
            *writer = fresh();
        }
        writer.next = Sequence::new(head.base_sequence).advance(head.count.cast_unsigned());
        if writer.recent.len() == REMEMBERED_BATCHES {
            writer.recent.pop_front();
        }
        let BatchHead { base_sequence, count, .. } = *head;
        writer.recent.push_back(Remembered { base_sequence, count, base_offset });
    }

    /// The records, in order.
    pub(super) fn records(&self, partition: i32) -> Result<Vec<StoredRecord>, Undecodable> {
        let mut all = Vec::new();
        for batch in &self.batches {
            let StoredBatch { base_offset, head, bytes } = batch;
            let found = unpack(head.codec, &bytes[HEADER_BYTES..])
                .and_then(|bytes| batch::records(head, partition, *base_offset, &bytes))
                .ok_or(Undecodable { offset: *base_offset, codec: head.codec })?;
            all.extend(found);
        }
        Ok(all)
    }

    /// The bytes of whole batches from the one that holds `offset` on, at least one, and beyond
    /// that as many as fit in `bytes_max`. Empty at the end of the log, None outside it.
    pub(super) fn read(&self, offset: i64, bytes_max: usize) -> Option<Vec<u8>> {
        if !(0..=self.end()).contains(&offset) {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.end() <= offset);
        let mut bytes = Vec::new();
        for batch in &self.batches[first..] {
            if !bytes.is_empty() && bytes.len() + batch.bytes.len() > bytes_max {
                break;
            }
            bytes.extend_from_slice(&batch.bytes);
        }
        Some(bytes)
    }

    /// Offset and timestamp of the first batch with a record that is not older than `timestamp`.
    pub(super) fn find_time(&self, timestamp: i64) -> Option<(i64, i64)> {
        let found = self.batches.iter().find(|batch| batch.head.max_timestamp >= timestamp)?;
        Some((found.base_offset, found.head.max_timestamp))
    }

    /// Offset and timestamp of the batch with the largest timestamp.
    pub(super) fn latest(&self) -> Option<(i64, i64)> {
        let latest = self.batches.iter().max_by_key(|batch| batch.head.max_timestamp)?;
        Some((latest.end() - 1, latest.head.max_timestamp))
    }
}
