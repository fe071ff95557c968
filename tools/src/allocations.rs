//! Counts heap allocations, so that the benchmark can say how many its steady state makes.
//!
//! # Why unsafe
//! `GlobalAlloc` is an unsafe trait and its methods are unsafe functions: nothing else sees each
//! allocation of a process. Everything is passed on unchanged to the system's allocator.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait; every call is passed on as it is")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

// Relaxed: a count; what was counted is published by nobody through it.
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // A constant without a destructor: reading it can neither allocate nor come too late.
    static IS_EXCLUDED: Cell<bool> = const { Cell::new(false) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations made so far by the threads that are not excluded; growing one counts as one.
pub fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// From now on the calling thread's allocations do not count: it is not part of what is measured.
pub fn exclude_this_thread() {
    IS_EXCLUDED.set(true);
}

struct Counting;

fn count_one() {
    if !IS_EXCLUDED.get() {
        COUNT.fetch_add(1, Relaxed);
    }
}

// SAFETY: the trait asks for blocks that fit their layout, live until they are freed, and no
// unwinding. Each method counts, which neither allocates nor unwinds (an atomic and a constant
// thread-local), and returns what `System`, which keeps the contract, returned for the same
// arguments. Every test of this crate runs on it;
// `each_thread_counts_its_own_and_excluded_ones_do_not` looks at the counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: a layout of size above zero is asked for; our own caller owes the same and its
        // layout is passed on. Every test of this crate allocates through this line.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as in `alloc`; the sink's input buffers come from here.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block must come from the same allocator with the same layout; ours all come
        // from `System`, and caller and layout are passed on. Every test frees through this line.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count_one();
        // SAFETY: as in `dealloc`, and a size above zero, which our caller owes too. Every growing
        // vector of the tests goes through this line.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_counts_its_own_and_excluded_ones_do_not() {
        // Other tests allocate meanwhile, so only the direction of the count is certain here;
        // the excluded thread looks at its own mark.
        let before = count();
        drop(std::hint::black_box(vec![1_u8; 100]));
        assert!(count() > before);
        exclude_this_thread();
        assert!(IS_EXCLUDED.get());
        let elsewhere = std::thread::spawn(|| IS_EXCLUDED.get()).join().unwrap();
        assert!(!elsewhere);
    }
}
