//! One partition's bounded ring of batches: application threads append, the shard takes.
//!
//! Owns:     the order of one partition's records, from `send` to the shard.
//! Thread:   any thread appends and seals; only the shard takes and closes.
//! Bounds:   [`SLOTS`] batches between the appenders and the shard; `COUNT_MAX` records and
//!           `BYTES_MAX` bytes in a batch.
//! Never:    allocates, blocks, or runs user code between claim and commit.
//!
//! States of the open position, in the claim word:
//! `Sealed(n-1) ─open─► Open(n) ─full, linger, pressure, flush─► Sealed(n) ─open─► Open(n+1) …`,
//! and from any of them `─close─► Closed`, which is final.
//!
//! The claim word belongs to the partition, not to a buffer: a thread that was stopped between
//! reading the word and claiming can never claim in a buffer that went to another partition
//! meanwhile, because the buffer is looked up again after the claim. The 18 bits of the generation
//! would have to wrap while a thread is stopped, at the same count and offset, for a claim sized
//! for one batch to succeed in another; even then the record lies in its own partition, intact, and
//! only its timestamp moves by the difference of the two batches' base times (`write_rebased`).
//!
//! Reading order: this file, the ring and its words → entry → append → open → take → reserve.
//!
//! # Orderings
//! 1. slot, Release by the opener, Acquire by everyone: publishes the fields of the batch.
//! 2. claim word, AcqRel on opening: who sees generation n open sees its slot.
//! 3. `finals`, Release by the opener of n+1, Acquire by the shard: the final word of n.
//! 4. `committed` of the batch, see `batch/mod.rs`.
#![forbid(unsafe_code)]

mod append;
mod entry;
mod open;
mod reserve;
mod take;

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::packing::Packing;
use super::ready::Link;
use super::{Accumulator, BATCH_BYTES_MAX};
pub use append::{Append, Memory};
pub use entry::Entry;
pub use reserve::{Held, Hold, Vacant};
pub use take::{Head, Reservations};

use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// Batches between the appenders and the shard. The shard takes sealed ones into its own queue, so
/// this bounds a hand-over, not what a partition can hold.
pub const SLOTS: usize = if cfg!(kuring_loom) { 2 } else { 64 };

const OFFSET_BITS: u32 = 25;
const COUNT_BITS: u32 = 19;
const GENERATION_BITS: u32 = 18;
const COUNT_ONE: u64 = 1 << OFFSET_BITS;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
const GENERATION_SHIFT: u32 = OFFSET_BITS + COUNT_BITS;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const SEALED: u64 = 1 << 62;
const CLOSED: u64 = 1 << 63;

const _: () = assert!(BATCH_BYTES_MAX < 1 << OFFSET_BITS);

fn offset_of(word: u64) -> usize {
    (word & ((1 << OFFSET_BITS) - 1)) as usize
}

fn count_of(word: u64) -> u32 {
    (word >> OFFSET_BITS) as u32 & COUNT_MAX
}

fn generation_of(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32 & GENERATION_MASK
}

fn word_of(generation: u32, count: u32, offset: usize) -> u64 {
    u64::from(generation & GENERATION_MASK) << GENERATION_SHIFT
        | u64::from(count) << OFFSET_BITS
        | offset as u64
}

/// One slot: which lap it serves, and the batch in it plus one (0: empty).
fn slot_of(lap: u32, batch: Option<u32>) -> u64 {
    u64::from(lap) << 32 | batch.map_or(0, |batch| u64::from(batch) + 1)
}

fn batch_of(slot: u64) -> Option<u32> {
    (slot as u32).checked_sub(1)
}

fn lap_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

/// One partition's ring.
#[derive(Debug)]
pub struct BatchRing {
    /// `{closed:1, sealed:1, generation:18, count:19, offset:25}`
    word: CachePadded<AtomicU64>,
    slots: [AtomicU64; SLOTS],
    finals: [AtomicU64; SLOTS],
    /// The position the shard takes next; only the shard writes it.
    head: AtomicU32,
    /// Batches that the shard has taken and not yet sent; only the shard writes it.
    queued: AtomicU32,
    /// The shard says that the partition's leader takes nothing; only the shard writes it.
    is_blocked: AtomicBool,
    pub(super) link: Link,
    /// The ring's number in its shard.
    index: u32,
    topic: Arc<str>,
    partition: i32,
    packing: Arc<Packing>,
    accumulator: Arc<Accumulator>,
}

