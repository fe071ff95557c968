//! One partition's bounded ring of batches: application threads append, the shard takes.
//!
//! Owns:     the order of one partition's records, from `send` to the shard.
//! Thread:   any thread appends and seals; only the shard takes and closes.
//! Bounds:   [`SLOTS`] batches between the appenders and the shard; `COUNT_MAX` records and
//!           `BYTES_MAX` bytes in a batch.
//! Never:    allocates, blocks, or runs user code between claim and commit.
//!
//! States of the open position, in the claim word:
//! `Sealed(n-1) ─open─► Open(n) ─full, linger, pressure, flush─► Sealed(n) ─open─► Open(n+1) …`,
//! and from any of them `─close─► Closed`, which is final.
//!
//! The claim word belongs to the partition, not to a buffer: a thread that was stopped between
//! reading the word and claiming can never claim in a buffer that went to another partition
//! meanwhile, because the buffer is looked up again after the claim. The 18 bits of the generation
//! would have to wrap while a thread is stopped, at the same count and offset, for a claim sized
//! for one batch to succeed in another; even then the record lies in its own partition, intact, and
//! only its timestamp moves by the difference of the two batches' base times (`write_rebased`).
//!
//! # Why unsafe
//! None here: the bytes are written through `batch::Claim`.
//!
//! # Orderings
//! 1. slot, Release by the opener, Acquire by everyone: publishes the fields of the batch.
//! 2. claim word, AcqRel on opening: who sees generation n open sees its slot.
//! 3. `finals`, Release by the opener of n+1, Acquire by the shard: the final word of n.
//! 4. `committed` of the batch, see `batch.rs`.
#![forbid(unsafe_code)]

mod reserve;

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::batch::{Claim, Opening, SealedBatch};
use super::buffer_pool::BufferIndex;
use super::ready::Link;
use super::{Accumulator, BATCH_BYTES_MAX};
pub use reserve::{Held, Hold, Vacant};

use crate::clock;
use crate::delivery::tags::{NoTag, Tag};
use crate::delivery::{CellIndex, Delivery};
use crate::protocol::plain_record::Plan;
use crate::protocol::record_batch::{self, HEADER_BYTES, Header};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU32, AtomicU64};

/// Batches between the appenders and the shard. The shard takes sealed ones into its own queue, so
/// this bounds a hand-over, not what a partition can hold.
pub const SLOTS: usize = if cfg!(kuring_loom) { 2 } else { 64 };

const OFFSET_BITS: u32 = 25;
const COUNT_BITS: u32 = 19;
const GENERATION_BITS: u32 = 18;
const COUNT_ONE: u64 = 1 << OFFSET_BITS;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
const GENERATION_SHIFT: u32 = OFFSET_BITS + COUNT_BITS;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const SEALED: u64 = 1 << 62;
const CLOSED: u64 = 1 << 63;

const _: () = assert!(BATCH_BYTES_MAX < 1 << OFFSET_BITS);

fn offset_of(word: u64) -> usize {
    (word & ((1 << OFFSET_BITS) - 1)) as usize
}

fn count_of(word: u64) -> u32 {
    (word >> OFFSET_BITS) as u32 & COUNT_MAX
}

fn generation_of(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32 & GENERATION_MASK
}

fn word_of(generation: u32, count: u32, offset: usize) -> u64 {
    u64::from(generation & GENERATION_MASK) << GENERATION_SHIFT
        | u64::from(count) << OFFSET_BITS
        | offset as u64
}

/// One slot: which lap it serves, and the batch in it plus one (0: empty).
fn slot_of(lap: u32, batch: Option<u32>) -> u64 {
    u64::from(lap) << 32 | batch.map_or(0, |batch| u64::from(batch) + 1)
}

fn batch_of(slot: u64) -> Option<u32> {
    (slot as u32).checked_sub(1)
}

fn lap_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

/// The fields of a record as they go into a batch.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [Header<'a>],
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

