//! The sender: decides what is sent when, what is tried again, and what each record's verdict is.
//!
//! Owns:     the batches from their ring to their verdict, the connections' protocol state, timers.
//! Thread:   its shard's. No socket, clock, thread or randomness of its own: all are arguments.
//! Bounds:   work is O(active): ready lists and a timer heap, no scan over partitions on the way of
//!           a record.
//! Never:    releases a buffer that the driver still holds; blocks.
//! Source:   RDY, DRN, ORD, EXP, RTY, SEQ, NET of the Java producer; section 7 there: what is done
//!           better (DRN-7, EXP-11, NET-2, RDY-13).
//!
//! `handle_*`: the world tells it. `poll_*`: it tells the world.
#![forbid(unsafe_code)]

mod availability;
mod backoff;
mod batches;
pub mod compress;
mod connection;
mod drain;
mod ending;
mod events;
mod greeting;
mod identity;
mod leader;
mod metadata;
mod node;
mod partition;
mod produce;
mod purge;
mod rebootstrap;
mod record_errors;
mod recovery;
mod resolving;
mod split;
pub mod telemetry;
mod timers;

#[cfg(test)]
mod tests;

use core::net::SocketAddr;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use backoff::Random;
use batches::BatchTable;
use compress::Line;
use ending::{Closing, Flush, WarmUp};
use events::Events;
use greeting::FIRST_GREETING;
use identity::Identity;
use metadata::{MetadataTask, News};
use node::{Entry, Node};
use partition::{Partition, Place};
pub use purge::PurgeOrder;
use purge::Purging;
use resolving::Bootstrap;
use split::Families;
use telemetry::TelemetryTask;
use timers::{Timer, Timers};

use crate::accumulator::Accumulator;
use crate::accumulator::batch_ring::{BatchRing, Head, Reservations};
use crate::accumulator::frame::Frame;
use crate::clock;
use crate::config::{RecordingLevel, Settings};
use crate::delivery::{CellIndex, Span, Written};
use crate::error::SendError;
use crate::ids::{BrokerId, ConnectionId, TopicId};
use crate::metadata::{Cluster, Snapshot};
use crate::meters::ShardMeters;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::get_telemetry_subscriptions::Subscription;

/// How long the sender waits before it looks again at a ring in which a writer is between two
/// steps.
const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// Verdicts and actions of one turn that fit without new memory: five answers on each of some
/// connections, of some dozen batches each. More make the lists grow, once.
const ROUND: usize = 256;

/// What the sender wants done.
#[derive(Debug)]
pub enum Action {
    /// Start connecting.
    Connect {
        /// The connection's id from now on.
        connection: ConnectionId,
        /// Where to.
        address: SocketAddr,
    },
    /// Send a frame.
    Send {
        /// On this connection.
        connection: ConnectionId,
        /// The request.
        frame: Frame,
    },
    /// End a connection; its `closed` event is awaited.
    Shutdown {
        /// Which.
        connection: ConnectionId,
    },
    /// Resolve a host name; answered by [`Sender::handle_resolved`].
    Resolve {
        /// The node's number.
        node: u32,
        /// The host.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// Put together metrics; answered by [`Sender::handle_measured`].
    Measure {
        /// What is wanted.
        subscription: Arc<Subscription>,
        /// Of the last ones: the other shards may be waited for until then, to count everything.
        last: Option<Instant>,
    },
    /// A snapshot was published: the other shards have to look at it.
    Published,
    /// The metadata is wrong or old, and the shard that writes it has to be told (MD-2).
    Refresh,
    /// The flush or warm-up with this number is over.
    Done(u64),
    /// Closed: every record has its verdict, every buffer is back, every connection is down.
    Ended,
}

/// The verdict on the records of a batch, for the shard to hand out.
#[derive(Debug)]
pub struct Verdict {
    /// The completion cell.
    pub cell: CellIndex,
    /// Which of the cell's records: not all, where the batch is a piece of a split one.
    pub span: Span,
    /// Whether records of the batch were left out: then the cell looks places up in its parts.
    pub has_holes: bool,
    /// What became of them.
    pub outcome: Outcome,
}

impl Verdict {
    /// The records as they were claimed: what the completion queue knows them by.
    pub fn claimed(&self) -> Span {
        if self.has_holes { self.cell.claimed(self.span) } else { self.span }
    }

