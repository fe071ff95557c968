//! Where choices are collected: typed setters and property names, last one wins.
//!
//! Owns:     what was chosen, apart from what is merely the default: several checks ask.
//! Never:    checks one property against another; that is `validate.rs`, once, at the end.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::affinity::Affinity;
use super::error::ConfigError;
use super::keys::{self, Lookup};
use super::origin::{Origin, Origins};
use super::properties::FileProperty;
use super::settings::{
    Acks, AllocationStrategy, DnsLookup, DriverChoice, MetadataRecovery, RecordingLevel, Settings,
    ZeroCopy,
};
use super::{properties, validate, value};
use crate::callback::Hooks;
use crate::partitioner::{Partitioner, PartitionerClass, Partitioners};
use crate::protocol::compression::Compression;

/// `Some` is what somebody chose; `None` is left to the default.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    pub(super) bootstrap_servers: Option<String>,
    pub(super) bootstrap_resolve_timeout: Option<Duration>,
    pub(super) dns_lookup: Option<DnsLookup>,
    pub(super) allocation_strategy: Option<AllocationStrategy>,
    pub(super) client_id: Option<String>,
    pub(super) acks: Option<Acks>,
    pub(super) idempotence: Option<bool>,
    pub(super) linger: Option<Duration>,
    pub(super) batch_bytes: Option<i64>,
    pub(super) buffer_memory: Option<i64>,
    pub(super) compression: Option<Compression>,
    pub(super) gzip_level: Option<i64>,
    pub(super) lz4_level: Option<i64>,
    pub(super) zstd_level: Option<i64>,
    pub(super) max_block: Option<Duration>,
    pub(super) request_bytes_max: Option<i64>,
    pub(super) in_flight_max: Option<i64>,
    pub(super) retries: Option<i64>,
    pub(super) retry_backoff: Option<Duration>,
    pub(super) retry_backoff_max: Option<Duration>,
    pub(super) delivery_timeout: Option<Duration>,
    pub(super) request_timeout: Option<Duration>,
    pub(super) reconnect_backoff: Option<Duration>,
    pub(super) reconnect_backoff_max: Option<Duration>,
    pub(super) connection_setup_timeout: Option<Duration>,
    pub(super) connection_setup_timeout_max: Option<Duration>,
    pub(super) connection_idle_max: Option<Option<Duration>>,
    pub(super) send_buffer: Option<i64>,
    pub(super) receive_buffer: Option<i64>,
    pub(super) metadata_age_max: Option<Duration>,
    pub(super) metadata_idle_max: Option<Duration>,
    pub(super) metadata_recovery: Option<MetadataRecovery>,
    pub(super) rebootstrap_trigger: Option<Duration>,
    pub(super) cluster_check: Option<bool>,
    pub(super) partitioner: Option<PartitionerClass>,
    pub(super) partitioners: Partitioners,
    pub(super) metrics_samples: Option<i64>,
    pub(super) metrics_window: Option<Duration>,
    pub(super) metrics_level: Option<RecordingLevel>,
    pub(super) metrics_push: Option<bool>,
    pub(super) ignore_keys: Option<bool>,
    pub(super) adaptive_partitioning: Option<bool>,
    pub(super) availability_timeout: Option<Duration>,
    pub(super) rack_aware: Option<bool>,
    pub(super) client_rack: Option<String>,
    pub(super) affinity: Option<Affinity>,
    pub(super) shards: Option<i64>,
    pub(super) spin: Option<Duration>,
    pub(super) reserve_max: Option<Duration>,
    pub(super) driver: Option<DriverChoice>,
    pub(super) zero_copy: Option<ZeroCopy>,
    pub(super) sqpoll: Option<Duration>,
    pub(super) transactional_id: Option<String>,
    pub(super) hooks: Hooks,
    pub(super) unknown_keys: BTreeSet<String>,
    pub(super) jvm_only: Vec<(&'static str, &'static str)>,
    /// Who chose what.
    pub(super) origins: Origins,
}

/// Collects a producer's configuration. Nothing is checked across properties before
/// [`settings`](Self::settings); a setter called twice keeps the later value, whichever road it
/// came.
///
/// Every duration is at most [`FOREVER`](super::FOREVER); longer ones mean that.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct ConfigBuilder {
    pub(super) chosen: Chosen,
}

