//! A log that a fault in a loop cannot flood.
//!
//! Bounds:   one line a second.
#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line through a second, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    missed: u64,
}

impl Throttle {
    /// Logs, if a second is over; `write` is told how many lines were left out before.
    pub(crate) fn log(&self, write: impl FnOnce(u64)) {
        if let Some(missed) = self.pass(clock::now()) {
            write(missed);
        }
    }

    fn pass(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.last.is_some_and(|last| now < last + INTERVAL) {
            lines.missed += 1;
            return None;
        }
        lines.last = Some(now);
        Some(std::mem::take(&mut lines.missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_counts_the_others() {
        let (throttle, start) = (Throttle::default(), clock::now());
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start), None);
        assert_eq!(throttle.pass(start + INTERVAL / 2), None);
        assert_eq!(throttle.pass(start + INTERVAL), Some(2));
        assert_eq!(throttle.pass(start + INTERVAL * 2), Some(0));
    }
}
