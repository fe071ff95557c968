//! `kuring sink-blast`: what the null broker can take, found by sending it one produce request
//! over and over.
//!
//! The request is made once, so the sender does nothing but system calls, and what it reaches is
//! the ceiling of sink and loopback together.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::parse_duration;
use crate::clock::now;
use crate::cpu::CpuTime;
use crate::sink::{Sink, SinkOptions};

/// A Produce 3 request in the plain form, with this topic.
const TOPIC: &[u8] = b"blast";
/// Requests sent before their answers are awaited, as a client with five in flight does.
const IN_FLIGHT: usize = 4;

/// Measure the ceiling of the null broker.
#[derive(Debug, Args)]
pub struct SinkBlastArgs {
    /// Batches in a request, each of another partition.
    #[arg(long, default_value_t = 10, value_name = "N")]
    batches: u16,
    /// Bytes of a batch.
    #[arg(long, default_value_t = 16384, value_name = "B")]
    batch_bytes: u32,
    /// How long to send (ms, s, m).
    #[arg(long, default_value = "3s", value_parser = parse_duration)]
    duration: Duration,
    /// Pin the sink to this CPU; pin the sender with taskset.
    #[arg(long, value_name = "C")]
    sink_cpu: Option<usize>,
    /// Let the sink check the batches (their records are wrong, which it then counts).
    #[arg(long)]
    verify: bool,
}

/// Sends for the given time and prints requests, bytes and CPU per request.
///
/// # Errors
/// Whatever the sockets say.
pub fn run(args: &SinkBlastArgs) -> io::Result<ExitCode> {
    let sink = Sink::start(&SinkOptions {
        partitions: args.batches.max(1).into(),
        cpu: args.sink_cpu,
        verify: args.verify,
        ..SinkOptions::default()
    })?;
    let request = produce_request(args.batches, args.batch_bytes);
    let mut stream = TcpStream::connect(sink.address())?;
    stream.set_nodelay(true)?;
    let sink_before = sink.cpu_time();
    let own_before = CpuTime::of_this_thread();
    let start = now();
    let mut requests = 0_u64;
    let mut answer = Vec::new();
    while start.elapsed() < args.duration {
        if requests >= IN_FLIGHT as u64 {
            read_answer(&mut stream, &mut answer)?;
        }
        stream.write_all(&request)?;
        requests += 1;
    }
    for _ in 0..requests.min(IN_FLIGHT as u64) {
        read_answer(&mut stream, &mut answer)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let own = CpuTime::of_this_thread() - own_before;
    let report = sink.stop()?;
    let in_sink = report.cpu - sink_before;
    let per_request = |time: CpuTime| time.total().as_secs_f64() * 1e6 / requests as f64;
    println!(
        "{requests} requests of {} bytes in {seconds:.3} s: {:.0} requests/s, {:.3} GB/s",
        request.len(),
        requests as f64 / seconds,
        report.totals.bytes as f64 / seconds / 1e9
    );
    println!(
        "CPU per request: sink {:.2} us ({:.0} % busy), sender {:.2} us",
        per_request(in_sink),
        in_sink.total().as_secs_f64() / seconds * 100.0,
        per_request(own)
    );
    print!("{}", report.totals);
    Ok(ExitCode::SUCCESS)
}

fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    answer.resize(u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(answer)
}

fn produce_request(batches: u16, batch_bytes: u32) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend_from_slice(&[0; 4]); // length, known below
    request.extend_from_slice(&[0, 0, 0, 3]); // Produce 3
    request.extend_from_slice(&[0, 0, 0, 1]); // correlation id
    request.extend_from_slice(&[0xff; 2]); // no client id
    request.extend_from_slice(&[0xff; 2]); // no transactional id
    request.extend_from_slice(&[0xff; 2]); // acks=all
    request.extend_from_slice(&30_000_i32.to_be_bytes());
    request.extend_from_slice(&[0, 0, 0, 1, 0, 5]); // one topic
    request.extend_from_slice(TOPIC);
    request.extend_from_slice(&u32::from(batches).to_be_bytes());
    let mut batch = vec![0x55; batch_bytes.max(61) as usize];
    let length = u32::try_from(batch.len() - 12).expect("it was a u32");
    batch[..8].fill(0);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2; // magic
    batch[57..61].copy_from_slice(&(length / 110 + 1).to_be_bytes());
    for partition in 0..u32::from(batches) {
        request.extend_from_slice(&partition.to_be_bytes());
        request.extend_from_slice(&(length + 12).to_be_bytes());
        request.extend_from_slice(&batch);
    }
    let length = u32::try_from(request.len() - 4).expect("batches of a u16, bytes of a frame");
    request[..4].copy_from_slice(&length.to_be_bytes());
    request
}
