//! Reserved records: claimed and committed by two calls, with the caller's own code in between.
//!
//! Thread:   any thread reserves, writes and settles; the shard takes.
//! Bounds:   nothing is kept per reservation: its record's bytes say how far it is.
//! Never:    lets the value be read by others before it is committed; costs those anything who
//!           reserve nothing.
//!
//! States of a reserved record, in its mark (see `batch/mod.rs`): `OPEN ─commit─► WRITTEN`,
//! `OPEN ─drop─► DROPPED`, `OPEN ─the shard waits no longer─► EVICTED`; each is final. What is not
//! written is left out of the batch before that is sent (`accumulator/holes.rs`). An evicted one
//! can still be appended, as the record that its bytes say.
#![forbid(unsafe_code)]

use super::super::batch::{Batch, Claim, DROPPED, EVICTED, OPEN, Progress, SealedBatch, WRITTEN};
use super::super::buffer_pool::BufferIndex;
use super::super::holes::Left;
use super::open::Opened;
use super::{
    Append, BatchRing, CLOSED, COUNT_MAX, COUNT_ONE, Entry, Head, Memory, Reservations, SEALED,
    SLOTS, batch_of, count_of, generation_of, offset_of,
};
use crate::clock;
use crate::delivery::tags::NoTag;
use crate::delivery::{CellIndex, Delivery};
use crate::protocol::record_batch::{self, HEADER_BYTES, Header};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// The fields of a record whose value comes later.
#[derive(Clone, Copy, Debug)]
pub struct Vacant<'a> {
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// Bytes of the value.
    pub value_bytes: usize,
    /// The headers.
    pub headers: &'a [Header<'a>],
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// A reservation that was made.
#[derive(Debug)]
pub struct Hold<'a> {
    /// The record.
    pub held: Held<'a>,
    /// How much the batch grew, a new batch's header included.
    pub bytes: usize,
    /// Whether the record opened a batch.
    pub opened: bool,
}

/// A reserved record. Dropped, it is left out of its batch.
#[derive(Debug)]
pub struct Held<'a> {
    ring: &'a BatchRing,
    claim: Claim,
    /// Where the value starts in the record.
    value_at: usize,
    value_bytes: usize,
    timestamp: i64,
    ordinal: u32,
    cell: CellIndex,
    /// Nothing is held any more: the record is on its way.
    is_over: bool,
}

impl BatchRing {
    /// Reserves a record, as [`append`](Self::append) appends one.
    ///
    /// # Errors
    /// What `append` would have answered: never `Append::Done`.
    #[inline]
    pub fn reserve(&self, vacant: &Vacant<'_>, memory: Memory) -> Result<Hold<'_>, Append> {
        let key = vacant.key.map(<[u8]>::len);
        let content = record_batch::content_bytes(key, Some(vacant.value_bytes), vacant.headers);
        let mut word = self.word.load(Acquire);
        loop {
            if word & (SEALED | CLOSED) == 0 {
                match self.hold(word, vacant, content) {
                    Ok(Some(hold)) => return Ok(hold),
                    Ok(None) => self.seal(word),
                    Err(()) => {}
                }
            } else {
                match self.hold_next(word, vacant, content, memory) {
                    Ok(hold) => return Ok(hold),
                    Err(Opened::Mine(append)) => return Err(append),
                    Err(Opened::Again) => {}
                }
            }
            word = self.word.load(Acquire);
        }
    }

    /// Claims in the open batch of `word`, as `claim` does. None: it does not fit. Err: the word
    /// moved on.
    #[inline]
    fn hold(&self, word: u64, vacant: &Vacant<'_>, content: usize) -> Result<Option<Hold<'_>>, ()> {
        let slot = &self.slots[generation_of(word) as usize % SLOTS];
        let seen = batch_of(slot.load(Acquire)).ok_or(())?;
        let batch = self.batch(seen);
        let base_timestamp = batch.base_timestamp.load(Relaxed);
        let (ordinal, offset) = (count_of(word), offset_of(word));
        let delta = vacant.timestamp.wrapping_sub(base_timestamp);
        let bytes = record_batch::record_bytes_around(content, ordinal, delta);
        if offset + bytes > batch.limit() || ordinal == COUNT_MAX {
            return Ok(None);
        }
        let claimed = word + COUNT_ONE + bytes as u64;
        // Acquire on success: the claimed range is ours after everything that was before it.
        self.word.compare_exchange(word, claimed, Acquire, Relaxed).map_err(|_| ())?;
        // The slot is read again and `delta` is not, as in `append_run`: see the module head.
        let index = batch_of(slot.load(Acquire)).expect("a claimed batch stays in its slot");
        let claim = Claim { batch: index, offset, bytes };
        let held = self.write_head(claim, vacant, ordinal, delta);
        Ok(Some(Hold { held, bytes, opened: false }))
    }

    /// The first record of the next batch.
    #[cold]
    #[inline(never)]
    fn hold_next(
        &self,
        word: u64,
        vacant: &Vacant<'_>,
        content: usize,
        memory: Memory,
    ) -> Result<Hold<'_>, Opened> {
        let bytes = HEADER_BYTES + record_batch::record_bytes_around(content, 0, 0);
        let new = self.open_batch(word, bytes, vacant.timestamp, memory, NoTag)?;
        let held = self.write_head(new.claim, vacant, 0, 0);
        self.accumulator.tell(self, new.deadline);
        Ok(Hold { held, bytes, opened: true })
    }

    /// Writes all of a claimed record but the value, and says that it is reserved.
    #[inline]
    fn write_head(
        &self,
        mut claim: Claim,
        vacant: &Vacant<'_>,
        ordinal: u32,
        delta: i64,
    ) -> Held<'_> {
        let Vacant { key, value_bytes, headers, timestamp } = *vacant;
        let pool = &self.accumulator.pool;
        let is_pooled = (claim.batch as usize) < pool.pooled_count();
        let batch = self.batch(claim.batch);
        let record = claim.bytes_mut(pool, batch);
        let value_at = record_batch::encode_record_without_value(
            record,
            ordinal,
            delta,
            key,
            value_bytes,
            headers,
        );
        record[record_batch::attributes_at(record.len())] = OPEN;
        if !is_pooled {
            // Memory beside the arena is not initialised.
            record[value_at..value_at + value_bytes].fill(0);
        }
        let (cell, is_over) = (batch.cell(), false);
        if batch.reserve(claim.bytes, clock::now_nanos()) {
            self.accumulator.tell(self, 0);
        }
        Held { ring: self, claim, value_at, value_bytes, timestamp, ordinal, cell, is_over }
    }

