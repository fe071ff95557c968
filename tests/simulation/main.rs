//! The deterministic simulator: whole producers against a model cluster, all from one seed.
//!
//! `cargo test --profile simulation --features simulation --test simulation` runs what CI runs.
//! Behind `--`: `--seed N` replays one seed and tells what happens; `--seeds N` or `--records N`
//! run longer; `--only A,B` leaves only these faults. `--help` lists everything.
//!
//! This target has no test harness: `main` reads a command line of its own. Tests of the model
//! cluster live in `cluster_works.rs`, a target with the usual harness.
#![forbid(unsafe_code)]

mod agenda;
mod checker;
#[allow(dead_code, reason = "the model's own tests use more of it than the simulator does")]
mod cluster;
mod command;
mod faults;
mod ledger;
mod network;
mod random;
mod report;
mod runs;
mod scenario;
mod stamp;
mod trace;
mod wiretap;
mod workload;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    match command::Command::read(std::env::args().skip(1)) {
        Ok(command) => runs::run(&command),
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}
