//! `compare`: Kuring and librdkafka on one machine, in one minute, with the same records.
//!
//! A run is one process with one client, so that its CPU time is that client's alone. `matrix`
//! starts a null broker and the runs, interleaved, and prints medians and ratios.
//!
//! Never: a part of Kuring's workspace. Whoever builds Kuring builds no C.

mod cost;
#[cfg(feature = "kuring")]
mod kuring_client;
mod librdkafka;
mod matrix;
mod null_broker;
mod real_kafka;
mod run;
mod table;
mod wall;
mod wire;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What every fallible step here returns: the process prints it and ends.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Kuring and librdkafka with the same records.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One client, one process, one line of JSON.
    Run(run::Plan),
    /// All clients, interleaved, against a null broker or a real one; prints Markdown.
    Matrix(matrix::Options),
    /// The null broker of this harness, for when Kuring's own is not wanted.
    NullBroker(null_broker::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(plan) => run::print(&plan),
        Command::Matrix(options) => matrix::print(&options),
        Command::NullBroker(options) => null_broker::serve(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
