//! Clusters of real Apache Kafka brokers (KRaft), on loopback, in their own folder.
//!
//! Owns:     the brokers, their ports and their folder; all gone when the cluster is dropped or
//!           the process ends, however it ends (`node.rs`).
//! Thread:   any; what disturbs a cluster takes it by `&mut`.
#![forbid(unsafe_code)]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::deadline::Deadline;
use super::jars::{Version, class_path, target};
use super::node::{Node, tail};
use super::ports::Port;
use super::wire::Connection;

/// A cluster whose nodes are brokers and controllers at once; node `i` has the id `i + 1`.
pub(crate) struct Cluster {
    version: Version,
    // Before `folder`: fields are dropped in this order, and a broker writes until it is dead.
    places: Vec<Place>,
    folder: TempDir,
}

impl Cluster {
    /// Starts `nodes` brokers and waits until each answers. `overrides` are further lines of
    /// `server.properties`.
    ///
    /// # Panics
    /// When a broker does not start, with the end of its log.
    pub(crate) fn start(version: Version, nodes: usize, overrides: &[(&str, &str)]) -> Self {
        let mut cluster = Self::prepare(version, nodes, overrides);
        cluster.start_all();
        cluster
    }

    /// As [`Cluster::start`], but no broker runs yet: [`Cluster::start_all`] does that.
    pub(crate) fn prepare(version: Version, nodes: usize, overrides: &[(&str, &str)]) -> Self {
        let scratch = target().join("tmp");
        fs::create_dir_all(&scratch).expect("the target folder can be written");
        let folder = tempfile::Builder::new()
            .prefix(&format!("kafka-{version}-"))
            .tempdir_in(scratch)
            .expect("a folder for the brokers");
        let mut places: Vec<Place> =
            (0..nodes).map(|index| Place::new(folder.path(), index)).collect();
        let voters: Vec<String> = places.iter().map(Place::voter).collect();
        for place in &mut places {
            place.configure(&voters.join(","), nodes, overrides);
        }
        let cluster = Self { version, places, folder };
        cluster.format_all();
        cluster
    }

    pub(crate) fn start_all(&mut self) {
        for place in &mut self.places {
            if place.node.is_none() {
                place.start(self.version);
            }
        }
        self.await_ready();
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// `bootstrap.servers` with every broker, running or not.
    pub(crate) fn bootstrap(&self) -> String {
        let addresses: Vec<String> =
            self.places.iter().map(|place| place.broker.address().to_string()).collect();
        addresses.join(",")
    }

    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.places[index].broker.address()
    }

    /// The folder of a broker's partitions, for `DumpLogSegments`.
    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.places[index].folder.join("data")
    }

    pub(crate) fn is_running(&self, index: usize) -> bool {
        self.places[index].node.is_some()
    }

    /// SIGTERM: the broker hands over its partitions first.
    pub(crate) fn stop_broker(&mut self, index: usize) {
        self.places[index].take_node().stop(Deadline::after(STOP_MAX));
    }

    /// SIGKILL: as if the machine had lost its power, but for the page cache.
    pub(crate) fn kill_broker(&mut self, index: usize) {
        self.places[index].take_node().kill();
    }

    /// Starts a stopped or killed broker again, with its old port and data, and waits for it.
    pub(crate) fn restart_broker(&mut self, index: usize) {
        self.places[index].start(self.version);
        self.await_ready();
    }

    /// SIGSTOP: the connections stay open and nobody answers.
    pub(crate) fn pause_broker(&self, index: usize) {
        self.places[index].node().pause();
    }

    pub(crate) fn resume_broker(&self, index: usize) {
        self.places[index].node().resume();
    }

    /// A connection to any running broker.
    pub(crate) fn connect(&self) -> Connection {
        self.places
            .iter()
            .filter(|place| place.node.is_some())
            .find_map(|place| Connection::open(place.broker.address()).ok())
            .expect("one broker of the cluster accepts a connection")
    }

    /// Lets a moment pass between two looks at the cluster; fails at once when a broker died.
    ///
    /// # Panics
    /// When `deadline` has passed, naming `what` was awaited.
    pub(crate) fn watch(&self, deadline: Deadline, what: impl Fn() -> String) {
        let running: Vec<&Place> = self.places.iter().filter(|p| p.node.is_some()).collect();
        for place in &running {
            if place.node().ended_within(LOOK_INTERVAL / running.len() as u32) {
                panic!("a broker died while waiting for {}:\n{}", what(), place.node().log_tail());
            }
        }
        deadline.check(|| format!("{}\n{}", what(), self.log_tails()));
    }

    fn log_tails(&self) -> String {
        let tail_of = |place: &Place| {
            let log = place.folder.join("broker.log");
            format!("--- the end of the log of broker {}\n{}", place.id, tail(&log))
        };
        self.places.iter().map(tail_of).collect()
    }

    fn format_all(&self) {
        let id = "a3VyaW5nLXRlc3RzLTAwMQ"; // any 16 bytes, in base64 without padding
        thread::scope(|scope| {
            for place in &self.places {
                scope.spawn(|| place.format(self.version, id));
            }
        });
    }

    /// Ready: every running broker accepts a connection, answers ApiVersions, and knows of as many
    /// live brokers as there are.
    fn await_ready(&self) {
        let deadline = Deadline::after(START_MAX);
        let running: Vec<SocketAddr> = (0..self.len())
            .filter(|&index| self.is_running(index))
            .map(|index| self.address(index))
            .collect();
        for address in &running {
            while !ready(*address, running.len()) {
                self.watch(deadline, || format!("the broker at {address} to be ready"));
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("Kafka {}: {}", self.version, self.log_tails());
        }
    }
}

