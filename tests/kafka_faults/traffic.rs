//! Four threads that send stamped records at a steady pace, each in its own manner, and write down
//! every verdict and when it came.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kuring::{Delivery, ErrorCode, Producer, Record, SendError, Topic, TrySendError};

use crate::stamp::Stamp;
use crate::support::deadline::Deadline;

/// What became of one record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Acknowledged {
        partition: i32,
        offset: Option<i64>,
        at: Instant,
    },
    PossiblyWritten {
        kind: Kind,
    },
    /// Refused when it was sent, or failed later.
    NotWritten {
        kind: Kind,
    },
}

/// The error's kind, and what stood in the way where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) cause: Option<&'static str>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Some(cause) => write!(f, "{} ({cause})", self.name),
            None => f.write_str(self.name),
        }
    }
}

impl Outcome {
    fn failed(error: &SendError) -> Self {
        let cause = match error {
            SendError::TimedOut { cause, .. } | SendError::Unknown { cause, .. } => *cause,
            _ => None,
        };
        let kind = Kind { name: error.kind_name(), cause: cause.map(ErrorCode::name) };
        if error.possibly_written() {
            Self::PossiblyWritten { kind }
        } else {
            Self::NotWritten { kind }
        }
    }
}

/// By thread, by number.
pub(crate) type Outcomes = Vec<Vec<Outcome>>;

/// Running threads.
pub(crate) struct Traffic {
    senders: Vec<JoinHandle<Vec<Outcome>>>,
    progress: Arc<Progress>,
    producer: Producer,
}

impl Traffic {
    pub(crate) fn start(producer: &Producer, topic: &str, partitions: i32) -> Self {
        let progress = Arc::new(Progress::of(partitions));
        let senders = (0..THREADS)
            .map(|thread| {
                let sender = Sender {
                    topic: producer.topic(topic),
                    partitions,
                    thread,
                    waiting: VecDeque::new(),
                    outcomes: Vec::new(),
                    progress: Arc::clone(&progress),
                };
                thread::spawn(move || sender.run())
            })
            .collect();
        Self { senders, progress, producer: producer.clone() }
    }

    /// Waits until each partition has `count` more acknowledgements than now.
    ///
    /// # Panics
    /// When `deadline` passes before, with the producer's counters.
    pub(crate) fn await_more(&self, count: u64, deadline: Deadline) {
        let acknowledged =
            || self.progress.acknowledged.iter().map(|it| it.load(Ordering::Relaxed));
        let targets: Vec<u64> = acknowledged().map(|now| now + count).collect();
        while acknowledged().zip(&targets).any(|(now, target)| now < *target) {
            self.progress.wait(TICK);
            deadline.check(|| {
                let now: Vec<u64> = acknowledged().collect();
                let counters = self.producer.metrics();
                format!("{targets:?} acknowledgements, there are {now:?}: {counters:?}")
            });
        }
    }

    /// Stops sending and waits until every record has its verdict.
    ///
    /// # Panics
    /// When one has none by `deadline`.
    pub(crate) fn finish(mut self, deadline: Deadline) -> Outcomes {
        self.stop(deadline);
        let join = |sender: JoinHandle<_>| sender.join().expect("a sending thread panicked");
        mem::take(&mut self.senders).into_iter().map(join).collect()
    }

    fn stop(&self, deadline: Deadline) {
        self.progress.stopped.store(true, Ordering::Relaxed);
        *self.progress.last_moment.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // After a script's panic: nobody waits for the threads, and they end.
        if !self.senders.is_empty() {
            self.stop(Deadline::after(Duration::ZERO));
        }
    }
}

struct Progress {
    stopped: AtomicBool,
    acknowledged: Vec<AtomicU64>,
    last_moment: Mutex<Option<Deadline>>,
    tick: Condvar,
}

impl Progress {
    fn of(partitions: i32) -> Self {
        Self {
            stopped: AtomicBool::new(false),
            acknowledged: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            last_moment: Mutex::new(None),
            tick: Condvar::new(),
        }
    }

    /// Lets a moment pass.
    fn wait(&self, moment: Duration) {
        let guard = self.last_moment.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.tick.wait_timeout_while(guard, moment, |_| true));
    }

    fn check_last_moment(&self, what: impl FnOnce() -> String) {
        let deadline = *self.last_moment.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deadline) = deadline {
            deadline.check(what);
        }
    }
}

struct Sender {
    topic: Topic,
    partitions: i32,
    thread: usize,
    waiting: VecDeque<(u32, Delivery)>,
    outcomes: Vec<Option<Outcome>>,
    progress: Arc<Progress>,
}

