//! One shard's arena and the free list over it: the memory that `buffer.memory` allows.
//!
//! Owns:     every byte a batch is written into, from claim to release.
//! Thread:   any thread claims; the shard releases.
//! Bounds:   arena bytes <= `buffer.memory` of the shard; all kinds of buffers share it.
//! Never:    gives a buffer out while a [`Loan`] of it exists (K19012-1 to -4).
//! Source:   BUF-1 to BUF-8 and K19012 of the Java producer; KAFKA-19012, CVE-2026-35554.
//!
//! A buffer has room for a request header in front of the batch and for the closing tag bytes
//! behind it, so that a request of one batch is one contiguous piece of the arena.
//!
//! Beside the arena there are two kinds of memory of the same budget. An *oversized* record has
//! what it needs, for itself. A batch that will be compressed is filled in a *chunk*: several times
//! `batch.size`, kept for the next one when its records have gone, compressed, into the arena. It
//! costs what its batch may fill of it, and at least what a pooled buffer does, so that there is
//! always one for it to go to.
//!
//! # Why unsafe
//! The kernel and many application threads hold parts of one mapping at the same time; `&mut [u8]`
//! cannot say that. The unsafe part is the mapping, two pointer sums and three slice views.

#![expect(unsafe_code, reason = "the arena is shared with the kernel; see `Why unsafe`")]

use std::alloc::Layout;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use rustix::mm::{MapFlags, ProtFlags};

use super::packing;
use crate::sync::Watched;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

/// Bytes in front of each batch: the produce request header, one topic name, one partition prefix.
/// 249 bytes of topic name and a client id of 80 fit; a longer pair is sent as a gather list.
pub const HEAD_ROOM_BYTES: usize = 384;
/// Bytes behind each batch: the tag bytes that close a flexible request (3 are used).
pub const TAIL_ROOM_BYTES: usize = 64;
/// The smallest batch area of a pooled buffer, so that tiny `batch.size` values stay usable.
pub const BATCH_AREA_BYTES_MIN: usize = if cfg!(kuring_loom) { 128 } else { 960 };
/// Most buffers of oversized records that can be alive at once in one shard.
const OVERSIZED_MAX: usize = if cfg!(kuring_loom) { 1 } else { 4096 };
/// Chunks, which are batches of compressed topics that are open or being compressed: so many, or
/// one for [`CHUNK_SHARE`] pooled buffers where that is more.
const CHUNKS: u32 = if cfg!(kuring_loom) { 1 } else { 1024 };
const CHUNK_SHARE: u32 = 8;
/// One of so many buffers is left to partitions that have no backlog.
const LEFT_SHARE: usize = 32;
/// What a released buffer is filled with in debug builds.
#[cfg(debug_assertions)]
pub const POISON: u8 = 0xDB;

const NONE: u32 = u32::MAX;
const PAGE: usize = 4096;

/// One anonymous mapping, page-aligned, unmapped when the last user is gone.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    bytes: usize,
    watched: Watched,
}

// SAFETY: obligation: the raw pointer may be used from any thread. The mapping is plain memory that
// belongs to this value until drop; who may touch which bytes is the pool's and the batch ring's
// protocol. Test: `buffers_are_disjoint_and_inside_the_arena`.
unsafe impl Send for Arena {}
// SAFETY: as for Send; `&Arena` gives out the address and the length only.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps zeroed memory of at least `bytes`; pages that are never touched cost nothing.
    pub(crate) fn map(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        // SAFETY: obligation of mmap_anonymous: the address hint must not replace a live mapping.
        // A null hint never does. Test: `buffers_are_disjoint_and_inside_the_arena`.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes, watched: Watched::new(bytes) })
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The length in bytes, a multiple of the page size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: obligation: nothing uses the mapping any more. Every loan, buffer and driver
        // holds an `Arc` of the pool that owns this arena. Test: `a_loan_keeps_the_arena_alive`.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(result.is_ok(), "munmap of the arena failed");
    }
}

/// What a caller lacks: bytes of the budget, or, with none, that the shard catches up. In one word,
/// since it is in the answer to every append.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Need(u64);

/// See [`Need::has_backlog`].
const HAS_BACKLOG: u64 = 1 << 63;

impl Need {
    /// So many bytes, below 2^63.
    pub const fn new(bytes: u64, has_backlog: bool) -> Self {
        Self(bytes | if has_backlog { HAS_BACKLOG } else { 0 })
    }

