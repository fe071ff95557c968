//! The cluster at one moment, and how a metadata answer changes it.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
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
    /// The id of the topic of this name before it was made again; zero if it was not. A broker that
    /// lags behind may still tell it (MD-7).
    pub former_id: TopicId,
    /// How many answers in a row told the former id, or older leader epochs. Enough of them, and it
    /// is what is known that was wrong: it came from a broker that lagged behind a topic's end.
    pub doubts: u32,
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
    /// Topics in use that the brokers do not know any more, as they were. One that comes back under
    /// its old id was never away: a broker was asked that lags behind (MD-7).
    gone: BTreeMap<Arc<str>, Arc<TopicSnapshot>>,
    /// Counts how often the known brokers were given up (RBT-2 to RBT-4): connections from before
    /// are to be ended.
    pub rebootstraps: u32,
    /// Counts how often another cluster answered: nothing that was learned before, producer ids
    /// included, means anything to it.
    pub replacements: u32,
}

/// What a broker that does not lead a partition says about who does (KIP-951).
#[derive(Clone, Debug)]
pub struct LeaderHint {
    /// The topic.
    pub topic: Arc<str>,
    /// The topic's id, as the request had it; zero if that was not known.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: i32,
    /// The leader.
    pub leader: BrokerId,
    /// The leader's epoch.
    pub leader_epoch: i32,
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

    /// The rack of a broker, if it has one.
    pub fn rack_of(&self, id: BrokerId) -> Option<&str> {
        self.broker(id)?.rack.as_deref()
    }

    /// The snapshot after an answer. `keep` says which of the topics that the answer does not name
    /// stay (all, after a partial request). None for an answer without brokers (MD-6).
    pub fn merge(&self, answer: MetadataResponse, keep: impl Fn(&str) -> bool) -> Option<Merged> {
        let cluster_id =
            answer.cluster_id.map(Arc::<str>::from).or_else(|| self.cluster_id.clone());
        let replaced = self.cluster_id.is_some() && cluster_id != self.cluster_id;
        let brokers = answer.brokers.into_iter().filter_map(|broker| {
            let (host, rack) = (broker.host.into(), broker.rack.map(Into::into));
            Some(BrokerNode { id: broker.id, host, port: port(broker.port)?, rack })
        });
        let mut snapshot = Self {
            cluster_id,
            controller: (answer.controller_id.0 >= 0).then_some(answer.controller_id),
            brokers: brokers.collect(),
            topics: self.topics.clone(),
            gone: self.gone.clone(),
            rebootstraps: self.rebootstraps,
            replacements: self.replacements + u32::from(replaced),
        };
        if snapshot.brokers.is_empty() {
            return None;
        }
        snapshot.topics.retain(|name, _| !replaced && keep(name));
        snapshot.gone.retain(|name, _| !replaced && keep(name));
        let changed = replaced || snapshot.brokers != self.brokers;
        // After a partial answer of another cluster the other topics have to be asked for again.
        let mut merged =
            Merged { snapshot, changed, incomplete: replaced, topic_errors: Vec::new() };
        answer.topics.into_iter().for_each(|topic| merged.add(topic));
        Some(merged)
    }

    /// The snapshot after brokers told who leads some partitions, all of them at once (LDR-5); None
    /// when nothing of it is news. `endpoints` are those that came with the hints.
    pub fn patch(&self, hints: &[LeaderHint], endpoints: &[BrokerNode]) -> Option<Self> {
        let mut patched: Option<Self> = None;
        for hint in hints {
            let base = patched.as_ref().unwrap_or(self);
            let endpoint = endpoints.iter().find(|endpoint| endpoint.id == hint.leader);
            if !base.is_news(hint) || endpoint.or_else(|| base.broker(hint.leader)).is_none() {
                continue;
            }
            let snapshot = patched.get_or_insert_with(|| self.clone());
            if let Some(endpoint) = endpoint {
                snapshot.adopt_endpoint(endpoint);
            }
            let Some(topic) = snapshot.topics.get_mut(&hint.topic) else { continue };
            let partition = Arc::make_mut(topic).partitions.get_mut(hint.partition as usize);
            let Some(partition) = partition else { continue };
            (partition.leader, partition.leader_epoch) = (Some(hint.leader), hint.leader_epoch);
        }
        patched
    }

