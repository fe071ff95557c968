//! A sender with everything around it: an accumulator that the test fills, a cluster in memory, and
//! a time that moves when the test says so.
#![forbid(unsafe_code)]

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::compress::Job;
use super::super::{Action, Sender, SenderOptions};
use super::wire::{self, Arrived, Said};
use super::world::{Event, World, address_of};
use crate::accumulator::Accumulator;
use crate::accumulator::batch_ring::{Append, BatchRing, Entry, Memory};
use crate::clock;
use crate::config::ConfigBuilder;
use crate::delivery::Delivery;
use crate::ids::ConnectionId;
use crate::metadata::Cluster;
use crate::protocol::api::ApiKey;
use crate::protocol::compression::Encoder;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::get_telemetry_subscriptions::Subscription;

/// Rounds after which a sender that still has something to do at once is in a loop.
const ROUNDS_MAX: usize = 10_000;

pub(super) struct Rig {
    pub(super) sender: Sender,
    pub(super) accumulator: Arc<Accumulator>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) world: World,
    pub(super) now: Instant,
    pub(super) records: Vec<(String, String, Delivery)>,
    rings: BTreeMap<String, Arc<BatchRing>>,
    /// Flushes and warm-ups that are over.
    pub(super) done: Vec<u64>,
    pub(super) ended: bool,
    pub(super) published: usize,
    /// Jobs stay with the compressor until the test finishes them.
    pub(super) holds_jobs: bool,
    pub(super) jobs: VecDeque<Job>,
    encoder: Encoder,
    /// What is to be measured for whom; the test answers.
    pub(super) measuring: Vec<Arc<Subscription>>,
    /// Host names that wait to be resolved, with their nodes.
    pub(super) resolving: VecDeque<(u32, String)>,
}

pub(super) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// No linger, small batches; all else as by default.
pub(super) fn config() -> ConfigBuilder {
    ConfigBuilder::new()
        .bootstrap_servers("127.0.0.1:9001")
        .client_id("rig")
        .linger(Duration::ZERO)
        .batch_bytes(500)
        .buffer_memory(1 << 20)
}

impl Rig {
    /// A sender that has connected to broker 1 and knows topic `t`, whose partitions have these
    /// leaders, and whose brokers have batches of it: several of a partition may be in flight.
    pub(super) fn new(config: ConfigBuilder, leaders: &[i32]) -> Self {
        let mut rig = Self::cold(config, leaders);
        rig.sender.probes = false;
        rig.world.logs.know_producers = true;
        rig.run();
        rig
    }

    /// A sender that has not done anything yet.
    pub(super) fn cold(config: ConfigBuilder, leaders: &[i32]) -> Self {
        Self::with_bootstrap(config, leaders, "127.0.0.1", vec![address_of(1)])
    }

    /// The same, with another bootstrap server.
    pub(super) fn with_bootstrap(
        config: ConfigBuilder,
        leaders: &[i32],
        host: &str,
        addresses: Vec<SocketAddr>,
    ) -> Self {
        let settings = Arc::new(config.settings().unwrap());
        let (memory, batch) = (settings.buffer_memory, settings.batch_bytes);
        let accumulator = Accumulator::new(memory, batch, settings.linger).unwrap();
        let cluster = Arc::new(Cluster::default());
        // Through nanoseconds: a time before the process's zero would not come back the same.
        let now = clock::from_nanos(clock::now_nanos());
        let bootstrap = vec![(host.into(), 9001, addresses)];
        let options = SenderOptions { settings, bootstrap, seed: 7, meters: Arc::default() };
        let (memory, known) = (Arc::clone(&accumulator), Arc::clone(&cluster));
        let mut world = World::new(3);
        world.add_topic("t", leaders);
        cluster.want(&cluster.entry("t"), clock::to_nanos(now));
        Self {
            sender: Sender::new(options, memory, known, now),
            accumulator,
            cluster,
            world,
            now,
            records: Vec::new(),
            rings: BTreeMap::new(),
            done: Vec::new(),
            ended: false,
            published: 0,
            holds_jobs: false,
            jobs: VecDeque::new(),
            encoder: Encoder::default(),
            measuring: Vec::new(),
            resolving: VecDeque::new(),
        }
    }

