//! What a push of client telemetry carries: the producer's metrics and the application's, selected,
//! encoded, compressed.
//!
//! Owns:     what the counters were at the last push, where a cluster wants what was added since.
//! Thread:   whoever measures; not the shard's, unless the shard is embedded.
//! Bounds:   a payload above what the brokers take is not made into a push.
//! Never:    touches the path of a record, or a clock.
//! Source:   KIP-714, KIP-1076; `ClientTelemetryReporter`, `KafkaMetricsCollector` of the Java
//!           client.
#![forbid(unsafe_code)]

mod application;
mod names;
mod otlp;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::Settings;
use crate::metrics::{Metrics, Tags};
use crate::protocol::compression::{Codec, Compression, Encoder};
use crate::protocol::get_telemetry_subscriptions::Subscription;
use crate::sender::telemetry::{MeasureError, Payload};

pub use application::ApplicationMetric;
pub(crate) use application::{ApplicationMetrics, Registered};
use names::Selector;
use otlp::{Message, Number, Point, Temporality};

/// Nanoseconds of a millisecond.
const NANOS: u64 = 1_000_000;

/// A counter.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Series {
    /// The producer's, by its telemetry name and its attribute.
    Own(String, Option<String>),
    /// The application's, by its number.
    Application(u64),
}

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
    /// Numbers of the application's metrics whose panic was logged.
    panicked: HashSet<u64>,
}

/// One payload in the making.
struct Measuring<'a> {
    selector: Selector<'a>,
    sums: Temporality,
    /// The counters in the last payload, if both have deltas.
    before: &'a HashMap<Series, f64>,
    counted: HashMap<Series, f64>,
    since: u64,
    now: u64,
}

impl Measuring<'_> {
    /// What goes into the payload of a counter.
    fn counted(&mut self, series: Series, value: f64) -> f64 {
        if self.sums == Temporality::Cumulative {
            return value;
        }
        let before = self.before.get(&series).copied().unwrap_or(0.0);
        self.counted.insert(series, value);
        // One that has gone back, which none of the producer's does, has begun anew.
        if value < before { value } else { value - before }
    }

    fn point<'p>(&self, attributes: &'p [(&'p str, &'p str)], value: f64) -> Point<'p> {
        Point { attributes, since: self.since, now: self.now, value }
    }

    fn own(&mut self, metrics: &Metrics, out: &mut Message) {
        for metric in metrics.iter() {
            let name = names::name_of(metric.definition);
            if !self.selector.wants(&name) {
                continue;
            }
            let attribute = attribute_of(&metric.tags);
            let (number, value) = if metric.definition.is_total() {
                let of = attribute.as_ref().map(|(_, of)| of.clone());
                let series = Series::Own(name.clone(), of);
                (Number::Sum(self.sums), self.counted(series, metric.value))
            } else {
                (Number::Gauge, metric.value)
            };
            let attribute = attribute.as_ref().map(|(key, of)| (*key, of.as_str()));
            out.metric(&name, number, &self.point(attribute.as_slice(), value));
        }
    }

    fn application(
        &mut self,
        registered: &[Arc<Registered>],
        panicked: &mut HashSet<u64>,
        out: &mut Message,
    ) {
        for Registered { number, metric } in registered.iter().map(Arc::as_ref) {
            if !self.selector.wants(metric.name()) {
                continue;
            }
            let read = metric.read();
            if read.is_none() && panicked.insert(*number) {
                tracing::error!(name = metric.name(), "a metric of the application's panicked");
            }
            let series = Series::Application(*number);
            let Some(value) = read.filter(|value| value.is_finite()) else {
                // The next push has what was added in the meantime.
                if let Some(before) = self.before.get(&series) {
                    self.counted.insert(series, *before);
                }
                continue;
            };
            let (number, value) = if metric.is_total() {
                (Number::Sum(self.sums), self.counted(series, value))
            } else {
                (Number::Gauge, value)
            };
            out.metric(metric.name(), number, &self.point(&metric.attributes(), value));
        }
    }
}

impl Reporter {
    pub(crate) fn new(settings: &Settings) -> Self {
        let rack = settings.client_rack.iter().map(|rack| ("client_rack", rack.clone()));
        Self {
            resource: rack.collect(),
            delta: None,
            counted: HashMap::new(),
            counted_at: 0,
            panicked: HashSet::new(),
        }
    }

    /// What the subscription wants of `metrics` and of what the application has registered, at
    /// `wall_ms` by the wall clock. Allocates.
    ///
    /// # Errors
    /// `TooLarge`; counters that were to be deltas are in the next payload then.
    pub(crate) fn measure(
        &mut self,
        metrics: &Metrics,
        registered: &[Arc<Registered>],
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
        let mut measuring = Measuring {
            selector: Selector::new(&subscription.requested),
            sums: if subscription.delta { Temporality::Delta } else { Temporality::Cumulative },
            before: &self.counted,
            counted: HashMap::new(),
            since,
            now,
        };
        self.panicked.retain(|number| registered.iter().any(|it| it.number == *number));
        let plain = otlp::encode(&self.resource, |out| {
            measuring.own(metrics, out);
            measuring.application(registered, &mut self.panicked, out);
        });
        let counted = measuring.counted;
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
