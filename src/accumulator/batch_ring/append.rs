//! Claim, encode, commit: what `send` does per record.
//!
//! Thread:   any.
//! Never:    allocates, blocks, or runs user code between claim and commit.
#![forbid(unsafe_code)]

use super::super::batch::{Batch, Claim};
use super::super::buffer_pool::Need;
use super::entry::{Any, Encoding, Late, Plain};
use super::open::Opened;
use super::{
    BatchRing, CLOSED, COUNT_MAX, COUNT_ONE, Entry, SEALED, SLOTS, batch_of, count_of,
    generation_of, offset_of,
};
use crate::delivery::Delivery;
use crate::delivery::tags::{NoTag, Tag};
use crate::sync::atomic::Ordering::{Acquire, Relaxed};

/// Whether an append may start a new batch, and with which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Only an open batch will do: a full one makes the caller choose again (STK-5).
    None,
    /// Take it from the pool if there is some.
    Try,
    /// The same, unless the shard is far behind: then the caller waits for it (`NoSlot`).
    Paced,
    /// The caller holds this many reserved bytes; they are used up or stay with the caller.
    Reserved(u64),
}

/// What became of an append.
#[derive(Debug)]
pub enum Append {
    /// The record is in a batch. `bytes`: how much the batch grew (STK-2).
    Done {
        /// The promise.
        delivery: Delivery,
        /// How much the batch grew, a new batch's header included.
        bytes: usize,
        /// Whether the record opened a batch.
        opened: bool,
        /// Whether reserved bytes were used up.
        used_reserved: bool,
    },
    /// A new batch is needed, and the caller allowed none.
    Full,
    /// A new batch needs bytes that are not free.
    NoMemory(Need),
    /// The shard has to catch up first: the ring is full, or the caller is too far ahead.
    NoSlot,
    /// The producer is closed.
    Closed,
}

/// Why an open batch did not take a record.
enum Passed {
    /// It has no room.
    Full,
    /// It takes another encoding.
    Unfit,
    /// It is sealed, or another claim came first: look again.
    Moved,
}

