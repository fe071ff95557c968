//! A whole run: where the topic ends, the records, everything behind that end, the judgement.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use kuring::Producer;

use super::judge::{Judge, Judgement, Place};
use super::produce::{Load, Produced, Target, produce};
use super::stamp::topic_mark;
use crate::clock::{now, wait_until, wall};
use crate::consume::TopicReader;

/// Between two looks for records that are still missing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is to be verified.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The topic.
    pub topic: String,
    /// What is sent.
    pub load: Load,
    /// How long acknowledged records that are not there yet are waited for, from the last time that
    /// anything came: with acks=0 or 1 an acknowledgement is ahead of what consumers see.
    pub settle: Duration,
    /// Whether the producer's settings make keys choose the partition as murmur2 does.
    pub keys_choose: bool,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The run's id, which its records carry.
    pub run: u64,
    /// Partitions, at the end.
    pub partitions: i32,
    /// How long producing took, all verdicts included.
    pub produced_in: Duration,
    /// How long reading took.
    pub read_in: Duration,
    /// Errors of records, by their kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Why a thread ended early.
    pub stopped_by: Option<String>,
    /// The judgement.
    pub judgement: Judgement,
}

/// Runs it; blocks until everything was read back. `is_told_to_end` ends the sending early; what
/// was sent until then is judged.
///
/// # Errors
/// The topic could not be read.
pub fn run(
    plan: &Plan,
    producer: &Producer,
    reader: &mut TopicReader,
    is_told_to_end: &AtomicBool,
) -> io::Result<Outcome> {
    let run = wall().as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(48);
    let starts = reader.ends()?;
    let partitions = starts.len() as i32;
    let target = Target { producer, topic: &plan.topic, partitions, run };
    let began = now();
    let produced = produce(&target, &plan.load, is_told_to_end);
    let sent = now();
    let Produced { verdicts, errors, stopped_by } = produced;
    // Partitions that came in the meantime change where keys belong.
    let ends = reader.ends()?;
    let judges_routing = plan.keys_choose && plan.load.keys.is_some() && ends.len() == starts.len();
    let mut judge = Judge::new(run, topic_mark(&plan.topic), verdicts, judges_routing);
    read_back(reader, starts, &mut judge, plan.settle)?;
    Ok(Outcome {
        run,
        partitions: reader.partitions(),
        produced_in: sent - began,
        read_in: now() - sent,
        errors,
        stopped_by: stopped_by.map(|error| error.to_string()),
        judgement: judge.conclude(),
    })
}

/// Reads from where the topic ended before the run, until nothing that was acknowledged is missing
/// or nothing has come for `settle`.
fn read_back(
    reader: &mut TopicReader,
    mut positions: Vec<i64>,
    judge: &mut Judge,
    settle: Duration,
) -> io::Result<()> {
    let mut last_found: Option<Instant> = None;
    loop {
        let ends = reader.ends()?;
        positions.resize(ends.len().max(positions.len()), 0);
        let mut has_found = false;
        for (partition, (position, end)) in (0..).zip(positions.iter_mut().zip(ends)) {
            if end > *position {
                reader.read(partition, *position, end, &mut |record| {
                    let at = Place { partition: record.partition, offset: record.offset };
                    judge.find(at, record.key, record.value);
                })?;
                *position = end;
                has_found = true;
            }
        }
        if judge.missing() == 0 {
            return Ok(());
        }
        match last_found {
            Some(last) if !has_found && now() >= last + settle => return Ok(()),
            Some(_) if !has_found => {}
            _ => last_found = Some(now()),
        }
        wait_until(now() + LOOK_EVERY);
    }
}
