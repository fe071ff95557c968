//! Whether this is the process that started a producer, or a fork's copy of it.
//!
//! A fork copies the memory of every producer and none of its threads. Nothing sends what the copy
//! would take, locks may be held by threads that are not there, and rings, sockets and the eventfd
//! belong to the parent as well. So a copy is inert: it refuses, and touches none of them.
//!
//! The kernel tells: a page that it wipes in the child of a fork (`MADV_WIPEONFORK`, Linux 4.14).
//! That is known at once and costs one load. Where the kernel does not have it, the process id is
//! compared: not where a record is appended, only where a call waits, ends or would wake a shard.
//!
//! # Why unsafe
//! The page is a mapping of its own, and read through a pointer.
#![expect(unsafe_code, reason = "a page that the kernel wipes has to be a mapping; see above")]

use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::process::{Pid, getpid};

const PAGE: usize = 4096;

/// A number that is 0 in a fork's copy of the process that made it.
#[derive(Debug)]
pub(crate) struct Mark {
    page: NonNull<AtomicUsize>,
    /// The process that made it, where the kernel does not wipe the page.
    made_by: Option<Pid>,
}

// SAFETY: obligation: the pointer may be used from any thread. It names an atomic in a mapping that
// belongs to this value until drop. Test: `a_mark_is_read_and_written`.
unsafe impl Send for Mark {}
// SAFETY: as for Send: everything that `&Mark` allows is an atomic operation.
unsafe impl Sync for Mark {}

impl Mark {
    /// A mark with this value, which is not 0.
    ///
    /// # Errors
    /// The kernel refused a page.
    pub(crate) fn new(value: usize) -> io::Result<Self> {
        // SAFETY: obligation of mmap_anonymous: the address hint must not replace a live mapping.
        // A null hint never does. Test: `a_mark_is_read_and_written`.
        let page = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        // SAFETY: obligation of madvise: nobody relies on what the advice takes away. The page is
        // new, and a child of a fork is to find it empty. Test: `ending::fork`.
        let advised = unsafe { rustix::mm::madvise(page, PAGE, Advice::LinuxWipeOnFork) };
        let page = NonNull::new(page.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mark = Self { page, made_by: advised.is_err().then(getpid) };
        mark.word().store(value, Relaxed);
        Ok(mark)
    }

    #[inline]
    fn word(&self) -> &AtomicUsize {
        // SAFETY: obligation: an aligned, initialised atomic that lives as long as the borrow. The
        // page starts with it, is zero at first, and stays mapped until drop.
        // Test: `a_mark_is_read_and_written`.
        unsafe { self.page.as_ref() }
    }

    /// The value; 0 in a copy, where the kernel wipes.
    #[inline]
    pub(crate) fn get(&self) -> usize {
        self.word().load(Relaxed)
    }

    /// Whether this is a fork's copy. One load; a system call where the kernel does not wipe.
    pub(crate) fn is_copy(&self) -> bool {
        self.get() == 0 || self.made_by.is_some_and(|made_by| made_by != getpid())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: obligation: nothing uses the mapping any more. Borrows of the word end before the
        // mark does. Test: `a_mark_is_read_and_written`.
        let result = unsafe { rustix::mm::munmap(self.page.as_ptr().cast(), PAGE) };
        debug_assert!(result.is_ok(), "munmap of a mark failed");
    }
}

/// Numbers the processes of a line of forks: another one in each that asks. Never 0.
pub(crate) fn generation() -> u32 {
    static MARK: OnceLock<Option<Mark>> = OnceLock::new();
    /// Not wiped: a child counts on from its parent.
    static LAST: AtomicU32 = AtomicU32::new(1);
    let mark = MARK.get_or_init(|| Mark::new(1).ok());
    let Some(mark) = mark.as_ref().filter(|mark| mark.made_by.is_none()) else {
        return getpid().as_raw_nonzero().get().unsigned_abs();
    };
    match mark.get() {
        0 => {
            let next = LAST.fetch_add(1, Relaxed) + 1;
            match mark.word().compare_exchange(0, next as usize, Relaxed, Relaxed) {
                Ok(_) => next,
                // Another thread of this process was first.
                Err(other) => other as u32,
            }
        }
        known => known as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_and_written() {
        let mark = Mark::new(7).unwrap();
        assert_eq!((mark.get(), mark.is_copy()), (7, false));
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(mark.get(), 7));
        });
        mark.word().store(0, Relaxed);
        assert!(mark.is_copy(), "this is what the kernel does");
    }

    #[test]
    fn without_a_wiped_page_the_process_id_tells() {
        let mut mark = Mark::new(7).unwrap();
        mark.made_by = Some(getpid());
        assert!(!mark.is_copy());
        mark.made_by = Pid::from_raw(1);
        assert!(mark.is_copy());
    }

    #[test]
    fn one_process_is_one_generation() {
        assert!(generation() == generation() && generation() > 0);
    }
}
