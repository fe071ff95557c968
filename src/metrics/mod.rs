//! What a producer has done so far, and how fast: a typed snapshot, and every metric of Kafka's
//! producer by its name.
//!
//! Thread:   whoever asks. The shards publish counters (`meters`) and notice nothing.
//! Never:    touches the path of a record.
//! Source:   the metrics of Apache Kafka 4.4's producer; `docs/metrics.md` lists them with ours.
//!
//! Rates, averages and maxima are over the last windows, as Kafka's `Rate` and `SampledStat` have
//! it: `metrics.num.samples` of them (2), `metrics.sample.window.ms` long (30 s). The windows lie
//! with the shards, so it does not matter how often anyone looks, nor how many look. Where Kafka
//! says NaN because nothing was measured, the value is 0.
#![forbid(unsafe_code)]

#[cfg(feature = "metrics")]
pub mod facade;
mod names;

use std::sync::Arc;
use std::time::Duration;

use crate::ids::BrokerId;
use crate::meters::{
    CallReading, Measured, NodeReading, NodeShare, OwnReading, Reading, ShardReading, TopicReading,
    TopicShare,
};

pub use crate::meters::Histogram;
pub use names::{Definition, Group, Unit};

/// A producer's counters, gauges, rates and histograms. Not a snapshot of one instant: the shards
/// count on while they are read one after the other.
///
/// The fields are totals since the start. Everything Kafka has a name for is in
/// [`iter`](Self::iter).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// The producer's `client.id`.
    pub client_id: Arc<str>,
    /// Produce requests sent.
    pub requests: u64,
    /// Batches in them, retries included.
    pub batches: u64,
    /// Bytes of those batches.
    pub batch_bytes: u64,
    /// What they had before they were compressed.
    pub plain_bytes: u64,
    /// Records handed to a socket, each counted once.
    pub records: u64,
    /// Bytes handed to sockets, all requests.
    pub bytes_out: u64,
    /// Batches that were sent again.
    pub retries: u64,
    /// Batches that were too large for a topic and were split; what is split again counts again.
    pub splits: u64,
    /// Batches that went through a codec, those included that it could not make smaller, and that
    /// were sent as they were.
    pub compressed_batches: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records that failed and were certainly not written.
    pub failed: u64,
    /// Records that failed and may have been written.
    pub possibly_written: u64,
    /// Of `failed`, the records that were never handed to a socket.
    pub never_sent: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections lost, closed or never made.
    pub disconnects: u64,
    /// Time from a produce request to its answer, summed, microseconds.
    pub request_micros: u64,
    /// Time from the opening of a batch to its first sending, summed, microseconds.
    pub queue_micros: u64,
    /// Answers about metadata.
    pub metadata_updates: u64,
    /// Epochs of the producer id that were given up for the next one.
    pub epoch_bumps: u64,
    /// Bytes of `buffer.memory`, as it was divided over the shards.
    pub buffer_total_bytes: u64,
    /// Bytes of it that are free.
    pub buffer_available_bytes: u64,
    /// Calls that wait for memory.
    pub waiting_threads: u64,
    /// Shards.
    pub shards: u64,
    /// The driver in use.
    pub driver: &'static str,
    /// Since the start of its shards.
    pub age: Duration,
    /// How old the metadata is; none if there never was any.
    pub metadata_age: Option<Duration>,
    /// From the opening of batches to their first sending, one entry per batch.
    pub queue_time: Histogram,
    /// From produce requests to their answers, all brokers.
    pub request_latency: Histogram,
    /// From the opening of batches to their acknowledgement, one entry per record. The records of a
    /// batch count with its time, which is that of its first record, the longest.
    pub send_to_ack: Histogram,
    /// By broker, in the order of their ids. Bootstrap addresses count from -1 down.
    pub nodes: Vec<NodeMetrics>,
    /// By topic, in the order of their names.
    pub topics: Vec<TopicMetrics>,
    own: Figures<OwnReading>,
    calls: Figures<CallReading>,
    node: Figures<NodeReading>,
    topic: Figures<TopicReading>,
}

/// What a producer has done with one broker.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NodeMetrics {
    /// The broker's id; negative ones are bootstrap addresses.
    pub id: i32,
    /// Where it is.
    pub host: Arc<str>,
    /// And at which port.
    pub port: u16,
    /// Connections to it that are open now, one per shard at most.
    pub connections: u64,
    /// Requests that wait for their answer.
    pub in_flight: u64,
    /// Requests sent, of all kinds.
    pub requests: u64,
    /// Answers to them.
    pub responses: u64,
    /// Produce requests among the requests.
    pub produce_requests: u64,
    /// Bytes handed to its sockets.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Requests whose connection ended before their answer came.
    pub lost: u64,
    /// Connections lost, closed or never made.
    pub disconnects: u64,
    /// From produce requests to their answers.
    pub latency: Histogram,
    figures: Figures<NodeReading>,
}

