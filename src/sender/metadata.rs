//! Keeping the metadata fresh, and choosing whom to ask (MD-1 to MD-9, MD-13).
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::backoff;
use super::events::limited;
use super::node::{Asked, Link, Node, Request};
use super::partition::Place;
use super::resolving::Bootstrap;
use super::timers::{Armed, Timer};
use super::{Action, Sender};
use crate::clock;
use crate::metadata::{Published, Snapshot};
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::metadata;
use crate::protocol::wire::WireError;

/// The fetching of metadata; idle in all shards but the one that writes it.
#[derive(Debug)]
pub(super) struct MetadataTask {
    writes: bool,
    pub(super) need_full: bool,
    need_partial: bool,
    asked: bool,
    pub(super) failures: u32,
    pub(super) not_before: Option<Instant>,
    /// When what is known is too old (`metadata.max.age.ms`).
    expires_at: Option<Instant>,
    /// Since when an update has been due and none has come (RBT-2).
    pub(super) trying_since: Option<Instant>,
    pub(super) armed: Armed,
}

impl MetadataTask {
    pub(super) fn new(writes: bool) -> Self {
        Self {
            writes,
            need_full: true,
            need_partial: false,
            asked: false,
            failures: 0,
            not_before: None,
            expires_at: None,
            trying_since: None,
            armed: Armed::default(),
        }
    }
}

/// How many newer leaders a batch goes to without a wait. Brokers that name each other under ever
/// newer epochs would have it run between them for ever.
const MOVES_MAX: u8 = 16;

/// How long a connection in the making, or one that is busy with a write, is waited for before
/// another node is tried beside it. Where a host is gone nothing answers a connect, for ten seconds
/// by default, and a stopped broker takes no bytes; one that is there needs a small part of this.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// What a snapshot says that is new about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// Its leader epoch is newer.
    Leader,
    /// Its topic was made again: this is another log (TID-3).
    MadeAgain,
}

/// The first version of Metadata whose leader epochs never go back while a topic lives. Before, a
/// broker that lags behind could tell old leaders under new epochs.
const RELIABLE_EPOCHS_FROM: i16 = 9;

/// Whom to send a request that any broker can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This node, now.
    Use(u32),
    /// This node has to be connected first.
    Connect(u32),
    /// A connection is being made, or everything backs off.
    Wait,
}

impl Sender {
    /// The metadata is wrong (MD-2).
    pub(super) fn refresh_metadata(&mut self) {
        if self.metadata.writes {
            self.metadata.need_full = true;
        } else {
            self.cluster.mark_stale();
            self.actions.push_back(Action::Refresh);
        }
    }

    /// Whether the shard has news for the metadata or from it: call it once a turn.
    pub fn handle_cluster(&mut self, now: Instant) {
        let generation = self.cluster.generation();
        if generation != self.generation {
            self.generation = generation;
            let snapshot = self.cluster.snapshot();
            self.handle_snapshot(snapshot, None, now);
        }
        self.poll_metadata(now);
    }

    /// Takes over a snapshot that this shard published; `answered` is the node it came from.
    pub(super) fn adopt(&mut self, published: Published, answered: Option<u32>, now: Instant) {
        self.generation = published.generation;
        self.actions.push_back(Action::Published);
        self.handle_snapshot(published.snapshot, answered, now);
    }

    /// Sends a metadata request, if one is due and a broker is at hand.
    pub(super) fn poll_metadata(&mut self, now: Instant) {
        let given_up = self.bootstrap == Bootstrap::GivenUp;
        if !self.metadata.writes || given_up || self.closing.is_over() {
            return;
        }
        if !self.metadata.asked && !self.is_update_due(now) {
            return;
        }
        self.watch_recovery(now);
        if self.metadata.asked {
            return;
        }
        let task = &mut self.metadata;
        if let Some(at) = task.not_before.filter(|at| *at > now) {
            return self.timers.arm(&mut task.armed, Timer::Metadata, at);
        }
        match self.choose_node(now) {
            Choice::Use(index) => self.ask_metadata(index, now),
            Choice::Connect(index) => self.connect(index, now),
            // A node that comes up, fails or may be tried again brings us here sooner.
            Choice::Wait => {
                self.timers.arm(&mut self.metadata.armed, Timer::Metadata, now + PATIENCE);
            }
        }
    }

    /// Whether metadata is needed and nobody has been asked yet: any connection may be wanted.
    pub(super) fn metadata_waits(&self) -> bool {
        let task = &self.metadata;
        !task.asked && (task.need_full || task.need_partial)
    }

