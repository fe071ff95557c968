//! Every metric by its name: what it means, and how it comes out of the counters.
//!
//! Source:   Apache Kafka 4.4's `SenderMetricsRegistry`, `KafkaProducerMetrics`, `BufferPool`,
//!           `Selector` and `NetworkClient`. `docs/metrics.md` is this table; a test compares them.
#![forbid(unsafe_code)]

use super::{Metrics, NodeMetrics, TopicMetrics, ratio};
use crate::meters::{Histogram, OwnReading};
use crate::protocol::record_batch::HEADER_BYTES;

/// Which group a metric belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Group {
    /// `producer-metrics`.
    Producer,
    /// `producer-node-metrics`, one of each per broker.
    Node,
    /// `producer-topic-metrics`, one of each per topic.
    Topic,
}

impl Group {
    /// Kafka's name of the group.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer-metrics",
            Self::Node => "producer-node-metrics",
            Self::Topic => "producer-topic-metrics",
        }
    }
}

/// What a metric's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// A number of things.
    Count,
    /// Things per second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Milliseconds.
    Millis,
    /// Nanoseconds.
    Nanos,
    /// Seconds.
    Seconds,
    /// A share of one.
    Ratio,
}

impl Unit {
    /// The unit in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::PerSecond => "1/s",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes/s",
            Self::Millis => "ms",
            Self::Nanos => "ns",
            Self::Seconds => "s",
            Self::Ratio => "ratio",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition {
    /// Its group.
    pub group: Group,
    /// Its name in the group.
    pub name: &'static str,
    /// What its value counts.
    pub unit: Unit,
    /// What it means, in one sentence.
    pub meaning: &'static str,
    /// Whether Kafka's producer has it too.
    pub is_kafkas: bool,
}

impl Definition {
    /// Whether it only grows as long as the producer lives: a counter, where others are gauges.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.name.ends_with("-total")
    }
}

/// A metric, and how it comes out of the counters of its owner.
type Row<T> = (Definition, fn(&T) -> f64);

const fn of<T>(
    group: Group,
    name: &'static str,
    unit: Unit,
    meaning: &'static str,
    value: fn(&T) -> f64,
) -> Row<T> {
    (Definition { group, name, unit, meaning, is_kafkas: true }, value)
}

const fn kafkas(
    name: &'static str,
    unit: Unit,
    meaning: &'static str,
    value: fn(&Metrics) -> f64,
) -> Row<Metrics> {
    of(Group::Producer, name, unit, meaning, value)
}

/// What is there to be counted as soon as transactions and security are: none happened, so 0 is
/// the true value.
const fn none_yet(name: &'static str, unit: Unit, meaning: &'static str) -> Row<Metrics> {
    kafkas(name, unit, meaning, |_| 0.0)
}

const fn node(
    name: &'static str,
    unit: Unit,
    meaning: &'static str,
    value: fn(&NodeMetrics) -> f64,
) -> Row<NodeMetrics> {
    of(Group::Node, name, unit, meaning, value)
}

const fn topic(
    name: &'static str,
    unit: Unit,
    meaning: &'static str,
    value: fn(&TopicMetrics) -> f64,
) -> Row<TopicMetrics> {
    of(Group::Topic, name, unit, meaning, value)
}

const fn ours<T: 'static>((definition, value): Row<T>) -> Row<T> {
    (Definition { is_kafkas: false, ..definition }, value)
}

const MILLI: f64 = 1e6;

/// What was measured in some turns stands for all, so it may be a little more than there was.
fn awake(own: &OwnReading) -> u64 {
    own.awake_nanos.min(own.turned)
}

fn asleep(own: &OwnReading) -> u64 {
    own.turned - awake(own)
}

fn percentile(histogram: &Histogram, percent: f64) -> f64 {
    histogram.percentile(percent).as_secs_f64() * 1e3
}

use Unit::{Bytes, BytesPerSecond, Count, Millis, Nanos, PerSecond, Ratio, Seconds};