    /// Tells what became of the records, in their order: some of them, and their outcome.
    pub fn each_run(&self, mut tell: impl FnMut(Span, Result<Written, &SendError>)) {
        match &self.outcome {
            Outcome::Acknowledged { base_offset, log_append_time } => {
                let (base_offset, log_append_time) = (*base_offset, *log_append_time);
                tell(self.span, Ok(Written { base_offset, log_append_time }));
            }
            Outcome::Failed(error) => tell(self.span, Err(error)),
            Outcome::FailedEach(errors) => {
                let mut first = self.span.first;
                for (records, error) in errors {
                    tell(Span { first, records: *records, of: self.span.of }, Err(error));
                    first += records;
                }
            }
        }
    }

    /// Resolves the deliveries and wakes through `wakers`, whose memory is lent and comes back
    /// empty. Wakers run foreign code.
    pub fn hand_out(self, wakers: &mut Vec<(u32, Waker)>) {
        let Self { cell, span, has_holes, outcome } = self;
        let is_one = span.is_whole() && !has_holes;
        match outcome {
            Outcome::Acknowledged { base_offset, log_append_time } if is_one => {
                cell.acknowledge(base_offset, log_append_time, span.records, wakers);
            }
            Outcome::Acknowledged { base_offset, log_append_time } => {
                cell.acknowledge_part(span, base_offset, log_append_time, wakers);
            }
            Outcome::Failed(error) if is_one => cell.fail(error, span.records, wakers),
            Outcome::Failed(error) => cell.fail_part(span, [(span.records, error)], wakers),
            Outcome::FailedEach(errors) => cell.fail_part(span, errors, wakers),
        }
    }
}

/// What became of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// Written.
    Acknowledged {
        /// Offset of the first record, -1 if unknown.
        base_offset: i64,
        /// The broker's time, -1 if the records' own counts.
        log_append_time: i64,
    },
    /// Not written, or perhaps.
    Failed(SendError),
    /// The same, with different errors for so many records each, in their order.
    FailedEach(Vec<(u32, SendError)>),
}

/// Verdicts given so far. Published apart from the other counts, once a turn: who sees a record
/// acknowledged finds its memory handed on.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    /// Records acknowledged.
    acknowledged: u64,
    /// Records that failed and were certainly not written.
    failed: u64,
    /// Records that failed and may have been written.
    possibly_written: u64,
    /// Of `failed`, those that were never handed to a socket.
    never_sent: u64,
}

/// What a sender needs to know at its start.
#[derive(Clone, Debug)]
pub struct SenderOptions {
    /// The producer's settings.
    pub settings: Arc<Settings>,
    /// Bootstrap addresses, resolved: only the sender that writes the metadata has some.
    pub bootstrap: Vec<(Arc<str>, u16, Vec<SocketAddr>)>,
    /// Seed of the random source.
    pub seed: u64,
    /// Where it counts what it does.
    pub meters: Arc<ShardMeters>,
}

/// One shard's decisions. See the module head.
#[derive(Debug)]
pub struct Sender {
    settings: Arc<Settings>,
    accumulator: Arc<Accumulator>,
    /// By ring number: the accumulator's rings, and what the sender knows of them.
    rings: Vec<Arc<BatchRing>>,
    partitions: Vec<Partition>,
    topics: HashMap<Arc<str>, u32>,
    nodes: Vec<Node>,
    node_of: HashMap<BrokerId, u32>,
    batches: BatchTable,
    families: Families,
    /// What waits for the compressor.
    line: Line,
    cluster: Arc<Cluster>,
    /// The snapshot this sender routes by, and its number.
    snapshot: Arc<Snapshot>,
    generation: u64,
    metadata: MetadataTask,
    telemetry: TelemetryTask,
    bootstrap: Bootstrap,
    identity: Identity,
    /// Why no batch can be written any more.
    fatal: Option<ErrorCode>,
    timers: Timers,
    random: Random,
    /// Whether the first batch under a new identity goes alone; tests of what comes after turn it
    /// off.
    probes: bool,
    /// Partitions whose open batch lingers.
    lingering: Vec<u32>,
    flush: Flush,
    warm_ups: Vec<WarmUp>,
    purges: Vec<Purging>,
    closing: Closing,
    actions: VecDeque<Action>,
    verdicts: VecDeque<Verdict>,
    counters: Counters,
    meters: Arc<ShardMeters>,
    events: Events,
    /// Whether histograms and maxima are kept.
    measures: bool,
    /// Bytes of the memory that unanswered requests hold.
    in_flight_bytes: u64,
    /// Highest version of a greeting that the last broker named which answered one.
    greeting: i16,
    /// Spare memory, so that the steady state allocates nothing.
    spare_frames: Vec<Frame>,
    spare_entries: Vec<Vec<Entry>>,
    looks: Vec<u32>,
}