impl Entry<'_> {
    /// Bytes of key, value and headers.
    #[inline]
    fn content_bytes(&self) -> usize {
        let length = |field: Option<&[u8]>| field.map(<[u8]>::len);
        record_batch::content_bytes(length(self.key), length(self.value), self.headers)
    }

    fn bytes(&self, ordinal: u32, base_timestamp: i64) -> usize {
        let delta = self.timestamp.wrapping_sub(base_timestamp);
        record_batch::record_bytes_around(self.content_bytes(), ordinal, delta)
    }

    fn encode(&self, out: &mut [u8], ordinal: u32, delta: i64) {
        record_batch::encode_record(out, ordinal, delta, self.key, self.value, self.headers);
    }

    /// Bytes of a batch of this record alone.
    fn alone_bytes(&self) -> usize {
        HEADER_BYTES + self.bytes(0, self.timestamp)
    }
}

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
    /// A new batch needs this many bytes, which are not free.
    NoMemory(u64),
    /// The shard has to catch up first: the ring is full, or the caller is too far ahead.
    NoSlot,
    /// The producer is closed.
    Closed,
}

/// How a record is turned into bytes, in two steps: its size before the claim, its bytes after it.
trait Encoding {
    type Plan;

    /// What is known of the record at this place in a batch, and its size. None: not by this one.
    fn plan(&self, entry: &Entry<'_>, ordinal: u32, delta: i64) -> Option<(Self::Plan, usize)>;

    fn write(plan: Self::Plan, entry: &Entry<'_>, out: &mut [u8]);
}

/// The usual records.
struct Plain;

impl Encoding for Plain {
    type Plan = Plan;

    #[inline(always)]
    fn plan(&self, entry: &Entry<'_>, ordinal: u32, delta: i64) -> Option<(Plan, usize)> {
        let plan = Plan::new(ordinal, delta, entry.key, entry.value)?;
        Some((plan, plan.bytes()))
    }

    #[inline(always)]
    fn write(plan: Plan, entry: &Entry<'_>, out: &mut [u8]) {
        plan.write(out, entry.key, entry.value);
    }
}

/// All records.
struct Any {
    /// [`Entry::content_bytes`], computed once, however often a claim is tried.
    content: usize,
}

impl Encoding for Any {
    type Plan = (u32, i64);

    #[inline]
    fn plan(&self, _: &Entry<'_>, ordinal: u32, delta: i64) -> Option<((u32, i64), usize)> {
        let bytes = record_batch::record_bytes_around(self.content, ordinal, delta);
        Some(((ordinal, delta), bytes))
    }

    #[inline]
    fn write((ordinal, delta): (u32, i64), entry: &Entry<'_>, out: &mut [u8]) {
        entry.encode(out, ordinal, delta);
    }
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

enum Opened {
    Mine(Append),
    /// Somebody else moved the ring on: look again.
    Again,
}

/// A batch that this thread opened, with the place of its first record.
struct NewBatch {
    claim: Claim,
    /// Until when the shard may sleep all the same.
    deadline: u64,
    used_reserved: bool,
}

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

/// One partition's ring.
#[derive(Debug)]
pub struct BatchRing {
    /// `{closed:1, sealed:1, generation:18, count:19, offset:25}`
    word: CachePadded<AtomicU64>,
    slots: [AtomicU64; SLOTS],
    finals: [AtomicU64; SLOTS],
    /// The position the shard takes next; only the shard writes it.
    head: AtomicU32,
    pub(super) link: Link,
    /// The ring's number in its shard.
    index: u32,
    topic: Arc<str>,
    partition: i32,
    accumulator: Arc<Accumulator>,
}

impl BatchRing {
    pub(super) fn new(
        accumulator: Arc<Accumulator>,
        index: u32,
        topic: Arc<str>,
        partition: i32,
    ) -> Self {
        Self {
            // Before position 0 comes the last generation, sealed and empty.
            word: CachePadded::new(AtomicU64::new(word_of(GENERATION_MASK, 0, 0) | SEALED)),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            finals: std::array::from_fn(|_| AtomicU64::new(0)),
            head: AtomicU32::new(0),
            link: Link::default(),
            index,
            topic,
            partition,
            accumulator,
        }
    }

    /// The ring's number in its shard.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The shard's accumulator.
    pub fn accumulator(&self) -> &Arc<Accumulator> {
        &self.accumulator
    }

    /// Appends one record to the open batch, if that is possible at the first try; beside the
    /// promise, how much the batch grew (STK-2). None: nothing happened, [`append`](Self::append)
    /// does what is needed. Lock-free; allocates nothing.
    ///
    /// `entry` has no headers.
    #[inline(always)]
    pub fn append_to_open<T: Tag>(&self, entry: &Entry<'_>, tag: T) -> Option<(Delivery, usize)> {
        debug_assert!(entry.headers.is_empty(), "plain records have none");
        self.claim(self.word.load(Acquire), entry, Plain, tag).ok()
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
        let batch = &self.accumulator.batches[batch_of(seen).ok_or(Passed::Moved)? as usize];
        let base_timestamp = batch.base_timestamp.load(Relaxed);
        let (ordinal, offset) = (count_of(word), offset_of(word));
        let delta = entry.timestamp.wrapping_sub(base_timestamp);
        let (plan, bytes) = encoding.plan(entry, ordinal, delta).ok_or(Passed::Unfit)?;
        if offset + bytes > self.accumulator.batch_limit || ordinal == COUNT_MAX {
            return Err(Passed::Full);
        }
        tag.reserve(|| batch.cell(), ordinal);
        let claimed = word + COUNT_ONE + bytes as u64;
        // Acquire on success: the claimed range is ours after everything that was before it.
        let claim = self.word.compare_exchange(word, claimed, Acquire, Relaxed);
        claim.map_err(|_| Passed::Moved)?;
        let now = slot.load(Acquire);
        let index = batch_of(now).expect("a batch with an open claim stays in its slot");
        let claim = Claim { batch: index, offset, bytes };
        if now != seen {
            return Ok((self.write_rebased(claim, entry, ordinal, delta, tag), bytes));
        }
        let mut claim = claim;
        E::write(plan, entry, claim.bytes_mut(&self.accumulator.pool));
        let delivery = self.commit(&claim, entry, ordinal, tag);
        Ok((delivery, bytes))
    }

    /// Appends as many of `count` records to the open batch as fit, with one claim; returns how
    /// many and their bytes. Zero when there is no open batch or no room: [`append`](Self::append)
    /// then does what is needed. Pushes one delivery per record taken.
    pub fn append_run<'e>(
        &self,
        count: usize,
        entry: impl Fn(usize) -> Entry<'e>,
        deliveries: &mut Vec<Delivery>,
    ) -> (usize, usize) {
        let word = self.word.load(Acquire);
        if word & (SEALED | CLOSED) != 0 {
            return (0, 0);
        }
        let slot = &self.slots[generation_of(word) as usize % SLOTS];
        let seen = slot.load(Acquire);
        let Some(index) = batch_of(seen) else { return (0, 0) };
        let batch = &self.accumulator.batches[index as usize];
        let base = batch.base_timestamp.load(Relaxed);
        let (first, offset) = (count_of(word), offset_of(word));
        let (mut taken, mut bytes) = (0, 0);
        while taken < count && first + (taken as u32) < COUNT_MAX {
            let more = entry(taken).bytes(first + taken as u32, base);
            if offset + bytes + more > self.accumulator.batch_limit {
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
            entry.encode(claim.bytes_mut(&self.accumulator.pool), ordinal, delta);
            batch.raise_timestamp(entry.timestamp);
            deliveries.push(batch.cell().delivery(ordinal, entry.timestamp));
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
        mut claim: Claim,
        entry: &Entry<'_>,
        ordinal: u32,
        delta: i64,
        tag: T,
    ) -> Delivery {
        let batch = &self.accumulator.batches[claim.batch as usize];
        let base = batch.base_timestamp.load(Relaxed);
        let fits = entry.bytes(ordinal, base) == claim.bytes;
        let delta = if fits { entry.timestamp.wrapping_sub(base) } else { delta };
        entry.encode(claim.bytes_mut(&self.accumulator.pool), ordinal, delta);
        self.commit(&claim, entry, ordinal, tag)
    }

    /// Publishes a record that was written into its claim.
    #[inline(always)]
    fn commit<T: Tag>(&self, claim: &Claim, entry: &Entry<'_>, ordinal: u32, tag: T) -> Delivery {
        let batch = &self.accumulator.batches[claim.batch as usize];
        batch.raise_timestamp(entry.timestamp);
        // Read before the commit: afterwards the batch may be gone.
        let cell = batch.cell();
        tag.leave(cell, ordinal, entry.timestamp);
        let delivery = cell.delivery(ordinal, entry.timestamp);
        if batch.commit(claim.bytes) {
            self.accumulator.tell(self, 0);
        }
        delivery
    }

    /// Seals the open batch of `word`, if it is still the one, and tells the shard.
    fn seal(&self, word: u64) {
        if self.word.compare_exchange(word, word | SEALED, AcqRel, Relaxed).is_ok() {
            self.accumulator.tell_full(self);
        }
    }

    #[cold]
    #[inline(never)]
    fn open_next<T: Tag>(&self, word: u64, entry: &Entry<'_>, memory: Memory, tag: T) -> Opened {
        let bytes = entry.alone_bytes();
        let opened = match self.open_batch(word, bytes, entry.timestamp, memory, tag) {
            Ok(opened) => opened,
            Err(not) => return not,
        };
        let mut claim = opened.claim;
        entry.encode(claim.bytes_mut(&self.accumulator.pool), 0, 0);
        let delivery = self.commit(&claim, entry, 0, tag);
        self.accumulator.tell(self, opened.deadline);
        let used_reserved = opened.used_reserved;
        Opened::Mine(Append::Done { delivery, bytes, opened: true, used_reserved })
    }

    /// Opens the batch after `word` for a record that makes it `bytes` large, and claims that
    /// record's place.
    #[inline(always)]
    fn open_batch<T: Tag>(
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
        let (buffer, used_reserved) =
            self.accumulator.take_buffer(bytes, memory).map_err(Opened::Mine)?;
        let Some(cell) = CellIndex::claim(&self.topic, self.partition) else {
            self.accumulator.put_back(buffer, used_reserved);
            return Err(Opened::Mine(Append::NoMemory(self.accumulator.pool.cost(bytes))));
        };
        tag.reserve(|| cell, 0);
        let opening = self.prepare(buffer, cell, generation, bytes, timestamp);
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
        cell: CellIndex,
        generation: u32,
        bytes: usize,
        timestamp: i64,
    ) -> u64 {
        let oversized = bytes > self.accumulator.batch_limit;
        let offset = if bytes > BATCH_BYTES_MAX { 0 } else { bytes };
        let seal = if oversized { SEALED } else { 0 };
        let word = word_of(generation, 1, offset) | seal;
        self.accumulator.batches[buffer.0 as usize].open(Opening {
            timestamp,
            opened_at: clock::now_nanos(),
            cell,
            flush_epoch: self.accumulator.enter_flush_epoch(),
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
            cell: batch.cell(),
            flush_epoch: batch.flush_epoch(),
            origin: None,
        }
    }

    /// The batch at the head of the ring leaves it.
    #[inline]
    fn pass(&self, head: u32) {
        let slot = &self.slots[head as usize % SLOTS];
        slot.store(slot_of((head / SLOTS as u32).wrapping_add(1), None), Release);
        self.head.store(head.wrapping_add(1), Relaxed);
    }

    fn open_head(&self, head: u32) -> Head {
        let slot = self.slots[head as usize % SLOTS].load(Acquire);
        let Some(index) = batch_of(slot) else { return Head::Incomplete };
        Head::Open(self.accumulator.batches[index as usize].opened_at())
    }

    /// Seals the open batch, whatever it holds (linger, pressure, flush). Shard only.
    pub fn seal_open(&self) {
        let mut word = self.word.load(Acquire);
        while word & (SEALED | CLOSED) == 0 {
            match self.word.compare_exchange_weak(word, word | SEALED, AcqRel, Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Moves the opening of the newest batch to a time of the test's choice.
    #[cfg(test)]
    pub(crate) fn set_opened_at(&self, nanos: u64) {
        let generation = generation_of(self.word.load(Acquire)) as usize;
        let index = batch_of(self.slots[generation % SLOTS].load(Acquire));
        let index = index.expect("a batch was opened and not yet taken");
        self.accumulator.batches[index as usize].set_opened_at(nanos);
    }

    /// The same for its last reservation.
    #[cfg(test)]
    pub(crate) fn set_reserved_at(&self, nanos: u64) {
        let generation = generation_of(self.word.load(Acquire)) as usize;
        let index = batch_of(self.slots[generation % SLOTS].load(Acquire));
        let index = index.expect("a batch was opened and not yet taken");
        self.accumulator.batches[index as usize].set_reserved_at(nanos);
    }

    /// Seals for good: every later append is refused. What is in the ring can still be taken.
    pub fn close(&self) {
        self.word.fetch_or(SEALED | CLOSED, AcqRel);
    }
}