    /// Bytes of the budget. 0: the shard has to catch up.
    pub const fn bytes(self) -> u64 {
        self.0 & !HAS_BACKLOG
    }

    /// Whether its partition has batches that wait to be sent. The last bytes are not for it but
    /// for those that have none, so that records which could go at once do not wait for the memory
    /// of a topic that is produced to faster than it can be compressed or sent.
    pub const fn has_backlog(self) -> bool {
        self.0 & HAS_BACKLOG != 0
    }
}

impl std::fmt::Debug for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bytes, has_backlog) = (self.bytes(), self.has_backlog());
        f.debug_struct("Need").field("bytes", &bytes).field("has_backlog", &has_backlog).finish()
    }
}

/// Names a buffer of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferIndex(pub u32);

#[derive(Debug)]
struct Slot {
    /// Next free slot while this one is free.
    next: AtomicU32,
    /// Send operations that the kernel (or a driver's queue) still holds.
    loans: AtomicU32,
    /// Base of an oversized buffer or of a chunk; null for a pooled one.
    oversized: AtomicPtr<u8>,
    /// Batch bytes an oversized buffer or a chunk has room for.
    oversized_bytes: AtomicUsize,
    /// Bytes of the budget that a chunk costs now.
    charge: AtomicU64,
}

/// A stack of free slots: tagged head, so that a slot that left and came back is noticed.
#[derive(Debug)]
struct FreeStack {
    /// `tag << 32 | index of the top slot`.
    head: CachePadded<AtomicU64>,
    /// Slots that were never used; they are handed out once the stack is empty.
    fresh: AtomicU32,
    end: u32,
}

impl FreeStack {
    fn new(start: u32, end: u32) -> Self {
        let head = CachePadded::new(AtomicU64::new(u64::from(NONE)));
        Self { head, fresh: AtomicU32::new(start), end }
    }

    fn pop(&self, slots: &[Slot]) -> Option<u32> {
        let mut head = self.head.load(Acquire);
        loop {
            let top = head as u32;
            if top == NONE {
                let take = |fresh: u32| (fresh < self.end).then_some(fresh + 1);
                return self.fresh.fetch_update(Relaxed, Relaxed, take).ok();
            }
            let next = slots[top as usize].next.load(Relaxed);
            let swapped = ((head >> 32).wrapping_add(1) << 32) | u64::from(next);
            // Acquire: sees what the releaser wrote. Partner: the Release in `push`.
            match self.head.compare_exchange_weak(head, swapped, Acquire, Acquire) {
                Ok(_) => return Some(top),
                Err(seen) => head = seen,
            }
        }
    }

    fn push(&self, slots: &[Slot], index: u32) {
        let mut head = self.head.load(Relaxed);
        loop {
            slots[index as usize].next.store(head as u32, Relaxed);
            let swapped = ((head >> 32).wrapping_add(1) << 32) | u64::from(index);
            // Release: publishes `next` and the buffer's contents. Partner: Acquire in `pop`.
            match self.head.compare_exchange_weak(head, swapped, Release, Relaxed) {
                Ok(_) => return,
                Err(seen) => head = seen,
            }
        }
    }
}

/// One shard's buffers.
#[derive(Debug)]
pub struct BufferPool {
    arena: Arena,
    slots: Box<[Slot]>,
    pooled: FreeStack,
    oversized: FreeStack,
    chunks: FreeStack,
    pooled_count: u32,
    /// The first slot of a chunk.
    chunks_from: u32,
    /// Batch bytes of a chunk.
    chunk_bytes: usize,
    /// What a chunk costs at least, a pooled buffer or more: the budget is used up no later than
    /// the chunks, so who lacks one waits for bytes, as everybody does.
    chunk_cost_least: u64,
    /// Bytes of one pooled buffer, rooms included.
    stride: usize,
    /// Batch bytes of one pooled buffer.
    area: usize,
    /// Bytes that nobody holds. `available + held == total` at rest (BUF-2).
    available: CachePadded<AtomicU64>,
    total: u64,
    /// Bytes that who has a backlog leaves. None of a pool of few buffers.
    left: u64,
}