/// The producer's own metrics.
pub(super) static PRODUCER: &[Row<Metrics>] = &[
    kafkas("batch-size-avg", Bytes, "Average size of the batches sent.", |m| {
        m.topic.mean(|t| t.batch_bytes, |t| t.batches)
    }),
    kafkas("batch-size-max", Bytes, "Size of the largest batch sent.", |m| {
        m.own.recent(|o| o.batch_bytes_max)
    }),
    kafkas(
        "batch-split-rate",
        PerSecond,
        "Batches split because a broker found them too large.",
        |m| m.own.rate(|o| o.splits),
    ),
    kafkas(
        "batch-split-total",
        Count,
        "Batches split because a broker found them too large.",
        |m| m.own.total(|o| o.splits),
    ),
    kafkas("buffer-available-bytes", Bytes, "Memory of `buffer.memory` that is free.", |m| {
        m.buffer_available_bytes as f64
    }),
    kafkas("buffer-exhausted-rate", PerSecond, "Calls that waited for memory in vain.", |m| {
        m.calls.rate(|c| c.exhausted)
    }),
    kafkas("buffer-exhausted-total", Count, "Calls that waited for memory in vain.", |m| {
        m.calls.total(|c| c.exhausted)
    }),
    kafkas("buffer-total-bytes", Bytes, "Memory of `buffer.memory`.", |m| {
        m.buffer_total_bytes as f64
    }),
    kafkas("bufferpool-wait-ratio", Ratio, "Time that calls waited for memory, per time.", |m| {
        m.calls.rate(|c| c.memory_wait_nanos) / 1e9
    }),
    kafkas("bufferpool-wait-time-ns-total", Nanos, "Time that calls waited for memory.", |m| {
        m.calls.total(|c| c.memory_wait_nanos)
    }),
    kafkas(
        "compression-rate-avg",
        Ratio,
        "Bytes of the batches sent, per byte before compression.",
        |m| m.topic.mean(|t| t.batch_bytes, |t| t.plain_bytes),
    ),
    kafkas("connection-close-rate", PerSecond, "Connections that ended.", |m| {
        m.own.rate(|o| o.closed)
    }),
    kafkas("connection-close-total", Count, "Connections that ended.", |m| {
        m.own.total(|o| o.closed)
    }),
    kafkas("connection-count", Count, "Connections that are open.", |m| {
        m.nodes.iter().map(|node| node.connections).sum::<u64>() as f64
    }),
    kafkas("connection-creation-rate", PerSecond, "Connections made.", |m| {
        m.own.rate(|o| o.connections)
    }),
    kafkas("connection-creation-total", Count, "Connections made.", |m| {
        m.own.total(|o| o.connections)
    }),
    none_yet(
        "failed-authentication-rate",
        PerSecond,
        "Connections that could not authenticate; none does yet.",
    ),
    none_yet(
        "failed-authentication-total",
        Count,
        "Connections that could not authenticate; none does yet.",
    ),
    none_yet(
        "failed-reauthentication-rate",
        PerSecond,
        "Connections that could not authenticate again; none does yet.",
    ),
    none_yet(
        "failed-reauthentication-total",
        Count,
        "Connections that could not authenticate again; none does yet.",
    ),
    kafkas("flush-time-ns-total", Nanos, "Time that calls of `flush` took.", |m| {
        m.calls.total(|c| c.flush_nanos)
    }),
    kafkas("incoming-byte-rate", BytesPerSecond, "Bytes received.", |m| {
        m.node.rate(|n| n.bytes_in)
    }),
    kafkas("incoming-byte-total", Bytes, "Bytes received.", |m| m.node.total(|n| n.bytes_in)),
    kafkas("io-ratio", Ratio, "Share of their time that the shards are awake.", |m| {
        m.own.mean(awake, |o| o.turned)
    }),
    kafkas(
        "io-time-ns-avg",
        Nanos,
        "Average time from the end of one sleep to the next look at the sockets.",
        |m| m.own.mean(awake, |o| o.looks),
    ),
    kafkas("io-time-ns-total", Nanos, "Time that the shards were awake.", |m| m.own.total(awake)),
    kafkas("io-wait-ratio", Ratio, "Share of their time that the shards sleep.", |m| {
        m.own.mean(asleep, |o| o.turned)
    }),
    kafkas("io-wait-time-ns-avg", Nanos, "Average sleep per look at the sockets.", |m| {
        m.own.mean(asleep, |o| o.looks)
    }),
    kafkas("io-wait-time-ns-total", Nanos, "Time that the shards slept.", |m| m.own.total(asleep)),
    kafkas("metadata-age", Seconds, "Age of the metadata in use.", |m| {
        m.metadata_age.unwrap_or_default().as_secs_f64()
    }),
    kafkas("metadata-wait-time-ns-total", Nanos, "Time that calls waited for metadata.", |m| {
        m.calls.total(|c| c.metadata_wait_nanos)
    }),
    kafkas("network-io-rate", PerSecond, "Sends and receives that ended.", |m| {
        m.node.rate(|n| n.operations)
    }),
    kafkas("network-io-total", Count, "Sends and receives that ended.", |m| {
        m.node.total(|n| n.operations)
    }),
    kafkas("outgoing-byte-rate", BytesPerSecond, "Bytes handed to sockets.", |m| {
        m.node.rate(|n| n.bytes_out)
    }),
    kafkas("outgoing-byte-total", Bytes, "Bytes handed to sockets.", |m| {
        m.node.total(|n| n.bytes_out)
    }),
    kafkas(
        "produce-throttle-time-avg",
        Millis,
        "Average rest that a broker asked for in an answer.",
        |m| m.node.mean(|n| n.throttle_ms, |n| n.produce_responses),
    ),
    kafkas("produce-throttle-time-max", Millis, "Longest rest that a broker asked for.", |m| {
        m.own.recent(|o| o.throttle_ms_max)
    }),
    none_yet(
        "reauthentication-latency-avg",
        Millis,
        "Average time that authenticating again took; no connection does yet.",
    ),
    none_yet(
        "reauthentication-latency-max",
        Millis,
        "Longest time that authenticating again took; no connection does yet.",
    ),
    kafkas("record-error-rate", PerSecond, "Records that failed.", |m| m.topic.rate(|t| t.failed)),
    kafkas("record-error-total", Count, "Records that failed.", |m| m.topic.total(|t| t.failed)),
    kafkas(
        "record-queue-time-avg",
        Millis,
        "Average time from the opening of a batch to its first sending.",
        |m| m.own.mean(|o| o.queue_nanos, |o| o.queued) / MILLI,
    ),
    kafkas(
        "record-queue-time-max",
        Millis,
        "Longest time from the opening of a batch to its first sending.",
        |m| m.own.recent(|o| o.queue_nanos_max) / MILLI,
    ),
    kafkas("record-retry-rate", PerSecond, "Records of batches that were sent again.", |m| {
        m.topic.rate(|t| t.retried)
    }),
    kafkas("record-retry-total", Count, "Records of batches that were sent again.", |m| {
        m.topic.total(|t| t.retried)
    }),
    kafkas("record-send-rate", PerSecond, "Records sent, retries not counted.", |m| {
        m.topic.rate(|t| t.records)
    }),
    kafkas("record-send-total", Count, "Records sent, retries not counted.", |m| {
        m.topic.total(|t| t.records)
    }),
    kafkas("record-size-avg", Bytes, "Average size of a record as it is sent.", |m| {
        let records = |t: &crate::meters::TopicReading| {
            t.batch_bytes.saturating_sub(t.batches * HEADER_BYTES as u64)
        };
        m.topic.mean(records, |t| t.drained)
    }),
    kafkas("record-size-max", Bytes, "Largest average size of a batch's records.", |m| {
        m.own.recent(|o| o.record_bytes_max)
    }),
    kafkas(
        "records-per-request-avg",
        Count,
        "Average number of records in a produce request.",
        |m| ratio(m.topic.recent(|t| t.drained), m.node.recent(|n| n.produce_requests)),
    ),
    kafkas(
        "request-latency-avg",
        Millis,
        "Average time from a produce request to its answer.",
        |m| m.node.mean(|n| n.latency_nanos, |n| n.produce_responses) / MILLI,
    ),
    kafkas(
        "request-latency-max",
        Millis,
        "Longest time from a produce request to its answer.",
        |m| m.node.recent(|n| n.latency_nanos_max) / MILLI,
    ),
    kafkas("request-rate", PerSecond, "Requests of all kinds.", |m| m.node.rate(|n| n.requests)),
    kafkas("request-size-avg", Bytes, "Average size of a request.", |m| {
        m.node.mean(|n| n.bytes_out, |n| n.requests)
    }),
    kafkas("request-size-max", Bytes, "Size of the largest request.", |m| {
        m.node.recent(|n| n.request_bytes_max)
    }),
    kafkas("request-total", Count, "Requests of all kinds.", |m| m.node.total(|n| n.requests)),
    kafkas("requests-in-flight", Count, "Requests that wait for their answer.", |m| {
        m.nodes.iter().map(|node| node.in_flight).sum::<u64>() as f64
    }),
    kafkas("response-rate", PerSecond, "Answers.", |m| m.node.rate(|n| n.responses)),
    kafkas("response-total", Count, "Answers.", |m| m.node.total(|n| n.responses)),
    kafkas("select-rate", PerSecond, "Looks at the sockets.", |m| m.own.rate(|o| o.looks)),
    kafkas("select-total", Count, "Looks at the sockets.", |m| m.own.total(|o| o.looks)),
    none_yet(
        "successful-authentication-no-reauth-total",
        Count,
        "Connections authenticated that cannot do so again; none is yet.",
    ),
    none_yet(
        "successful-authentication-rate",
        PerSecond,
        "Connections authenticated; none is yet.",
    ),
    none_yet("successful-authentication-total", Count, "Connections authenticated; none is yet."),
    none_yet(
        "successful-reauthentication-rate",
        PerSecond,
        "Connections authenticated again; none is yet.",
    ),
    none_yet(
        "successful-reauthentication-total",
        Count,
        "Connections authenticated again; none is yet.",
    ),
    none_yet(
        "txn-abort-time-ns-total",
        Nanos,
        "Time that aborting transactions took; there are none yet.",
    ),
    none_yet(
        "txn-begin-time-ns-total",
        Nanos,
        "Time that beginning transactions took; there are none yet.",
    ),
    none_yet(
        "txn-commit-time-ns-total",
        Nanos,
        "Time that committing transactions took; there are none yet.",
    ),
    none_yet(
        "txn-init-time-ns-total",
        Nanos,
        "Time that calls took to be ready for transactions; there are none yet.",
    ),
    none_yet(
        "txn-prepare-time-ns-total",
        Nanos,
        "Time that preparing transactions took; there are none yet.",
    ),
    none_yet(
        "txn-send-offsets-time-ns-total",
        Nanos,
        "Time that adding offsets to transactions took; there are none yet.",
    ),
    kafkas("waiting-threads", Count, "Calls that wait for memory.", |m| m.waiting_threads as f64),
    ours(kafkas(
        "epoch-bump-total",
        Count,
        "Epochs of the producer id that were given up for the next one.",
        |m| m.epoch_bumps as f64,
    )),
    ours(kafkas("record-ack-rate", PerSecond, "Records acknowledged.", |m| {
        m.own.rate(|o| o.acknowledged)
    })),
    ours(kafkas("record-ack-total", Count, "Records acknowledged.", |m| {
        m.own.total(|o| o.acknowledged)
    })),
    ours(kafkas(
        "record-queue-time-p50",
        Millis,
        "Median time from the opening of a batch to its first sending, since the start.",
        |m| percentile(&m.queue_time, 50.0),
    )),
    ours(kafkas("record-queue-time-p99", Millis, "The same, 99th percentile.", |m| {
        percentile(&m.queue_time, 99.0)
    })),
    ours(kafkas("record-queue-time-p999", Millis, "The same, 99.9th percentile.", |m| {
        percentile(&m.queue_time, 99.9)
    })),
    ours(kafkas(
        "request-latency-p50",
        Millis,
        "Median time from a produce request to its answer, since the start.",
        |m| percentile(&m.request_latency, 50.0),
    )),
    ours(kafkas("request-latency-p99", Millis, "The same, 99th percentile.", |m| {
        percentile(&m.request_latency, 99.0)
    })),
    ours(kafkas("request-latency-p999", Millis, "The same, 99.9th percentile.", |m| {
        percentile(&m.request_latency, 99.9)
    })),
    ours(kafkas(
        "send-to-ack-p50",
        Millis,
        "Median time from a record's batch being opened to its acknowledgement, since the start.",
        |m| percentile(&m.send_to_ack, 50.0),
    )),
    ours(kafkas("send-to-ack-p99", Millis, "The same, 99th percentile.", |m| {
        percentile(&m.send_to_ack, 99.0)
    })),
    ours(kafkas("send-to-ack-p999", Millis, "The same, 99.9th percentile.", |m| {
        percentile(&m.send_to_ack, 99.9)
    })),
    ours(kafkas("shard-count", Count, "Shards.", |m| m.shards as f64)),
];

