//! Batches in which records are left out: their reservations were dropped, or are late.
//!
//! Owns:     which buffer a late reservation keeps, and when that goes back.
//! Thread:   the shard's, but for `let_go`.
//! Bounds:   a batch with late reservations is copied once, into memory beside the arena.
//! Never:    waits for memory of the pool; touches the value of an open reservation; gives a buffer
//!           back in which a reservation still has its value.
//!
//! Where nobody writes any more, what stays moves together in its place. Where a caller still does,
//! its bytes cannot be sent, nor moved away from it: then what stays is copied, and the caller
//! keeps the old buffer. Both hold one buffer's bytes of the budget together, and these come back
//! with the last of them; so a batch never waits for memory that a batch behind it could have. In
//! return there may be up to a copy of each batch that has late reservations beyond the budget.
#![forbid(unsafe_code)]

use super::Accumulator;
use super::batch::{self, DROPPED, EVICTED, OPEN, Opening, Progress, SealedBatch, WRITTEN};
use super::buffer_pool::BufferIndex;
use crate::protocol::holes::{self, Rest};
use crate::protocol::record_batch::HEADER_BYTES;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// What is left of a batch whose records are written or left out.
pub(super) enum Left {
    /// These records.
    Some(SealedBatch),
    /// No record.
    Nothing,
    /// There is no memory for the copy now.
    NoMemory,
}

impl Accumulator {
    /// The reservations of a sealed batch are late: none of them is open afterwards. How far the
    /// writers are then; some may be between two steps. Shard only; after `Progress::Reserved`.
    pub(super) fn evict(&self, sealed: &SealedBatch) -> Progress {
        let batch = &self.batches[sealed.index.0 as usize];
        for head in batch::heads(&self.pool, sealed.index, sealed.bytes as usize) {
            batch.note_mark();
            if head.mark.load(Relaxed) != OPEN {
                continue;
            }
            // Before the caller can find that it is late, and let go.
            batch.add_holder();
            if head.mark.compare_exchange(OPEN, EVICTED, AcqRel, Relaxed).is_ok() {
                batch.settle(head.end - head.start, true);
            } else {
                batch.remove_holder();
            }
        }
        batch.progress(sealed.bytes - HEADER_BYTES as u32)
    }

    /// Makes a batch of the records that stay. Shard only; after `Progress::Holes`.
    pub(super) fn close_holes(&self, sealed: &SealedBatch, is_to_be_sent: bool) -> Left {
        let (mut left_out, mut is_held) = (Vec::new(), false);
        let heads = batch::heads(&self.pool, sealed.index, sealed.bytes as usize);
        for (head, ordinal) in heads.zip(0..) {
            let mark = head.mark.load(Acquire);
            is_held |= mark == EVICTED;
            if mark != WRITTEN {
                left_out.push(ordinal);
            }
        }
        let records = sealed.records - left_out.len() as u32;
        if records == 0 {
            return Left::Nothing;
        }
        let reshaped = if !is_to_be_sent {
            sealed.reshaped(sealed.index, records, sealed.bytes)
        } else if is_held {
            let Some(copied) = self.copy_rest(sealed) else { return Left::NoMemory };
            copied
        } else {
            let rest = self.close_in(sealed.index, sealed, |_| {});
            sealed.reshaped(sealed.index, rest.records, rest.bytes as u32)
        };
        debug_assert_eq!(reshaped.records, records, "each record stays or is left out");
        sealed.cell.leave_out(left_out);
        Left::Some(reshaped)
    }

    /// Closes the holes in a buffer, after `write` has put the records there.
    fn close_in(
        &self,
        index: BufferIndex,
        sealed: &SealedBatch,
        write: impl FnOnce(&mut [u8]),
    ) -> Rest {
        let base = self.batches[sealed.index.0 as usize].base_timestamp.load(Relaxed);
        let mut rest = None;
        batch::fill(&self.pool, index, sealed.bytes as usize, |out| {
            write(out);
            rest = holes::close(out, base);
        });
        let rest = rest.expect("records stay: they were counted");
        self.batches[index.0 as usize].set_max_timestamp(rest.max_timestamp);
        rest
    }

    /// The records that stay, in memory of their own.
    fn copy_rest(&self, sealed: &SealedBatch) -> Option<SealedBatch> {
        let index = self.pool.claim_own(sealed.bytes as usize)?;
        self.batches[index.0 as usize].open(Opening {
            base: self.pool.base_of(index),
            timestamp: self.batches[sealed.index.0 as usize].base_timestamp.load(Relaxed),
            opened_at: sealed.opened_at,
            cell: sealed.cell,
            flush_epoch: sealed.flush_epoch,
            limit: 0,
            // No ring will ever open it.
            word: 0,
            oversized_bytes: 0,
        });
        let rest = self.close_in(index, sealed, |out| {
            for head in batch::heads(&self.pool, sealed.index, sealed.bytes as usize) {
                let is_written = head.mark.load(Relaxed) == WRITTEN;
                let end = if is_written { head.end } else { head.mark_at };
                let bytes = batch::bytes_at(&self.pool, sealed.index, head.start, end - head.start);
                out[head.start..end].copy_from_slice(bytes);
                if !is_written {
                    out[head.mark_at] = DROPPED;
                }
            }
        });
        Some(sealed.reshaped(index, rest.records, rest.bytes as u32))
    }

    /// A batch of which nothing is left is over. Shard only; when it is out of its ring.
    pub(super) fn vanish(&self, sealed: &SealedBatch) {
        sealed.cell.abandon();
        self.retire(sealed.index);
        self.resolved(sealed);
    }

    /// The shard has no more use for the buffer of a batch with holes.
    pub(super) fn retire(&self, index: BufferIndex) {
        if self.batches[index.0 as usize].retire() {
            self.free(index);
        }
    }

    /// A late reservation is given up: nobody writes to its bytes any more. Any thread.
    pub(super) fn let_go(&self, index: BufferIndex) {
        if self.batches[index.0 as usize].remove_holder() {
            self.free(index);
            // The memory may be what others wait for.
            self.nudge();
        }
    }

    fn free(&self, index: BufferIndex) {
        self.batches[index.0 as usize].forget_holders();
        let cost = self.pool.release(index);
        self.pool.unreserve(cost);
    }
}