impl BufferPool {
    /// A pool of `memory_bytes`, cut into buffers that each hold a batch of `batch_bytes`.
    ///
    /// # Errors
    /// The kernel refused the mapping.
    pub fn new(memory_bytes: u64, batch_bytes: usize) -> io::Result<Arc<Self>> {
        let area = batch_bytes.max(BATCH_AREA_BYTES_MIN).next_multiple_of(64);
        let stride = HEAD_ROOM_BYTES + area + TAIL_ROOM_BYTES;
        let count = usize::try_from(memory_bytes / stride as u64).unwrap_or(usize::MAX);
        let count = count.clamp(1, (NONE / 2) as usize);
        let arena = Arena::map(count * stride)?;
        let slot = |_| Slot {
            next: AtomicU32::new(NONE),
            loans: AtomicU32::new(0),
            oversized: AtomicPtr::new(std::ptr::null_mut()),
            oversized_bytes: AtomicUsize::new(0),
            charge: AtomicU64::new(0),
        };
        let pooled_count = count as u32;
        let chunks_from = pooled_count + OVERSIZED_MAX as u32;
        let chunks = pooled_count.min(CHUNKS.max(pooled_count / CHUNK_SHARE));
        let end = chunks_from + chunks;
        let total = (count * stride) as u64;
        Ok(Arc::new(Self {
            arena,
            slots: (0..end).map(slot).collect(),
            pooled: FreeStack::new(0, pooled_count),
            oversized: FreeStack::new(pooled_count, chunks_from),
            chunks: FreeStack::new(chunks_from, end),
            pooled_count,
            chunks_from,
            chunk_bytes: packing::capacity(batch_bytes, total).max(area),
            chunk_cost_least: total.div_ceil(u64::from(chunks)),
            stride,
            area,
            available: CachePadded::new(AtomicU64::new(total)),
            total,
            left: (count / LEFT_SHARE * stride) as u64,
        }))
    }

    /// The arena, to be registered with the kernel.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Buffers there can be: every [`BufferIndex`] is below this.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Pooled buffers.
    pub fn pooled_count(&self) -> usize {
        self.pooled_count as usize
    }

    /// Batch bytes that one pooled buffer has room for.
    pub fn area(&self) -> usize {
        self.area
    }

    /// All bytes of the pool.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that nobody holds.
    pub fn available(&self) -> u64 {
        self.available.load(Relaxed)
    }

    /// Bytes of the budget that a batch of `batch_bytes` costs.
    pub fn cost(&self, batch_bytes: usize) -> u64 {
        if batch_bytes <= self.area {
            self.stride as u64
        } else {
            (HEAD_ROOM_BYTES + batch_bytes + TAIL_ROOM_BYTES) as u64
        }
    }

    /// Batch bytes that a chunk has room for.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Bytes of the budget that a chunk costs whose batch fills so much of it.
    pub fn chunk_cost(&self, batch_bytes: usize) -> u64 {
        ((HEAD_ROOM_BYTES + batch_bytes + TAIL_ROOM_BYTES) as u64).max(self.chunk_cost_least)
    }

    /// Bytes of the budget that a claimed buffer costs, but for one of [`claim_own`].
    ///
    /// [`claim_own`]: Self::claim_own
    pub fn charge_of(&self, index: BufferIndex) -> u64 {
        let slot = &self.slots[index.0 as usize];
        match index.0 {
            index if index < self.pooled_count => self.stride as u64,
            index if index < self.chunks_from => self.cost(slot.oversized_bytes.load(Relaxed)),
            _ => slot.charge.load(Relaxed),
        }
    }

    /// Whether the buffer is in the arena.
    pub fn is_pooled(&self, index: BufferIndex) -> bool {
        index.0 < self.pooled_count
    }

    /// The largest batch that the budget has room for when nobody else holds bytes (BUF-5).
    pub fn batch_bytes_max(&self) -> usize {
        let rooms = (HEAD_ROOM_BYTES + TAIL_ROOM_BYTES) as u64;
        self.area.max(usize::try_from(self.total - rooms).unwrap_or(usize::MAX))
    }

    /// Bytes that a caller with this need leaves to others. What is larger than the rest waits for
    /// all of the memory, whoever needs it.
    pub fn left_by(&self, need: Need) -> u64 {
        if need.has_backlog() { self.left.min(self.total.saturating_sub(need.bytes())) } else { 0 }
    }

    /// Takes `bytes` from the budget, if that leaves all that could be left to others.
    #[inline]
    pub fn try_take_first(&self, bytes: u64) -> bool {
        let take = |available: u64| (available >= bytes + self.left).then(|| available - bytes);
        self.available.fetch_update(Acquire, Relaxed, take).is_ok()
    }

