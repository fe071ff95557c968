//! One run: one client in this process, a warm-up, then the records that count.
//!
//! The first tenth is sent and settled before the steady figures start, so they hold no
//! connection set-up, no first allocation and no backlog from before.

use std::fmt;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::cost::{self, Mark};
use crate::{librdkafka, wall};

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
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kuring => "kuring",
            Self::Librdkafka => "librdkafka",
            Self::Wall => "wall",
            Self::WallSend => "wall-send",
        })
    }
}

/// What one run does.
#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Who sends.
    #[arg(long, value_enum)]
    pub(crate) client: Client,
    /// The broker, host:port.
    #[arg(long, alias = "bootstrap-server")]
    pub(crate) bootstrap: String,
    /// Topic to send to; it must have --partitions partitions.
    #[arg(long, default_value = "compare")]
    pub(crate) topic: String,
    /// How many records, the warm-up's tenth included.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) records: u64,
    /// Bytes of each record's value; there is no key.
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    /// Partitions of the topic. The wall sends one batch for each in every request.
    #[arg(long, default_value_t = 10)]
    pub(crate) partitions: u32,
    /// batch.size in bytes; without it the client's own default.
    #[arg(long)]
    pub(crate) batch_size: Option<usize>,
    /// acks.
    #[arg(long, default_value = "all")]
    pub(crate) acks: String,
    /// linger.ms.
    #[arg(long, default_value_t = 5)]
    pub(crate) linger: u64,
    /// Any other property of the client, KEY=VALUE; may be given several times.
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) properties: Vec<(String, String)>,
    /// Kuring: keep every `Delivery` and look at its verdict, instead of dropping it.
    #[arg(long)]
    pub(crate) deliveries: bool,
    /// Pin the whole process to this CPU.
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

/// A client under measurement.
pub(crate) trait Sender {
    /// Hands over `count` records, waiting where the client makes its caller wait.
    fn send(&mut self, count: u64) -> Outcome<()>;
    /// Waits until every record so far has its verdict.
    fn settle(&mut self) -> Outcome<()>;
    /// Records acknowledged so far.
    fn acknowledged(&self) -> u64;
    /// Produce requests so far, if the client tells.
    fn requests(&self) -> Option<u64>;
}

/// What one run found; its JSON is the line it prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) client: String,
    /// The client's own word for its version, if it has one.
    pub(crate) version: String,
    pub(crate) size: usize,
    pub(crate) records: u64,
    pub(crate) acknowledged: u64,
    /// Of the steady part: the records after the warm-up's.
    pub(crate) seconds: f64,
    pub(crate) records_per_sec: f64,
    pub(crate) cpu_ns_per_record: f64,
    /// Of the whole process, its start and the warm-up included.
    pub(crate) cpu_ns_per_record_whole: f64,
    pub(crate) cpu_user_s: f64,
    pub(crate) cpu_system_s: f64,
    pub(crate) resident_bytes_max: u64,
    pub(crate) requests: Option<u64>,
}

/// Runs the plan and prints its one line.
pub(crate) fn print(plan: &Plan) -> Outcome<()> {
    if let Some(cpu) = plan.cpu {
        cost::pin(cpu)?;
    }
    let report = match plan.client {
        Client::Kuring => run_kuring(plan)?,
        Client::Librdkafka => {
            measure(plan, librdkafka::version(), &mut librdkafka::Librdkafka::connect(plan)?)?
        }
        Client::Wall => measure(plan, String::new(), &mut wall::Wall::connect(plan, true)?)?,
        Client::WallSend => measure(plan, String::new(), &mut wall::Wall::connect(plan, false)?)?,
    };
    println!("{}", serde_json::to_string(&report)?);
    if report.acknowledged < report.records {
        let missing = report.records - report.acknowledged;
        return Err(format!("{missing} records were not acknowledged").into());
    }
    Ok(())
}

#[cfg(feature = "kuring")]
fn run_kuring(plan: &Plan) -> Outcome<Report> {
    measure(plan, String::new(), &mut crate::kuring_client::Kuring::connect(plan)?)
}

#[cfg(not(feature = "kuring"))]
fn run_kuring(_: &Plan) -> Outcome<Report> {
    Err("built without the feature `kuring`".into())
}

fn measure(plan: &Plan, version: String, sender: &mut dyn Sender) -> Outcome<Report> {
    let warm_up = plan.records / 10;
    sender.send(warm_up)?;
    sender.settle()?;
    let before = sender.acknowledged();
    let mark = Mark::now();
    sender.send(plan.records - warm_up)?;
    sender.settle()?;
    let spent = mark.spent();
    let acknowledged = sender.acknowledged();
    let steady = (acknowledged - before).max(1) as f64;
    let (user, system) = cost::user_and_system()?;
    Ok(Report {
        client: plan.client.to_string(),
        version,
        size: plan.size,
        records: plan.records,
        acknowledged,
        seconds: spent.wall.as_secs_f64(),
        records_per_sec: steady / spent.wall.as_secs_f64(),
        cpu_ns_per_record: spent.cpu.as_nanos() as f64 / steady,
        cpu_ns_per_record_whole: cost::process_cpu().as_nanos() as f64 / acknowledged.max(1) as f64,
        cpu_user_s: user.as_secs_f64(),
        cpu_system_s: system.as_secs_f64(),
        resident_bytes_max: cost::resident_bytes_max()?,
        requests: sender.requests(),
    })
}

/// The value that every record carries: letters, not zeros, the same for each client.
pub(crate) fn value(size: usize) -> Vec<u8> {
    (0..size).map(|index| b'a' + (index % 26) as u8).collect()
}
