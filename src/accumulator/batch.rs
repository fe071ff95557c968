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
//! # Orderings
//! 1. `committed`: Release add by each writer, Acquire load by the shard: the shard sees the bytes.
//! 2. everything else is Relaxed: it is published by the ring slot (see `batch_ring.rs`).

#![expect(unsafe_code, reason = "claimed ranges of one buffer; see `Why unsafe`")]

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::buffer_pool::{BufferIndex, BufferPool, HEAD_ROOM_BYTES, Loan};
use crate::delivery::CellIndex;
use crate::ids::{ProducerIdentity, Sequence};
use crate::protocol::record_batch::{self, Attributes, BatchHeader, HEADER_BYTES};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// Set in `committed` by a shard that waits for the last writers of a sealed batch.
const AWAITED: u64 = 1 << 63;

/// What the pool's buffer of the same index holds at the moment.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Record bytes written and visible, and [`AWAITED`].
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