    pub(super) fn ring(&mut self, partition: &str) -> Arc<BatchRing> {
        if let Some(ring) = self.rings.get(partition) {
            return Arc::clone(ring);
        }
        let (topic, number) = partition.rsplit_once('-').unwrap();
        let packing = self.accumulator.new_packing(self.sender.settings.compression);
        let number = number.parse().unwrap();
        let ring = self.accumulator.new_packed_ring(&topic.into(), number, &packing).unwrap();
        self.rings.insert(partition.to_owned(), Arc::clone(&ring));
        ring
    }

    /// Appends a record; nothing else happens yet. Returns the record's number.
    pub(super) fn append(&mut self, partition: &str, value: &str) -> usize {
        self.try_append(partition, value).expect("room for a record")
    }

    /// Appends a record if there is memory for it.
    pub(super) fn try_append(&mut self, partition: &str, value: &str) -> Option<usize> {
        let ring = self.ring(partition);
        let nanos = clock::to_nanos(self.now);
        let value_bytes = Some(value.as_bytes());
        let entry = Entry { key: None, value: value_bytes, headers: &[], timestamp: 1000 };
        match ring.append(&entry, Memory::Try) {
            Append::Done { delivery, opened, .. } => {
                if opened {
                    ring.set_opened_at(nanos);
                    self.cluster.entry(ring.topic()).touch(nanos);
                }
                self.records.push((partition.to_owned(), value.to_owned(), delivery));
                Some(self.records.len() - 1)
            }
            Append::NoMemory(_) | Append::NoSlot | Append::Closed => None,
            other => panic!("{other:?}"),
        }
    }

    /// Appends records that become a batch of their own; nothing else happens yet.
    pub(super) fn batch(&mut self, partition: &str, values: &[&str]) -> usize {
        let first = self.records.len();
        for value in values {
            self.append(partition, value);
        }
        self.ring(partition).seal_open();
        first
    }

    /// Sends a record and lets everything happen that can.
    pub(super) fn send(&mut self, partition: &str, value: &str) -> usize {
        let record = self.batch(partition, &[value]);
        self.run();
        record
    }

    /// One turn of a shard, without its events.
    pub(super) fn turn(&mut self) {
        self.sender.handle_cluster(self.now);
        self.sender.handle_ready(self.now);
        self.sender.handle_timeout(self.now);
        self.perform();
    }

    /// Lets the compressor finish one of the jobs that it holds.
    pub(super) fn finish_job(&mut self, at: usize) {
        let mut job = self.jobs.remove(at).expect("so many jobs");
        job.run(&mut self.encoder);
        self.sender.handle_compressed(job);
        self.run();
    }

    pub(super) fn perform(&mut self) {
        while let Some(mut job) = self.sender.poll_compression() {
            if self.holds_jobs {
                self.jobs.push_back(job);
                continue;
            }
            job.run(&mut self.encoder);
            self.sender.handle_compressed(job);
        }
        self.sender.place_compressed(self.now);
        let mut later = Vec::new();
        while let Some(action) = self.sender.poll_action() {
            later.extend(self.world.perform(action));
        }
        while let Some(verdict) = self.sender.poll_verdict() {
            verdict.hand_out(&mut Vec::new());
        }
        for action in later {
            match action {
                Action::Published => self.published += 1,
                Action::Refresh => {}
                Action::Done(number) => self.done.push(number),
                Action::Measure { subscription, .. } => self.measuring.push(subscription),
                Action::Ended => self.ended = true,
                Action::Resolve { node, host, .. } => {
                    self.resolving.push_back((node, host.to_string()));
                }
                other => panic!("{other:?}"),
            }
        }
        let now = clock::to_nanos(self.now);
        let _ = self.accumulator.waiters.distribute(self.accumulator.pool(), true, now);
        self.check();
    }