    /// Whether an update is due; if not, the timer is set for when the metadata will be too old.
    fn is_update_due(&mut self, now: Instant) -> bool {
        let task = &mut self.metadata;
        if self.cluster.take_topic_wanted() {
            task.need_partial = true;
            task.not_before = None;
        }
        task.need_full |= self.cluster.take_stale();
        let expires = task.expires_at;
        task.need_full |= expires.is_none_or(|at| at <= now);
        let due = task.need_full || task.need_partial;
        if let Some(at) = expires.filter(|_| !due) {
            self.timers.arm(&mut task.armed, Timer::Metadata, at);
        }
        due
    }

    fn ask_metadata(&mut self, index: u32, now: Instant) {
        let Some(version) = self.nodes[index as usize].versions.metadata else {
            let node = &self.nodes[index as usize];
            tracing::warn!(host = %node.host, "the broker speaks no version of Metadata of ours");
            self.shut_down(index);
            return self.metadata_failed(now);
        };
        let idle = now.checked_sub(self.settings.metadata_idle_max);
        let (used, unknown) = self.cluster.topics_in_use(idle.map_or(0, clock::to_nanos));
        let full = self.metadata.need_full || unknown.is_empty();
        let topics = if full { used } else { unknown };
        self.metadata.asked = true;
        self.metadata.need_partial = false;
        self.metadata.need_full &= !full;
        self.request(index, ApiKey::Metadata, version, now, |out, header| {
            metadata::encode_request(out, header, Some(&topics));
            Some(Asked { full, topics })
        });
    }

    pub(super) fn handle_metadata_answer(
        &mut self,
        index: u32,
        request: &Request,
        body: &[u8],
        now: Instant,
    ) -> Result<(), WireError> {
        let mut answer = metadata::decode_response(request.version, body)?;
        if request.version < RELIABLE_EPOCHS_FROM {
            // MD-7: what cannot be ordered is taken as it comes.
            let partitions = answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.for_each(|partition| partition.leader_epoch = -1);
        }
        let throttle = u64::try_from(answer.throttle_ms).unwrap_or(0);
        self.throttle(index, throttle, request.version >= 6, now);
        if answer.error != ErrorCode::None {
            self.metadata_refused(answer.error, now);
            return Ok(());
        }
        let (topics, full) =
            request.asked.as_ref().map_or((&[][..], false), |asked| (&asked.topics, asked.full));
        let Some(update) = self.cluster.merge(answer, topics, full) else {
            self.metadata_failed(now);
            return Ok(());
        };
        self.meters.own.metadata_updates.add(1);
        self.meters.metadata_at.set(clock::to_nanos(now));
        let task = &mut self.metadata;
        task.asked = false;
        task.expires_at = Some(now + self.settings.metadata_age_max);
        task.trying_since = None;
        task.need_full |= update.incomplete;
        task.failures = if update.changed { 0 } else { task.failures + 1 };
        // MD-5: an answer that brings nothing new is followed by a wait, too.
        let failures = task.failures.saturating_sub(1);
        let wait = backoff(self.settings.retry_backoff, failures, &mut self.random);
        self.metadata.not_before = Some(now + wait);
        self.adopt(update.published, Some(index), now);
        self.poll_metadata(now);
        Ok(())
    }

    /// The answer as a whole is an error; with RBT-3 the broker sends its clients away.
    fn metadata_refused(&mut self, code: ErrorCode, now: Instant) {
        tracing::warn!(code = code.name(), "the broker refuses metadata");
        let failures = self.metadata.failures;
        if code == ErrorCode::RebootstrapRequired && self.may_rebootstrap() {
            self.rebootstrap("a broker asks for it", now);
        }
        // Also then not without a wait that grows: the bootstrap server may say the same.
        self.metadata.failures = failures;
        self.metadata_failed(now);
    }

    /// The request was lost, or its answer is of no use.
    pub(super) fn metadata_failed(&mut self, now: Instant) {
        let wait = backoff(self.settings.retry_backoff, self.metadata.failures, &mut self.random);
        let task = &mut self.metadata;
        task.asked = false;
        task.need_full = true;
        task.failures += 1;
        task.not_before = Some(now + wait);
        self.timers.arm(&mut task.armed, Timer::Metadata, now + wait);
    }

    pub(super) fn metadata_due(&mut self, at: Instant, now: Instant) {
        if self.metadata.armed.fires(at) {
            self.poll_metadata(now);
        }
    }

    /// Takes over a snapshot: nodes, then the leaders of this shard's partitions.
    fn handle_snapshot(&mut self, snapshot: Arc<Snapshot>, answered: Option<u32>, now: Instant) {
        let old = std::mem::replace(&mut self.snapshot, snapshot);
        if old.replacements != self.snapshot.replacements {
            self.end_connections(answered);
            self.enter_cluster(now);
        } else if old.rebootstraps != self.snapshot.rebootstraps {
            self.end_connections(None);
        }
        self.adopt_nodes(now);
        for index in 0..self.partitions.len() as u32 {
            let was = self.partitions[index as usize].leader;
            let news = self.route(index);
            self.log_leader(index, was, now);
            self.rerouted(index, news, now);
        }
        self.poll_identity(now);
        self.poll_telemetry(now);
        self.poll_ending(now);
    }

