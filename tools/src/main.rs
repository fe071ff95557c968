//! The `kuring` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use kuring_tools::commands::{
    completions, config, doctor, e2e_latency, perf, produce, sink, sink_blast, verifiable_producer,
    verify,
};
use tracing_subscriber::EnvFilter;

/// Tools for Kafka producers.
#[derive(Parser)]
#[command(name = "kuring", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Completions(completions::CompletionsArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    E2eLatency(e2e_latency::E2eLatencyArgs),
    Man(completions::ManArgs),
    Perf(Box<perf::PerfArgs>),
    Produce(Box<produce::ProduceArgs>),
    Sink(sink::SinkArgs),
    #[command(hide = true)]
    SinkBlast(sink_blast::SinkBlastArgs),
    VerifiableProducer(verifiable_producer::VerifiableProducerArgs),
    Verify(Box<verify::VerifyArgs>),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // What the library warns of, these two say themselves.
    let silent = matches!(command, Command::Config(_) | Command::Doctor(_));
    let level = if silent { "error" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let ended = match command {
        Command::Completions(args) => completions::completions(&args, Cli::command()),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::E2eLatency(args) => e2e_latency::run(&args),
        Command::Man(args) => completions::man(&args, Cli::command()),
        Command::Perf(args) => perf::run(&args),
        Command::Produce(args) => produce::run(&args),
        Command::Sink(args) => sink::run(args),
        Command::SinkBlast(args) => sink_blast::run(&args),
        Command::VerifiableProducer(args) => verifiable_producer::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("kuring: {error}");
        ExitCode::FAILURE
    })
}
