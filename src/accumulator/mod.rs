//! Where records wait: one shard's arena, the batches in it, the per-partition rings over them.
//!
//! Owns:     the memory and the partitions of one shard, as application threads see them.
//! Thread:   shared between all application threads and the shard.
//! Bounds:   `buffer.memory` of the shard.
//! Never:    touches a socket; wakes a shard that is awake.
#![deny(unsafe_code)]

pub mod batch;
pub mod batch_ring;
pub mod buffer_pool;
pub mod frame;
mod holes;
mod pack;
pub mod packing;
mod ready;
mod split;
pub mod waiters;

#[cfg(all(test, kuring_loom))]
mod models;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use batch::{Batch, SealedBatch};
use batch_ring::{Append, BatchRing, Memory};
use buffer_pool::{BufferIndex, BufferPool, Loan, Need};
use packing::Packing;
use ready::ReadyList;
use waiters::Waiters;

use crate::ids::{ProducerIdentity, Sequence};
use crate::protocol::compression::Compression;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use crate::sync::{Mutex, MutexGuard};

/// The largest batch whose bytes the claim word can count; `batch.size` is at most this.
pub const BATCH_BYTES_MAX: usize = (1 << 25) - 1;

/// How far appenders that may wait run ahead of a shard that is busy: what is filled and not sent
/// yet fits the caches, so the shard finds it there, and a record waits less (PERF.md). Where it is
/// the brokers that are slow, they may use all of `buffer.memory`.
const AHEAD_BYTES_MAX: u64 = 1 << 20;
/// The same in batches, for large ones.
const AHEAD_BATCHES_MAX: u64 = 32;

/// No limit to how far appenders may be ahead.
const UNPACED: u64 = u64::MAX;
/// For how long a shard that could not catch up in time lets appenders use all the memory, before
/// it looks again whether it can.
const UNPACED_NANOS: u64 = 20_000_000;
/// Looking costs whoever appends a wait of up to a millisecond, records to other brokers too. Where
/// it is a broker that has stopped there will be many looks, so each comes so many times later than
/// the one before, up to the limit.
const UNPACED_TIMES: u64 = 4;
const UNPACED_NANOS_MAX: u64 = 1_000_000_000;

/// Full batches that wake a shard which waits for answers anyway.
const COALESCE_BYTES: usize = 128 << 10;

/// Wakes a shard that sleeps.
pub type WakeFn = Box<dyn Fn() + Send + Sync>;

/// Memory for a batch.
#[derive(Clone, Copy, Debug)]
struct Taken {
    buffer: BufferIndex,
    /// How much of it the batch may fill.
    limit: usize,
    /// It is paid for with bytes that the caller had reserved.
    used_reserved: bool,
}

/// Partitions that were made and not yet seen by the shard.
#[derive(Default)]
struct Arrivals {
    rings: Vec<Arc<BatchRing>>,
    next_index: u32,
    closed: bool,
}

/// One shard's memory and partitions, shared with the application threads.
pub struct Accumulator {
    pool: Arc<BufferPool>,
    batches: Box<[Batch]>,
    /// A batch takes records while it stays within this.
    batch_limit: usize,
    linger_nanos: u64,
    /// How topics are packed that are not compressed.
    plain: Arc<Packing>,
    ready: ReadyList,
    /// Callers that wait for memory or for a ring slot.
    pub waiters: Waiters,
    arrivals: Mutex<Arrivals>,
    wake: OnceLock<WakeFn>,
    /// Something for the shard beside the ready list: arrivals, waiters, commands.
    news: AtomicBool,
    /// Batches not yet resolved, by the parity of the flush epoch they were opened in.
    unresolved: [AtomicU64; 2],
    flush_epoch: AtomicU32,
    /// Bytes of the memory in unanswered requests, as of the shard's last turn.
    in_flight_bytes: AtomicU64,
    /// How far appenders may be ahead at least.
    ahead_least: u64,
    /// How far appenders may be ahead; [`UNPACED`] while it is not the shard's own speed that they
    /// wait for. Only the shard writes it.
    ahead_limit: AtomicU64,
    /// Until when they may use all the memory (nanoseconds on the process's clock). Shard only.
    unpaced_until: AtomicU64,
    /// For how long it will be the next time; only the shard uses it.
    unpaced_nanos: AtomicU64,
}

