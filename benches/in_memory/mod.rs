//! A producer whose broker is memory: no thread, no socket, no system call on the way of a record,
//! so that what is counted is the producer's own, and the same in every run.
//!
//! The shard's loop, the sender and the handles are the real ones (`kuring::simulation`). The
//! driver takes a frame, reads which partitions are in it, and has the answer ready for the next
//! look. Reading and answering cost some 200 instructions a request and 100 a batch.
#![forbid(unsafe_code)]

mod broker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use kuring::driver::{ConnectionError, Driver, Event, Frame, SocketOptions, Step, Waker};
use kuring::ids::ConnectionId;
use kuring::simulation::{self, SimulatedShard, application_thread, clock};
use kuring::{ConfigBuilder, Producer, Topic};

use broker::Broker;

/// The topic of all records.
const TOPIC: &str = "bench";
/// What a step moves the clock by.
const STEP_NANOS: u64 = 10_000;

/// Answers every frame before the next look.
pub(crate) struct MemoryDriver {
    broker: Broker,
    connected: Vec<ConnectionId>,
    sent: Vec<(ConnectionId, Frame)>,
    shut: Vec<ConnectionId>,
    /// Answers one behind the other, and where each ends.
    answers: Vec<u8>,
    ends: Vec<(ConnectionId, usize)>,
    woken: Arc<AtomicBool>,
}

impl MemoryDriver {
    fn new(partitions: usize) -> Self {
        Self {
            broker: Broker::new(TOPIC, partitions),
            connected: Vec::new(),
            sent: Vec::new(),
            shut: Vec::new(),
            answers: Vec::new(),
            ends: Vec::new(),
            woken: Arc::default(),
        }
    }
}

impl Driver for MemoryDriver {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn connect(&mut self, connection: ConnectionId, _: SocketAddr, _: &SocketOptions) {
        self.connected.push(connection);
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        self.broker.answer(&frame, &mut self.answers);
        self.ends.push((connection, self.answers.len()));
        self.sent.push((connection, frame));
    }

    fn shutdown(&mut self, connection: ConnectionId) {
        self.shut.push(connection);
    }

    fn waker(&self) -> Waker {
        Waker::raising(Arc::clone(&self.woken))
    }

    fn wait(&mut self, _: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        self.connected.drain(..).for_each(|connection| handle(Event::Connected(connection)));
        for (connection, frame) in self.sent.drain(..) {
            handle(Event::Sent { connection, frame, complete: true });
        }
        let mut start = 0;
        for (connection, end) in self.ends.drain(..) {
            handle(Event::Received(connection, &self.answers[start..end]));
            start = end;
        }
        self.answers.clear();
        for connection in self.shut.drain(..) {
            let error = io::ErrorKind::ConnectionAborted.into();
            handle(Event::Closed(connection, ConnectionError { step: Step::Shutdown, error }));
        }
    }
}

/// A producer of one shard that knows its topic.
pub(crate) struct Rig {
    pub(crate) topic: Topic,
    shard: Option<SimulatedShard<MemoryDriver>>,
    producer: Producer,
}

impl Rig {
    /// With these settings; the clocks of this thread stand still from now on, unless a step moves
    /// them.
    pub(crate) fn new(config: ConfigBuilder, partitions: usize) -> Self {
        let wall_ms = 1_750_000_000_000;
        clock::set(Some(clock::Time { nanos: 1_000_000_000, wall_ms, ..clock::Time::default() }));
        application_thread(0, 7);
        let settings = config.bootstrap_servers("127.0.0.1:9092").settings().expect("settings");
        let address = SocketAddr::from(([127, 0, 0, 1], 9092));
        let made =
            simulation::producer(settings, &[address], &[7], |_| MemoryDriver::new(partitions));
        let (producer, mut shards) = made.expect("the kernel has memory for the arena");
        let mut rig = Self { topic: producer.topic(TOPIC), shard: shards.pop(), producer };
        // The first record asks for the topic, is refused until it is known, and makes the
        // connection and the producer id.
        rig.touch(0..1);
        rig
    }

    /// One turn of the shard's loop: what came since the last look, decisions, requests, a look.
    pub(crate) fn step(&mut self) {
        let mut time = clock::time().expect("the clocks of this thread are ours");
        time.nanos += STEP_NANOS;
        clock::set(Some(time));
        let shard = self.shard.as_mut().expect("there is one until the end");
        if shard.step() {
            self.shard.take().into_iter().for_each(SimulatedShard::end);
        }
    }

    /// Until every record has its verdict.
    pub(crate) fn settle(&mut self) {
        let unresolved = |shard: &SimulatedShard<_>| shard.accumulator().unresolved();
        while self.shard.as_ref().map_or(0, unresolved) > 0 {
            self.step();
        }
    }

    /// Sends one record to each of these partitions, so that the sender has to do with all of
    /// them, and settles.
    pub(crate) fn touch(&mut self, partitions: std::ops::Range<usize>) {
        let mut left = partitions.map(|number| number as i32).peekable();
        while let Some(partition) = left.peek() {
            let record = kuring::Record::new().partition(*partition).value("touched");
            match self.topic.try_send(record) {
                Ok(_) => drop(left.next()),
                // Memory is short: it comes back with the verdicts.
                Err(_) => self.step(),
            }
        }
        self.settle();
    }
}

/// Whoever drops a producer waits for its shards, and this one is stepped by nobody else.
impl Drop for Rig {
    fn drop(&mut self) {
        simulation::start_close(&self.producer, Duration::ZERO);
        while self.shard.is_some() {
            self.step();
        }
    }
}