    /// Takes what is needed from the budget, if that leaves what is to be left; or nothing.
    pub fn try_take(&self, need: Need) -> bool {
        let least = need.bytes() + self.left_by(need);
        let take = |available| (available >= least).then(|| available - need.bytes());
        self.available.fetch_update(Acquire, Relaxed, take).is_ok()
    }

    /// Takes `cost` bytes from the budget, or nothing.
    pub fn try_reserve(&self, cost: u64) -> bool {
        let take = |available: u64| available.checked_sub(cost);
        self.available.fetch_update(Acquire, Relaxed, take).is_ok()
    }

    /// Gives bytes of the budget back.
    pub fn unreserve(&self, cost: u64) {
        let before = self.available.fetch_add(cost, Release);
        debug_assert!(before + cost <= self.total, "more bytes came back than were taken (BUF-2)");
    }

    /// A buffer for `batch_bytes`, whose cost the caller has reserved.
    ///
    /// None only when too many oversized buffers are alive. Allocates for an oversized one.
    pub fn claim_reserved(&self, batch_bytes: usize) -> Option<BufferIndex> {
        if batch_bytes <= self.area {
            // The reservation is the proof that a pooled buffer is free, unless oversized records
            // took it; both come from one budget, so a free one always remains.
            return self.pooled.pop(&self.slots).map(BufferIndex);
        }
        self.claim_own(batch_bytes)
    }

    /// A buffer with memory of its own, whatever its size, which nothing was reserved for. None
    /// when too many are alive, or there is no memory.
    pub fn claim_own(&self, batch_bytes: usize) -> Option<BufferIndex> {
        let index = self.oversized.pop(&self.slots)?;
        self.furnish(&self.oversized, index, batch_bytes)
    }

    /// A chunk that costs `cost`, which the caller has reserved. None when there is no memory.
    /// Allocates where there were never so many at once.
    pub fn claim_chunk(&self, cost: u64) -> Option<BufferIndex> {
        debug_assert!(cost >= self.stride as u64, "its batch can go to a pooled buffer");
        let index = self.chunks.pop(&self.slots)?;
        let slot = &self.slots[index as usize];
        slot.charge.store(cost, Relaxed);
        if slot.oversized.load(Acquire).is_null() {
            return self.furnish(&self.chunks, index, self.chunk_bytes);
        }
        Some(BufferIndex(index))
    }

    /// Gives a slot beside the arena its memory; without any, back to the `stack` it came from.
    fn furnish(&self, stack: &FreeStack, index: u32, batch_bytes: usize) -> Option<BufferIndex> {
        // SAFETY: obligation: a layout of more than zero bytes. HEAD_ROOM_BYTES is in the sum.
        // Test: `an_oversized_record_takes_its_own_memory_from_the_same_budget`.
        let base = unsafe { std::alloc::alloc(oversized_layout(batch_bytes)) };
        if base.is_null() {
            stack.push(&self.slots, index);
            return None;
        }
        let slot = &self.slots[index as usize];
        slot.oversized_bytes.store(batch_bytes, Relaxed);
        slot.oversized.store(base, Release);
        Some(BufferIndex(index))
    }

    /// Gives a buffer back to the pool, without its bytes of the budget; returns those.
    ///
    /// # Panics
    /// When the kernel still holds the buffer: a bug that would corrupt data (KAFKA-19012).
    pub fn release(&self, index: BufferIndex) -> u64 {
        let slot = &self.slots[index.0 as usize];
        let loans = slot.loans.load(Acquire);
        assert!(loans == 0, "buffer {index:?} released with {loans} loans outstanding");
        #[cfg(debug_assertions)]
        self.poison(index);
        if index.0 < self.pooled_count {
            self.pooled.push(&self.slots, index.0);
            return self.stride as u64;
        }
        if index.0 >= self.chunks_from {
            let charge = slot.charge.load(Relaxed);
            self.chunks.push(&self.slots, index.0);
            return charge;
        }
        let base = slot.oversized.swap(std::ptr::null_mut(), AcqRel);
        let batch_bytes = slot.oversized_bytes.load(Relaxed);
        // SAFETY: obligation: `base` came from `alloc` with this layout and is freed once. The swap
        // above takes it out of the slot; the layout follows from the stored size.
        // Test: `an_oversized_record_takes_its_own_memory_from_the_same_budget`.
        unsafe { std::alloc::dealloc(base, oversized_layout(batch_bytes)) };
        self.oversized.push(&self.slots, index.0);
        self.cost(batch_bytes)
    }

