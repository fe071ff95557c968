//! The shard's end of a ring: what is at its head, and taking it.
//!
//! Thread:   the shard's.
//! Never:    takes a batch before its last writer has committed, except without reservations that
//!           are late (`reserve.rs`).
#![forbid(unsafe_code)]

use super::super::batch::SealedBatch;
use super::super::buffer_pool::BufferIndex;
use super::{
    BatchRing, CLOSED, GENERATION_MASK, SEALED, SLOTS, batch_of, count_of, generation_of,
    offset_of, slot_of,
};
use crate::protocol::compression::Codec;
use crate::protocol::record_batch::HEADER_BYTES;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What the shard finds at the head of a ring.
#[derive(Debug)]
pub enum Head {
    /// Nothing.
    Empty,
    /// An open batch, opened at this time.
    Open(u64),
    /// A sealed batch whose last writers are not done; they will tell.
    Incomplete,
    /// A sealed batch in which only reservations are missing.
    Reserved {
        /// When it was opened.
        opened: u64,
        /// When the last one was made.
        last: u64,
    },
    /// All records of a sealed batch were left out; it is out of the ring and no more.
    Vanished,
    /// A whole batch, now out of the ring.
    Sealed(SealedBatch),
}

/// What to do about open reservations in a sealed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservations {
    /// Wait for them.
    Awaited,
    /// They are late: the batch goes without them, in a copy.
    Late,
    /// The same, and the batch is not going to be sent, so that it needs no copy.
    Ended,
}

impl BatchRing {
    /// Looks at the head of the ring and takes the batch there if it is whole. Shard only.
    pub fn take(&self) -> Head {
        self.take_as(Reservations::Awaited)
    }

    /// [`take`](Self::take), with open reservations treated like this.
    pub fn take_as(&self, reservations: Reservations) -> Head {
        let head = self.head.load(Relaxed);
        let word = self.word.load(Acquire);
        let ahead = generation_of(word).wrapping_sub(head) & GENERATION_MASK;
        let last = match ahead {
            GENERATION_MASK => return Head::Empty,
            0 if word & (SEALED | CLOSED) == 0 => return self.open_head(head),
            0 => word,
            _ => self.finals[head as usize % SLOTS].load(Acquire),
        };
        if generation_of(last) != head & GENERATION_MASK || last & (SEALED | CLOSED) == 0 {
            // The opener of the next batch has not left the final word yet; it will tell.
            return Head::Incomplete;
        }
        let slot = &self.slots[head as usize % SLOTS];
        let Some(index) = batch_of(slot.load(Acquire)) else { return Head::Incomplete };
        let batch = &self.accumulator.batches[index as usize];
        let claimed = offset_of(last).saturating_sub(HEADER_BYTES) as u32;
        let Some(bytes) = batch.complete(claimed) else {
            let sealed = self.sealed(index, count_of(last), batch.claimed(claimed));
            return self.take_incomplete(head, &sealed, reservations);
        };
        let sealed = self.sealed(index, count_of(last), bytes);
        self.pass(head);
        Head::Sealed(sealed)
    }

    #[inline]
    fn sealed(&self, index: u32, records: u32, bytes: u32) -> SealedBatch {
        let batch = &self.accumulator.batches[index as usize];
        SealedBatch {
            index: BufferIndex(index),
            records,
            bytes: bytes + HEADER_BYTES as u32,
            opened_at: batch.opened_at(),
            codec: Codec::None,
            plain_bytes: bytes + HEADER_BYTES as u32,
            cell: batch.cell(),
            flush_epoch: batch.flush_epoch(),
            origin: None,
        }
    }

    /// The batch at the head of the ring leaves it.
    #[inline]
    pub(super) fn pass(&self, head: u32) {
        let slot = &self.slots[head as usize % SLOTS];
        slot.store(slot_of((head / SLOTS as u32).wrapping_add(1), None), Release);
        self.head.store(head.wrapping_add(1), Relaxed);
    }

    fn open_head(&self, head: u32) -> Head {
        let slot = self.slots[head as usize % SLOTS].load(Acquire);
        let Some(index) = batch_of(slot) else { return Head::Incomplete };
        Head::Open(self.accumulator.batches[index as usize].opened_at())
    }
}
