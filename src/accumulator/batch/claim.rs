//! The bytes of a batch while threads write them: claimed ranges, and the records in them.
//!
//! Thread:   any thread writes its claimed range; the shard looks at records whose heads are there.
//! Never:    reads or writes the value of an open record that is somebody else's.
//!
//! # Why unsafe
//! Several threads write disjoint ranges of one buffer at the same time; the claim word of the
//! ring, not the borrow checker, keeps them apart. One `&mut [u8]` is made per claimed range.
#![expect(unsafe_code, reason = "claimed ranges of one buffer; see `Why unsafe`")]

use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

use super::super::buffer_pool::{BufferIndex, BufferPool, HEAD_ROOM_BYTES};
use super::Batch;
use crate::protocol::record_batch::{self, HEADER_BYTES};
use crate::protocol::varint::read_varint;
use crate::sync::atomic::Ordering::Relaxed;

/// A record's place in a batch, claimed by one thread and not yet written.
#[derive(Debug)]
pub(in crate::accumulator) struct Claim {
    pub(in crate::accumulator) batch: u32,
    /// From the batch's first byte, its header included.
    pub(in crate::accumulator) offset: usize,
    pub(in crate::accumulator) bytes: usize,
}

impl Claim {
    /// The claimed bytes, to be written by the claimer. `batch` is the one that it names.
    #[inline]
    pub(in crate::accumulator) fn bytes_mut<'a>(
        &'a mut self,
        pool: &'a BufferPool,
        batch: &'a Batch,
    ) -> &'a mut [u8] {
        let base = batch.base.load(Relaxed);
        debug_assert_eq!(base, pool.base_of(BufferIndex(self.batch)).as_ptr(), "its batch");
        debug_assert!(
            self.offset + self.bytes <= pool.area_of(BufferIndex(self.batch)),
            "a claim stays inside its batch"
        );
        let start = HEAD_ROOM_BYTES + self.offset;
        pool.note_written(BufferIndex(self.batch), start, self.bytes);
        // SAFETY: obligation: stay inside the buffer. The batch was opened with the first byte of
        // its own, and the ring claims only below the batch's limit, which is at most the buffer's
        // area. Test: `every_claim_lies_inside_its_batch`.
        let first = unsafe { base.add(start) };
        // SAFETY: obligation: nobody else reads or writes these bytes while the slice lives. The
        // claim word gave `offset..offset + bytes` to this claim alone; the shard reads only after
        // the commit, which comes after. Test: `concurrent_claims_never_overlap`.
        unsafe { std::slice::from_raw_parts_mut(first, self.bytes) }
    }
}

/// A reserved record, while it is one. Its caller alone has it.
impl Claim {
    /// The value, which starts at `start` of the record, to be written.
    #[inline]
    pub(in crate::accumulator) fn value_mut<'a>(
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
    pub(in crate::accumulator) fn value<'a>(
        &'a self,
        pool: &'a BufferPool,
        start: usize,
        bytes: usize,
    ) -> &'a [u8] {
        bytes_at(pool, BufferIndex(self.batch), self.offset + start, bytes)
    }

    /// The record as it is, once its mark is final.
    pub(in crate::accumulator) fn record<'a>(&'a self, pool: &'a BufferPool) -> &'a [u8] {
        bytes_at(pool, BufferIndex(self.batch), self.offset, self.bytes)
    }

    /// The record's mark.
    pub(in crate::accumulator) fn mark<'a>(&self, pool: &'a BufferPool) -> &'a AtomicU8 {
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
pub(in crate::accumulator) fn bytes_at(
    pool: &BufferPool,
    index: BufferIndex,
    at: usize,
    bytes: usize,
) -> &[u8] {
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
pub(in crate::accumulator) struct Head<'a> {
    /// Where the record starts, and where the next one does.
    pub(in crate::accumulator) start: usize,
    pub(in crate::accumulator) end: usize,
    /// Where its attributes are, and as its mark.
    pub(in crate::accumulator) mark_at: usize,
    pub(in crate::accumulator) mark: &'a AtomicU8,
}

/// The records of a sealed batch whose heads are all written, its last byte behind `end`.
pub(in crate::accumulator) fn heads(
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