/// What a producer has done with one topic.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TopicMetrics {
    /// The topic.
    pub name: Arc<str>,
    /// Records handed to a socket, each counted once.
    pub records: u64,
    /// Batches in requests, retries included.
    pub batches: u64,
    /// Bytes of those batches.
    pub batch_bytes: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records that failed, whether or not they may have been written.
    pub failed: u64,
    /// The partitions that had records, in the order of their numbers.
    pub partitions: Vec<PartitionMetrics>,
    figures: Figures<TopicReading>,
}

/// What a producer has done with one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionMetrics {
    /// The partition's number.
    pub number: i32,
    /// Records handed to a socket, each counted once.
    pub records: u64,
    /// Bytes of its batches in requests, retries included.
    pub batch_bytes: u64,
}

/// One metric of a producer.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    /// What it is.
    pub definition: &'static Definition,
    /// Whose.
    pub tags: Tags<'a>,
    /// Its value, in the definition's unit.
    pub value: f64,
}

/// Whose a metric is, in Kafka's words. Prints as `{client-id=c, topic=t}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags<'a> {
    /// `client-id`.
    pub client_id: &'a str,
    /// `topic`, of the topics' metrics.
    pub topic: Option<&'a str>,
    /// `node-id`, of the brokers' metrics.
    pub node: Option<i32>,
}

impl std::fmt::Display for Tags<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{client-id={}", self.client_id)?;
        if let Some(node) = self.node {
            write!(f, ", node-id=node-{node}")?;
        }
        if let Some(topic) = self.topic {
            write!(f, ", topic={topic}")?;
        }
        f.write_str("}")
    }
}

/// Counters of one group over all shards.
#[derive(Clone, Debug, Default)]
struct Figures<R> {
    sums: Measured<R>,
    /// What each shard counted in its windows, and how long those are in seconds.
    shares: Vec<(R, f64)>,
}

impl<R: Reading> Figures<R> {
    fn add(&mut self, share: &Measured<R>, elapsed: Duration) {
        self.sums.merge(share);
        self.shares.push((share.recent, elapsed.as_secs_f64()));
    }

    fn total(&self, count: impl Fn(&R) -> u64) -> f64 {
        count(&self.sums.total) as f64
    }

    /// Over the windows.
    fn recent(&self, count: impl Fn(&R) -> u64) -> f64 {
        count(&self.sums.recent) as f64
    }

    /// Per second: the shards' rates added up.
    fn rate(&self, count: impl Fn(&R) -> u64) -> f64 {
        self.shares.iter().map(|(recent, seconds)| ratio(count(recent) as f64, *seconds)).sum()
    }

    /// Over the windows; 0 where there is nothing to divide by.
    fn mean(&self, sum: impl Fn(&R) -> u64, count: impl Fn(&R) -> u64) -> f64 {
        ratio(self.recent(sum), self.recent(count))
    }
}

fn ratio(sum: f64, count: f64) -> f64 {
    if count == 0.0 { 0.0 } else { sum / count }
}

impl Metrics {
    pub(crate) fn new(client_id: &str, driver: &'static str) -> Self {
        Self { client_id: client_id.into(), driver, ..Self::default() }
    }

    /// Adds a shard's counters; without a reading only that there is one. `now` in nanoseconds
    /// since the process's zero.
    pub(crate) fn add(&mut self, reading: Option<ShardReading>, now: u64) {
        self.shards += 1;
        let Some(reading) = reading else { return };
        let elapsed = reading.elapsed;
        self.own.add(&reading.own, elapsed);
        self.calls.add(&reading.calls, elapsed);
        reading.nodes.into_iter().for_each(|share| self.add_node(share, elapsed));
        reading.topics.into_iter().for_each(|share| self.add_topic(share, elapsed));
        self.queue_time.merge(&reading.queue_time);
        self.send_to_ack.merge(&reading.send_to_ack);
        if reading.metadata_at > 0 {
            let age = Duration::from_nanos(now.saturating_sub(reading.metadata_at));
            self.metadata_age = Some(self.metadata_age.map_or(age, |other| other.min(age)));
        }
        if reading.began > 0 {
            self.age = self.age.max(Duration::from_nanos(now.saturating_sub(reading.began)));
        }
        self.set_totals();
    }

