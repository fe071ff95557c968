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
//! # Why unsafe
//! Several threads write disjoint ranges of one buffer at the same time; the claim word of the
//! ring, not the borrow checker, keeps them apart. One `&mut [u8]` is made per claimed range.
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

#![expect(unsafe_code, reason = "claimed ranges of one buffer; see `Why unsafe`")]

use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use crossbeam_utils::CachePadded;

use super::buffer_pool::{BufferIndex, BufferPool, HEAD_ROOM_BYTES, Loan};
use crate::delivery::CellIndex;
use crate::ids::{ProducerIdentity, Sequence};
use crate::protocol::record_batch::{self, Attributes, BatchHeader, HEADER_BYTES};
use crate::protocol::varint::read_varint;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

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
    pub(super) base_timestamp: AtomicI64,
    max_timestamp: AtomicI64,
    /// Nanoseconds on the process's clock.
    opened_at: AtomicU64,
    cell: AtomicU32,
    flush_epoch: AtomicU32,
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
    pub(super) timestamp: i64,
    pub(super) opened_at: u64,
    pub(super) cell: CellIndex,
    pub(super) flush_epoch: u32,
    pub(super) word: u64,
    pub(super) oversized_bytes: u32,
}

impl Batch {
    /// Makes the batch ready to be published. The caller owns the buffer alone.
    pub(super) fn open(&self, opening: Opening) {
        self.committed.store(0, Relaxed);
        self.base_timestamp.store(opening.timestamp, Relaxed);
        self.max_timestamp.store(opening.timestamp, Relaxed);
        self.opened_at.store(opening.opened_at, Relaxed);
        self.cell.store(opening.cell.0, Relaxed);
        self.flush_epoch.store(opening.flush_epoch, Relaxed);
        self.opening.store(opening.word, Relaxed);
        self.oversized_bytes.store(opening.oversized_bytes, Relaxed);
    }

    #[inline]
    pub(super) fn cell(&self) -> CellIndex {
        CellIndex(self.cell.load(Relaxed))
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

/// A record's place in a batch, claimed by one thread and not yet written.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) batch: u32,
    /// From the batch's first byte, its header included.
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

impl Claim {
    /// The claimed bytes, to be written by the claimer.
    #[inline]
    pub(super) fn bytes_mut<'a>(&'a mut self, pool: &'a BufferPool) -> &'a mut [u8] {
        debug_assert!(
            self.offset + self.bytes <= pool.area_of(BufferIndex(self.batch)),
            "a claim stays inside its batch"
        );
        let start = HEAD_ROOM_BYTES + self.offset;
        pool.note_written(BufferIndex(self.batch), start, self.bytes);
        // SAFETY: obligation: stay inside the buffer. The ring claims only below the batch's limit,
        // which is at most the buffer's area. Test: `every_claim_lies_inside_its_batch`.
        let first = unsafe { pool.base_of(BufferIndex(self.batch)).add(start) };
        // SAFETY: obligation: nobody else reads or writes these bytes while the slice lives. The
        // claim word gave `offset..offset + bytes` to this claim alone; the shard reads only after
        // the commit, which comes after. Test: `concurrent_claims_never_overlap`.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), self.bytes) }
    }
}

/// A reserved record, while it is one. Its caller alone has it.
impl Claim {
    /// The value, which starts at `start` of the record, to be written.
    #[inline]
    pub(super) fn value_mut<'a>(
        &'a mut self,
        pool: &'a BufferPool,
        start: usize,
        bytes: usize,
    ) -> &'a mut [u8] {
        debug_assert!(start + bytes <= self.bytes, "a value lies inside its record");
        // Of the whole record, since models watch nothing smaller.
        pool.note_written(BufferIndex(self.batch), HEAD_ROOM_BYTES + self.offset, self.bytes);
        let first = byte_at(pool, BufferIndex(self.batch), self.offset + start);
        // SAFETY: obligation: initialised, and nobody else reads or writes these bytes while the
        // slice lives. They are part of the claim, which was written once (`reserve`); the shard
        // reads no value whose mark it did not find written, and the buffer goes back when this
        // claim has been given up. Test: `an_evicted_value_stays_its_callers_own`.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), bytes) }
    }

