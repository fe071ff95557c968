//! `kuring verify`: produces records that say which they are, reads them back, and holds what is
//! there against the verdicts that the producer gave.
//!
//! Bounds:   `RECORDS_MAX` records a run, 32 bytes each until the end; `OUTSTANDING_MAX` deliveries
//!           a thread.
//!
//! Reading order: stamp -> judge -> produce -> run -> report.
#![forbid(unsafe_code)]

pub mod judge;
mod murmur2;
mod produce;
pub mod report;
mod run;
pub mod stamp;

pub use produce::{Ending, Load};
pub use run::{Outcome, Plan, run};

/// What a run can remember, about 3 GB.
pub const RECORDS_MAX: u64 = 100_000_000;
