//! How application threads tell a shard that a partition has something for it, and wake it.
//!
//! Owns:     the list of partitions to look at, and the shard's sleep.
//! Thread:   any thread pushes; the shard takes all.
//! Bounds:   each partition is on the list at most once.
//! Never:    makes a system call while the shard is awake.
//!
//! # Orderings
//! The sleep is a store-fence-load pair on both sides: the shard stores `asleep_until`, fences and
//! looks at the list once more; a pusher pushes, fences and reads `asleep_until`. One of the two
//! sees the other, so no wake is lost.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};

const AWAKE: u64 = 0;

/// A partition's place on the list.
#[derive(Debug, Default)]
pub(super) struct Link {
    listed: AtomicBool,
    /// The index below it on the list, plus one.
    next: AtomicU32,
}

/// One shard's list of partitions with news, and its sleep flag.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    /// Top of the stack: partition index plus one, 0 when empty.
    top: CachePadded<AtomicU32>,
    /// [`AWAKE`], or until when (nanoseconds on the process's clock) the shard will sleep.
    asleep_until: CachePadded<AtomicU64>,
    /// So many more full batches do not wake the sleeping shard: an answer that it waits for, or
    /// the end of a linger, wakes it soon, and it then sends them in one request.
    patience: AtomicU32,
}

impl ReadyList {
    /// Puts a partition on the list, unless it is there.
    pub(super) fn push(&self, index: u32, link: &Link) {
        // AcqRel: what the pusher did is seen by the shard even if the partition is listed already.
        // Partner: the swap in `take`.
        if link.listed.swap(true, AcqRel) {
            return;
        }
        let mut top = self.top.load(Relaxed);
        loop {
            link.next.store(top, Relaxed);
            // Release: publishes `next`. Partner: the Acquire swap in `take_all`.
            match self.top.compare_exchange_weak(top, index + 1, Release, Relaxed) {
                Ok(_) => return,
                Err(seen) => top = seen,
            }
        }
    }

    /// Whether the shard sleeps past `deadline` and this caller has to wake it.
    pub(super) fn must_wake(&self, deadline: u64) -> bool {
        fence(SeqCst);
        let until = self.asleep_until.load(Relaxed);
        until > deadline
            && self.asleep_until.compare_exchange(until, AWAKE, AcqRel, Relaxed).is_ok()
    }

    /// Whether a full batch has to wake the shard. A batch that does not is sent at the end of its
    /// linger at the latest: who opened it made sure that the shard sleeps no longer than that.
    pub(super) fn must_wake_for_full(&self) -> bool {
        fence(SeqCst);
        if self.asleep_until.load(Relaxed) == AWAKE {
            return false;
        }
        // Appenders that count at the same time may lose a count, and wake a batch later.
        let patience = self.patience.load(Relaxed);
        if patience > 0 {
            self.patience.store(patience - 1, Relaxed);
            return false;
        }
        self.must_wake(0)
    }

    /// Takes the whole list; walk it with [`take`](Self::take).
    pub(super) fn take_all(&self) -> u32 {
        if self.top.load(Relaxed) == 0 { 0 } else { self.top.swap(0, Acquire) }
    }

    /// Takes one partition off the taken list; returns the next one (plus one, 0 at the end). News
    /// that come after this put the partition on the list again.
    pub(super) fn take(link: &Link) -> u32 {
        let next = link.next.load(Relaxed);
        link.listed.swap(false, AcqRel);
        next
    }

    /// The shard is about to sleep until `until`. False if there is news: then it must not.
    pub(super) fn fall_asleep(&self, until: u64, patience: u32) -> bool {
        self.patience.store(patience, Relaxed);
        self.asleep_until.store(until.max(1), Relaxed);
        fence(SeqCst);
        if self.top.load(Relaxed) == 0 {
            return true;
        }
        self.wake_up();
        false
    }

    /// The shard is awake.
    pub(super) fn wake_up(&self) {
        self.asleep_until.store(AWAKE, Relaxed);
    }
}
