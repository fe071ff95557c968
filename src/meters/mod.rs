//! What a shard counts: numbers that its thread writes and anyone may read, and their windows.
//!
//! Owns:     one [`ShardMeters`] per shard, with a part for each broker and topic it has to do
//!           with.
//! Thread:   the shard's writes every [`Cell`], and nobody else; [`CallMeters`] is the exception,
//!           for calls that wait, which are slow already. Readers take a lock that the shard only
//!           tries, except where it meets a new broker or topic.
//! Bounds:   `metrics.num.samples` windows; a broker or topic stays as long as the shard.
//! Never:    touched by the thread that appends a record; an atomic that two threads write on the
//!           way of a batch; allocates once every broker and topic is known and all windows full.
//! Source:   `SampledStat` and `Rate` of the Java client for the windows.
//!
//! A count is a load, an add and a store, all relaxed, which is the plain addition that the shard
//! would need anyway: a reader may see one number a moment before another, and none of them
//! decides anything.
#![forbid(unsafe_code)]

mod histogram;
mod windows;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::ids::BrokerId;

pub use histogram::{Histogram, LiveHistogram};
pub use windows::{Measured, Reading, WindowSpec};
use windows::{Span, Windows};

/// A number that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// The number. A moment later it may be another one.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Another number. Only the writing thread may.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// So much more. Only the writing thread may: nothing is lost because nobody else stores.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// The number, or the one that it has if that is larger. Only the writing thread may.
    #[inline]
    pub fn raise(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }
}