    /// Hands the oldest event to the sender.
    pub(super) fn step(&mut self) -> bool {
        let Some(event) = self.world.events.pop_front() else { return false };
        let now = self.now;
        match event {
            Event::Connected(connection) => self.sender.handle_connected(connection, now),
            Event::Sent { connection, frame, complete } => {
                self.sender.handle_sent(connection, frame, complete, now);
            }
            Event::Received(connection, bytes) => {
                self.sender.handle_received(connection, &bytes, now);
            }
            Event::Closed(connection, why) => self.sender.handle_closed(connection, &why, now),
        }
        true
    }

    /// Lets everything happen that can happen now.
    pub(super) fn run(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.turn();
            let due = self.sender.poll_timeout().is_some_and(|at| at <= self.now);
            if !self.step() && !due {
                return;
            }
        }
        panic!("the sender does not come to rest");
    }

    /// Lets time pass, stopping wherever the sender has something to do.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..ROUNDS_MAX {
            self.run();
            match self.sender.poll_timeout() {
                Some(at) if at <= end => self.now = at,
                _ => {
                    self.now = end;
                    return self.run();
                }
            }
        }
        panic!("the sender's timers do not move on");
    }

    /// What must hold at all times.
    fn check(&self) {
        let partitions = self.sender.partitions.len();
        let mut in_flight = vec![0; partitions];
        for request in self.sender.nodes.iter().flat_map(|node| &node.in_flight) {
            for entry in request.entries.iter().filter(|entry| !entry.answered) {
                in_flight[entry.partition as usize] += 1;
                assert!(self.sender.batches.get(entry.batch).in_flight);
            }
        }
        for (partition, in_flight) in self.sender.partitions.iter().zip(in_flight) {
            assert_eq!(partition.in_flight, in_flight, "batches in flight are counted");
            let told = partition.ring.queued() as usize;
            assert_eq!(told, partition.queue.len(), "who chooses partitions knows what waits");
            for batch in partition.queue.iter().chain(&partition.unsettled) {
                assert!(self.sender.batches.find(*batch).is_some(), "a batch that is gone");
            }
        }
    }

    /// The oldest unanswered produce request.
    pub(super) fn produce(&mut self) -> Arrived {
        self.request(ApiKey::Produce)
    }

    /// The oldest unanswered request of a kind.
    pub(super) fn request(&mut self, api: ApiKey) -> Arrived {
        let at = self.world.inbox.iter().position(|arrived| arrived.api == api);
        self.world.inbox.remove(at.unwrap_or_else(|| panic!("no {api:?} request came"))).unwrap()
    }

    /// All unanswered produce requests, as text; they stay unanswered.
    pub(super) fn pending(&self) -> Vec<String> {
        let produce = |arrived: &&Arrived| arrived.api == ApiKey::Produce;
        self.world.inbox.iter().filter(produce).map(Arrived::to_string).collect()
    }

    /// How many requests of a kind there were.
    pub(super) fn count(&self, api: ApiKey) -> usize {
        self.world.seen.iter().filter(|(_, seen)| *seen == api).count()
    }

    /// Appends the request's batches to the logs and says so.
    pub(super) fn accept(&mut self, request: &Arrived) {
        let answer = self.world.produce_answer(request);
        self.world.answer(request, answer);
        self.run();
    }

    /// Accepts the oldest produce request; returns it as text.
    pub(super) fn accept_next(&mut self) -> String {
        let request = self.produce();
        self.accept(&request);
        request.to_string()
    }

    /// Accepts whatever comes until nothing comes any more.
    pub(super) fn accept_all(&mut self) {
        for _ in 0..300 {
            while !self.pending().is_empty() {
                self.accept_next();
            }
            self.advance(ms(50));
        }
    }

    /// Answers every batch of the request with an error, and appends nothing.
    pub(super) fn refuse(&mut self, request: &Arrived, error: ErrorCode) {
        let said: Vec<_> = request.batches().iter().map(|_| Said::refused(error)).collect();
        let answer = wire::produce_answer(request, &said, self.world.throttle_ms);
        self.world.answer(request, answer);
        self.run();
    }

    /// Answers the oldest produce request with an error; returns it as text.
    pub(super) fn refuse_next(&mut self, error: ErrorCode) -> String {
        let request = self.produce();
        self.refuse(&request, error);
        request.to_string()
    }

    /// Answers a request with an error and who leads its partitions by now (KIP-951).
    pub(super) fn redirect(
        &mut self,
        request: &Arrived,
        error: ErrorCode,
        leaders: &[(i32, i32)],
        addresses: &[wire::Address],
    ) {
        let answer = wire::produce_answer_with_leaders(request, error, leaders, addresses);
        self.world.answer(request, answer);
        self.run();
    }

    /// The network cuts a connection.
    pub(super) fn cut(&mut self, connection: ConnectionId) {
        self.world.close(connection, "reset by peer");
        self.run();
    }

    /// Nobody listens there any more, and what was open is reset.
    pub(super) fn stop_broker(&mut self, broker: i32) {
        self.world.refused.insert(address_of(broker));
        let open: Vec<_> = self.world.open.iter().filter(|(_, id)| **id == broker).collect();
        let open: Vec<_> = open.into_iter().map(|(connection, _)| *connection).collect();
        open.into_iter().for_each(|connection| self.world.close(connection, "reset by peer"));
        self.run();
    }

    pub(super) fn start_broker(&mut self, broker: i32) {
        self.world.refused.remove(&address_of(broker));
    }

    /// Connects made since the test began, by broker.
    pub(super) fn connects_to(&self, broker: i32) -> usize {
        self.world.connects.iter().filter(|address| **address == address_of(broker)).count()
    }

    /// `pending`, `offset 5`, `written`, or the error's name with `, maybe written` where it may
    /// be.
    pub(super) fn verdict(&self, record: usize) -> String {
        match self.records[record].2.verdict() {
            None => "pending".to_owned(),
            Some(Ok(found)) => match found.offset {
                Some(offset) => format!("offset {offset}"),
                None => "written".to_owned(),
            },
            Some(Err(error)) if error.possibly_written() => {
                format!("{}, maybe written", error.kind_name())
            }
            Some(Err(error)) => error.kind_name().to_owned(),
        }
    }

    pub(super) fn log(&self, partition: &str) -> Vec<String> {
        let (topic, number) = partition.rsplit_once('-').unwrap();
        self.world.logs.of(topic, number.parse().unwrap())
    }

    pub(super) fn resolved(&mut self, found: &[SocketAddr]) {
        let (node, _) = self.resolving.pop_front().expect("a host to resolve");
        self.sender.handle_resolved(node, found, self.now);
        self.run();
    }

    /// Every record has its verdict, and every buffer is back.
    pub(super) fn assert_nothing_left(&mut self) {
        self.world.return_frames();
        self.run();
        for (partition, value, delivery) in &self.records {
            assert!(delivery.is_done(), "{partition} {value} has no verdict");
        }
        assert_eq!(self.accumulator.unresolved(), 0);
        let pool = self.accumulator.pool();
        assert_eq!(pool.available(), pool.total(), "all memory is back");
        assert!(self.sender.batches.unresolved().next().is_none());
    }
}

/// What a sender has counted, for tests.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) records: u64,
    pub(super) retries: u64,
    pub(super) splits: u64,
    pub(super) compressed_batches: u64,
    pub(super) plain_bytes: u64,
    pub(super) batch_bytes: u64,
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) possibly_written: u64,
    pub(super) never_sent: u64,
}

impl Sender {
    /// As anyone may read it.
    pub(super) fn counters(&self) -> Counted {
        self.publish_verdicts();
        let read = self.meters.read(0);
        let own = read.own.total;
        Counted {
            records: read.topics.iter().map(|topic| topic.counts.total.records).sum(),
            retries: own.retries,
            splits: own.splits,
            compressed_batches: own.compressed,
            plain_bytes: read.topics.iter().map(|topic| topic.counts.total.plain_bytes).sum(),
            batch_bytes: read.topics.iter().map(|topic| topic.counts.total.batch_bytes).sum(),
            acknowledged: own.acknowledged,
            failed: own.failed,
            possibly_written: own.possibly_written,
            never_sent: own.never_sent,
        }
    }
}
