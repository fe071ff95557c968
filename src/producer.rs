//! The producer: what users build, share and close.
#![forbid(unsafe_code)]

mod ending;
mod purge;
mod telemetry;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::accumulator::packing::Packing;
use crate::accumulator::{Accumulator, BATCH_BYTES_MAX};
use crate::callback::{Callbacks, Caller, Hooks};
use crate::clock;
use crate::config::{self, ConfigBuilder, ConfigError, DnsLookup, HostPort, Settings};
use crate::delivery::Delivery;
use crate::delivery::completion::{Completion, Completions, Deliveries};
use crate::driver::dns;
use crate::driver::probe::OpenError;
use crate::error::SendError;
use crate::fork::{self, Mark};
use crate::metadata::{Cluster, PartitionDescription};
use crate::meters::{CallMeters, WindowSpec};
use crate::metrics::Metrics;
use crate::park;
use crate::record::Record;
use crate::shard::{self, Broken, Command, Finished, ShardError, Shared, Start, Ticket};
use crate::telemetry::ApplicationMetrics;
use crate::topic::{self, Topic, TopicOptions};

pub(crate) use ending::Stop;
use ending::Stops;
pub use purge::Purge;
pub use telemetry::ClientInstanceIdError;

/// How long dropping the last handle waits for what was not sent.
pub(crate) const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// Why a producer could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong; the message says which, and what is accepted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No bootstrap server has an address (CFG-6). Check the names and the resolver.
    #[error("bootstrap.servers: no address for any of {servers}: {error}")]
    Unresolved {
        /// The servers.
        servers: String,
        /// What the resolver said of the last one.
        error: std::io::Error,
    },
    /// `batch.size` is above what one batch can count.
    #[error("batch.size={bytes}: at most {BATCH_BYTES_MAX}")]
    BatchSize {
        /// The setting.
        bytes: usize,
    },
    /// One shard's part of `buffer.memory` has no room for a batch. Use fewer shards or more
    /// memory.
    #[error(
        "buffer.memory={memory} over {shards} shards has no room for batch.size={batch_bytes}: \
             raise buffer.memory or lower kuring.shards"
    )]
    MemoryPerShard {
        /// `buffer.memory`.
        memory: u64,
        /// How many shards share it.
        shards: usize,
        /// `batch.size`.
        batch_bytes: usize,
    },
    /// An embedded producer is one shard, on the thread that drives it. Leave `kuring.shards`
    /// unset, or make one embedded producer per thread.
    #[error("kuring.shards={shards}: an embedded producer is one shard; make one per thread")]
    EmbeddedShards {
        /// The setting.
        shards: usize,
    },
    /// The kernel refused the memory.
    #[error("buffer.memory: the kernel refused the arena: {0}")]
    Memory(#[source] std::io::Error),
    /// The driver cannot be used; the message says what would help.
    #[error(transparent)]
    Driver(OpenError),
    /// A sender thread could not be started or pinned.
    #[error("a sender thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl From<ShardError> for StartError {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::Driver(error) => Self::Driver(error),
            ShardError::Thread(error) => Self::Thread(error),
        }
    }
}

/// What became of the records of a producer, from its start to its end. Each accepted record is in
/// exactly one of the first three; `never_sent` are those of `failed` that never left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Written, and acknowledged as `acks` asks.
    pub acknowledged: u64,
    /// Certainly not written.
    pub failed: u64,
    /// Not acknowledged, but perhaps written.
    pub possibly_written: u64,
    /// Of `failed`: never handed to a socket.
    pub never_sent: u64,
}

impl Summary {
    /// What a producer that nobody closed has lost.
    pub(crate) fn log_lost(self) {
        if self.failed + self.possibly_written > 0 {
            tracing::warn!(
                failed = self.failed,
                possibly_written = self.possibly_written,
                never_sent = self.never_sent,
                "a producer was dropped without close, and not all of its records were acknowledged"
            );
        }
    }
}

