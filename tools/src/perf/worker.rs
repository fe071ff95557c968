//! One sending thread.
//!
//! Never:    allocates between the end of its warm-up and its last send.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kuring::{Record, SendError, Topic};

use super::outstanding::Outstanding;
use super::payload::Source;
use super::schedule::Schedule;
use super::stats::Stats;
use crate::allocations;
use crate::clock::now;
use crate::commands::concerns_one_record;

/// Records between two looks at the clock and at the verdicts.
const SETTLE_EVERY: u64 = 256;

/// When a thread has sent enough.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Records(u64),
    At(Instant),
}

pub(super) struct Worker {
    pub(super) topic: Topic,
    pub(super) values: Source,
    pub(super) end: End,
    pub(super) schedule: Option<Schedule>,
    /// This thread sends the records `index`, `index + threads`, ... of the run.
    pub(super) index: u64,
    pub(super) threads: u64,
    /// Every n-th record is timed (PRF-3); every one when there is a schedule.
    pub(super) sample_every: u64,
    /// This thread's share of the warm-up records (PRF-5).
    pub(super) warmup_records: u64,
    pub(super) steady_from: SteadyFrom,
    pub(super) stats: Arc<Mutex<Stats>>,
}

/// From when on allocations count as the steady state's.
#[derive(Debug, Clone, Copy)]
pub(super) enum SteadyFrom {
    Record(u64),
    At(Instant),
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
        let mut until_timed = 0;
        loop {
            if sent.records.is_multiple_of(SETTLE_EVERY) {
                self.settle(outstanding);
                if allocations_before.is_none() && self.is_past_warm_up(sent.records) {
                    allocations_before = Some(allocations::count());
                }
                if let End::At(end) = self.end
                    && now() >= end
                {
                    break;
                }
            }
            if let End::Records(records) = self.end
                && sent.records >= records
            {
                break;
            }
            let start = self.start_of(sent.records, &mut until_timed, outstanding);
            let is_steady = self.warmup_records > 0 && sent.records >= self.warmup_records;
            if is_steady && sent.steady_since.is_none() {
                sent.steady_since = Some(start.unwrap_or_else(now));
            }
            sent.records += 1;
            if let Err(error) = self.send(start, is_steady, outstanding)
                && !concerns_one_record(&error)
            {
                sent.stopped_by = Some(error);
                break;
            }
        }
        sent.allocations = allocations_before.map(|before| allocations::count() - before);
        sent
    }

    /// Waits for every verdict that is outstanding, and counts it.
    pub(super) fn finish(&mut self, outstanding: &mut Outstanding) {
        while outstanding.wait() {
            self.settle(outstanding);
        }
    }

    /// When the record starts, if it is timed; with a schedule, waits for that time.
    #[inline]
    fn start_of(
        &self,
        sent: u64,
        until_timed: &mut u64,
        outstanding: &mut Outstanding,
    ) -> Option<Instant> {
        if let Some(schedule) = &self.schedule {
            let intended = schedule.intended(sent * self.threads + self.index);
            if intended > now() {
                self.settle(outstanding);
                crate::clock::wait_until(intended);
            }
            return Some(intended);
        }
        if *until_timed == 0 {
            *until_timed = self.sample_every - 1;
            return Some(now());
        }
        *until_timed -= 1;
        None
    }

    #[inline]
    fn send(
        &mut self,
        start: Option<Instant>,
        is_steady: bool,
        outstanding: &mut Outstanding,
    ) -> Result<(), SendError> {
        if outstanding.is_full() {
            outstanding.wait();
            self.settle(outstanding);
        }
        let value = self.values.next();
        match self.topic.blocking_send(Record::new().value(value)) {
            Ok(delivery) => {
                let bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
                outstanding.push(delivery, bytes, start, is_steady);
                Ok(())
            }
            Err(error) => {
                lock(&self.stats).fail(error.kind_name());
                Err(error)
            }
        }
    }

    fn settle(&self, outstanding: &mut Outstanding) {
        outstanding.settle(&mut lock(&self.stats));
    }

    fn is_past_warm_up(&self, sent: u64) -> bool {
        match self.steady_from {
            SteadyFrom::Record(record) => sent >= record,
            SteadyFrom::At(instant) => now() >= instant,
        }
    }
}

/// Counting is all that happens under the lock, so a count that was cut short is no worse than
/// none.
pub(super) fn lock(stats: &Mutex<Stats>) -> std::sync::MutexGuard<'_, Stats> {
    stats.lock().unwrap_or_else(PoisonError::into_inner)
}