impl Sender {
    /// A sender over the accumulator of its shard.
    pub fn new(
        options: SenderOptions,
        accumulator: Arc<Accumulator>,
        cluster: Arc<Cluster>,
        now: Instant,
    ) -> Self {
        let bootstrap = Bootstrap::new(&options, now);
        let mut sender = Self {
            bootstrap,
            accumulator,
            rings: Vec::new(),
            partitions: Vec::new(),
            topics: HashMap::new(),
            nodes: Vec::new(),
            node_of: HashMap::new(),
            batches: BatchTable::default(),
            families: Families::default(),
            line: Line::default(),
            // What is published already is adopted by the first turn, with its nodes.
            snapshot: Arc::default(),
            generation: 0,
            cluster,
            metadata: MetadataTask::new(!options.bootstrap.is_empty()),
            telemetry: TelemetryTask::new(
                !options.bootstrap.is_empty() && options.settings.metrics_push,
            ),
            identity: Identity::new(options.settings.idempotence),
            fatal: None,
            timers: Timers::default(),
            random: Random::new(options.seed),
            probes: true,
            lingering: Vec::new(),
            flush: Flush::default(),
            warm_ups: Vec::new(),
            purges: Vec::new(),
            closing: Closing::No,
            actions: VecDeque::with_capacity(ROUND),
            verdicts: VecDeque::with_capacity(ROUND),
            counters: Counters::default(),
            meters: options.meters,
            events: Events::default(),
            measures: options.settings.metrics_level != RecordingLevel::Off,
            in_flight_bytes: 0,
            spare_frames: Vec::new(),
            spare_entries: Vec::new(),
            looks: Vec::new(),
            greeting: FIRST_GREETING,
            settings: options.settings,
        };
        for ((host, port, addresses), number) in options.bootstrap.into_iter().zip(1..) {
            let id = BrokerId(-number);
            let meters = sender.meters.node(id, &host, port);
            let mut node = Node::new(id, host, port, meters, now);
            node.addresses = addresses.into();
            sender.node_of.insert(node.id, sender.nodes.len() as u32);
            sender.nodes.push(node);
        }
        sender.poll_metadata(now);
        sender
    }

    /// Looks at every partition that has news (RDY-13: no scan).
    pub fn handle_ready(&mut self, now: Instant) {
        let mut looks = std::mem::take(&mut self.looks);
        let accumulator = Arc::clone(&self.accumulator);
        accumulator.take_ready(&mut self.rings, |index| looks.push(index));
        self.adopt_rings();
        looks.drain(..).for_each(|index| self.look(index, now));
        self.looks = looks;
        if self.accumulator.waiters.is_pressing() {
            // RDY-4, BUF-6: somebody waits for memory, so nothing lingers.
            self.look_at_lingering(now);
        }
    }

    /// A partition for each ring that is new.
    fn adopt_rings(&mut self) {
        while self.partitions.len() < self.rings.len() {
            let ring = Arc::clone(&self.rings[self.partitions.len()]);
            let next = self.topics.len() as u32;
            let topic = *self.topics.entry(Arc::clone(ring.topic())).or_insert(next);
            let entry = self.cluster.entry(ring.topic());
            let meters = self.meters.topic(ring.topic(), ring.partition());
            self.partitions.push(Partition::new(ring, entry, topic, meters));
            self.route(self.partitions.len() as u32 - 1);
        }
    }

