//! The one home of this crate's clock.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use rustix::thread::{NanosleepRelativeResult, nanosleep};
use rustix::time::Timespec;

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock's one home")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until `instant`. Sending at a given rate is a schedule: here time passing is the event.
pub fn wait_until(instant: Instant) {
    let mut left = instant.saturating_duration_since(now());
    while left > Duration::ZERO {
        let time = Timespec::try_from(left).expect("a schedule's step fits a timespec");
        match nanosleep(&time) {
            NanosleepRelativeResult::Interrupted(rest) => {
                left = Duration::try_from(rest).unwrap_or_default();
            }
            NanosleepRelativeResult::Ok | NanosleepRelativeResult::Err(_) => {
                left = Duration::ZERO;
            }
        }
    }
}

/// Wall-clock time since 1970: to be shown, and to decide nothing.
pub fn wall() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Duration::try_from(time).unwrap_or_default()
}