impl Sender {
    fn run(mut self) -> Vec<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        while !self.progress.stopped.load(Ordering::Relaxed) {
            if self.waiting.len() < WINDOW {
                match self.thread % 4 {
                    0 => self.send_each(|topic, record| topic.blocking_send(record)),
                    1 => self.send_each(|topic, record| runtime.block_on(topic.send(record))),
                    2 => self.send_at_once(),
                    _ => self.send_each(try_send),
                }
            }
            self.progress.wait(TICK);
            self.collect();
        }
        while !self.waiting.is_empty() {
            self.progress.wait(TICK);
            self.collect();
            let count = self.waiting.len();
            self.progress.check_last_moment(|| format!("the verdicts of {count} records"));
        }
        self.outcomes.into_iter().map(|outcome| outcome.expect("resolved")).collect()
    }

    fn next(&mut self) -> Stamp {
        let number = u32::try_from(self.outcomes.len()).expect("a test is not that long");
        self.outcomes.push(None);
        Stamp { thread: self.thread, number }
    }

    fn send_each(&mut self, send: impl Fn(&Topic, Record<'_>) -> Result<Delivery, SendError>) {
        for _ in 0..BURST {
            let stamp = self.next();
            let (key, value) = (stamp.key(), stamp.value(self.topic.name(), self.partitions));
            let record = record(stamp, key.as_deref(), &value, self.partitions);
            let taken = send(&self.topic, record);
            self.enter(stamp, taken);
        }
    }

    /// A burst with one call. What was in front of a refused record is on its way.
    fn send_at_once(&mut self) {
        let stamps: Vec<Stamp> = (0..BURST).map(|_| self.next()).collect();
        let texts: Vec<_> = stamps
            .iter()
            .map(|stamp| (stamp.key(), stamp.value(self.topic.name(), self.partitions)))
            .collect();
        let records: Vec<Record<'_>> = stamps
            .iter()
            .zip(&texts)
            .map(|(stamp, (key, value))| record(*stamp, key.as_deref(), value, self.partitions))
            .collect();
        let mut deliveries = Vec::with_capacity(records.len());
        let taken = self.topic.blocking_send_batch(&records, &mut deliveries);
        let mut deliveries = deliveries.into_iter();
        for stamp in stamps {
            match (deliveries.next(), &taken) {
                (Some(delivery), _) => self.enter(stamp, Ok(delivery)),
                (None, Err(error)) => self.enter(stamp, Err(error.clone())),
                (None, Ok(())) => panic!("a batch was taken, but not {stamp:?}"),
            }
        }
    }

    fn enter(&mut self, stamp: Stamp, taken: Result<Delivery, SendError>) {
        match taken {
            Ok(delivery) => self.waiting.push_back((stamp.number, delivery)),
            Err(error) => {
                self.outcomes[stamp.number as usize] = Some(Outcome::failed(&error));
            }
        }
    }

    fn collect(&mut self) {
        let (progress, outcomes) = (&self.progress, &mut self.outcomes);
        self.waiting.retain(|(number, delivery)| {
            let Some(verdict) = delivery.verdict() else { return true };
            let outcome = match verdict {
                Ok(told) => {
                    let count = &progress.acknowledged[told.partition as usize];
                    count.fetch_add(1, Ordering::Relaxed);
                    let (partition, offset, at) = (told.partition, told.offset, told.at);
                    Outcome::Acknowledged { partition, offset, at }
                }
                Err(error) => Outcome::failed(&error),
            };
            outcomes[*number as usize] = Some(outcome);
            false
        });
    }
}

fn record<'a>(stamp: Stamp, key: Option<&'a str>, value: &'a [u8], partitions: i32) -> Record<'a> {
    let mut record = Record::new().value(value);
    if let Some(key) = key {
        record = record.key(key);
    }
    match stamp.partition(partitions) {
        Some(partition) => record.partition(partition),
        None => record,
    }
}

/// What is not taken now is not sent.
fn try_send(topic: &Topic, record: Record<'_>) -> Result<Delivery, SendError> {
    topic.try_send(record).map_err(|refused| match refused {
        TrySendError::Rejected(error) => error,
        TrySendError::Metadata => {
            let (topic, waited) = (Arc::clone(topic.name()), Duration::ZERO);
            SendError::Unknown { topic, partition: None, waited, cause: None }
        }
        TrySendError::Closed => SendError::Closed { possibly_written: false },
        _ => SendError::MemoryExhausted { waited: Duration::ZERO },
    })
}

pub(crate) const THREADS: usize = 4;
/// With a burst each tick, a thread sends some two thousand records per second.
const TICK: Duration = Duration::from_millis(10);
const BURST: usize = 20;
/// How many records of a thread may wait for their verdict.
const WINDOW: usize = 20_000;
