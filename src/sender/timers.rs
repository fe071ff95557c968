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
    /// The next question or push of telemetry.
    Telemetry,
}

/// How many deadlines of one owner are remembered: linger, retry, expiry.
const REMEMBERED: usize = 3;

/// The deadlines that are set for one owner, the earliest first. Kept by the owner.
///
/// A later one stays when an earlier one is set, and counts again once that has fired. Else each
/// linger would leave an expiry behind, and the heap would hold one for every batch of the last
/// `delivery.timeout.ms`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed([Option<Instant>; REMEMBERED]);

/// All deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    /// Makes sure that the owner is looked at no later than `at`. It may be looked at earlier.
    pub(super) fn arm(&mut self, armed: &mut Armed, timer: Timer, at: Instant) {
        if armed.0[0].is_none_or(|earlier| at < earlier) {
            // What falls off the end is in the heap and will not be known when it comes out.
            armed.0.rotate_right(1);
            armed.0[0] = Some(at);
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
    /// Whether the deadline that was popped is the one that counts; then the next one does.
    pub(super) fn fires(&mut self, at: Instant) -> bool {
        let fires = self.0[0] == Some(at);
        if fires {
            self.0[0] = None;
            self.0.rotate_left(1);
        }
        fires
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn lingers_under_a_long_expiry_leave_nothing_behind() {
        let (mut timers, mut armed, start) = (Timers::default(), Armed::default(), clock::now());
        let at = |ms| start + Duration::from_millis(ms);
        let due = |ms, timers: &mut Timers, armed: &mut Armed| {
            let mut fired = 0;
            while let Some((popped, timer)) = timers.pop(at(ms)) {
                assert_eq!(timer, Timer::Partition(7));
                fired += u32::from(armed.fires(popped));
            }
            fired
        };
        for batch in 0..1000 {
            assert_eq!(due(batch, &mut timers, &mut armed), u32::from(batch > 0));
            timers.arm(&mut armed, Timer::Partition(7), at(batch + 120_000));
            timers.arm(&mut armed, Timer::Partition(7), at(batch + 1));
            assert_eq!(timers.len(), 2);
        }
        // The first expiry stands for the later ones: whoever is looked at arms what it needs.
        assert_eq!(due(1000, &mut timers, &mut armed), 1);
        assert_eq!(timers.next(), Some(at(120_000)));
        timers.arm(&mut armed, Timer::Partition(7), at(125_000));
        assert_eq!(due(119_999, &mut timers, &mut armed), 0);
        assert_eq!(due(120_000, &mut timers, &mut armed), 1);
        timers.arm(&mut armed, Timer::Partition(7), at(125_000));
        assert_eq!(due(125_000, &mut timers, &mut armed), 1);
    }

    #[test]
    fn earlier_and_earlier_deadlines_all_fire_or_are_forgotten() {
        let (mut timers, mut armed, start) = (Timers::default(), Armed::default(), clock::now());
        for ms in (1..=10).rev() {
            timers.arm(&mut armed, Timer::Metadata, start + Duration::from_millis(ms));
        }
        let mut fired = Vec::new();
        while let Some((at, _)) = timers.pop(start + Duration::from_millis(10)) {
            fired.push(armed.fires(at));
        }
        assert_eq!(fired, [true, true, true, false, false, false, false, false, false, false]);
        timers.arm(&mut armed, Timer::Metadata, start);
        assert_eq!(timers.next(), Some(start), "nothing is armed any more");
    }
}
