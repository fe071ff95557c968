//! The least broker that can disagree with us: one or more nodes on loopback, in this process.
//!
//! It answers ApiVersions, Metadata, InitProducerId and Produce as a broker does, and the requests
//! of telemetry if it is told to; keeps the logs, checks sequences, and does to each request what
//! the test's script says. Requests of a connection are carried out when they arrive; answers leave
//! in their order.
//!
//! Thread:   one per node that accepts, two per connection (requests in, answers out).
//! Never:    sleeps; accepts a malformed request in silence: dropping the broker then fails.
#![forbid(unsafe_code)]

mod answers;
mod connection;
pub(crate) mod log;

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    ApiKey, GetTelemetrySubscriptionsResponse, ProduceResponse, PushTelemetryRequest,
};
use socket2::{Domain, Socket, Type};

use super::deadline::Deadline;
use super::fetch::OwnedRecord;
use log::{Arrived, Log};

/// Only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a test does to an answer.
pub(crate) type Change<T> = Box<dyn FnOnce(&mut T) + Send>;

/// What is done with one request.
pub(crate) enum Turn {
    /// What a broker does.
    Serve,
    /// Carry it out; the answer, and all that follow on the connection, wait for the gate.
    Hold(Gate),
    /// Carry it out; close the connection after so many bytes of the answer.
    Cut(usize),
    /// Carry it out, and never answer.
    Mute,
    /// Carry it out, never answer, and read nothing more before the gate is open: once the buffers
    /// of both sides are full, the client sees a receive window of zero.
    Stall(Gate),
    /// Carry it out, answer, and read nothing more before the gate is open.
    Deaf(Gate),
    /// Carry it out; change the answer's bytes.
    Mangle(Change<Vec<u8>>),
    /// Carry it out; change the answer, which is one to a produce request.
    Edit(Change<ProduceResponse>),
    /// Do nothing but say this, of everything in the request.
    Refuse(ResponseError),
    /// Do nothing; these bytes are the answer.
    Raw(Vec<u8>),
    /// Do nothing, say nothing.
    Ignore,
    /// Do nothing, and close the connection.
    HangUp,
}

/// Holds answers back until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, PATIENCE * 3, |open| !*open));
    }
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) node: i32,
    /// Connections of the whole broker count from 0.
    pub(crate) connection: usize,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) client_id: Option<String>,
    pub(crate) acks: i16,
    /// The topics it names.
    pub(crate) topics: Vec<String>,
    /// Of a produce request.
    pub(crate) batches: Vec<Arrived>,
}

/// A topic, as all nodes know it.
#[derive(Debug)]
pub(crate) struct TopicState {
    /// The topic id, as a number.
    pub(crate) id: u128,
    /// An error that stands for the whole topic in metadata.
    pub(crate) error: i16,
    pub(crate) partitions: Vec<PartitionState>,
}

#[derive(Debug)]
pub(crate) struct PartitionState {
    /// -1 for none.
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) log: Log,
}

/// Everything the broker knows and has seen.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) topics: BTreeMap<String, TopicState>,
    /// In the order of arrival.
    pub(crate) seen: Vec<Seen>,
    /// Connections accepted so far.
    pub(crate) connections: usize,
    /// Connections that are open.
    pub(crate) open: usize,
    pub(crate) producer_ids: i64,
    pub(crate) complaints: Vec<String>,
    /// Whether neither requests nor records are kept: for floods.
    pub(crate) forgetful: bool,
    versions: Vec<(ApiKey, RangeInclusive<i16>)>,
    /// What clients are told that ask for their subscription.
    pub(crate) subscription: GetTelemetrySubscriptionsResponse,
    /// Pushes of telemetry, in the order of arrival.
    pub(crate) pushes: Vec<PushTelemetryRequest>,
    pub(crate) cluster_id: String,
    /// The racks of the nodes; those beyond the list have none.
    pub(crate) racks: Vec<String>,
    /// Host and port that metadata names, per node.
    nodes: Vec<(String, u16)>,
    streams: Vec<TcpStream>,
    stopped: bool,
}

