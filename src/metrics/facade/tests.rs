//! What an exporter gets.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
};

use super::*;
use crate::ids::BrokerId;
use crate::meters::ShardMeters;

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
struct Told {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    described: Arc<Mutex<BTreeMap<String, Option<::metrics::Unit>>>>,
}

/// One metric of it.
struct One(Told, String);

impl One {
    fn set(&self, value: f64) {
        self.0.values.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for One {
    fn increment(&self, _: u64) {
        unreachable!("totals are absolute");
    }

    fn absolute(&self, value: u64) {
        self.set(value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn set(&self, value: f64) {
        Self::set(self, value);
    }
}

fn line(kind: &str, key: &Key) -> String {
    let labels: Vec<_> = key.labels().map(|it| format!("{}={}", it.key(), it.value())).collect();
    format!("{kind} {}[{}]", key.name(), labels.join(" "))
}

impl Recorder for Told {
    fn describe_counter(&self, key: KeyName, unit: Option<::metrics::Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(key.as_str().to_owned(), unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<::metrics::Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(key.as_str().to_owned(), unit);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<::metrics::Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(One(self.clone(), line("counter", key))))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(One(self.clone(), line("gauge", key))))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn totals_are_counters_the_rest_are_gauges_and_labels_tell_whose() {
    let shard = ShardMeters::default();
    shard.turn(1_000_000_000, 0);
    shard.topic(&Arc::from("t"), 0).0.counts.records.add(12);
    shard.node(BrokerId(7), &Arc::from("k"), 9092).in_flight.set(3);
    let mut metrics = Metrics::new("c", "memory");
    metrics.add(Some(shard.read(2_000_000_000)), 2_000_000_000);
    let told = Told::default();
    ::metrics::with_local_recorder(&told, || {
        describe();
        publish(&metrics);
    });
    let values = told.values.lock().unwrap();
    assert_eq!(values["counter kafka_producer_record_send_total[client_id=c]"], 12.0);
    assert_eq!(values["gauge kafka_producer_requests_in_flight[client_id=c]"], 3.0);
    let node = "gauge kafka_producer_node_requests_in_flight[client_id=c node_id=7]";
    assert_eq!(values[node], 3.0);
    let topic = "counter kafka_producer_topic_record_send_total[client_id=c topic=t]";
    assert_eq!(values[topic], 12.0);
    assert_eq!(values.len(), metrics.iter().count());
    let described = told.described.lock().unwrap();
    assert_eq!(described.len(), Metrics::definitions().count());
    let latency = described["kafka_producer_request_latency_avg"];
    assert_eq!(latency, Some(::metrics::Unit::Milliseconds));
}
