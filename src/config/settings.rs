//! What a producer was told to do, after every check: the one form the rest of the crate reads.
//!
//! Owns:     the validated values; nothing here can be out of range.
//! Bounds:   every duration is at most [`FOREVER`], so sums and doublings of them never overflow.
//! Never:    built by hand: [`ConfigBuilder::settings`](super::ConfigBuilder::settings) is the only
//!           way to one, for typed setters and for Kafka's property names alike.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::affinity::{Affinity, Placement, resolve};
use super::bootstrap::HostPort;
use super::error::ConfigError;
use super::machine::Machine;
use super::origin::Origins;
use crate::callback::Hooks;
use crate::partitioner::{PartitionerClass, Partitioners};
use crate::protocol::compression::Compression;

/// The longest duration a setting holds: 100 years. Longer values are accepted and mean this one.
///
/// In nanoseconds it still fits an `i64`, twice over, so no arithmetic on deadlines can overflow.
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How many replicas must have a record before the broker acknowledges it (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// `0`: the broker does not answer; a record counts as done when it was handed to the socket.
    None,
    /// `1`: the partition's leader has written it.
    Leader,
    /// `all` or `-1`: every in-sync replica has it. The default, and what idempotence needs.
    All,
}

impl Acks {
    /// The value a Produce request carries: 0, 1 or -1.
    pub fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        })
    }
}

/// A wait that doubles with every failure in a row, from `base` up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait; `base <= max`. Equal to `max` when the wait is constant.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// What a producer does when none of the brokers that it knows can be used
/// (`metadata.recovery.strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataRecovery {
    /// `none`: it keeps trying these brokers.
    None,
    /// `rebootstrap`: it asks the bootstrap servers, whose names are resolved again. The default.
    #[default]
    Rebootstrap,
}

/// How host names become addresses (`client.dns.lookup`). Brokers' names always mean all of their
/// addresses, tried in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsLookup {
    /// `use_all_dns_ips`: a bootstrap server is tried at all of its addresses in turn. The default.
    #[default]
    UseAllDnsIps,
    /// `resolve_canonical_bootstrap_servers_only`: at the start each address of a bootstrap server
    /// is resolved back, and every name that comes out is a bootstrap server of its own.
    ResolveCanonicalBootstrapServersOnly,
}

impl fmt::Display for DnsLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UseAllDnsIps => "use_all_dns_ips",
            Self::ResolveCanonicalBootstrapServersOnly => {
                "resolve_canonical_bootstrap_servers_only"
            }
        })
    }
}

/// How a batch gets its memory in the Java producer (`buffer.memory.allocation.strategy`). Here
/// both mean the same: a batch has a place in the arena, whose pages the kernel gives out as they
/// are first written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocationStrategy {
    /// `full`. The default.
    #[default]
    Full,
    /// `incremental`.
    Incremental,
}

impl fmt::Display for AllocationStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        })
    }
}

/// Which driver moves the bytes (`kuring.driver`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverChoice {
    /// `auto`: the first of `uring`, `tokio-uring` and `epoll` that works here. The default.
    #[default]
    Auto,
    /// `uring`: io_uring as of Linux 6.0, or an error at start where it is not to be had.
    Uring,
    /// `tokio-uring`: io_uring as of Linux 5.7, through tokio-uring, or an error at start.
    TokioUring,
    /// `epoll`: works on every Linux.
    Epoll,
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::TokioUring => "tokio-uring",
            Self::Epoll => "epoll",
        })
    }
}

/// Whether the `uring` driver sends large requests without copying them into the kernel
/// (`kuring.zerocopy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZeroCopy {
    /// `off`: never. The default.
    #[default]
    Off,
    /// `auto`: from 16 KiB on, until a connection finds that the kernel copies all the same.
    Auto,
}

/// What is measured beside the plain totals (`metrics.recording.level`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordingLevel {
    /// `OFF`, which Kafka does not have: totals and rates only. No histograms, and no maxima of
    /// sizes and times.
    Off,
    /// `INFO`: everything. The default.
    #[default]
    Info,
    /// `DEBUG`: the same. Kafka's producer has nothing more on this level either.
    Debug,
    /// `TRACE`: the same.
    Trace,
}

impl fmt::Display for RecordingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "OFF",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        })
    }
}

