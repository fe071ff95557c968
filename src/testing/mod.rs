//! A cluster of brokers for tests: in this process, on loopback ports, with faults on demand.
//! Needs the feature `testing`, which belongs among the dev-dependencies.
//!
//! [`Cluster`] keeps what producers send and answers as Apache Kafka does: it checks checksums,
//! counts and sequence numbers, answers a repeated batch with the offset it had, sends producers to
//! the leader of a partition, and tells what it leads to (KIP-951, topic ids). A test arms
//! [faults](Cluster::fail), moves leaders, stops brokers, deletes topics; and looks at the
//! [records](Cluster::records) and at every [request](Cluster::requests) that arrived.
//!
//! ```
//! use std::time::Duration;
//!
//! use kuring::testing::{Api, Cluster};
//! use kuring::{ErrorCode, Producer, Record};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = Cluster::builder().brokers(3).topic("events", 6).start()?;
//! let fault = cluster
//!     .fail(Api::Produce)
//!     .partition("events", 2)
//!     .with(ErrorCode::NotLeaderOrFollower)
//!     .once();
//!
//! let producer = Producer::builder().bootstrap_servers(cluster.bootstrap_servers()).build()?;
//! let record = Record::new().partition(2).key("user-7").value("clicked");
//! let delivery = producer.topic("events").blocking_send(record)?;
//!
//! // Refused once, sent again, and in the log once.
//! assert_eq!(delivery.wait()?.offset, Some(0));
//! assert_eq!(fault.hits(), 1);
//! let records = cluster.records("events")?;
//! assert_eq!(records.len(), 1);
//! assert_eq!((records[0].partition, records[0].value.as_deref()), (2, Some(&b"clicked"[..])));
//! assert_eq!(cluster.requests_of(Api::Produce).len(), 2);
//! producer.close(Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```
//!
//! # What it is
//!
//! Any client may use it, of any language: brokers are TCP ports of 127.0.0.1. One thread,
//! `kuring-testing`, serves all brokers of a cluster, one request at a time, and ends when the
//! [`Cluster`] is dropped. Nothing in it sleeps or rolls dice: what a test does not ask for does
//! not happen. All brokers share one log per partition, so a moved leader has every record.
//!
//! `tools/compare/test-brokers` has other clients produce to one broker and to three, which the
//! example `test_brokers` serves. Each record is in the log once, and there are no complaints:
//!
//! | client | ApiVersions | InitProducerId | Metadata | Produce |
//! |---|---|---|---|---|
//! | librdkafka 2.12.1; lz4, snappy and zstd too | 3 | 4 | 13 | 10 |
//! | franz-go 1.22.2 | 5, refused as Kafka does, then 4 | 5 | 13 | 13 |
//! | the Java producer 4.3.1 | 4 | 5 | 13 | 13 |
//! | krafka 0.28.1 | 4 | 5 | 13 | 13 |
//! | rskafka 0.6.0, not idempotent | 3 | | 4 | 7 |
//!
//! kacrab 0.4.0 works with one broker. With three it sends batches of a partition out of their
//! sequence on one connection, which are refused as Kafka refuses them; it begins again with
//! other producer ids, and the log then has not as many records as it counts as acknowledged.
//! Kafka's Java producer and consumer of 4.3.1 and 3.9.2 are among the tests.
//!
//! # What it is not
//!
//! Fast, durable, or a whole Kafka: there are no groups, transactions, quotas, retention,
//! compaction or security. Requests for those are answered with an error, or end the connection
//! with a [complaint](Cluster::complaints). Everything is in memory until the cluster is dropped.
//! Compressed batches are kept and fetched as they came; [`Cluster::records`] shows those whose
//! codec is among the features of this build.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fork;
use crate::ids::BrokerId;

#[doc(hidden)]
pub mod answers;
mod api;
mod batch;
mod builder;
mod connection;
mod describe;
mod error;
mod faults;
mod journal;
mod log;
mod reading;
mod requests;
mod serve;
mod server;
mod shared;
mod topics;
mod unpack;

pub use crate::protocol::compression::Codec;
pub use api::Api;
pub use batch::{StoredHeader, StoredRecord};
pub use builder::ClusterBuilder;
pub use error::ClusterError;
pub use faults::{Armed, Fault};
pub use journal::{Request, SentBatch};

use server::{Order, Ordered};
use shared::Shared;

/// Each takes a port and two descriptors.
const BROKERS_MAX: usize = 100;
/// What an answer to a metadata request can describe.
const PARTITIONS_MAX: i32 = 100_000;

/// A running cluster of brokers; see the [module](self). Dropping it closes every connection and
/// ends its thread.
///
/// Calls may come from any thread. They return when what they ask for has happened.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    orders: Sender<Ordered>,
    thread: Option<JoinHandle<()>>,
    /// The process that the thread runs in: a copy made by `fork` has none.
    generation: u32,
}

