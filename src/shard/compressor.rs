//! What compresses a shard's batches: a thread of its own, away from the I/O.
//!
//! Owns:     the thread, its codecs' contexts, the jobs that are with it.
//! Thread:   the shard's, except for the work itself.
//! Bounds:   [`JOBS_MAX`] jobs.
//! Never:    starts before a batch is to be compressed; makes the shard wait, but for the job that
//!           is being worked on when it ends.
//!
//! A batch costs from some microseconds (lz4, 16 KiB) to many milliseconds (zstd at a high level, 1
//! MiB), in which a shard would serve none of its connections. An embedded shard has no thread and
//! no wake-up, so there it is done at once, in its turn.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::accumulator::Accumulator;
use crate::clock;
use crate::config::unpin_current_thread;
use crate::protocol::compression::Encoder;
use crate::sender::compress::{JOBS_MAX, Job};

/// Done jobs that are worth a turn of the shard while there is more to compress: a turn for each
/// costs a fast codec as much as its work (PERF.md).
const TOGETHER: usize = JOBS_MAX / 2;
/// Where the codec is slow, each is told at once: this much later at most, and the job after it.
const UNTOLD_MAX: Duration = Duration::from_micros(200);

/// Who compresses.
#[derive(Debug)]
pub(crate) enum Compressor {
    /// A thread, once there is something to do.
    Thread {
        number: usize,
        accumulator: Arc<Accumulator>,
        worker: Option<Worker>,
        /// A test wants the thread not to start.
        is_refused: bool,
    },
    /// Whoever runs the shard, at once.
    Inline(Box<Encoder>),
    /// Nobody, until the simulator says so.
    #[cfg(feature = "simulation")]
    Held(Held),
}

impl Compressor {
    /// A thread for the shard with this number.
    pub(super) fn threaded(number: usize, accumulator: &Arc<Accumulator>) -> Self {
        let accumulator = Arc::clone(accumulator);
        Self::Thread { number, accumulator, worker: None, is_refused: false }
    }

    /// No thread.
    pub(super) fn inline() -> Self {
        Self::Inline(Box::default())
    }

    /// Whether there is no thread beside the shard's.
    pub(super) fn is_inline(&self) -> bool {
        matches!(self, Self::Inline(_))
    }

    /// Takes a job; returns it if it is done already.
    pub(super) fn give(&mut self, job: Job) -> Option<Job> {
        match self {
            Self::Inline(encoder) => Some(run(job, encoder)),
            #[cfg(feature = "simulation")]
            Self::Held(held) => {
                held.jobs.push_back(job);
                None
            }
            Self::Thread { worker: Some(worker), .. } => {
                worker.give(job);
                None
            }
            Self::Thread { number, accumulator, worker, is_refused } => {
                let started = match is_refused {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Worker::start(*number, Arc::clone(accumulator)),
                };
                match started {
                    Ok(started) => worker.insert(started).give(job),
                    Err(error) => {
                        tracing::warn!(shard = *number, %error, "no thread to compress on: the \
                            sender thread does it, and everything else waits meanwhile");
                        *self = Self::inline();
                        return self.give(job);
                    }
                }
                None
            }
        }
    }

    /// The thread, where it does not run yet, will not start.
    pub(super) fn refuse_thread(&mut self) {
        if let Self::Thread { is_refused, .. } = self {
            *is_refused = true;
        }
    }

    /// Hands out the jobs that are done.
    pub(super) fn take_done(&mut self, take: impl FnMut(Job)) {
        match self {
            Self::Thread { worker: Some(worker), .. } => worker.take_done(take),
            #[cfg(feature = "simulation")]
            Self::Held(held) if !held.done.is_empty() => held.done.drain(..).for_each(take),
            #[cfg(feature = "simulation")]
            Self::Held(_) => {}
            Self::Thread { worker: None, .. } | Self::Inline(_) => {}
        }
    }
}

/// Runs a job. A codec that panics loses its contexts, and the batch goes as it is.
fn run(mut job: Job, encoder: &mut Encoder) -> Job {
    if catch_unwind(AssertUnwindSafe(|| job.run(encoder))).is_err() {
        *encoder = Encoder::default();
        job.give_up();
    }
    job
}

/// A compressor's thread, which ends with this.
#[derive(Debug)]
pub(crate) struct Worker {
    desk: Arc<Desk>,
    /// Spare memory for what was done.
    done: VecDeque<Job>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Desk {
    jobs: Mutex<Jobs>,
    /// There is a job, or no more.
    given: Condvar,
}

#[derive(Debug)]
struct Jobs {
    waiting: VecDeque<Job>,
    done: VecDeque<Job>,
    closed: bool,
}

impl Desk {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; None when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            jobs = self.given.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Desk {
    /// Puts a job with those that are done. Whether the shard is to be told at once: nothing else
    /// waits, whose end could tell it, or there are enough for a turn.
    fn bring(&self, done: Job) -> bool {
        let mut jobs = self.jobs();
        jobs.done.push_back(done);
        jobs.waiting.is_empty() || jobs.done.len() >= TOGETHER
    }
}

impl Worker {
    fn start(number: usize, accumulator: Arc<Accumulator>) -> io::Result<Self> {
        let list = || VecDeque::with_capacity(JOBS_MAX);
        let jobs = Jobs { waiting: list(), done: list(), closed: false };
        let desk = Arc::new(Desk { jobs: Mutex::new(jobs), given: Condvar::new() });
        let own = Arc::clone(&desk);
        let name = format!("kuring-pack-{number}");
        let thread = thread::Builder::new().name(name).spawn(move || {
            // It was started by a pinned sender, whose core it is to leave alone.
            unpin_current_thread();
            let mut encoder = Encoder::default();
            let mut told_at = clock::now();
            while let Some(job) = own.next() {
                let done = run(job, &mut encoder);
                let now = clock::now();
                if own.bring(done) || now - told_at > UNTOLD_MAX {
                    accumulator.nudge();
                    told_at = now;
                }
            }
        })?;
        Ok(Self { desk, done: list(), thread: Some(thread) })
    }

    fn give(&self, job: Job) {
        self.desk.jobs().waiting.push_back(job);
        self.desk.given.notify_one();
    }

    fn take_done(&mut self, take: impl FnMut(Job)) {
        std::mem::swap(&mut self.done, &mut self.desk.jobs().done);
        self.done.drain(..).for_each(take);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.desk.jobs().closed = true;
        self.desk.given.notify_one();
        if let Some(thread) = self.thread.take() {
            // It works on one job at most, and a panic of its own has been caught.
            let _ = thread.join();
        }
    }
}

/// Jobs that wait for the simulator.
#[cfg(feature = "simulation")]
#[derive(Debug, Default)]
pub(crate) struct Held {
    encoder: Box<Encoder>,
    jobs: VecDeque<Job>,
    done: VecDeque<Job>,
}

#[cfg(feature = "simulation")]
impl Held {
    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// Runs one of them; it is found by the shard's next turn.
    pub(crate) fn finish(&mut self, at: usize) {
        if let Some(job) = self.jobs.remove(at) {
            self.done.push_back(run(job, &mut self.encoder));
        }
    }
}
