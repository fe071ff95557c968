//! Kuring: a Kafka producer for Linux services that care about microseconds.
//!
//! Application threads encode each record once, straight into the memory it is sent from. One
//! sender thread per core, pinned if asked, moves that memory to the brokers by io_uring (or epoll
//! where io_uring is not allowed) and resolves a promise per record. Nothing is allocated per
//! record, per batch or per request once the traffic is steady.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use kuring::{Producer, Record};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
//! let topic = producer.topic("events");
//! let delivery = topic.blocking_send(Record::new().key("user-7").value("clicked"))?;
//! println!("offset {:?}", delivery.wait()?.offset);
//! producer.close(Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```
//!
//! In async code, `topic.send(record).await?` gives the same [`Delivery`], which is itself a
//! future; no runtime is needed and none is assumed.
//!
//! # What users touch
//!
//! [`Producer`] (built by [`ConfigBuilder`], from typed setters or Kafka's property names) gives
//! [`Topic`] handles. A handle takes a [`Record`] by [`send`](Topic::send) (waits for memory and
//! metadata, at most `max.block.ms`), [`try_send`](Topic::try_send) (never waits),
//! [`blocking_send`](Topic::blocking_send) or [`send_batch`](Topic::send_batch), or lends the room
//! for a value to be written in place ([`reserve`](Topic::reserve)), and gives back a [`Delivery`].
//! [`Producer::close`] ends everything and counts it up in a [`Summary`]; what is not to be sent
//! after all can be [purged](Producer::purge) or [held back](Topic::pause).
//!
//! Loops that want neither futures nor callbacks [`submit`](Topic::submit) a record with a number,
//! and [poll](Producer::poll_deliveries) numbers and verdicts. Who wants callbacks has a closure
//! for a record ([`send_with`](Topic::send_with)), or one handler for all that are submitted
//! ([`delivery_handler`](ConfigBuilder::delivery_handler)). An [`Interceptor`] sees every record
//! and every verdict. A [`TypedTopic`] takes keys and values that are not bytes yet. Services with
//! one thread run the producer inside their own loop, typed topics included: [`Embedded`].
//!
//! Where records without a partition go is [`PartitionerClass`]'s to say, or a [`Partitioner`]'s.
//! Batches are compressed by [`Compression`], or a topic's own ([`Producer::topic_with`]).
//! [`Producer::metrics`] tells what was done, and how fast; a [`StatsReporter`] tells it as
//! librdkafka does. A cluster that asks for metrics is pushed them, with those of the application
//! that were [registered](Producer::register_metric_for_subscription).
//!
//! Tests of a service need no Kafka: the feature `testing` has a cluster of brokers in the process
//! itself, which keeps records, can be told to fail, and lists what arrived (`kuring::testing`).
//!
//! # What is promised
//!
//! Every record that was accepted gets exactly one verdict, on every path, a panic of a sender
//! thread included:
//!
//! | verdict | how it shows | sending it again |
//! |---|---|---|
//! | acknowledged | `Ok` with partition, offset, timestamp | not needed |
//! | definitely not written | error, [`possibly_written()`][written] is false | cannot duplicate |
//! | possibly written | error, [`possibly_written()`][written] is true | may duplicate |
//!
//! [written]: SendError::possibly_written
//!
//! - Records that one thread sends to one partition are written in that order. With idempotence,
//!   which is on by default, that holds through retries with five requests in flight, and each
//!   record is written once per producer session.
//! - Dropping a [`Delivery`] loses nothing; neither does dropping the future of a send that was
//!   not ready, because then nothing was sent.
//! - Memory is returned to the pool only when the broker has answered or the connection is gone,
//!   *and* the kernel has given back every operation on it. Timeouts, close and panics resolve
//!   deliveries early; they never release bytes early.
//! - In the child of a `fork` without `exec` the parent's producers are inert: everything says
//!   [`SendError::Forked`], `close` and drop do nothing, and the parent notices nothing. The child
//!   may make producers of its own.
//! - A [`Reservation`] is a record once it is committed; until then it delays the records of its
//!   batch, and a flush or close of these, by `kuring.reserve.max.ms` at most.
//! - Memory is bounded: `buffer.memory` for records, and beyond it one copy of each batch that had
//!   to go without a late reservation, until that batch has its verdict. Every length that a broker
//!   sends is checked against the bytes that are there before anything is allocated for it.
//!
//! # Threads
//!
//! - *Application threads*, any number: choose the partition, claim room in its open batch, encode
//!   there, commit. They take no lock and make no system call, unless their record opens or fills a
//!   batch while the shard sleeps (then one write to an eventfd), or memory or metadata is missing.
//! - *Shards*, `kuring-<n>`, one unless `kuring.shards` or `kuring.affinity` say otherwise: all
//!   I/O, all protocol, all timers of their partitions. Pinned by `kuring.affinity`. They run no
//!   user code except the wakers of deliveries that are being awaited, and what they were given to
//!   call: closures of records, the delivery handler, interceptors.
//! - *Compressors*, `kuring-pack-<n>`, one per shard that has met a batch to be compressed: the
//!   codecs, so that no connection waits for them. Not pinned.
//! - *The meter*, `kuring-telemetry`: puts together what a cluster that asks for metrics is pushed,
//!   for the moment that this takes, and runs the closures of the application's metrics. Not
//!   pinned.
//! - *The resolver*: host names, away from the shards, since the system's resolver blocks.
//!
//! An [`Embedded`] producer has one shard and no thread for it: the caller's does both.
//!
//! # The life of a record
//!
//! 1. [`Topic::send`] reads the topic's partition count and chooses: the partition that the record
//!    names, the murmur2 hash of its key as in Java, or the sticky partition of this thread, which
//!    changes with each batch's worth of bytes; what else there is stands at [`PartitionerClass`]
//!    and [`Partitioner`].
//! 2. It *claims* room in the partition's open batch with one atomic operation on a word that holds
//!    state, generation, record count and byte offset. The exact size is known by then, so batches
//!    have no holes. A full batch is *sealed* and the next one opened, in a buffer of the arena.
//! 3. It encodes the record into the claimed bytes and *commits* with one release add. Nothing
//!    between claim and commit can fail or run foreign code.
//! 4. The batch is sealed when it is full, when `linger.ms` is over, when memory is short, on flush
//!    and on close. Its shard takes it, *stamps* producer id, epoch, base sequence and checksum,
//!    and puts it into the next request for its leader, with one batch of every other ready
//!    partition.
//!    A batch of a compressed topic goes to the shard's compressor before that, and keeps its place
//!    in the partition's order meanwhile.
//! 5. The driver sends the request from the arena, in place. While the kernel holds the bytes they
//!    are *lent*; a retry sends the same bytes again.
//! 6. The broker's answer, a timeout or close gives the batch its verdict. That resolves all of its
//!    deliveries through one cell; a record's offset is the batch's plus its place in it.
//! 7. When the verdict is there and nothing is lent any more, the buffer is *released*.
//!
//! # Words
//!
//! Kafka's own words wherever it has one.
//!
//! | word | meaning |
//! |---|---|
//! | record | key, value, headers, timestamp: what is sent |
//! | batch | records of one partition in Kafka's format v2: the unit of sequence, checksum, retry |
//! | batch ring | one partition's bounded ring of batches between the appenders and the shard |
//! | buffer | a fixed piece of the arena that one batch lives in |
//! | chunk | memory beside the arena that a batch is filled in before it is compressed |
//! | plain, packed | the records of a batch before and after its codec |
//! | arena, buffer pool | the memory of a shard, which the kernel may know; its free list |
//! | shard | one sender thread with its ring, arena, partitions and connections |
//! | sender | the pure state machine inside a shard: decides, touches no socket, clock or thread |
//! | driver | the I/O under a shard: `uring`, `tokio-uring` or `epoll` |
//! | connection | one broker's protocol state in one shard; one send at a time in the kernel |
//! | snapshot | the immutable cluster metadata that everyone reads |
//! | piece, family | a part of a batch that was split; all parts of one, which share its cell |
//! | delivery | the promise for one record; a verdict resolves it exactly once |
//! | reservation | a claimed record whose value the caller writes in place, then commits or drops |
//! | hole | a claimed record that is left out of its batch, which closes up |
//! | verdict | acknowledged, definitely not written, or possibly written |
//! | completion | a verdict with the number that its record was submitted with |
//! | report | a verdict as callbacks and interceptors are told it |
//!
//! # Layers
//!
//! A folder is a layer, imports point down, and `tests/tidy` holds the table. From top to bottom:
//!
//! - `testing`: brokers for users' tests; knows the protocol and no producer. Feature `testing`.
//! - `embedded`: a producer inside somebody else's loop.
//! - `statistics`: what a producer has done, as librdkafka tells it.
//! - `producer`, `topic`, `typed`: what users hold.
//! - `shard`: the loop that joins a sender and a driver, and decides nothing.
//! - `telemetry`: what is pushed to a cluster that asks for metrics.
//! - `metrics`: what a producer has done, and how fast, out of what its shards count.
//! - `sender`: what is sent when, what is tried again, and what each record's verdict is.
//!   `handle_*` is the world telling it, `poll_*` is it telling the world; time and randomness are
//!   arguments, so it runs the same in a test with a virtual clock.
//! - `meters`: the counters, windows and histograms of a shard.
//! - `driver`: sockets in, completions out, no Kafka.
//! - `accumulator`: the batch rings, the arena, and who waits for memory.
//! - `metadata`: the snapshot of the cluster.
//! - `callback`, `interceptor`: what is called when, and what it is told.
//! - `serializer`: how keys and values become bytes.
//! - `delivery`, `error`, `record`: what users get and give.
//! - `protocol`: the wire: bounded reader, encoders, record batches, error codes. Does no I/O.
//! - `config`, `ids`, `clock`, `park`, `fork`, `shield`: settings, newtypes, the only clock, waits
//!   for a future, whether a fork made this process, plug-ins that panic when they are dropped.
//! - `partitioner`: which partition a record goes to. It is told what it has to know.
//! - `sync`: the atomics and locks of the lock-free files, which models can watch.
//!
//! A partition belongs to one shard for the producer's life, `(topic hash + partition) % shards`,
//! so one thread owns its order, its sequence numbers and its retries. A shard connects to every
//! broker that leads one of its partitions, and has a producer id of its own.
//!
//! `unsafe` stands where the census of `tests/tidy` says (the claimed ranges, the arena, the
//! submissions to the kernel, the page that a fork wipes); each block names its obligation, what
//! upholds it, and the test that would break.
//!
//! # Reading order
//!
//! `ids` -> `record` -> `accumulator/batch` -> `accumulator/batch_ring` -> `sender/mod` ->
//! `sender/partition` -> `shard`. An hour.
#![deny(unsafe_code)]

