//! The `kuring` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kuring_tools::commands::{sink, sink_blast};

/// Tools for Kafka producers.
#[derive(Parser)]
#[command(name = "kuring", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sink(sink::SinkArgs),
    #[command(hide = true)]
    SinkBlast(sink_blast::SinkBlastArgs),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Sink(args) => sink::run(args),
        Command::SinkBlast(args) => sink_blast::run(&args),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("kuring: {error}");
        ExitCode::FAILURE
    })
}
