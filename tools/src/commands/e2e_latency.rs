//! `kuring e2e-latency`: one record at a time, from the producer to a reader.
//!
//! Source:   `EndToEndLatency` of Apache Kafka's tools: its lines, and its arguments in both
//!           forms.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kuring::{Producer, Record, Settings};

use crate::clock::now;
use crate::consume::TopicReader;

const CLIENT_ID: &str = "kuring-e2e-latency";
const CLOSE_WITHIN: Duration = Duration::from_secs(30);
/// How long one record may take to be read.
const PATIENCE: Duration = Duration::from_secs(60);
const PRINT_EVERY: u64 = 1000;
/// Of the positional form; the last may be missing.
const POSITIONS: [&str; 6] = ["BROKERS", "TOPIC", "NUM_RECORDS", "ACKS", "SIZE", "FILE"];

/// Measure how long a record takes to the broker and back
///
/// Sends one record, waits for its acknowledgement, reads it back, and only then sends the next.
/// Prints every 1000th time in milliseconds, then the mean and the percentiles, as Kafka's own tool
/// does, and the percentiles once more in microseconds. The reader asks when the record is
/// acknowledged, so one more round trip is part of each time.
///
/// Example: kuring e2e-latency --bootstrap-server localhost:9092 --topic latency --num-records
/// 10000 --producer-acks 1 --record-size 100
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct E2eLatencyArgs {
    /// The same by position, as older scripts have it; FILE may be missing.
    #[arg(
        value_names = POSITIONS,
        num_args = 5..=6,
        conflicts_with_all = ["bootstrap_server", "topic", "num_records", "producer_acks",
            "record_size", "command_config"]
    )]
    positional: Vec<String>,
    /// Brokers to start from.
    #[arg(long, value_name = "HOST:PORT,...", required_unless_present = "positional")]
    bootstrap_server: Option<String>,
    /// Topic to produce to and to read.
    #[arg(long, required_unless_present = "positional")]
    topic: Option<String>,
    /// Records, one after the other.
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "positional",
        value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX)
    )]
    num_records: Option<u64>,
    /// Which replicas must have a record before it is read: 1, or all.
    #[arg(long, value_name = "ACKS", value_parser = ["1", "all", "-1"], default_value = "1",
        allow_negative_numbers = true)]
    producer_acks: String,
    /// Bytes of a record's value.
    #[arg(
        long,
        value_name = "B",
        required_unless_present = "positional",
        value_parser = clap::value_parser!(u64).range(1..=64 << 20)
    )]
    record_size: Option<u64>,
    /// A file of producer settings.
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
}

/// Eight bytes each.
const RECORDS_MAX: u64 = 100_000_000;

/// What is measured, whichever way it was told.
#[derive(Debug, PartialEq, Eq)]
struct Measurement {
    brokers: String,
    topic: String,
    records: u64,
    acks: String,
    value_bytes: usize,
    file: Option<PathBuf>,
}

