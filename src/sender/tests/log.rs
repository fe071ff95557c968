//! The logs of the partitions, kept as brokers keep them: a batch is appended once, in sequence.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use super::wire::{Batch, Said};
use crate::protocol::error_code::ErrorCode;

/// Batches that a broker remembers per producer and partition (ORD-5).
const REMEMBERED: usize = 5;

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    next: i32,
    /// Sequence and offset of the last batches.
    last: VecDeque<(i32, usize, i64)>,
}

#[derive(Debug, Default)]
struct Partition {
    values: Vec<String>,
    producers: BTreeMap<i64, Producer>,
}

#[derive(Debug, Default)]
pub(super) struct Logs {
    /// The brokers have had batches of every producer, in every partition.
    pub(super) know_producers: bool,
    /// The largest batch that the topics take, if there is a limit.
    pub(super) bytes_max: Option<usize>,
    partitions: BTreeMap<(String, i32), Partition>,
}

impl Logs {
    /// All values of a partition.
    pub(super) fn of(&self, topic: &str, partition: i32) -> Vec<String> {
        let found = self.partitions.get(&(topic.to_owned(), partition));
        found.map_or_else(Vec::new, |partition| partition.values.clone())
    }

    /// The producers of a partition have come this far.
    pub(super) fn expect(&mut self, topic: &str, partition: i32, sequence: i32) {
        let key = (topic.to_owned(), partition);
        let partition = self.partitions.entry(key).or_default();
        partition.producers.values_mut().for_each(|producer| producer.next = sequence);
    }

    /// The topic's partitions are deleted, and with them what is known of producers.
    pub(super) fn forget(&mut self, topic: &str) {
        self.partitions.retain(|(name, _), _| name != topic);
    }

    /// Appends a batch, or says why not.
    pub(super) fn append(&mut self, batch: &Batch) -> Said {
        // A broker looks at this before it looks for duplicates.
        if self.bytes_max.is_some_and(|most| batch.bytes > most) {
            return Said::refused(ErrorCode::MessageTooLarge);
        }
        let key = (batch.topic.clone(), batch.partition);
        let partition = self.partitions.entry(key).or_default();
        let offset = partition.values.len() as i64;
        if batch.producer_id >= 0 {
            // Of a producer that the broker has nothing of, it takes any first sequence.
            let first = if self.know_producers {
                Producer::default()
            } else {
                Producer { epoch: batch.epoch, next: batch.sequence, ..Producer::default() }
            };
            let producer = partition.producers.entry(batch.producer_id).or_insert(first);
            let known = producer.last.iter().find(|(sequence, count, _)| {
                (*sequence, *count) == (batch.sequence, batch.values.len())
            });
            if let (true, Some((.., offset))) = (producer.epoch == batch.epoch, known) {
                return Said::written(*offset);
            }
            let refuse = |error| Said::refused(error);
            if batch.epoch < producer.epoch {
                return refuse(ErrorCode::InvalidProducerEpoch);
            }
            if batch.epoch > producer.epoch {
                if batch.sequence != 0 {
                    return refuse(ErrorCode::OutOfOrderSequenceNumber);
                }
                *producer = Producer { epoch: batch.epoch, ..Producer::default() };
            }
            if batch.sequence != producer.next {
                return refuse(ErrorCode::OutOfOrderSequenceNumber);
            }
            producer.next = (producer.next as u32 + batch.values.len() as u32) as i32 & i32::MAX;
            producer.last.push_back((batch.sequence, batch.values.len(), offset));
            if producer.last.len() > REMEMBERED {
                producer.last.pop_front();
            }
        }
        partition.values.extend(batch.values.iter().cloned());
        Said::written(offset)
    }
}