    /// LDR-2: whether the hint is about a partition that is known, and newer than what is known.
    fn is_news(&self, hint: &LeaderHint) -> bool {
        let Some(topic) = self.topic(&hint.topic) else { return false };
        let same = [topic.id, hint.topic_id].contains(&TopicId::ZERO) || topic.id == hint.topic_id;
        let partition = usize::try_from(hint.partition).ok();
        let partition = partition.and_then(|partition| topic.partitions.get(partition));
        same && partition.is_some_and(|known| hint.leader_epoch > known.leader_epoch)
    }

    fn adopt_endpoint(&mut self, endpoint: &BrokerNode) {
        match self.brokers.iter_mut().find(|broker| broker.id == endpoint.id) {
            Some(known) => *known = endpoint.clone(),
            None => self.brokers.push(endpoint.clone()),
        }
    }

    /// The snapshot after the known brokers were given up (RBT-6): nothing has a leader. How many
    /// partitions a topic has stays, so that records can still be appended; leader epochs stay only
    /// if the next answer can be recognised as this cluster's.
    pub fn without_brokers(&self) -> Self {
        let mut snapshot = self.clone();
        snapshot.rebootstraps += 1;
        snapshot.brokers.clear();
        snapshot.controller = None;
        let recognisable = self.cluster_id.is_some();
        for topic in snapshot.topics.values_mut() {
            for partition in &mut Arc::make_mut(topic).partitions {
                partition.leader = None;
                if !recognisable {
                    partition.leader_epoch = -1;
                }
            }
        }
        if !recognisable {
            snapshot.gone.clear();
        }
        snapshot
    }
}

/// A port as it came, if it is one.
pub fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}

impl Merged {
    fn add(&mut self, topic: TopicMetadata) {
        let Some(name) = topic.name.map(Arc::<str>::from) else { return };
        if topic.error != ErrorCode::None {
            self.incomplete |= topic.error.is_retriable();
            if topic.error == ErrorCode::UnknownTopicOrPartition
                && let Some(gone) = self.snapshot.topics.remove(&name)
            {
                // Its batches wait for a leader, and it may be made again.
                self.changed = true;
                self.snapshot.gone.insert(Arc::clone(&name), gone);
            }
            self.topic_errors.push((name, topic.error));
            return;
        }
        let Some((id, former_id, known)) = self.identify(&name, topic.id) else {
            // MD-7: this broker has not heard yet that the topic was made again.
            self.incomplete = true;
            self.doubt(&name);
            return;
        };
        let mut changed = known.is_none() || self.snapshot.topic(&name).is_none();
        let doubts = known.as_ref().map_or(0, |known| known.doubts);
        let mut doubted = false;
        let known = known.as_ref().map_or(&[][..], |known| &known.partitions);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            self.incomplete |= partition.error.refreshes_metadata();
            let old = usize::try_from(partition.index).ok().and_then(|index| known.get(index));
            let older = old.is_some_and(|old| is_older(&partition, old));
            doubted |= older && doubts < DOUBTS_MAX;
            let (description, newer) = newest(old, partition, older && doubts < DOUBTS_MAX);
            changed |= newer;
            partitions.push(description);
        }
        partitions.sort_by_key(|partition| partition.partition);
        let contiguous = partitions.iter().zip(0..).all(|(found, index)| found.partition == index);
        if !contiguous {
            // A list with gaps cannot place keyed records; ask again.
            self.incomplete = true;
            return;
        }
        if id != TopicId::ZERO && partitions.len() < known.len() {
            // A topic never loses partitions, so this broker lags behind (MD-7).
            self.incomplete = true;
            partitions.extend_from_slice(&known[partitions.len()..]);
        }
        self.changed |= changed;
        self.incomplete |= doubted;
        let doubts = if doubted { doubts + 1 } else { 0 };
        self.snapshot.gone.remove(&name);
        let found = TopicSnapshot { id, former_id, doubts, partitions };
        self.snapshot.topics.insert(name, Arc::new(found));
    }

    /// An answer about the topic told its former id.
    fn doubt(&mut self, name: &Arc<str>) {
        let Snapshot { topics, gone, .. } = &mut self.snapshot;
        if let Some(topic) = topics.get_mut(name).or_else(|| gone.get_mut(name)) {
            Arc::make_mut(topic).doubts += 1;
        }
    }

    /// The topic's id and former id after an answer that told `told`, and the topic as it is known
    /// if it is still that one; None if the answer is older than what is known.
    fn identify(&self, name: &str, told: TopicId) -> Option<(TopicId, TopicId, Known)> {
        let gone = self.snapshot.gone.get(name);
        // Without an id nothing tells whether the topic that is back is the one that went.
        let gone = gone.filter(|_| told != TopicId::ZERO);
        let Some(known) = self.snapshot.topic(name).or(gone) else {
            return Some((told, TopicId::ZERO, None));
        };
        let same = [known.id, TopicId::ZERO].contains(&told);
        if !same && told == known.former_id && known.doubts < DOUBTS_MAX {
            return None;
        }
        if same || known.id == TopicId::ZERO {
            // A broker that tells no ids does not make a known one unknown.
            let id = if told == TopicId::ZERO { known.id } else { told };
            return Some((id, known.former_id, Some(Arc::clone(known))));
        }
        // TID-3: a topic that was made again starts a new order of leader epochs.
        Some((told, known.id, None))
    }
}

