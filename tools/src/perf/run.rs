//! A run from its first record to its last verdict.
//!
//! Thread:   the caller's reports; the records come from threads named `kuring-perf-N`.
#![forbid(unsafe_code)]

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kuring::Producer;

use super::keys::{KeySource, Keys};
use super::outstanding::Outstanding;
use super::payload::Payloads;
use super::progress::{Goal, Progress};
use super::report::{Outcome, ProducerFigures};
use super::schedule::Schedule;
use super::stats::{Collector, Stats};
use super::timeline::{Point, Timeline};
use super::worker::{End, RoundRobin, Sent, SteadyFrom, Worker, lock};
use crate::allocations;
use crate::clock::now;
use crate::cpu::CpuTime;
use crate::sink::SinkHandle;

/// PRF-3: about so many latencies are enough, whatever the number of records.
const SAMPLES_TARGET: u64 = 500_000;
/// For a run by time, whose number of records nobody knows: a prime, so that it does not fall into
/// step with the batches.
const SAMPLE_EVERY_UNKNOWN: u64 = 61;

/// What to send, how fast, from how many threads.
#[derive(Debug)]
pub struct Run<'a> {
    /// Sends the records.
    pub producer: &'a Producer,
    /// Where they go.
    pub topic: &'a str,
    /// What they carry.
    pub payloads: Payloads,
    /// And under which keys.
    pub keys: Keys,
    /// How many; `None` means for `duration`.
    pub records: Option<u64>,
    /// For how long, unless `records` says when it ends.
    pub duration: Duration,
    /// Records per second; `None` is unlimited.
    pub throughput: Option<f64>,
    /// The records go to one partition after the other; the producer chooses otherwise.
    pub round_robin: bool,
    /// Sending threads, at least one.
    pub threads: u64,
    /// So many first records are left out of the steady state's summary.
    pub warmup_records: u64,
    /// Between progress lines.
    pub reporting_interval: Duration,
    /// Makes the choice of payloads repeatable.
    pub seed: u64,
    /// Whether to report while running.
    pub progress: bool,
    /// Whether to keep how the run goes over time.
    pub timeline: bool,
    /// The built-in broker, whose CPU time is not the client's.
    pub sink: Option<&'a SinkHandle>,
}

/// Sends everything and waits for every verdict.
///
/// # Errors
/// A thread cannot be started, or panicked.
pub fn run(run: &Run<'_>) -> io::Result<Outcome> {
    // Reporting is no part of what is measured.
    allocations::exclude_this_thread();
    let partitions = partitions(run)?;
    let cpu_before = client_cpu(run.sink);
    let start = now();
    let (finished, is_finished) = channel();
    let mut workers = Vec::new();
    let mut all_stats = Vec::new();
    for index in 0..run.threads {
        let stats = Arc::new(Mutex::new(Stats::new()));
        all_stats.push(Arc::clone(&stats));
        let mut worker = worker(run, index, start, stats);
        worker.round_robin = partitions.map(|count| {
            // The threads begin apart from each other.
            let next = index * u64::from(count.unsigned_abs()) / run.threads;
            RoundRobin { next: i32::try_from(next).unwrap_or(0), count }
        });
        let value_bytes = run.payloads.uniform_bytes().unwrap_or(0);
        workers.push(spawn(worker, value_bytes, run.producer, finished.clone())?);
    }
    drop(finished);
    let points = report_until_finished(run, &all_stats, start, &is_finished);
    let mut sent = Vec::new();
    for worker in workers {
        sent.push(worker.join().map_err(|_| io::Error::other("a sending thread panicked"))?);
    }
    let end = now();
    let cpu = client_cpu(run.sink) - cpu_before;
    let mut stats = Stats::new();
    all_stats.iter().for_each(|it| stats.merge(&lock(it)));
    let steady_since = sent.iter().filter_map(|it| it.steady_since).min();
    let stopped_by = sent.iter().find_map(|it| it.stopped_by.as_ref());
    Ok(Outcome {
        stats,
        elapsed: end - start,
        steady_elapsed: steady_since.map(|since| end.saturating_duration_since(since)),
        cpu,
        allocations_steady: sent.iter().filter_map(|it| it.allocations).max().unwrap_or(0),
        peak_rss_bytes: crate::cpu::peak_rss_bytes(),
        figures: figures(run.producer),
        points,
        stopped_by: stopped_by.map(ToString::to_string),
    })
}

/// How many partitions to go round.
fn partitions(run: &Run<'_>) -> io::Result<Option<i32>> {
    if !run.round_robin {
        return Ok(None);
    }
    let found = run.producer.blocking_partitions_for(run.topic).map_err(io::Error::other)?;
    Ok(Some(i32::try_from(found.len()).expect("partitions are counted in i32")))
}

