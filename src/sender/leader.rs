//! What brokers say about other leaders in produce answers, taken at once (KIP-951).
//!
//! A shard patches the published snapshot itself: it is the one that has the batches, and a full
//! update, which it asks for as well (LDR-3), may take as long as a request to a dead broker.
//!
//! Source:   LDR-1 to LDR-5 of the Java producer.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::Sender;
use super::node::Entry;
use crate::metadata::snapshot::port;
use crate::metadata::{BrokerNode, LeaderHint};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::produce::{NodeEndpoint, NodeEndpoints, PartitionResponse};

impl Sender {
    /// What the verdict on a batch says about its partition's leader (LDR-1). The topic is the one
    /// of the request, whatever the metadata says by now (TID-2).
    pub(super) fn hint_of(
        &self,
        entry: &Entry,
        answer: &PartitionResponse<'_>,
    ) -> Option<LeaderHint> {
        let moved = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch];
        let (leader, leader_epoch) =
            answer.current_leader.filter(|_| moved.contains(&answer.error))?;
        let ring = &self.partitions[entry.partition as usize].ring;
        Some(LeaderHint {
            topic: Arc::clone(ring.topic()),
            topic_id: entry.topic_id,
            partition: ring.partition(),
            leader,
            leader_epoch,
        })
    }

    /// Takes over all hints of an answer together (LDR-5); what waits for a retry goes to the new
    /// leader without a wait (LDR-4).
    pub(super) fn handle_hints(
        &mut self,
        hints: &[LeaderHint],
        endpoints: NodeEndpoints<'_>,
        now: Instant,
    ) {
        if hints.is_empty() {
            return;
        }
        let endpoints: Vec<_> = endpoints.filter_map(|endpoint| broker_at(&endpoint)).collect();
        if let Some(published) = self.cluster.patch(hints, &endpoints) {
            tracing::debug!(partitions = hints.len(), "new leaders, by the old ones' word");
            self.adopt(published, None, now);
        }
    }
}

impl Sender {
    /// What keeps a batch from being acknowledged: its partition's lack of a leader and the reason,
    /// or the end of its last attempt.
    pub(super) fn obstacle(&self, batch: u32) -> Option<ErrorCode> {
        let state = self.batches.get(batch);
        let partition = &self.partitions[state.partition as usize];
        if partition.leader.is_some() {
            return state.last_error;
        }
        let (topic, number) = (partition.ring.topic(), partition.ring.partition());
        let known = self.snapshot.topic(topic);
        let known = known.map(|topic| topic.partitions.get(number as usize).is_some());
        match known {
            Some(true) => Some(ErrorCode::LeaderNotAvailable),
            Some(false) => Some(ErrorCode::UnknownTopicOrPartition),
            None => self.cluster.entry(topic).last_error().or(state.last_error),
        }
    }
}

fn broker_at(endpoint: &NodeEndpoint<'_>) -> Option<BrokerNode> {
    let port = port(endpoint.port).filter(|_| !endpoint.host.is_empty())?;
    let rack = endpoint.rack.map(Into::into);
    Some(BrokerNode { id: endpoint.id, host: endpoint.host.into(), port, rack })
}
