//! Metrics' names in telemetry, and which of them a subscription wants.
//!
//! | group | name | in telemetry |
//! |---|---|---|
//! | `producer-metrics` | `record-send-total` | `org.apache.kafka.producer.record.send.total` |
//! | `producer-node-metrics` | `request-rate` | `org.apache.kafka.producer.node.request.rate` |
//! | `producer-topic-metrics` | `byte-rate` | `org.apache.kafka.producer.topic.byte.rate` |
//! | any, a metric of ours | `shard-count` | `kuring.producer.shard.count` |
//!
//! Source:   `TelemetryMetricNamingConvention` of the Java client; KIP-714 on clients' own metrics,
//!           which stay out of `org.apache.kafka`.
#![forbid(unsafe_code)]

use crate::metrics::Definition;

/// The metric's name in telemetry. Allocates.
pub(super) fn name_of(definition: &Definition) -> String {
    let domain = if definition.is_kafkas { "org.apache.kafka" } else { "kuring" };
    let group = definition.group.name().trim_end_matches("-metrics").replace('-', ".");
    format!("{domain}.{group}.{}", definition.name.replace('-', "."))
}

/// Selects by the beginning of names (TEL-2).
#[derive(Debug)]
pub(super) struct Selector<'a>(&'a [String]);

impl<'a> Selector<'a> {
    pub(super) fn new(requested: &'a [String]) -> Self {
        Self(requested)
    }

    /// Whether the metric is wanted. A lone `*` is every name, and so is an empty beginning.
    pub(super) fn wants(&self, name: &str) -> bool {
        match self.0 {
            [all] if all == "*" => true,
            prefixes => prefixes.iter().any(|prefix| name.starts_with(prefix.as_str())),
        }
    }
}
