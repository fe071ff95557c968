//! A batch while records are written into it, and after it is sealed.
//!
//! Owns:     per buffer of the pool: the commit counter, the times, the completion cell.
//! Thread:   any thread writes its claimed range; the shard reads it once all are committed.
//! Bounds:   as many batches as the pool has buffers.
//! Never:    writes a byte of a sealed batch's body; writes a header while the kernel reads it.
//! Source:   RBF-1 to RBF-11 for the bytes.
//!
//! `base_timestamp <= opened`: the opener sets it before the batch can be seen, so every claimer
//! knows the width of its timestamp delta before it claims.
//!
//! Reading order: this file, how far the writers are → claim, the bytes that they write → sealed,
//! what the shard does with them.
//!
//! A reserved record (see `batch_ring/reserve.rs`) is written in two steps by its caller, so its
//! bytes say how far it is: a record's attributes mean nothing yet in Kafka, and are its *mark*
//! until it is written or left out. While the mark is `OPEN` the value belongs to the caller.
//!
//! # Orderings
//! 1. `committed`: Release add by each writer, Acquire load by the shard: the shard sees the bytes.
//! 2. a mark changes once, from `OPEN`, by its caller or by the shard: whose compare-exchange comes
//!    first. It publishes nothing; `committed` does, after it.
//! 3. `holders`: AcqRel by everyone who lets a buffer go: the last one sees that the others have.
//! 4. everything else is Relaxed: it is published by the ring slot (see `batch_ring.rs`).
#![deny(unsafe_code)]

mod claim;
mod sealed;

use std::ptr::NonNull;

use crossbeam_utils::CachePadded;

pub(super) use claim::{Claim, bytes_at, heads};
pub use sealed::SealedBatch;
pub(super) use sealed::{fill, lend_framed, stamp, write_records};

use crate::delivery::CellIndex;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64};

/// Set in `committed` by a shard that waits for the last writers of a sealed batch.
const AWAITED: u64 = 1 << 63;
/// Set in `committed` when a reserved record of the batch is left out.
const HOLES: u64 = 1 << 62;
/// `committed` counts settled bytes in its lowest bits, and those of open reservations above them.
const BYTES_BITS: u32 = 31;
const BYTES: u64 = (1 << BYTES_BITS) - 1;
/// Set in `holders` when the shard has no more use for the buffer.
const RETIRED: u32 = 1 << 31;

/// The record is written: its attributes as Kafka knows them.
pub(super) const WRITTEN: u8 = 0;
/// The record's caller still writes the value.
pub(super) const OPEN: u8 = 1;
/// The caller dropped the reservation.
pub(super) const DROPPED: u8 = 2;
/// The shard waited no longer, and sends the batch without this record.
pub(super) const EVICTED: u8 = 3;

/// What the pool's buffer of the same index holds at the moment.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// `{awaited:1, holes:1, open:31, settled:31}`: record bytes that are written and visible or
    /// left out, and those of open reservations.
    committed: CachePadded<AtomicU64>,
    /// The first byte of its buffer, as the pool says; null before it is first opened.
    base: AtomicPtr<u8>,
    pub(super) base_timestamp: AtomicI64,
    max_timestamp: AtomicI64,
    /// Nanoseconds on the process's clock.
    opened_at: AtomicU64,
    cell: AtomicU32,
    flush_epoch: AtomicU32,
    /// Records are taken while the batch stays within this: `limit <=` what every buffer of its
    /// ring has room for, whichever batch of the ring this is (see `packing.rs`).
    limit: AtomicU32,
    /// The ring's claim word that makes this batch the open one.
    pub(super) opening: AtomicU64,
    /// Record bytes of a batch too large for the claim word; 0 for all others.
    oversized_bytes: AtomicU32,
    /// When a record of the batch was last reserved; only of meaning while one is open.
    reserved_at: AtomicU64,
    /// Reservations that were evicted and still have the buffer, and [`RETIRED`]. 0 otherwise.
    holders: AtomicU32,
}

/// How far the writers of a sealed batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All records are written.
    Written,
    /// All records are written or left out.
    Holes,
    /// What is missing is reserved, and the heads of all records are there.
    Reserved,
    /// Somebody is between two steps, and will tell.
    Writing,
}

/// What a batch is opened with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    /// The pool's `base_of` its buffer.
    pub(super) base: NonNull<u8>,
    pub(super) timestamp: i64,
    pub(super) opened_at: u64,
    pub(super) cell: CellIndex,
    pub(super) flush_epoch: u32,
    pub(super) limit: usize,
    pub(super) word: u64,
    pub(super) oversized_bytes: u32,
}

impl Batch {
    /// Makes the batch ready to be published. The caller owns the buffer alone.
    pub(super) fn open(&self, opening: Opening) {
        self.committed.store(0, Relaxed);
        self.base.store(opening.base.as_ptr(), Relaxed);
        self.base_timestamp.store(opening.timestamp, Relaxed);
        self.max_timestamp.store(opening.timestamp, Relaxed);
        self.opened_at.store(opening.opened_at, Relaxed);
        self.cell.store(opening.cell.0, Relaxed);
        self.flush_epoch.store(opening.flush_epoch, Relaxed);
        // At most BATCH_BYTES_MAX.
        self.limit.store(opening.limit as u32, Relaxed);
        self.opening.store(opening.word, Relaxed);
        self.oversized_bytes.store(opening.oversized_bytes, Relaxed);
    }

