//! The deadlines of one shard: a heap with lazy removal, O(active), no ticks.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A partition: linger, backoff or expiry.
    Partition(u32),
    /// A node: connect, request, throttle, reconnect or idle limit.
    Node(u32),
    /// The metadata.
    Metadata,
    /// The producer id.
    Identity,
}

/// The earliest deadline that is set for one owner. Kept by the owner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed(Option<Instant>);

/// All deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    /// Makes sure that the owner is looked at no later than `at`. It may be looked at earlier.
    pub(super) fn arm(&mut self, armed: &mut Armed, timer: Timer, at: Instant) {
        if armed.0.is_none_or(|earlier| at < earlier) {
            armed.0 = Some(at);
            self.heap.push(Reverse((at, timer)));
        }
    }

    /// How many deadlines are set, superseded ones included.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A deadline that has passed.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        let at = self.next()?;
        if at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

impl Armed {
    /// Whether the deadline that was popped is the one that counts; then none is armed any more.
    pub(super) fn fires(&mut self, at: Instant) -> bool {
        let fires = self.0 == Some(at);
        if fires {
            self.0 = None;
        }
        fires
    }
}
