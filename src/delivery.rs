//! The promise for one record, and the cell that keeps it for a whole batch.
//!
//! Owns:     completion cells, one per batch, process-wide, reused.
//! Thread:   cells are claimed where a batch opens, resolved by its shard, read anywhere.
//! Bounds:   `CHUNKS_MAX * CELLS_PER_CHUNK` cells; memory follows the most batches that ever had
//!           unresolved or unread deliveries at one time, and is reused, never returned.
//! Never:    allocates per record, except where the records of a batch have several verdicts. A
//!           cell's list of waiting tasks keeps its memory.
//!
//! A [`Delivery`] names its batch's cell and its place in the batch. Nothing is counted when it is
//! made: the claim word of the batch counts records, and when the batch is resolved the cell learns
//! how many deliveries exist. Each gives up its share when it is dropped; the last share frees the
//! cell. Because a delivery holds a share, its cell cannot be reused under it, so it needs no
//! generation tag.
//!
//! Most batches have one verdict. The records of a batch that was split, of which the broker named
//! single ones, or in which reserved ones are left out, get theirs in *parts*: a part is a run of
//! records with the same verdict, it stands in a list under the cell's lock, and a delivery looks
//! its own up there, by its place among the records that are not left out. The shares are counted
//! when the last part is there.
#![forbid(unsafe_code)]

pub mod completion;
mod shares;
pub mod tags;

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::clock;
use crate::error::SendError;
use crate::fork;
use crate::park;
use crate::record::{Acknowledged, RecordMetadata};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64};
use crate::sync::{Mutex, MutexGuard, shared_static};
use tags::Tags;

const CELLS_PER_CHUNK: usize = if cfg!(kuring_loom) { 2 } else { 1024 };
const CHUNKS_MAX: usize = if cfg!(kuring_loom) { 2 } else { 4096 };
/// What the shares of an unresolved cell start from: more than deliveries can ever be given up.
const UNRESOLVED: i64 = 1 << 40;

const PENDING: u8 = 0;
const ACKNOWLEDGED: u8 = 1;
const FAILED: u8 = 2;
/// Some records have their verdict, perhaps all: the parts tell which.
const PARTS: u8 = 3;

shared_static! {
    static CHUNKS: [OnceLock<Box<[CachePadded<Cell>]>>; CHUNKS_MAX] =
        [const { OnceLock::new() }; CHUNKS_MAX];
}
shared_static! {
    /// Free cells. Taken and given back once per batch.
    static FREE: Mutex<FreeCells> = Mutex::new(FreeCells { cells: Vec::new(), chunks: 0 });
}

struct FreeCells {
    cells: Vec<u32>,
    chunks: usize,
}

/// The completion of one batch.
#[derive(Debug)]
struct Cell {
    state: AtomicU8,
    partition: AtomicI32,
    /// Shares not yet given up: `UNRESOLVED - given up` before the verdict, then what is left.
    shares: AtomicI64,
    base_offset: AtomicI64,
    log_append_time: AtomicI64,
    resolved_at: AtomicU64,
    /// The generation of the process that claimed it: a fork's copy touches it no more.
    claimed_in: AtomicU32,
    /// Some of its records have their verdicts from the completion queue.
    tagged: AtomicBool,
    /// Some of its records have calls of their own.
    called: AtomicBool,
    tags: OnceLock<Box<Tags>>,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    topic: Option<Arc<str>>,
    error: Option<SendError>,
    /// Sorted by the record: thousands may await a batch, and each looks itself up.
    wakers: Vec<(u32, Waker)>,
    /// By their first record; empty unless the state is `PARTS`.
    parts: Vec<Part>,
    /// Records in `parts`.
    settled: u32,
    /// Ordinals that were claimed and left out, in order: the places of the others move up.
    left_out: Vec<u32>,
}

/// A run of records with one verdict.
#[derive(Clone, Debug)]
struct Part {
    first: u32,
    records: u32,
    resolved_at: u64,
    outcome: Result<Written, SendError>,
}

