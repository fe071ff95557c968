//! The story of a run, for whoever replays one seed.
#![forbid(unsafe_code)]

use std::cell::Cell;

thread_local! {
    static IS_TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread tells what happens.
pub(crate) fn is_told() -> bool {
    IS_TOLD.get()
}

pub(crate) fn tell(is_told: bool) {
    IS_TOLD.set(is_told);
}

/// Tells what happens, with the virtual time, if a seed is being replayed.
#[macro_export]
macro_rules! trace {
    ($agenda:expr, $($text:tt)+) => {
        if $crate::trace::is_told() {
            println!("{:>14.6} {}", $agenda.now() as f64 / 1e9, format_args!($($text)+));
        }
    };
}