/// What all handles of a producer share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Arc<Settings>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) shards: Arc<[Arc<Shared>]>,
    /// Payloads up to this need no exact size check: none, where interceptors see each record
    /// first. Wiped in a fork's copy, where nothing is sent.
    pub(crate) record_bytes_sure: Mark,
    /// The largest batch that one shard's memory has room for.
    pub(crate) batch_bytes_max: usize,
    pub(crate) closed: AtomicBool,
    pub(crate) completions: Arc<Completions>,
    pub(crate) callbacks: Arc<Callbacks>,
    application: Arc<ApplicationMetrics>,
    topics: RwLock<HashMap<Arc<str>, Arc<topic::Shared>>>,
    stops: Stops,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) driver: &'static str,
}

/// Closes when the last [`Producer`] handle is gone.
#[derive(Debug)]
struct Handles(Arc<Inner>);

/// A producer. Cheap to clone; shared between threads; every handle is the same producer. The last
/// one dropped closes it, with a wait of at most five seconds, and logs what was left.
///
/// ```no_run
/// use kuring::{Producer, Record};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
/// let topic = producer.topic("events");
/// let delivery = topic.send(Record::new().key("user-7").value("clicked")).await?;
/// println!("written at offset {:?}", delivery.await?.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    handles: Arc<Handles>,
}

impl ConfigBuilder {
    /// Starts the producer: resolves the bootstrap servers (blocks for DNS), maps the memory and
    /// starts one thread per shard, pinned as `kuring.affinity` says. Connects in the background:
    /// a cluster that is down is no error here.
    ///
    /// # Errors
    /// A wrong setting, names without an address, a driver that is not allowed here.
    pub fn build(self) -> Result<Producer, StartError> {
        Producer::start(self.settings()?)
    }
}