    /// Looks up the partition's leader in the snapshot.
    fn route(&mut self, index: u32) -> News {
        let partition = &mut self.partitions[index as usize];
        let topic = self.snapshot.topic(partition.ring.topic());
        let known = topic.and_then(|t| t.partitions.get(partition.ring.partition() as usize));
        let old_id = partition.topic_id;
        partition.topic_id = topic.map_or(old_id, |topic| topic.id);
        let made_again =
            ![old_id, partition.topic_id].contains(&TopicId::ZERO) && old_id != partition.topic_id;
        if made_again && self.settings.idempotence {
            // The new log has nothing of this producer, so it takes any first sequence.
            partition.probing = self.probes;
        }
        let epoch = known.map_or(-1, |known| known.leader_epoch);
        let newer = epoch > partition.leader_epoch;
        partition.leader_epoch = epoch;
        let leader = known.and_then(|known| known.leader);
        let leader = leader.and_then(|id| self.node_of.get(&id).copied());
        // A leader that the answer does not list has no address.
        partition.leader = leader.filter(|leader| self.nodes[*leader as usize].listed);
        let is_blocked = partition.leader.is_some_and(|at| self.nodes[at as usize].is_blocked);
        partition.ring.set_blocked(is_blocked);
        match (made_again, newer) {
            (true, _) => News::MadeAgain,
            (false, true) => News::Leader,
            (false, false) => News::None,
        }
    }

    fn look_at_lingering(&mut self, now: Instant) {
        let mut lingering = std::mem::take(&mut self.lingering);
        for index in lingering.drain(..) {
            self.partitions[index as usize].lingering = false;
            self.look(index, now);
        }
        // What `look` found still open is in the new list; keep the larger memory.
        lingering.append(&mut self.lingering);
        self.lingering = lingering;
    }

    /// Takes what is in the partition's ring, expires what is too old, and puts the partition where
    /// it belongs: on its leader's ready list, or under a timer.
    fn look(&mut self, index: u32, now: Instant) {
        let open_since = self.take_batches(index, now);
        self.expire_queued(index, now);
        if let Some(opened) = open_since {
            let linger_end = opened + self.settings.linger;
            self.arm_partition(index, linger_end);
            let partition = &mut self.partitions[index as usize];
            if !partition.lingering {
                partition.lingering = true;
                self.lingering.push(index);
            }
        }
        self.place(index, now);
    }

    /// Moves sealed batches from the ring to the queue; returns when a batch that stays open was
    /// opened.
    fn take_batches(&mut self, index: u32, now: Instant) -> Option<Instant> {
        let patience = self.patience();
        let mut reservations = patience;
        self.partitions[index as usize].filling = false;
        loop {
            let found = self.partitions[index as usize].ring.take_as(reservations);
            reservations = patience;
            match found {
                Head::Sealed(sealed) => {
                    let batch = self.batches.add(sealed, index);
                    if self.closing.is_forced() {
                        self.fail(batch, SendError::Closed { possibly_written: false });
                        continue;
                    }
                    if let Some(code) = self.fatal {
                        self.fail(batch, SendError::Fatal { code, possibly_written: false });
                        continue;
                    }
                    if sealed.opened_at < self.partitions[index as usize].purge_before {
                        self.fail(batch, SendError::Purged { possibly_written: false });
                        continue;
                    }
                    self.partitions[index as usize].queue.push_back(batch);
                    self.want_compression(batch, index);
                }
                Head::Open(opened_at) => {
                    let opened = clock::from_nanos(opened_at);
                    let is_purged = opened_at < self.partitions[index as usize].purge_before;
                    if !is_purged && !self.must_seal() {
                        if now < opened + self.settings.linger {
                            return Some(opened);
                        }
                        // Sealed now it would wait in the queue, and the next record would open
                        // another batch: where a broker is slow or stopped, one for each record.
                        let partition = &mut self.partitions[index as usize];
                        if !partition.queue.is_empty() {
                            partition.filling = true;
                            return None;
                        }
                    }
                    self.partitions[index as usize].ring.seal_open();
                }
                Head::Incomplete => {
                    self.partitions[index as usize].was_incomplete = true;
                    self.arm_partition(index, now + LOOK_AGAIN);
                    return None;
                }
                Head::Reserved { opened, .. }
                    if opened < self.partitions[index as usize].purge_before =>
                {
                    reservations = Reservations::Ended;
                }
                Head::Reserved { opened, last } => {
                    let late = clock::from_nanos(last) + self.settings.reserve_max;
                    // Not past its expiry either: that counts once it is out of its ring.
                    let expiry = clock::from_nanos(opened) + self.settings.delivery_timeout;
                    let late = late.min(expiry);
                    if now < late {
                        self.arm_partition(index, late);
                        return None;
                    }
                    reservations = Reservations::Late;
                }
                Head::Vanished => {}
                Head::Empty => return None,
            }
        }
    }

