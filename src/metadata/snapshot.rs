//! The cluster at one moment, and how a metadata answer changes it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::{BrokerId, TopicId};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::metadata::{MetadataResponse, PartitionMetadata, TopicMetadata};

/// A broker as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerNode {
    /// The node id.
    pub id: BrokerId,
    /// Host name or address literal.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// The rack, if the broker has one.
    pub rack: Option<Arc<str>>,
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// The partition's number.
    pub partition: i32,
    /// The leader, if there is one.
    pub leader: Option<BrokerId>,
    /// The leader's epoch; -1 when the brokers do not tell.
    pub leader_epoch: i32,
    /// The nodes that hold the partition.
    pub replicas: Vec<BrokerId>,
    /// The replicas that are in sync.
    pub isr: Vec<BrokerId>,
    /// The replicas that are down.
    pub offline: Vec<BrokerId>,
}

/// One topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSnapshot {
    /// The topic's id; zero when the brokers do not tell.
    pub id: TopicId,
    /// By partition number, without gaps.
    pub partitions: Vec<PartitionDescription>,
}

/// The cluster as the last answers described it. Immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The cluster's id.
    pub cluster_id: Option<Arc<str>>,
    /// The controller, if one is known.
    pub controller: Option<BrokerId>,
    /// The brokers.
    pub brokers: Vec<BrokerNode>,
    /// The topics in use, by name.
    pub topics: HashMap<Arc<str>, Arc<TopicSnapshot>>,
}

/// What an answer brought.
#[derive(Debug)]
pub struct Merged {
    /// The cluster after it.
    pub snapshot: Snapshot,
    /// Whether anything is new: a topic, a leader epoch, a broker (MD-5).
    pub changed: bool,
    /// Whether another update is needed soon: a topic or partition came with an error (MD-2).
    pub incomplete: bool,
    /// Errors of topics (MD-8).
    pub topic_errors: Vec<(Arc<str>, ErrorCode)>,
}

impl Snapshot {
    /// A topic.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicSnapshot>> {
        self.topics.get(name)
    }

    /// A broker.
    pub fn broker(&self, id: BrokerId) -> Option<&BrokerNode> {
        self.brokers.iter().find(|broker| broker.id == id)
    }

    /// The snapshot after an answer. `keep` says which of the topics that the answer does not name
    /// stay (all, after a partial request). None for an answer without brokers (MD-6).
    pub fn merge(&self, answer: MetadataResponse, keep: impl Fn(&str) -> bool) -> Option<Merged> {
        if answer.brokers.is_empty() {
            return None;
        }
        let brokers = answer.brokers.into_iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            let (host, rack) = (broker.host.into(), broker.rack.map(Into::into));
            Some(BrokerNode { id: broker.id, host, port, rack })
        });
        let mut topics = self.topics.clone();
        topics.retain(|name, _| keep(name));
        let snapshot = Self {
            cluster_id: answer.cluster_id.map(Into::into),
            controller: (answer.controller_id.0 >= 0).then_some(answer.controller_id),
            brokers: brokers.collect(),
            topics,
        };
        let changed = snapshot.brokers != self.brokers;
        let mut merged = Merged { snapshot, changed, incomplete: false, topic_errors: Vec::new() };
        answer.topics.into_iter().for_each(|topic| merged.add(topic));
        Some(merged)
    }
}

impl Merged {
    fn add(&mut self, topic: TopicMetadata) {
        let Some(name) = topic.name.map(Arc::<str>::from) else { return };
        if topic.error != ErrorCode::None {
            self.incomplete |= topic.error.is_retriable();
            if topic.error == ErrorCode::UnknownTopicOrPartition {
                // The topic is gone. Its batches wait for a leader, and it may be made again.
                self.changed |= self.snapshot.topics.remove(&name).is_some();
            }
            self.topic_errors.push((name, topic.error));
            return;
        }
        let known = self.snapshot.topics.get(&name).filter(|known| {
            // TID-3: a topic that was made again starts a new order of leader epochs.
            known.id == topic.id || known.id == TopicId::ZERO || topic.id == TopicId::ZERO
        });
        self.changed |= known.is_none();
        let mut partitions: Vec<_> = topic
            .partitions
            .into_iter()
            .map(|partition| {
                self.incomplete |= partition.error.refreshes_metadata();
                let old = usize::try_from(partition.index)
                    .ok()
                    .and_then(|index| known?.partitions.get(index));
                let (description, newer) = newest(old, partition);
                self.changed |= newer;
                description
            })
            .collect();
        partitions.sort_by_key(|partition| partition.partition);
        let contiguous = partitions.iter().zip(0..).all(|(found, index)| found.partition == index);
        if !contiguous {
            // A list with gaps cannot place keyed records; ask again.
            self.incomplete = true;
            return;
        }
        let found = TopicSnapshot { id: topic.id, partitions };
        self.snapshot.topics.insert(name, Arc::new(found));
    }
}