/// Set up and found.
impl Cluster {
    /// A cluster of one broker without topics, unless told otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// For `bootstrap.servers`: host and port of every broker.
    pub fn bootstrap_servers(&self) -> String {
        let address = |node: &shared::Node| node.address.to_string();
        self.shared.look(|state| state.nodes.iter().map(address).collect::<Vec<_>>()).join(",")
    }

    /// The brokers' ids, from 1 on.
    pub fn brokers(&self) -> Vec<BrokerId> {
        self.shared.look(|state| state.nodes.iter().map(|node| node.id).collect())
    }
}

/// What arrived.
impl Cluster {
    /// The records of a topic, by partition and offset. Allocates all of them.
    ///
    /// # Errors
    /// `UnknownTopic`; `Undecodable` when some are compressed in a way that this build cannot undo.
    pub fn records(&self, topic: &str) -> Result<Vec<StoredRecord>, ClusterError> {
        self.shared.look(|state| {
            let mut records = Vec::new();
            for (partition, index) in state.topics.known(topic)?.partitions.iter().zip(0..) {
                let found =
                    partition.log.records(index).map_err(|it| ClusterError::Undecodable {
                        topic: topic.to_owned(),
                        partition: index,
                        offset: it.offset,
                        codec: it.codec,
                    })?;
                records.extend(found);
            }
            Ok(records)
        })
    }

    /// Waits until a topic has at least `count` records, and returns them as
    /// [`records`](Self::records) does. A topic that does not exist yet is waited for, too.
    ///
    /// # Errors
    /// `TimedOut` when there are fewer after `patience`; otherwise as [`records`](Self::records).
    pub fn await_records(
        &self,
        topic: &str,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<StoredRecord>, ClusterError> {
        let what = || format!("records in {topic}");
        self.shared.wait(what, count, patience, |state| {
            let partitions = state.topics.known(topic).map_or(&[][..], |topic| &topic.partitions);
            partitions.iter().map(|partition| partition.log.end() as usize).sum()
        })?;
        self.records(topic)
    }

    /// How many batches of a topic came again, and were answered with the offset that they had.
    ///
    /// # Errors
    /// `UnknownTopic`.
    pub fn duplicates(&self, topic: &str) -> Result<usize, ClusterError> {
        self.shared.look(|state| {
            let partitions = &state.topics.known(topic)?.partitions;
            Ok(partitions.iter().map(|partition| partition.log.duplicates).sum())
        })
    }

    /// Every request that arrived, in order; of very many the latest 65,536.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.look(|state| state.journal.requests.iter().cloned().collect())
    }

    /// As [`requests`](Self::requests), those of one kind.
    pub fn requests_of(&self, api: Api) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.api == api);
        requests
    }

    /// Waits until so many requests of this kind have arrived, and returns them.
    ///
    /// # Errors
    /// `TimedOut` when there are fewer after `patience`.
    pub fn await_requests(
        &self,
        api: Api,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Request>, ClusterError> {
        let what = || format!("requests of {api}");
        self.shared.wait(what, count, patience, |state| {
            state.journal.requests.iter().filter(|request| request.api == api).count()
        })?;
        Ok(self.requests_of(api))
    }

    /// Forgets the requests that have arrived so far.
    pub fn forget_requests(&self) {
        self.shared.change(|state| state.journal.requests.clear());
    }

    /// What no sound client does, one sentence each: malformed requests, requests that are not
    /// served, batches with wrong checksums, counts or sequences. A test of a client does well to
    /// assert that there are none.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.look(|state| state.journal.complaints.iter().cloned().collect())
    }
}