impl Producer {
    /// A builder: typed setters and Kafka's property names, mixed as you like.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new()
    }

    /// A producer from a Java `.properties` file. Reads the file; otherwise as
    /// [`build`](ConfigBuilder::build).
    ///
    /// # Errors
    /// As [`build`](ConfigBuilder::build), and when the file cannot be read.
    pub fn from_properties(path: impl AsRef<Path>) -> Result<Self, StartError> {
        Self::builder().properties_file(path)?.build()
    }

    /// A producer from pairs of Kafka's property names and values.
    ///
    /// # Errors
    /// As [`build`](ConfigBuilder::build).
    pub fn from_property_pairs<I, K, V>(pairs: I) -> Result<Self, StartError>
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        Self::builder().properties(pairs)?.build()
    }

    /// A producer from validated settings.
    ///
    /// # Errors
    /// As [`build`](ConfigBuilder::build).
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let bootstrap = resolve_bootstrap(&settings)?;
        fork::generation();
        let placement = settings.placement()?.shards;
        let seed = clock::now_nanos();
        let seeds = placement.iter().zip(0..).map(|(cpu, number)| (*cpu, seed ^ (number << 48)));
        let (mut inner, starts) = Inner::new(settings, bootstrap, seeds.collect())?;
        let (mut threads, shards) = (Vec::new(), Arc::clone(&inner.shards));
        for start in starts {
            match shard::start(start) {
                Ok((thread, name)) => {
                    threads.push(thread);
                    inner.driver = name;
                }
                Err(error) => {
                    shards.iter().for_each(|shard| shard.command(Command::Close(clock::now())));
                    threads.into_iter().for_each(|thread| drop(thread.join()));
                    return Err(error.into());
                }
            }
        }
        inner.threads = Mutex::new(threads);
        Ok(Self::of(inner))
    }

    pub(crate) fn of(inner: Inner) -> Self {
        Self { handles: Arc::new(Handles(Arc::new(inner))) }
    }

    /// Bytes of `buffer.memory` that are free, as [`metrics`](Self::metrics) has them, for whoever
    /// slows down before memory is short: takes no lock and allocates nothing.
    #[must_use]
    pub fn buffer_available_bytes(&self) -> u64 {
        let shards = self.inner().shards.iter();
        shards.map(|shard| shard.accumulator.pool().available()).sum()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.handles.0
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner().settings
    }

    /// A handle to a topic. No I/O, no error: whether the topic exists shows when something is
    /// sent. Looks the name up under a lock: keep the handle.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        let inner = self.inner();
        if inner.is_copy() {
            // A lock may be held by a thread that is not here.
            let entry = Cluster::default().entry(name);
            let shared = topic::Shared::new(entry, &inner.settings, inner.new_packing());
            return Topic::new(Arc::new(shared), Arc::clone(inner));
        }
        let read = inner.topics.read().unwrap_or_else(PoisonError::into_inner);
        let known = read.get(name).cloned();
        drop(read);
        let shared = known.unwrap_or_else(|| {
            let mut topics = inner.topics.write().unwrap_or_else(PoisonError::into_inner);
            let entry = inner.cluster.entry(name);
            let new = |entry| topic::Shared::new(entry, &inner.settings, inner.new_packing());
            let made = || Arc::new(new(Arc::clone(&entry)));
            Arc::clone(topics.entry(Arc::clone(entry.name())).or_insert_with(made))
        });
        Topic::new(shared, Arc::clone(inner))
    }

    /// A handle to a topic that does some things in another way than the settings say. What is
    /// chosen holds for all handles of the topic, those that there are already included. As
    /// [`topic`](Self::topic) otherwise.
    ///
    /// ```no_run
    /// use kuring::{Compression, Producer, TopicOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
    /// let zstd = TopicOptions::new().compression(Compression::Zstd(3));
    /// let logs = producer.topic_with("logs", &zstd)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A codec that is not in this build, or a level that it does not have; the topic has another
    /// codec already ([`ConfigError::TopicInUse`]).
    pub fn topic_with(&self, name: &str, options: &TopicOptions) -> Result<Topic, ConfigError> {
        let topic = self.topic(name);
        if let Some(compression) = options.compression {
            let chosen = topic.packing().choose(config::checked(compression)?);
            let topic = || name.to_owned();
            chosen
                .map_err(|compression| ConfigError::TopicInUse { topic: topic(), compression })?;
        }
        Ok(topic)
    }

    /// [`Topic::send`] with a look-up of the topic: convenient, and slower than a kept handle.
    ///
    /// # Errors
    /// As [`Topic::send`].
    pub async fn send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, SendError> {
        self.topic(topic).send(record).await
    }

    /// Sends everything that was accepted before this call, without linger, and waits until all of
    /// it has its verdict, and the wakers of that have run (ACK-3). No time limit of its own:
    /// `delivery.timeout.ms` bounds it. Records of a [paused](Topic::pause) topic are waited for
    /// until the topic goes on or they expire. Cancel-safe: dropping the future leaves the flush
    /// going.
    pub async fn flush(&self) {
        let started = clock::now();
        self.start_flush().await;
        self.inner().calls().flushed(clock::now() - started);
    }

    /// [`flush`](Self::flush) for threads without a runtime. From a waker on a sender thread it
    /// starts the flush, and returns (ACK-7).
    pub fn blocking_flush(&self) {
        let started = clock::now();
        // A sender thread does not wait; the flush goes on.
        let _ = park::block_on(self.start_flush());
        self.inner().calls().flushed(clock::now() - started);
    }

    /// Makes the thread of a shard panic: for tests of what is left then.
    #[doc(hidden)]
    pub fn break_shard(&self, number: usize) {
        self.inner().shards[number].command(Command::Break(Broken::Shard));
    }

    /// Makes a shard's codec panic over its next batches: for tests of what becomes of them.
    #[doc(hidden)]
    pub fn break_codec(&self, number: usize, batches: u32) {
        self.inner().shards[number].command(Command::Break(Broken::Codec { batches }));
    }

    /// Refuses a shard the thread that it would start to compress on: for tests of what it does
    /// then.
    #[doc(hidden)]
    pub fn refuse_compressor(&self, number: usize) {
        self.inner().shards[number].command(Command::Break(Broken::Compressor));
    }

    pub(crate) fn start_flush(&self) -> Finished {
        if self.inner().is_copy() {
            return Finished(Ticket::new(0));
        }
        let shards = &self.inner().shards;
        let ticket = Ticket::new(shards.len());
        shards.iter().for_each(|shard| shard.command(Command::Flush(Arc::clone(&ticket))));
        Finished(ticket)
    }

    /// The topic's partitions: leader, replicas, in-sync and offline ones. Waits for metadata, at
    /// most `max.block.ms`. Allocates the answer.
    ///
    /// # Errors
    /// The topic is not known, refused or not allowed; the producer is closed.
    pub async fn partitions_for(
        &self,
        topic: &str,
    ) -> Result<Vec<PartitionDescription>, SendError> {
        self.topic(topic).known(None).await?;
        let snapshot = self.inner().cluster.snapshot();
        let found = snapshot.topic(topic).map(|topic| topic.partitions.clone());
        found.ok_or_else(|| SendError::Unknown {
            topic: topic.into(),
            partition: None,
            waited: Duration::ZERO,
            cause: None,
        })
    }

    /// [`partitions_for`](Self::partitions_for) for threads without a runtime.
    ///
    /// # Errors
    /// As [`partitions_for`](Self::partitions_for).
    pub fn blocking_partitions_for(
        &self,
        topic: &str,
    ) -> Result<Vec<PartitionDescription>, SendError> {
        park::block_on(self.partitions_for(topic)).unwrap_or_else(|_| Err(topic::refused()))
    }

    /// Does now what the first records would wait for: metadata of the topics, connections to the
    /// leaders of their partitions, the producer ids. Metadata is waited for at most `max.block.ms`
    /// per topic; a leader that is down is waited for until it is up or the producer is closed.
    /// Allocates. Cancel-safe: what was begun goes on.
    ///
    /// # Errors
    /// A topic is not known, refused or not allowed.
    pub async fn warm_up(&self, topics: &[&str]) -> Result<(), SendError> {
        let inner = self.inner();
        if inner.is_copy() {
            return Err(SendError::Forked { possibly_written: false });
        }
        let mut partitions = vec![Vec::new(); inner.shards.len()];
        for name in topics {
            let topic = self.topic(name);
            let count = topic.known(None).await?;
            let entry = inner.cluster.entry(name);
            for partition in 0..count as i32 {
                let shard = entry.shard_of(partition, inner.shards.len());
                partitions[shard].push((Arc::clone(topic.name()), partition));
            }
        }
        let ticket = Ticket::new(inner.shards.len());
        for (shard, partitions) in inner.shards.iter().zip(partitions) {
            shard.command(Command::WarmUp(Arc::clone(&ticket), partitions));
        }
        Finished(ticket).await;
        Ok(())
    }

    /// [`warm_up`](Self::warm_up) for threads without a runtime.
    ///
    /// # Errors
    /// As [`warm_up`](Self::warm_up).
    pub fn blocking_warm_up(&self, topics: &[&str]) -> Result<(), SendError> {
        park::block_on(self.warm_up(topics)).unwrap_or_else(|_| Err(topic::refused()))
    }

    /// What was done so far, and how fast, by every metric of Kafka's producer; see [`Metrics`].
    /// Reads counters that the shards publish, and costs the senders nothing. Takes a lock that a
    /// shard only waits for when it meets a new broker or topic; allocates some kilobytes per
    /// shard, broker and topic. Any thread. In a fork's child everything but the settings is 0.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.inner().metrics()
    }

    /// Takes verdicts on records that were [submitted](Topic::submit): one for each, on whatever
    /// path it came, in the order of the verdicts. Within a batch that is the order of the records,
    /// and between the batches of a partition too, as long as no answer is lost: a later batch that
    /// is sent again may be acknowledged before an earlier one. The offsets tell. Returns how many
    /// were written to the front of `completions`; what they replace is dropped.
    ///
    /// Never waits for anything but another thread that is in this call, and allocates nothing.
    /// Works on after [`close`](Self::close), by when all verdicts are there. What is not polled
    /// keeps a cell of the process per batch (16 bytes per record, 4 KiB at least), and none of
    /// `buffer.memory`; what is not polled by the end of the producer is gone. In a fork's child
    /// there is nothing.
    pub fn poll_deliveries(&self, completions: &mut [Completion]) -> usize {
        self.inner().poll_deliveries(completions)
    }

    /// Waits until [`poll_deliveries`](Self::poll_deliveries) is worth a call: true as soon as it
    /// is, false once the producer is closed and everything was polled. Where some records of a
    /// batch were sent and others submitted, the call may find nothing all the same. Needs no
    /// runtime.
    pub fn deliveries(&self) -> Deliveries {
        let inner = self.inner();
        Deliveries::new((!inner.is_copy()).then(|| Arc::clone(&inner.completions)))
    }

    /// [`deliveries`](Self::deliveries) for threads without a runtime: blocks until then, or until
    /// `deadline`. Whether there is something to be polled. On a sender thread, which runs wakers,
    /// it does not wait (ACK-7). Allocates once per thread.
    pub fn wait_deliveries(&self, deadline: Instant) -> bool {
        park::block_until(self.deliveries(), deadline).unwrap_or(false)
    }

    /// Closes: refuses new records, sends what was accepted until `patience` is over, that of
    /// [paused](Topic::pause) topics too, fails the rest, ends the threads. Blocks, so not for
    /// async code. Every record has its verdict when it returns. Closing again, from any thread,
    /// waits for the first close, then returns the same totals; the shortest patience counts.
    ///
    /// From a waker, which a sender thread runs, it waits for nothing: with patience 0 for the
    /// waker's own producer, as given for another one, and the totals are those of the moment
    /// (ACK-7). Closing once more from another thread waits for the end.
    ///
    /// In a fork's child it does nothing, and counts nothing: the producer is the parent's.
    pub fn close(&self, patience: Duration) -> Summary {
        self.inner().close(patience)
    }
}

