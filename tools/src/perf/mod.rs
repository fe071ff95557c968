//! The producer benchmark: what `kuring perf` does once its flags are read.
//!
//! A run is a few sending threads and one that reports. Each sending thread keeps its deliveries in
//! order, looks at their verdicts now and then, and takes the instant of each acknowledgement from
//! the verdict, where the sender's thread wrote it: looking late distorts nothing.
//!
//! Reading order: payload -> keys -> schedule -> stats -> outstanding -> worker -> report ->
//! progress -> timeline -> run -> page.
#![forbid(unsafe_code)]

mod keys;
mod outstanding;
pub mod page;
mod payload;
mod progress;
mod report;
mod run;
mod schedule;
mod stats;
mod timeline;
mod worker;

pub use keys::Keys;
pub use payload::Payloads;
pub(crate) use report::metrics_table;
pub use report::{Outcome, ProducerFigures};
pub use run::{Run, run};
