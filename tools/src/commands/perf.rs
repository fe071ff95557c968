//! `kuring perf`: the producer benchmark, with the flags and lines of kafka-producer-perf-test.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use kuring::Producer;

use super::client::ClientArgs;
use super::parse_duration;
use crate::clock;
use crate::perf::{self, Keys, Payloads, Run};
use crate::sink::{Sink, SinkHandle, SinkOptions};

const CLIENT_ID: &str = "perf-producer-client";
const RECORD_BYTES: u64 = 100;
/// How long a broker that does not answer may hold the last close.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// Measure how fast records get acknowledged.
///
/// Without a broker it starts a null broker in its own process and produces to that for five
/// seconds.
#[derive(Debug, Args)]
pub struct PerfArgs {
    /// Topic to produce to.
    #[arg(long, default_value = "kuring-perf")]
    topic: String,
    /// Records to send; without it, --duration says when to end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    num_records: Option<u64>,
    /// How long to send when --num-records is not given (ms, s, m).
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// Bytes of a record's value, random upper-case letters [default: 100].
    #[arg(
        long,
        value_name = "B",
        conflicts_with = "payload_file",
        value_parser = clap::value_parser!(u64).range(1..=1 << 30)
    )]
    record_size: Option<u64>,
    /// File of values, picked at random.
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// Values are the numbers of the records, as text.
    #[arg(long, conflicts_with_all = ["payload_file", "record_size"])]
    payload_monotonic: bool,
    /// What separates the values of --payload-file; \n, \t and \0 are understood.
    #[arg(long, value_name = "D", default_value = "\\n")]
    payload_delimiter: String,
    /// Records per second, or -1 for as many as possible. With a rate, latency counts from when a
    /// record was meant to be sent.
    #[arg(
        long,
        value_name = "R",
        default_value = "-1",
        allow_negative_numbers = true,
        value_parser = parse_throughput
    )]
    throughput: Throughput,
    #[command(flatten)]
    client: ClientArgs,
    /// Keys are the integers from 0 to K-1 as text; see --key-distribution.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    record_key_range: Option<u64>,
    /// How the keys of --record-key-range are dealt: range is one after the other.
    #[arg(long, value_name = "HOW", default_value = "none")]
    key_distribution: KeyDistribution,
    /// Not in this version: it has no transactions.
    #[arg(long, value_name = "ID", hide = true)]
    transactional_id: Option<String>,
    /// Not in this version: it has no transactions.
    #[arg(long, value_name = "MS", hide = true)]
    transaction_duration_ms: Option<u64>,
    /// Print all metrics of the producer at the end.
    #[arg(long)]
    print_metrics: bool,
    /// Leave so many first records out of the steady state's summary.
    #[arg(long, value_name = "W", default_value_t = 0)]
    warmup_records: u64,
    /// Milliseconds between progress lines.
    #[arg(long, value_name = "MS", default_value_t = 5000,
        value_parser = clap::value_parser!(u64).range(1..))]
    reporting_interval: u64,
    /// Makes payloads repeatable.
    #[arg(long, value_name = "S", default_value_t = 0)]
    random_seed: u64,
    /// Send to one partition after the other, instead of where the producer chooses.
    #[arg(long)]
    round_robin: bool,
    /// Partitions of the built-in null broker's topic.
    #[arg(long, value_name = "N", default_value_t = 10)]
    partitions: usize,
    /// Brokers that the built-in null broker is.
    #[arg(long, value_name = "N", default_value_t = 1)]
    brokers: usize,
    /// Pin the built-in null broker to this CPU.
    #[arg(long, value_name = "C")]
    sink_cpu: Option<usize>,
    /// Sending threads.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// Write the result as JSON to this file; - is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with curves, brokers, settings and machine to this file (HTML, needs nothing
    /// else).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// No bar and no lines before the end.
    #[arg(long)]
    no_progress: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Throughput(Option<f64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyDistribution {
    /// No keys.
    None,
    /// One after the other.
    Range,
    /// Each as likely as any other; --random-seed makes it repeatable.
    Random,
}

fn parse_throughput(text: &str) -> Result<Throughput, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(Throughput(Some(rate))),
        Ok(-1.0) => Ok(Throughput(None)),
        Ok(0.0) => Err("0 would never send anything; -1 is unlimited".into()),
        _ => Err(format!("{text:?} is neither a rate above 0 nor -1")),
    }
}