impl std::fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accumulator").field("pool", &self.pool.available()).finish_non_exhaustive()
    }
}

impl Accumulator {
    /// The accumulator of one shard.
    ///
    /// # Errors
    /// The kernel refused the arena.
    pub fn new(memory_bytes: u64, batch_bytes: usize, linger: Duration) -> io::Result<Arc<Self>> {
        let batch_limit = batch_bytes.clamp(1, BATCH_BYTES_MAX);
        let pool = BufferPool::new(memory_bytes, batch_limit)?;
        let ahead_least =
            AHEAD_BYTES_MAX.max(AHEAD_BATCHES_MAX * pool.cost(1)).min(pool.total() / 2);
        Ok(Arc::new(Self {
            batches: (0..pool.slots()).map(|_| Batch::default()).collect(),
            pool,
            batch_limit,
            plain: Arc::new(Packing::plain(batch_limit)),
            linger_nanos: u64::try_from(linger.as_nanos()).unwrap_or(u64::MAX),
            ready: ReadyList::default(),
            waiters: Waiters::default(),
            arrivals: Mutex::default(),
            wake: OnceLock::new(),
            news: AtomicBool::new(false),
            unresolved: std::array::from_fn(|_| AtomicU64::new(0)),
            flush_epoch: AtomicU32::new(0),
            in_flight_bytes: AtomicU64::new(0),
            ahead_least,
            ahead_limit: AtomicU64::new(0),
            unpaced_until: AtomicU64::new(0),
            unpaced_nanos: AtomicU64::new(UNPACED_NANOS),
        }))
    }