/// A count or size as the property keeps it. What a long cannot hold is out of every range.
fn long(number: impl TryInto<i64>) -> Option<i64> {
    Some(number.try_into().unwrap_or(i64::MAX))
}

impl ConfigBuilder {
    /// A setter has set this property.
    fn set(mut self, name: &'static str) -> Self {
        self.chosen.origins.choose(name, Origin::Setter);
        self
    }

    /// Nothing chosen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the cluster is first looked for: `host:port` entries with commas between them, IPv6
    /// addresses in brackets, no duplicates (`bootstrap.servers`). Without it there is no producer.
    pub fn bootstrap_servers(mut self, servers: impl Into<String>) -> Self {
        self.chosen.bootstrap_servers = Some(servers.into());
        self.set("bootstrap.servers")
    }

    /// Resolves the bootstrap servers' names in the background instead of in the call that starts
    /// the producer; if none has an address after so long, every call fails for good
    /// (`bootstrap.resolve.timeout.ms`; default zero: in that call).
    pub fn bootstrap_resolve_timeout(mut self, longest: Duration) -> Self {
        self.chosen.bootstrap_resolve_timeout = Some(longest);
        self.set("bootstrap.resolve.timeout.ms")
    }

    /// How host names become addresses (`client.dns.lookup`; default
    /// [`DnsLookup::UseAllDnsIps`]).
    pub fn dns_lookup(mut self, lookup: DnsLookup) -> Self {
        self.chosen.dns_lookup = Some(lookup);
        self.set("client.dns.lookup")
    }

    /// Accepted; both ways are the same here (`buffer.memory.allocation.strategy`).
    pub fn allocation_strategy(mut self, strategy: AllocationStrategy) -> Self {
        self.chosen.allocation_strategy = Some(strategy);
        self.set("buffer.memory.allocation.strategy")
    }

