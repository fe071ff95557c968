//! The one home of the clocks. Everything else takes time as an argument.
//!
//! Deadlines use the monotonic clock; only record timestamps read the wall clock, and only its
//! coarse form: Kafka's timestamps are whole milliseconds, and the coarse clock costs a third of
//! the precise one (PERF.md).
#![forbid(unsafe_code)]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

#[cfg(feature = "simulation")]
pub mod simulated;

/// The monotonic clock.
pub fn now() -> Instant {
    #[cfg(feature = "simulation")]
    if let Some(nanos) = simulated::read() {
        return from_nanos(nanos);
    }
    real_now()
}

#[expect(clippy::disallowed_methods, reason = "this is the clock's one home")]
fn real_now() -> Instant {
    Instant::now()
}

/// The wall clock in milliseconds since 1970, at the resolution of the kernel's tick (1 to 10 ms).
#[inline]
pub fn wall_ms() -> i64 {
    #[cfg(feature = "simulation")]
    if let Some(ms) = simulated::read_wall_ms() {
        return ms;
    }
    let time = clock_gettime(ClockId::RealtimeCoarse);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// The process's own zero on the monotonic clock: atomics hold nanoseconds since then.
static START: LazyLock<Instant> = LazyLock::new(real_now);

/// Nanoseconds from the process's zero to `instant`; never 0, so that 0 can mean "none".
pub fn to_nanos(instant: Instant) -> u64 {
    let nanos = instant.saturating_duration_since(*START).as_nanos();
    u64::try_from(nanos).map_or(u64::MAX, |nanos| nanos.saturating_add(1))
}

/// The instant `nanos` after the process's zero: the inverse of [`to_nanos`].
pub fn from_nanos(nanos: u64) -> Instant {
    *START + Duration::from_nanos(nanos.saturating_sub(1))
}

/// [`now`] as nanoseconds since the process's zero.
pub fn now_nanos() -> u64 {
    to_nanos(now())
}
