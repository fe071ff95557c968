//! What one run does: its mode, its records, the settings that every client shares.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As many records as the client takes; records per second and CPU per record.
    Throughput,
    /// One record outstanding, linger 0: the time from its send to its acknowledgement.
    Rtt,
    /// A fixed schedule; each latency runs from the moment the record should have been sent.
    OpenLoop,
    /// The same schedule; the time that the call of send itself takes.
    SendLatency,
}

impl Mode {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Rtt => "rtt",
            Self::OpenLoop => "open-loop",
            Self::SendLatency => "send-latency",
        }
    }
}

/// What one run does.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// The broker, host:port.
    #[arg(long, alias = "bootstrap-server")]
    pub bootstrap: String,
    /// What is measured.
    #[arg(long, value_enum, default_value_t = Mode::Throughput)]
    pub mode: Mode,
    /// Topic to send to; it must have --partitions partitions.
    #[arg(long, default_value = "compare")]
    pub topic: String,
    /// How many records, the warm-up included; without it 10 million (throughput) or 20,000 and
    /// the warm-up (rtt). Open loop and send latency have --rate and --duration instead.
    #[arg(long)]
    records: Option<u64>,
    /// How many of them are sent before the figures start; without it a tenth (throughput),
    /// 2,000 (rtt), one second of the schedule (open loop, send latency).
    #[arg(long)]
    warm_up: Option<u64>,
    /// Records a second of the schedule.
    #[arg(long, default_value_t = 100_000)]
    pub rate: u64,
    /// Seconds of the schedule, the warm-up not included.
    #[arg(long, default_value_t = 10)]
    pub duration: u64,
    /// Bytes of each record's value; there is no key.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// Cut the values from this file, in turn, instead of sending the same letters. Kuring,
    /// librdkafka and Java know this.
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Partitions of the topic. The wall sends one batch for each in every request.
    #[arg(long, default_value_t = 10)]
    pub partitions: u32,
    /// batch.size in bytes; without it the client's own default.
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// acks.
    #[arg(long, default_value = "all")]
    pub acks: String,
    /// linger.ms; without it 5 for throughput and 0 for the rest.
    #[arg(long)]
    linger: Option<u64>,
    /// Any other property of the client, KEY=VALUE; may be given several times.
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = key_value)]
    pub properties: Vec<(String, String)>,
    /// Pin the whole process to this CPU.
    #[arg(long)]
    pub cpu: Option<usize>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

impl Plan {
    /// Records before the figures start.
    pub fn warm_up(&self) -> u64 {
        self.warm_up.unwrap_or(match self.mode {
            Mode::Throughput => self.records() / 10,
            Mode::Rtt => 2_000,
            Mode::OpenLoop | Mode::SendLatency => self.rate,
        })
    }

    /// Records of the whole run.
    pub fn records(&self) -> u64 {
        match self.mode {
            Mode::Throughput => self.records.unwrap_or(10_000_000),
            Mode::Rtt => self.records.unwrap_or_else(|| 20_000 + self.warm_up()),
            Mode::OpenLoop | Mode::SendLatency => self.warm_up() + self.rate * self.duration,
        }
    }

    /// linger.ms.
    pub fn linger(&self) -> u64 {
        self.linger.unwrap_or(if self.mode == Mode::Throughput { 5 } else { 0 })
    }
}
