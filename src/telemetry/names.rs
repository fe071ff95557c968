//! Metrics' names in telemetry, and which of them a subscription wants.
//!
//! | group | name | in telemetry |
//! |---|---|---|
//! | `producer-metrics` | `record-send-total` | `org.apache.kafka.producer.record.send.total` |
//! | `producer-node-metrics` | `request-rate` | `org.apache.kafka.producer.node.request.rate` |
//! | `producer-topic-metrics` | `byte-rate` | `org.apache.kafka.producer.topic.byte.rate` |
//! | any, a metric of ours | `shard-count` | `kuring.producer.shard.count` |
//! | `Shop-metrics`, an application's | `Open-Orders` | `org.apache.kafka.shop.open.orders` |
//!
//! Source:   `TelemetryMetricNamingConvention` of the Java client; KIP-714 on clients' own metrics,
//!           which stay out of `org.apache.kafka`.
#![forbid(unsafe_code)]

use crate::metrics::{Definition, Metrics};

/// What Kafka's names begin with.
const KAFKA: &str = "org.apache.kafka";

/// The metric's name in telemetry. Allocates.
pub(super) fn name_of(definition: &Definition) -> String {
    let domain = if definition.is_kafkas { KAFKA } else { "kuring" };
    let group = definition.group.name().trim_end_matches("-metrics").replace('-', ".");
    format!("{domain}.{group}.{}", definition.name.replace('-', "."))
}

/// The name in telemetry of an application's metric: `cleanGroup` and `cleanMetric` of the naming
/// convention. Allocates.
pub(super) fn name_of_application(group: &str, name: &str) -> String {
    let clean = |text: &str| text.to_lowercase().replace('-', ".");
    format!("{KAFKA}.{}.{}", clean(group).replace(".metrics", ""), clean(name))
}

/// The key of an attribute of an application's metric: `cleanTags` of the naming convention.
pub(super) fn key_of(tag: &str) -> String {
    tag.to_lowercase().replace('-', "_")
}

/// Whether the producer itself has a metric of this name.
pub(super) fn is_producers(name: &str) -> bool {
    Metrics::definitions().any(|definition| name_of(definition) == name)
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
