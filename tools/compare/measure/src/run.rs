//! One run: one client in this process, a warm-up, then the records that count.
//!
//! The warm-up is sent and settled before the steady figures start, so they hold no connection
//! set-up, no first allocation and no backlog from before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::cost::{self, Mark, Spent};
use crate::latency::{Latencies, Percentiles};
use crate::pace::Schedule;
use crate::plan::{Mode, Plan};

/// A client under measurement.
pub trait Sender {
    /// Hands over `count` records, waiting where the client makes its caller wait.
    ///
    /// # Errors
    /// The client refused a record for good.
    fn send(&mut self, count: u64) -> Outcome<()>;

    /// Waits until every record so far has its verdict.
    ///
    /// # Errors
    /// The client cannot wait.
    fn settle(&mut self) -> Outcome<()>;

    /// Records acknowledged so far.
    fn acknowledged(&self) -> u64;

    /// Produce requests so far, if the client tells.
    fn requests(&self) -> Option<u64> {
        None
    }

    /// Sends one record and waits for its acknowledgement.
    ///
    /// # Errors
    /// It was not acknowledged, or the client has no such mode.
    fn round_trip(&mut self) -> Outcome<()> {
        Err("this client has no round-trip mode".into())
    }

    /// Sends by the schedule and notes each record's end when its verdict comes.
    ///
    /// # Errors
    /// The client refused a record, or has no such mode.
    fn open_loop(&mut self, _: Schedule, _: &Arc<Latencies>) -> Outcome<()> {
        Err("this client has no open-loop mode".into())
    }

    /// Sends by the schedule and notes how long each call took.
    ///
    /// # Errors
    /// The client refused a record, or has no such mode.
    fn time_sends(&mut self, _: Schedule, _: &Latencies) -> Outcome<()> {
        Err("this client has no send-latency mode".into())
    }
}

/// What one run found; its JSON is the line it prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which client.
    pub client: String,
    /// The client's own word for its version.
    pub version: String,
    /// How it was set and driven, in words.
    pub settings: String,
    /// What was measured.
    pub mode: Mode,
    /// Bytes of a record's value.
    pub size: usize,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Records sent, the warm-up's included.
    pub records: u64,
    /// Those of them that were acknowledged.
    pub acknowledged: u64,
    /// Of the steady part: the records after the warm-up's.
    pub seconds: f64,
    /// Of the steady part.
    pub records_per_sec: f64,
    /// Of the steady part.
    pub cpu_ns_per_record: f64,
    /// Of the whole process, its start and the warm-up included.
    pub cpu_ns_per_record_whole: f64,
    /// User time of the whole process.
    pub cpu_user_s: f64,
    /// System time of the whole process.
    pub cpu_system_s: f64,
    /// The most memory it had.
    pub resident_bytes_max: u64,
    /// Produce requests, if the client tells.
    pub requests: Option<u64>,
    /// In the modes that measure it.
    pub latency: Option<Percentiles>,
}

/// Who runs: what a report says about it.
pub struct Subject {
    /// Its name on the command line.
    pub client: String,
    /// Its version.
    pub version: String,
    /// How it is set and driven, in words.
    pub settings: String,
}

/// Carries the plan out and prints its one line.
///
/// # Errors
/// The client failed, or not every record was acknowledged; the line is printed even then.
pub fn report(plan: &Plan, subject: Subject, sender: &mut dyn Sender) -> Outcome<()> {
    let (spent, before, latency) = match plan.mode {
        Mode::Throughput => throughput(plan, sender)?,
        Mode::Rtt => round_trips(plan, sender)?,
        Mode::OpenLoop | Mode::SendLatency => scheduled(plan, sender)?,
    };
    let scheduled = matches!(plan.mode, Mode::OpenLoop | Mode::SendLatency);
    let acknowledged = sender.acknowledged();
    let steady = acknowledged.saturating_sub(before).max(1) as f64;
    let (user, system) = cost::user_and_system()?;
    let report = Report {
        client: subject.client,
        version: subject.version,
        settings: subject.settings,
        mode: plan.mode,
        size: plan.size,
        partitions: plan.partitions,
        records: plan.records() + u64::from(scheduled), // the one that opens the connection
        acknowledged,
        seconds: spent.wall.as_secs_f64(),
        records_per_sec: steady / spent.wall.as_secs_f64(),
        cpu_ns_per_record: spent.cpu.as_nanos() as f64 / steady,
        cpu_ns_per_record_whole: cost::process_cpu().as_nanos() as f64 / acknowledged.max(1) as f64,
        cpu_user_s: user.as_secs_f64(),
        cpu_system_s: system.as_secs_f64(),
        resident_bytes_max: cost::resident_bytes_max()?,
        requests: sender.requests(),
        latency,
    };
    println!("{}", serde_json::to_string(&report)?);
    match report.records.saturating_sub(report.acknowledged) {
        0 => Ok(()),
        missing => Err(format!("{missing} records were not acknowledged").into()),
    }
}

/// What was spent on the steady part, what was acknowledged before it, the latencies if measured.
type Steady = (Spent, u64, Option<Percentiles>);

fn throughput(plan: &Plan, sender: &mut dyn Sender) -> Outcome<Steady> {
    sender.send(plan.warm_up())?;
    sender.settle()?;
    let before = sender.acknowledged();
    let mark = Mark::now();
    sender.send(plan.records() - plan.warm_up())?;
    sender.settle()?;
    Ok((mark.spent(), before, None))
}

fn round_trips(plan: &Plan, sender: &mut dyn Sender) -> Outcome<Steady> {
    for _ in 0..plan.warm_up() {
        sender.round_trip()?;
    }
    let before = sender.acknowledged();
    let mark = Mark::now();
    let latencies = Latencies::since(cost::now_ns());
    for _ in plan.warm_up()..plan.records() {
        let began = cost::now_ns();
        sender.round_trip()?;
        latencies.ends(began);
    }
    let spent = mark.spent();
    sender.settle()?;
    Ok((spent, before, Some(latencies.percentiles(None))))
}

fn scheduled(plan: &Plan, sender: &mut dyn Sender) -> Outcome<Steady> {
    // Connections and metadata come before the schedule, which would run late for ever.
    sender.send(1)?;
    sender.settle()?;
    let before = sender.acknowledged();
    let mark = Mark::now();
    let schedule = Schedule::begin(plan);
    let latencies = Arc::new(Latencies::since(schedule.measured_from()));
    if plan.mode == Mode::OpenLoop {
        sender.open_loop(schedule, &latencies)?;
    } else {
        sender.time_sends(schedule, &latencies)?;
    }
    sender.settle()?;
    Ok((mark.spent(), before, Some(latencies.percentiles(Some(plan.rate)))))
}
