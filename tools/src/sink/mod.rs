//! The null broker: it answers a producer's requests, acknowledges everything, keeps nothing.
//!
//! Owns:     one thread, its sockets, the counts of what it saw.
//! Bounds:   `server::CONNECTIONS_MAX` connections; what each may hold stands in `connection`.
//! Never:    touches a record's bytes, unless it was asked to verify them.
//!
//! Reading order: wire -> topics -> answers -> verify -> produce -> connection -> server.
#![forbid(unsafe_code)]

mod answers;
mod connection;
mod produce;
mod server;
mod topics;
mod verify;
mod wire;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::cpu::CpuTime;
use server::{Command, Server};
use topics::Topics;
use verify::Sequences;

/// How a null broker behaves.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: String,
    /// How many brokers it is, at least 1: the others listen on the same port of the addresses
    /// behind the first one's. They lead the partitions in turn.
    pub brokers: usize,
    /// Partitions of every topic, at least 1.
    pub partitions: usize,
    /// The CPU its thread is pinned to.
    pub cpu: Option<usize>,
    /// How long each answer to a produce request waits, in whole milliseconds.
    pub delay: Duration,
    /// The number of a broker, from 1, and how long its answers wait instead.
    pub slow: Option<(usize, Duration)>,
    /// Check every batch.
    pub verify: bool,
    /// A topic's first metadata request makes it and is answered UNKNOWN_TOPIC_OR_PARTITION, as a
    /// broker does that creates topics by itself. Otherwise every topic is there already.
    pub topics_auto: bool,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            brokers: 1,
            partitions: 10,
            cpu: None,
            delay: Duration::ZERO,
            slow: None,
            verify: false,
            topics_auto: false,
        }
    }
}

/// What a null broker has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub connections: u64,
    /// Connections closed because their bytes were no request the sink serves.
    pub garbage_connections: u64,
    /// What was wrong with the first of them.
    pub first_garbage: Option<String>,
    /// ApiVersions requests.
    pub api_versions_requests: u64,
    /// Metadata requests.
    pub metadata_requests: u64,
    /// FindCoordinator requests.
    pub find_coordinator_requests: u64,
    /// InitProducerId requests.
    pub init_producer_id_requests: u64,
    /// Produce requests.
    pub produce_requests: u64,
    /// Requests of another kind or version.
    pub refused_requests: u64,
    /// Batches acknowledged, repeated ones not counted.
    pub batches: u64,
    /// Records in them, as their headers count them.
    pub records: u64,
    /// Bytes received, everything included.
    pub bytes: u64,
    /// Bytes of record batches.
    pub batch_bytes: u64,
    /// With `verify`: batches that had been acknowledged before.
    pub repeated_batches: u64,
    /// With `verify`: batches that were wrong.
    pub errors: u64,
    /// With `verify`: what was wrong with the first of them.
    pub first_error: Option<String>,
}

impl Totals {
    fn count_request(&mut self, api: i16) {
        *match api {
            answers::PRODUCE => &mut self.produce_requests,
            answers::METADATA => &mut self.metadata_requests,
            answers::FIND_COORDINATOR => &mut self.find_coordinator_requests,
            answers::API_VERSIONS => &mut self.api_versions_requests,
            _ => &mut self.init_producer_id_requests,
        } += 1;
    }

    fn count_error(&mut self, text: String) {
        self.errors += 1;
        self.first_error.get_or_insert(text);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "connections {}", self.connections)?;
        writeln!(
            f,
            "requests Produce {}, ApiVersions {}, Metadata {}, InitProducerId {}, \
             FindCoordinator {}",
            self.produce_requests,
            self.api_versions_requests,
            self.metadata_requests,
            self.init_producer_id_requests,
            self.find_coordinator_requests
        )?;
        writeln!(
            f,
            "batches {}, records {}, bytes {} ({} in batches)",
            self.batches, self.records, self.bytes, self.batch_bytes
        )?;
        if let Some(first) = &self.first_garbage {
            writeln!(f, "closed for garbage {}, the first: {first}", self.garbage_connections)?;
        }
        if self.repeated_batches > 0 {
            writeln!(f, "repeated batches {}", self.repeated_batches)?;
        }
        if let Some(first) = &self.first_error {
            writeln!(f, "wrong batches {}, the first: {first}", self.errors)?;
        }
        Ok(())
    }
}

/// What the connections of one broker share.
struct Broker {
    /// Where it listens.
    addresses: Vec<SocketAddr>,
    topics: Topics,
    sequences: Sequences,
    next_producer_id: i64,
    verify: bool,
    first_is_unknown: bool,
    delay: Duration,
    /// A place in `addresses`, and its delay.
    slow: Option<(usize, Duration)>,
    totals: Totals,
}

impl Broker {
    fn new(options: &SinkOptions, addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            topics: Topics::new(options.partitions),
            sequences: Sequences::default(),
            next_producer_id: 1000,
            verify: options.verify,
            first_is_unknown: options.topics_auto,
            delay: options.delay,
            slow: options.slow.map(|(number, delay)| (number - 1, delay)),
            totals: Totals::default(),
        }
    }

    /// How long the answers of the broker at this address wait.
    fn delay_of(&self, address: SocketAddr) -> Duration {
        let slow = self.slow.filter(|(at, _)| self.addresses.get(*at) == Some(&address));
        slow.map_or(self.delay, |(_, delay)| delay)
    }

    fn has_delays(&self) -> bool {
        !self.delay.is_zero() || self.slow.is_some()
    }

    fn verifies(&self) -> bool {
        self.verify
    }

    fn count_batch(&mut self, records: i32) {
        self.totals.batches += 1;
        self.totals.records += u64::from(records.unsigned_abs());
    }
}

