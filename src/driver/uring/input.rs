//! The buffers that the kernel receives into: one ring of them for all connections.
//!
//! Owns:     the memory, 256 KiB that is touched as it is needed.
//! Thread:   the shard's.
//! Bounds:   a piece that arrived takes one buffer until it has been handed out.
//! Never:    keeps a buffer: it is given back after the call that saw it, also when that panics.
//!
//! # Why unsafe
//! The kernel reads the ring and writes the buffers; which of them it may write is the protocol of
//! the ring, and no borrow. The unsafe part is two slice views.

#![expect(unsafe_code, reason = "the kernel writes here; see `Why unsafe`")]

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::accumulator::buffer_pool::Arena;

/// The only group of buffers.
pub(super) const GROUP: u16 = 0;
/// Buffers; a power of two. An answer to a produce request takes one.
const COUNT: u16 = 64;
/// Bytes of a buffer.
const BYTES: usize = 4096;
/// The ring's own part of the mapping: 16 bytes per buffer, in a page of its own.
const RING_BYTES: usize = 4096;

/// Memory to receive into.
pub(super) struct Input {
    memory: Arena,
    /// The kernel's count of buffers given to it, modulo 2^16; the shard's alone.
    tail: std::cell::Cell<u16>,
}

impl Input {
    /// All buffers are the kernel's once the address is registered.
    pub(super) fn new() -> io::Result<Self> {
        let memory = Arena::map(RING_BYTES + usize::from(COUNT) * BYTES)?;
        let input = Self { memory, tail: std::cell::Cell::new(0) };
        (0..COUNT).for_each(|buffer| input.give_back(buffer));
        Ok(input)
    }

    /// Where the ring begins, and how many entries it has.
    pub(super) fn address(&self) -> (u64, u16) {
        (self.memory.base().addr().get() as u64, COUNT)
    }

    /// The ring, two words an entry: the buffer's address; its length, number and, in the first
    /// entry, the ring's tail.
    fn words(&self) -> &[AtomicU64] {
        let start = self.memory.base().cast::<AtomicU64>().as_ptr();
        // SAFETY: obligation: the words are inside the mapping, aligned, and shared by atomics
        // only. The ring is the first page; the kernel reads it, and nobody forms another view.
        // Test: `a_flood_on_one_connection_does_not_starve_another`.
        unsafe { std::slice::from_raw_parts(start, 2 * usize::from(COUNT)) }
    }

    /// Gives `buffer` to the kernel.
    fn give_back(&self, buffer: u16) {
        let words = self.words();
        let tail = self.tail.get();
        let entry = 2 * usize::from(tail % COUNT);
        let start = self.memory.base().addr().get() + RING_BYTES + usize::from(buffer) * BYTES;
        self.tail.set(tail.wrapping_add(1));
        words[entry].store(start as u64, Relaxed);
        // The first entry's word holds the tail too; what it says is still true.
        let kept = if entry == 0 { tail } else { 0 };
        words[entry + 1].store(word(buffer, kept), Relaxed);
        let first = words[1].load(Relaxed).to_ne_bytes();
        let first = word(u16::from_ne_bytes([first[4], first[5]]), tail.wrapping_add(1));
        // Release: the entry is written. Partner: the kernel's acquiring read of the tail.
        words[1].store(first, Release);
    }

    /// Shows the first `length` bytes of a buffer that the kernel has filled, then gives it back.
    pub(super) fn hand_out(&self, buffer: u16, length: usize, see: impl FnOnce(&[u8])) {
        struct Return<'a>(&'a Input, u16);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                self.0.give_back(self.1);
            }
        }
        assert!(buffer < COUNT && length <= BYTES, "the kernel names what it was given");
        let _return = Return(self, buffer);
        let offset = RING_BYTES + usize::from(buffer) * BYTES;
        // SAFETY: obligation: the bytes are inside the mapping, initialised (it began zeroed), and
        // nobody writes them meanwhile. The kernel has handed the buffer out and gets it back after
        // the view is gone. Test: `a_panic_while_events_are_handled_loses_no_frame`.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.memory.base().as_ptr().wrapping_add(offset), length)
        };
        see(bytes);
    }
}

/// Length, number and tail, as the kernel's `struct io_uring_buf` has them side by side.
fn word(buffer: u16, tail: u16) -> u64 {
    let (length, buffer, tail) =
        ((BYTES as u32).to_ne_bytes(), buffer.to_ne_bytes(), tail.to_ne_bytes());
    u64::from_ne_bytes([
        length[0], length[1], length[2], length[3], buffer[0], buffer[1], tail[0], tail[1],
    ])
}
