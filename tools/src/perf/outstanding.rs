//! The deliveries of one thread that have not been looked at, in the order of sending.
//!
//! Bounds:   `OUTSTANDING_MAX` deliveries, room for which is made at the start.
//! Never:    allocates after `new`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use kuring::Delivery;

use super::stats::Stats;

/// More 100-byte records than the default buffer.memory holds: it is memory that holds a sender
/// back, not this.
const OUTSTANDING_MAX: usize = 512 * 1024;

struct Entry {
    delivery: Delivery,
    bytes: u32,
    /// Its start is the front one of `starts`.
    is_timed: bool,
    is_steady: bool,
}

pub(super) struct Outstanding {
    entries: VecDeque<Entry>,
    starts: VecDeque<Instant>,
    waker: Waker,
}

/// Wakes the thread that waits for a delivery.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Outstanding {
    /// For the calling thread, which is the one that is woken.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::with_capacity(OUTSTANDING_MAX),
            starts: VecDeque::with_capacity(OUTSTANDING_MAX),
            waker: Waker::from(Arc::new(Unpark(std::thread::current()))),
        }
    }

    #[inline]
    pub(super) fn push(
        &mut self,
        delivery: Delivery,
        bytes: u32,
        start: Option<Instant>,
        is_steady: bool,
    ) {
        if let Some(start) = start {
            self.starts.push_back(start);
        }
        self.entries.push_back(Entry { delivery, bytes, is_timed: start.is_some(), is_steady });
    }

    /// The oldest needs a verdict before one more has room.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= OUTSTANDING_MAX
    }

    /// Counts the verdicts that are there, oldest first, up to the first that is not.
    pub(super) fn settle(&mut self, stats: &mut Stats) {
        while let Some(entry) = self.entries.front() {
            let Some(verdict) = entry.delivery.verdict() else { return };
            let start = if entry.is_timed { self.starts.pop_front() } else { None };
            match verdict {
                Ok(acknowledged) => {
                    let latency =
                        start.map(|start| acknowledged.at.saturating_duration_since(start));
                    stats.all.add(entry.bytes, latency);
                    stats.window.add(entry.bytes, latency);
                    if entry.is_steady {
                        stats.steady.add(entry.bytes, latency);
                    }
                }
                Err(error) => stats.fail(error.kind_name()),
            }
            self.entries.pop_front();
        }
    }

    /// Blocks until the oldest delivery has its verdict; false when there is none.
    pub(super) fn wait(&mut self) -> bool {
        let Some(entry) = self.entries.front_mut() else { return false };
        let mut context = Context::from_waker(&self.waker);
        while Pin::new(&mut entry.delivery).poll(&mut context).is_pending() {
            std::thread::park();
        }
        true
    }
}
