//! When the known brokers are given up, and what a cluster that took the place of another one
//! means.
//!
//! The bootstrap servers are asked beside the known brokers as soon as none of these can be used
//! (RBT-1): nothing is thrown away for that, the answer replaces what it contradicts. Brokers that
//! can be connected to and still bring no metadata for a while are given up as a whole (RBT-2), as
//! they are when a broker says so itself, asked for metadata (RBT-3) or greeted as another one
//! (RBT-4). Then every connection ends, its requests are lost as with any lost connection (RBT-5),
//! nothing has a leader (RBT-6), and the bootstrap names are resolved anew. What is queued stays.
//!
//! Source:   KIP-899, KIP-1102, KIP-1242; RBT-1 to RBT-6 of the Java producer.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::Sender;
use super::events::limited;
use super::timers::Timer;
use crate::config::MetadataRecovery;
use crate::ids::{ProducerIdentity, Sequence};

impl Sender {
    /// Whether the bootstrap servers may be asked although brokers are known.
    pub(super) fn may_rebootstrap(&self) -> bool {
        self.settings.metadata_recovery == MetadataRecovery::Rebootstrap
    }

    /// RBT-2: gives up the known brokers when they have brought no metadata for too long. Call it
    /// while an update is due or under way.
    pub(super) fn watch_recovery(&mut self, now: Instant) {
        let since = *self.metadata.trying_since.get_or_insert(now);
        if !self.may_rebootstrap() {
            return;
        }
        let at = since + self.settings.rebootstrap_trigger;
        if at > now || since == now {
            // Not in the moment of the first try, however short the time is.
            return self.timers.arm(&mut self.metadata.armed, Timer::Metadata, at);
        }
        self.rebootstrap("no metadata for metadata.recovery.rebootstrap.trigger.ms", now);
    }

    /// Gives up the known brokers. Any shard: the one that writes the metadata is told.
    pub(super) fn rebootstrap(&mut self, why: &'static str, now: Instant) {
        tracing::warn!(why, "giving up the known brokers, back to the bootstrap servers");
        self.refresh_metadata();
        let task = &mut self.metadata;
        task.trying_since = Some(now);
        task.not_before = None;
        task.failures = 0;
        let published = self.cluster.forget_brokers();
        self.adopt(published, None, now);
    }

    /// RBT-4: another broker, or another cluster, answers where this one was said to be.
    pub(super) fn misrouted(&mut self, index: u32, now: Instant) {
        let node = &mut self.nodes[index as usize];
        node.is_misrouted = true;
        limited!(trouble, self.events, Unreachable, now, broker = node.id.0, host = %node.host,
            port = node.port, cluster = self.snapshot.cluster_id.as_deref().unwrap_or_default(),
            "another broker or cluster answers at this address");
        self.rebootstrap("an address leads to another broker or cluster", now);
        self.poll_metadata(now);
    }

    /// Ends all connections but one; each host is looked up anew. One that led elsewhere a moment
    /// ago keeps its wait: the bootstrap servers may name it again and again.
    pub(super) fn end_connections(&mut self, but: Option<u32>) {
        for index in (0..self.nodes.len() as u32).filter(|index| Some(*index) != but) {
            let node = &mut self.nodes[index as usize];
            node.addresses.clear();
            if !node.is_misrouted {
                node.failures = 0;
                node.retry_at = None;
            }
            self.shut_down(index);
        }
    }

    /// Another cluster has taken the place of the one that was known: producer ids and sequences
    /// start again. What was sent to the old one and not answered is sent to this one.
    pub(super) fn enter_cluster(&mut self, now: Instant) {
        tracing::warn!(
            cluster = self.snapshot.cluster_id.as_deref().unwrap_or_default(),
            "another cluster answers at these addresses: starting anew, with a new producer id"
        );
        if !self.settings.idempotence {
            return;
        }
        self.identity.forget();
        for index in 0..self.partitions.len() as u32 {
            let partition = &mut self.partitions[index as usize];
            partition.identity = ProducerIdentity::NONE;
            partition.next_sequence = Sequence::ZERO;
            if !partition.unsettled.is_empty() {
                partition.restart = true;
                partition.orphaned = true;
                self.restart_if_due(index, now);
            }
        }
    }
}
