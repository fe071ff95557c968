//! Topics of a test cluster: created, grown, looked at and deleted, without starting a JVM.
#![forbid(unsafe_code)]

use std::time::Duration;

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::deadline::Deadline;
use super::kafka::Cluster;
use super::wire::{Connection, topic_name};

impl Cluster {
    /// Creates a topic and waits until every running broker knows a leader of each partition.
    pub(crate) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: &[(&str, &str)],
    ) {
        let configs = configs.iter().map(|&(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(name.to_owned()))
                .with_value(Some(StrBytes::from_string(value.to_owned())))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication)
            .with_configs(configs.collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(ANSWER_MS);
        let answer = self.connect().call(7, &request).expect("an answer to CreateTopics");
        for result in &answer.topics {
            accept("create", name, result.error_code, result.error_message.as_ref());
        }
        self.await_partitions(name, partitions);
    }

    /// Grows a topic to `count` partitions and waits until every running broker knows it.
    pub(crate) fn create_partitions(&self, name: &str, count: i32) {
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic.with_assignments(None)])
            .with_timeout_ms(ANSWER_MS);
        let answer = self.connect().call(3, &request).expect("an answer to CreatePartitions");
        for result in &answer.results {
            accept("grow", name, result.error_code, result.error_message.as_ref());
        }
        self.await_partitions(name, count);
    }

    /// Deletes a topic and waits until no running broker knows it.
    pub(crate) fn delete_topic(&self, name: &str) {
        let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
        let request =
            DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(ANSWER_MS);
        let answer = self.connect().call(6, &request).expect("an answer to DeleteTopics");
        for result in &answer.responses {
            accept("delete", name, result.error_code, result.error_message.as_ref());
        }
        let unknown = ResponseError::UnknownTopicOrPartition.code();
        self.await_topic(name, "be unknown", |topic| topic.error_code == unknown);
    }

    /// Gives each partition the replicas that `replicas` names by broker id, the preferred leader
    /// first, and waits until they are there and in sync.
    pub(crate) fn reassign(&self, name: &str, partitions: i32, replicas: impl Fn(i32) -> Vec<i32>) {
        let wanted = (0..partitions).map(|index| {
            let brokers = replicas(index).into_iter().map(BrokerId).collect();
            ReassignablePartition::default()
                .with_partition_index(index)
                .with_replicas(Some(brokers))
        });
        let topic = ReassignableTopic::default()
            .with_name(topic_name(name))
            .with_partitions(wanted.collect());
        let request = AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(ANSWER_MS);
        let answer = self.connect().call(0, &request).expect("an answer to a reassignment");
        accept("reassign", name, answer.error_code, answer.error_message.as_ref());
        for result in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            accept("reassign", name, result.error_code, result.error_message.as_ref());
        }
        self.await_topic(name, "have its new replicas in sync", |topic| {
            topic.partitions.iter().all(|partition| {
                let assigned = partition.replica_nodes.iter().map(|id| **id);
                assigned.eq(replicas(partition.partition_index))
                    && partition.isr_nodes.len() == partition.replica_nodes.len()
            })
        });
    }

    /// Waits until every running broker sees the broker of this index lead a partition.
    pub(crate) fn await_leader(&self, name: &str, partition: i32, index: usize) {
        let id = index as i32 + 1;
        self.await_topic(name, "have another leader", |topic| {
            let mut partitions = topic.partitions.iter();
            partitions.any(|it| it.partition_index == partition && *it.leader_id == id)
        });
    }

    /// The index of the broker that leads a partition.
    pub(crate) fn leader_of(&self, topic: &str, partition: i32) -> usize {
        let deadline = Deadline::after(SETTLED_MAX);
        loop {
            let metadata = self.connect().metadata(&[topic]);
            let leader = metadata.ok().and_then(|metadata| {
                let partitions = &metadata.topics.first()?.partitions;
                let partition = partitions.iter().find(|p| p.partition_index == partition)?;
                usize::try_from(*partition.leader_id).ok()
            });
            if let Some(id) = leader
                && self.is_running(id - 1)
            {
                return id - 1;
            }
            self.watch(deadline, || format!("a leader of {topic}-{partition}"));
        }
    }

    /// Waits until each partition has all its replicas in sync, as every running broker sees it.
    pub(crate) fn await_in_sync(&self, topic: &str) {
        self.await_topic(topic, "be in sync", |topic| {
            topic.partitions.iter().all(|p| p.isr_nodes.len() == p.replica_nodes.len())
        });
    }

    fn await_partitions(&self, name: &str, count: i32) {
        let leaders = |topic: &MetadataResponseTopic| {
            topic.error_code.is_ok()
                && topic.partitions.len() == count as usize
                && topic.partitions.iter().all(|p| p.error_code.is_ok() && *p.leader_id > 0)
        };
        self.await_topic(name, "have its partitions led", leaders);
    }

    fn await_topic(
        &self,
        name: &str,
        what: &str,
        reached: impl Fn(&MetadataResponseTopic) -> bool,
    ) {
        let deadline = Deadline::after(SETTLED_MAX);
        for index in (0..self.len()).filter(|&index| self.is_running(index)) {
            let look = || Connection::open(self.address(index))?.metadata(&[name]);
            while !look().is_ok_and(|metadata| metadata.topics.iter().all(&reached)) {
                self.watch(deadline, || format!("topic {name} to {what}"));
            }
        }
    }
}

fn accept(verb: &str, topic: &str, code: i16, message: Option<&StrBytes>) {
    let message = message.map_or("", |message| message.as_str());
    assert!(code.is_ok(), "could not {verb} topic {topic}: {:?} {message}", code.err());
}

const ANSWER_MS: i32 = 20_000;
const SETTLED_MAX: Duration = Duration::from_secs(60);