/// A struct of cells, its plain twin, and how twins are subtracted and summed up.
macro_rules! meters {
    ($(#[$about:meta])* $live:ident read as $reading:ident {
        counts { $($(#[$meaning:meta])* $count:ident,)* }
        peaks { $($(#[$height:meta])* $peak:ident,)* }
    }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $live {
            $($(#[$meaning])* pub $count: Cell,)*
            $($(#[$height])* pub $peak: Cell,)*
        }

        impl $live {
            /// All numbers as they are now.
            pub fn read(&self) -> $reading {
                $reading { $($count: self.$count.get(),)* $($peak: self.$peak.get(),)* }
            }

            /// A new window: the peaks start again. Only the writing thread may.
            fn forget_peaks(&self) {
                $(self.$peak.set(0);)*
            }
        }

        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $reading {
            $($(#[$meaning])* pub $count: u64,)*
            $($(#[$height])* pub $peak: u64,)*
        }

        impl Reading for $reading {
            fn since(&self, start: &Self) -> Self {
                Self {
                    $($count: self.$count.wrapping_sub(start.$count),)*
                    $($peak: self.$peak,)*
                }
            }

            fn merge(&mut self, other: &Self) {
                $(self.$count = self.$count.wrapping_add(other.$count);)*
                $(self.$peak = self.$peak.max(other.$peak);)*
            }
        }
    };
}

meters! {
    /// What a shard counts that belongs to no single broker or topic. Times in nanoseconds.
    OwnMeters read as OwnReading {
        counts {
            /// Records acknowledged.
            acknowledged,
            /// Records that failed and were certainly not written.
            failed,
            /// Records that failed and may have been written.
            possibly_written,
            /// Of `failed`, those that were never handed to a socket.
            never_sent,
            /// Batches sent again.
            retries,
            /// Batches that were too large for the broker and were split (SPL-9).
            splits,
            /// Batches that went through a codec, those that it could not make smaller included.
            compressed,
            /// Metadata updates.
            metadata_updates,
            /// Connections made.
            connections,
            /// Connections lost, closed or never made.
            disconnects,
            /// Connections made, and over since.
            closed,
            /// From the opening of batches to their first drain, summed.
            queue_nanos,
            /// Batches in that sum.
            queued,
            /// Epochs that were bumped.
            epoch_bumps,
            /// Looks at the driver.
            looks,
            /// Time that the shard was awake, measured in one turn of sixteen.
            awake_nanos,
            /// When the shard's latest turn began; as a count, how long it has lived.
            turned,
        }
        peaks {
            /// The longest time from the opening of a batch to its first drain.
            queue_nanos_max,
            /// The largest batch.
            batch_bytes_max,
            /// The largest average of a batch's records.
            record_bytes_max,
            /// The longest rest that a broker asked for, milliseconds.
            throttle_ms_max,
        }
    }
}

meters! {
    /// What a shard counts of one broker. Times in nanoseconds.
    NodeMeters read as NodeReading {
        counts {
            /// Requests of all kinds.
            requests,
            /// Answers to them.
            responses,
            /// Produce requests.
            produce_requests,
            /// Answers to them.
            produce_responses,
            /// Requests whose connection ended without an answer.
            lost,
            /// Bytes handed to the socket.
            bytes_out,
            /// Bytes received.
            bytes_in,
            /// Sends and receives that ended.
            operations,
            /// From produce requests to their answers, summed.
            latency_nanos,
            /// Rests that the broker asked for in produce answers, milliseconds, summed.
            throttle_ms,
            /// Connections lost, closed or never made.
            disconnects,
        }
        peaks {
            /// The longest time from a produce request to its answer.
            latency_nanos_max,
            /// The largest request.
            request_bytes_max,
        }
    }
}

meters! {
    /// What a shard counts of one topic.
    TopicMeters read as TopicReading {
        counts {
            /// Records handed to a socket, each counted once.
            records,
            /// Batches in requests, retries included.
            batches,
            /// Records in those batches.
            drained,
            /// Bytes of those batches.
            batch_bytes,
            /// The same before compression.
            plain_bytes,
            /// Records of batches that were sent again.
            retried,
            /// Records that failed.
            failed,
            /// Records acknowledged.
            acknowledged,
        }
        peaks {}
    }
}

/// What a shard counts of one partition; it has no windows.
#[derive(Debug, Default)]
pub struct PartitionMeters {
    /// Records handed to a socket, each counted once.
    pub records: Cell,
    /// Bytes of its batches in requests, retries included.
    pub batch_bytes: Cell,
}

/// What application threads count where they wait. Several write, so these are real additions.
#[derive(Debug, Default)]
pub struct CallMeters {
    memory_wait_nanos: AtomicU64,
    exhausted: AtomicU64,
    metadata_wait_nanos: AtomicU64,
    flush_nanos: AtomicU64,
}

impl CallMeters {
    /// A call has waited for memory; whether in vain.
    pub fn waited_for_memory(&self, waited: Duration, in_vain: bool) {
        self.memory_wait_nanos.fetch_add(nanos(waited), Relaxed);
        self.exhausted.fetch_add(u64::from(in_vain), Relaxed);
    }

    /// A call has waited for metadata.
    pub fn waited_for_metadata(&self, waited: Duration) {
        self.metadata_wait_nanos.fetch_add(nanos(waited), Relaxed);
    }

    /// A flush is over.
    pub fn flushed(&self, took: Duration) {
        self.flush_nanos.fetch_add(nanos(took), Relaxed);
    }

    fn read(&self) -> CallReading {
        CallReading {
            memory_wait_nanos: self.memory_wait_nanos.load(Relaxed),
            exhausted: self.exhausted.load(Relaxed),
            metadata_wait_nanos: self.metadata_wait_nanos.load(Relaxed),
            flush_nanos: self.flush_nanos.load(Relaxed),
        }
    }
}

/// [`CallMeters`] as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallReading {
    /// Waits for memory, summed over the calls.
    pub memory_wait_nanos: u64,
    /// Waits for memory that ended with the time limit.
    pub exhausted: u64,
    /// Waits for metadata, summed over the calls.
    pub metadata_wait_nanos: u64,
    /// Flushes, summed.
    pub flush_nanos: u64,
}

impl Reading for CallReading {
    fn since(&self, start: &Self) -> Self {
        Self {
            memory_wait_nanos: self.memory_wait_nanos - start.memory_wait_nanos,
            exhausted: self.exhausted - start.exhausted,
            metadata_wait_nanos: self.metadata_wait_nanos - start.metadata_wait_nanos,
            flush_nanos: self.flush_nanos - start.flush_nanos,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.memory_wait_nanos += other.memory_wait_nanos;
        self.exhausted += other.exhausted;
        self.metadata_wait_nanos += other.metadata_wait_nanos;
        self.flush_nanos += other.flush_nanos;
    }
}

/// A duration as the cells count it.
#[inline]
pub fn nanos(duration: Duration) -> u64 {
    // 584 years fit.
    duration.as_nanos() as u64
}

/// One broker: its counts, its gauges, its request latency.
#[derive(Debug, Default)]
pub struct NodeCells {
    /// The counts.
    pub counts: NodeMeters,
    /// From produce requests to their answers.
    pub latency: LiveHistogram,
    /// Whether the shard is connected to it: 0 or 1.
    pub connected: Cell,
    /// Requests that wait for their answer.
    pub in_flight: Cell,
}

/// One topic: its counts, and those of its partitions.
#[derive(Debug, Default)]
pub struct TopicCells {
    /// The counts.
    pub counts: TopicMeters,
}

#[derive(Debug)]
struct NodePart {
    id: BrokerId,
    host: Arc<str>,
    port: u16,
    cells: Arc<NodeCells>,
    windows: Windows<NodeReading>,
}

#[derive(Debug)]
struct TopicPart {
    name: Arc<str>,
    cells: Arc<TopicCells>,
    windows: Windows<TopicReading>,
    partitions: Vec<(i32, Arc<PartitionMeters>)>,
}

/// Who is counted, and the windows.
#[derive(Debug, Default)]
struct Parts {
    nodes: Vec<NodePart>,
    topics: Vec<TopicPart>,
    own: Windows<OwnReading>,
    calls: Windows<CallReading>,
    /// When the shard's first turn began.
    began: u64,
    /// When the open window began; 0 before the shard's first turn.
    opened: u64,
    /// The closed windows, the latest at the end.
    closed: VecDeque<Span>,
}

/// What one shard counts.
#[derive(Debug, Default)]
pub struct ShardMeters {
    /// Of the shard as a whole.
    pub own: CachePadded<OwnMeters>,
    /// From the opening of batches to their first drain, one entry per batch.
    pub queue_time: LiveHistogram,
    /// From the opening of batches to their acknowledgement, one entry per record.
    pub send_to_ack: LiveHistogram,
    /// When the latest metadata came; 0: never.
    pub metadata_at: Cell,
    /// Of the calls that wait; not beside what the shard writes.
    pub calls: CachePadded<CallMeters>,
    spec: WindowSpec,
    parts: Mutex<Parts>,
}

impl ShardMeters {
    /// With windows as the settings say.
    pub fn new(spec: WindowSpec) -> Self {
        Self { spec, ..Self::default() }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cells of a broker, which is there now; the same ones for the same id. Takes the lock,
    /// allocates when the broker is new. Times in nanoseconds since the process's zero, here and
    /// below.
    pub fn node(&self, id: BrokerId, host: &Arc<str>, port: u16) -> Arc<NodeCells> {
        let mut parts = self.parts();
        if let Some(node) = parts.nodes.iter_mut().find(|node| node.id == id) {
            (node.host, node.port) = (Arc::clone(host), port);
            return Arc::clone(&node.cells);
        }
        let cells = Arc::<NodeCells>::default();
        let (host, windows) = (Arc::clone(host), Windows::default());
        parts.nodes.push(NodePart { id, host, port, cells: Arc::clone(&cells), windows });
        cells
    }

    /// The cells of a topic and of one of its partitions, as [`node`](Self::node).
    pub fn topic(
        &self,
        name: &Arc<str>,
        partition: i32,
    ) -> (Arc<TopicCells>, Arc<PartitionMeters>) {
        let mut parts = self.parts();
        let at = parts.topics.iter().position(|topic| topic.name == *name);
        let at = at.unwrap_or_else(|| {
            let (cells, windows) = (Arc::default(), Windows::default());
            let (name, partitions) = (Arc::clone(name), Vec::new());
            parts.topics.push(TopicPart { name, cells, windows, partitions });
            parts.topics.len() - 1
        });
        let topic = &mut parts.topics[at];
        let cells = Arc::<PartitionMeters>::default();
        topic.partitions.push((partition, Arc::clone(&cells)));
        (Arc::clone(&topic.cells), cells)
    }

    /// A turn of the shard begins. `roll_at` is what the turn before returned, 0 at first: when the
    /// open window is over. Costs a comparison and a store, except then.
    #[inline]
    pub fn turn(&self, now: u64, roll_at: u64) -> u64 {
        let next = if now >= roll_at { self.roll(now) } else { roll_at };
        self.own.turned.set(now);
        next
    }

    /// Closes the open window and begins the next. While somebody reads, the next turn does.
    #[cold]
    fn roll(&self, now: u64) -> u64 {
        let mut parts = match self.parts.try_lock() {
            Ok(parts) => parts,
            Err(std::sync::TryLockError::Poisoned(broken)) => broken.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return now,
        };
        let Parts { nodes, topics, own, calls, began, opened, closed } = &mut *parts;
        let next = now.saturating_add(self.spec.nanos());
        if *opened == 0 {
            // Lives from now on; nothing else was counted yet that would be lost.
            self.own.turned.set(now);
            own.begin(OwnReading { turned: now, ..OwnReading::default() });
            (*began, *opened) = (now, now);
            return next;
        }
        // One window is the open one.
        let kept = self.spec.samples - 1;
        closed.push_back(Span { start: *opened, end: self.own.turned.get().max(*opened) });
        while closed.len() > kept {
            closed.pop_front();
        }
        own.close(self.own.read(), kept);
        self.own.forget_peaks();
        calls.close(self.calls.read(), kept);
        for node in nodes {
            node.windows.close(node.cells.counts.read(), kept);
            node.cells.counts.forget_peaks();
        }
        for topic in topics {
            topic.windows.close(topic.cells.counts.read(), kept);
            topic.cells.counts.forget_peaks();
        }
        *opened = now;
        next
    }

    /// Everything as it is at `now`. Takes the lock, allocates.
    pub fn read(&self, now: u64) -> ShardReading {
        let parts = self.parts();
        let open = Span { start: parts.opened, end: self.own.turned.get() };
        let view = windows::View { spec: self.spec, now, open, closed: &parts.closed };
        let node = |node: &NodePart| {
            let latency = node.cells.latency.read();
            let counts = node.windows.measure(node.cells.counts.read(), &view);
            let (connected, in_flight) = (node.cells.connected.get(), node.cells.in_flight.get());
            NodeShare {
                id: node.id,
                host: Arc::clone(&node.host),
                port: node.port,
                counts,
                latency,
                connected: connected > 0,
                in_flight,
            }
        };
        let topic = |topic: &TopicPart| TopicShare {
            name: Arc::clone(&topic.name),
            counts: topic.windows.measure(topic.cells.counts.read(), &view),
            partitions: topic.partitions.iter().map(read_partition).collect(),
        };
        ShardReading {
            own: parts.own.measure(self.own.read(), &view),
            calls: parts.calls.measure(self.calls.read(), &view),
            nodes: parts.nodes.iter().map(node).collect(),
            topics: parts.topics.iter().map(topic).collect(),
            queue_time: self.queue_time.read(),
            send_to_ack: self.send_to_ack.read(),
            elapsed: view.elapsed(),
            metadata_at: self.metadata_at.get(),
            began: parts.began,
        }
    }
}

fn read_partition((number, cells): &(i32, Arc<PartitionMeters>)) -> PartitionShare {
    PartitionShare {
        number: *number,
        records: cells.records.get(),
        batch_bytes: cells.batch_bytes.get(),
    }
}

/// A shard's numbers at one time.
#[derive(Debug)]
pub struct ShardReading {
    /// Of the shard as a whole.
    pub own: Measured<OwnReading>,
    /// Of the calls that waited.
    pub calls: Measured<CallReading>,
    /// Of each broker.
    pub nodes: Vec<NodeShare>,
    /// Of each topic.
    pub topics: Vec<TopicShare>,
    /// See [`ShardMeters::queue_time`].
    pub queue_time: Histogram,
    /// See [`ShardMeters::send_to_ack`].
    pub send_to_ack: Histogram,
    /// How long the windows are together, as rates count it.
    pub elapsed: Duration,
    /// When the latest metadata came; 0: never.
    pub metadata_at: u64,
    /// When the shard's first turn began; 0: there was none yet.
    pub began: u64,
}

/// A shard's numbers of one broker.
#[derive(Debug)]
pub struct NodeShare {
    /// Which.
    pub id: BrokerId,
    /// Where it is.
    pub host: Arc<str>,
    /// And at which port.
    pub port: u16,
    /// The counts.
    pub counts: Measured<NodeReading>,
    /// From produce requests to their answers.
    pub latency: Histogram,
    /// Whether the shard is connected to it.
    pub connected: bool,
    /// Requests that wait for their answer.
    pub in_flight: u64,
}

/// A shard's numbers of one topic.
#[derive(Debug)]
pub struct TopicShare {
    /// Which.
    pub name: Arc<str>,
    /// The counts.
    pub counts: Measured<TopicReading>,
    /// Of those of its partitions that the shard has.
    pub partitions: Vec<PartitionShare>,
}

/// The numbers of one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionShare {
    /// Which.
    pub number: i32,
    /// Records handed to a socket, each counted once.
    pub records: u64,
    /// Bytes of its batches in requests, retries included.
    pub batch_bytes: u64,
}

#[cfg(test)]
mod tests;
