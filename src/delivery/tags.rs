//! What a record leaves in its batch's cell for the completion queue: its user data.
//!
//! Owns:     per cell, a slot for each place in the batch: user data, and the record's own time.
//! Thread:   appenders write theirs between claim and commit; the queue's reader takes them once
//!           the batch has its verdict.
//! Bounds:   16 bytes for each place of the largest batch with tags that the cell ever had, rounded
//!           up to the next power of two, 4 KiB at least; kept, as the cells are.
//! Never:    is there for a cell whose records all had deliveries.
//!
//! The slots are Relaxed. The commit of the record publishes its slot to the shard, and the queue's
//! lock to the reader; the reader empties the slots before it gives its share of the cell up.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::CellIndex;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicI64, AtomicU64};

/// Slots of the first chunk: 4 KiB, enough for a default batch of records of 64 bytes and more.
/// Each further one has twice as many as the one before.
const FIRST_BITS: u32 = 8;
/// As many as a batch of 2^19 records needs.
const CHUNKS: usize = 12;
/// The time of an empty slot. A record's is never negative (TIM-3).
const EMPTY: i64 = -1;

/// What an append leaves in the cell besides its promise.
pub trait Tag: Copy {
    /// Makes room, before anything is claimed: what allocates does so here. `cell` may be another
    /// one by the time of the claim.
    fn reserve(self, cell: impl FnOnce() -> CellIndex, ordinal: u32);

    /// Leaves the tag of a claimed record that is not committed.
    fn leave(self, cell: CellIndex, ordinal: u32, timestamp: i64);
}

/// The record's delivery says it all.
#[derive(Clone, Copy, Debug)]
pub struct NoTag;

impl Tag for NoTag {
    #[inline]
    fn reserve(self, _cell: impl FnOnce() -> CellIndex, _ordinal: u32) {}

    #[inline]
    fn leave(self, _cell: CellIndex, _ordinal: u32, _timestamp: i64) {}
}

/// The record's verdict comes out of the completion queue, with this.
#[derive(Clone, Copy, Debug)]
pub struct UserData(pub u64);

impl Tag for UserData {
    #[inline]
    fn reserve(self, cell: impl FnOnce() -> CellIndex, ordinal: u32) {
        cell().cell().tags.get_or_init(Box::default).chunk(place_of(ordinal).0);
    }

    #[inline]
    fn leave(self, cell: CellIndex, ordinal: u32, timestamp: i64) {
        let cell = cell.cell();
        // Looked at first: usually it is set, and the line stays shared among the appenders.
        if !cell.tagged.load(Relaxed) {
            cell.tagged.store(true, Relaxed);
        }
        let slot = cell.tags.get_or_init(Box::default).slot(ordinal);
        slot.user_data.store(self.0, Relaxed);
        slot.timestamp.store(timestamp, Relaxed);
    }
}

#[derive(Debug)]
struct Slot {
    user_data: AtomicU64,
    timestamp: AtomicI64,
}

/// The slots of one cell: chunks that double, made when first used.
#[derive(Debug, Default)]
pub(super) struct Tags {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
}

fn place_of(ordinal: u32) -> (usize, usize) {
    let shifted = ordinal + (1 << FIRST_BITS);
    let top = shifted.ilog2();
    ((top - FIRST_BITS) as usize, (shifted - (1 << top)) as usize)
}

impl Tags {
    #[inline]
    fn chunk(&self, number: usize) -> &[Slot] {
        self.chunks[number].get_or_init(|| {
            let empty = |_| Slot { user_data: AtomicU64::new(0), timestamp: AtomicI64::new(EMPTY) };
            (0..1 << (number + FIRST_BITS as usize)).map(empty).collect()
        })
    }

    #[inline]
    fn slot(&self, ordinal: u32) -> &Slot {
        let (chunk, at) = place_of(ordinal);
        &self.chunk(chunk)[at]
    }

    /// Empties a record's slot: its user data and its own time, if it left some.
    #[inline]
    pub(super) fn take(&self, ordinal: u32) -> Option<(u64, i64)> {
        let (chunk, at) = place_of(ordinal);
        let slot = &self.chunks[chunk].get()?[at];
        let timestamp = slot.timestamp.load(Relaxed);
        if timestamp == EMPTY {
            return None;
        }
        slot.timestamp.store(EMPTY, Relaxed);
        Some((slot.user_data.load(Relaxed), timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_of_the_largest_batch_has_a_slot_of_its_own() {
        const LAST: u32 = (1 << 19) - 1;
        assert_eq!((place_of(255), place_of(256)), ((0, 255), (1, 0)));
        assert_eq!(place_of(LAST).0, CHUNKS - 1);
        let mut next = (0, 0);
        for ordinal in 0..=LAST {
            assert_eq!(place_of(ordinal), next);
            let last = next.1 + 1 == 1 << (next.0 + FIRST_BITS as usize);
            next = if last { (next.0 + 1, 0) } else { (next.0, next.1 + 1) };
        }
    }

    #[test]
    fn what_was_left_is_taken_once() {
        let cell = CellIndex::claim(&"t".into(), 0).unwrap();
        for ordinal in [0, 256, 1000] {
            UserData(u64::MAX - u64::from(ordinal)).reserve(|| cell, ordinal);
            UserData(u64::MAX - u64::from(ordinal)).leave(cell, ordinal, 7);
        }
        let tags = cell.cell().tags.get().unwrap();
        let taken: Vec<_> = (0..2000).filter_map(|ordinal| tags.take(ordinal)).collect();
        assert_eq!(taken, [0, 256, 1000].map(|ordinal| (u64::MAX - ordinal, 7)));
        assert!((0..2000).all(|ordinal| tags.take(ordinal).is_none()));
        cell.abandon();
    }
}