impl Inner {
    /// A producer without threads, and what its shards are started with. `placement`: the CPU and
    /// the seed of each.
    pub(crate) fn new(
        mut settings: Settings,
        bootstrap: Bootstrap,
        placement: Vec<(Option<usize>, u64)>,
    ) -> Result<(Self, Vec<Start>), StartError> {
        let Hooks { interceptors, handler } = std::mem::take(&mut settings.hooks);
        let callbacks = Arc::new(Callbacks::new(interceptors));
        let settings = Arc::new(settings);
        let shards = make_shards(&settings, placement.len())?;
        let cluster = Arc::<Cluster>::default();
        let completions = Completions::new(shards.len());
        let application = Arc::<ApplicationMetrics>::default();
        let mut bootstrap = Some(bootstrap);
        let start = |(number, (cpu, seed))| Start {
            number,
            cpu,
            seed,
            settings: Arc::clone(&settings),
            cluster: Arc::clone(&cluster),
            bootstrap: bootstrap.take().unwrap_or_default(),
            shards: Arc::clone(&shards),
            completions: Arc::clone(&completions),
            caller: Caller::new(Arc::clone(&callbacks), handler.clone()),
            application: Arc::clone(&application),
        };
        let starts = placement.into_iter().enumerate().map(start).collect();
        let batch_bytes_max = shards[0].accumulator.pool().batch_bytes_max();
        let sure = match callbacks.has_interceptors() {
            true => 1,
            false => batch_bytes_max.min(settings.request_bytes_max).max(1),
        };
        let sure = Mark::new(sure);
        let inner = Self {
            record_bytes_sure: sure.map_err(StartError::Memory)?,
            batch_bytes_max,
            settings,
            cluster,
            shards,
            closed: AtomicBool::new(false),
            completions,
            callbacks,
            application,
            topics: RwLock::default(),
            stops: Stops::default(),
            threads: Mutex::default(),
            driver: "",
        };
        Ok((inner, starts))
    }