    fn log_leader(&mut self, index: u32, was: Option<u32>, now: Instant) {
        let partition = &self.partitions[index as usize];
        let (Some(old), Some(new)) = (was, partition.leader) else { return };
        if old != new {
            let id = |node: u32| self.nodes[node as usize].id.0;
            limited!(
                news,
                self.events,
                LeaderChanged,
                now,
                topic = &**partition.ring.topic(),
                partition = partition.ring.partition(),
                from = id(old),
                to = id(new),
                epoch = partition.leader_epoch,
                "the partition has another leader"
            );
        }
    }

    /// The partition may have another leader: its place follows, and batches that wait for a retry
    /// need not wait any longer (RTY-4).
    fn rerouted(&mut self, index: u32, news: News, now: Instant) {
        let partition = &mut self.partitions[index as usize];
        for &batch in partition.queue.iter().filter(|_| news != News::None) {
            let state = self.batches.get_mut(batch);
            let moved = news == News::MadeAgain || state.leader_epoch < partition.leader_epoch;
            if moved && state.retry_at.is_some() && state.moves < MOVES_MAX {
                state.moves += 1;
                state.retry_at = None;
            }
        }
        let leader = partition.leader;
        if let Place::Ready(node) = partition.place
            && leader != Some(node)
        {
            partition.place = Place::Idle;
        }
        if partition.place == Place::Idle && !partition.queue.is_empty() {
            self.place(index, now);
        }
    }

    fn adopt_nodes(&mut self, now: Instant) {
        let snapshot = Arc::clone(&self.snapshot);
        for node in &mut self.nodes {
            node.listed = node.is_bootstrap();
        }
        for broker in &snapshot.brokers {
            let Some(&index) = self.node_of.get(&broker.id) else {
                self.node_of.insert(broker.id, self.nodes.len() as u32);
                let host = Arc::clone(&broker.host);
                let meters = self.meters.node(broker.id, &broker.host, broker.port);
                self.nodes.push(Node::new(broker.id, host, broker.port, meters, now));
                continue;
            };
            let node = &mut self.nodes[index as usize];
            node.listed = true;
            if (&*node.host, node.port) != (&*broker.host, broker.port) {
                self.meters.node(broker.id, &broker.host, broker.port);
                node.host = Arc::clone(&broker.host);
                node.port = broker.port;
                node.addresses.clear();
                node.failures = 0;
                node.is_misrouted = false;
                node.retry_at = None;
                self.shut_down(index);
            }
        }
        for index in 0..self.nodes.len() as u32 {
            let node = &self.nodes[index as usize];
            if !node.listed && node.in_flight.is_empty() {
                self.shut_down(index);
            }
        }
    }

    /// MD-4: the least loaded usable node. Bootstrap addresses only while no broker is usable.
    pub(super) fn choose_node(&mut self, now: Instant) -> Choice {
        if self.nodes.is_empty() {
            return Choice::Wait;
        }
        let start = self.random.below(self.nodes.len());
        if let Some(choice) = self.choose_among(start, false, now) {
            return choice;
        }
        // RBT-1.
        if !self.snapshot.brokers.is_empty() && !self.may_rebootstrap() {
            return Choice::Wait;
        }
        self.choose_among(start, true, now).unwrap_or(Choice::Wait)
    }

    fn choose_among(&self, start: usize, bootstrap: bool, now: Instant) -> Option<Choice> {
        let mut best: Option<(usize, u32)> = None;
        let (mut pending, mut idle) = (false, None);
        for step in 0..self.nodes.len() {
            let index = (start + step) % self.nodes.len();
            let node = &self.nodes[index];
            if node.is_bootstrap() != bootstrap || !node.listed {
                continue;
            }
            match node.link {
                Link::Up if node.can_send(now) => {
                    let load = node.in_flight.len();
                    if best.is_none_or(|(least, _)| load < least) {
                        best = Some((load, index as u32));
                    }
                }
                Link::Up if node.throttled_until.is_some_and(|until| until > now) => {}
                // In the making, or busy with a write.
                Link::Up | Link::Resolving | Link::Connecting(_) | Link::Greeting => {
                    pending |= now < node.used_at + PATIENCE;
                }
                Link::Down if node.can_connect(now) => idle = idle.or(Some(index as u32)),
                Link::Down | Link::Closing => {}
            }
        }
        match (best, pending, idle) {
            (Some((_, index)), ..) => Some(Choice::Use(index)),
            (None, true, _) => Some(Choice::Wait),
            (None, false, Some(index)) => Some(Choice::Connect(index)),
            (None, false, None) => None,
        }
    }
}