    #[inline]
    pub(super) fn cell(&self) -> CellIndex {
        CellIndex(self.cell.load(Relaxed))
    }

    /// Bytes that the batch takes, its header included.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Relaxed) as usize
    }

    pub(super) fn opened_at(&self) -> u64 {
        self.opened_at.load(Relaxed)
    }

    #[cfg(test)]
    pub(super) fn set_opened_at(&self, nanos: u64) {
        self.opened_at.store(nanos, Relaxed);
    }

    pub(super) fn flush_epoch(&self) -> u32 {
        self.flush_epoch.load(Relaxed)
    }

    pub(super) fn max_timestamp(&self) -> i64 {
        self.max_timestamp.load(Relaxed)
    }

    /// The batch has lost its last records. Shard only; it alone uses a sealed batch.
    pub(super) fn set_max_timestamp(&self, timestamp: i64) {
        self.max_timestamp.store(timestamp, Relaxed);
    }

    /// Raises the maximum timestamp; costs a load for the usual record that does not.
    #[inline]
    pub(super) fn raise_timestamp(&self, timestamp: i64) {
        if timestamp > self.max_timestamp.load(Relaxed) {
            self.max_timestamp.fetch_max(timestamp, Relaxed);
        }
    }

    /// Publishes `bytes` written record bytes. True if the shard waits for commits of this batch.
    #[inline]
    pub(super) fn commit(&self, bytes: usize) -> bool {
        // Release: publishes the bytes. Partner: the Acquire loads in `complete`.
        self.committed.fetch_add(bytes as u64, Release) & AWAITED != 0
    }

    /// The record bytes, once all `claimed` ones are committed. When not, asks the writers to tell.
    pub(super) fn complete(&self, claimed: u32) -> Option<u32> {
        let oversized = self.oversized_bytes.load(Relaxed);
        let claimed = if oversized > 0 { oversized } else { claimed };
        let all = |committed: u64| committed & !AWAITED == u64::from(claimed);
        if all(self.committed.load(Acquire)) || all(self.committed.fetch_or(AWAITED, AcqRel)) {
            return Some(claimed);
        }
        None
    }
}

/// What callers do who reserve, and the shard that waits for them.
impl Batch {
    /// Record bytes that were claimed in the batch, for a final claim word that counts `claimed`.
    pub(super) fn claimed(&self, claimed: u32) -> u32 {
        let oversized = self.oversized_bytes.load(Relaxed);
        if oversized > 0 { oversized } else { claimed }
    }

    /// A record of `bytes` is reserved: its head is written and its mark is [`OPEN`]. True if the
    /// shard waits for this.
    #[inline]
    pub(super) fn reserve(&self, bytes: usize, now: u64) -> bool {
        self.reserved_at.store(now, Relaxed);
        // Release: publishes the head. Partner: the Acquire in `progress`.
        self.committed.fetch_add((bytes as u64) << BYTES_BITS, Release) & AWAITED != 0
    }

    /// A reserved record has its value, or is left out. True if the shard waits for this.
    #[inline]
    pub(super) fn settle(&self, bytes: usize, is_left_out: bool) -> bool {
        if is_left_out {
            // Before its bytes are settled: the shard sees this when it sees those.
            self.committed.fetch_or(HOLES, Relaxed);
        }
        let settled = bytes as u64;
        let settled = settled.wrapping_sub(settled << BYTES_BITS);
        // Release: publishes the value, and that nobody writes here any more. Partner: the Acquire
        // in `progress` and `complete`.
        self.committed.fetch_add(settled, Release) & AWAITED != 0
    }

    /// How far the writers are, when [`complete`](Self::complete) said that they are not done.
    pub(super) fn progress(&self, claimed: u32) -> Progress {
        let word = self.committed.fetch_or(AWAITED, AcqRel);
        let (settled, open) = (word & BYTES, word >> BYTES_BITS & BYTES);
        match u64::from(claimed) {
            claimed if settled == claimed && word & HOLES == 0 => Progress::Written,
            claimed if settled == claimed => Progress::Holes,
            claimed if settled + open == claimed => Progress::Reserved,
            _ => Progress::Writing,
        }
    }

    pub(super) fn reserved_at(&self) -> u64 {
        self.reserved_at.load(Relaxed)
    }

    #[cfg(test)]
    pub(super) fn set_reserved_at(&self, nanos: u64) {
        self.reserved_at.store(nanos, Relaxed);
    }

    /// A caller may keep the buffer after the shard: counted before it can know of it.
    pub(super) fn add_holder(&self) {
        self.holders.fetch_add(1, Relaxed);
    }

    /// A mark that may change is about to be read or changed. Only models listen: a mark lies in
    /// the arena, and they try the orders of what they see.
    #[inline]
    pub(super) fn note_mark(&self) {
        #[cfg(kuring_loom)]
        self.holders.fetch_add(0, Relaxed);
    }

    /// A caller lets the buffer go. True if nobody has it any more.
    pub(super) fn remove_holder(&self) -> bool {
        self.holders.fetch_sub(1, AcqRel) == RETIRED | 1
    }

    /// The shard lets the buffer go. True if nobody has it any more.
    pub(super) fn retire(&self) -> bool {
        self.holders.fetch_or(RETIRED, AcqRel) == 0
    }

    /// Nobody has the buffer any more, and it goes back to the pool.
    pub(super) fn forget_holders(&self) {
        self.holders.store(0, Relaxed);
    }
}