fn worker(run: &Run<'_>, index: u64, start: Instant, stats: Arc<Mutex<Stats>>) -> Worker {
    let share = |count: u64| count / run.threads + u64::from(index < count % run.threads);
    let records = run.records.map(share);
    let sample_every = match run.records {
        Some(records) => (records / SAMPLES_TARGET).max(1),
        None => SAMPLE_EVERY_UNKNOWN,
    };
    Worker {
        topic: run.producer.topic(run.topic),
        values: run.payloads.source(index, run.threads, run.seed),
        keys: KeySource::new(run.keys, index, run.threads, run.seed.wrapping_add(index)),
        round_robin: None,
        end: records.map_or(End::At(start + run.duration), End::Records),
        schedule: run.throughput.map(|rate| Schedule::new(start, rate)),
        index,
        threads: run.threads,
        sample_every,
        until_sample: 0,
        warmup_records: share(run.warmup_records),
        steady_from: match records {
            Some(records) => SteadyFrom::Record(records / 10),
            None => SteadyFrom::At(start + run.duration / 5),
        },
        stats,
    }
}

fn spawn(
    mut worker: Worker,
    value_bytes: usize,
    producer: &Producer,
    finished: Sender<()>,
) -> io::Result<JoinHandle<Sent>> {
    let producer = producer.clone();
    let value_bytes = u32::try_from(value_bytes).unwrap_or(u32::MAX);
    let name = format!("kuring-perf-{}", worker.index);
    std::thread::Builder::new().name(name).spawn(move || {
        // Held until the thread ends, however it ends: that is what the reporter waits for.
        let _finished = finished;
        let mut outstanding = Outstanding::new(value_bytes, worker.threads);
        let sent = worker.send_all(&mut outstanding);
        producer.blocking_flush();
        worker.finish(&mut outstanding);
        sent
    })
}

/// Returns when every sending thread has ended; how it went over time, if that was asked for.
fn report_until_finished(
    run: &Run<'_>,
    all_stats: &[Arc<Mutex<Stats>>],
    start: Instant,
    is_finished: &Receiver<()>,
) -> Vec<Point> {
    let goal = run.records.map_or(Goal::Time(run.duration), Goal::Records);
    let progress = Progress::new(run.progress, goal, run.reporting_interval);
    let mut timeline = run.timeline.then(Timeline::new);
    let mut told = Collector::new();
    let mut told_at = start;
    let mut failed_before = 0;
    let mut is_steady = run.warmup_records == 0;
    loop {
        let until_report = (told_at + progress.every()).saturating_duration_since(now());
        let wait = timeline.as_ref().map_or(until_report, |it| it.stretch().min(until_report));
        let has_ended = is_finished.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
        let window = take_windows(all_stats);
        let at = now();
        if let Some(timeline) = &mut timeline {
            timeline.end_stretch(at - start, &window.counts, window.failed - failed_before);
            failed_before = window.failed;
        }
        if has_ended {
            break;
        }
        told.merge(&window.counts);
        if at >= told_at + progress.every() {
            progress.report(&told, window.settled, start, told_at);
            told.reset();
            told_at = at;
        }
        if !is_steady && window.settled >= run.warmup_records {
            is_steady = true;
            println!("The warm-up is over, the steady state begins.");
        }
    }
    progress.finish();
    timeline.map(Timeline::into_points).unwrap_or_default()
}

/// What all sending threads counted since it was last asked.
struct Window {
    counts: Collector,
    /// Records with a verdict, since the start.
    settled: u64,
    /// Those of them that failed.
    failed: u64,
}

fn take_windows(all_stats: &[Arc<Mutex<Stats>>]) -> Window {
    let mut window = Window { counts: Collector::new(), settled: 0, failed: 0 };
    for stats in all_stats {
        let mut stats = lock(stats);
        window.counts.merge(&stats.window);
        stats.window.reset();
        window.settled += stats.all.count + stats.failed();
        window.failed += stats.failed();
    }
    window
}

fn client_cpu(sink: Option<&SinkHandle>) -> CpuTime {
    let in_sink = sink.map_or_else(CpuTime::default, SinkHandle::cpu_time);
    CpuTime::of_process() - in_sink
}

fn figures(producer: &Producer) -> ProducerFigures {
    let metrics = producer.metrics();
    ProducerFigures {
        requests: metrics.requests,
        batches: metrics.batches,
        bytes_out: metrics.bytes_out,
        driver: metrics.driver.to_owned(),
        shards: metrics.shards,
    }
}
