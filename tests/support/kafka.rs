//! Clusters of real Apache Kafka brokers (KRaft), on loopback, in their own folder.
//!
//! Owns:     the brokers, their ports and their folder; all gone when the cluster is dropped or
//!           the process ends, however it ends (`node.rs`).
//! Thread:   any; what disturbs a cluster takes it by `&mut`.
#![forbid(unsafe_code)]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::deadline::Deadline;
use super::jars::{Version, target};
use super::place::{Place, Role, Shape};
use super::wire::Connection;

/// A cluster whose nodes are brokers, and controllers at once where its [`Shape`] has no controller
/// apart; node `i` has the id `i + 1`.
pub(crate) struct Cluster {
    version: Version,
    // Before `folder`: fields are dropped in this order, and a broker writes until it is dead.
    places: Vec<Place>,
    controller: Option<Place>,
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
        Self::prepare_shaped(version, nodes, &Shape { overrides, ..Shape::PLAIN })
    }

    /// As [`Cluster::prepare`], with a controller or listeners of its own.
    pub(crate) fn prepare_shaped(version: Version, nodes: usize, shape: &Shape<'_>) -> Self {
        let scratch = target().join("tmp");
        fs::create_dir_all(&scratch).expect("the target folder can be written");
        let folder = tempfile::Builder::new()
            .prefix(&format!("kafka-{version}-"))
            .tempdir_in(scratch)
            .expect("a folder for the brokers");
        let role = if shape.controller_apart { Role::Broker } else { Role::Both };
        let places: Vec<Place> =
            (0..nodes).map(|index| Place::new(folder.path(), index, role)).collect();
        let controller =
            shape.controller_apart.then(|| Place::new(folder.path(), nodes, Role::Controller));
        let voters: Vec<String> = match &controller {
            Some(controller) => vec![controller.voter()],
            None => places.iter().map(Place::voter).collect(),
        };
        for place in places.iter().chain(&controller) {
            place.configure(&voters.join(","), nodes, shape);
        }
        let cluster = Self { version, places, controller, folder };
        cluster.format_all();
        cluster
    }

    pub(crate) fn start_all(&mut self) {
        for place in self.controller.iter_mut().chain(&mut self.places) {
            if !place.is_alive() {
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
            self.places.iter().map(|place| place.address().to_string()).collect();
        addresses.join(",")
    }

    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.places[index].address()
    }

    /// The folder of a broker's partitions, for `DumpLogSegments`.
    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.places[index].folder.join("data")
    }

    /// The folder of classes that a broker has beside Kafka's: for plug-ins, compiled before it
    /// starts.
    pub(crate) fn classes(&self, index: usize) -> PathBuf {
        self.places[index].classes()
    }

    /// Whether a broker can answer: it was started, and neither stopped nor paused since.
    pub(crate) fn is_running(&self, index: usize) -> bool {
        self.places[index].is_running()
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
        self.places[index].pause();
    }

    pub(crate) fn resume_broker(&self, index: usize) {
        self.places[index].resume();
    }

    /// A connection to any running broker.
    pub(crate) fn connect(&self) -> Connection {
        self.places
            .iter()
            .filter(|place| place.is_running())
            .find_map(|place| Connection::open(place.address()).ok())
            .expect("one broker of the cluster accepts a connection")
    }

    /// Lets a moment pass between two looks at the cluster; fails at once when a broker died.
    ///
    /// # Panics
    /// When `deadline` has passed, naming `what` was awaited.
    pub(crate) fn watch(&self, deadline: Deadline, what: impl Fn() -> String) {
        let running: Vec<&Place> = self.places.iter().filter(|place| place.is_alive()).collect();
        for place in &running {
            if place.node().ended_within(LOOK_INTERVAL / running.len() as u32) {
                panic!("a broker died while waiting for {}:\n{}", what(), place.node().log_tail());
            }
        }
        deadline.check(|| format!("{}\n{}", what(), self.log_tails()));
    }

    fn log_tails(&self) -> String {
        let tail_of = |place: &Place| {
            format!("--- the end of the log of node {}\n{}", place.id, place.log_tail())
        };
        self.places.iter().chain(&self.controller).map(tail_of).collect()
    }

    fn format_all(&self) {
        let id = "a3VyaW5nLXRlc3RzLTAwMQ"; // any 16 bytes, in base64 without padding
        thread::scope(|scope| {
            for place in self.places.iter().chain(&self.controller) {
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

fn ready(address: SocketAddr, brokers: usize) -> bool {
    let answers = || {
        let mut connection = Connection::open(address)?;
        connection.api_versions()?;
        connection.metadata(&[])
    };
    answers().is_ok_and(|metadata| metadata.brokers.len() >= brokers)
}

const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(30);
