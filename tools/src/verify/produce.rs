//! The threads that send stamped records, and every record's verdict.
//!
//! Bounds:   `OUTSTANDING_MAX` records without a verdict in each thread.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use kuring::{Delivery, Producer, Record, SendError, Topic};

use super::judge::Verdict;
use super::murmur2::partition_of;
use super::stamp::{Stamp, topic_mark};
use super::{RECORDS_MAX, stamp};
use crate::clock::{now, wait_until};
use crate::commands::concerns_one_record;

const OUTSTANDING_MAX: usize = 32 * 1024;
/// Records refused one after the other, each after max.block.ms, before a thread gives up.
const REFUSED_MAX: u32 = 3;
/// How long a slow schedule may keep an interruption unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When enough was sent.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    /// So many records, of all threads together.
    Records(u64),
    /// After so long, or [`RECORDS_MAX`] records.
    After(Duration),
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// When to end.
    pub ending: Ending,
    /// Bytes of a value, at least [`stamp::STAMP_BYTES`].
    pub value_bytes: usize,
    /// Records a second; None for as many as possible.
    pub rate: Option<f64>,
    /// Keys are the numbers below this as text, in turn; None for records without keys.
    pub keys: Option<u64>,
    /// Threads that send.
    pub threads: u32,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Produced {
    /// By thread, in the order of its sequences.
    pub(super) verdicts: Vec<Vec<Verdict>>,
    /// Errors by their kind.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Why a thread ended before its time.
    pub(super) stopped_by: Option<SendError>,
}

/// Where a run's records go.
pub(super) struct Target<'a> {
    pub(super) producer: &'a Producer,
    pub(super) topic: &'a str,
    pub(super) partitions: i32,
    pub(super) run: u64,
}

/// Sends until the load's end or until `is_told_to_end`, and waits for every verdict.
pub(super) fn produce<'a>(
    target: &Target<'_>,
    load: &'a Load,
    is_told_to_end: &AtomicBool,
) -> Produced {
    let began = now();
    let senders: Vec<Sender<'a>> =
        (0..load.threads).map(|index| Sender::new(target, load, index, began)).collect();
    let mut produced = Produced::default();
    thread::scope(|scope| {
        let start = |mut sender: Sender<'a>| {
            scope.spawn(move || {
                sender.send_all(is_told_to_end);
                sender.settle_all();
                sender.produced
            })
        };
        // All are started before the first is waited for.
        let threads: Vec<_> = senders.into_iter().map(start).collect();
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            produced.add(ended);
        }
    });
    produced
}

impl Produced {
    fn add(&mut self, other: Self) {
        self.verdicts.extend(other.verdicts);
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.stopped_by = self.stopped_by.take().or(other.stopped_by);
    }
}

/// One thread.
struct Sender<'a> {
    load: &'a Load,
    topic: Topic,
    partitions: i32,
    stamp: Stamp,
    began: Instant,
    records_max: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    /// In the order of their sequences; what was refused keeps its place.
    outstanding: VecDeque<Result<Delivery, SendError>>,
    refused_in_a_row: u32,
    produced: Produced,
}

impl<'a> Sender<'a> {
    fn new(target: &Target<'_>, load: &'a Load, index: u32, began: Instant) -> Self {
        let all = match load.ending {
            Ending::Records(records) => records,
            Ending::After(_) => RECORDS_MAX,
        };
        let threads = u64::from(load.threads);
        let share = all / threads + u64::from(u64::from(index) < all % threads);
        Self {
            load,
            topic: target.producer.topic(target.topic),
            partitions: target.partitions,
            stamp: Stamp {
                run: target.run,
                thread: index,
                sequence: 0,
                meant_for: None,
                topic: topic_mark(target.topic),
            },
            began,
            records_max: share,
            key: Vec::new(),
            value: vec![0; load.value_bytes.max(stamp::STAMP_BYTES)],
            outstanding: VecDeque::with_capacity(OUTSTANDING_MAX),
            refused_in_a_row: 0,
            produced: Produced { verdicts: vec![Vec::new()], ..Produced::default() },
        }
    }

    fn send_all(&mut self, is_told_to_end: &AtomicBool) {
        for sequence in 0..self.records_max {
            if !self.wait_until_due(sequence, is_told_to_end) || self.is_over() {
                return;
            }
            self.send(sequence);
            while self.outstanding.len() == OUTSTANDING_MAX || self.is_oldest_done() {
                self.settle_one();
            }
            if self.produced.stopped_by.is_some() {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.load.ending, Ending::After(time) if now() >= self.began + time)
    }

    /// This thread's records are every n-th of the run's. False when told to end.
    fn wait_until_due(&self, sequence: u64, is_told_to_end: &AtomicBool) -> bool {
        if let Some(rate) = self.load.rate {
            let number = sequence * u64::from(self.load.threads) + u64::from(self.stamp.thread);
            let due = self.began + Duration::from_secs_f64(number as f64 / rate);
            while !is_told_to_end.load(Relaxed) && now() < due {
                if self.is_over() {
                    return false;
                }
                wait_until(due.min(now() + LOOK_EVERY));
            }
        }
        !is_told_to_end.load(Relaxed)
    }

    fn send(&mut self, sequence: u64) {
        self.stamp.sequence = sequence;
        let threads = u64::from(self.load.threads);
        let mut record = Record::new();
        let mut key = None;
        if let Some(keys) = self.load.keys {
            self.key.clear();
            let number = (sequence * threads + u64::from(self.stamp.thread)) % keys;
            write!(self.key, "{number}").expect("memory takes what is written");
            self.stamp.meant_for = Some(partition_of(&self.key, self.partitions));
            key = Some(&self.key[..]);
            record = record.key(&self.key);
        }
        self.stamp.write(key, &mut self.value);
        let sent = self.topic.blocking_send(record.value(&self.value));
        match &sent {
            Ok(_) => self.refused_in_a_row = 0,
            Err(error) if concerns_one_record(error) => {}
            Err(error) => {
                self.refused_in_a_row += 1;
                if self.refused_in_a_row == REFUSED_MAX || is_final(error) {
                    self.produced.stopped_by = Some(error.clone());
                }
            }
        }
        self.outstanding.push_back(sent);
    }

    fn is_oldest_done(&self) -> bool {
        match self.outstanding.front() {
            Some(Ok(delivery)) => delivery.is_done(),
            Some(Err(_)) => true,
            None => false,
        }
    }

    fn settle_all(&mut self) {
        while !self.outstanding.is_empty() {
            self.settle_one();
        }
    }

    /// Waits for the oldest record's verdict.
    fn settle_one(&mut self) {
        let Some(oldest) = self.outstanding.pop_front() else { return };
        let verdict = match oldest.and_then(Delivery::wait) {
            Ok(written) => {
                Verdict::Acknowledged { partition: written.partition, offset: written.offset }
            }
            Err(error) => {
                *self.produced.errors.entry(error.kind_name()).or_default() += 1;
                if error.possibly_written() {
                    Verdict::PossiblyWritten
                } else {
                    Verdict::NotWritten
                }
            }
        };
        self.produced.verdicts[0].push(verdict);
    }
}

/// No later record fares better.
fn is_final(error: &SendError) -> bool {
    matches!(
        error,
        SendError::Closed { .. }
            | SendError::Fatal { .. }
            | SendError::Denied { .. }
            | SendError::InvalidTopic { .. }
    )
}
