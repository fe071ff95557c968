//! Counts what a piece of code takes from the allocator.
#![expect(unsafe_code, reason = "a global allocator is unsafe to implement; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    // A thread that is ending has no counter any more, and measures nothing either.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + bytes));
}

// SAFETY: obligation: return memory as `GlobalAlloc` describes. Every call goes to `System` with
// the very arguments that came in; the counter is a `Cell` without a destructor and allocates
// nothing. Test: every test of this binary runs on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: obligation: a layout of non-zero size, which our caller owes us in the same
        // words. Test: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: obligation: memory of this allocator with this layout; all of ours is `System`'s.
        // Test: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        // SAFETY: obligation: as for `dealloc`, and a new size above zero, which our caller owes
        // us. Test: as above.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// All bytes that `run` asked for on this thread, given back or not.
pub(crate) fn bytes_taken_by<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = TAKEN.get();
    let result = run();
    (TAKEN.get() - before, result)
}

#[test]
fn the_counter_counts() {
    let (taken, kept) = bytes_taken_by(|| vec![0_u8; 1000]);
    assert_eq!((taken, kept.len()), (1000, 1000));
    assert_eq!(bytes_taken_by(|| 1 + 1).0, 0);
}
