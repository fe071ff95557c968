//! `kuring verify`: its flags, and its exit status.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use kuring::Settings;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::client::ClientArgs;
use super::parse_duration;
use crate::consume::TopicReader;
use crate::verify::{Ending, Load, Plan, RECORDS_MAX, report, run as verify, stamp};

const CLIENT_ID: &str = "kuring-verify";
const RECORDS: u64 = 100_000;
const KEYS: u64 = 1000;
/// How long the producer's last close may take; every verdict is there by then.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// Check that a cluster and settings lose, double, reorder and misroute nothing
///
/// Produces records that say which they are, collects the producer's verdict on each, reads the
/// topic from where it ended before, and prints a table: acknowledged, definitely not written and
/// possibly written records by how often they were found. Order is judged for each thread and
/// partition, keys are held against murmur2, offsets against what was told. Records of others may
/// arrive meanwhile; they are counted. Break what you like while it runs. Ctrl-C ends the sending;
/// what was sent is judged. The exit status is 0 when nothing is violated, and 1 otherwise or when
/// the producer could not go on.
///
/// Example: kuring verify --bootstrap-server localhost:9092 --topic check --duration 1m
/// --command-property acks=1 enable.idempotence=false
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct VerifyArgs {
    /// Topic to produce to and to read; it may have records already.
    #[arg(long)]
    topic: String,
    #[command(flatten)]
    client: ClientArgs,
    /// Records to send [default: 100000].
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "duration",
        value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX)
    )]
    records: Option<u64>,
    /// How long to send, instead of a number of records (ms, s, m).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Bytes of a record's value.
    #[arg(
        long,
        value_name = "B",
        default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(stamp::STAMP_BYTES as u64..=64 << 20)
    )]
    size: u64,
    /// Records a second, of all threads together; without it, as many as possible.
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Keys are the numbers from 0 to K-1 as text, in turn [default: 1000].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// No keys: the producer chooses the partitions.
    #[arg(long, conflicts_with = "keys")]
    unkeyed: bool,
    /// Sending threads.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    threads: u32,
    /// How long one question to the brokers may go unanswered when reading (ms, s, m).
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    patience: Duration,
    /// How long acknowledged records that are not there yet are waited for (ms, s, m).
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    settle: Duration,
    /// Write the result as JSON to this file; - is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // Slower ones would not fit a schedule's times.
        Ok(rate) if (1e-3..1e12).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?} is no number of records a second from 0.001 on")),
    }
}

/// Verifies, and says by its status whether nothing is violated.
///
/// # Errors
/// A setting, the topic cannot be read, the JSON file cannot be written.
pub fn run(args: &VerifyArgs) -> io::Result<ExitCode> {
    if !args.client.names_brokers()? {
        let missing = "no broker is named: give --bootstrap-server";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, missing));
    }
    let builder = args.client.builder(CLIENT_ID, None).map_err(io::Error::other)?;
    let settings = builder.settings().map_err(io::Error::other)?;
    let producer = builder.build().map_err(io::Error::other)?;
    let plan = args.plan(&settings);
    let is_told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the command.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_told_to_end))?;
        signal_hook::flag::register(signal, Arc::clone(&is_told_to_end))?;
    }
    let mut reader = TopicReader::open(&settings.bootstrap_servers, &args.topic, args.patience)?;
    let outcome = verify(&plan, &producer, &mut reader, &is_told_to_end);
    producer.close(CLOSE_WITHIN);
    let outcome = outcome?;
    let text = report::text(&plan, &outcome);
    let json = || format!("{:#}\n", report::json(&plan, &outcome));
    match &args.json {
        // One JSON value is all that there may be on standard output.
        Some(file) if file.as_os_str() == "-" => {
            io::stderr().write_all(text.as_bytes())?;
            io::stdout().write_all(json().as_bytes())?;
        }
        Some(file) => {
            io::stdout().write_all(text.as_bytes())?;
            std::fs::write(file, json()).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", file.display()))
            })?;
        }
        None => io::stdout().write_all(text.as_bytes())?,
    }
    // A run that could send next to nothing has shown nothing.
    let is_clean = outcome.judgement.is_clean() && outcome.stopped_by.is_none();
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl VerifyArgs {
    fn plan(&self, settings: &Settings) -> Plan {
        let records = Ending::Records(self.records.unwrap_or(RECORDS));
        Plan {
            topic: self.topic.clone(),
            load: Load {
                ending: self.duration.map_or(records, Ending::After),
                value_bytes: self.size as usize,
                rate: self.rate,
                keys: (!self.unkeyed).then(|| self.keys.unwrap_or(KEYS)),
                threads: self.threads,
            },
            settle: self.settle,
            keys_choose: keys_choose(settings),
        }
    }
}

/// Another partitioner puts keys elsewhere, and rightly so.
fn keys_choose(settings: &Settings) -> bool {
    let by_keys = ["partitioner.class", "partitioner.ignore.keys"];
    let effective = settings.effective();
    let mut of_keys = effective.iter().filter(|setting| by_keys.contains(&setting.name));
    of_keys.all(|setting| setting.is_default())
}