    /// The name in every request header, at most 32,767 bytes (`client.id`; default
    /// `producer-<n>`).
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.chosen.client_id = Some(id.into());
        self.set("client.id")
    }

    /// When a broker acknowledges (`acks`; default [`Acks::All`]).
    pub fn acks(mut self, acks: Acks) -> Self {
        self.chosen.acks = Some(acks);
        self.set("acks")
    }

    /// One copy of each record per producer session, in order (`enable.idempotence`; default true).
    /// Asked for by hand, it makes `acks` other than all and `retries` of 0 an error.
    pub fn idempotence(mut self, on: bool) -> Self {
        self.chosen.idempotence = Some(on);
        self.set("enable.idempotence")
    }

    /// How long a batch that is not full waits for more records; sub-millisecond values are kept,
    /// and `i32::MAX` milliseconds is the longest (`linger.ms`; default 5 ms).
    pub fn linger(mut self, linger: Duration) -> Self {
        self.chosen.linger = Some(linger);
        self.set("linger.ms")
    }

    /// The size in bytes a batch is aimed at, up to `i32::MAX`; 0 turns batching off (`batch.size`;
    /// default 16,384).
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.chosen.batch_bytes = long(bytes);
        self.set("batch.size")
    }

    /// Bytes of memory for records not yet acknowledged, at least one batch (`buffer.memory`;
    /// default 33,554,432).
    pub fn buffer_memory(mut self, bytes: u64) -> Self {
        self.chosen.buffer_memory = long(bytes);
        self.set("buffer.memory")
    }

    /// How batches are compressed, with the codec's level; single topics may be compressed in
    /// another way ([`TopicOptions`](crate::TopicOptions)) (`compression.type`,
    /// `compression.gzip.level`, `compression.lz4.level`, `compression.zstd.level`; default
    /// [`Compression::None`]).
    pub fn compression(mut self, compression: Compression) -> Self {
        self.chosen.compression = Some(compression);
        let leveled = match compression {
            Compression::None | Compression::Snappy => None,
            Compression::Gzip(level) => {
                Some((&mut self.chosen.gzip_level, level, "compression.gzip.level"))
            }
            Compression::Lz4(level) => {
                Some((&mut self.chosen.lz4_level, level, "compression.lz4.level"))
            }
            Compression::Zstd(level) => {
                Some((&mut self.chosen.zstd_level, level, "compression.zstd.level"))
            }
        };
        if let Some((slot, level, name)) = leveled {
            *slot = Some(level.into());
            self = self.set(name);
        }
        self.set("compression.type")
    }

    /// The longest one call waits for metadata and memory together (`max.block.ms`; default 60 s).
    pub fn max_block(mut self, longest: Duration) -> Self {
        self.chosen.max_block = Some(longest);
        self.set("max.block.ms")
    }

    /// The largest request, and the largest single record, in bytes, up to `i32::MAX`
    /// (`max.request.size`; default 1,048,576).
    pub fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.chosen.request_bytes_max = long(bytes);
        self.set("max.request.size")
    }

    /// Unanswered requests on one connection: at least 1, with idempotence at most 5
    /// (`max.in.flight.requests.per.connection`; default 5).
    pub fn in_flight_max(mut self, requests: usize) -> Self {
        self.chosen.in_flight_max = long(requests);
        self.set("max.in.flight.requests.per.connection")
    }

    /// How often one batch is sent again, up to `i32::MAX` (`retries`; default `i32::MAX`).
    pub fn retries(mut self, retries: u32) -> Self {
        self.chosen.retries = long(retries);
        self.set("retries")
    }

    /// The first wait before a request is sent again (`retry.backoff.ms`; default 100 ms).
    pub fn retry_backoff(mut self, base: Duration) -> Self {
        self.chosen.retry_backoff = Some(base);
        self.set("retry.backoff.ms")
    }

    /// The longest wait before a request is sent again (`retry.backoff.max.ms`; default 1 s).
    pub fn retry_backoff_max(mut self, max: Duration) -> Self {
        self.chosen.retry_backoff_max = Some(max);
        self.set("retry.backoff.max.ms")
    }

    /// From a record's append to its verdict, at most; not below linger plus request timeout, up to
    /// `i32::MAX` milliseconds (`delivery.timeout.ms`; default 120 s).
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.chosen.delivery_timeout = Some(timeout);
        self.set("delivery.timeout.ms")
    }

    /// The longest wait for one answer, up to `i32::MAX` milliseconds (`request.timeout.ms`;
    /// default 30 s).
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.chosen.request_timeout = Some(timeout);
        self.set("request.timeout.ms")
    }

    /// The first wait before a broker is connected to again; without
    /// [`reconnect_backoff_max`](Self::reconnect_backoff_max) it is the only one
    /// (`reconnect.backoff.ms`; default 50 ms).
    pub fn reconnect_backoff(mut self, base: Duration) -> Self {
        self.chosen.reconnect_backoff = Some(base);
        self.set("reconnect.backoff.ms")
    }

    /// The longest wait before a broker is connected to again (`reconnect.backoff.max.ms`; default
    /// 1 s).
    pub fn reconnect_backoff_max(mut self, max: Duration) -> Self {
        self.chosen.reconnect_backoff_max = Some(max);
        self.set("reconnect.backoff.max.ms")
    }

    /// The longest first TCP connect, at least 1 ms; it doubles per failure
    /// (`socket.connection.setup.timeout.ms`; default 10 s).
    pub fn connection_setup_timeout(mut self, base: Duration) -> Self {
        self.chosen.connection_setup_timeout = Some(base);
        self.set("socket.connection.setup.timeout.ms")
    }

    /// The longest TCP connect after failures, at least 1 ms
    /// (`socket.connection.setup.timeout.max.ms`; default 30 s).
    pub fn connection_setup_timeout_max(mut self, max: Duration) -> Self {
        self.chosen.connection_setup_timeout_max = Some(max);
        self.set("socket.connection.setup.timeout.max.ms")
    }

    /// A connection idle for this long is closed; `None` keeps it (`connections.max.idle.ms`;
    /// default 540 s).
    pub fn connection_idle_max(mut self, longest: Option<Duration>) -> Self {
        self.chosen.connection_idle_max = Some(longest);
        self.set("connections.max.idle.ms")
    }

    /// `SO_SNDBUF` in bytes, up to `i32::MAX`; `None` leaves it to the system (`send.buffer.bytes`;
    /// default `None`, where Kafka has 131,072).
    pub fn send_buffer(mut self, bytes: Option<usize>) -> Self {
        self.chosen.send_buffer = bytes.map_or(Some(-1), long);
        self.set("send.buffer.bytes")
    }

    /// `SO_RCVBUF` in bytes, up to `i32::MAX`; `None` leaves it to the system
    /// (`receive.buffer.bytes`; default `None`, where Kafka has 32,768).
    pub fn receive_buffer(mut self, bytes: Option<usize>) -> Self {
        self.chosen.receive_buffer = bytes.map_or(Some(-1), long);
        self.set("receive.buffer.bytes")
    }

    /// Metadata older than this is fetched again (`metadata.max.age.ms`; default 300 s).
    pub fn metadata_age_max(mut self, longest: Duration) -> Self {
        self.chosen.metadata_age_max = Some(longest);
        self.set("metadata.max.age.ms")
    }

    /// A topic not produced to for this long is forgotten; at least 5 s (`metadata.max.idle.ms`;
    /// default 300 s).
    pub fn metadata_idle_max(mut self, longest: Duration) -> Self {
        self.chosen.metadata_idle_max = Some(longest);
        self.set("metadata.max.idle.ms")
    }

    /// What is done when no known broker can be used (`metadata.recovery.strategy`; default
    /// [`MetadataRecovery::Rebootstrap`]).
    pub fn metadata_recovery(mut self, recovery: MetadataRecovery) -> Self {
        self.chosen.metadata_recovery = Some(recovery);
        self.set("metadata.recovery.strategy")
    }

    /// For how long known brokers may bring no metadata before they are given up, with
    /// [`MetadataRecovery::Rebootstrap`] (`metadata.recovery.rebootstrap.trigger.ms`; default
    /// 300 s).
    pub fn rebootstrap_trigger(mut self, longest: Duration) -> Self {
        self.chosen.rebootstrap_trigger = Some(longest);
        self.set("metadata.recovery.rebootstrap.trigger.ms")
    }

    /// Whether each connection says to its broker which broker of which cluster it is for, so that
    /// one that took over the address sends the producer back to the bootstrap servers (KIP-1242).
    /// Brokers from Kafka 4.4 on listen to it. Without effect with [`MetadataRecovery::None`]
    /// (`metadata.cluster.check.enable`; default true).
    pub fn cluster_check(mut self, on: bool) -> Self {
        self.chosen.cluster_check = Some(on);
        self.set("metadata.cluster.check.enable")
    }

    /// Where records go that name no partition: one of Kafka's or librdkafka's partitioners
    /// (`partitioner.class`; default [`PartitionerClass::BuiltIn`]).
    pub fn partitioner_class(mut self, class: PartitionerClass) -> Self {
        self.chosen.partitioner = Some(class);
        self.set("partitioner.class")
    }

    /// How many windows rates, averages and maxima are made of, the open one included; at least 1
    /// (`metrics.num.samples`; default 2).
    pub fn metrics_samples(mut self, windows: usize) -> Self {
        self.chosen.metrics_samples = long(windows);
        self.set("metrics.num.samples")
    }

    /// How long such a window is (`metrics.sample.window.ms`; default 30 s).
    pub fn metrics_window(mut self, length: Duration) -> Self {
        self.chosen.metrics_window = Some(length);
        self.set("metrics.sample.window.ms")
    }

    /// What is measured (`metrics.recording.level`; default [`RecordingLevel::Info`]).
    pub fn metrics_level(mut self, level: RecordingLevel) -> Self {
        self.chosen.metrics_level = Some(level);
        self.set("metrics.recording.level")
    }

    /// Whether metrics are pushed to a cluster that asks for them, as KIP-714 has it
    /// (`enable.metrics.push`; default true).
    pub fn metrics_push(mut self, on: bool) -> Self {
        self.chosen.metrics_push = Some(on);
        self.set("enable.metrics.push")
    }

    /// A partitioner of your own, for every topic that has none by
    /// [`topic_partitioner`](Self::topic_partitioner). It comes before
    /// [`partitioner_class`](Self::partitioner_class); there is no property for it.
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.chosen.partitioners.set(partitioner);
        self
    }

    /// A partitioner of your own for one topic.
    pub fn topic_partitioner(
        mut self,
        topic: impl Into<String>,
        partitioner: impl Partitioner + 'static,
    ) -> Self {
        self.chosen.partitioners.set_for(topic.into(), partitioner);
        self
    }

    /// Place records with a key as if they had none; for the built-in partitioner only
    /// (`partitioner.ignore.keys`; default false).
    pub fn ignore_keys(mut self, ignore: bool) -> Self {
        self.chosen.ignore_keys = Some(ignore);
        self.set("partitioner.ignore.keys")
    }

    /// Prefer partitions with short queues for records that no key places
    /// (`partitioner.adaptive.partitioning.enable`; default true).
    pub fn adaptive_partitioning(mut self, on: bool) -> Self {
        self.chosen.adaptive_partitioning = Some(on);
        self.set("partitioner.adaptive.partitioning.enable")
    }

    /// Pass over partitions whose broker has taken nothing for so long, although there was
    /// something for it, with records that no key places; zero is never. Needs
    /// [`adaptive_partitioning`](Self::adaptive_partitioning)
    /// (`partitioner.availability.timeout.ms`; default 0).
    pub fn availability_timeout(mut self, timeout: Duration) -> Self {
        self.chosen.availability_timeout = Some(timeout);
        self.set("partitioner.availability.timeout.ms")
    }

    /// Prefer partitions whose leader is in this producer's rack for records that no key places.
    /// Needs [`client_rack`](Self::client_rack) (`partitioner.rack.aware`; default false).
    pub fn rack_aware(mut self, on: bool) -> Self {
        self.chosen.rack_aware = Some(on);
        self.set("partitioner.rack.aware")
    }

    /// The rack that this producer is in, as the brokers name theirs in `broker.rack`
    /// (`client.rack`; default none).
    pub fn client_rack(mut self, rack: impl Into<String>) -> Self {
        self.chosen.client_rack = Some(rack.into());
        self.set("client.rack")
    }

    /// Which CPUs the senders run on (`kuring.affinity`; default [`Affinity::Auto`]). Whether they
    /// are allowed is known when the producer starts.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.chosen.affinity = Some(affinity);
        self.set("kuring.affinity")
    }

    /// How many senders, 1 to 1,024 (`kuring.shards`; default by the rule of
    /// [`Placement`](super::Placement)).
    pub fn shards(mut self, shards: usize) -> Self {
        self.chosen.shards = long(shards);
        self.set("kuring.shards")
    }

    /// How long a sender polls for work before it sleeps; it burns its core meanwhile
    /// (`kuring.spin`; default zero: it sleeps at once).
    pub fn spin(mut self, spin: Duration) -> Self {
        self.chosen.spin = Some(spin);
        self.set("kuring.spin")
    }

    /// How long the records of a batch that is to be sent wait for reservations in it, counted from
    /// the last of these; later ones are left out ([`Topic::reserve`](crate::Topic::reserve)). Up
    /// to `i32::MAX` milliseconds (`kuring.reserve.max.ms`; default 10 ms).
    pub fn reserve_max(mut self, reserve_max: Duration) -> Self {
        self.chosen.reserve_max = Some(reserve_max);
        self.set("kuring.reserve.max.ms")
    }

    /// Which driver moves the bytes (`kuring.driver`; default [`DriverChoice::Auto`]).
    pub fn driver(mut self, driver: DriverChoice) -> Self {
        self.chosen.driver = Some(driver);
        self.set("kuring.driver")
    }

    /// Whether the `uring` driver sends large requests without a copy (`kuring.zerocopy`; default
    /// [`ZeroCopy::Off`]).
    pub fn zero_copy(mut self, zero_copy: ZeroCopy) -> Self {
        self.chosen.zero_copy = Some(zero_copy);
        self.set("kuring.zerocopy")
    }

    /// Has a thread of the kernel submit for each sender of the `uring` driver; it sleeps after
    /// `idle` without work, and takes a core of its own until then (`kuring.sqpoll`; default zero:
    /// no such thread).
    pub fn sqpoll(mut self, idle: Duration) -> Self {
        self.chosen.sqpoll = Some(idle);
        self.set("kuring.sqpoll")
    }

    /// Sets one property by Kafka's name for it, or by one of our own (`kuring.*`). White space
    /// around the value does not count. A name that nobody knows is logged when the settings are
    /// made and otherwise ignored, as Kafka does.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for a value the property does not
    /// take, [`ConfigError::NotYet`] for a property that this version does not carry out.
    pub fn property(self, name: &str, value: &str) -> Result<Self, ConfigError> {
        self.property_of(name, value, Origin::Property)
    }

    fn property_of(mut self, name: &str, value: &str, by: Origin) -> Result<Self, ConfigError> {
        match keys::lookup(name) {
            Lookup::Supported => {
                self.chosen.set(name, value)?;
                if let Some(name) = keys::supported(name) {
                    self.chosen.origins.choose(name, by);
                }
            }
            Lookup::NotYet(key) => key.require_harmless(name, value)?,
            Lookup::Transactions => {
                let id = value::trim(value);
                self.chosen.transactional_id = Some(id.to_owned());
            }
            Lookup::JvmOnly(key, instead) => {
                // An empty list asks for nothing.
                let is_asked = !value::trim(value).is_empty();
                if is_asked && !self.chosen.jvm_only.contains(&(key, instead)) {
                    self.chosen.jvm_only.push((key, instead));
                }
            }
            Lookup::Unknown => {
                self.chosen.unknown_keys.insert(name.to_owned());
            }
        }
        Ok(self)
    }

    /// Sets many properties, in order, as [`property`](Self::property) does.
    ///
    /// # Errors
    /// Those of [`property`](Self::property), at the first property that has one.
    pub fn properties<I, K, V>(self, properties: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        properties.into_iter().try_fold(self, |builder, (name, value)| {
            builder.property(name.as_ref(), value.as_ref())
        })
    }

    /// Sets every property of a Java properties file: comments, `=`, `:` or white space between
    /// name and value, continued lines, `\uXXXX`. Of a name that is there twice the last counts.
    /// The file is read as UTF-8 (Java itself reads ISO-8859-1; ASCII with `\uXXXX` is the same in
    /// both), up to 1 MiB. Blocks on the file.
    ///
    /// # Errors
    /// [`ConfigError::File`], [`ConfigError::Properties`], and [`ConfigError::InFile`] around those
    /// of [`property`](Self::property), with the line.
    pub fn properties_file(self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let read = properties::read_file(path.as_ref())?;
        read.iter().try_fold(self, Self::file_property)
    }

    /// Sets one property as it was [read](FileProperty::read_all) from a file: for programs that
    /// want to go through all of them, wrong ones included.
    ///
    /// # Errors
    /// [`ConfigError::InFile`] around those of [`property`](Self::property).
    pub fn file_property(self, property: &FileProperty) -> Result<Self, ConfigError> {
        let FileProperty { name, value, path, line } = property;
        let by = Origin::File { path: Arc::clone(path), line: *line };
        self.property_of(name, value, by).map_err(|source| ConfigError::InFile {
            path: path.as_ref().clone(),
            line: *line,
            source: Box::new(source),
        })
    }

    /// Checks everything and fills in the defaults. Logs, at warning level, each ignored property
    /// and each value that had to give way to another. A missing `client.id` takes the next number.
    ///
    /// # Errors
    /// The first [`ConfigError`] found; nothing is kept of the attempt.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        validate::settings(&self.chosen)
    }
}

