//! An application's own metrics, pushed beside the producer's where a cluster asks for them.
//!
//! Owns:     what was registered, until it is replaced, unregistered, or the producer ends.
//! Thread:   any registers; whoever measures reads.
//! Bounds:   as many as the application registers; `telemetry.max.bytes` of the brokers bounds what
//!           they come to in a push.
//! Never:    calls or drops anything of the application's under a lock.
//! Source:   KIP-1076; `registerMetricForSubscription` of the Java producer,
//!           `TelemetryMetricNamingConvention`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::names;
use crate::shield::Shield;

/// What tells a metric's value.
type Reading = dyn Fn() -> f64 + Send + Sync;

/// A metric of the application's own, for
/// [`register_metric_for_subscription`](crate::Producer::register_metric_for_subscription).
///
/// Group, name and attributes are those of Java's `MetricName`, and make the same name in
/// telemetry: the group without `-metrics`, then the name, in small letters, with dots for hyphens,
/// behind `org.apache.kafka`; the keys of attributes with underscores. So a cluster's subscription
/// that selects a metric of a Java service selects it here.
///
/// The closure tells the value at the moment of a push. It runs on the thread that puts the push
/// together, `kuring-telemetry`, in an embedded producer in its turn, and delays that push, and a
/// close, which waits for the last one: it may not take long. Calls that would wait are refused
/// there ([`SendError::OnSenderThread`](crate::SendError)). If it panics, or what it tells is no
/// finite number, the metric is left out of that push; the first panic is logged.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// use kuring::ApplicationMetric;
///
/// let orders = Arc::new(AtomicU64::new(0));
/// let counted = Arc::clone(&orders);
/// let metric = ApplicationMetric::counter("shop-metrics", "orders-total", move || {
///     counted.load(Relaxed) as f64
/// });
/// let metric = metric.attribute("store-id", "7");
/// assert_eq!(metric.name(), "org.apache.kafka.shop.orders.total");
/// ```
pub struct ApplicationMetric {
    name: String,
    attributes: BTreeMap<String, String>,
    is_total: bool,
    read: Shield<Box<Reading>>,
}

impl ApplicationMetric {
    /// A metric that goes up and down. Allocates.
    pub fn gauge(group: &str, name: &str, read: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self::new(group, name, false, Box::new(read))
    }

    /// A metric that only grows: the closure tells all that was counted so far, and the push has
    /// that or what was added since the last one, as the cluster asks (TEL-7). One that has gone
    /// back is taken to have begun anew, at 0. Allocates.
    pub fn counter(
        group: &str,
        name: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self::new(group, name, true, Box::new(read))
    }

    fn new(group: &str, name: &str, is_total: bool, read: Box<Reading>) -> Self {
        Self {
            name: names::name_of_application(group, name),
            attributes: BTreeMap::new(),
            is_total,
            read: Shield::new("a metric of the application's", read),
        }
    }

    /// Adds an attribute (a tag, in Java), or replaces the one with this key. Allocates.
    #[must_use]
    pub fn attribute(mut self, key: &str, value: &str) -> Self {
        self.attributes.insert(names::key_of(key), value.to_owned());
        self
    }

    /// Its name in telemetry, which a cluster's subscription selects by its beginning.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn attributes(&self) -> Vec<(&str, &str)> {
        self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    pub(super) fn is_total(&self) -> bool {
        self.is_total
    }

    /// Calls the closure; None after a panic of it.
    pub(super) fn read(&self) -> Option<f64> {
        catch_unwind(AssertUnwindSafe(|| (self.read)())).ok()
    }
}

impl fmt::Debug for ApplicationMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ApplicationMetric");
        out.field("name", &self.name).field("attributes", &self.attributes);
        out.field("is_total", &self.is_total).finish_non_exhaustive()
    }
}

/// A metric that was registered.
#[derive(Debug)]
pub(crate) struct Registered {
    /// No other one of this producer has it: one that took another one's name counts on its own.
    pub(super) number: u64,
    pub(super) metric: ApplicationMetric,
}

#[derive(Debug, Default)]
struct Kept {
    /// A name and its attributes stand here once.
    metrics: Vec<Arc<Registered>>,
    /// So many were registered.
    count: u64,
    is_over: bool,
}

impl Kept {
    fn position(&self, name: &str, attributes: &BTreeMap<String, String>) -> Option<usize> {
        let is_meant = |it: &ApplicationMetric| it.name == name && it.attributes == *attributes;
        self.metrics.iter().position(|registered| is_meant(&registered.metric))
    }

    /// Returns what is not kept any more.
    fn put(&mut self, metric: ApplicationMetric) -> Option<Arc<Registered>> {
        self.count += 1;
        let at = self.position(&metric.name, &metric.attributes);
        let registered = Arc::new(Registered { number: self.count, metric });
        match at {
            _ if self.is_over => Some(registered),
            Some(at) => Some(std::mem::replace(&mut self.metrics[at], registered)),
            None => {
                self.metrics.push(registered);
                None
            }
        }
    }
}

/// The metrics that an application has registered with one producer.
#[derive(Debug, Default)]
pub(crate) struct ApplicationMetrics(Mutex<Kept>);

impl ApplicationMetrics {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Producer::register_metric_for_subscription`][it].
    ///
    /// [it]: crate::Producer::register_metric_for_subscription
    pub(crate) fn register(&self, metric: ApplicationMetric) {
        if names::is_producers(&metric.name) {
            tracing::warn!(name = metric.name, "the producer has a metric of this name: ignored");
            return;
        }
        let replaced = self.kept().put(metric);
        // Not under the lock: it holds what is the application's.
        drop(replaced);
    }

    /// See [`Producer::unregister_metric_from_subscription`][it].
    ///
    /// [it]: crate::Producer::unregister_metric_from_subscription
    pub(crate) fn unregister(&self, group: &str, name: &str, attributes: &[(&str, &str)]) {
        let name = names::name_of_application(group, name);
        let pair = |(key, value): &(&str, &str)| (names::key_of(key), (*value).to_owned());
        let attributes = attributes.iter().map(pair).collect();
        let mut kept = self.kept();
        let at = kept.position(&name, &attributes);
        let removed = at.map(|at| kept.metrics.remove(at));
        drop(kept);
        drop(removed);
    }

    /// Those that there are now.
    pub(crate) fn all(&self) -> Vec<Arc<Registered>> {
        self.kept().metrics.clone()
    }

    /// The producer is over: nothing is kept from now on (CLS-5).
    pub(crate) fn end(&self) {
        let mut kept = self.kept();
        kept.is_over = true;
        let left = std::mem::take(&mut kept.metrics);
        drop(kept);
        drop(left);
    }
}