/// Where the records of a part are.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Offset of the first one, -1 if unknown.
    pub base_offset: i64,
    /// The broker's time, -1 if the records' own counts.
    pub log_append_time: i64,
}

impl Written {
    /// Of record `ordinal` from this place on; `timestamp` is its own.
    pub fn acknowledged(
        self,
        partition: i32,
        ordinal: u32,
        timestamp: i64,
        at: Instant,
    ) -> Acknowledged {
        let Self { base_offset, log_append_time } = self;
        Acknowledged {
            partition,
            offset: (base_offset >= 0).then(|| base_offset + i64::from(ordinal)),
            timestamp: if log_append_time >= 0 { log_append_time } else { timestamp },
            at,
        }
    }
}

impl Shared {
    /// The part that has this place.
    fn part_at(&self, place: u32) -> Option<&Part> {
        let after = self.parts.partition_point(|part| part.first <= place);
        let part = &self.parts[after.checked_sub(1)?];
        (place - part.first < part.records).then_some(part)
    }

    fn part_of(&self, ordinal: u32) -> Option<&Part> {
        self.part_at(place_of(&self.left_out, ordinal))
    }

    /// What of its part is one run of ordinals with this one, as a part that counts in ordinals.
    fn run_of(&self, ordinal: u32) -> Option<Part> {
        let mut part = self.part_of(ordinal)?.clone();
        let before = self.left_out.partition_point(|other| *other < ordinal);
        part.first += before as u32;
        match self.left_out.get(before) {
            // Left out itself: a run that has no record.
            Some(next) if *next == ordinal => (part.first, part.records) = (ordinal, 1),
            Some(next) => part.records = part.records.min(next - part.first),
            None => {}
        }
        Some(part)
    }
}

/// The place in its batch of a record that was claimed as number `ordinal`.
fn place_of(left_out: &[u32], ordinal: u32) -> u32 {
    ordinal - left_out.partition_point(|other| *other < ordinal) as u32
}

/// Some of a batch's records. Those that were left out do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Place of the first one in the batch.
    pub first: u32,
    /// How many.
    pub records: u32,
    /// How many the batch has.
    pub of: u32,
}

impl Span {
    /// All records of a batch.
    pub fn whole(records: u32) -> Self {
        Self { first: 0, records, of: records }
    }

    /// Whether these are all records of the batch.
    pub fn is_whole(self) -> bool {
        self.records == self.of
    }
}

impl Cell {
    fn new() -> CachePadded<Self> {
        CachePadded::new(Self {
            state: AtomicU8::new(PENDING),
            partition: AtomicI32::new(-1),
            shares: AtomicI64::new(UNRESOLVED),
            base_offset: AtomicI64::new(-1),
            log_append_time: AtomicI64::new(-1),
            resolved_at: AtomicU64::new(0),
            claimed_in: AtomicU32::new(0),
            tagged: AtomicBool::new(false),
            called: AtomicBool::new(false),
            tags: OnceLock::new(),
            // Room for one who awaits, made with the cell: which cells are in use at once, and
            // which of these are awaited in time, may be anything in the steady state.
            shared: Mutex::new(Shared { wakers: Vec::with_capacity(1), ..Shared::default() }),
        })
    }

    /// Where an acknowledged batch is.
    fn place(&self) -> Written {
        Written {
            base_offset: self.base_offset.load(Relaxed),
            log_append_time: self.log_append_time.load(Relaxed),
        }
    }

