//! One partition as its sender sees it.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use super::batches::BatchTable;
use super::timers::Armed;
use crate::accumulator::batch_ring::BatchRing;
use crate::ids::{ProducerIdentity, Sequence, TopicId};
use crate::metadata::TopicEntry;
use crate::meters::{PartitionMeters, TopicCells};

/// Where a partition waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has nothing to send now; its timer or its ring will tell.
    Idle,
    /// On the ready list of this node.
    Ready(u32),
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) ring: Arc<BatchRing>,
    /// What application threads and shards share of its topic.
    pub(super) entry: Arc<TopicEntry>,
    /// Same for all partitions of a topic.
    pub(super) topic: u32,
    pub(super) topic_id: TopicId,
    pub(super) leader: Option<u32>,
    pub(super) leader_epoch: i32,
    /// Batches to send, the next one in front: retries in their first order, then new ones.
    pub(super) queue: VecDeque<u32>,
    /// Drained batches that the broker has not settled, in the order of their sequences: in flight,
    /// or in `queue` for a retry.
    pub(super) unsettled: VecDeque<u32>,
    /// Batches that were drained, retries not counted.
    pub(super) drains: u64,
    /// How many of `unsettled` are in flight.
    pub(super) in_flight: usize,
    pub(super) identity: ProducerIdentity,
    pub(super) next_sequence: Sequence,
    /// No batch of `identity` was acknowledged yet, so only one is in flight. A broker that has
    /// nothing of a producer takes any first sequence, and with that the second batch in front of
    /// the first, when it answers the first with a retriable error (it does while it takes over a
    /// new partition). Once it has one, it refuses what is out of order.
    pub(super) probing: bool,
    /// A sequence was used up, perhaps without being written: once nothing is in flight and nothing
    /// is open, the partition starts again at 0 under a new epoch (SEQ-6, SEQ-8).
    pub(super) restart: bool,
    /// A batch of `identity` was given up that may be written yet: its request may still lie at a
    /// broker, with those that followed it on the same connection.
    pub(super) gap_open: bool,
    /// What is unsettled went to a cluster that is no more: its old sequences, open attempts
    /// included, tell nothing to this one.
    pub(super) orphaned: bool,
    pub(super) place: Place,
    /// Batches that were opened before this time (nanoseconds on the process's clock) and come out
    /// of the ring only now were purged.
    pub(super) purge_before: u64,
    /// At the last look, a writer was between two steps in the first batch of the ring. Only a
    /// purge asks, and it clears this first.
    pub(super) was_incomplete: bool,
    /// Its ring has an open batch that takes records beyond its linger, because others are queued
    /// in front of it: it is looked at when these are gone.
    pub(super) filling: bool,
    /// Whether its ring has an open batch that lingers, and so it is in the sender's list of those.
    pub(super) lingering: bool,
    pub(super) armed: Armed,
    /// Its topic's, which the topic's other partitions here share.
    pub(super) topic_meters: Arc<TopicCells>,
    pub(super) meters: Arc<PartitionMeters>,
}

impl Partition {
    pub(super) fn new(
        ring: Arc<BatchRing>,
        entry: Arc<TopicEntry>,
        topic: u32,
        (topic_meters, meters): (Arc<TopicCells>, Arc<PartitionMeters>),
    ) -> Self {
        Self {
            ring,
            entry,
            topic,
            topic_id: TopicId::ZERO,
            leader: None,
            leader_epoch: -1,
            queue: VecDeque::new(),
            unsettled: VecDeque::new(),
            drains: 0,
            in_flight: 0,
            identity: ProducerIdentity::NONE,
            next_sequence: Sequence::ZERO,
            probing: false,
            restart: false,
            gap_open: false,
            orphaned: false,
            place: Place::Idle,
            purge_before: 0,
            was_incomplete: false,
            filling: false,
            lingering: false,
            armed: Armed::default(),
            topic_meters,
            meters,
        }
    }

    /// Tells those who choose partitions how many batches wait here (ADP-2).
    pub(super) fn tell_queued(&self) {
        self.ring.set_queued(self.queue.len());
    }

    /// Puts a batch back, in front of everything that was drained after it (ORD-4).
    pub(super) fn requeue(&mut self, batch: u32, batches: &BatchTable) {
        let rank = batches.get(batch).rank();
        let at = self.queue.iter().position(|other| batches.get(*other).rank() > rank);
        self.queue.insert(at.unwrap_or(self.queue.len()), batch);
    }

    /// Takes a batch out that is not going to be sent.
    pub(super) fn leave_queue(&mut self, batch: u32) {
        self.queue.retain(|other| *other != batch);
        self.tell_queued();
    }

    /// The broker has settled the batch, or never will.
    pub(super) fn settle(&mut self, batch: u32) {
        if self.unsettled.front() == Some(&batch) {
            // Brokers answer in order.
            self.unsettled.pop_front();
        } else if let Some(at) = self.unsettled.iter().position(|other| *other == batch) {
            self.unsettled.remove(at);
        }
    }
}