#[doc(hidden)]
pub mod accumulator;
mod callback;
#[doc(hidden)]
pub mod clock;
pub mod config;
#[doc(hidden)]
pub mod delivery;
#[doc(hidden)]
pub mod driver;
pub mod embedded;
mod error;
mod fork;
#[doc(hidden)]
pub mod ids;
mod interceptor;
#[doc(hidden)]
pub mod metadata;
#[doc(hidden)]
pub mod meters;
pub mod metrics;
mod park;
#[doc(hidden)]
pub mod partitioner;
mod producer;
#[doc(hidden)]
pub mod protocol;
mod record;
#[doc(hidden)]
pub mod sender;
pub mod serializer;
mod shard;
mod shield;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod statistics;
mod sync;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod topic;
mod typed;

pub use callback::DeliveryReport;
pub use config::{Acks, Affinity, AllocationStrategy, Compression, ConfigBuilder, ConfigError};
pub use config::{DnsLookup, DriverChoice, RecordingLevel, Settings, ZeroCopy};
pub use delivery::Delivery;
pub use delivery::completion::{Completion, Deliveries};
pub use driver::probe::OpenError;
pub use embedded::{Embedded, Progress};
pub use error::{SendError, TrySendError};
pub use ids::{BrokerId, ClientInstanceId};
pub use interceptor::{Interceptor, OnSendError, Outgoing};
pub use metadata::PartitionDescription;
pub use metrics::Metrics;
pub use partitioner::{Partitioner, PartitionerClass, Unplaced};
pub use producer::{ClientInstanceIdError, Producer, Purge, StartError, Summary};
pub use protocol::error_code::ErrorCode;
pub use record::{Acknowledged, Header, HeaderList, Record, RecordMetadata};
pub use statistics::StatsReporter;
pub use telemetry::ApplicationMetric;
pub use topic::{Reservation, Sending, SendingWith, Submitting, Topic, TopicOptions};
pub use typed::{TypedRecord, TypedSendError, TypedTopic};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