/// The metrics of each broker.
pub(super) static NODE: &[Row<NodeMetrics>] = &[
    node("incoming-byte-rate", BytesPerSecond, "Bytes received.", |n| {
        n.figures.rate(|n| n.bytes_in)
    }),
    node("incoming-byte-total", Bytes, "Bytes received.", |n| n.bytes_in as f64),
    node("outgoing-byte-rate", BytesPerSecond, "Bytes handed to its sockets.", |n| {
        n.figures.rate(|n| n.bytes_out)
    }),
    node("outgoing-byte-total", Bytes, "Bytes handed to its sockets.", |n| n.bytes_out as f64),
    node(
        "request-latency-avg",
        Millis,
        "Average time from a produce request to its answer.",
        |n| n.figures.mean(|n| n.latency_nanos, |n| n.produce_responses) / MILLI,
    ),
    node(
        "request-latency-max",
        Millis,
        "Longest time from a produce request to its answer.",
        |n| n.figures.recent(|n| n.latency_nanos_max) / MILLI,
    ),
    node("request-rate", PerSecond, "Requests of all kinds.", |n| n.figures.rate(|n| n.requests)),
    node("request-size-avg", Bytes, "Average size of a request.", |n| {
        n.figures.mean(|n| n.bytes_out, |n| n.requests)
    }),
    node("request-size-max", Bytes, "Size of the largest request.", |n| {
        n.figures.recent(|n| n.request_bytes_max)
    }),
    node("request-total", Count, "Requests of all kinds.", |n| n.requests as f64),
    node("response-rate", PerSecond, "Answers.", |n| n.figures.rate(|n| n.responses)),
    node("response-total", Count, "Answers.", |n| n.responses as f64),
    ours(node(
        "connection-count",
        Count,
        "Connections that are open, one per shard at most.",
        |n| n.connections as f64,
    )),
    ours(node("disconnect-total", Count, "Connections lost, closed or never made.", |n| {
        n.disconnects as f64
    })),
    ours(node(
        "request-latency-p50",
        Millis,
        "Median time from a produce request to its answer, since the start.",
        |n| percentile(&n.latency, 50.0),
    )),
    ours(node("request-latency-p99", Millis, "The same, 99th percentile.", |n| {
        percentile(&n.latency, 99.0)
    })),
    ours(node("request-latency-p999", Millis, "The same, 99.9th percentile.", |n| {
        percentile(&n.latency, 99.9)
    })),
    ours(node("requests-in-flight", Count, "Requests that wait for their answer.", |n| {
        n.in_flight as f64
    })),
];