impl State {
    fn versions_of(&self, api: ApiKey) -> Option<RangeInclusive<i16>> {
        self.versions.iter().find(|(known, _)| *known == api).map(|(_, range)| range.clone())
    }

    fn append(&mut self, node: i32, batch: &Arrived) -> Result<i64, i16> {
        let topic = self.topics.get_mut(&batch.topic);
        let partition = topic.and_then(|topic| topic.partitions.get_mut(batch.partition as usize));
        let missing = ResponseError::UnknownTopicOrPartition.code();
        let partition = partition.ok_or(missing)?;
        if partition.leader != node {
            return Err(ResponseError::NotLeaderOrFollower.code());
        }
        partition.log.append(batch).map_err(|error| error.code())
    }

    /// How many requests of this kind have arrived.
    pub(crate) fn count(&self, api: ApiKey) -> usize {
        self.seen.iter().filter(|seen| seen.api == api).count()
    }

    /// The records of a topic, in all its logs.
    pub(crate) fn stored(&self, topic: &str) -> usize {
        let partitions = self.topics.get(topic).map(|topic| topic.partitions.iter());
        partitions.into_iter().flatten().map(|partition| partition.log.records.len()).sum()
    }
}

type Script = Box<dyn FnMut(&Seen) -> Turn + Send>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    script: Mutex<Script>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running broker. Dropping it closes every connection.
pub(crate) struct FakeBroker {
    shared: Arc<Shared>,
    /// Bound, and not listening before [`listen`](Self::listen).
    sockets: Vec<Socket>,
}

impl FakeBroker {
    /// One node with these topics: names and numbers of partitions.
    pub(crate) fn start(topics: &[(&str, i32)]) -> Self {
        Self::cluster(1, topics)
    }

    /// Several nodes; partitions are led in turn.
    pub(crate) fn cluster(nodes: i32, topics: &[(&str, i32)]) -> Self {
        let broker = Self::asleep(nodes, topics);
        (0..nodes).for_each(|node| broker.listen(node));
        broker
    }

