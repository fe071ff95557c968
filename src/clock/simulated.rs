//! The clocks of a simulated thread: they stand still unless the simulator moves them, and may jump
//! between two readings.
#![forbid(unsafe_code)]

use std::cell::Cell;

/// What the clocks of this thread show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// The monotonic clock, in nanoseconds since the process's zero; at least 1.
    pub nanos: u64,
    /// The wall clock.
    pub wall_ms: i64,
    /// Every reading moves the monotonic clock by so much.
    pub step: u64,
    /// Readings until the jump; 0 when none is to come.
    pub jump_in: u32,
    /// How far the monotonic clock jumps then, as after a suspension.
    pub jump: u64,
}

thread_local! {
    static TIME: Cell<Option<Time>> = const { Cell::new(None) };
}

/// Sets the clocks of this thread; None gives it the real ones back.
pub fn set(time: Option<Time>) {
    TIME.set(time);
}

/// The clocks of this thread, if they are simulated. Moves nothing.
pub fn time() -> Option<Time> {
    TIME.get()
}

/// A reading of the monotonic clock.
pub(super) fn read() -> Option<u64> {
    let mut time = TIME.get()?;
    time.nanos += time.step;
    if time.jump_in > 0 {
        time.jump_in -= 1;
        if time.jump_in == 0 {
            time.nanos += time.jump;
        }
    }
    TIME.set(Some(time));
    Some(time.nanos)
}

/// A reading of the wall clock.
pub(super) fn read_wall_ms() -> Option<i64> {
    TIME.get().map(|time| time.wall_ms)
}

#[cfg(test)]
mod tests {
    use super::super::{now, now_nanos, to_nanos, wall_ms};
    use super::*;

    #[test]
    fn readings_move_the_clock_and_it_jumps_between_two_of_them() {
        let begin = Time { nanos: 1_000, wall_ms: 7, step: 10, jump_in: 2, jump: 5_000 };
        set(Some(begin));
        assert_eq!((now_nanos(), wall_ms()), (1_010, 7));
        assert_eq!((to_nanos(now()), now_nanos()), (6_020, 6_030));
        set(None);
        assert!(now_nanos() > 0 && wall_ms() > 7);
    }
}
