//! The fields of the statistics, and what goes into each.
#![forbid(unsafe_code)]

use super::json::{Object, object};
use crate::metrics::{Histogram, Metrics, NodeMetrics, TopicMetrics};

/// When a report is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since the process's zero.
    pub(super) nanos: u64,
    /// Since 1970.
    pub(super) wall_ms: i64,
}

/// The leader of a topic's partition, if it is known.
type Leader<'a> = &'a dyn Fn(&str, i32) -> Option<i32>;

/// The percentiles of a latency.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 50.0), ("p75", 75.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p99_99", 99.99)];

/// Latencies are those since `before`.
pub(super) fn render(
    metrics: &Metrics,
    before: Option<&Metrics>,
    leader: Leader<'_>,
    when: Moment,
) -> String {
    let since = |histogram: fn(&Metrics) -> &Histogram| match before {
        Some(before) => histogram(metrics).since(histogram(before)),
        None => histogram(metrics).clone(),
    };
    object(|all| {
        whole(all, metrics, when);
        all.object("int_latency", |it| latency(it, &since(|metrics| &metrics.queue_time)));
        all.object("send_to_ack", |it| latency(it, &since(|metrics| &metrics.send_to_ack)));
        all.object("brokers", |brokers| {
            for node in &metrics.nodes {
                let old = before.and_then(|it| it.nodes.iter().find(|other| other.id == node.id));
                brokers.object(&broker_name(node), |it| broker(it, node, old));
            }
        });
        all.object("topics", |topics| {
            for one in &metrics.topics {
                topics.object(&one.name, |it| topic(it, one, leader));
            }
        });
        all.object("eos", |eos| {
            eos.number("epoch_bumps", metrics.epoch_bumps);
        });
    })
}

fn whole(all: &mut Object<'_>, metrics: &Metrics, when: Moment) {
    let settled = metrics.acknowledged + metrics.failed + metrics.possibly_written;
    let sent_and_settled = settled.saturating_sub(metrics.never_sent);
    let sum = |count: fn(&NodeMetrics) -> u64| metrics.nodes.iter().map(count).sum::<u64>();
    all.text("name", &format!("kuring#{}", metrics.client_id))
        .text("client_id", &metrics.client_id)
        .text("type", "producer")
        .number("ts", when.nanos / 1000)
        .number("time", when.wall_ms / 1000)
        .number("age", metrics.age.as_micros())
        .number("msg_cnt", metrics.records.saturating_sub(sent_and_settled))
        .number("msg_size", metrics.buffer_total_bytes - metrics.buffer_available_bytes)
        .number("msg_size_max", metrics.buffer_total_bytes)
        .number("tx", sum(|node| node.requests))
        .number("tx_bytes", sum(|node| node.bytes_out))
        .number("rx", sum(|node| node.responses))
        .number("rx_bytes", sum(|node| node.bytes_in))
        .number("txmsgs", metrics.records)
        .number("txmsg_bytes", metrics.batch_bytes)
        .number("metadata_cache_cnt", metrics.topics.len());
}

/// librdkafka's: where it is, and its id.
fn broker_name(node: &NodeMetrics) -> String {
    let id = if node.id < 0 { "bootstrap".to_owned() } else { node.id.to_string() };
    format!("{}:{}/{id}", node.host, node.port)
}

fn broker(out: &mut Object<'_>, node: &NodeMetrics, before: Option<&NodeMetrics>) {
    out.text("name", &broker_name(node))
        .number("nodeid", node.id)
        .text("nodename", &format!("{}:{}", node.host, node.port))
        .text("source", if node.id < 0 { "configured" } else { "learned" })
        .text("state", if node.connections > 0 { "UP" } else { "DOWN" })
        .number("waitresp_cnt", node.in_flight)
        .number("tx", node.requests)
        .number("txbytes", node.bytes_out)
        .number("txerrs", node.lost)
        .number("rx", node.responses)
        .number("rxbytes", node.bytes_in)
        .number("disconnects", node.disconnects)
        .object("rtt", |rtt| match before {
            Some(before) => latency(rtt, &node.latency.since(&before.latency)),
            None => latency(rtt, &node.latency),
        })
        .object("req", |req| {
            req.number("Produce", node.produce_requests);
        });
}

/// Microseconds.
fn latency(out: &mut Object<'_>, histogram: &Histogram) {
    out.number("min", histogram.min().as_micros())
        .number("max", histogram.max().as_micros())
        .number("avg", histogram.mean().as_micros())
        .number("sum", histogram.sum().as_micros())
        .number("cnt", histogram.count());
    for (name, percent) in PERCENTILES {
        out.number(name, histogram.percentile(percent).as_micros());
    }
}

