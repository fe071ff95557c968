//! `compare`: Kuring and other producers on one machine, in one minute, with the same records.
//!
//! A run is one process with one client, so that its CPU time is that client's alone. `matrix`
//! starts a null broker and the runs, interleaved, and prints medians and ratios.
//!
//! Never: a part of Kuring's workspace. Whoever builds Kuring builds no C.

mod arena;
mod chart;
mod contenders;
mod floor;
#[cfg(feature = "kuring")]
mod kuring_client;
mod librdkafka;
mod matrix;
mod null_broker;
#[cfg(feature = "kuring")]
mod partitioners;
mod real_kafka;
mod results;
mod run;
mod table;
mod wall;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use compare_measure::Outcome;

/// Kuring and other producers with the same records.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One client, one process, one line of JSON.
    Run(run::Options),
    /// All clients, interleaved, against a null broker or a real one; prints Markdown.
    Matrix(matrix::Options),
    /// Writes a folder's table and charts again from what was found before.
    Render {
        /// The folder that `matrix --out` wrote.
        folder: PathBuf,
    },
    /// The null broker of this harness, for when Kuring's own is not wanted.
    NullBroker(null_broker::Options),
    /// Whether Kuring puts keys where librdkafka does, by each of its partitioners.
    #[cfg(feature = "kuring")]
    Partitioners(partitioners::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(options) => run::print(&options),
        Command::Matrix(options) => matrix::print(&options),
        Command::Render { folder } => results::render(&folder),
        Command::NullBroker(options) => null_broker::serve(&options),
        #[cfg(feature = "kuring")]
        Command::Partitioners(options) => partitioners::print(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
