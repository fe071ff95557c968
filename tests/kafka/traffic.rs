//! Threads that send, each in its own manner, and write down every verdict.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};

use kuring::{Delivery, Producer, Record, RecordMetadata, SendError, Topic};

use crate::content::{Content, Dice};
use crate::support::deadline::Deadline;

/// What the threads of a [`Traffic`] send.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Name and number of partitions.
    pub(crate) topics: Vec<(String, i32)>,
    pub(crate) threads: usize,
    /// Each thread stops here, if nobody stops it before.
    pub(crate) records_per_thread: u32,
    /// How many records of a thread may wait for their verdict.
    pub(crate) window: usize,
    pub(crate) content: fn(usize, u32) -> Content,
}

/// A record's verdict, as the thread that sent it saw it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Index in [`Plan::topics`].
    pub(crate) topic: usize,
    pub(crate) thread: usize,
    pub(crate) number: u32,
    pub(crate) verdict: Result<RecordMetadata, SendError>,
}

/// Running threads.
pub(crate) struct Traffic {
    senders: Vec<JoinHandle<Vec<Sent>>>,
    progress: Arc<Progress>,
    producer: Producer,
}

impl Traffic {
    pub(crate) fn start(producer: &Producer, plan: &Plan) -> Self {
        let progress = Arc::new(Progress::default());
        let senders = (0..plan.threads)
            .map(|thread| {
                let sender = Sender {
                    plan: plan.clone(),
                    thread,
                    topics: plan.topics.iter().map(|(name, _)| producer.topic(name)).collect(),
                    waiting: VecDeque::new(),
                    sent: Vec::new(),
                    progress: Arc::clone(&progress),
                };
                thread::spawn(move || sender.run())
            })
            .collect();
        Self { senders, progress, producer: producer.clone() }
    }

    /// Waits until `count` more records than now have their verdict.
    pub(crate) fn await_more(&self, count: u64, deadline: Deadline) {
        let mut resolved = self.progress.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        let target = *resolved + count;
        while *resolved < target {
            let metrics = || self.producer.metrics();
            deadline.check(|| format!("{target} verdicts, there are {resolved}: {:?}", metrics()));
            let waited = self.progress.grown.wait_timeout(resolved, deadline.left());
            resolved = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells the threads to stop sending.
    pub(crate) fn stop(&self) {
        self.progress.stopped.store(true, Ordering::Relaxed);
    }

    /// Waits until every thread has all its verdicts.
    pub(crate) fn finish(self) -> Vec<Sent> {
        let join = |sender: JoinHandle<_>| sender.join().expect("a sending thread panicked");
        self.senders.into_iter().flat_map(join).collect()
    }
}

#[derive(Default)]
struct Progress {
    stopped: AtomicBool,
    resolved: Mutex<u64>,
    grown: Condvar,
}

struct Sender {
    plan: Plan,
    thread: usize,
    topics: Vec<Topic>,
    waiting: VecDeque<(usize, u32, Delivery)>,
    sent: Vec<Sent>,
    progress: Arc<Progress>,
}

impl Sender {
    /// Sends until the plan ends, somebody says stop, or the producer is closed.
    fn run(mut self) -> Vec<Sent> {
        let mut number = 0;
        while number < self.plan.records_per_thread
            && !self.progress.stopped.load(Ordering::Relaxed)
        {
            let taken = match self.thread % 3 {
                0 => self.send_one(number, |topic, record| topic.blocking_send(record)),
                1 => self.send_one(number, |topic, record| block_on(topic.send(record))),
                _ => self.send_several(number),
            };
            let Some(taken) = taken else { break };
            number += taken;
            while self.waiting.len() > self.plan.window {
                self.resolve_oldest();
            }
        }
        while !self.waiting.is_empty() {
            self.resolve_oldest();
        }
        self.report(self.sent.len() % REPORT_EVERY);
        self.sent
    }

    fn send_one(
        &mut self,
        number: u32,
        send: impl FnOnce(&Topic, Record<'_>) -> Result<Delivery, SendError>,
    ) -> Option<u32> {
        let content = (self.plan.content)(self.thread, number);
        let topic = self.choose_topic(number);
        let record = self.address(content.record(), topic, number);
        match send(&self.topics[topic], record) {
            Ok(delivery) => self.waiting.push_back((topic, number, delivery)),
            Err(SendError::Closed { .. }) => return None,
            Err(error) => panic!("thread {}, record {number}: {error}", self.thread),
        }
        Some(1)
    }

    /// Several records of one topic with one call.
    fn send_several(&mut self, first: u32) -> Option<u32> {
        let last = (first + BATCH).min(self.plan.records_per_thread);
        let contents: Vec<Content> =
            (first..last).map(|number| (self.plan.content)(self.thread, number)).collect();
        let topic = self.choose_topic(first);
        let records: Vec<Record<'_>> = (first..last)
            .zip(&contents)
            .map(|(number, content)| self.address(content.record(), topic, number))
            .collect();
        let mut deliveries = Vec::with_capacity(records.len());
        let outcome = self.topics[topic].blocking_send_batch(&records, &mut deliveries);
        // Also after an error: the records in front of the refused one are on their way.
        let numbered = (first..last).zip(deliveries);
        self.waiting.extend(numbered.map(|(number, delivery)| (topic, number, delivery)));
        match outcome {
            Ok(()) => Some(last - first),
            Err(SendError::Closed { .. }) => None,
            Err(error) => panic!("thread {}, from record {first}: {error}", self.thread),
        }
    }

    fn choose_topic(&self, number: u32) -> usize {
        Dice::of(self.thread, !number).below(self.topics.len())
    }

    /// Every third record names its partition, the others leave it to the key or the producer.
    fn address<'a>(&self, record: Record<'a>, topic: usize, number: u32) -> Record<'a> {
        if !number.is_multiple_of(3) {
            return record;
        }
        let partitions = self.plan.topics[topic].1;
        record.partition((number / 3).cast_signed().rem_euclid(partitions))
    }

    fn resolve_oldest(&mut self) {
        let Some((topic, number, delivery)) = self.waiting.pop_front() else { return };
        let verdict = match number % 2 {
            0 => delivery.wait(),
            _ => block_on(delivery),
        };
        self.sent.push(Sent { topic, thread: self.thread, number, verdict });
        if self.sent.len().is_multiple_of(REPORT_EVERY) {
            self.report(REPORT_EVERY);
        }
    }

    fn report(&self, count: usize) {
        *self.progress.resolved.lock().unwrap_or_else(PoisonError::into_inner) += count as u64;
        self.progress.grown.notify_all();
    }
}

/// The least executor there is: a future needs no runtime of ours.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Records of one `blocking_send_batch`.
const BATCH: u32 = 37;
/// Verdicts between two looks of whoever waits for progress.
const REPORT_EVERY: usize = 100;