    /// Send operations that still hold bytes of the buffer.
    pub fn loans(&self, index: BufferIndex) -> u32 {
        self.slots[index.0 as usize].loans.load(Acquire)
    }

    /// Bytes of the batch area of a claimed buffer.
    pub fn area_of(&self, index: BufferIndex) -> usize {
        if index.0 < self.pooled_count {
            return self.area;
        }
        self.slots[index.0 as usize].oversized_bytes.load(Relaxed)
    }

    /// The first byte of a claimed buffer's head room; its batch starts [`HEAD_ROOM_BYTES`] later.
    #[inline]
    pub fn base_of(&self, index: BufferIndex) -> NonNull<u8> {
        if index.0 < self.pooled_count {
            // SAFETY: obligation: stay inside the mapping. index < pooled_count, and `new` mapped
            // pooled_count * stride bytes. Test: `buffers_are_disjoint_and_inside_the_arena`.
            return unsafe { self.arena.base.add(index.0 as usize * self.stride) };
        }
        NonNull::new(self.slots[index.0 as usize].oversized.load(Acquire))
            .expect("an oversized slot in use has memory: claim_reserved stored it")
    }

    /// Lends `range` (counted from the head room's first byte) of a buffer to a send operation.
    pub fn lend(self: &Arc<Self>, index: BufferIndex, start: usize, bytes: usize) -> Loan {
        let room = HEAD_ROOM_BYTES + self.area_of(index) + TAIL_ROOM_BYTES;
        assert!(start + bytes <= room, "a loan stays inside its buffer");
        self.slots[index.0 as usize].loans.fetch_add(1, AcqRel);
        Loan { pool: Arc::clone(self), index, start: start as u32, bytes: bytes as u32 }
    }

    /// Somebody is about to write these bytes of a buffer. Only models listen: see [`Watched`].
    #[inline]
    pub(super) fn note_written(&self, index: BufferIndex, start: usize, bytes: usize) {
        if index.0 < self.pooled_count {
            self.arena.watched.written(index.0 as usize * self.stride + start, bytes);
        }
    }

    #[inline]
    fn note_read(&self, index: BufferIndex, start: usize, bytes: usize) {
        if index.0 < self.pooled_count {
            self.arena.watched.read(index.0 as usize * self.stride + start, bytes);
        }
    }

    #[cfg(debug_assertions)]
    fn poison(&self, index: BufferIndex) {
        let bytes = HEAD_ROOM_BYTES + self.area_of(index) + TAIL_ROOM_BYTES;
        self.note_written(index, 0, bytes);
        // SAFETY: obligation: `bytes` from base are writable and nobody else uses them. They are
        // the buffer's own; `release` asserted that no loan is left, and the batch is retired.
        // Test: `k19012_1_a_lent_buffer_is_never_handed_out_again`.
        unsafe { std::ptr::write_bytes(self.base_of(index).as_ptr(), POISON, bytes) };
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        for slot in &self.slots[self.pooled_count as usize..] {
            // Nobody else is left: the orders of these loads mean nothing.
            let base = slot.oversized.load(Relaxed);
            if !base.is_null() {
                let layout = oversized_layout(slot.oversized_bytes.load(Relaxed));
                // SAFETY: obligation: allocated with this layout, freed once. The slot still owned
                // it, and the pool is going away. Test: `a_loan_keeps_the_arena_alive`.
                unsafe { std::alloc::dealloc(base, layout) };
            }
        }
    }
}

fn oversized_layout(batch_bytes: usize) -> Layout {
    let bytes = HEAD_ROOM_BYTES + batch_bytes + TAIL_ROOM_BYTES;
    Layout::from_size_align(bytes, 64).expect("max.request.size is below isize::MAX")
}

/// Bytes of a buffer that a send operation holds. The buffer cannot be released while this lives;
/// a driver drops it only after the kernel has given the operation back (K19012-4).
#[derive(Debug)]
pub struct Loan {
    pool: Arc<BufferPool>,
    index: BufferIndex,
    start: u32,
    bytes: u32,
}