impl BatchRing {
    /// Appends one record to the open batch, if that is possible at the first try; beside the
    /// promise, how much the batch grew (STK-2). None: nothing happened, [`append`](Self::append)
    /// does what is needed. Lock-free; allocates nothing.
    ///
    /// `entry` has no headers.
    #[inline(always)]
    pub fn append_to_open<T: Tag>(&self, entry: &Entry<'_>, tag: T) -> Option<(Delivery, usize)> {
        debug_assert!(entry.headers.is_empty(), "plain records have none");
        match self.claim(self.word.load(Acquire), entry, Plain, tag) {
            Ok(appended) => Some(appended),
            Err(Passed::Unfit) => {
                // Not `entry`, for which the usual way would need the record in memory.
                let Entry { key, value, timestamp, .. } = *entry;
                self.append_late_to_open(&Entry { key, value, headers: &[], timestamp }, tag)
            }
            Err(_) => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn append_late_to_open<T: Tag>(&self, entry: &Entry<'_>, tag: T) -> Option<(Delivery, usize)> {
        self.claim(self.word.load(Acquire), entry, Late, tag).ok()
    }

    /// Appends one record. Lock-free; runs on the calling thread; allocates nothing, except for a
    /// record larger than `batch.size`, which gets memory of its own.
    pub fn append(&self, entry: &Entry<'_>, memory: Memory) -> Append {
        self.append_tagged(entry, memory, NoTag)
    }

    /// [`append`](Self::append) of a record that leaves a tag in its batch's cell. Allocates also
    /// where the cell has no room for one; not between claim and commit.
    pub fn append_tagged<T: Tag>(&self, entry: &Entry<'_>, memory: Memory, tag: T) -> Append {
        let content = entry.content_bytes();
        let mut word = self.word.load(Acquire);
        loop {
            if word & (SEALED | CLOSED) == 0 {
                match self.claim(word, entry, Any { content }, tag) {
                    Ok((delivery, bytes)) => {
                        return Append::Done {
                            delivery,
                            bytes,
                            opened: false,
                            used_reserved: false,
                        };
                    }
                    // Whoever seals it tells the shard.
                    Err(Passed::Full) => self.seal(word),
                    Err(Passed::Moved | Passed::Unfit) => {}
                }
            } else {
                match self.open_next(word, entry, memory, tag) {
                    Opened::Mine(append) => return append,
                    Opened::Again => {}
                }
            }
            word = self.word.load(Acquire);
        }
    }

    /// Claims, encodes and commits in the open batch of `word`.
    #[inline(always)]
    fn claim<T: Tag, E: Encoding>(
        &self,
        word: u64,
        entry: &Entry<'_>,
        encoding: E,
        tag: T,
    ) -> Result<(Delivery, usize), Passed> {
        if word & (SEALED | CLOSED) != 0 {
            return Err(Passed::Moved);
        }
        let slot = &self.slots[generation_of(word) as usize % SLOTS];
        let seen = slot.load(Acquire);
        // Of an empty slot this is above every batch's number.
        let index = (seen as u32).wrapping_sub(1);
        let batch = self.accumulator.batches.get(index as usize).ok_or(Passed::Moved)?;
        let base_timestamp = batch.base_timestamp.load(Relaxed);
        let ordinal = count_of(word);
        let delta = entry.timestamp.wrapping_sub(base_timestamp);
        let (plan, bytes) = encoding.plan(entry, ordinal, delta).ok_or(Passed::Unfit)?;
        if offset_of(word) + bytes > batch.limit() || ordinal == COUNT_MAX {
            return Err(Passed::Full);
        }
        tag.reserve(|| batch.cell(), ordinal);
        let claimed = word + COUNT_ONE + bytes as u64;
        // Acquire on success: the claimed range is ours after everything that was before it.
        let claim = self.word.compare_exchange(word, claimed, Acquire, Relaxed);
        // The same word, which need not be kept meanwhile.
        let word = claim.map_err(|_| Passed::Moved)?;
        let (ordinal, offset) = (count_of(word), offset_of(word));
        let now = slot.load(Acquire);
        if now != seen {
            // Not `*entry`, for which the usual way would need the record in memory.
            let Entry { key, value, headers, timestamp } = *entry;
            let entry = Entry { key, value, headers, timestamp };
            let rebased = self.write_rebased((now, offset, bytes), &entry, ordinal, delta, tag);
            return Ok((rebased, bytes));
        }
        let mut claim = Claim { batch: index, offset, bytes };
        E::write(plan, entry, claim.bytes_mut(&self.accumulator.pool, batch));
        Ok((self.commit(batch, bytes, entry.timestamp, ordinal, tag), bytes))
    }

    /// Appends as many of `count` records to the open batch as fit, with one claim; returns how
    /// many and their bytes. Zero when there is no open batch or no room: [`append`](Self::append)
    /// then does what is needed. Pushes one delivery per record taken.
    pub fn append_run<'e, D: From<Delivery>>(
        &self,
        count: usize,
        entry: impl Fn(usize) -> Entry<'e>,
        deliveries: &mut Vec<D>,
    ) -> (usize, usize) {
        let word = self.word.load(Acquire);
        if word & (SEALED | CLOSED) != 0 {
            return (0, 0);
        }
        let slot = &self.slots[generation_of(word) as usize % SLOTS];
        let seen = slot.load(Acquire);
        let Some(index) = batch_of(seen) else { return (0, 0) };
        let batch = &self.accumulator.batches[index as usize];
        let (base, limit) = (batch.base_timestamp.load(Relaxed), batch.limit());
        let (first, offset) = (count_of(word), offset_of(word));
        let (mut taken, mut bytes) = (0, 0);
        while taken < count && first + (taken as u32) < COUNT_MAX {
            let more = entry(taken).bytes(first + taken as u32, base);
            if offset + bytes + more > limit {
                break;
            }
            bytes += more;
            taken += 1;
        }
        let claimed = word + COUNT_ONE * taken as u64 + bytes as u64;
        if taken == 0 || self.word.compare_exchange(word, claimed, Acquire, Relaxed).is_err() {
            return (0, 0);
        }
        // The slot is read again and `base` is not, as in `claim`: see the module head.
        let index = batch_of(slot.load(Acquire)).expect("a claimed batch stays in its slot");
        let batch = &self.accumulator.batches[index as usize];
        let mut at = offset;
        for number in 0..taken {
            let (entry, ordinal) = (entry(number), first + number as u32);
            let mut claim = Claim { batch: index, offset: at, bytes: entry.bytes(ordinal, base) };
            at += claim.bytes;
            let delta = entry.timestamp.wrapping_sub(base);
            entry.encode(claim.bytes_mut(&self.accumulator.pool, batch), ordinal, delta);
            batch.raise_timestamp(entry.timestamp);
            deliveries.push(batch.cell().delivery(ordinal, entry.timestamp).into());
        }
        if batch.commit(bytes) {
            self.accumulator.tell(self, 0);
        }
        (taken, bytes)
    }

    /// The generation wrapped between look and claim: keep the claimed width (see the module head).
    #[cold]
    #[inline(never)]
    fn write_rebased<T: Tag>(
        &self,
        (slot, offset, bytes): (u64, usize, usize),
        entry: &Entry<'_>,
        ordinal: u32,
        delta: i64,
        tag: T,
    ) -> Delivery {
        let index = batch_of(slot).expect("a batch with an open claim stays in its slot");
        let batch = &self.accumulator.batches[index as usize];
        let base = batch.base_timestamp.load(Relaxed);
        let fits = entry.bytes(ordinal, base) == bytes;
        let delta = if fits { entry.timestamp.wrapping_sub(base) } else { delta };
        let mut claim = Claim { batch: index, offset, bytes };
        entry.encode(claim.bytes_mut(&self.accumulator.pool, batch), ordinal, delta);
        self.commit(batch, bytes, entry.timestamp, ordinal, tag)
    }

    /// Publishes a record that was written into its claim in this batch.
    #[inline(always)]
    pub(super) fn commit<T: Tag>(
        &self,
        batch: &Batch,
        bytes: usize,
        timestamp: i64,
        ordinal: u32,
        tag: T,
    ) -> Delivery {
        batch.raise_timestamp(timestamp);
        // Read before the commit: afterwards the batch may be gone.
        let cell = batch.cell();
        tag.leave(cell, ordinal, timestamp);
        if batch.commit(bytes) {
            self.accumulator.tell(self, 0);
        }
        cell.delivery(ordinal, timestamp)
    }
}