    /// See [`Producer::poll_deliveries`].
    pub(crate) fn poll_deliveries(&self, completions: &mut [Completion]) -> usize {
        // A lock may be held by a thread that is not here.
        if self.is_copy() { 0 } else { self.completions.poll(completions) }
    }

    /// See [`Producer::metrics`].
    pub(crate) fn metrics(&self) -> Metrics {
        let (shards, is_copy) = (&self.shards, self.is_copy());
        shard::metrics_of(shards, &self.settings.client_id, self.driver, is_copy)
    }

    /// Where calls that belong to no shard count their waits.
    pub(crate) fn calls(&self) -> &CallMeters {
        &self.shards[0].meters.calls
    }

    /// The verdicts given so far.
    pub(crate) fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for own in self.shards.iter().map(|shard| &shard.meters.own) {
            summary.acknowledged += own.acknowledged.get();
            summary.failed += own.failed.get();
            summary.possibly_written += own.possibly_written.get();
            summary.never_sent += own.never_sent.get();
        }
        summary
    }

    /// All shards have the same limits, so what the first one makes is good for all.
    fn new_packing(&self) -> Arc<Packing> {
        self.shards[0].accumulator.new_packing(self.settings.compression)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is taken, and what reports on the producer ends (CLS-5).
    fn refuse(&self) {
        self.closed.swap(true, AcqRel);
        self.cluster.close();
        self.stops.stop_all();
    }

    /// Has `stop` stopped by the close, which may have come already.
    pub(crate) fn stop_at_close(&self, stop: &Arc<Stop>) {
        self.stops.add(stop);
        if self.is_closed() {
            stop.stop();
        }
    }

    /// The part of a close that does not wait.
    pub(crate) fn start_close(&self, patience: Duration) {
        self.refuse();
        let deadline = clock::now() + patience.min(crate::config::FOREVER);
        self.shards.iter().for_each(|shard| shard.command(Command::Close(deadline)));
    }

    /// The part of an abort that does not wait.
    pub(crate) fn start_abort(&self) {
        self.refuse();
        self.shards.iter().for_each(|shard| shard.command(Command::Abort));
    }

    fn close(&self, patience: Duration) -> Summary {
        if self.is_copy() {
            return Summary::default();
        }
        let own = park::is_sender_of(shard::owner(&self.shards));
        self.start_close(if own { Duration::ZERO } else { patience });
        self.await_end()
    }

    /// Waits for the shards' ends, unless this is a sender thread, which would wait for itself.
    fn await_end(&self) -> Summary {
        let mut ended = self.shards.iter().map(|shard| park::block_on(shard.ended()));
        if ended.all(|ended| ended.is_ok()) && !park::is_sender() {
            // The tickets are finished by the last step of each thread, so this does not wait long.
            self.threads().drain(..).for_each(|thread| drop(thread.join()));
        }
        self.summary()
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        if self.0.is_copy() {
            return;
        }
        if park::is_sender() {
            // The last handle went with a task. The threads end by themselves.
            return self.0.start_close(DROP_PATIENCE);
        }
        let closed = self.0.is_closed();
        // Also after a close: one that a waker began did not wait for the threads.
        let summary = self.0.close(DROP_PATIENCE);
        if closed {
            return;
        }
        summary.log_lost();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_copy() {
            // The threads are the parent's; there is nothing to detach from.
            let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(threads).into_iter().for_each(std::mem::forget);
        }
    }
}

