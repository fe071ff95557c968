//! What a record leaves in its batch's cell besides its promise: its user data, for the completion
//! queue or the delivery handler; or the number of what is kept for a call of its own.
//!
//! Owns:     per cell, a slot for each place in the batch: a number, and the record's own time.
//! Thread:   appenders write theirs between claim and commit; the shard takes those that a call is
//!           due for when the batch has its verdict, the queue's reader takes the others later.
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
/// The time of an empty slot. A record's is never negative (TIM-3), and one with a call of its own
/// has its complement here.
const EMPTY: i64 = i64::MIN;

/// What an append leaves in the cell besides its promise.
pub trait Tag: Copy {
    /// Whether the interceptors have seen the record.
    const SEEN: bool = false;

    /// What it is.
    fn kind(self) -> Kind;

    /// Makes room, before anything is claimed: what allocates does so here. `cell` may be another
    /// one by the time of the claim.
    fn reserve(self, cell: impl FnOnce() -> CellIndex, ordinal: u32);

    /// Leaves the tag of a claimed record that is not committed.
    fn leave(self, cell: CellIndex, ordinal: u32, timestamp: i64);
}

/// What a tag says about its record's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its delivery says it all.
    Delivery,
    /// It is told together with this number.
    Number(u64),
    /// A call is due, by the number of what is kept for it.
    Kept(u32),
}

/// The record's delivery says it all.
#[derive(Clone, Copy, Debug)]
pub struct NoTag;

impl Tag for NoTag {
    fn kind(self) -> Kind {
        Kind::Delivery
    }

    #[inline]
    fn reserve(self, _cell: impl FnOnce() -> CellIndex, _ordinal: u32) {}

    #[inline]
    fn leave(self, _cell: CellIndex, _ordinal: u32, _timestamp: i64) {}
}

/// The record's verdict comes out of the completion queue, or goes to the delivery handler, with
/// this.
#[derive(Clone, Copy, Debug)]
pub struct UserData(pub u64);

impl Tag for UserData {
    fn kind(self) -> Kind {
        Kind::Number(self.0)
    }

    #[inline]
    fn reserve(self, cell: impl FnOnce() -> CellIndex, ordinal: u32) {
        reserve(cell(), ordinal);
    }

    #[inline]
    fn leave(self, cell: CellIndex, ordinal: u32, timestamp: i64) {
        let cell = cell.cell();
        // Looked at first: usually it is set, and the line stays shared among the appenders.
        if !cell.tagged.load(Relaxed) {
            cell.tagged.store(true, Relaxed);
        }
        cell.tags.get_or_init(Box::default).slot(ordinal).fill(self.0, timestamp);
    }
}

/// The record's verdict causes a call, by the number of what is kept for it. `SEEN`: the
/// interceptors have seen the record.
#[derive(Clone, Copy, Debug)]
pub struct Kept<const SEEN: bool>(pub u32);

impl<const SEEN: bool> Tag for Kept<SEEN> {
    const SEEN: bool = SEEN;

    fn kind(self) -> Kind {
        Kind::Kept(self.0)
    }

    fn reserve(self, cell: impl FnOnce() -> CellIndex, ordinal: u32) {
        reserve(cell(), ordinal);
    }

    fn leave(self, cell: CellIndex, ordinal: u32, timestamp: i64) {
        let cell = cell.cell();
        if !cell.called.load(Relaxed) {
            cell.called.store(true, Relaxed);
        }
        // The last millisecond of all would be the empty slot's.
        let timestamp = !timestamp.min(i64::MAX - 1);
        cell.tags.get_or_init(Box::default).slot(ordinal).fill(u64::from(self.0), timestamp);
    }
}

fn reserve(cell: CellIndex, ordinal: u32) {
    cell.cell().tags.get_or_init(Box::default).chunk(place_of(ordinal).0);
}

/// A call that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Never [`Kind::Delivery`].
    pub kind: Kind,
    /// The record's own time.
    pub timestamp: i64,
}

/// What a shard does with tags when a batch has its verdict, before it is told to anyone.
impl CellIndex {
    /// Whether some of the records have calls that are due: their own, and with `handled` those of
    /// the delivery handler.
    pub fn has_calls(self, handled: bool) -> bool {
        let cell = self.cell();
        // What the appenders wrote was seen with their commits.
        cell.called.load(Relaxed) || handled && cell.tagged.load(Relaxed)
    }

    /// Takes the call that is due for a record, as in [`has_calls`](Self::has_calls).
    pub fn take_call(self, ordinal: u32, handled: bool) -> Option<Due> {
        let slot = self.cell().tags.get()?.look(ordinal)?;
        let timestamp = slot.timestamp.load(Relaxed);
        let number = slot.user_data.load(Relaxed);
        let due = match timestamp {
            EMPTY => return None,
            0.. if !handled => return None,
            0.. => Due { kind: Kind::Number(number), timestamp },
            _ => Due { kind: Kind::Kept(number as u32), timestamp: !timestamp },
        };
        slot.timestamp.store(EMPTY, Relaxed);
        Some(due)
    }

    /// Leaves the tag of a record whose call was made to the completion queue.
    pub fn leave_to_queue(self, ordinal: u32, user_data: u64, timestamp: i64) {
        UserData(user_data).leave(self, ordinal, timestamp);
    }
}

#[derive(Debug)]
struct Slot {
    user_data: AtomicU64,
    timestamp: AtomicI64,
}

impl Slot {
    #[inline]
    fn fill(&self, number: u64, timestamp: i64) {
        self.user_data.store(number, Relaxed);
        self.timestamp.store(timestamp, Relaxed);
    }
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

    /// The slot, if it was ever made.
    #[inline]
    fn look(&self, ordinal: u32) -> Option<&Slot> {
        let (chunk, at) = place_of(ordinal);
        Some(&self.chunks[chunk].get()?[at])
    }

    /// Empties a record's slot: its user data and its own time, if it left some.
    #[inline]
    pub(super) fn take(&self, ordinal: u32) -> Option<(u64, i64)> {
        let slot = self.look(ordinal)?;
        let timestamp = slot.timestamp.load(Relaxed);
        if timestamp < 0 {
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

    #[test]
    fn calls_and_completions_of_one_batch_are_told_apart() {
        let cell = CellIndex::claim(&"t".into(), 0).unwrap();
        assert!(!cell.has_calls(true));
        UserData(7).leave(cell, 0, 10);
        assert!(cell.has_calls(true) && !cell.has_calls(false));
        Kept::<false>(5).leave(cell, 1, 0);
        Kept::<true>(6).leave(cell, 2, i64::MAX);
        assert!(cell.has_calls(false));
        let tags = cell.cell().tags.get().unwrap();
        assert_eq!((1..4).find_map(|ordinal| tags.take(ordinal)), None, "not the queue's");
        let due = |kind, timestamp| Some(Due { kind, timestamp });
        assert_eq!(cell.take_call(0, false), None, "the queue's");
        assert_eq!(cell.take_call(1, false), due(Kind::Kept(5), 0));
        assert_eq!(cell.take_call(1, false), None, "once");
        assert_eq!(cell.take_call(2, true), due(Kind::Kept(6), i64::MAX - 1));
        assert_eq!(cell.take_call(0, true), due(Kind::Number(7), 10));
        assert_eq!(cell.take_call(9999, true), None, "a slot that was never made");
        cell.leave_to_queue(2, 8, 20);
        assert_eq!(tags.take(2), Some((8, 20)));
        cell.abandon();
        assert!(!cell.has_calls(true));
    }
}