/// MD-7: the leader epoch of a partition never goes back; an older answer leaves what is known.
fn newest(
    old: Option<&PartitionDescription>,
    new: PartitionMetadata,
) -> (PartitionDescription, bool) {
    if let Some(old) = old
        && new.leader_epoch >= 0
        && new.leader_epoch < old.leader_epoch
    {
        return (old.clone(), false);
    }
    let description = PartitionDescription {
        partition: new.index,
        leader: (new.leader.0 >= 0).then_some(new.leader),
        leader_epoch: new.leader_epoch,
        replicas: new.replicas,
        isr: new.isr,
        offline: new.offline,
    };
    let newer = old.is_none_or(|old| {
        (old.leader, old.leader_epoch) != (description.leader, description.leader_epoch)
    });
    (description, newer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::metadata::Broker;

    fn partition(index: i32, leader: i32, epoch: i32) -> PartitionMetadata {
        PartitionMetadata {
            error: ErrorCode::None,
            index,
            leader: BrokerId(leader),
            leader_epoch: epoch,
            replicas: vec![],
            isr: vec![],
            offline: vec![],
        }
    }

    fn answer(id: u8, partitions: Vec<PartitionMetadata>) -> MetadataResponse {
        let broker = Broker { id: BrokerId(1), host: "h".into(), port: 9092, rack: None };
        let topic = TopicMetadata {
            error: ErrorCode::None,
            name: Some("t".into()),
            id: TopicId([id; 16]),
            internal: false,
            partitions,
        };
        MetadataResponse {
            throttle_ms: 0,
            brokers: vec![broker],
            cluster_id: None,
            controller_id: BrokerId(1),
            topics: vec![topic],
            error: ErrorCode::None,
        }
    }

    fn leader(merged: &Merged) -> Option<BrokerId> {
        merged.snapshot.topic("t").unwrap().partitions[0].leader
    }

    #[test]
    fn md_6_an_answer_without_brokers_is_ignored() {
        let mut empty = answer(1, vec![]);
        empty.brokers.clear();
        assert!(Snapshot::default().merge(empty, |_| true).is_none());
    }

    #[test]
    fn md_7_a_leader_epoch_never_goes_back() {
        let first =
            Snapshot::default().merge(answer(1, vec![partition(0, 1, 5)]), |_| true).unwrap();
        assert!(first.changed);
        let stale = first.snapshot.merge(answer(1, vec![partition(0, 2, 4)]), |_| true).unwrap();
        assert_eq!(leader(&stale), Some(BrokerId(1)));
        assert!(!stale.changed, "MD-5: an equivalent answer brings nothing");
        let newer = first.snapshot.merge(answer(1, vec![partition(0, 2, 6)]), |_| true).unwrap();
        assert_eq!(leader(&newer), Some(BrokerId(2)));
    }

    #[test]
    fn tid_3_a_topic_made_again_resets_the_order_of_epochs() {
        let first =
            Snapshot::default().merge(answer(1, vec![partition(0, 1, 5)]), |_| true).unwrap();
        let again = first.snapshot.merge(answer(2, vec![partition(0, 2, 0)]), |_| true).unwrap();
        assert_eq!(leader(&again), Some(BrokerId(2)));
    }

    #[test]
    fn md_7_brokers_without_epochs_replace_the_entry() {
        let first =
            Snapshot::default().merge(answer(0, vec![partition(0, 1, 5)]), |_| true).unwrap();
        let old = first.snapshot.merge(answer(0, vec![partition(0, 2, -1)]), |_| true).unwrap();
        assert_eq!(leader(&old), Some(BrokerId(2)));
    }

    #[test]
    fn md_9_topics_that_are_not_kept_are_forgotten() {
        let first =
            Snapshot::default().merge(answer(1, vec![partition(0, 1, 5)]), |_| true).unwrap();
        let mut other = answer(2, vec![partition(0, 1, 0)]);
        other.topics[0].name = Some("u".into());
        let merged = first.snapshot.merge(other, |name| name != "t").unwrap();
        assert!(merged.snapshot.topic("t").is_none() && merged.snapshot.topic("u").is_some());
    }

    #[test]
    fn md_8_a_refused_topic_is_reported_and_not_added() {
        let mut refused = answer(1, vec![]);
        refused.topics[0].error = ErrorCode::InvalidTopicException;
        let merged = Snapshot::default().merge(refused, |_| true).unwrap();
        assert_eq!(merged.topic_errors, [(Arc::from("t"), ErrorCode::InvalidTopicException)]);
        assert!(merged.snapshot.topic("t").is_none() && !merged.incomplete);
    }
}
