//! What a cluster for tests says when it is asked for something that it does not have.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use super::api::Api;
use crate::ids::BrokerId;
use crate::protocol::compression::Codec;

/// Why a call on a [`Cluster`](super::Cluster) or its builder failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A cluster has at least one broker.
    #[error("a cluster of {brokers} brokers: ask for 1 to {}", super::BROKERS_MAX)]
    BrokerCount {
        /// What was asked for.
        brokers: usize,
    },
    /// A name that no broker takes.
    #[error(
        "topic {topic:?}: use letters, digits, dot, underscore and hyphen, 249 at most, and not \
         only dots"
    )]
    InvalidTopic {
        /// The name.
        topic: String,
    },
    /// A topic needs partitions, and a cluster has a bound for them.
    #[error("topic {topic}: {partitions} partitions; ask for 1 to {}", super::PARTITIONS_MAX)]
    PartitionCount {
        /// The topic.
        topic: String,
        /// What was asked for.
        partitions: i32,
    },
    /// There is a topic of this name.
    #[error("topic {topic} is there already: delete it first, or add partitions to it")]
    TopicExists {
        /// The name.
        topic: String,
    },
    /// There is no topic of this name.
    #[error("there is no topic {topic:?}; there are: {}", known.join(", "))]
    UnknownTopic {
        /// The name.
        topic: String,
        /// The topics that there are.
        known: Vec<String>,
    },
    /// The topic has no such partition.
    #[error("topic {topic} has the partitions 0 to {}, not {partition}", partitions - 1)]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition that was named.
        partition: i32,
        /// How many there are.
        partitions: i32,
    },
    /// The cluster has no such broker.
    #[error("broker {} is not in the cluster, whose brokers are 1 to {brokers}", broker.0)]
    UnknownBroker {
        /// The broker that was named.
        broker: BrokerId,
        /// How many there are.
        brokers: usize,
    },
    /// A request is not served in any version that low.
    #[error("{api} is served from version {lowest} on: it cannot end at version {version}")]
    Version {
        /// The request.
        api: Api,
        /// The version that was asked for.
        version: i16,
        /// The lowest that is served.
        lowest: i16,
    },
    /// Records that are compressed in a way that this build cannot undo.
    #[error(
        "{topic}-{partition} from offset {offset} on is compressed ({codec:?}) and cannot be \
         shown: read it with a consumer, or test with compression.type=none"
    )]
    Undecodable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset of the first record that cannot be shown.
        offset: i64,
        /// How it is compressed.
        codec: Codec,
    },
    /// What was awaited did not come.
    #[error("after {waited:?}, {found} of {wanted} {what}")]
    TimedOut {
        /// What was awaited.
        what: String,
        /// How many there should be.
        wanted: usize,
        /// How many there are.
        found: usize,
        /// How long the call waited.
        waited: Duration,
    },
    /// The system gave no socket or thread.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