    /// The buffers.
    pub fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// How the shard is woken; set once, before the shard runs.
    pub fn set_wake(&self, wake: WakeFn) {
        // A second shard over the same accumulator would be a bug of the producer's start.
        assert!(self.wake.set(wake).is_ok(), "one shard per accumulator");
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a topic is packed of which nobody says before its first ring that it is not `usual`.
    pub fn new_packing(&self, usual: Compression) -> Arc<Packing> {
        Arc::new(Packing::new(usual, self.batch_limit, self.pool.chunk_bytes()))
    }

    /// A ring for a new partition, which is not compressed; None once the shard is closed.
    pub fn new_ring(self: &Arc<Self>, topic: &Arc<str>, partition: i32) -> Option<Arc<BatchRing>> {
        self.new_packed_ring(topic, partition, &self.plain)
    }

    /// A ring for a new partition; None once the shard is closed.
    pub fn new_packed_ring(
        self: &Arc<Self>,
        topic: &Arc<str>,
        partition: i32,
        packing: &Arc<Packing>,
    ) -> Option<Arc<BatchRing>> {
        let mut arrivals = self.arrivals();
        if arrivals.closed {
            return None;
        }
        let index = arrivals.next_index;
        arrivals.next_index += 1;
        let (accumulator, topic) = (Arc::clone(self), Arc::clone(topic));
        let ring = BatchRing::new(accumulator, index, topic, partition, Arc::clone(packing));
        let ring = Arc::new(ring);
        arrivals.rings.push(Arc::clone(&ring));
        Some(ring)
    }

    /// A ring that refuses everything: what a partition gets after the close.
    pub fn closed_ring(self: &Arc<Self>, topic: &Arc<str>, partition: i32) -> Arc<BatchRing> {
        let (accumulator, topic) = (Arc::clone(self), Arc::clone(topic));
        let packing = Arc::clone(&self.plain);
        let ring = BatchRing::new(accumulator, u32::MAX - 1, topic, partition, packing);
        ring.close();
        Arc::new(ring)
    }

    /// The rings that were made since the last call, in the order of their numbers. Shard only.
    pub fn take_arrivals(&self, rings: &mut Vec<Arc<BatchRing>>) {
        rings.append(&mut self.arrivals().rings);
    }

    /// From now on no ring is made. Shard only.
    pub fn close_arrivals(&self) {
        self.arrivals().closed = true;
    }

    /// Puts the ring on the ready list and wakes the shard if it sleeps past `deadline`.
    fn tell(&self, ring: &BatchRing, deadline: u64) {
        self.ready.push(ring.index(), &ring.link);
        if self.ready.must_wake(deadline) {
            self.wake_up();
        }
    }

    /// Bytes that are filled or being filled, and in no request.
    fn ahead_bytes(&self) -> u64 {
        let held = self.pool.total() - self.pool.available();
        held.saturating_sub(self.in_flight_bytes.load(Relaxed))
    }

    /// Whether a caller who needs `bytes` should wait for the shard. Not where the bytes are not
    /// there or others wait for some: then it takes its place behind them (BUF-3). Partitions
    /// without a backlog do not wait for those that have one.
    fn is_too_far_ahead(&self, bytes: u64, has_backlog: impl FnOnce() -> bool) -> bool {
        let limit = self.ahead_limit.load(Relaxed).max(self.ahead_least);
        let ahead = self.ahead_bytes();
        ahead > limit
            && self.pool.available() >= bytes
            && !self.waiters.is_pressing()
            && (ahead > limit.saturating_add(self.ahead_least) || has_backlog())
    }

    /// The end of a shard's turn: lets callers go on that wait, and returns when this has to be
    /// done again at the latest. Shard only.
    pub fn serve_waiters(&self, in_flight_bytes: u64, now: u64) -> Option<u64> {
        self.in_flight_bytes.store(in_flight_bytes, Relaxed);
        let (ahead, least) = (self.ahead_bytes(), self.ahead_least);
        let mut limit = self.ahead_limit.load(Relaxed).max(least);
        if ahead <= least / 2 {
            limit = least;
            self.unpaced_nanos.store(UNPACED_NANOS, Relaxed);
        } else if limit == UNPACED && now >= self.unpaced_until.load(Relaxed) {
            // A broker that was slow for a moment would else leave all the memory in use for good,
            // and that does not fit the caches: from here they are led back, step by step.
            limit = ahead.max(least);
        }
        let caught_up = limit == UNPACED || ahead <= limit - least / 2;
        let distributed = self.waiters.distribute(&self.pool, caught_up, now);
        if distributed.unpaced {
            limit = UNPACED;
            let nanos = self.unpaced_nanos.load(Relaxed);
            self.unpaced_until.store(now.saturating_add(nanos), Relaxed);
            self.unpaced_nanos.store((nanos * UNPACED_TIMES).min(UNPACED_NANOS_MAX), Relaxed);
        } else if distributed.paced && limit != UNPACED {
            limit = (limit - least / 4).max(least);
            self.unpaced_nanos.store(UNPACED_NANOS, Relaxed);
        }
        self.ahead_limit.store(limit, Relaxed);
        distributed.again_at
    }

    /// A batch is full. With a linger, and while brokers owe answers, the shard sleeps on until
    /// some more are: one request of many batches costs half of many requests of one (PERF.md).
    fn tell_full(&self, ring: &BatchRing) {
        self.ready.push(ring.index(), &ring.link);
        if self.ready.must_wake_for_full() {
            self.wake_up();
        }
    }

    /// Until when the shard may sleep although a batch was opened.
    fn send_deadline(&self, opened_at: u64, sealed: bool) -> u64 {
        if sealed { 0 } else { opened_at.saturating_add(self.linger_nanos) }
    }

    /// Wakes the shard for something beside the ready list.
    pub fn nudge(&self) {
        self.news.swap(true, AcqRel);
        if self.ready.must_wake(0) {
            self.wake_up();
        }
    }

    fn wake_up(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// The shard is about to sleep until `until` (nanoseconds on the process's clock). False if
    /// there is news, and it must not. `answers_due`: brokers owe answers. Shard only.
    pub fn fall_asleep(&self, until: u64, answers_due: bool) -> bool {
        let coalesce = answers_due && self.linger_nanos > 0;
        let patience = if coalesce { COALESCE_BYTES / self.batch_limit } else { 0 };
        if !self.ready.fall_asleep(until, patience.saturating_sub(1) as u32) {
            return false;
        }
        // After the fence in `ready`'s. Partner: the fence in its `must_wake`.
        if self.news.load(Relaxed) {
            self.ready.wake_up();
            return false;
        }
        true
    }

    /// The shard is awake. Shard only.
    pub fn awake(&self) {
        self.ready.wake_up();
        // Acquire: who takes the news sees what they are about. Partner: the swap in `nudge`. Both
        // are swaps, so that one of the two comes first and the other one sees it.
        self.news.swap(false, AcqRel);
    }

    /// Hands every partition with news to `look`. `rings` is the shard's table, by number; rings it
    /// has not seen are added first. Shard only.
    pub fn take_ready(&self, rings: &mut Vec<Arc<BatchRing>>, mut look: impl FnMut(u32)) {
        let mut at = self.ready.take_all();
        while let Some(index) = at.checked_sub(1) {
            if index as usize >= rings.len() {
                self.take_arrivals(rings);
            }
            at = ReadyList::take(&rings[index as usize].link);
            look(index);
        }
    }

    /// Memory for a batch of `ring` that begins with `bytes`.
    fn take_buffer(&self, bytes: usize, ring: &BatchRing, memory: Memory) -> Result<Taken, Append> {
        if ring.packing().compression().is_some() {
            return self.take_chunk(bytes, ring, memory);
        }
        let cost = self.pool.cost(bytes);
        let used_reserved = self.take_bytes(cost, ring, memory)?;
        match self.pool.claim_reserved(bytes) {
            Some(buffer) => Ok(Taken { buffer, limit: self.batch_limit, used_reserved }),
            None => {
                self.return_bytes(cost, used_reserved);
                Err(Append::NoMemory(Need::new(cost, ring.has_backlog())))
            }
        }
    }

    /// Takes `bytes` of the budget. True if they are those that the caller had reserved.
    fn take_bytes(&self, bytes: u64, ring: &BatchRing, memory: Memory) -> Result<bool, Append> {
        let is_reserved = match memory {
            Memory::None => return Err(Append::Full),
            Memory::Reserved(held) => held >= bytes,
            Memory::Paced if self.is_too_far_ahead(bytes, || ring.has_backlog()) => {
                return Err(Append::NoSlot);
            }
            Memory::Try | Memory::Paced => false,
        };
        if is_reserved || self.pool.try_take_first(bytes) {
            return Ok(is_reserved);
        }
        self.take_last_bytes(bytes, ring)
    }

    /// Little is left: it matters for whom it is.
    #[cold]
    #[inline(never)]
    fn take_last_bytes(&self, bytes: u64, ring: &BatchRing) -> Result<bool, Append> {
        let need = Need::new(bytes, ring.has_backlog());
        if self.pool.try_take(need) { Ok(false) } else { Err(Append::NoMemory(need)) }
    }

    /// Undoes `take_bytes`: reserved bytes stay with the caller.
    fn return_bytes(&self, cost: u64, reserved: bool) {
        if !reserved {
            self.pool.unreserve(cost);
        }
    }

    /// Undoes `take_buffer`: reserved bytes stay with the caller.
    fn put_back(&self, buffer: BufferIndex, reserved: bool) {
        let cost = self.pool.release(buffer);
        self.return_bytes(cost, reserved);
    }

    /// Writes header and checksum of a sealed batch. Shard only.
    pub fn stamp(&self, batch: &SealedBatch, who: ProducerIdentity, sequence: Option<Sequence>) {
        batch::stamp(&self.pool, &self.batches[batch.index.0 as usize], batch, who, sequence);
    }

    /// Lends a stamped batch with a request's head and tail around it. Shard only.
    pub fn lend_framed(&self, batch: &SealedBatch, head: &[u8], tail: &[u8]) -> Option<Loan> {
        batch::lend_framed(&self.pool, batch, head, tail)
    }

    /// Lends the bytes of a stamped batch. Shard only.
    pub fn lend(&self, batch: &SealedBatch) -> Loan {
        self.pool.lend(batch.index, buffer_pool::HEAD_ROOM_BYTES, batch.bytes as usize)
    }

    /// Whether a send operation still holds the batch.
    pub fn is_lent(&self, batch: &SealedBatch) -> bool {
        self.pool.loans(batch.index) > 0
    }

    /// The highest timestamp of the batch's records.
    pub fn max_timestamp(&self, batch: &SealedBatch) -> i64 {
        self.batches[batch.index.0 as usize].max_timestamp()
    }

    /// Gives the batch's memory back, and serves waiters with it. Shard only; once per batch, after
    /// the verdict, when nothing of it is lent.
    pub fn release(&self, batch: &SealedBatch) {
        if batch.has_holes() {
            return self.release_rest(batch);
        }
        let cost = self.pool.release(batch.index);
        self.pool.unreserve(cost);
    }

    #[cold]
    fn release_rest(&self, batch: &SealedBatch) {
        self.release_piece(batch);
        self.release_budget(batch, 0);
    }

    /// Gives back the memory of a piece of a split batch, whose budget comes back with the last
    /// piece. Shard only; as [`release`](Self::release).
    pub fn release_piece(&self, piece: &SealedBatch) {
        if piece.origin() != Some(piece.index) {
            self.pool.release(piece.index);
        }
    }

    /// Gives back the `cost` that the pieces of a batch had together, with the last one of them.
    /// Shard only.
    pub fn release_budget(&self, piece: &SealedBatch, cost: u64) {
        match piece.origin() {
            None => self.pool.unreserve(cost),
            Some(origin) => self.retire(origin),
        }
    }

    /// The batch has its verdict. Shard only; once per batch.
    pub fn resolved(&self, batch: &SealedBatch) {
        self.unresolved[batch.flush_epoch as usize % 2].fetch_sub(1, AcqRel);
    }

    fn enter_flush_epoch(&self) -> u32 {
        loop {
            let epoch = self.flush_epoch.load(Acquire);
            self.unresolved[epoch as usize % 2].fetch_add(1, AcqRel);
            if self.flush_epoch.load(Acquire) == epoch {
                return epoch;
            }
            self.leave_flush_epoch(epoch);
        }
    }

    /// A batch that was never opened leaves; a flush may have been waiting for it.
    fn leave_flush_epoch(&self, epoch: u32) {
        self.unresolved[epoch as usize % 2].fetch_sub(1, AcqRel);
        self.nudge();
    }

    /// Starts a flush: batches opened from now on do not count. Only when the last one is over.
    /// Shard only.
    pub fn start_flush(&self) -> u32 {
        let epoch = self.flush_epoch.fetch_add(1, AcqRel);
        // A batch whose opener does not see the new epoch is seen by `unresolved_in`, and the other
        // way round: a load could miss what an addition of nothing cannot. Partner: the addition in
        // `enter_flush_epoch`.
        self.unresolved[epoch as usize % 2].fetch_add(0, AcqRel);
        epoch
    }

    /// Batches of a flush that have no verdict yet.
    pub fn unresolved_in(&self, epoch: u32) -> u64 {
        self.unresolved[epoch as usize % 2].load(Acquire)
    }

    /// Batches without a verdict.
    pub fn unresolved(&self) -> u64 {
        self.unresolved.iter().map(|count| count.load(Relaxed)).sum()
    }
}
