//! A batch that is sealed and whole: the shard alone has it, stamps it and lends it.
//!
//! Thread:   the shard's.
//! Never:    writes what the kernel still reads (K19012-4).
//!
//! # Why unsafe
//! The buffer is shared memory, and that all of its writers are done is the ring's protocol.
#![expect(unsafe_code, reason = "the bytes of a buffer whose writers are done")]

use std::num::NonZeroU32;
use std::sync::Arc;

use super::super::buffer_pool::{BufferIndex, BufferPool, HEAD_ROOM_BYTES, Loan};
use super::Batch;
use crate::delivery::CellIndex;
use crate::ids::{ProducerIdentity, Sequence};
use crate::protocol::compression::Codec;
use crate::protocol::record_batch::{self, Attributes, BatchHeader, HEADER_BYTES};
use crate::sync::atomic::Ordering::Relaxed;

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
    /// How its records are compressed.
    pub codec: Codec,
    /// All its bytes before it was compressed; those that it has, if it was not.
    pub plain_bytes: u32,
    /// Where its verdict goes.
    pub cell: CellIndex,
    /// The flush epoch it was opened in.
    pub(in crate::accumulator) flush_epoch: u32,
    /// Some of its records were left out; this is the buffer that they were in, plus one. Its bytes
    /// of the budget are the batch's.
    pub(in crate::accumulator) origin: Option<NonZeroU32>,
}

impl SealedBatch {
    /// A batch of one empty record that is in no ring.
    #[cfg(test)]
    pub(crate) fn of_test(index: BufferIndex) -> Self {
        Self {
            index,
            records: 1,
            bytes: 68,
            opened_at: 1,
            codec: Codec::None,
            plain_bytes: 68,
            cell: CellIndex(0),
            flush_epoch: 0,
            origin: None,
        }
    }

    /// Whether some of the records that were claimed in it were left out: then places in it are
    /// other ones than its deliveries know.
    pub fn has_holes(&self) -> bool {
        self.origin.is_some()
    }

    pub(in crate::accumulator) fn origin(&self) -> Option<BufferIndex> {
        self.origin.map(|index| BufferIndex(index.get() - 1))
    }

    /// This batch without some of its records, in a buffer of its own or in the same.
    pub(in crate::accumulator) fn reshaped(
        self,
        index: BufferIndex,
        records: u32,
        bytes: u32,
    ) -> Self {
        let origin = NonZeroU32::new(self.index.0 + 1);
        Self { origin, index, records, bytes, plain_bytes: bytes, ..self }
    }
}

/// Writes header and checksum: the batch can be sent now. May be repeated with another identity.
///
/// # Panics
/// When the kernel still holds a send of this batch: rewriting would corrupt it (K19012-4).
pub(in crate::accumulator) fn stamp(
    pool: &Arc<BufferPool>,
    batch: &Batch,
    sealed: &SealedBatch,
    identity: ProducerIdentity,
    sequence: Option<Sequence>,
) {
    let header = BatchHeader {
        attributes: Attributes::NONE.with_codec(sealed.codec as u8),
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
pub(in crate::accumulator) fn fill(
    pool: &BufferPool,
    index: BufferIndex,
    bytes: usize,
    write: impl FnOnce(&mut [u8]),
) {
    assert!(bytes <= pool.area_of(index), "a batch stays inside its buffer");
    write_to(pool, index, HEAD_ROOM_BYTES, bytes, write);
}

/// Lets the shard write the records of a sealed batch anew.
pub(in crate::accumulator) fn write_records(pool: &BufferPool, index: BufferIndex, records: &[u8]) {
    assert!(HEADER_BYTES + records.len() <= pool.area_of(index), "a batch stays inside its buffer");
    let start = HEAD_ROOM_BYTES + HEADER_BYTES;
    write_to(pool, index, start, records.len(), |room| room.copy_from_slice(records));
}

/// Puts a request's first bytes right in front of the batch and its last ones right behind it, and
/// lends the whole. None when the head does not fit.
pub(in crate::accumulator) fn lend_framed(
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
