//! The cluster as metadata shows it, now and a little earlier.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::Cluster;

/// Earlier images that stale answers are taken from.
const KEPT: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) node: i32,
    pub(super) host: Rc<str>,
    pub(super) port: u16,
}

#[derive(Clone, Debug)]
pub(super) struct PartitionImage {
    /// -1 for none.
    pub(super) leader: i32,
    pub(super) epoch: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) isr: Vec<i32>,
    pub(super) offline: Vec<i32>,
}

#[derive(Clone, Debug)]
pub(super) struct TopicImage {
    pub(super) id: u128,
    pub(super) is_ready: bool,
    pub(super) partitions: Vec<PartitionImage>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) brokers: Vec<Endpoint>,
    pub(super) topics: BTreeMap<Rc<str>, TopicImage>,
}

impl Image {
    pub(super) fn endpoint(&self, node: i32) -> Option<&Endpoint> {
        self.brokers.iter().find(|endpoint| endpoint.node == node)
    }

    /// Leader and epoch of a partition.
    pub(super) fn leader(&self, topic: &str, partition: usize) -> Option<(i32, i32)> {
        let found = self.topics.get(topic)?.partitions.get(partition)?;
        Some((found.leader, found.epoch))
    }
}

#[derive(Debug, Default)]
pub(super) struct Images {
    /// The latest at the end.
    kept: VecDeque<Rc<Image>>,
    is_current: bool,
}

impl Images {
    /// Something has changed that metadata shows.
    pub(super) fn touch(&mut self) {
        self.is_current = false;
    }
}

impl Cluster {
    /// The cluster as the controller has it.
    pub(super) fn image(&mut self) -> Rc<Image> {
        if !self.images.is_current {
            let image = Rc::new(self.draw_image());
            self.images.kept.push_back(image);
            if self.images.kept.len() > KEPT {
                self.images.kept.pop_front();
            }
            self.images.is_current = true;
        }
        Rc::clone(&self.images.kept[self.images.kept.len() - 1])
    }

    /// An image that one broker has: an old one while it is cut off.
    pub(super) fn image_of(&mut self, node: i32) -> Rc<Image> {
        match &self.broker(node).frozen {
            Some(frozen) => Rc::clone(frozen),
            None => self.image(),
        }
    }

    /// An image out of the past, if there was one.
    pub(super) fn old_image(&mut self, choice: u64) -> Rc<Image> {
        self.image();
        Rc::clone(&self.images.kept[(choice % self.images.kept.len() as u64) as usize])
    }

    fn draw_image(&self) -> Image {
        let registered = self.brokers.iter().filter(|broker| broker.is_registered);
        let brokers = registered.map(|broker| Endpoint {
            node: broker.node,
            host: Rc::clone(&broker.host),
            port: broker.port,
        });
        let mut topics = BTreeMap::new();
        for topic in self.topics.iter().filter(|topic| topic.is_live) {
            let partitions = topic.partitions.iter().map(|partition| {
                let replicas: Vec<_> = partition.replicas.iter().map(|it| it.node).collect();
                let is_offline = |node: &i32| !self.broker(*node).is_registered;
                PartitionImage {
                    leader: partition.decided.leader,
                    epoch: partition.decided.epoch,
                    isr: partition.decided.isr.clone(),
                    offline: replicas.iter().copied().filter(is_offline).collect(),
                    replicas,
                }
            });
            let image = TopicImage {
                id: topic.id,
                is_ready: topic.is_ready,
                partitions: partitions.collect(),
            };
            topics.insert(Rc::clone(&topic.name), image);
        }
        Image { brokers: brokers.collect(), topics }
    }
}
