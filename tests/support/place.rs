//! One node of a cluster: its ports, its folder, its settings, and the process that runs there.
//!
//! Owns:     the leases of its ports, and the process if there is one.
#![forbid(unsafe_code)]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::jars::{Version, class_path};
use super::node::{Node, tail};
use super::ports::Port;

/// What a cluster has beside its brokers' usual listeners on loopback.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// Further lines of every `server.properties`.
    pub(crate) overrides: &'a [(&'a str, &'a str)],
    /// The controller is a node of its own, so that any number of brokers may stop.
    pub(crate) controller_apart: bool,
    /// Further listeners of the broker of this index.
    pub(crate) listeners: &'a dyn Fn(usize) -> Vec<Listener>,
}

impl Shape<'_> {
    pub(crate) const PLAIN: Self =
        Self { overrides: &[], controller_apart: false, listeners: &|_| Vec::new() };
}

/// A listener whose clients are told another address than it has: one that leads through a proxy,
/// or through a link that can be cut.
pub(crate) struct Listener {
    /// Upper case, as in `listener.security.protocol.map`.
    pub(crate) name: &'static str,
    pub(crate) bound: SocketAddr,
    pub(crate) advertised: SocketAddr,
}

/// The rack of the broker with this id: each has its own.
pub(crate) fn rack(id: usize) -> String {
    format!("rack-{id}")
}

/// What a node does in its cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Both,
    Broker,
    Controller,
}

/// One node's ports and folder, and the process that runs there, if any does.
pub(crate) struct Place {
    pub(crate) id: usize,
    role: Role,
    node: Option<Node>,
    paused: AtomicBool,
    pub(crate) folder: PathBuf,
    broker: Port,
    controller: Port,
}

impl Place {
    pub(crate) fn new(cluster: &Path, index: usize, role: Role) -> Self {
        let folder = cluster.join(format!("broker-{}", index + 1));
        fs::create_dir(&folder).expect("a new folder");
        Self {
            id: index + 1,
            role,
            node: None,
            paused: AtomicBool::new(false),
            folder,
            broker: Port::lease(),
            controller: Port::lease(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    pub(crate) fn voter(&self) -> String {
        format!("{}@{}", self.id, self.controller.address())
    }

    /// Where it looks for classes beside Kafka's; mostly there is no such folder.
    pub(crate) fn classes(&self) -> PathBuf {
        self.folder.join("classes")
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    pub(crate) fn configure(&self, voters: &str, nodes: usize, shape: &Shape<'_>) {
        let replicas = nodes.min(3);
        let in_sync_min = replicas.min(2);
        let mut lines = format!(
            "node.id={}\n\
             broker.rack={}\n\
             controller.quorum.voters={voters}\n\
             log.dirs={}/data\n\
             min.insync.replicas={in_sync_min}\n",
            self.id,
            rack(self.id),
            self.folder.display()
        );
        lines += &self.listener_lines(shape);
        for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
            lines += &format!("{topic}.replication.factor={replicas}\n");
        }
        for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
            lines += &format!("{topic}.min.isr={in_sync_min}\n");
        }
        lines += SERVER_PROPERTIES;
        for (name, value) in shape.overrides {
            lines += &format!("{name}={value}\n");
        }
        fs::write(self.properties(), lines).expect("the broker's folder can be written");
    }

    fn listener_lines(&self, shape: &Shape<'_>) -> String {
        let (broker, controller) = (self.address(), self.controller.address());
        let controls = format!("CONTROLLER://{controller}");
        if self.role == Role::Controller {
            return format!("process.roles=controller\nlisteners={controls}\n{}", protocols(&[]));
        }
        let mut bound = vec![format!("PLAINTEXT://{broker}")];
        let mut advertised = bound.clone();
        let further = (shape.listeners)(self.id - 1);
        for listener in &further {
            bound.push(format!("{}://{}", listener.name, listener.bound));
            advertised.push(format!("{}://{}", listener.name, listener.advertised));
        }
        let roles = if self.role == Role::Both {
            bound.push(controls);
            "broker,controller"
        } else {
            "broker"
        };
        format!(
            "process.roles={roles}\nlisteners={}\nadvertised.listeners={}\n\
             inter.broker.listener.name=PLAINTEXT\n{}",
            bound.join(","),
            advertised.join(","),
            protocols(&further)
        )
    }

    pub(crate) fn format(&self, version: Version, cluster_id: &str) {
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

    pub(crate) fn start(&mut self, version: Version) {
        assert!(self.node.is_none(), "broker {} runs already", self.id);
        let mut arguments: Vec<String> = JVM_OPTIONS.map(str::to_owned).to_vec();
        let class_path = format!("{}:{}", class_path(version), self.classes().display());
        arguments.extend(["-cp", &class_path, "kafka.Kafka"].map(str::to_owned));
        arguments.push(self.properties().display().to_string());
        self.node = Some(Node::start(&self.folder, &arguments));
    }

    /// Its process is there, stopped by a signal or not.
    pub(crate) fn is_alive(&self) -> bool {
        self.node.is_some()
    }

    /// It can answer: its process is there, and not stopped by a signal.
    pub(crate) fn is_running(&self) -> bool {
        self.is_alive() && !self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("the broker runs")
    }

    pub(crate) fn take_node(&mut self) -> Node {
        self.paused.store(false, Ordering::Relaxed);
        self.node.take().expect("the broker runs")
    }

    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
        self.node().pause();
    }

    pub(crate) fn resume(&self) {
        self.node().resume();
        self.paused.store(false, Ordering::Relaxed);
    }

    /// The last lines that its process has written.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.folder.join("broker.log"))
    }
}

fn protocols(further: &[Listener]) -> String {
    let names = ["PLAINTEXT", "CONTROLLER"].into_iter().chain(further.iter().map(|it| it.name));
    let entries: Vec<String> = names.map(|name| format!("{name}:PLAINTEXT")).collect();
    format!("listener.security.protocol.map={}\n", entries.join(","))
}

/// Short sessions, so that a killed broker's partitions move within seconds; few threads and
/// little memory, because several brokers share a small machine. The cleaner's buffer is part of
/// the heap and 128 MiB by default.
const SERVER_PROPERTIES: &str = "\
controller.listener.names=CONTROLLER
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
