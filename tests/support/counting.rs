//! An allocator that counts: the bytes of the process, and the calls of threads that asked for it.
//!
//! Included by the test binaries that install it; not part of `support`, whose users forbid unsafe.
#![expect(unsafe_code, reason = "a global allocator is unsafe to implement; this one only counts")]
#![allow(dead_code, reason = "one binary counts bytes, another one calls")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn taken(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
    LARGEST.fetch_max(bytes, Relaxed);
    // A thread that is ending has no flag any more.
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        CALLS.fetch_add(1, Relaxed);
    }
}

// SAFETY: obligation: return memory as `GlobalAlloc` describes. Every call goes to `System` with
// the very arguments that came in; the counters are atomics and a `Cell` without a destructor, and
// allocate nothing. Test: every test of the binaries that include this runs on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: obligation: a layout of non-zero size, which our caller owes us in the same
        // words. Test: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: obligation: memory of this allocator with this layout; all of ours is `System`'s.
        // Test: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Relaxed);
        taken(bytes);
        // SAFETY: obligation: as for `dealloc`, and a new size above zero, which our caller owes
        // us. Test: as above.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// The most bytes the process ever had at one time, and the most it ever asked for at once.
pub(crate) fn peak_and_largest() -> (usize, usize) {
    (PEAK.load(Relaxed), LARGEST.load(Relaxed))
}

/// From now on the calls of this thread count.
pub(crate) fn count_this_thread() {
    COUNTED.set(true);
}

/// Allocations of the threads that count, so far.
pub(crate) fn calls() -> usize {
    CALLS.load(Relaxed)
}
