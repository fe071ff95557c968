//! Keeping the metadata fresh, and choosing whom to ask (MD-1 to MD-9, MD-13).
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::backoff::backoff;
use super::node::{Asked, Link, Node, Request};
use super::partition::Place;
use super::timers::{Armed, Timer};
use super::{Action, Sender};
use crate::clock;
use crate::metadata::Snapshot;
use crate::protocol::api::ApiKey;
use crate::protocol::metadata;
use crate::protocol::wire::WireError;

/// The fetching of metadata; idle in all shards but the one that writes it.
#[derive(Debug)]
pub(super) struct MetadataTask {
    writes: bool,
    need_full: bool,
    need_partial: bool,
    asked: bool,
    failures: u32,
    not_before: Option<Instant>,
    updated_at: Option<Instant>,
    armed: Armed,
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
            updated_at: None,
            armed: Armed::default(),
        }
    }
}

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
        if self.metadata.writes {
            self.poll_metadata(now);
        } else if self.cluster.generation() != self.generation {
            self.generation = self.cluster.generation();
            let snapshot = self.cluster.snapshot();
            self.handle_snapshot(snapshot, now);
        }
    }

    /// Sends a metadata request, if one is due and a broker is at hand.
    pub(super) fn poll_metadata(&mut self, now: Instant) {
        if !self.metadata.writes || self.metadata.asked || self.closing.is_over() {
            return;
        }
        if self.cluster.take_topic_wanted() {
            self.metadata.need_partial = true;
            self.metadata.not_before = None;
        }
        let task = &mut self.metadata;
        task.need_full |= self.cluster.take_stale();
        let expires = task.updated_at.map(|at| at + self.settings.metadata_age_max);
        task.need_full |= expires.is_none_or(|at| at <= now);
        if !task.need_full && !task.need_partial {
            if let Some(at) = expires {
                self.timers.arm(&mut task.armed, Timer::Metadata, at);
            }
            return;
        }
        if let Some(at) = task.not_before.filter(|at| *at > now) {
            return self.timers.arm(&mut task.armed, Timer::Metadata, at);
        }
        match self.choose_node(now) {
            Choice::Use(index) => self.ask_metadata(index, now),
            Choice::Connect(index) => self.connect(index, now),
            // A node that comes up, fails or may be tried again brings us here.
            Choice::Wait => {}
        }
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
        let answer = metadata::decode_response(request.version, body)?;
        let throttle = u64::try_from(answer.throttle_ms).unwrap_or(0);
        self.throttle(index, throttle, request.version >= 6, now);
        let asked = request.asked.as_ref();
        let keep = |name: &str| {
            asked.is_none_or(|asked| !asked.full || asked.topics.iter().any(|t| **t == *name))
        };
        let merged = self.snapshot.merge(answer, keep);
        let Some(merged) = merged else {
            self.metadata_failed(now);
            return Ok(());
        };
        self.counters.metadata_updates += 1;
        let task = &mut self.metadata;
        task.asked = false;
        task.updated_at = Some(now);
        task.need_full |= merged.incomplete;
        task.failures = if merged.changed { 0 } else { task.failures + 1 };
        // MD-5: an answer that brings nothing new is followed by a wait, too.
        let failures = task.failures.saturating_sub(1);
        let wait = backoff(self.settings.retry_backoff, failures, &mut self.random);
        self.metadata.not_before = Some(now + wait);
        let snapshot = Arc::new(merged.snapshot);
        self.cluster.publish(Arc::clone(&snapshot), &merged.topic_errors);
        self.generation = self.cluster.generation();
        self.actions.push_back(Action::Published);
        self.handle_snapshot(snapshot, now);
        self.poll_metadata(now);
        Ok(())
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
    fn handle_snapshot(&mut self, snapshot: Arc<Snapshot>, now: Instant) {
        self.snapshot = snapshot;
        self.adopt_nodes(now);
        for index in 0..self.partitions.len() as u32 {
            let newer = self.route(index);
            self.rerouted(index, newer, now);
        }
        self.poll_identity(now);
        self.poll_ending(now);
    }

    /// The partition may have another leader: its place follows, and batches that wait for a retry
    /// need not wait any longer (RTY-4).
    fn rerouted(&mut self, index: u32, newer: bool, now: Instant) {
        let partition = &mut self.partitions[index as usize];
        for &batch in partition.queue.iter().filter(|_| newer) {
            let state = self.batches.get_mut(batch);
            if state.leader_epoch < partition.leader_epoch {
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
                self.nodes.push(Node::new(broker.id, host, broker.port, now));
                continue;
            };
            let node = &mut self.nodes[index as usize];
            node.listed = true;
            if (&*node.host, node.port) != (&*broker.host, broker.port) {
                node.host = Arc::clone(&broker.host);
                node.port = broker.port;
                node.addresses.clear();
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
        match self.choose_among(start, false, now) {
            Some(choice) => choice,
            None => self.choose_among(start, true, now).unwrap_or(Choice::Wait),
        }
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
                Link::Up if node.throttled_until.is_none_or(|until| until <= now) => pending = true,
                Link::Resolving | Link::Connecting(_) | Link::Greeting => pending = true,
                Link::Down if node.can_connect(now) => idle = idle.or(Some(index as u32)),
                Link::Up | Link::Down | Link::Closing => {}
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
