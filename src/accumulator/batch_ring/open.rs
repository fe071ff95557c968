//! Opening the next batch of a ring: by whoever finds the last one sealed.
//!
//! Thread:   any.
//! Never:    waits for another opener: who is late helps, or looks again.
#![forbid(unsafe_code)]

use super::super::batch::{Claim, Opening};
use super::super::buffer_pool::{BufferIndex, Need};
use super::super::{BATCH_BYTES_MAX, Taken};
use super::{
    Append, BatchRing, CLOSED, Entry, GENERATION_MASK, Memory, SEALED, SLOTS, batch_of,
    generation_of, lap_of, slot_of, word_of,
};
use crate::clock;
use crate::delivery::CellIndex;
use crate::delivery::tags::Tag;
use crate::protocol::record_batch::HEADER_BYTES;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

pub(super) enum Opened {
    Mine(Append),
    /// Somebody else moved the ring on: look again.
    Again,
}

/// A batch that this thread opened, with the place of its first record.
pub(super) struct NewBatch {
    pub(super) claim: Claim,
    /// Until when the shard may sleep all the same.
    pub(super) deadline: u64,
    used_reserved: bool,
}

impl BatchRing {
    #[cold]
    #[inline(never)]
    pub(super) fn open_next<T: Tag>(
        &self,
        word: u64,
        entry: &Entry<'_>,
        memory: Memory,
        tag: T,
    ) -> Opened {
        let bytes = entry.alone_bytes();
        let opened = match self.open_batch(word, bytes, entry.timestamp, memory, tag) {
            Ok(opened) => opened,
            Err(not) => return not,
        };
        let mut claim = opened.claim;
        let batch = &self.accumulator.batches[claim.batch as usize];
        entry.encode(claim.bytes_mut(&self.accumulator.pool, batch), 0, 0);
        let delivery = self.commit(batch, claim.bytes, entry.timestamp, 0, tag);
        self.accumulator.tell(self, opened.deadline);
        let used_reserved = opened.used_reserved;
        Opened::Mine(Append::Done { delivery, bytes, opened: true, used_reserved })
    }

    /// Opens the batch after `word` for a record that makes it `bytes` large, and claims that
    /// record's place.
    #[inline(always)]
    pub(super) fn open_batch<T: Tag>(
        &self,
        word: u64,
        bytes: usize,
        timestamp: i64,
        memory: Memory,
        tag: T,
    ) -> Result<NewBatch, Opened> {
        if word & CLOSED != 0 {
            return Err(Opened::Mine(Append::Closed));
        }
        let generation = generation_of(word).wrapping_add(1) & GENERATION_MASK;
        let slot = &self.slots[generation as usize % SLOTS];
        let seen = slot.load(Acquire);
        let position = lap_of(seen) as usize * SLOTS + generation as usize % SLOTS;
        if position as u32 & GENERATION_MASK != generation {
            // The slot still serves an earlier lap, or `word` is old.
            let same = self.word.load(Acquire) == word;
            return Err(if same { Opened::Mine(Append::NoSlot) } else { Opened::Again });
        }
        if let Some(index) = batch_of(seen) {
            // Somebody published the batch and was stopped before moving the word: help.
            self.move_on(word, self.accumulator.batches[index as usize].opening.load(Relaxed));
            return Err(Opened::Again);
        }
        let taken = self.accumulator.take_buffer(bytes, self, memory);
        let Taken { buffer, limit, used_reserved } = taken.map_err(Opened::Mine)?;
        let Some(cell) = CellIndex::claim(&self.topic, self.partition) else {
            let bytes = self.accumulator.pool.charge_of(buffer);
            self.accumulator.put_back(buffer, used_reserved);
            let need = Need::new(bytes, self.has_backlog());
            return Err(Opened::Mine(Append::NoMemory(need)));
        };
        tag.reserve(|| cell, 0);
        let opening = self.prepare(buffer, limit, cell, generation, bytes, timestamp);
        let published = slot_of(lap_of(seen), Some(buffer.0));
        if slot.compare_exchange(seen, published, AcqRel, Relaxed).is_err() {
            self.undo(buffer, cell, used_reserved);
            return Err(Opened::Again);
        }
        if !self.move_on(word, opening) {
            // Either somebody helped, or the ring was closed first. A closed word never moves, so
            // the question is settled: still the old generation means that nobody can claim here.
            let now = self.word.load(Acquire);
            if now & CLOSED != 0 && generation_of(now) == generation_of(word) {
                slot.store(seen, Release);
                self.undo(buffer, cell, used_reserved);
                return Err(Opened::Mine(Append::Closed));
            }
        }
        let batch = &self.accumulator.batches[buffer.0 as usize];
        let deadline = self.accumulator.send_deadline(batch.opened_at(), opening & SEALED != 0);
        let claim = Claim { batch: buffer.0, offset: HEADER_BYTES, bytes: bytes - HEADER_BYTES };
        Ok(NewBatch { claim, deadline, used_reserved })
    }

    /// Fills in the batch of a buffer that nobody else sees yet; returns its first claim word, with
    /// this record's claim in it.
    fn prepare(
        &self,
        buffer: BufferIndex,
        limit: usize,
        cell: CellIndex,
        generation: u32,
        bytes: usize,
        timestamp: i64,
    ) -> u64 {
        let oversized = bytes > limit;
        let offset = if bytes > BATCH_BYTES_MAX { 0 } else { bytes };
        let seal = if oversized { SEALED } else { 0 };
        let word = word_of(generation, 1, offset) | seal;
        self.accumulator.batches[buffer.0 as usize].open(Opening {
            base: self.accumulator.pool.base_of(buffer),
            timestamp,
            opened_at: clock::now_nanos(),
            cell,
            flush_epoch: self.accumulator.enter_flush_epoch(),
            limit,
            word,
            oversized_bytes: if oversized { (bytes - HEADER_BYTES) as u32 } else { 0 },
        });
        word
    }

    fn undo(&self, buffer: BufferIndex, cell: CellIndex, used_reserved: bool) {
        let epoch = self.accumulator.batches[buffer.0 as usize].flush_epoch();
        cell.abandon();
        self.accumulator.put_back(buffer, used_reserved);
        // Last, since it wakes the shard: the memory may be what others wait for.
        self.accumulator.leave_flush_epoch(epoch);
    }

    /// Opens the next generation; the one that succeeds leaves the final word of the last one for
    /// the shard, which looks again by itself when it came in between (`Head::Incomplete`).
    fn move_on(&self, word: u64, opening: u64) -> bool {
        if self.word.compare_exchange(word, opening, AcqRel, Relaxed).is_err() {
            return false;
        }
        self.finals[generation_of(word) as usize % SLOTS].store(word, Release);
        true
    }
}
