//! One sending thread.
//!
//! Never:    allocates between the end of its warm-up and its last send.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kuring::{Record, SendError, Topic};

use super::keys::KeySource;
use super::outstanding::{CHUNK_RECORDS, Chunk, Outstanding};
use super::payload::Source;
use super::schedule::Schedule;
use super::stats::Stats;
use crate::allocations;
use crate::clock::{now, wait_until};
use crate::commands::concerns_one_record;

/// When a thread has sent enough.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Records(u64),
    At(Instant),
}

/// From when on allocations count as the steady state's.
#[derive(Debug, Clone, Copy)]
pub(super) enum SteadyFrom {
    Record(u64),
    At(Instant),
}

pub(super) struct Worker {
    pub(super) topic: Topic,
    pub(super) values: Source,
    pub(super) keys: KeySource,
    /// The partitions that the records go round; None leaves the choice to the producer.
    pub(super) round_robin: Option<RoundRobin>,
    pub(super) end: End,
    pub(super) schedule: Option<Schedule>,
    /// This thread sends the records `index`, `index + threads`, ... of the run.
    pub(super) index: u64,
    pub(super) threads: u64,
    /// Every n-th record is timed (PRF-3); every one when there is a schedule.
    pub(super) sample_every: u64,
    pub(super) until_sample: u64,
    /// This thread's share of the warm-up records (PRF-5).
    pub(super) warmup_records: u64,
    pub(super) steady_from: SteadyFrom,
    pub(super) stats: Arc<Mutex<Stats>>,
}

/// One partition after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundRobin {
    pub(super) next: i32,
    pub(super) count: i32,
}

impl RoundRobin {
    fn next(&mut self) -> i32 {
        let partition = self.next;
        self.next = if partition + 1 < self.count { partition + 1 } else { 0 };
        partition
    }
}

/// What a thread tells at its end, besides its stats.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    /// Records it tried to send.
    pub(super) records: u64,
    /// When it sent its first record behind the warm-up.
    pub(super) steady_since: Option<Instant>,
    /// Allocations of all sending and sender threads in its steady state.
    pub(super) allocations: Option<u64>,
    /// Why it stopped before its end.
    pub(super) stopped_by: Option<SendError>,
}

impl Worker {
    /// Sends everything; the verdicts may still be outstanding.
    pub(super) fn send_all(&mut self, outstanding: &mut Outstanding) -> Sent {
        let mut sent = Sent::default();
        let mut allocations_before = None;
        loop {
            let records = self.records_before_the_next_look(sent.records);
            if records == 0 {
                break;
            }
            if allocations_before.is_none() && self.is_past_warm_up(sent.records) {
                allocations_before = Some(allocations::count());
            }
            let is_steady = self.warmup_records > 0 && sent.records >= self.warmup_records;
            if is_steady && sent.steady_since.is_none() {
                sent.steady_since = Some(now());
            }
            let Some(mut chunk) = outstanding.open(is_steady) else {
                outstanding.wait();
                outstanding.settle(&mut lock(&self.stats));
                continue;
            };
            let filled = self.fill(&mut chunk, records, &mut sent.records);
            outstanding.close(chunk);
            outstanding.settle(&mut lock(&self.stats));
            if let Err(error) = filled {
                sent.stopped_by = Some(error);
                break;
            }
        }
        sent.allocations = allocations_before.map(|before| allocations::count() - before);
        sent
    }

    /// Waits for every verdict that is outstanding, and counts it.
    pub(super) fn finish(&self, outstanding: &mut Outstanding) {
        while outstanding.wait() {
            outstanding.settle(&mut lock(&self.stats));
        }
    }

    /// Up to a chunk; never across the end of the warm-up; 0 at the end.
    fn records_before_the_next_look(&self, sent: u64) -> u64 {
        let left = match self.end {
            End::Records(records) => records - sent,
            End::At(end) if now() >= end => 0,
            End::At(_) => u64::MAX,
        };
        let left_to_warm_up = self.warmup_records.saturating_sub(sent);
        let left = if left_to_warm_up > 0 { left.min(left_to_warm_up) } else { left };
        left.min(CHUNK_RECORDS as u64)
    }

    fn is_past_warm_up(&self, sent: u64) -> bool {
        match self.steady_from {
            SteadyFrom::Record(record) => sent >= record,
            SteadyFrom::At(instant) => now() >= instant,
        }
    }

    /// Sends up to `records`; with a schedule, those that are due by the time the first one is.
    fn fill(&mut self, chunk: &mut Chunk, records: u64, sent: &mut u64) -> Result<(), SendError> {
        let mut due = None;
        for _ in 0..records {
            if let Some(schedule) = &self.schedule {
                let intended = schedule.intended(*sent * self.threads + self.index);
                match due {
                    None => {
                        wait_until(intended);
                        due = Some(now());
                    }
                    // Verdicts are looked at while waiting for the next ones, not before it.
                    Some(due) if intended > due => return Ok(()),
                    Some(_) => {}
                }
                chunk.time_next(intended);
            } else if self.until_sample == 0 {
                self.until_sample = self.sample_every - 1;
                chunk.time_next(now());
            } else {
                self.until_sample -= 1;
            }
            *sent += 1;
            self.send(chunk)?;
        }
        Ok(())
    }

    /// Fails only when further records would not do better.
    #[inline]
    fn send(&mut self, chunk: &mut Chunk) -> Result<(), SendError> {
        let is_uniform = self.values.is_uniform();
        let value = self.values.next();
        let mut record = Record::new().value(value);
        if let Some(key) = self.keys.next() {
            record = record.key(key);
        }
        if let Some(round_robin) = &mut self.round_robin {
            record = record.partition(round_robin.next());
        }
        match self.topic.blocking_send(record) {
            Ok(delivery) => {
                chunk.push(delivery);
                if !is_uniform {
                    chunk.push_bytes(u32::try_from(value.len()).unwrap_or(u32::MAX));
                }
                Ok(())
            }
            Err(error) => {
                chunk.forget_next();
                lock(&self.stats).fail(error.kind_name());
                if concerns_one_record(&error) { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// Counting is all that happens under the lock, so a count that was cut short is no worse than
/// none.
pub(super) fn lock(stats: &Mutex<Stats>) -> MutexGuard<'_, Stats> {
    stats.lock().unwrap_or_else(PoisonError::into_inner)
}