/// A null broker on its own thread.
#[derive(Debug)]
pub struct Sink;

impl Sink {
    /// Listens, and serves from a thread named `kuring-sink`.
    ///
    /// # Errors
    /// The address cannot be listened on, or the CPU is not one the process may use.
    pub fn start(options: &SinkOptions) -> io::Result<SinkHandle> {
        if !(1..=100_000).contains(&options.partitions) {
            return Err(invalid(format!(
                "{} partitions: 1 to 100000 are possible",
                options.partitions
            )));
        }
        if let Some((number, _)) = options.slow
            && !(1..=options.brokers).contains(&number)
        {
            return Err(invalid(format!(
                "broker {number} is to be slow: there are the numbers 1 to {}",
                options.brokers
            )));
        }
        let listeners = listeners(options)?;
        let addresses = listeners.iter().map(TcpListener::local_addr);
        let addresses: Vec<_> = addresses.collect::<io::Result<_>>()?;
        let address = addresses[0];
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, receiver) = channel();
        let broker = Broker::new(options, addresses);
        let server = Server::new(listeners, broker, Arc::clone(&wake), receiver)?;
        let (started, is_started) = channel();
        let cpu = options.cpu;
        let thread = std::thread::Builder::new().name("kuring-sink".into()).spawn(move || {
            crate::allocations::exclude_this_thread();
            let pinned = cpu.map_or(Ok(()), crate::cpu::pin);
            let is_pinned = pinned.is_ok();
            // The starter waits for this; nobody else holds the other end.
            let _ = started.send(pinned);
            if is_pinned { server.run() } else { Ok(Report::default()) }
        })?;
        is_started.recv().map_err(|_| io::Error::other("the sink's thread ended at once"))??;
        let brokers = options.brokers;
        Ok(SinkHandle { address, brokers, wake, commands, thread: Some(thread) })
    }
}

/// The most brokers that one sink can be: as many as it has descriptors for, and their clients too.
const BROKERS_MAX: usize = 250;

fn listeners(options: &SinkOptions) -> io::Result<Vec<TcpListener>> {
    let named = |listen: &dyn fmt::Display, error: io::Error| {
        io::Error::new(error.kind(), format!("listen on {listen}: {error}"))
    };
    let found = options.listen.to_socket_addrs().and_then(|mut addresses| {
        let first = addresses.next().ok_or_else(|| invalid("no address".to_owned()))?;
        TcpListener::bind(first)
    });
    let first = found.map_err(|error| named(&options.listen, error))?;
    let SocketAddr::V4(address) = first.local_addr()? else {
        return if options.brokers == 1 { Ok(vec![first]) } else { Err(several(options)) };
    };
    if !(1..=BROKERS_MAX).contains(&options.brokers)
        || options.brokers > 1 && address.ip().is_unspecified()
    {
        return Err(several(options));
    }
    let mut listeners = vec![first];
    for number in 1..options.brokers {
        let ip = Ipv4Addr::from(address.ip().to_bits() + number as u32);
        let next = SocketAddr::from((ip, address.port()));
        listeners.push(TcpListener::bind(next).map_err(|error| named(&next, error))?);
    }
    Ok(listeners)
}

fn several(options: &SinkOptions) -> io::Error {
    invalid(format!(
        "{} brokers at {}: 1 to {BROKERS_MAX} are possible, and more than one only from an IPv4 \
         address on, such as 127.0.0.1",
        options.brokers, options.listen
    ))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// What the sink's thread tells about itself.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What it has seen.
    pub totals: Totals,
    /// The CPU time of its thread.
    pub cpu: CpuTime,
}

/// A running null broker. Dropping it stops the broker.
#[derive(Debug)]
pub struct SinkHandle {
    address: SocketAddr,
    brokers: usize,
    wake: Arc<OwnedFd>,
    commands: Sender<Command>,
    thread: Option<JoinHandle<io::Result<Report>>>,
}

impl SinkHandle {
    /// Where it listens, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen so far. Waits for the thread to answer.
    pub fn totals(&self) -> Totals {
        self.report().totals
    }

    /// CPU time of the sink's thread so far, by its own clock. Waits for the thread to answer.
    pub fn cpu_time(&self) -> CpuTime {
        self.report().cpu
    }

    /// Totals and CPU time of one moment; zero when the thread is gone.
    pub fn report(&self) -> Report {
        let (sender, receiver) = channel();
        self.command(Command::Report(sender));
        receiver.recv().unwrap_or_default()
    }

    /// Makes one of its brokers serve nobody, as if its process were stopped, or go on: the first
    /// one is 0. Connections stay, new ones are taken, nothing is read and nothing answered.
    ///
    /// # Panics
    /// There is no such broker.
    pub fn stall(&self, broker: usize, stalled: bool) {
        assert!(broker < self.brokers, "broker {broker} of {}", self.brokers);
        self.command(Command::Stall(broker, stalled));
    }

    /// Closes all connections and ends the thread.
    ///
    /// # Errors
    /// What ended the thread before it was told to.
    pub fn stop(mut self) -> io::Result<Report> {
        self.end()
    }

    fn end(&mut self) -> io::Result<Report> {
        self.command(Command::Stop);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| io::Error::other("the sink panicked"))?,
            None => Ok(Report::default()),
        }
    }

    fn command(&self, command: Command) {
        // A thread that has ended neither listens nor needs waking.
        if self.commands.send(command).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for SinkHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.end();
        }
    }
}
