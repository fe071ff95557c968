//! What a push of client telemetry carries: the producer's metrics, selected, encoded, compressed.
//!
//! Owns:     what the counters were at the last push, where a cluster wants what was added since.
//! Thread:   whoever measures; not the shard's, unless the shard is embedded.
//! Bounds:   a payload above what the brokers take is not made into a push.
//! Never:    touches the path of a record, or a clock.
//! Source:   KIP-714; `ClientTelemetryReporter`, `KafkaMetricsCollector` of the Java client.
#![forbid(unsafe_code)]

mod names;
mod otlp;

use std::collections::HashMap;

use crate::config::Settings;
use crate::metrics::{Metrics, Tags};
use crate::protocol::compression::{Codec, Compression, Encoder};
use crate::protocol::get_telemetry_subscriptions::Subscription;
use crate::sender::telemetry::{MeasureError, Payload};

use names::Selector;
use otlp::{Number, Point, Temporality};

/// Nanoseconds of a millisecond.
const NANOS: u64 = 1_000_000;

/// A counter, by its telemetry name and its attribute.
type Series = (String, Option<String>);

/// Makes the payloads of one producer.
#[derive(Debug)]
pub(crate) struct Reporter {
    /// What is said of the producer as a whole.
    resource: Vec<(&'static str, String)>,
    /// Whether the last payload had deltas.
    delta: Option<bool>,
    /// The counters in the last payload, if it had deltas.
    counted: HashMap<Series, f64>,
    /// When that was; nanoseconds of the wall clock.
    counted_at: u64,
}

impl Reporter {
    pub(crate) fn new(settings: &Settings) -> Self {
        let rack = settings.client_rack.iter().map(|rack| ("client_rack", rack.clone()));
        Self { resource: rack.collect(), delta: None, counted: HashMap::new(), counted_at: 0 }
    }

    /// What the subscription wants of `metrics`, at `wall_ms` by the wall clock. Allocates.
    ///
    /// # Errors
    /// `TooLarge`; counters that were to be deltas are in the next payload then.
    pub(crate) fn measure(
        &mut self,
        metrics: &Metrics,
        subscription: &Subscription,
        wall_ms: i64,
    ) -> Result<Payload, MeasureError> {
        if self.delta != Some(subscription.delta) {
            // TEL-7.
            self.delta = Some(subscription.delta);
            self.counted.clear();
            self.counted_at = 0;
        }
        let now = u64::try_from(wall_ms).unwrap_or(0) * NANOS;
        let started = now.saturating_sub(u64::try_from(metrics.age.as_nanos()).unwrap_or(0));
        let since = if self.counted_at == 0 { started } else { self.counted_at.min(now) };
        let mut counted = HashMap::new();
        let plain = otlp::encode(&self.resource, |out| {
            let selector = Selector::new(&subscription.requested);
            for metric in metrics.iter() {
                let name = names::name_of(metric.definition);
                if !selector.wants(&name) {
                    continue;
                }
                let attribute = attribute_of(&metric.tags);
                let number = if !metric.definition.is_total() {
                    Number::Gauge
                } else if subscription.delta {
                    Number::Sum(Temporality::Delta)
                } else {
                    Number::Sum(Temporality::Cumulative)
                };
                let mut value = metric.value;
                if number == Number::Sum(Temporality::Delta) {
                    let series = (name.clone(), attribute.as_ref().map(|(_, of)| of.clone()));
                    value -= self.counted.get(&series).copied().unwrap_or(0.0);
                    counted.insert(series, metric.value);
                }
                let attribute = attribute.as_ref().map(|(key, of)| (*key, of.as_str()));
                out.metric(&name, number, &Point { attribute, since, now, value });
            }
        });
        let payload = compress(&subscription.compression_types, plain);
        let (bytes, limit) = (payload.bytes.len(), subscription.bytes_max);
        if limit > 0 && bytes > limit as usize {
            return Err(MeasureError::TooLarge { bytes, limit });
        }
        if subscription.delta {
            self.counted = counted;
            self.counted_at = now;
        }
        Ok(payload)
    }
}

/// Whose the metric is. The client's own id is not repeated, as in the Java client: the broker has
/// it from the request.
fn attribute_of(tags: &Tags<'_>) -> Option<(&'static str, String)> {
    match (tags.node, tags.topic) {
        (Some(node), _) => Some(("node_id", format!("node-{node}"))),
        (None, Some(topic)) => Some(("topic", topic.to_owned())),
        (None, None) => None,
    }
}

/// With the first codec of the brokers' that this build has (TEL-3).
fn compress(accepted: &[i8], plain: Vec<u8>) -> Payload {
    let codec = accepted.iter().filter_map(|number| codec_of(*number)).find(|it| it.is_built());
    let codec = codec.unwrap_or_default();
    let mut packed = Vec::new();
    match Encoder::default().encode(codec, &plain, &mut packed) {
        Ok(()) => Payload { codec: codec.into(), bytes: packed },
        Err(_) => Payload { codec: Codec::None, bytes: plain },
    }
}

fn codec_of(number: i8) -> Option<Compression> {
    match number {
        0 => Some(Compression::None),
        1 => Some(Compression::GZIP),
        2 => Some(Compression::Snappy),
        3 => Some(Compression::LZ4),
        4 => Some(Compression::ZSTD),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
