//! Where faults are played: a cluster of three brokers and a controller apart, with ways to it that
//! can be disturbed, and traffic on a topic of the fault's own.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kuring::Producer;

use crate::ledger::{Found, Log, Rebirth};
use crate::stamp::Stamp;
use crate::support::batches::LogRecord;
use crate::support::deadline::Deadline;
use crate::support::jars::Version;
use crate::support::kafka::Cluster;
use crate::support::link::Link;
use crate::support::place::{Listener, Shape};
use crate::support::ports::Port;
use crate::support::proxy::{Proxy, Weather};
use crate::traffic::Traffic;

/// How a producer reaches the brokers: which of their listeners it begins with, and so which
/// addresses it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Loopback,
    Proxies,
    Link,
}

/// The cluster and the ways to it.
pub(crate) struct Stage {
    // Before proxies and link: what is dropped first needs the others least.
    pub(crate) cluster: Cluster,
    pub(crate) proxies: Vec<Proxy>,
    /// Or why there is none.
    pub(crate) link: Result<Link, String>,
    link_addresses: Vec<SocketAddr>,
    _ports: Vec<Port>,
}

impl Stage {
    pub(crate) fn open(version: Version) -> Self {
        let lease = || (0..BROKERS).map(|_| Port::lease()).collect::<Vec<_>>();
        let (behind_proxies, behind_link) = (lease(), lease());
        let proxies: Vec<Proxy> =
            behind_proxies.iter().map(|port| Proxy::start(port.address())).collect();
        let link = Link::new();
        let host = link.as_ref().map_or(Ipv4Addr::LOCALHOST, Link::address);
        let link_addresses: Vec<SocketAddr> =
            behind_link.iter().map(|port| SocketAddr::from((host, port.number()))).collect();
        let listeners = |index: usize| {
            let proxied = Listener {
                name: "PROXIED",
                bound: behind_proxies[index].address(),
                advertised: proxies[index].address(),
            };
            let address = link_addresses[index];
            vec![proxied, Listener { name: "LINKED", bound: address, advertised: address }]
        };
        let shape = Shape { overrides: OVERRIDES, controller_apart: true, listeners: &listeners };
        let mut cluster = Cluster::prepare_shaped(version, BROKERS, &shape);
        cluster.start_all();
        let ports = behind_proxies.into_iter().chain(behind_link).collect();
        Self { cluster, proxies, link, link_addresses, _ports: ports }
    }

    pub(crate) fn weather(&self, weather: Weather) {
        for proxy in &self.proxies {
            proxy.set(weather);
        }
    }

    fn bootstrap(&self, way: Way) -> String {
        let addresses: Vec<String> = match way {
            Way::Loopback => return self.cluster.bootstrap(),
            Way::Proxies => self.proxies.iter().map(|it| it.address().to_string()).collect(),
            Way::Link => self.link_addresses.iter().map(ToString::to_string).collect(),
        };
        addresses.join(",")
    }

    pub(crate) fn producer(&self, way: Way, properties: &[(&str, &str)]) -> Producer {
        let bootstrap = self.bootstrap(way);
        let build = || {
            let builder = Producer::builder().bootstrap_servers(bootstrap);
            let builder = builder.properties(PROPERTIES.iter().copied()).expect("known properties");
            let builder = builder.properties(properties.iter().copied()).expect("known properties");
            builder.build().expect("a producer")
        };
        match &self.link {
            Ok(link) if way == Way::Link => link.inside(build),
            _ => build(),
        }
    }

    /// The topic's records as they are now, every batch checked (`support/fetch.rs`).
    pub(crate) fn read(&self, topic: &str, rebirth: Option<Rebirth>) -> Log {
        let read = |partition| {
            let mut log = Vec::new();
            let enter = |record: LogRecord<'_>| {
                let stamp = Stamp::read(&record, topic, PARTITIONS, partition);
                log.push(Found { offset: record.offset, stamp });
            };
            match rebirth {
                None => self.cluster.read(topic, partition, enter),
                Some(_) => self.cluster.read_created_again(topic, partition, enter),
            };
            log
        };
        (0..PARTITIONS).map(read).collect()
    }
}

/// What a fault's script has in its hands.
pub(crate) struct Scene<'a> {
    pub(crate) stage: &'a mut Stage,
    pub(crate) traffic: &'a Traffic,
    pub(crate) topic: &'a str,
    /// Moments that the script noted for the report.
    pub(crate) moves: Vec<Move>,
    pub(crate) rebirth: Option<Rebirth>,
    pub(crate) note: String,
}

/// A partition that lost its leader, and when the new one was first seen to serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub(crate) partition: i32,
    pub(crate) lost: Instant,
    pub(crate) serving: Instant,
}

impl Scene<'_> {
    /// Records of every partition are acknowledged now, not only before the last fault.
    pub(crate) fn progress(&self) {
        self.traffic.await_more(200, Deadline::after(PROGRESS_MAX));
    }

    /// Lets the fault last.
    pub(crate) fn hold(&self, time: Duration) {
        // Nobody sends: the time passes, and then the wait is over.
        let (_sender, nothing) = channel::<()>();
        nothing.recv_timeout(time).ok();
    }

    pub(crate) fn await_in_sync(&self) {
        self.stage.cluster.await_in_sync(self.topic);
    }
}

const BROKERS: usize = 3;
pub(crate) const PARTITIONS: i32 = 6;
const PROGRESS_MAX: Duration = Duration::from_secs(90);

/// Elections are the tests' to ask for. A follower that asks a new leader a moment too early would
/// wait a second before it asks again, and no acknowledgement comes in that second: the report is
/// to show how long the producer takes.
const OVERRIDES: &[(&str, &str)] =
    &[("auto.leader.rebalance.enable", "false"), ("replica.fetch.backoff.ms", "100")];

/// Short times, so that each fault can outlast them, and long enough for a busy machine.
const PROPERTIES: &[(&str, &str)] = &[
    ("acks", "all"),
    ("request.timeout.ms", "4000"),
    ("delivery.timeout.ms", "60000"),
    ("max.block.ms", "10000"),
    ("kuring.shards", "2"),
    // So much that the traffic goes on for seconds without an acknowledgement.
    ("buffer.memory", "134217728"),
];
/// [`PROPERTIES`]' request.timeout.ms.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