    /// The value as it is. Not the record: its mark may change.
    #[inline]
    pub(super) fn value<'a>(
        &'a self,
        pool: &'a BufferPool,
        start: usize,
        bytes: usize,
    ) -> &'a [u8] {
        bytes_at(pool, BufferIndex(self.batch), self.offset + start, bytes)
    }

    /// The record as it is, once its mark is final.
    pub(super) fn record<'a>(&'a self, pool: &'a BufferPool) -> &'a [u8] {
        bytes_at(pool, BufferIndex(self.batch), self.offset, self.bytes)
    }

    /// The record's mark.
    pub(super) fn mark<'a>(&self, pool: &'a BufferPool) -> &'a AtomicU8 {
        let at = self.offset + record_batch::attributes_at(self.bytes);
        mark_at(pool, BufferIndex(self.batch), at)
    }
}

/// The first of some bytes of a claimed buffer, counted as in its batch.
fn byte_at(pool: &BufferPool, index: BufferIndex, at: usize) -> NonNull<u8> {
    assert!(at < pool.area_of(index), "inside the batch");
    // SAFETY: obligation: stay inside the buffer. The batch starts behind the head room and has the
    // bytes of the area, asserted above. Test: `an_evicted_value_stays_its_callers_own`.
    unsafe { pool.base_of(index).add(HEAD_ROOM_BYTES + at) }
}

/// Bytes of a batch that nobody writes to: of a written record, or of the caller's own.
pub(super) fn bytes_at(pool: &BufferPool, index: BufferIndex, at: usize, bytes: usize) -> &[u8] {
    assert!(at + bytes <= pool.area_of(index), "inside the batch");
    let first = byte_at(pool, index, at);
    // SAFETY: obligation: initialised, in bounds, not written while borrowed. Asserted above; the
    // shard asks for records that it found written, and a caller for its own.
    // Test: `an_evicted_value_stays_its_callers_own`.
    unsafe { std::slice::from_raw_parts(first.as_ptr(), bytes) }
}

/// The mark that is at this place of a batch.
fn mark_at(pool: &BufferPool, index: BufferIndex, at: usize) -> &AtomicU8 {
    let first = byte_at(pool, index, at);
    // SAFETY: obligation: initialised, valid as long as the borrow, and while a mark is open only
    // accessed as an atomic. Values are apart from it, and slices over whole records are made
    // before it is published and after it is settled.
    // Test: `an_evicted_value_stays_its_callers_own`.
    unsafe { AtomicU8::from_ptr(first.as_ptr()) }
}

/// One record of a batch in which some may be open.
pub(super) struct Head<'a> {
    /// Where the record starts, and where the next one does.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where its attributes are, and as its mark.
    pub(super) mark_at: usize,
    pub(super) mark: &'a AtomicU8,
}

/// The records of a sealed batch whose heads are all written, its last byte behind `end`.
pub(super) fn heads(
    pool: &BufferPool,
    index: BufferIndex,
    end: usize,
) -> impl Iterator<Item = Head<'_>> {
    let mut next = HEADER_BYTES;
    std::iter::from_fn(move || {
        let start = next;
        if start >= end {
            return None;
        }
        let mut prefix = 1;
        // Byte by byte: what is behind the length changes while the mark is open.
        while bytes_at(pool, index, start + prefix - 1, 1)[0] >= 0x80 {
            prefix += 1;
        }
        let length = read_varint(bytes_at(pool, index, start, prefix)).map(|(length, _)| length);
        let length = usize::try_from(length.expect(OURS)).expect(OURS);
        next = start + prefix + length;
        let mark_at = start + prefix;
        Some(Head { start, end: next, mark_at, mark: self::mark_at(pool, index, mark_at) })
    })
}

const OURS: &str = "a record that this process wrote";

/// A sealed and complete batch in the shard's hands.
#[derive(Clone, Copy, Debug)]
pub struct SealedBatch {
    /// The buffer and batch index.
    pub index: BufferIndex,
    /// Records in it, at least one.
    pub records: u32,
    /// All its bytes, the 61 of the header included.
    pub bytes: u32,
    /// When its first record was appended, nanoseconds on the process's clock.
    pub opened_at: u64,
    /// Where its verdict goes.
    pub cell: CellIndex,
    /// The flush epoch it was opened in.
    pub(super) flush_epoch: u32,
    /// Some of its records were left out; this is the buffer that they were in, plus one. Its bytes
    /// of the budget are the batch's.
    pub(super) origin: Option<NonZeroU32>,
}