    /// Nodes with their addresses taken, at which nobody listens yet.
    pub(crate) fn asleep(nodes: i32, topics: &[(&str, i32)]) -> Self {
        let bind = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket
        };
        Self::over((0..nodes).map(bind).collect(), "127.0.0.1", topics)
    }

    /// Nodes on bound sockets, which metadata names by `host`.
    pub(crate) fn over(sockets: Vec<Socket>, host: &str, topics: &[(&str, i32)]) -> Self {
        let port = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
        let state = State {
            versions: vec![
                (ApiKey::Produce, 3..=13),
                (ApiKey::Metadata, 4..=13),
                (ApiKey::ApiVersions, 0..=5),
                (ApiKey::InitProducerId, 0..=5),
            ],
            cluster_id: "fake".to_owned(),
            nodes: sockets.iter().map(|socket| (host.to_owned(), port(socket))).collect(),
            ..State::default()
        };
        let script: Script = Box::new(|_| Turn::Serve);
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            script: Mutex::new(script),
        };
        let broker = Self { shared: Arc::new(shared), sockets };
        topics.iter().for_each(|(name, partitions)| broker.create_topic(name, *partitions));
        broker
    }

    /// Starts to accept connections at a node.
    pub(crate) fn listen(&self, node: i32) {
        let socket = self.sockets[node as usize].try_clone().unwrap();
        socket.listen(128).unwrap();
        let (listener, shared) = (TcpListener::from(socket), Arc::clone(&self.shared));
        let name = format!("broker-{node}");
        let accept = move || connection::accept(node, &listener, &shared);
        thread::Builder::new().name(name).spawn(accept).unwrap();
    }

    /// For `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> String {
        let state = self.shared.state();
        let nodes = state.nodes.iter().map(|(host, port)| format!("{host}:{port}"));
        nodes.collect::<Vec<_>>().join(",")
    }

    /// Changes where metadata says the nodes are; returns where it said so before.
    pub(crate) fn nodes(&self, nodes: Vec<(String, u16)>) -> Vec<(String, u16)> {
        self.state(|state| std::mem::replace(&mut state.nodes, nodes))
    }

    /// What happens to each request from now on. Called in the order of arrival; must not block.
    pub(crate) fn script(&self, script: impl FnMut(&Seen) -> Turn + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// From now on every request is served.
    pub(crate) fn sane(&self) {
        self.script(|_| Turn::Serve);
    }

    /// Looks at, or changes, what the broker knows.
    pub(crate) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let found = look(&mut self.shared.state());
        self.shared.changed.notify_all();
        found
    }

    /// Waits until `look` finds something.
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl FnMut(&State) -> Option<T>) -> T {
        self.find_within(PATIENCE, look).unwrap_or_else(|| {
            let state = self.shared.state();
            let tail = state.seen.len().saturating_sub(8);
            panic!("waited in vain for {what}; last requests: {:#?}", &state.seen[tail..])
        })
    }

    /// What `look` finds in time, or nothing.
    pub(crate) fn find_within<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let deadline = Deadline::after(limit);
        let mut state = self.shared.state();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            if deadline.passed() {
                return None;
            }
            let waited = self.shared.changed.wait_timeout(state, deadline.left());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until so many requests of this kind have arrived.
    pub(crate) fn wait_for_requests(&self, api: ApiKey, count: usize) {
        let what = format!("{count} requests of {api:?}");
        self.wait_for(&what, |state| (state.count(api) >= count).then_some(()));
    }

    pub(crate) fn count(&self, api: ApiKey) -> usize {
        self.shared.state().count(api)
    }

    pub(crate) fn log(&self, topic: &str, partition: i32) -> Vec<OwnedRecord> {
        self.shared.state().topics[topic].partitions[partition as usize].log.records.clone()
    }

    /// The values in a log, as text.
    pub(crate) fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let value = |record: OwnedRecord| String::from_utf8(record.value.unwrap()).unwrap();
        self.log(topic, partition).into_iter().map(value).collect()
    }

    /// Makes a topic, or adds partitions to it.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) {
        self.state(|state| {
            let nodes = state.nodes.len() as i32;
            let id = state.topics.len() as u128 + 1;
            let fresh = || TopicState { id, error: 0, partitions: Vec::new() };
            let topic = state.topics.entry(name.to_owned()).or_insert_with(fresh);
            while (topic.partitions.len() as i32) < partitions {
                let leader = topic.partitions.len() as i32 % nodes;
                topic.partitions.push(PartitionState {
                    leader,
                    leader_epoch: 0,
                    log: Log::default(),
                });
            }
        });
    }

    /// Gives a partition another leader, or none (-1).
    pub(crate) fn move_leader(&self, topic: &str, partition: i32, leader: i32) {
        self.state(|state| {
            let topic = state.topics.get_mut(topic).unwrap();
            let partition = &mut topic.partitions[partition as usize];
            partition.leader = leader;
            partition.leader_epoch += 1;
        });
    }

    /// From now on it has telemetry, and wants this of its clients.
    pub(crate) fn subscribe(&self, subscription: GetTelemetrySubscriptionsResponse) {
        self.state(|state| {
            state.subscription = subscription;
            if state.versions_of(ApiKey::PushTelemetry).is_none() {
                let both = [ApiKey::GetTelemetrySubscriptions, ApiKey::PushTelemetry];
                state.versions.extend(both.map(|api| (api, 0..=0)));
            }
        });
    }

    /// Speaks a request up to this version only.
    pub(crate) fn cap_version(&self, api: ApiKey, version: i16) {
        self.state(|state| {
            let known = state.versions.iter_mut().find(|(known, _)| *known == api).unwrap();
            known.1 = *known.1.start()..=version;
        });
    }

    /// Closes all connections.
    pub(crate) fn cut_connections(&self) {
        self.state(|state| {
            state.streams.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        });
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.state(|state| state.stopped = true);
        self.cut_connections();
        // Ends the accepting threads.
        self.sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        let complaints = std::mem::take(&mut self.shared.state().complaints);
        if !thread::panicking() {
            assert!(complaints.is_empty(), "the broker complains: {complaints:#?}");
        }
    }
}
