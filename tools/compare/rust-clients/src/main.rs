//! Other producers written in Rust, one run each, with the command line and the report of
//! `compare run`.
//!
//! Tokio clients run on a current-thread runtime where the process may use one CPU, else on two
//! workers. Never: Kuring, whose build must not wait for theirs.

mod kacrab;
mod krafka;
mod paced;
mod rskafka;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use compare_measure::run::{self, Subject};
use compare_measure::{Outcome, Plan, Sender, cost};
use tokio::runtime::{Builder, Runtime};

/// Who sends the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Client {
    /// kacrab, with futures: its callbacks may be lost on several threads.
    Kacrab,
    /// krafka, by `enqueue`.
    Krafka,
    /// rskafka's `BatchProducer`.
    Rskafka,
    /// rskafka's `PartitionClient` with batches that the application makes.
    RskafkaBatches,
}

/// One client, one process, one line of JSON.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Who sends.
    #[arg(long, value_enum)]
    client: Client,
    #[command(flatten)]
    plan: Plan,
}

fn main() -> ExitCode {
    match carry_out(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rust-clients: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: &Arguments) -> Outcome<()> {
    let plan = &arguments.plan;
    if let Some(cpu) = plan.cpu {
        cost::pin(cpu)?;
    }
    let (runtime, threads) = runtime()?;
    let (mut sender, version, how): (Box<dyn Sender>, _, _) = match arguments.client {
        Client::Kacrab => (
            Box::new(kacrab::Kacrab::connect(plan, runtime)?),
            "0.4.0",
            format!("send, futures kept, batch.size {}", batch(plan)),
        ),
        Client::Krafka => (
            Box::new(krafka::Krafka::connect(plan, runtime)?),
            "0.28.1",
            format!("enqueue, handles kept, batch_size {}", batch(plan)),
        ),
        Client::Rskafka => (
            Box::new(rskafka::Batching::connect(plan, runtime)?),
            "0.6.0",
            format!("BatchProducer, RecordAggregator of {}; not idempotent", batch(plan)),
        ),
        Client::RskafkaBatches => (
            Box::new(rskafka::Batches::connect(plan, runtime)?),
            "0.6.0",
            format!("PartitionClient::produce, batches of {}; not idempotent", batch(plan)),
        ),
    };
    let name = arguments.client.to_possible_value().ok_or("a client without a name")?;
    let settings = format!("{how}, linger {} ms, {threads}", plan.linger());
    let subject = Subject { client: name.get_name().into(), version: version.into(), settings };
    run::report(plan, subject, sender.as_mut())
}

fn batch(plan: &Plan) -> String {
    plan.batch_size.map_or("default (16384)".into(), |bytes| bytes.to_string())
}

fn runtime() -> Outcome<(Runtime, &'static str)> {
    let one = std::thread::available_parallelism()?.get() == 1;
    let (mut builder, threads) = match one {
        true => (Builder::new_current_thread(), "current-thread runtime"),
        false => (Builder::new_multi_thread(), "2 workers"),
    };
    if !one {
        builder.worker_threads(2);
    }
    Ok((builder.enable_all().build()?, threads))
}

/// Bytes that the application lets a client hold: half of the usual buffer.memory, so that no
/// client has to wait, spin or refuse.
const OUTSTANDING_BYTES_MAX: usize = 16 << 20;

/// Records that the application lets a client hold.
fn outstanding_max(size: usize) -> usize {
    // What a record takes beside its value in a batch.
    (OUTSTANDING_BYTES_MAX / (size + 64)).max(1)
}