impl SealedBatch {
    /// A batch of one empty record that is in no ring.
    #[cfg(test)]
    pub(crate) fn of_test(index: BufferIndex) -> Self {
        let (opened_at, cell, flush_epoch) = (1, CellIndex(0), 0);
        Self { index, records: 1, bytes: 68, opened_at, cell, flush_epoch, origin: None }
    }

    /// Whether some of the records that were claimed in it were left out: then places in it are
    /// other ones than its deliveries know.
    pub fn has_holes(&self) -> bool {
        self.origin.is_some()
    }

    pub(super) fn origin(&self) -> Option<BufferIndex> {
        self.origin.map(|index| BufferIndex(index.get() - 1))
    }

    /// This batch without some of its records, in a buffer of its own or in the same.
    pub(super) fn reshaped(self, index: BufferIndex, records: u32, bytes: u32) -> Self {
        Self { origin: NonZeroU32::new(self.index.0 + 1), index, records, bytes, ..self }
    }
}

/// Writes header and checksum: the batch can be sent now. May be repeated with another identity.
///
/// # Panics
/// When the kernel still holds a send of this batch: rewriting would corrupt it (K19012-4).
pub(super) fn stamp(
    pool: &Arc<BufferPool>,
    batch: &Batch,
    sealed: &SealedBatch,
    identity: ProducerIdentity,
    sequence: Option<Sequence>,
) {
    let header = BatchHeader {
        attributes: Attributes::NONE,
        record_count: sealed.records,
        base_timestamp: batch.base_timestamp.load(Relaxed),
        max_timestamp: batch.max_timestamp.load(Relaxed),
        producer: identity,
        base_sequence: sequence,
    };
    let bytes = sealed.bytes as usize;
    write_to(pool, sealed.index, HEAD_ROOM_BYTES, bytes, |batch| {
        header.write(batch, bytes - HEADER_BYTES);
        record_batch::stamp_checksum(batch);
    });
}

/// Lets the shard write the bytes of a batch that has no writers: a piece of a split one.
pub(super) fn fill(
    pool: &BufferPool,
    index: BufferIndex,
    bytes: usize,
    write: impl FnOnce(&mut [u8]),
) {
    assert!(bytes <= pool.area_of(index), "a batch stays inside its buffer");
    write_to(pool, index, HEAD_ROOM_BYTES, bytes, write);
}

/// Puts a request's first bytes right in front of the batch and its last ones right behind it, and
/// lends the whole. None when the head does not fit.
pub(super) fn lend_framed(
    pool: &Arc<BufferPool>,
    sealed: &SealedBatch,
    head: &[u8],
    tail: &[u8],
) -> Option<Loan> {
    let start = HEAD_ROOM_BYTES.checked_sub(head.len())?;
    write_to(pool, sealed.index, start, head.len(), |room| room.copy_from_slice(head));
    let end = HEAD_ROOM_BYTES + sealed.bytes as usize;
    write_to(pool, sealed.index, end, tail.len(), |room| room.copy_from_slice(tail));
    Some(pool.lend(sealed.index, start, end + tail.len() - start))
}

/// Lets the shard write `bytes` of a sealed batch's buffer.
fn write_to<R>(
    pool: &BufferPool,
    index: BufferIndex,
    start: usize,
    bytes: usize,
    write: impl FnOnce(&mut [u8]) -> R,
) -> R {
    assert_eq!(pool.loans(index), 0, "the kernel still reads this buffer (K19012-4)");
    pool.note_written(index, start, bytes);
    // SAFETY: obligation: stay inside the buffer. The callers' ranges are the two rooms and the
    // batch itself, or checked (`fill`). Test: `k19012_4_a_lent_batch_cannot_be_stamped_again`.
    let first = unsafe { pool.base_of(index).add(start) };
    // SAFETY: obligation: nobody else uses these bytes while the slice lives. All writers have
    // committed, no loan exists (asserted above), only the shard's thread stamps and lends, and the
    // slice ends with this call. Test: `k19012_4_a_lent_batch_cannot_be_stamped_again`.
    write(unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), bytes) })
}