    fn set_totals(&mut self) {
        let own = self.own.sums.total;
        self.retries = own.retries;
        self.splits = own.splits;
        self.compressed_batches = own.compressed;
        self.acknowledged = own.acknowledged;
        self.failed = own.failed;
        self.possibly_written = own.possibly_written;
        self.never_sent = own.never_sent;
        self.connections = own.connections;
        self.disconnects = own.disconnects;
        self.queue_micros = own.queue_nanos / 1000;
        self.metadata_updates = own.metadata_updates;
        self.epoch_bumps = own.epoch_bumps;
        let node = self.node.sums.total;
        self.requests = node.produce_requests;
        self.bytes_out = node.bytes_out;
        self.request_micros = node.latency_nanos / 1000;
        let topic = self.topic.sums.total;
        self.batches = topic.batches;
        self.batch_bytes = topic.batch_bytes;
        self.plain_bytes = topic.plain_bytes;
        self.records = topic.records;
    }

    fn add_node(&mut self, share: NodeShare, elapsed: Duration) {
        self.node.add(&share.counts, elapsed);
        self.request_latency.merge(&share.latency);
        let BrokerId(id) = share.id;
        let at = self.nodes.binary_search_by_key(&id, |node| node.id).unwrap_or_else(|at| {
            self.nodes.insert(at, NodeMetrics { id, ..NodeMetrics::default() });
            at
        });
        let node = &mut self.nodes[at];
        (node.host, node.port) = (share.host, share.port);
        node.figures.add(&share.counts, elapsed);
        let total = node.figures.sums.total;
        node.connections += u64::from(share.connected);
        node.in_flight += share.in_flight;
        node.requests = total.requests;
        node.responses = total.responses;
        node.produce_requests = total.produce_requests;
        node.bytes_out = total.bytes_out;
        node.bytes_in = total.bytes_in;
        node.lost = total.lost;
        node.disconnects = total.disconnects;
        node.latency.merge(&share.latency);
    }

    fn add_topic(&mut self, share: TopicShare, elapsed: Duration) {
        self.topic.add(&share.counts, elapsed);
        let found = self.topics.binary_search_by(|topic| topic.name.cmp(&share.name));
        let at = found.unwrap_or_else(|at| {
            let name = Arc::clone(&share.name);
            self.topics.insert(at, TopicMetrics { name, ..TopicMetrics::default() });
            at
        });
        let topic = &mut self.topics[at];
        topic.figures.add(&share.counts, elapsed);
        let total = topic.figures.sums.total;
        topic.records = total.records;
        topic.batches = total.batches;
        topic.batch_bytes = total.batch_bytes;
        topic.acknowledged = total.acknowledged;
        topic.failed = total.failed;
        topic.partitions.extend(share.partitions.iter().map(|partition| PartitionMetrics {
            number: partition.number,
            records: partition.records,
            batch_bytes: partition.batch_bytes,
        }));
        topic.partitions.sort_unstable_by_key(|partition| partition.number);
    }

    /// Every metric by its name: Kafka's and ours, of the producer, of each broker, of each topic.
    /// Allocates nothing.
    pub fn iter(&self) -> impl Iterator<Item = Metric<'_>> {
        let client_id = &*self.client_id;
        let own = Tags { client_id, topic: None, node: None };
        let producer = names::PRODUCER.iter().map(move |(definition, value)| Metric {
            definition,
            tags: own,
            value: value(self),
        });
        let nodes = self.nodes.iter().flat_map(move |node| {
            names::NODE.iter().map(move |(definition, value)| Metric {
                definition,
                tags: Tags { node: Some(node.id), ..own },
                value: value(node),
            })
        });
        let topics = self.topics.iter().flat_map(move |topic| {
            names::TOPIC.iter().map(move |(definition, value)| Metric {
                definition,
                tags: Tags { topic: Some(&topic.name), ..own },
                value: value(topic),
            })
        });
        producer.chain(nodes).chain(topics)
    }

    /// What all metrics are: their groups, names, units and meanings.
    pub fn definitions() -> impl Iterator<Item = &'static Definition> {
        let producer = names::PRODUCER.iter().map(|(definition, _)| definition);
        let nodes = names::NODE.iter().map(|(definition, _)| definition);
        producer.chain(nodes).chain(names::TOPIC.iter().map(|(definition, _)| definition))
    }
}

#[cfg(test)]
mod tests;
