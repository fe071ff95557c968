//! Topics and their partitions, created and deleted.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::account::Forgotten;
use super::agenda::{Event, Place};
use super::plan::{Line, TopicPlan};
use super::replica::{Replica, View};
use super::{Cluster, codes};

#[derive(Debug)]
pub(super) struct Partition {
    /// The first is the preferred leader.
    pub(super) replicas: Vec<Replica>,
    /// What the controller has decided.
    pub(super) decided: View,
    /// Epochs that began with an unclean election.
    pub(super) unclean: Vec<i32>,
    /// A look at the in-sync replicas is on the agenda.
    pub(super) is_checked: bool,
}

impl Partition {
    pub(super) fn replica(&self, node: i32) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.node == node)
    }

    pub(super) fn replica_mut(&mut self, node: i32) -> Option<&mut Replica> {
        self.replicas.iter_mut().find(|replica| replica.node == node)
    }

    /// The replica whose log counts: the leader's, or that of who may lead next.
    pub(super) fn authority(&self) -> &Replica {
        let leader = Some(self.decided.leader).filter(|leader| *leader >= 0);
        let node = leader.or_else(|| self.decided.isr.first().copied());
        node.and_then(|node| self.replica(node)).unwrap_or(&self.replicas[0])
    }
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Rc<str>,
    pub(super) id: u128,
    /// Index into the plan's topics.
    pub(super) planned: usize,
    pub(super) is_live: bool,
    /// Whether its leaders are chosen.
    pub(super) is_ready: bool,
    pub(super) min_isr: usize,
    pub(super) batch_bytes_limit: usize,
    pub(super) replication: usize,
    pub(super) partitions: Vec<Partition>,
}

impl Cluster {
    pub(super) fn topic_plan(&self, name: &str) -> Option<usize> {
        self.plan.topics.iter().position(|topic| topic.name == name)
    }

    /// Creates a topic of the plan; nothing happens when it is there.
    pub(super) fn create(&mut self, planned: usize, partitions: usize) {
        let TopicPlan { name, replication, min_isr, batch_bytes_limit, .. } =
            self.plan.topics[planned].clone();
        if self.names.contains_key(name.as_str()) {
            return;
        }
        let name: Rc<str> = name.into();
        let id = u128::from(self.random.next()) << 64 | u128::from(self.random.next() | 1);
        let index = self.topics.len();
        // Where brokers are asked by name, what was sent for the old topic arrives in the new one,
        // which knows nobody yet.
        let was_there = self.topics.iter().any(|topic| topic.planned == planned);
        if was_there && self.plan.lines.iter().any(|line| *line != Line::V4_3) {
            let forgotten = |partition| Forgotten { topic: id, partition, before: 0, at: self.now };
            self.account.forgotten.extend((0..partitions.max(1) as i32).map(forgotten));
        }
        self.topics.push(Topic {
            name: Rc::clone(&name),
            id,
            planned,
            is_live: true,
            is_ready: false,
            min_isr,
            batch_bytes_limit,
            replication,
            partitions: Vec::new(),
        });
        self.names.insert(name, index);
        self.ids.insert(id, index);
        (0..partitions.max(1)).for_each(|_| self.add_partition(index));
        let ready_at =
            self.now + self.random.magnitude(100_000, self.plan.news_lag_max.max(200_000));
        self.agenda.add(ready_at, Event::Ready { topic: index });
    }

    /// Adds a partition, which has no leader yet.
    pub(super) fn add_partition(&mut self, topic: usize) {
        let count = self.brokers.len();
        let first = self.random.index(count);
        let nodes = (0..self.topics[topic].replication)
            .map(|place| self.brokers[(first + place) % count].node)
            .collect::<Vec<_>>();
        let decided = View { version: 1, leader: -1, epoch: 0, isr: nodes.clone() };
        let unknowing = View { version: 0, leader: -1, epoch: -1, isr: Vec::new() };
        let replicas = nodes.iter().map(|node| Replica::new(*node, unknowing.clone())).collect();
        self.topics[topic].partitions.push(Partition {
            replicas,
            decided,
            unclean: Vec::new(),
            is_checked: false,
        });
        self.images.touch();
    }

    /// Elects the first leaders.
    pub(super) fn make_ready(&mut self, topic: usize) {
        self.topics[topic].is_ready = true;
        self.images.touch();
        for partition in 0..self.topics[topic].partitions.len() {
            let place = Place { topic, partition };
            if self.partition(place).decided.leader < 0 {
                self.elect(place, None);
            }
        }
    }

    pub(super) fn delete(&mut self, topic: usize) {
        let name = Rc::clone(&self.topics[topic].name);
        self.names.remove(&name);
        self.topics[topic].is_live = false;
        self.images.touch();
        for partition in 0..self.topics[topic].partitions.len() {
            let nodes = self.nodes_of(Place { topic, partition });
            for node in nodes {
                self.fail_awaited(Place { topic, partition }, node, codes::UNKNOWN_TOPIC);
            }
        }
    }

    pub(super) fn partition(&self, place: Place) -> &Partition {
        &self.topics[place.topic].partitions[place.partition]
    }

    pub(super) fn partition_mut(&mut self, place: Place) -> &mut Partition {
        &mut self.topics[place.topic].partitions[place.partition]
    }

    pub(super) fn nodes_of(&self, place: Place) -> Vec<i32> {
        self.partition(place).replicas.iter().map(|replica| replica.node).collect()
    }

    /// Every partition of every live topic.
    pub(super) fn places(&self) -> Vec<Place> {
        let live = self.topics.iter().enumerate().filter(|(_, topic)| topic.is_live);
        live.flat_map(|(topic, it)| {
            (0..it.partitions.len()).map(move |partition| Place { topic, partition })
        })
        .collect()
    }
}
