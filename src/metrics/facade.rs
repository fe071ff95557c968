//! A producer's metrics through the `metrics` crate: to whatever exporter the process has.
//!
//! Call [`describe`] once, when the exporter is installed, and [`publish`] as often as the exporter
//! is to have new numbers; every few seconds is usual. Nothing is published in between: the shards
//! count on their own, and a call costs what [`Producer::metrics`](crate::Producer::metrics) does.
//!
//! Names are Kafka's with underscores, `kafka_producer_record_send_total`, of brokers
//! `kafka_producer_node_request_rate` and of topics `kafka_producer_topic_byte_total`; labels are
//! `client_id`, `node_id` and `topic`. Totals are counters, everything else is a gauge.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use kuring::Producer;
//! use kuring::metrics::facade;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
//! facade::describe();
//! facade::publish(&producer.metrics());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use ::metrics::{Label, counter, describe_counter, describe_gauge, gauge};

use super::{Definition, Group, Metrics, Tags, Unit};

/// Tells the exporter what each metric means, and its unit where the facade has it.
pub fn describe() {
    for definition in Metrics::definitions() {
        let (name, meaning) = (name_of(definition), definition.meaning);
        match (unit_of(definition.unit), definition.is_total()) {
            (Some(unit), true) => describe_counter!(name, unit, meaning),
            (Some(unit), false) => describe_gauge!(name, unit, meaning),
            (None, true) => describe_counter!(name, meaning),
            (None, false) => describe_gauge!(name, meaning),
        }
    }
}

/// Hands every metric to the exporter. Allocates names and labels.
pub fn publish(metrics: &Metrics) {
    for metric in metrics.iter() {
        let (name, labels) = (name_of(metric.definition), labels_of(&metric.tags));
        if metric.definition.is_total() {
            counter!(name, labels).absolute(metric.value as u64);
        } else {
            gauge!(name, labels).set(metric.value);
        }
    }
}

/// The name that exporters see.
#[must_use]
pub fn name_of(definition: &Definition) -> String {
    let group = match definition.group {
        Group::Producer => "",
        Group::Node => "node_",
        Group::Topic => "topic_",
    };
    format!("kafka_producer_{group}{}", definition.name.replace('-', "_"))
}

fn labels_of(tags: &Tags<'_>) -> Vec<Label> {
    let mut labels = vec![Label::new("client_id", tags.client_id.to_owned())];
    labels.extend(tags.node.map(|node| Label::new("node_id", node.to_string())));
    labels.extend(tags.topic.map(|topic| Label::new("topic", topic.to_owned())));
    labels
}

fn unit_of(unit: Unit) -> Option<::metrics::Unit> {
    match unit {
        Unit::Count => Some(::metrics::Unit::Count),
        Unit::PerSecond => Some(::metrics::Unit::CountPerSecond),
        Unit::Bytes => Some(::metrics::Unit::Bytes),
        Unit::Millis => Some(::metrics::Unit::Milliseconds),
        Unit::Nanos => Some(::metrics::Unit::Nanoseconds),
        Unit::Seconds => Some(::metrics::Unit::Seconds),
        // The facade has bits per second only, and no shares of one.
        Unit::BytesPerSecond | Unit::Ratio => None,
    }
}

#[cfg(test)]
mod tests;