/// The one-node cluster that the tests of this process share; none of them may disturb it.
pub(crate) fn shared(version: Version) -> &'static Cluster {
    static CLUSTERS: [OnceLock<Cluster>; 2] = [const { OnceLock::new() }; 2];
    CLUSTERS[version as usize].get_or_init(|| Cluster::start(version, 1, &[]))
}

/// The three-node cluster that the tests of this process may kill and pause, one at a time, of
/// whatever version: six brokers on two cores would measure our patience. All its nodes run.
pub(crate) fn disturbed(version: Version) -> MutexGuard<'static, Option<Cluster>> {
    static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);
    let mut guard = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.as_ref().is_some_and(|cluster| cluster.version != version) {
        *guard = None;
    }
    guard.get_or_insert_with(|| Cluster::prepare(version, 3, &[])).start_all();
    guard
}

/// One node's ports and folder, and the broker that runs there, if any does.
struct Place {
    id: usize,
    node: Option<Node>,
    folder: PathBuf,
    broker: Port,
    controller: Port,
}

impl Place {
    fn new(cluster: &Path, index: usize) -> Self {
        let folder = cluster.join(format!("broker-{}", index + 1));
        fs::create_dir(&folder).expect("a new folder");
        Self { id: index + 1, node: None, folder, broker: Port::lease(), controller: Port::lease() }
    }

    fn voter(&self) -> String {
        format!("{}@{}", self.id, self.controller.address())
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn configure(&self, voters: &str, nodes: usize, overrides: &[(&str, &str)]) {
        let replicas = nodes.min(3);
        let in_sync_min = replicas.min(2);
        let (broker, controller) = (self.broker.address(), self.controller.address());
        let mut lines = format!(
            "node.id={}\n\
             controller.quorum.voters={voters}\n\
             listeners=PLAINTEXT://{broker},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{broker}\n\
             log.dirs={}/data\n\
             min.insync.replicas={in_sync_min}\n",
            self.id,
            self.folder.display()
        );
        for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
            lines += &format!("{topic}.replication.factor={replicas}\n");
        }
        for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
            lines += &format!("{topic}.min.isr={in_sync_min}\n");
        }
        lines += SERVER_PROPERTIES;
        for (name, value) in overrides {
            lines += &format!("{name}={value}\n");
        }
        fs::write(self.properties(), lines).expect("the broker's folder can be written");
    }

    fn format(&self, version: Version, cluster_id: &str) {
        let output = Command::new("java")
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
            .args([
                class_path(version),
                "kafka.tools.StorageTool",
                "format",
                "-t",
                cluster_id,
                "-c",
            ])
            .arg(self.properties())
            .stdin(Stdio::null())
            .output()
            .expect("Java was found a moment ago");
        assert!(
            output.status.success(),
            "formatting the storage of a broker failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn start(&mut self, version: Version) {
        assert!(self.node.is_none(), "broker {} runs already", self.id);
        let mut arguments: Vec<String> = JVM_OPTIONS.map(str::to_owned).to_vec();
        arguments.extend(["-cp", class_path(version), "kafka.Kafka"].map(str::to_owned));
        arguments.push(self.properties().display().to_string());
        self.node = Some(Node::start(&self.folder, &arguments));
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("the broker runs")
    }

    fn take_node(&mut self) -> Node {
        self.node.take().expect("the broker runs")
    }
}

fn ready(address: SocketAddr, brokers: usize) -> bool {
    let answers = || {
        let mut connection = Connection::open(address)?;
        connection.api_versions()?;
        connection.metadata(&[])
    };
    answers().is_ok_and(|metadata| metadata.brokers.len() >= brokers)
}

/// Short sessions, so that a killed broker's partitions move within seconds; few threads and
/// little memory, because several brokers share a small machine. The cleaner's buffer is part of
/// the heap and 128 MiB by default.
const SERVER_PROPERTIES: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
replica.lag.time.max.ms=5000
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
";

const JVM_OPTIONS: [&str; 6] = [
    "-Xms128m",
    "-Xmx384m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
];

const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(30);
