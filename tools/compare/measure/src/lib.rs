//! What one run is, what it costs and what it reports, the same for every client in Rust.
//!
//! A client implements [`Sender`]; [`run::report`] drives it through the plan's mode and prints
//! the one line of JSON that the programs in Java and Go print as well.
//!
//! Never: a client, or anything that knows one.

pub mod cost;
pub mod latency;
pub mod pace;
pub mod plan;
pub mod run;
mod values;

use std::error::Error;

pub use latency::{Latencies, Percentiles};
pub use pace::Schedule;
pub use plan::{Mode, Plan};
pub use run::{Report, Sender};
pub use values::Values;

/// What every fallible step here returns: the process prints it and ends.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The value that every record carries: letters, not zeros, the same for each client.
pub fn value(size: usize) -> Vec<u8> {
    (0..size).map(|index| b'a' + (index % 26) as u8).collect()
}