impl Chosen {
    /// Reads a supported property; the key table decides which those are.
    fn set(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        match name {
            "bootstrap.servers" => self.bootstrap_servers = Some(text.to_owned()),
            "client.id" => self.client_id = Some(value::client_id(value::trim(text).to_owned())?),
            "client.dns.lookup" => self.dns_lookup = Some(value::dns_lookup(text)?),
            "buffer.memory.allocation.strategy" => {
                self.allocation_strategy = Some(value::allocation(text)?);
            }
            "acks" => self.acks = Some(value::acks(text)?),
            "enable.idempotence" => {
                self.idempotence = Some(value::boolean("enable.idempotence", text)?);
            }
            "batch.size" => self.batch_bytes = Some(value::BATCH.parse(text)?),
            "buffer.memory" => self.buffer_memory = Some(value::BUFFER_MEMORY.parse(text)?),
            "compression.type" => self.compression = Some(value::compression(text)?),
            "compression.gzip.level" => self.gzip_level = Some(value::GZIP_LEVEL.parse(text)?),
            "compression.lz4.level" => self.lz4_level = Some(value::LZ4_LEVEL.parse(text)?),
            "compression.zstd.level" => self.zstd_level = Some(value::ZSTD_LEVEL.parse(text)?),
            "max.request.size" => self.request_bytes_max = Some(value::REQUEST_MAX.parse(text)?),
            "max.in.flight.requests.per.connection" => {
                self.in_flight_max = Some(value::IN_FLIGHT.parse(text)?);
            }
            "retries" => self.retries = Some(value::RETRIES.parse(text)?),
            "send.buffer.bytes" => self.send_buffer = Some(value::SEND_BUFFER.parse(text)?),
            "receive.buffer.bytes" => {
                self.receive_buffer = Some(value::RECEIVE_BUFFER.parse(text)?);
            }
            "client.rack" => self.client_rack = Some(value::trim(text).to_owned()),
            "partitioner.class" => self.partitioner = Some(value::partitioner(text)?),
            "partitioner.rack.aware" => {
                self.rack_aware = Some(value::boolean("partitioner.rack.aware", text)?);
            }
            "metrics.num.samples" => {
                self.metrics_samples = Some(value::METRICS_SAMPLES.parse(text)?);
            }
            "metrics.recording.level" => {
                self.metrics_level = Some(value::recording_level(text)?);
            }
            "enable.metrics.push" => {
                self.metrics_push = Some(value::boolean("enable.metrics.push", text)?);
            }
            "partitioner.ignore.keys" => {
                self.ignore_keys = Some(value::boolean("partitioner.ignore.keys", text)?);
            }
            "partitioner.adaptive.partitioning.enable" => {
                let key = "partitioner.adaptive.partitioning.enable";
                self.adaptive_partitioning = Some(value::boolean(key, text)?);
            }
            "metadata.cluster.check.enable" => {
                self.cluster_check = Some(value::boolean("metadata.cluster.check.enable", text)?);
            }
            "metadata.recovery.strategy" => self.metadata_recovery = Some(value::recovery(text)?),
            "kuring.affinity" => self.affinity = Some(text.parse()?),
            "kuring.shards" => self.shards = Some(value::SHARDS.parse(text)?),
            "kuring.spin" => self.spin = Some(value::with_unit("kuring.spin", text)?),
            "kuring.driver" => self.driver = Some(value::driver(text)?),
            "kuring.zerocopy" => self.zero_copy = Some(value::zero_copy(text)?),
            "kuring.sqpoll" => self.sqpoll = Some(value::with_unit("kuring.sqpoll", text)?),
            _ => self.set_duration(name, text)?,
        }
        Ok(())
    }