    /// Whether it was claimed before a fork that made this process. Its lock may be held by a
    /// thread that is not here.
    fn is_inherited(&self) -> bool {
        self.claimed_in.load(Relaxed) != fork::generation()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Only this file locks, and nothing under the lock panics half-way.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the completion cell of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellIndex(pub u32);

impl CellIndex {
    fn cell(self) -> &'static Cell {
        let chunk = CHUNKS[self.0 as usize / CELLS_PER_CHUNK].get();
        let chunk = chunk.expect("an index is handed out only after its chunk was made");
        &chunk[self.0 as usize % CELLS_PER_CHUNK]
    }

    /// A pending cell for a batch of this partition. Allocates only when more cells are needed than
    /// ever before. None when the process has more unread batches than it can count (4 million).
    pub fn claim(topic: &Arc<str>, partition: i32) -> Option<Self> {
        let index = Self(pop_free()?);
        #[cfg(feature = "simulation")]
        CELLS_IN_USE.set(CELLS_IN_USE.get() + 1);
        let cell = index.cell();
        cell.shared().topic = Some(Arc::clone(topic));
        cell.partition.store(partition, Relaxed);
        cell.claimed_in.store(fork::generation(), Relaxed);
        Some(index)
    }

    /// Gives a cell back that no record was promised anything by.
    pub fn abandon(self) {
        self.free();
    }

    /// The delivery of record `ordinal` of the batch. Exactly one per claimed record.
    #[inline]
    pub fn delivery(self, ordinal: u32, timestamp: i64) -> Delivery {
        Delivery { place: MARK | u64::from(self.0) << 32 | u64::from(ordinal), timestamp }
    }

    /// These of the ordinals that were claimed are not in the batch, and nobody has a delivery of
    /// them. Once, before any verdict; the verdicts then come in parts.
    pub fn leave_out(self, ordinals: Vec<u32>) {
        debug_assert!(ordinals.is_sorted(), "in the order of the batch");
        self.cell().shared().left_out = ordinals;
    }

    /// The ordinals of some records, where some were left out: from the first one to the last.
    pub fn claimed(self, span: Span) -> Span {
        let shared = self.cell().shared();
        let ordinal = |place: u32| {
            let left_out = shared.left_out.iter();
            left_out.fold(place, |at, other| if *other <= at { at + 1 } else { at })
        };
        let first = ordinal(span.first);
        let end = ordinal(span.first + span.records - 1) + 1;
        Span { first, records: end - first, of: span.of }
    }

    /// The place of a record among those that are not left out.
    pub fn place(self, ordinal: u32) -> u32 {
        place_of(&self.cell().shared().left_out, ordinal)
    }

    /// The topic and the partition of the batch.
    pub fn partition(self) -> (Arc<str>, i32) {
        let cell = self.cell();
        let topic = cell.shared().topic.clone();
        let topic = topic.expect("a claimed cell has its topic: stored by `claim`");
        (topic, cell.partition.load(Relaxed))
    }

    /// The completion queue, or a call, has these shares no more.
    pub fn give_up_called(self, shares: u32) {
        self.give_up(i64::from(shares));
    }

    /// The verdict: every record of the batch was acknowledged. `base_offset` is -1 if unknown,
    /// `log_append_time` -1 unless the broker stamps records. Wakes through `wakers`, whose memory
    /// is lent and comes back empty.
    pub fn acknowledge(
        self,
        base_offset: i64,
        log_append_time: i64,
        records: u32,
        wakers: &mut Vec<(u32, Waker)>,
    ) {
        let cell = self.cell();
        cell.base_offset.store(base_offset, Relaxed);
        cell.log_append_time.store(log_append_time, Relaxed);
        self.resolve(ACKNOWLEDGED, records, wakers);
    }

    /// The verdict: every record of the batch failed with `error`.
    pub fn fail(self, error: SendError, records: u32, wakers: &mut Vec<(u32, Waker)>) {
        self.cell().shared().error = Some(error);
        self.resolve(FAILED, records, wakers);
    }

    /// The verdict on some records: acknowledged, the first of them at `base_offset`. The rest as
    /// in [`acknowledge`](Self::acknowledge).
    pub fn acknowledge_part(
        self,
        span: Span,
        base_offset: i64,
        log_append_time: i64,
        wakers: &mut Vec<(u32, Waker)>,
    ) {
        let place = Written { base_offset, log_append_time };
        self.resolve_parts(span, std::iter::once((span.records, Ok(place))), wakers);
    }

    /// The verdict on some records: they failed, so many of them with each of these errors, in the
    /// order of the records.
    pub fn fail_part(
        self,
        span: Span,
        errors: impl IntoIterator<Item = (u32, SendError)>,
        wakers: &mut Vec<(u32, Waker)>,
    ) {
        let errors = errors.into_iter().map(|(records, error)| (records, Err(error)));
        self.resolve_parts(span, errors, wakers);
    }

    fn resolve_parts(
        self,
        span: Span,
        outcomes: impl Iterator<Item = (u32, Result<Written, SendError>)>,
        wakers: &mut Vec<(u32, Waker)>,
    ) {
        let cell = self.cell();
        let resolved_at = clock::now_nanos();
        let mut first = span.first;
        let parts = outcomes.map(|(records, outcome)| {
            let part = Part { first, records, resolved_at, outcome };
            first += records;
            part
        });
        let mut shared = cell.shared();
        debug_assert!(matches!(cell.state.load(Relaxed), PENDING | PARTS), "one verdict each");
        debug_assert!(shared.part_at(span.first).is_none(), "one verdict per record");
        let at = shared.parts.partition_point(|part| part.first < span.first);
        shared.parts.splice(at..at, parts);
        debug_assert_eq!(first, span.first + span.records, "each record of the span");
        shared.settled += span.records;
        let last = shared.settled == span.of;
        // Release: so that a look without the lock sees no verdict before it. Partner: the Acquire
        // loads in `Delivery`. The parts themselves are read under the lock.
        cell.state.store(PARTS, Release);
        let Shared { wakers: waiting, left_out, .. } = &mut *shared;
        let place = |ordinal: u32| place_of(left_out, ordinal);
        let settled = |ordinal: u32| place(ordinal).wrapping_sub(span.first) < span.records;
        wakers.extend(waiting.extract_if(.., |(ordinal, _)| settled(*ordinal)));
        drop(shared);
        wakers.drain(..).for_each(|(_, waker)| park::wake(waker));
        if last {
            self.give_up(UNRESOLVED - i64::from(span.of));
        }
    }

    fn resolve(self, state: u8, records: u32, wakers: &mut Vec<(u32, Waker)>) {
        let cell = self.cell();
        cell.resolved_at.store(clock::now_nanos(), Relaxed);
        debug_assert_eq!(cell.state.load(Relaxed), PENDING, "one verdict per record");
        // Release: publishes the result. Partner: the Acquire load in `Delivery::verdict`.
        cell.state.store(state, Release);
        // Wakers run foreign code, so they run after the lock. Each list keeps its memory.
        wakers.append(&mut cell.shared().wakers);
        wakers.drain(..).for_each(|(_, waker)| park::wake(waker));
        self.give_up(UNRESOLVED - i64::from(records));
    }

    /// Gives up `shares`; the one that takes the count to zero frees the cell.
    #[inline]
    fn give_up(self, shares: i64) {
        let before = self.cell().shares.fetch_sub(shares, AcqRel);
        debug_assert!(before >= shares, "a share was given up twice");
        if before == shares {
            self.free();
        }
    }

    fn free(self) {
        let cell = self.cell();
        if cell.is_inherited() {
            return;
        }
        let has_parts = cell.state.load(Relaxed) == PARTS;
        cell.state.store(PENDING, Relaxed);
        cell.shares.store(UNRESOLVED, Relaxed);
        cell.tagged.store(false, Relaxed);
        cell.called.store(false, Relaxed);
        {
            let mut shared = cell.shared();
            shared.topic = None;
            shared.error = None;
            shared.wakers.clear();
            if has_parts {
                // Rare and perhaps large: this memory is not kept.
                shared.parts = Vec::new();
                shared.left_out = Vec::new();
                shared.settled = 0;
            }
        }
        #[cfg(feature = "simulation")]
        CELLS_IN_USE.set(CELLS_IN_USE.get() - 1);
        let mut free = free_cells();
        // Tests look at the cells that they freed: no other one shall have them by then.
        let at = if cfg!(test) { 0 } else { free.cells.len() };
        free.cells.insert(at, self.0);
    }
}

#[cfg(all(test, not(kuring_loom)))]
impl CellIndex {
    fn shares_left(self) -> i64 {
        self.cell().shares.load(Relaxed)
    }
}

fn free_cells() -> MutexGuard<'static, FreeCells> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cells that this thread took and did not give back: a simulated producer has one thread.
#[cfg(feature = "simulation")]
pub fn cells_in_use() -> i64 {
    shares::count_held();
    CELLS_IN_USE.get()
}

#[cfg(feature = "simulation")]
thread_local! {
    static CELLS_IN_USE: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

fn pop_free() -> Option<u32> {
    let mut free = free_cells();
    if let Some(index) = free.cells.pop() {
        return Some(index);
    }
    if free.chunks == CHUNKS_MAX {
        return None;
    }
    let chunk = free.chunks;
    CHUNKS[chunk].get_or_init(|| (0..CELLS_PER_CHUNK).map(|_| Cell::new()).collect());
    free.chunks += 1;
    let first = (chunk * CELLS_PER_CHUNK) as u32;
    // Room for every cell that exists, so that giving back never allocates.
    let cells = free.chunks * CELLS_PER_CHUNK;
    free.cells.reserve(cells);
    free.cells.extend((first + 1..first + CELLS_PER_CHUNK as u32).rev());
    Some(first)
}

/// The promise for one record: resolves exactly once, to where the record is or to why it is not
/// there. Works on any async runtime and on none ([`wait`](Self::wait)). Dropping it loses nothing:
/// the record is still sent. 16 bytes; allocates nothing. May be moved to any thread.
///
/// The verdict comes within `delivery.timeout.ms` of the record's batch being opened, or with the
/// end of a close, whatever the brokers do.
#[derive(Debug)]
#[must_use = "a delivery says whether the record was written; drop it if that does not matter"]
pub struct Delivery {
    /// `MARK | cell << 32 | place in the batch`: with the timestamp two words, so that a promise is
    /// handed on in registers, a possible one too.
    place: NonZeroU64,
    timestamp: i64,
}

/// Set in every [`Delivery`]; cells are far fewer.
const MARK: NonZeroU64 = NonZeroU64::new(1 << 63).expect("a bit is set");
/// What is left of the upper half without it.
const CELL_MASK: u32 = (1 << 31) - 1;
const _: () = assert!(CELLS_PER_CHUNK * CHUNKS_MAX <= CELL_MASK as usize);

impl Delivery {
    #[inline]
    fn index(&self) -> CellIndex {
        CellIndex((self.place.get() >> 32) as u32 & CELL_MASK)
    }

    #[inline]
    fn ordinal(&self) -> u32 {
        self.place.get() as u32
    }

    /// Whether the verdict is there. Atomic loads only, except where the records of a batch have
    /// several verdicts.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let cell = self.index().cell();
        match cell.state.load(Acquire) {
            _ if cell.is_inherited() => true,
            PARTS => cell.shared().part_of(self.ordinal()).is_some(),
            state => state != PENDING,
        }
    }

    /// [`is_done`](Self::is_done) by one who has the lock.
    fn is_done_in(&self, shared: &Shared) -> bool {
        match self.index().cell().state.load(Acquire) {
            PARTS => shared.part_of(self.ordinal()).is_some(),
            state => state != PENDING,
        }
    }

    /// The verdict, if it is there. Does not block; the error case clones the error. What a fork's
    /// child has inherited says [`SendError::Forked`].
    #[must_use]
    pub fn verdict(&self) -> Option<Result<Acknowledged, SendError>> {
        let cell = self.index().cell();
        // Acquire: sees the result. Partner: the Release store in `resolve`.
        match cell.state.load(Acquire) {
            PENDING if !cell.is_inherited() => None,
            ACKNOWLEDGED => Some(Ok(self.acknowledged(cell))),
            _ if cell.is_inherited() => Some(Err(SendError::Forked { possibly_written: true })),
            PARTS => self.part_verdict(cell),
            _ => {
                let error = cell.shared().error.clone();
                Some(Err(error.expect("a failed cell has its error: stored before the state")))
            }
        }
    }

    /// The completion queue has the record's share of the cell from now on.
    pub(crate) fn leave_to_queue(self) {
        std::mem::forget(self);
    }

    /// Blocks the thread until the verdict is there, which `delivery.timeout.ms` bounds. Not for
    /// async code. Allocates once per thread.
    ///
    /// # Errors
    /// Why the record was not acknowledged; or, without a verdict yet, that this is a sender thread
    /// (see [`SendError::OnSenderThread`]).
    pub fn wait(self) -> Result<RecordMetadata, SendError> {
        let refused = SendError::OnSenderThread { possibly_written: true };
        park::block_on(self).unwrap_or(Err(refused))
    }

    fn acknowledged(&self, cell: &Cell) -> Acknowledged {
        let at = cell.resolved_at.load(Relaxed);
        self.acknowledged_at(cell, cell.place(), self.ordinal(), at)
    }

    /// META-5: the place of a record whose batch was split counts from its own piece.
    #[cold]
    fn part_verdict(&self, cell: &Cell) -> Option<Result<Acknowledged, SendError>> {
        let shared = cell.shared();
        let part = shared.part_of(self.ordinal())?;
        let ordinal = place_of(&shared.left_out, self.ordinal()) - part.first;
        Some(match &part.outcome {
            Ok(place) => Ok(self.acknowledged_at(cell, *place, ordinal, part.resolved_at)),
            Err(error) => Err(error.clone()),
        })
    }

    fn acknowledged_at(&self, cell: &Cell, place: Written, ordinal: u32, at: u64) -> Acknowledged {
        let partition = cell.partition.load(Relaxed);
        place.acknowledged(partition, ordinal, self.timestamp, clock::from_nanos(at))
    }

    fn metadata(&self) -> Option<Result<RecordMetadata, SendError>> {
        let found = self.verdict()?;
        if self.index().cell().is_inherited() {
            return Some(Err(SendError::Forked { possibly_written: true }));
        }
        Some(found.map(|ack| {
            let topic = self.index().cell().shared().topic.clone();
            RecordMetadata {
                topic: topic.expect("a claimed cell has its topic: stored by `claim`"),
                partition: ack.partition,
                offset: ack.offset,
                timestamp: ack.timestamp,
            }
        }))
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, SendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(verdict) = self.metadata() {
            return Poll::Ready(verdict);
        }
        let mut shared = self.index().cell().shared();
        // The resolver stores the state before it takes this lock: looking again under the lock
        // means that either this look sees the verdict, or the resolver sees the waker.
        if self.is_done_in(&shared) {
            drop(shared);
            return self.metadata().map_or(Poll::Pending, Poll::Ready);
        }
        let ordinal = self.ordinal();
        if shared.wakers.last().is_none_or(|(last, _)| *last < ordinal) {
            // Who awaits the records of a batch begins with the first.
            shared.wakers.push((ordinal, context.waker().clone()));
            return Poll::Pending;
        }
        match shared.wakers.binary_search_by_key(&ordinal, |(other, _)| *other) {
            Ok(at) if shared.wakers[at].1.will_wake(context.waker()) => {}
            Ok(at) => {
                let old = std::mem::replace(&mut shared.wakers[at].1, context.waker().clone());
                // With it a task may go, and with that whatever it holds: not under the lock.
                drop(shared);
                drop(old);
            }
            Err(at) => shared.wakers.insert(at, (ordinal, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Delivery {
    #[inline]
    fn drop(&mut self) {
        shares::put(self.index());
    }
}

#[cfg(all(test, kuring_loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> CellIndex {
        CellIndex::claim(&"t".into(), 3).unwrap()
    }

    #[test]
    fn meta_1_the_offset_is_the_base_offset_plus_the_place_in_the_batch() {
        let cell = cell();
        let deliveries: Vec<_> = (0..3).map(|ordinal| cell.delivery(ordinal, 7)).collect();
        assert!(deliveries.iter().all(|delivery| delivery.verdict().is_none()));
        cell.acknowledge(100, -1, 3, &mut Vec::new());
        for (delivery, offset) in deliveries.into_iter().zip(100..) {
            let metadata = delivery.wait().unwrap();
            assert_eq!((metadata.offset, metadata.partition), (Some(offset), 3));
            assert_eq!((&*metadata.topic, metadata.timestamp), ("t", 7));
        }
    }

    #[test]
    fn meta_2_the_brokers_append_time_wins() {
        let cell = cell();
        let delivery = cell.delivery(0, 7);
        cell.acknowledge(-1, 99, 1, &mut Vec::new());
        let metadata = delivery.wait().unwrap();
        assert_eq!((metadata.offset, metadata.timestamp), (None, 99));
    }

    #[test]
    fn a_delivery_dropped_before_the_verdict_gives_up_its_share() {
        let cell = cell();
        drop(cell.delivery(0, 0));
        let kept = cell.delivery(1, 0);
        cell.fail(SendError::Closed { possibly_written: true }, 2, &mut Vec::new());
        assert!(kept.verdict().unwrap().unwrap_err().possibly_written());
        shares::count_held();
        assert_eq!(cell.cell().shares.load(Relaxed), 1);
        drop(kept);
        shares::count_held();
        assert_eq!(cell.cell().shares.load(Relaxed), UNRESOLVED, "the cell is free again");
    }

    #[test]
    fn whoever_looked_last_at_a_delivery_is_woken_whatever_the_order_of_the_looks() {
        struct Count(AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let counts: Vec<_> = (0..2).map(|_| Arc::new(Count(AtomicU32::new(0)))).collect();
        let cell = cell();
        let mut deliveries: Vec<_> = (0..100).map(|ordinal| cell.delivery(ordinal, 0)).collect();
        let mut look = |at: usize, count: usize| {
            let waker = Waker::from(Arc::clone(&counts[count]));
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut deliveries[at]).poll(&mut context).is_pending());
        };
        // 37 and 100 have no common divisor: each once, in no order; then half of them again.
        (0..100).for_each(|step| look(step * 37 % 100, 0));
        (0..50).rev().for_each(|at| look(at * 2, 1));
        cell.acknowledge(5, -1, 100, &mut Vec::new());
        assert_eq!([50, 50], [0, 1].map(|count: usize| counts[count].0.load(Relaxed)));
    }

    #[test]
    fn a_waiting_thread_is_woken_by_the_verdict() {
        let cell = cell();
        let deliveries: Vec<_> = (0..8).map(|ordinal| cell.delivery(ordinal, 0)).collect();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = deliveries
                .into_iter()
                .map(|delivery| scope.spawn(move || delivery.wait().unwrap().offset))
                .collect();
            cell.acknowledge(5, -1, 8, &mut Vec::new());
            let offsets: Vec<_> =
                waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(offsets, (5..13).map(Some).collect::<Vec<_>>());
        });
    }

    fn parts_of(cell: CellIndex, count: u32) -> Vec<Delivery> {
        (0..count).map(|ordinal| cell.delivery(ordinal, 7)).collect()
    }

    fn offset(delivery: &Delivery) -> Option<i64> {
        delivery.verdict().map(|verdict| verdict.unwrap().offset.unwrap())
    }

    #[test]
    fn meta_5_a_record_of_a_part_counts_from_the_parts_own_offset() {
        let cell = cell();
        let deliveries = parts_of(cell, 6);
        let wakers = &mut Vec::new();
        // The parts need not come in order.
        cell.acknowledge_part(Span { first: 4, records: 2, of: 6 }, 70, -1, wakers);
        let done: Vec<_> = deliveries.iter().map(Delivery::is_done).collect();
        assert_eq!(done, [false, false, false, false, true, true]);
        cell.acknowledge_part(Span { first: 0, records: 1, of: 6 }, 50, 99, wakers);
        cell.acknowledge_part(Span { first: 1, records: 3, of: 6 }, -1, -1, wakers);
        let found = |at: usize| deliveries[at].verdict().unwrap().unwrap();
        assert_eq!((offset(&deliveries[4]), offset(&deliveries[5])), (Some(70), Some(71)));
        assert_eq!((found(0).offset, found(0).timestamp), (Some(50), 99));
        assert_eq!((found(3).offset, found(3).timestamp, found(3).partition), (None, 7, 3));
        assert!(found(0).at >= found(4).at, "each part has its own time");
        for delivery in deliveries {
            assert_eq!(&*delivery.wait().unwrap().topic, "t");
        }
    }

    #[test]
    fn each_record_of_a_part_has_its_own_error() {
        let cell = cell();
        let deliveries = parts_of(cell, 4);
        let errors = [true, false].map(|possibly_written| SendError::Closed { possibly_written });
        let [maybe, never] = errors;
        let span = Span { first: 0, records: 3, of: 4 };
        cell.fail_part(span, [(1, maybe), (2, never)], &mut Vec::new());
        let written = |at: usize| {
            deliveries[at].verdict().map(|verdict| verdict.unwrap_err().possibly_written())
        };
        let found: Vec<_> = (0..4).map(written).collect();
        assert_eq!(found, [Some(true), Some(false), Some(false), None]);
        cell.acknowledge_part(Span { first: 3, records: 1, of: 4 }, 5, -1, &mut Vec::new());
        assert_eq!(offset(&deliveries[3]), Some(5));
    }

    #[test]
    fn a_cell_with_parts_is_free_once_the_last_part_and_the_last_delivery_are_gone() {
        let cell = cell();
        let mut deliveries = parts_of(cell, 4);
        drop(deliveries.pop());
        drop(deliveries.remove(0));
        cell.acknowledge_part(Span { first: 0, records: 2, of: 4 }, 0, -1, &mut Vec::new());
        // A settled part's delivery goes before the other part has its verdict.
        drop(deliveries.remove(0));
        cell.acknowledge_part(Span { first: 2, records: 2, of: 4 }, 2, -1, &mut Vec::new());
        shares::count_held();
        // The next to be given up is the last, which frees the cell.
        assert_eq!(cell.cell().shares.load(Relaxed), 1);
        assert_eq!(offset(&deliveries[0]), Some(2));
    }

    #[test]
    fn a_part_wakes_its_own_waiters_and_no_others() {
        struct Count(AtomicU64);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, AcqRel);
            }
        }
        let cell = cell();
        let mut deliveries = parts_of(cell, 4);
        let counts: Vec<_> = (0..4).map(|_| Arc::new(Count(AtomicU64::new(0)))).collect();
        for (delivery, count) in deliveries.iter_mut().zip(&counts) {
            let waker = Waker::from(Arc::clone(count));
            assert!(Pin::new(delivery).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let woken = || counts.iter().map(|count| count.0.load(Acquire)).collect::<Vec<_>>();
        cell.acknowledge_part(Span { first: 1, records: 2, of: 4 }, 0, -1, &mut Vec::new());
        assert_eq!(woken(), [0, 1, 1, 0]);
        let errors = [(1, SendError::Closed { possibly_written: false })];
        cell.fail_part(Span { first: 3, records: 1, of: 4 }, errors, &mut Vec::new());
        cell.acknowledge_part(Span { first: 0, records: 1, of: 4 }, 9, -1, &mut Vec::new());
        assert_eq!(woken(), [1, 1, 1, 1]);
    }

    #[test]
    fn threads_that_wait_are_woken_part_by_part() {
        let cell = cell();
        let deliveries = parts_of(cell, 64);
        std::thread::scope(|scope| {
            let waiting: Vec<_> = deliveries
                .into_iter()
                .map(|delivery| scope.spawn(move || delivery.wait().unwrap().offset))
                .collect();
            for first in [32, 0, 48, 16] {
                let span = Span { first, records: 16, of: 64 };
                cell.acknowledge_part(span, 100 + i64::from(first), -1, &mut Vec::new());
            }
            let offsets: Vec<_> =
                waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(offsets, (100..164).map(Some).collect::<Vec<_>>());
        });
    }
}