/// Host, port and addresses of each bootstrap server.
pub(crate) type Bootstrap = Vec<(Arc<str>, u16, Vec<SocketAddr>)>;

/// CFG-6: at least one of the servers has an address, unless there is time for that later.
pub(crate) fn resolve_bootstrap(settings: &Settings) -> Result<Bootstrap, StartError> {
    let name = |server: &HostPort| (Arc::from(server.host.as_str()), server.port);
    if !settings.bootstrap_resolve_timeout.is_zero() {
        let servers = settings.bootstrap_servers.iter().map(name);
        return Ok(servers.map(|(host, port)| (host, port, Vec::new())).collect());
    }
    let mut failed = None;
    let mut bootstrap = Vec::new();
    for server in &settings.bootstrap_servers {
        match dns::resolve_now(&server.host, server.port) {
            Ok(addresses)
                if settings.dns_lookup == DnsLookup::ResolveCanonicalBootstrapServersOnly =>
            {
                canonical(&mut bootstrap, &addresses, dns::canonical_name);
            }
            Ok(addresses) => {
                let (host, port) = name(server);
                bootstrap.push((host, port, addresses));
            }
            Err(error) => {
                tracing::warn!(%server, %error, "bootstrap server has no address");
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if bootstrap.is_empty() => {
            let servers = settings.bootstrap_servers.iter().map(ToString::to_string);
            let servers = servers.collect::<Vec<_>>().join(",");
            Err(StartError::Unresolved { servers, error })
        }
        _ => Ok(bootstrap),
    }
}

/// A server for each name that the addresses resolve back to.
fn canonical(bootstrap: &mut Bootstrap, addresses: &[SocketAddr], name: impl Fn(IpAddr) -> String) {
    for address in addresses {
        let (host, port) = (name(address.ip()), address.port());
        let known = bootstrap.iter_mut().find(|(known, at, _)| **known == *host && *at == port);
        match known {
            Some((_, _, addresses)) if addresses.contains(address) => {}
            Some((_, _, addresses)) => addresses.push(*address),
            None => bootstrap.push((host.into(), port, vec![*address])),
        }
    }
}

fn make_shards(settings: &Settings, count: usize) -> Result<Arc<[Arc<Shared>]>, StartError> {
    if settings.batch_bytes > BATCH_BYTES_MAX {
        return Err(StartError::BatchSize { bytes: settings.batch_bytes });
    }
    let memory = settings.buffer_memory / count as u64;
    if memory < settings.batch_bytes as u64 {
        return Err(StartError::MemoryPerShard {
            memory: settings.buffer_memory,
            shards: count,
            batch_bytes: settings.batch_bytes,
        });
    }
    let shard = |_| {
        let made = Accumulator::new(memory, settings.batch_bytes, settings.linger);
        let windows =
            WindowSpec { samples: settings.metrics_samples, length: settings.metrics_window };
        made.map(|made| Shared::new(made, windows)).map_err(StartError::Memory)
    };
    (0..count).map(shard).collect::<Result<Vec<_>, _>>().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_server_is_made_of_each_name_that_addresses_resolve_back_to() {
        let addresses = ["10.0.0.1:9092", "10.0.0.2:9092", "10.0.0.3:9092", "10.0.0.1:9092"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let name = |address: IpAddr| match address.to_string().as_str() {
            "10.0.0.3" => "b".to_owned(),
            _ => "a".to_owned(),
        };
        let mut bootstrap = Bootstrap::new();
        canonical(&mut bootstrap, &addresses, name);
        let of_a = vec![addresses[0], addresses[1]];
        let expected = [("a".into(), 9092, of_a), ("b".into(), 9092, vec![addresses[2]])];
        assert_eq!(bootstrap, expected);
    }
}