impl BatchRing {
    pub(super) fn new(
        accumulator: Arc<Accumulator>,
        index: u32,
        topic: Arc<str>,
        partition: i32,
        packing: Arc<Packing>,
    ) -> Self {
        packing.fix();
        Self {
            // Before position 0 comes the last generation, sealed and empty.
            word: CachePadded::new(AtomicU64::new(word_of(GENERATION_MASK, 0, 0) | SEALED)),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            finals: std::array::from_fn(|_| AtomicU64::new(0)),
            head: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            is_blocked: AtomicBool::new(false),
            link: Link::default(),
            index,
            topic,
            partition,
            packing,
            accumulator,
        }
    }

    /// The ring's number in its shard.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// How its batches are packed.
    pub fn packing(&self) -> &Arc<Packing> {
        &self.packing
    }

    /// The shard's accumulator.
    pub fn accumulator(&self) -> &Arc<Accumulator> {
        &self.accumulator
    }

    /// Batches that wait to be sent, the open one included, as of about now: in the ring, and in
    /// the shard's queue as the shard last told. Those in flight are not among them (ADP-2).
    pub fn waiting(&self) -> u32 {
        // The head first: the open position only moves on, so that it is not behind the head.
        let head = self.head.load(Acquire);
        let next = generation_of(self.word.load(Relaxed)) + 1;
        let in_ring = next.wrapping_sub(head) & GENERATION_MASK;
        in_ring.min(SLOTS as u32) + self.queued()
    }

    /// Whether batches wait to be sent, beside one that may just be on its way to the shard.
    pub fn has_backlog(&self) -> bool {
        self.waiting() > 1
    }

    /// Those of them that the shard has taken, as it last told.
    pub fn queued(&self) -> u32 {
        self.queued.load(Relaxed)
    }

    /// How many batches the shard has taken and not yet sent. Shard only.
    pub fn set_queued(&self, batches: usize) {
        self.queued.store(batches as u32, Relaxed);
    }

    /// Whether the partition's leader has taken nothing for too long, as the shard last told
    /// (AVL-1).
    pub fn is_blocked(&self) -> bool {
        self.is_blocked.load(Relaxed)
    }

    /// Whether the partition's leader has taken nothing for too long. Shard only.
    pub fn set_blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Relaxed);
    }

    /// Seals the open batch of `word`, if it is still the one, and tells the shard.
    fn seal(&self, word: u64) {
        if self.word.compare_exchange(word, word | SEALED, AcqRel, Relaxed).is_ok() {
            self.accumulator.tell_full(self);
        }
    }

    /// Seals the open batch, whatever it holds (linger, pressure, flush). Shard only.
    pub fn seal_open(&self) {
        let mut word = self.word.load(Acquire);
        while word & (SEALED | CLOSED) == 0 {
            match self.word.compare_exchange_weak(word, word | SEALED, AcqRel, Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Moves the opening of the newest batch to a time of the test's choice.
    #[cfg(test)]
    pub(crate) fn set_opened_at(&self, nanos: u64) {
        let generation = generation_of(self.word.load(Acquire)) as usize;
        let index = batch_of(self.slots[generation % SLOTS].load(Acquire));
        let index = index.expect("a batch was opened and not yet taken");
        self.accumulator.batches[index as usize].set_opened_at(nanos);
    }

    /// The same for its last reservation.
    #[cfg(test)]
    pub(crate) fn set_reserved_at(&self, nanos: u64) {
        let generation = generation_of(self.word.load(Acquire)) as usize;
        let index = batch_of(self.slots[generation % SLOTS].load(Acquire));
        let index = index.expect("a batch was opened and not yet taken");
        self.accumulator.batches[index as usize].set_reserved_at(nanos);
    }

    /// Seals for good: every later append is refused. What is in the ring can still be taken.
    pub fn close(&self) {
        self.word.fetch_or(SEALED | CLOSED, AcqRel);
    }
}
