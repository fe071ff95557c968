//! The one home of the clocks. Everything else takes time as an argument.
//!
//! Deadlines use the monotonic clock; only record timestamps read the wall clock, and only its
//! coarse form: Kafka's timestamps are whole milliseconds, and the coarse clock costs a third of
//! the precise one (PERF.md).
#![forbid(unsafe_code)]

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock's one home")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock in milliseconds since 1970, at the resolution of the kernel's tick (1 to 10 ms).
#[inline]
pub fn wall_ms() -> i64 {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}
