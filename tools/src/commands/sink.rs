//! `kuring sink`: the null broker as a tool for anyone's client.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::parse_duration;
use crate::sink::{Sink, SinkOptions};

/// Run the null broker: it answers any Kafka producer, acknowledges everything, keeps nothing.
#[derive(Debug, Args)]
pub struct SinkArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    listen: String,
    /// Be so many brokers, on the same port of the addresses from --listen's on.
    #[arg(long, default_value_t = 1, value_name = "N")]
    brokers: usize,
    /// Partitions of every topic.
    #[arg(long, default_value_t = 10, value_name = "N")]
    partitions: usize,
    /// Pin the broker's thread to this CPU.
    #[arg(long, value_name = "C")]
    cpu: Option<usize>,
    /// Hold each answer to a produce request back for this long (ms, s, m).
    #[arg(long, default_value = "0ms", value_parser = parse_duration)]
    delay: Duration,
    /// Have one of the brokers hold its answers back for so long instead: its number from 1, and
    /// a time, as in 3:50ms.
    #[arg(long, value_name = "N:TIME", value_parser = parse_slow)]
    slow: Option<(usize, Duration)>,
    /// Check CRC, counts, lengths and sequences of every batch; exit status 1 if one was wrong.
    #[arg(long)]
    verify: bool,
    /// Answer a topic's first metadata request with "unknown", as a broker does that then makes
    /// the topic. Otherwise every topic is there already.
    #[arg(long)]
    topics_auto: bool,
}

fn parse_slow(text: &str) -> Result<(usize, Duration), String> {
    let (number, time) = text.split_once(':').ok_or("write N:TIME, as in 3:50ms")?;
    let number = number.parse().map_err(|_| format!("{number:?} is no number of a broker"))?;
    Ok((number, parse_duration(time)?))
}

/// Serves until SIGINT or SIGTERM, then prints the totals.
///
/// # Errors
/// The address or the CPU cannot be had.
pub fn run(args: SinkArgs) -> io::Result<ExitCode> {
    let (mut signalled, signal) = UnixStream::pair()?;
    for number in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(number, signal.try_clone()?)?;
    }
    let sink = Sink::start(&SinkOptions {
        listen: args.listen,
        brokers: args.brokers,
        partitions: args.partitions,
        cpu: args.cpu,
        delay: args.delay,
        slow: args.slow,
        verify: args.verify,
        topics_auto: args.topics_auto,
    })?;
    println!("listening on {}", sink.address());
    signalled.read_exact(&mut [0])?;
    let report = sink.stop()?;
    print!("{}", report.totals);
    println!(
        "cpu user {:.3} s, system {:.3} s",
        report.cpu.user.as_secs_f64(),
        report.cpu.system.as_secs_f64()
    );
    Ok(if report.totals.errors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
