//! The end of a run: the cluster heals, and its logs are read.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::account::{LossCause, Lost};
use super::agenda::Place;
use super::batch::Record;
use super::replica::Replica;
use super::topics::Topic;
use super::{Cluster, Stored};

/// The final log of a partition.
#[derive(Debug)]
pub(crate) struct PartitionLog<'a> {
    pub(crate) topic: u128,
    pub(crate) name: &'a str,
    /// Whether the topic was deleted: another may have its name.
    pub(crate) is_deleted: bool,
    pub(crate) partition: i32,
    /// Where retention has moved the log's start. The model keeps what lies below.
    pub(crate) start: u64,
    pub(crate) batches: &'a [Rc<Stored>],
}

impl<'a> PartitionLog<'a> {
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'a>> {
        self.batches.iter().flat_map(|batch| batch.records())
    }
}

impl Cluster {
    /// Ends all faults: brokers come back, topics are there, partitions are led. What was held back
    /// still comes late.
    pub(crate) fn heal(&mut self) {
        self.is_healed = true;
        self.faults.end();
        for node in 1..=self.brokers.len() as i32 {
            let life = self.broker(node).life;
            self.come_back(node, life);
            self.rejoin(node, life);
        }
        (0..self.plan.topics.len()).for_each(|planned| {
            let was_there = self.topics.iter().any(|topic| topic.planned == planned);
            if was_there {
                self.create_again(planned);
            }
        });
        for topic in 0..self.topics.len() {
            let planned = self.plan.topics[self.topics[topic].planned].partitions;
            while self.topics[topic].is_live && self.topics[topic].partitions.len() < planned {
                self.add_partition(topic);
            }
        }
        for place in self.places() {
            let replicas = &mut self.partition_mut(place).replicas;
            replicas.iter_mut().for_each(|replica| replica.stuck_until = 0);
            if self.topics[place.topic].is_ready && self.partition(place).decided.leader < 0 {
                self.elect(place, None);
            }
            for node in self.nodes_of(place) {
                self.unstick(place, node);
            }
        }
        self.settle();
    }

    /// A follower that waits for a far-away fetch gets a near one too.
    fn unstick(&mut self, place: Place, node: i32) {
        if let Some(replica) = self.partition_mut(place).replica_mut(node) {
            replica.is_fetching = false;
        }
        self.fetch_soon(place, node);
    }

    /// The logs that count, of every topic that ever was: those of the leaders. To be read when the
    /// cluster is healed.
    pub(crate) fn logs(&self) -> Vec<PartitionLog<'_>> {
        let mut logs = Vec::new();
        for topic in &self.topics {
            for (partition, it) in (0..).zip(&topic.partitions) {
                logs.push(Self::log(topic, partition, it.authority()));
            }
        }
        logs
    }

    fn log<'a>(topic: &'a Topic, partition: i32, authority: &'a Replica) -> PartitionLog<'a> {
        PartitionLog {
            topic: topic.id,
            name: &topic.name,
            is_deleted: !topic.is_live,
            partition,
            start: authority.start,
            batches: &authority.log,
        }
    }

    /// The acknowledged batches that are in no final log, by the cluster's own fault.
    ///
    /// # Errors
    /// Batches that are lost without a reason: the model is wrong.
    pub(crate) fn lost(&self) -> Result<Vec<Lost>, Vec<String>> {
        let (mut lost, mut wrong) = (Vec::new(), Vec::new());
        for success in &self.account.successes {
            let Some(topic) = self.ids.get(&success.topic) else { continue };
            let partition = &self.topics[*topic].partitions[success.partition as usize];
            if partition.authority().has(&success.batch) {
                continue;
            }
            let is_unclean = partition.unclean.iter().any(|epoch| *epoch > success.leader_epoch);
            let cause = if is_unclean {
                LossCause::UncleanElection
            } else if !success.acks_all {
                LossCause::LeaderOnly
            } else {
                wrong.push(format!("the model lost {success:?}"));
                continue;
            };
            let (topic, partition) = (success.topic, success.partition);
            lost.push(Lost { topic, partition, batch: Rc::clone(&success.batch), cause });
        }
        if wrong.is_empty() { Ok(lost) } else { Err(wrong) }
    }
}