    /// What open reservations are to the next sealed batch.
    fn patience(&self) -> Reservations {
        let is_over = self.closing.is_forced() || self.fatal.is_some();
        if is_over { Reservations::Ended } else { Reservations::Awaited }
    }

    /// RDY-4, RDY-5, RDY-6: an open batch lingers no more. RDY-2 is its caller's.
    fn must_seal(&self) -> bool {
        self.flush.is_active()
            || self.closing.is_closing()
            || self.accumulator.waiters.is_pressing()
    }

    /// The partition's queue became shorter, and [`place`](Self::place) does not follow: if an
    /// open batch has waited for that, it is looked at in the next turn.
    fn look_if_filling(&mut self, index: u32, now: Instant) {
        let partition = &self.partitions[index as usize];
        if partition.filling && partition.queue.is_empty() {
            self.arm_partition(index, now);
        }
    }

    fn arm_partition(&mut self, index: u32, at: Instant) {
        let partition = &mut self.partitions[index as usize];
        self.timers.arm(&mut partition.armed, Timer::Partition(index), at);
    }

    /// Puts the partition on its leader's ready list if its first batch may be sent; arms its
    /// timer.
    fn place(&mut self, index: u32, now: Instant) {
        if let Some(leader) = self.line_up(index, now) {
            self.pump(leader, now);
        }
    }

    /// [`place`](Self::place) that leaves it to the caller to use the connection of the node that
    /// it returns.
    #[inline(always)]
    fn line_up(&mut self, index: u32, now: Instant) -> Option<u32> {
        let partition = &self.partitions[index as usize];
        partition.tell_queued();
        if partition.filling && partition.queue.is_empty() {
            self.look(index, now);
            return None;
        }
        if partition.queue.is_empty() && partition.unsettled.is_empty() {
            self.poll_identity(now);
            return None;
        }
        self.arm_expiry(index, now);
        if !self.is_sendable(index, now) {
            self.watch_full(index, now);
            self.poll_identity(now);
            return None;
        }
        let partition = &mut self.partitions[index as usize];
        let Some(leader) = partition.leader else {
            // RDY-9: the batch stays queued, and can expire.
            let topic = Arc::clone(partition.ring.topic());
            self.cluster.entry(&topic).touch(clock::to_nanos(now));
            self.refresh_metadata();
            self.poll_metadata(now);
            return None;
        };
        if partition.place == Place::Ready(leader) {
            return None;
        }
        partition.place = Place::Ready(leader);
        self.nodes[leader as usize].ready.push_back(index);
        Some(leader)
    }

    /// The partition's timer has passed.
    fn partition_due(&mut self, index: u32, now: Instant) {
        self.expire_unsettled(index, now);
        self.look(index, now);
    }

    /// All timers that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.poll_bootstrap(now);
        // Bounded by what is set now: a deadline that is set anew comes with the next turn.
        for _ in 0..self.timers.len() {
            let Some((at, timer)) = self.timers.pop(now) else { break };
            match timer {
                Timer::Partition(index) => {
                    if self.partitions[index as usize].armed.fires(at) {
                        self.partition_due(index, now);
                    }
                }
                Timer::Node(index) => {
                    if self.nodes[index as usize].armed.fires(at) {
                        self.node_due(index, now);
                    }
                }
                Timer::Metadata => self.metadata_due(at, now),
                Timer::Identity => self.identity_due(at, now),
                Timer::Telemetry => self.telemetry_due(at, now),
            }
        }
        self.poll_ending(now);
    }

    /// A request frame's memory, empty.
    fn spare_frame(&mut self) -> Frame {
        self.spare_frames.pop().unwrap_or_default()
    }

    /// Something to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A verdict to hand out. Hand out all of them before the actions: a flush ends after them.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let close = self.closing.deadline();
        [self.timers.next(), close, self.bootstrap.deadline()].into_iter().flatten().min()
    }

    /// Bytes of the shard's memory that unanswered requests hold.
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Tells the readers of the meters which verdicts were given. Everything else they know.
    pub fn publish_verdicts(&self) {
        let (own, counters) = (&self.meters.own, &self.counters);
        own.acknowledged.set(counters.acknowledged);
        own.failed.set(counters.failed);
        own.possibly_written.set(counters.possibly_written);
        own.never_sent.set(counters.never_sent);
    }
}
