//! One run of a client that this program holds: Kuring, librdkafka, the walls, the floors.
//!
//! Never: what is measured and how. That is `compare-measure`'s, the same for all.

use std::fmt;

use clap::{Args, ValueEnum};
use compare_measure::run::Subject;
use compare_measure::{Plan, cost, run};

use crate::Outcome;
use crate::floor::Floor;
use crate::librdkafka::{self, Librdkafka};
use crate::wall::Wall;

/// Who sends the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Kuring through a `Topic` handle.
    Kuring,
    /// librdkafka through rdkafka's `BaseProducer`.
    Librdkafka,
    /// One thread that encodes, checksums and writes requests, and nothing else.
    Wall,
    /// The same requests written again without encoding.
    WallSend,
    /// One prepared request at a time over a blocking socket (rtt only).
    FloorBlocking,
    /// The same, reading again and again instead of sleeping (rtt only).
    FloorBusy,
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kuring => "kuring",
            Self::Librdkafka => "librdkafka",
            Self::Wall => "wall",
            Self::WallSend => "wall-send",
            Self::FloorBlocking => "floor-blocking",
            Self::FloorBusy => "floor-busy",
        })
    }
}

/// A client and what it does.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Who sends.
    #[arg(long, value_enum)]
    client: Client,
    #[command(flatten)]
    plan: Plan,
    /// Kuring: keep every `Delivery` and look at its verdict, instead of dropping it.
    #[arg(long)]
    pub(crate) deliveries: bool,
}

/// Runs it and prints its one line.
pub(crate) fn print(options: &Options) -> Outcome<()> {
    let plan = &options.plan;
    if let Some(cpu) = plan.cpu {
        cost::pin(cpu)?;
    }
    let subject = |version: String, settings: &str| Subject {
        client: options.client.to_string(),
        version,
        settings: settings.into(),
    };
    match options.client {
        Client::Kuring => run_kuring(options),
        Client::Librdkafka => {
            let mut sender = Librdkafka::connect(plan)?;
            let subject = subject(librdkafka::version(), &librdkafka::settings(plan));
            run::report(plan, subject, &mut sender)
        }
        Client::Wall | Client::WallSend => {
            let encode = options.client == Client::Wall;
            let mut sender = Wall::connect(plan, encode)?;
            run::report(plan, subject(String::new(), "one thread, four requests"), &mut sender)
        }
        Client::FloorBlocking | Client::FloorBusy => {
            let busy = options.client == Client::FloorBusy;
            let mut sender = Floor::connect(plan, busy)?;
            run::report(plan, subject(String::new(), "one prepared request"), &mut sender)
        }
    }
}

#[cfg(feature = "kuring")]
fn run_kuring(options: &Options) -> Outcome<()> {
    let mut sender = crate::kuring_client::Kuring::connect(&options.plan, options.deliveries)?;
    run::report(&options.plan, crate::kuring_client::subject(options), &mut sender)
}

#[cfg(not(feature = "kuring"))]
fn run_kuring(_: &Options) -> Outcome<()> {
    Err("built without the feature `kuring`".into())
}

#[cfg(feature = "kuring")]
impl Options {
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }
}
