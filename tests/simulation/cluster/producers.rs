//! What a replica remembers of the producers that wrote to it.
//!
//! Bounds:   five batches per producer id, as in Kafka's ProducerStateEntry.
//! Source:   KIP-98, KIP-360; ProducerStateManager and ProducerAppendInfo of Kafka 2.1 to 4.3.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use super::batch::{Head, Stored};

const REMEMBERED: usize = 5;

pub(super) const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
pub(super) const UNKNOWN_PRODUCER_ID: i16 = 59;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    first: i32,
    last: i32,
    base_offset: u64,
    end: u64,
    max_timestamp: i64,
}

#[derive(Debug)]
struct Entry {
    epoch: i16,
    /// One to five batches, the latest at the end.
    batches: VecDeque<Known>,
}

#[derive(Debug, Default)]
pub(super) struct Producers(BTreeMap<i64, Entry>);

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Append,
    /// It is one of the five.
    Duplicate {
        base_offset: u64,
        end: u64,
        max_timestamp: i64,
    },
    /// Its sequences lie before the five.
    BeforeWindow,
    Refuse(i16),
}

impl Producers {
    /// Looks at a batch with a producer id. `forgotten_is_error`: older brokers refuse what does
    /// not start at 0 and is of a producer that they do not know; newer ones take it.
    pub(super) fn check(&self, head: &Head, forgotten_is_error: bool) -> Check {
        let Some(entry) = self.0.get(&head.producer_id) else {
            let refused = forgotten_is_error && head.sequence != 0;
            return if refused { Check::Refuse(UNKNOWN_PRODUCER_ID) } else { Check::Append };
        };
        let last_sequence = head.last_sequence();
        if entry.epoch == head.epoch {
            let same = |known: &&Known| (known.first, known.last) == (head.sequence, last_sequence);
            if let Some(known) = entry.batches.iter().find(same) {
                let Known { base_offset, end, max_timestamp, .. } = *known;
                return Check::Duplicate { base_offset, end, max_timestamp };
            }
        }
        if head.epoch < entry.epoch {
            return Check::Refuse(INVALID_PRODUCER_EPOCH);
        }
        let expected = if head.epoch > entry.epoch { 0 } else { entry.next() };
        if head.sequence == expected {
            return Check::Append;
        }
        let lowest = entry.batches.front().map_or(0, |known| known.first);
        let before = lowest.wrapping_sub(last_sequence) & i32::MAX;
        if head.epoch == entry.epoch && (1..1 << 30).contains(&before) {
            return Check::BeforeWindow;
        }
        Check::Refuse(OUT_OF_ORDER_SEQUENCE_NUMBER)
    }

    /// Takes note of a batch that is in the log now.
    pub(super) fn note(&mut self, batch: &Stored) {
        let head = &batch.head;
        if head.producer_id < 0 {
            return;
        }
        let fresh = || Entry { epoch: head.epoch, batches: VecDeque::new() };
        let entry = self.0.entry(head.producer_id).or_insert_with(fresh);
        if entry.epoch != head.epoch {
            *entry = fresh();
        }
        if entry.batches.len() == REMEMBERED {
            entry.batches.pop_front();
        }
        entry.batches.push_back(Known {
            first: head.sequence,
            last: head.last_sequence(),
            base_offset: batch.base_offset,
            end: batch.end(),
            max_timestamp: head.max_timestamp,
        });
    }

    /// Forgets producers whose last batch lies before `start`, as older brokers do when retention
    /// moves the log's start.
    pub(super) fn forget_before(&mut self, start: u64) {
        self.0.retain(|_, entry| entry.batches.back().is_some_and(|known| known.end > start));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Entry {
    fn next(&self) -> i32 {
        self.batches.back().map_or(0, |known| known.last.wrapping_add(1) & i32::MAX)
    }
}