/// Every setting of a producer, validated: values in range, cross-checks passed, defaults filled
/// in.
///
/// Kafka's property name stands in brackets with each field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Where the cluster is first looked for; at least one, no duplicates (`bootstrap.servers`).
    pub bootstrap_servers: Vec<HostPort>,
    /// For how long the bootstrap servers' names are resolved in the background before every call
    /// fails; zero resolves them in the call that starts the producer
    /// (`bootstrap.resolve.timeout.ms`; default 0).
    pub bootstrap_resolve_timeout: Duration,
    /// How host names become addresses (`client.dns.lookup`; default all of each).
    pub dns_lookup: DnsLookup,
    /// Accepted; both ways are the same here (`buffer.memory.allocation.strategy`; default full).
    pub allocation_strategy: AllocationStrategy,
    /// The name in every request header; `producer-<n>` when it was not set, with n counting from
    /// 1 in this process. At most 32,767 bytes (`client.id`).
    pub client_id: String,
    /// When a broker acknowledges (`acks`; default all).
    pub acks: Acks,
    /// One copy of each record per producer session, in order (`enable.idempotence`; default true,
    /// and off without a word when `acks` is not all or `retries` is 0).
    pub idempotence: bool,
    /// How long a batch that is not full waits for more records, and a full one, while its broker
    /// owes an answer, for other full ones; at most `i32::MAX` milliseconds (`linger.ms`; default
    /// 5 ms).
    pub linger: Duration,
    /// The size in bytes a batch is aimed at; at least 1 (`batch.size`; default 16,384).
    pub batch_bytes: usize,
    /// Bytes of memory for records not yet acknowledged; `batch_bytes <= buffer_memory`
    /// (`buffer.memory`; default 33,554,432).
    pub buffer_memory: u64,
    /// How batches are compressed, for topics that nothing else was said about; a codec of this
    /// build, at a level that it has (`compression.type` and `compression.<codec>.level`; default
    /// none).
    pub compression: Compression,
    /// The levels that gzip, lz4 and zstd would have, chosen or not.
    pub(super) codec_levels: [i32; 3],
    /// The longest one call waits for metadata and memory together (`max.block.ms`; default 60 s).
    pub max_block: Duration,
    /// The largest request, and the largest single record before compression, in bytes
    /// (`max.request.size`; default 1,048,576).
    pub request_bytes_max: usize,
    /// Unanswered requests allowed on one connection; at least 1, and at most 5 with idempotence
    /// (`max.in.flight.requests.per.connection`; default 5).
    pub in_flight_max: usize,
    /// How often one batch is sent again; at most `i32::MAX` (`retries`; default `i32::MAX`).
    pub retries: u32,
    /// The wait before a request is sent again (`retry.backoff.ms`, `retry.backoff.max.ms`;
    /// default 100 ms to 1 s).
    pub retry_backoff: Backoff,
    /// From a record's append to its verdict, at most; not below `linger + request_timeout`
    /// (`delivery.timeout.ms`; default 120 s).
    pub delivery_timeout: Duration,
    /// The longest wait for one answer; at most `i32::MAX` milliseconds (`request.timeout.ms`;
    /// default 30 s).
    pub request_timeout: Duration,
    /// The wait before a broker is connected to again (`reconnect.backoff.ms`,
    /// `reconnect.backoff.max.ms`; default 50 ms to 1 s).
    pub reconnect_backoff: Backoff,
    /// The longest one TCP connect takes, doubling per failure
    /// (`socket.connection.setup.timeout.ms` and `.max.ms`; default 10 s to 30 s).
    pub connection_setup_timeout: Backoff,
    /// A connection idle for this long is closed; `None` keeps it open
    /// (`connections.max.idle.ms`; default 540 s; a negative value means `None`).
    pub connection_idle_max: Option<Duration>,
    /// `SO_SNDBUF` in bytes; `None` leaves it to the system (`send.buffer.bytes`; default -1, which
    /// is `None`. Kafka's default is 131,072, which stops the kernel from growing the buffer).
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` in bytes; `None` leaves it to the system (`receive.buffer.bytes`; default -1,
    /// which is `None`. Kafka's default is 32,768, with the same effect).
    pub receive_buffer: Option<usize>,
    /// Metadata older than this is fetched again (`metadata.max.age.ms`; default 300 s).
    pub metadata_age_max: Duration,
    /// A topic not produced to for this long is forgotten; at least 5 s (`metadata.max.idle.ms`;
    /// default 300 s).
    pub metadata_idle_max: Duration,
    /// What is done when no known broker can be used (`metadata.recovery.strategy`; default
    /// rebootstrap).
    pub metadata_recovery: MetadataRecovery,
    /// With rebootstrap, known brokers that have brought no metadata for so long are given up:
    /// their connections end, and what was in flight is tried again
    /// (`metadata.recovery.rebootstrap.trigger.ms`; default 300 s).
    pub rebootstrap_trigger: Duration,
    /// With rebootstrap, each connection says which broker of which cluster it is for
    /// (`metadata.cluster.check.enable`; default true).
    pub cluster_check: bool,
    /// How many windows rates, averages and maxima are made of, the open one included; at least 1
    /// (`metrics.num.samples`; default 2).
    pub metrics_samples: usize,
    /// How long such a window is (`metrics.sample.window.ms`; default 30 s).
    pub metrics_window: Duration,
    /// What is measured (`metrics.recording.level`; default INFO).
    pub metrics_level: RecordingLevel,
    /// Metrics are pushed to a cluster that asks for them, every so often and once at the end
    /// (`enable.metrics.push`; default true).
    pub metrics_push: bool,
    /// Where records go that name no partition (`partitioner.class`; default the built-in one).
    pub partitioner: PartitionerClass,
    /// The partitioners that the builder was given.
    pub(crate) partitioners: Partitioners,
    /// Records with a key are placed as if they had none; for the built-in partitioner only
    /// (`partitioner.ignore.keys`; default false).
    pub ignore_keys: bool,
    /// Records that no key places prefer partitions with short queues
    /// (`partitioner.adaptive.partitioning.enable`; default true).
    pub adaptive_partitioning: bool,
    /// Partitions whose broker has taken nothing for so long, although there was something for it,
    /// get no records that no key places; `None` is never, as it is without
    /// `adaptive_partitioning` (`partitioner.availability.timeout.ms`; default 0, which is `None`).
    pub availability_timeout: Option<Duration>,
    /// Records that no key places go to partitions whose leader is in `client_rack`, if there are
    /// some; `client_rack` is set then (`partitioner.rack.aware`; default false).
    pub rack_aware: bool,
    /// The rack that this producer is in (`client.rack`; default none).
    pub client_rack: Option<String>,
    /// Which CPUs the senders run on (`kuring.affinity`; default `auto`).
    pub affinity: Affinity,
    /// How many senders; `None` leaves it to the rule of [`Placement`]
    /// (`kuring.shards`; 1 to 1,024).
    pub shards: Option<usize>,
    /// How long a sender polls for work before it sleeps (`kuring.spin`; default 0: at once).
    pub spin: Duration,
    /// How long the records of a batch that is to be sent wait for reservations in it, counted from
    /// the last of these; at most `i32::MAX` milliseconds (`kuring.reserve.max.ms`; default 10 ms).
    pub reserve_max: Duration,
    /// Which driver moves the bytes (`kuring.driver`; default `auto`).
    pub driver: DriverChoice,
    /// Whether large requests are sent without a copy; only the `uring` driver can
    /// (`kuring.zerocopy`; default `off`). It locks the arena in memory, and a connection sends its
    /// next request only when the peer has acknowledged the last one's bytes.
    pub zero_copy: ZeroCopy,
    /// A thread of the kernel submits for each sender, and sleeps after so long without work; only
    /// with the `uring` driver (`kuring.sqpoll`; default `None`, which is 0: no such thread). Takes
    /// a core per sender while it is awake.
    pub sqpoll: Option<Duration>,
    /// Properties that are neither Kafka's nor ours, in alphabetical order: logged, otherwise
    /// ignored.
    pub unknown_keys: Vec<String>,
    /// Kafka properties that only mean something in a JVM, in the order given: logged with what
    /// takes their place, otherwise ignored.
    pub jvm_only_keys: Vec<&'static str>,
    /// Where each value came from; no part of what two settings are compared by.
    pub(super) origins: Arc<Origins>,
    /// Interceptors, and the delivery handler. The producer takes them out.
    pub(crate) hooks: Hooks,
}

impl Settings {
    /// How many senders there are on this machine and where each one runs, by the rules of
    /// [`Placement`]. Blocks on a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    /// [`ConfigError::CpuNotAllowed`] and [`ConfigError::NumaNode`] for an affinity that this
    /// process cannot have; [`ConfigError::Machine`] when the kernel does not tell which it can.
    pub fn placement(&self) -> Result<Placement, ConfigError> {
        let machine = match Machine::detect() {
            // Without pinning nobody has to know the CPUs.
            Err(_) if self.affinity == Affinity::None => Machine::default(),
            machine => machine?,
        };
        resolve(&self.affinity, self.shards, &machine)
    }
}