    #[inline]
    fn batch(&self, index: u32) -> &Batch {
        &self.accumulator.batches[index as usize]
    }

    /// The sealed batch at the head has writers that are not done, or records that are left out.
    #[cold]
    pub(super) fn take_incomplete(
        &self,
        head: u32,
        sealed: &SealedBatch,
        reservations: Reservations,
    ) -> Head {
        let batch = self.batch(sealed.index.0);
        let mut progress = batch.progress(sealed.bytes - HEADER_BYTES as u32);
        if progress == Progress::Reserved {
            if reservations == Reservations::Awaited {
                return Head::Reserved { opened: sealed.opened_at, last: batch.reserved_at() };
            }
            progress = self.accumulator.evict(sealed);
        }
        match progress {
            // Between two steps of a commit, or of a drop.
            Progress::Writing | Progress::Reserved => Head::Incomplete,
            Progress::Written => {
                self.pass(head);
                Head::Sealed(*sealed)
            }
            Progress::Holes => self.take_rest(head, sealed, reservations != Reservations::Ended),
        }
    }

    fn take_rest(&self, head: u32, sealed: &SealedBatch, is_to_be_sent: bool) -> Head {
        match self.accumulator.close_holes(sealed, is_to_be_sent) {
            Left::NoMemory => Head::Incomplete,
            Left::Some(rest) => {
                self.pass(head);
                Head::Sealed(rest)
            }
            Left::Nothing => {
                self.pass(head);
                self.accumulator.vanish(sealed);
                Head::Vanished
            }
        }
    }
}

impl Held<'_> {
    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        if self.value_bytes == 0 {
            return &[];
        }
        self.claim.value(&self.ring.accumulator.pool, self.value_at, self.value_bytes)
    }

    /// The value, to be written.
    #[inline]
    pub fn value_mut(&mut self) -> &mut [u8] {
        let (start, bytes) = (self.value_at, self.value_bytes);
        if bytes == 0 {
            return &mut [];
        }
        self.claim.value_mut(&self.ring.accumulator.pool, start, bytes)
    }

    /// The record goes where it was reserved. None if it was evicted from there.
    #[inline]
    pub fn commit(&mut self) -> Option<Delivery> {
        assert!(!self.is_over, "a record is committed once");
        if !self.settle(WRITTEN) {
            return None;
        }
        self.forget();
        let batch = self.ring.batch(self.claim.batch);
        batch.raise_timestamp(self.timestamp);
        let delivery = self.cell.delivery(self.ordinal, self.timestamp);
        if batch.settle(self.claim.bytes, false) {
            self.ring.accumulator.tell(self.ring, 0);
        }
        Some(delivery)
    }

    /// Appends a record that was evicted, with its value as it is now. `Append::Done` ends the
    /// reservation; after everything else it is still there.
    #[cold]
    pub fn append(&mut self) -> Append {
        let record = self.claim.record(&self.ring.accumulator.pool);
        let (key, headers) = record_batch::key_and_headers(record);
        let value = Some(self.value());
        let entry = Entry { key, value, headers: &headers, timestamp: self.timestamp };
        let append = self.ring.append(&entry, Memory::Try);
        if let Append::Done { .. } = append {
            self.forget();
            self.ring.accumulator.let_go(BufferIndex(self.claim.batch));
        }
        append
    }

    /// Leaves the record as it is: nothing is settled any more.
    #[inline]
    pub fn forget(&mut self) {
        self.is_over = true;
        self.value_bytes = 0;
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.ring.partition
    }

    /// Whether the batch has gone without the record.
    pub fn is_evicted(&self) -> bool {
        let mark = || self.claim.mark(&self.ring.accumulator.pool).load(Relaxed);
        !self.is_over && mark() == EVICTED
    }

    /// Whether this is who decided; else the record was evicted.
    #[inline]
    fn settle(&self, mark: u8) -> bool {
        let found = self.claim.mark(&self.ring.accumulator.pool);
        self.ring.batch(self.claim.batch).note_mark();
        // Acquire on failure: what the shard did before. Partner: `Accumulator::evict`.
        let settled = found.compare_exchange(OPEN, mark, AcqRel, Acquire);
        debug_assert!(matches!(settled, Ok(_) | Err(EVICTED)), "a record is settled once");
        settled.is_ok()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let accumulator = &self.ring.accumulator;
        if !self.settle(DROPPED) {
            return accumulator.let_go(BufferIndex(self.claim.batch));
        }
        if self.ring.batch(self.claim.batch).settle(self.claim.bytes, true) {
            accumulator.tell(self.ring, 0);
        }
    }
}

#[cfg(test)]
mod tests;