fn topic(out: &mut Object<'_>, topic: &TopicMetrics, leader: Leader<'_>) {
    let average = |sum: u64| sum.checked_div(topic.batches).unwrap_or(0);
    out.text("topic", &topic.name)
        .object("batchsize", |size| {
            let sum = topic.batch_bytes;
            size.number("avg", average(sum)).number("sum", sum).number("cnt", topic.batches);
        })
        .object("batchcnt", |count| {
            let sum = topic.records;
            count.number("avg", average(sum)).number("sum", sum).number("cnt", topic.batches);
        })
        .number("acked", topic.acknowledged)
        .number("failed", topic.failed)
        .object("partitions", |partitions| {
            for partition in &topic.partitions {
                partitions.object(&partition.number.to_string(), |it| {
                    it.number("partition", partition.number)
                        .number("leader", leader(&topic.name, partition.number).unwrap_or(-1))
                        .number("txmsgs", partition.records)
                        .number("txbytes", partition.batch_bytes);
                });
            }
        });
}

/// Every field: its path, with `*` for a name; whether librdkafka has it there; what it means.
#[cfg(test)]
const FIELDS: &[(&str, bool, &str)] = &[
    ("name", true, "`kuring#` and the `client.id`."),
    ("client_id", true, "The `client.id`."),
    ("type", true, "`producer`."),
    ("ts", true, "The monotonic clock, µs."),
    ("time", true, "Seconds since 1970."),
    ("age", true, "Since the producer's start, µs."),
    (
        "msg_cnt",
        true,
        "Records sent and without a verdict; what waits for its first sending is in `msg_size`.",
    ),
    ("msg_size", true, "Bytes of `buffer.memory` in use."),
    ("msg_size_max", true, "Bytes of `buffer.memory`."),
    ("tx", true, "Requests sent."),
    ("tx_bytes", true, "Bytes sent."),
    ("rx", true, "Answers received."),
    ("rx_bytes", true, "Bytes received."),
    ("txmsgs", true, "Records sent, each counted once."),
    ("txmsg_bytes", true, "Bytes of the batches sent, retries included."),
    ("metadata_cache_cnt", true, "Topics that had records."),
    (
        "int_latency.*",
        true,
        "From the opening of batches to their first sending, µs; librdkafka has it per broker.",
    ),
    (
        "send_to_ack.*",
        false,
        "From the opening of batches to their acknowledgement, µs, one entry per record.",
    ),
    ("brokers.*.name", true, "`host:port/id`, or `/bootstrap` instead of the id."),
    ("brokers.*.nodeid", true, "The broker's id; negative for a bootstrap address."),
    ("brokers.*.nodename", true, "`host:port`."),
    ("brokers.*.source", true, "`learned`, or `configured` for a bootstrap address."),
    ("brokers.*.state", true, "`UP` with a connection, else `DOWN`."),
    ("brokers.*.waitresp_cnt", true, "Requests that wait for their answer."),
    ("brokers.*.tx", true, "Requests sent."),
    ("brokers.*.txbytes", true, "Bytes sent."),
    ("brokers.*.txerrs", true, "Requests whose connection ended before their answer came."),
    ("brokers.*.rx", true, "Answers received."),
    ("brokers.*.rxbytes", true, "Bytes received."),
    ("brokers.*.disconnects", true, "Connections lost, closed or never made."),
    ("brokers.*.rtt.*", true, "From produce requests to their answers, µs."),
    ("brokers.*.req.Produce", true, "Produce requests sent."),
    ("topics.*.topic", true, "The topic's name."),
    ("topics.*.batchsize.*", true, "Sizes of the batches sent, bytes: `avg`, `sum`, `cnt`."),
    ("topics.*.batchcnt.*", true, "Records in the batches sent: `avg`, `sum`, `cnt`."),
    ("topics.*.acked", false, "Records acknowledged."),
    ("topics.*.failed", false, "Records that failed."),
    ("topics.*.partitions.*.partition", true, "The partition's number."),
    ("topics.*.partitions.*.leader", true, "Its leader's id, -1 if there is none."),
    ("topics.*.partitions.*.txmsgs", true, "Records sent, each counted once."),
    ("topics.*.partitions.*.txbytes", true, "Bytes of its batches in requests, retries included."),
    ("eos.epoch_bumps", false, "Epochs of the producer id that were given up for the next one."),
];

#[cfg(test)]
mod tests;