/// So many answers in a row are not all from brokers that lag behind.
const DOUBTS_MAX: u32 = 8;

/// A topic as it is known, if it is.
type Known = Option<Arc<TopicSnapshot>>;

/// MD-7: whether an answer is older than what is known of a partition.
fn is_older(new: &PartitionMetadata, old: &PartitionDescription) -> bool {
    new.leader_epoch >= 0 && new.leader_epoch < old.leader_epoch
}

/// The partition after an answer, and whether that is news. One that is doubted changes nothing.
fn newest(
    old: Option<&PartitionDescription>,
    new: PartitionMetadata,
    is_doubted: bool,
) -> (PartitionDescription, bool) {
    if let Some(old) = old.filter(|_| is_doubted) {
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

    /// A topic that is made again twice, and a stale answer about the life in between: what looked
    /// new was old.
    #[test]
    fn tid_3_an_id_that_is_told_again_and_again_is_the_present_one() {
        let told = |snapshot: &Snapshot, id, epoch| {
            snapshot.merge(answer(id, vec![partition(0, id.into(), epoch)]), |_| true).unwrap()
        };
        let current = told(&Snapshot::default(), 3, 0).snapshot;
        let mut misled = told(&current, 2, 4);
        assert_eq!(leader(&misled), Some(BrokerId(2)));
        for _ in 0..DOUBTS_MAX {
            misled = told(&misled.snapshot, 3, 1);
            assert_eq!((leader(&misled), misled.incomplete), (Some(BrokerId(2)), true));
        }
        let found = told(&misled.snapshot, 3, 1);
        assert_eq!((leader(&found), found.incomplete), (Some(BrokerId(3)), false));
        // One that lags behind is not believed, if others tell the present id in between.
        let mut steady = found;
        for _ in 0..3 * DOUBTS_MAX {
            steady = told(&steady.snapshot, 2, 9);
            steady = told(&steady.snapshot, 3, 1);
            assert_eq!(leader(&steady), Some(BrokerId(3)));
        }
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

    #[test]
    fn ldr_2_only_a_newer_epoch_of_a_known_partition_of_the_same_topic_is_news() {
        let merged = Snapshot::default().merge(answer(1, vec![partition(0, 1, 5)]), |_| true);
        let known = merged.unwrap().snapshot;
        let node = BrokerNode { id: BrokerId(2), host: "two".into(), port: 9092, rack: None };
        let hint = |id: u8, partition, leader_epoch| LeaderHint {
            topic: "t".into(),
            topic_id: TopicId([id; 16]),
            partition,
            leader: BrokerId(2),
            leader_epoch,
        };
        let endpoints = std::slice::from_ref(&node);
        for stale in [hint(1, 0, 5), hint(1, 0, 4), hint(1, 1, 9), hint(1, -1, 9), hint(2, 0, 9)] {
            assert_eq!(known.patch(std::slice::from_ref(&stale), endpoints), None, "{stale:?}");
        }
        assert_eq!(known.patch(&[hint(1, 0, 6)], &[]), None, "nobody knows where it listens");
        for news in [hint(1, 0, 6), hint(0, 0, 6)] {
            let patched = known.patch(&[news], endpoints).unwrap();
            let found = &patched.topic("t").unwrap().partitions[0];
            assert_eq!((found.leader, found.leader_epoch), (Some(BrokerId(2)), 6));
            assert_eq!(patched.broker(BrokerId(2)), Some(&node));
        }
    }
}
