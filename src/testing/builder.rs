//! How a cluster for tests is set up and started.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

use super::api::{Api, Versions};
use super::error::ClusterError;
use super::faults::Faults;
use super::journal::Journal;
use super::server::{Gate, Server};
use super::shared::{Node, Rules, Shared, State};
use super::topics::Topics;
use super::{BROKERS_MAX, Cluster};
use crate::fork;
use crate::ids::BrokerId;

/// Kafka's own default of `message.max.bytes`.
const BATCH_BYTES_MAX: usize = 1_048_588;

/// Settings of a [`Cluster`] before it is started.
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct ClusterBuilder {
    brokers: usize,
    topics: Vec<(String, i32)>,
    versions: Vec<(Api, i16)>,
    rules: Rules,
}

impl Default for ClusterBuilder {
    /// One broker, no topics.
    fn default() -> Self {
        let rules = Rules {
            cluster_id: "kuring-testing".to_owned(),
            batch_bytes_max: BATCH_BYTES_MAX,
            hints: true,
            auto_create: None,
        };
        Self { brokers: 1, topics: Vec::new(), versions: Vec::new(), rules }
    }
}

impl ClusterBuilder {
    /// How many brokers there are; their ids count from 1. One unless this says otherwise.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers;
        self
    }

    /// A topic that is there from the start. The brokers lead its partitions in turn.
    pub fn topic(mut self, name: &str, partitions: i32) -> Self {
        self.topics.push((name.to_owned(), partitions));
        self
    }

    /// Makes topics when clients ask for them, with so many partitions. Without this, a topic that
    /// is not there is unknown, so that a misspelt name shows.
    pub fn auto_create_topics(mut self, partitions: i32) -> Self {
        self.rules.auto_create = Some(partitions);
        self
    }

    /// `message.max.bytes`: larger batches are refused with `MESSAGE_TOO_LARGE`. 1048588 bytes
    /// unless this says otherwise, as in Kafka.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.rules.batch_bytes_max = bytes;
        self
    }

    /// The cluster's id; `kuring-testing` unless this says otherwise.
    pub fn cluster_id(mut self, id: &str) -> Self {
        self.rules.cluster_id = id.to_owned();
        self
    }

    /// Whether a producer that asks the wrong broker is told who leads (KIP-951). On unless this
    /// says otherwise; brokers before Kafka 3.7 do not tell.
    pub fn leader_hints(mut self, on: bool) -> Self {
        self.rules.hints = on;
        self
    }

    /// Speaks a request up to this version only, as an older broker does.
    pub fn max_version(mut self, api: Api, version: i16) -> Self {
        self.versions.push((api, version));
        self
    }

    /// Opens a loopback port per broker, chosen by the kernel, and starts the cluster's thread.
    ///
    /// # Errors
    /// What is wrong with the settings, or `System` when there is no port or thread to be had.
    pub fn start(self) -> Result<Cluster, ClusterError> {
        if !(1..=BROKERS_MAX).contains(&self.brokers) {
            return Err(ClusterError::BrokerCount { brokers: self.brokers });
        }
        let mut versions = Versions::all();
        for (api, version) in self.versions {
            if !versions.cap(api, version) {
                let lowest = api.served().0;
                return Err(ClusterError::Version { api, version, lowest });
            }
        }
        let mut topics = Topics::new(self.brokers);
        for (name, partitions) in &self.topics {
            topics.create(name, *partitions)?;
        }
        let ids = (1..).take(self.brokers).map(BrokerId);
        let gates: io::Result<Vec<_>> = ids.map(Gate::open).collect();
        let gates = gates.map_err(failed("no port for a broker on 127.0.0.1"))?;
        let nodes = gates.iter().map(|gate| Node { id: gate.broker, address: gate.address });
        let state = State {
            nodes: nodes.collect(),
            topics,
            faults: Faults::default(),
            journal: Journal::default(),
            versions,
            rules: self.rules,
            next_producer_id: 1,
            appended: 0,
            connections: 0,
            is_ending: false,
        };
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let wake = eventfd(0, flags).map_err(io::Error::from);
        let wake = wake.map_err(failed("no eventfd for the cluster's thread"))?;
        let shared = Arc::new(Shared::new(state, wake));
        let (orders, obeyed) = channel();
        let server = Server::new(Arc::clone(&shared), obeyed, gates);
        let thread = thread::Builder::new()
            .name("kuring-testing".to_owned())
            .spawn(move || server.run())
            .map_err(failed("no thread for the cluster"))?;
        Ok(Cluster { shared, orders, thread: Some(thread), generation: fork::generation() })
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::System { what, source }
}