    fn set_duration(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        if name == "connections.max.idle.ms" {
            self.connection_idle_max = Some(value::idle(text)?);
            return Ok(());
        }
        let (spec, field) = match name {
            "bootstrap.resolve.timeout.ms" => {
                (value::BOOTSTRAP_RESOLVE, &mut self.bootstrap_resolve_timeout)
            }
            "linger.ms" => (value::LINGER, &mut self.linger),
            "max.block.ms" => (value::MAX_BLOCK, &mut self.max_block),
            "delivery.timeout.ms" => (value::DELIVERY_TIMEOUT, &mut self.delivery_timeout),
            "request.timeout.ms" => (value::REQUEST_TIMEOUT, &mut self.request_timeout),
            "retry.backoff.ms" => (value::RETRY_BACKOFF, &mut self.retry_backoff),
            "retry.backoff.max.ms" => (value::RETRY_BACKOFF_MAX, &mut self.retry_backoff_max),
            "reconnect.backoff.ms" => (value::RECONNECT_BACKOFF, &mut self.reconnect_backoff),
            "reconnect.backoff.max.ms" => {
                (value::RECONNECT_BACKOFF_MAX, &mut self.reconnect_backoff_max)
            }
            "socket.connection.setup.timeout.ms" => {
                (value::SETUP_TIMEOUT, &mut self.connection_setup_timeout)
            }
            "socket.connection.setup.timeout.max.ms" => {
                (value::SETUP_TIMEOUT_MAX, &mut self.connection_setup_timeout_max)
            }
            "partitioner.availability.timeout.ms" => {
                (value::AVAILABILITY_TIMEOUT, &mut self.availability_timeout)
            }
            "kuring.reserve.max.ms" => (value::RESERVE_MAX, &mut self.reserve_max),
            "metrics.sample.window.ms" => (value::METRICS_WINDOW, &mut self.metrics_window),
            "metadata.max.age.ms" => (value::METADATA_AGE, &mut self.metadata_age_max),
            "metadata.max.idle.ms" => (value::METADATA_IDLE, &mut self.metadata_idle_max),
            "metadata.recovery.rebootstrap.trigger.ms" => {
                (value::REBOOTSTRAP, &mut self.rebootstrap_trigger)
            }
            _ => unreachable!("the key table calls {name} supported, and nothing here takes it"),
        };
        *field = Some(spec.parse(text)?);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