impl Loan {
    /// The lent bytes. Nobody writes to them while the loan lives: the batch is sealed.
    pub fn bytes(&self) -> &[u8] {
        self.pool.note_read(self.index, self.start as usize, self.len());
        // SAFETY: obligation: initialised, in bounds, not written while borrowed. `lend` checked
        // the bounds; the sender lends only what it stamped, or the records of a sealed batch, and
        // writes to either only at zero loans.
        // Test: `k19012_1_a_lent_buffer_is_never_handed_out_again`.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// Address of the first lent byte.
    pub fn as_ptr(&self) -> *const u8 {
        // SAFETY: obligation: stay inside the allocation. `lend` checked start + bytes against the
        // buffer's room. Test: `buffers_are_disjoint_and_inside_the_arena`.
        unsafe { self.pool.base_of(self.index).add(self.start as usize) }.as_ptr()
    }

    /// How many bytes are lent.
    pub fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Whether nothing is lent.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Which buffer is lent.
    pub fn index(&self) -> BufferIndex {
        self.index
    }

    /// Whether the bytes lie in the arena, so that a registered-buffer operation may name them.
    pub fn in_arena(&self) -> bool {
        self.index.0 < self.pool.pooled_count
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Release: the holder's reads happen before the buffer is written again.
        // Partner: the Acquire load in `release`.
        self.pool.slots[self.index.0 as usize].loans.fetch_sub(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(pool: &BufferPool, bytes: usize) -> Option<BufferIndex> {
        pool.try_reserve(pool.cost(bytes)).then(|| pool.claim_reserved(bytes)).flatten()
    }

    fn release(pool: &BufferPool, index: BufferIndex) {
        let cost = pool.release(index);
        pool.unreserve(cost);
    }

    #[test]
    fn buffers_are_disjoint_and_inside_the_arena() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        let mut bases: Vec<_> =
            std::iter::from_fn(|| claim(&pool, 1000)).map(|i| pool.base_of(i).as_ptr()).collect();
        assert_eq!(bases.len(), pool.pooled_count());
        bases.sort_unstable();
        let arena = pool.arena().base().as_ptr();
        assert!(bases[0] >= arena);
        assert!(bases.windows(2).all(|pair| pair[1].addr() - pair[0].addr() >= pool.stride));
        let end = bases[bases.len() - 1].addr() + pool.stride;
        assert!(end <= arena.addr() + pool.arena().bytes());
    }

    #[test]
    fn buf_2_bytes_taken_and_given_back_add_up() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        let held: Vec<_> = std::iter::from_fn(|| claim(&pool, 1000)).collect();
        assert!(pool.available() < pool.cost(1000));
        held.into_iter().for_each(|index| release(&pool, index));
        assert_eq!(pool.available(), pool.total());
    }

    #[test]
    fn k19012_1_a_lent_buffer_is_never_handed_out_again() {
        let pool = BufferPool::new(4096, 1000).unwrap();
        let index = claim(&pool, 1000).unwrap();
        let loan = pool.lend(index, HEAD_ROOM_BYTES, 10);
        assert_eq!(pool.loans(index), 1);
        let early = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.release(index)));
        assert!(early.is_err(), "release with a loan outstanding must be refused");
        drop(loan);
        release(&pool, index);
        let again = claim(&pool, 1000).unwrap();
        let loan = pool.lend(again, HEAD_ROOM_BYTES, 10);
        #[cfg(debug_assertions)]
        assert_eq!(loan.bytes(), [POISON; 10]);
        drop(loan);
    }

    #[test]
    fn an_oversized_record_takes_its_own_memory_from_the_same_budget() {
        let pool = BufferPool::new(1 << 20, 1000).unwrap();
        let before = pool.available();
        let big = claim(&pool, 500_000).unwrap();
        assert!(!pool.lend(big, 0, 1).in_arena());
        assert_eq!(before - pool.available(), pool.cost(500_000));
        assert!(claim(&pool, 900_000).is_none());
        release(&pool, big);
        assert_eq!(pool.available(), before);
    }

    #[test]
    fn a_loan_keeps_the_arena_alive() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        let small = claim(&pool, 1000).unwrap();
        let big = claim(&pool, 5000).unwrap();
        let loans = [pool.lend(small, 0, 1), pool.lend(big, 0, 1)];
        drop(pool);
        for loan in &loans {
            assert_eq!(std::hint::black_box(loan.bytes()).len(), 1);
        }
    }

    #[test]
    fn threads_never_hold_the_same_buffer() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        let taken: Vec<AtomicU32> = (0..pool.slots()).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(index) = claim(&pool, 1000) else { continue };
                        assert_eq!(taken[index.0 as usize].swap(1, AcqRel), 0);
                        taken[index.0 as usize].store(0, Release);
                        release(&pool, index);
                    }
                });
            }
        });
        assert_eq!(pool.available(), pool.total());
    }
}