/// Runs the benchmark; the exit status is 1 when any record failed.
///
/// # Errors
/// A setting, a file or the built-in broker's address.
pub fn run(args: &PerfArgs) -> io::Result<ExitCode> {
    if let Some(records) = args.num_records
        && args.warmup_records >= records
    {
        let records = args.warmup_records;
        return Err(wrong(&format!("--warmup-records {records} must be below --num-records")));
    }
    let keys = keys(args)?;
    if args.transactional_id.is_some() || args.transaction_duration_ms.is_some() {
        return Err(wrong(
            "--transactional-id and --transaction-duration-ms: this version has no \
                          transactions; leave them out",
        ));
    }
    let began = clock::wall();
    let payloads = payloads(args)?;
    let sink = if args.client.names_brokers()? { None } else { Some(start_sink(args)?) };
    let brokers = sink.as_ref().map(|sink| sink.address().to_string());
    let producer = args.client.producer(CLIENT_ID, brokers.as_deref()).map_err(io::Error::other)?;
    if args.warmup_records > 0 {
        println!(
            "Warming up with the first {} records; the steady state's summary follows the whole \
             run's.",
            args.warmup_records
        );
    }
    let outcome = perf::run(&Run {
        producer: &producer,
        topic: &args.topic,
        payloads,
        keys,
        records: args.num_records,
        duration: args.duration,
        throughput: args.throughput.0,
        round_robin: args.round_robin,
        threads: args.threads,
        warmup_records: args.warmup_records,
        reporting_interval: Duration::from_millis(args.reporting_interval),
        seed: args.random_seed,
        progress: !args.no_progress,
        timeline: args.report.is_some(),
        sink: sink.as_ref(),
    })?;
    println!("{}", outcome.summary());
    if args.print_metrics {
        print!("\n{}", metrics(&producer));
    }
    if let Some(path) = &args.json {
        write_json(path, &outcome.json())?;
    }
    if let Some(path) = &args.report {
        write_page(path, &outcome, &producer, began)?;
    }
    let failure = outcome.failure_text();
    if let Some(text) = &failure {
        eprintln!("kuring perf: {text}");
    }
    producer.close(CLOSE_WITHIN);
    Ok(if failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn keys(args: &PerfArgs) -> io::Result<Keys> {
    match (args.key_distribution, args.record_key_range) {
        (KeyDistribution::None, None) => Ok(Keys::None),
        (KeyDistribution::Range, Some(range)) => Ok(Keys::InTurn(range)),
        (KeyDistribution::Random, Some(range)) => Ok(Keys::AtRandom(range)),
        (_, None) => Err(wrong("--key-distribution: say how many keys with --record-key-range")),
        (KeyDistribution::None, Some(_)) => {
            Err(wrong("--record-key-range: say how with --key-distribution range or random"))
        }
    }
}

fn payloads(args: &PerfArgs) -> io::Result<Payloads> {
    if args.payload_monotonic {
        return Ok(Payloads::Monotonic);
    }
    match &args.payload_file {
        Some(file) => Payloads::from_file(file, &super::unescape(&args.payload_delimiter)),
        None => {
            let bytes = args.record_size.unwrap_or(RECORD_BYTES);
            let bytes = usize::try_from(bytes).expect("the flag's range ends at 1 GiB");
            Ok(Payloads::random(bytes, args.random_seed))
        }
    }
}

fn start_sink(args: &PerfArgs) -> io::Result<SinkHandle> {
    let sink = Sink::start(&SinkOptions {
        brokers: args.brokers,
        partitions: args.partitions,
        cpu: args.sink_cpu,
        ..SinkOptions::default()
    })?;
    eprintln!(
        "No broker was named: producing to the built-in null broker at {}, which acknowledges \
         everything and keeps nothing.",
        sink.address()
    );
    Ok(sink)
}

fn metrics(producer: &Producer) -> String {
    perf::metrics_table(&producer.metrics())
}

fn write_json(path: &Path, json: &str) -> io::Result<()> {
    if path.as_os_str() == "-" {
        print!("{json}");
        return Ok(());
    }
    write_file(path, json)
}

fn write_page(
    path: &Path,
    outcome: &perf::Outcome,
    producer: &Producer,
    began: Duration,
) -> io::Result<()> {
    let command: Vec<String> = std::env::args().collect();
    let page = perf::page::page(
        outcome,
        &perf::page::Context {
            command: &command,
            began: &humantime::format_rfc3339_seconds(UNIX_EPOCH + began).to_string(),
            settings: &producer.settings().effective(),
            nodes: &producer.metrics().nodes,
        },
    );
    write_file(path, &page)
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_a_rate_or_unlimited_and_never_zero() {
        assert_eq!(parse_throughput("-1"), Ok(Throughput(None)));
        assert_eq!(parse_throughput("0.5"), Ok(Throughput(Some(0.5))));
        assert!(parse_throughput("0").unwrap_err().contains("never send"));
        for wrong in ["-2", "NaN", "inf", "fast"] {
            assert!(parse_throughput(wrong).is_err(), "{wrong}");
        }
    }
}