/// The metrics of each topic.
pub(super) static TOPIC: &[Row<TopicMetrics>] = &[
    topic("byte-rate", BytesPerSecond, "Bytes of the batches sent.", |t| {
        t.figures.rate(|t| t.batch_bytes)
    }),
    topic("byte-total", Bytes, "Bytes of the batches sent.", |t| t.batch_bytes as f64),
    topic(
        "compression-rate",
        Ratio,
        "Bytes of the batches sent, per byte before compression.",
        |t| t.figures.mean(|t| t.batch_bytes, |t| t.plain_bytes),
    ),
    topic("record-error-rate", PerSecond, "Records that failed.", |t| t.figures.rate(|t| t.failed)),
    topic("record-error-total", Count, "Records that failed.", |t| t.failed as f64),
    topic("record-retry-rate", PerSecond, "Records of batches that were sent again.", |t| {
        t.figures.rate(|t| t.retried)
    }),
    topic("record-retry-total", Count, "Records of batches that were sent again.", |t| {
        t.figures.total(|t| t.retried)
    }),
    topic("record-send-rate", PerSecond, "Records sent, retries not counted.", |t| {
        t.figures.rate(|t| t.records)
    }),
    topic("record-send-total", Count, "Records sent, retries not counted.", |t| t.records as f64),
];