/// What goes wrong.
impl Cluster {
    /// Describes something that shall go wrong with requests of this kind.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use kuring::testing::{Api, Cluster};
    /// # use kuring::ErrorCode;
    /// # let cluster = Cluster::builder().topic("events", 3).start()?;
    /// cluster
    ///     .fail(Api::Produce)
    ///     .partition("events", 2)
    ///     .with(ErrorCode::NotEnoughReplicas)
    ///     .times(3);
    /// let slow = cluster.fail(Api::Metadata).delay(Duration::from_millis(20)).always();
    /// slow.disarm();
    /// # Ok::<(), kuring::testing::ClusterError>(())
    /// ```
    pub fn fail(&self, api: Api) -> Fault<'_> {
        Fault::new(&self.shared, api)
    }

    /// Closes every connection of every broker; new ones are accepted.
    pub fn disconnect_clients(&self) {
        // It cannot fail but by the thread's end, which closes them as well.
        let _ = self.order(Order::Disconnect);
    }

    /// The broker takes connections and bytes and answers nobody, as a process that is stopped.
    ///
    /// # Errors
    /// `UnknownBroker`.
    pub fn pause_broker(&self, broker: BrokerId) -> Result<(), ClusterError> {
        self.order_broker(broker, Order::Pause(broker))
    }

    /// The broker goes on where [`pause_broker`](Self::pause_broker) stopped it.
    ///
    /// # Errors
    /// `UnknownBroker`.
    pub fn resume_broker(&self, broker: BrokerId) -> Result<(), ClusterError> {
        self.order_broker(broker, Order::Resume(broker))
    }

    /// The broker's connections are closed, new ones are refused. It keeps its port; metadata goes
    /// on naming it, and it leads what it leads until [`move_leader`](Self::move_leader).
    ///
    /// # Errors
    /// `UnknownBroker`.
    pub fn stop_broker(&self, broker: BrokerId) -> Result<(), ClusterError> {
        self.order_broker(broker, Order::Stop(broker))
    }

    /// The broker accepts connections again, at the port it had.
    ///
    /// # Errors
    /// `UnknownBroker`, or `System` if the port is lost.
    pub fn start_broker(&self, broker: BrokerId) -> Result<(), ClusterError> {
        self.order_broker(broker, Order::Start(broker))
    }

    fn order_broker(&self, broker: BrokerId, order: Order) -> Result<(), ClusterError> {
        self.find_broker(broker)?;
        self.order(order)
    }

    fn find_broker(&self, broker: BrokerId) -> Result<(), ClusterError> {
        let (found, brokers) = self
            .shared
            .look(|state| (state.nodes.iter().any(|node| node.id == broker), state.nodes.len()));
        found.then_some(()).ok_or(ClusterError::UnknownBroker { broker, brokers })
    }

    fn order(&self, order: Order) -> Result<(), ClusterError> {
        let (done, answer) = channel();
        let ended = || io::Error::other("the cluster's thread has ended");
        let sent = self.orders.send((order, done)).map_err(|_| ended());
        self.shared.wake_thread();
        let obeyed = sent.and_then(|()| answer.recv().map_err(|_| ended())?);
        obeyed.map_err(|source| ClusterError::System { what: "an order to a broker", source })
    }
}

/// Topics and leaders.
impl Cluster {
    /// Makes a topic. The brokers lead its partitions in turn.
    ///
    /// # Errors
    /// `TopicExists`, `InvalidTopic`, `PartitionCount`.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), ClusterError> {
        self.shared.change(|state| state.topics.create(topic, partitions))
    }

    /// Adds partitions to a topic until it has so many.
    ///
    /// # Errors
    /// `UnknownTopic`; `PartitionCount` when it has more.
    pub fn add_partitions(&self, topic: &str, partitions: i32) -> Result<(), ClusterError> {
        self.shared.change(|state| state.topics.grow(topic, partitions))
    }

    /// Deletes a topic and its records.
    ///
    /// # Errors
    /// `UnknownTopic`.
    pub fn delete_topic(&self, topic: &str) -> Result<(), ClusterError> {
        self.shared.change(|state| state.topics.delete(topic).map(drop))
    }

    /// Deletes a topic and makes it again, empty, with as many partitions and another id.
    ///
    /// # Errors
    /// `UnknownTopic`.
    pub fn recreate_topic(&self, topic: &str) -> Result<(), ClusterError> {
        self.shared.change(|state| {
            let former = state.topics.delete(topic)?;
            state.topics.create(topic, former.partitions.len() as i32)
        })
    }

    /// Who leads a partition; None for nobody.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Option<BrokerId>, ClusterError> {
        let mut state = self.shared.lock();
        state.topics.known_partition(topic, partition).map(|it| it.leader)
    }

    /// Gives a partition another leader, or none (`None`), and a leader epoch above the one it had.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `UnknownBroker`.
    pub fn move_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: impl Into<Option<BrokerId>>,
    ) -> Result<(), ClusterError> {
        let leader = leader.into();
        leader.map_or(Ok(()), |leader| self.find_broker(leader))?;
        self.shared.change(|state| {
            let partition = state.topics.known_partition(topic, partition)?;
            partition.leader = leader;
            partition.leader_epoch += 1;
            Ok(())
        })
    }

    /// Refuses larger batches from now on, as [`ClusterBuilder::max_message_bytes`].
    pub fn set_max_message_bytes(&self, bytes: usize) {
        self.shared.change(|state| state.rules.batch_bytes_max = bytes);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A copy of the process has a copy of the state, and no thread.
        let Some(thread) = self.thread.take() else { return };
        if fork::generation() == self.generation {
            self.shared.change(|state| state.is_ending = true);
            // A panic of the thread has been printed; a test that ends must not panic again.
            let _ = thread.join();
        }
    }
}