/// Measures.
///
/// # Errors
/// An argument or a setting; a record that was not acknowledged, not found, or another one than was
/// sent.
pub fn run(args: &E2eLatencyArgs) -> io::Result<ExitCode> {
    let measurement = args.measurement()?;
    let (settings, producer) = measurement.producer()?;
    let measured = measurement.measure(&settings, &producer);
    producer.close(CLOSE_WITHIN);
    let mut out = io::stdout().lock();
    out.write_all(summary(measured?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl E2eLatencyArgs {
    fn measurement(&self) -> io::Result<Measurement> {
        if let [brokers, topic, records, acks, bytes, file @ ..] = &self.positional[..] {
            let number = |what: &str, text: &str, max: u64| match text.parse::<u64>() {
                Ok(number) if (1..=max).contains(&number) => Ok(number),
                _ => Err(invalid(format!("{what} is {text:?}, and not a number from 1 to {max}"))),
            };
            if !["1", "all", "-1"].contains(&acks.as_str()) {
                let text = format!("ACKS is {acks:?}: 1 and all are known, for the record is read");
                return Err(invalid(text));
            }
            return Ok(Measurement {
                brokers: brokers.clone(),
                topic: topic.clone(),
                records: number("NUM_RECORDS", records, RECORDS_MAX)?,
                acks: acks.clone(),
                value_bytes: number("SIZE", bytes, 64 << 20)? as usize,
                file: file.first().map(PathBuf::from),
            });
        }
        let missing = || invalid(format!("give the flags, or {}", POSITIONS.join(" ")));
        Ok(Measurement {
            brokers: self.bootstrap_server.clone().ok_or_else(missing)?,
            topic: self.topic.clone().ok_or_else(missing)?,
            records: self.num_records.ok_or_else(missing)?,
            acks: self.producer_acks.clone(),
            value_bytes: self.record_size.ok_or_else(missing)? as usize,
            file: self.command_config.clone(),
        })
    }
}

impl Measurement {
    /// Brokers, acks and a linger of 0 are the measurement's, all else is the file's.
    fn producer(&self) -> io::Result<(Settings, Producer)> {
        let mut builder = Producer::builder().client_id(CLIENT_ID);
        if let Some(file) = &self.file {
            builder = builder.properties_file(file).map_err(io::Error::other)?;
        }
        let builder = builder
            .bootstrap_servers(&self.brokers)
            .linger(Duration::ZERO)
            .property("acks", &self.acks)
            .map_err(io::Error::other)?;
        let settings = builder.settings().map_err(io::Error::other)?;
        Ok((settings, builder.build().map_err(io::Error::other)?))
    }

    /// The times, in the order in which they were taken.
    fn measure(&self, settings: &Settings, producer: &Producer) -> io::Result<Vec<Duration>> {
        let mut reader = TopicReader::open(&settings.bootstrap_servers, &self.topic, PATIENCE)?;
        let topic = producer.topic(&self.topic);
        let mut value = vec![0; self.value_bytes];
        let mut times = Vec::new();
        for number in 0..self.records {
            letters(&mut value, number);
            let began = now();
            let sent = topic.blocking_send(Record::new().value(&value));
            let written = sent.and_then(kuring::Delivery::wait).map_err(io::Error::other)?;
            let offset = written.offset.ok_or_else(|| io::Error::other("no offset was told"))?;
            let mut is_same = None;
            reader.read(written.partition, offset, offset + 1, &mut |found| {
                is_same = Some(found.value == Some(&value));
            })?;
            let time = now() - began;
            let place = format!("record {number}, partition {} offset {offset}", written.partition);
            match is_same {
                Some(true) => {}
                Some(false) => return Err(io::Error::other(format!("{place}: another was read"))),
                None => return Err(io::Error::other(format!("{place}: it is not there"))),
            }
            if number % PRINT_EVERY == 0 {
                println!("{number}\t{}", milliseconds(time));
            }
            times.push(time);
        }
        Ok(times)
    }
}

/// Capital letters that differ from record to record, as Java's tool sends.
fn letters(value: &mut [u8], number: u64) {
    let mut state = number;
    for letter in value {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *letter = b'A' + ((state >> 33) % 26) as u8;
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// Kafka's two lines, whose percentiles are whole milliseconds, and one in microseconds.
fn summary(mut times: Vec<Duration>) -> String {
    let mean = times.iter().sum::<Duration>().as_nanos() as f64 / 1e6 / times.len().max(1) as f64;
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place).or_else(|| times.last()).copied().unwrap_or_default()
    };
    let [p50, p99, p999] = [at(0.5), at(0.99), at(0.999)];
    let [least, most] = [at(0.0), at(1.0)];
    let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
    format!(
        "Avg latency: {mean:.4} ms\n\
         Percentiles: 50th = {}, 99th = {}, 99.9th = {}\n\
         In us: min = {:.1}, 50th = {:.1}, 99th = {:.1}, 99.9th = {:.1}, max = {:.1}\n",
        p50.as_millis(),
        p99.as_millis(),
        p999.as_millis(),
        micros(least),
        micros(p50),
        micros(p99),
        micros(p999),
        micros(most),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_java_s_lines_and_one_in_microseconds() {
        let times = (1..=1000).rev().map(|n| Duration::from_micros(n * 10)).collect();
        assert_eq!(
            summary(times),
            "Avg latency: 5.0050 ms\nPercentiles: 50th = 5, 99th = 9, 99.9th = 10\n\
             In us: min = 10.0, 50th = 5010.0, 99th = 9910.0, 99.9th = 10000.0, max = 10000.0\n"
        );
    }

    #[test]
    fn values_are_letters_and_differ() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        letters(&mut one, 1);
        letters(&mut two, 2);
        assert_ne!(one, two);
        assert!(one.iter().all(u8::is_ascii_uppercase));
    }
}
