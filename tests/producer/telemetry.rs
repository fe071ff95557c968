//! The producer as a client in the telemetry of a cluster: its id there, and the application's own
//! metrics in what it pushes.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{TryRecvError, channel};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, PushTelemetryRequest};
use kuring::{
    ApplicationMetric, ClientInstanceId, ClientInstanceIdError, DeliveryReport, DriverChoice,
    Record,
};

use crate::rig::{builder, millis, poll_once, run};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use crate::support::telemetry::{ID, metrics, told, wants};

const DEPTH: &str = "org.apache.kafka.shop.queue.depth";
const ORDERS: &str = "org.apache.kafka.shop.orders.total";

/// A broker that wants them.
fn broker(requested: &[&str]) -> FakeBroker {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.subscribe(wants(ID, requested));
    broker
}

/// Waits until pushes have said this of a metric.
fn await_told(broker: &FakeBroker, name: &str, reached: impl Fn(&[(u64, f64)]) -> bool) {
    broker.wait_for(name, |state| reached(&told(state, name)).then_some(()));
}

/// The metrics in the next whole push that was begun after this call.
fn next(broker: &FakeBroker) -> BTreeMap<String, (u64, f64)> {
    let before = broker.state(|state| state.pushes.len());
    // The first of them may have been measured before.
    broker.wait_for("pushes", |state| state.pushes.get(before + 1).map(metrics))
}

pub(crate) fn tel_1_the_id_is_waited_for_and_stays_the_same(driver: DriverChoice) {
    let broker = FakeBroker::asleep(1, &[("t", 1)]);
    broker.subscribe(wants(ID, &[]));
    let producer = builder(&broker, driver).shards(2).build().unwrap();
    let waiting = producer.clone();
    let waiting = thread::spawn(move || waiting.blocking_client_instance_id(PATIENCE));
    let mut future = Box::pin(producer.client_instance_id(PATIENCE));
    assert_eq!(poll_once(&mut future), Poll::Pending);
    assert!(!waiting.is_finished());
    // No record is needed.
    broker.listen(0);
    assert_eq!(run("the id", future), Ok(ID));
    assert_eq!(waiting.join().unwrap(), Ok(ID));
    assert_eq!(ID.to_string(), "a3VyaW5nLXRlc3RzLTAwMQ");
    // Whatever is said later.
    broker.subscribe(wants(ClientInstanceId([8; 16]), &[]));
    broker.wait_for_requests(
        ApiKey::GetTelemetrySubscriptions,
        broker.count(ApiKey::GetTelemetrySubscriptions) + 2,
    );
    let now = || producer.blocking_client_instance_id(Duration::ZERO);
    assert_eq!(now(), Ok(ID));
    producer.close(PATIENCE);
    assert_eq!(now(), Ok(ID));
}

pub(crate) fn tel_1_an_id_that_does_not_come_is_waited_for_until_the_timeout(driver: DriverChoice) {
    // It has no telemetry.
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    for timeout in [Duration::ZERO, millis(20)] {
        let answers = [
            producer.blocking_client_instance_id(timeout),
            run("the timeout", producer.client_instance_id(timeout)),
        ];
        for answer in answers {
            let Err(ClientInstanceIdError::TimedOut { waited }) = answer else {
                panic!("{answer:?}");
            };
            assert!(waited >= timeout && waited < PATIENCE, "{waited:?}");
        }
    }
    // A wait that is dropped leaves nothing behind.
    let mut dropped = Box::pin(producer.client_instance_id(Duration::MAX));
    assert_eq!(poll_once(&mut dropped), Poll::Pending);
    drop(dropped);
    broker.subscribe(wants(ID, &[]));
    broker.cut_connections();
    // Needs a new connection.
    drop(producer.topic("t").blocking_send(Record::new().value("a")).unwrap());
    assert_eq!(producer.blocking_client_instance_id(PATIENCE), Ok(ID), "once a broker has it");
}

pub(crate) fn tel_1_without_telemetry_there_is_no_id(driver: DriverChoice) {
    let broker = broker(&["*"]);
    let producer = builder(&broker, driver).metrics_push(false).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let answer = producer.blocking_client_instance_id(PATIENCE);
    assert_eq!(answer, Err(ClientInstanceIdError::TurnedOff));
    let (held, dropped) = channel::<()>();
    let metric = ApplicationMetric::gauge("shop-metrics", "queue-depth", move || {
        held.send(()).unwrap();
        0.0
    });
    producer.register_metric_for_subscription(metric);
    assert!(dropped.recv().is_err(), "it is not kept, and nobody called it");
    assert_eq!(broker.count(ApiKey::GetTelemetrySubscriptions), 0);
}

pub(crate) fn tel_1_a_close_ends_the_wait_for_an_id(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let mut future = Box::pin(producer.client_instance_id(PATIENCE));
    assert_eq!(poll_once(&mut future), Poll::Pending);
    producer.close(Duration::ZERO);
    let closed = Err(ClientInstanceIdError::Closed);
    assert_eq!(run("the end of the wait", future), closed);
    assert_eq!(producer.blocking_client_instance_id(PATIENCE), closed);
}

pub(crate) fn ack_7_a_sender_thread_does_not_wait_for_an_id(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let (tell, told) = channel();
    let send = || {
        let (tell, producer) = (tell.clone(), producer.clone());
        move |_: &DeliveryReport<'_>| {
            tell.send(producer.blocking_client_instance_id(PATIENCE)).unwrap();
        }
    };
    let topic = producer.topic("t");
    topic.blocking_send_with(Record::new().value("a"), send()).unwrap();
    let refused = Err(ClientInstanceIdError::OnSenderThread);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), refused);
    broker.subscribe(wants(ID, &[]));
    broker.cut_connections();
    // Needs a new connection.
    drop(topic.blocking_send(Record::new().value("b")).unwrap());
    assert_eq!(producer.blocking_client_instance_id(PATIENCE), Ok(ID));
    topic.blocking_send_with(Record::new().value("c"), send()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Ok(ID), "what need not wait is allowed");
}

pub(crate) fn kip_1076_a_registered_metric_is_pushed_as_what_it_is(driver: DriverChoice) {
    for delta in [true, false] {
        let broker = FakeBroker::start(&[("t", 1)]);
        broker.subscribe(wants(ID, &["org.apache.kafka.shop."]).with_delta_temporality(delta));
        let producer = builder(&broker, driver).build().unwrap();
        let orders = Arc::new(AtomicU64::new(5));
        let counted = Arc::clone(&orders);
        let gauge = ApplicationMetric::gauge("shop-metrics", "Queue-Depth", || -2.5);
        let gauge = gauge.attribute("store-id", "7").attribute("aisle", "3");
        let counter = ApplicationMetric::counter("shop-metrics", "orders-total", move || {
            counted.load(Relaxed) as f64
        });
        assert_eq!((gauge.name(), counter.name()), (DEPTH, ORDERS));
        producer.register_metric_for_subscription(gauge);
        producer.register_metric_for_subscription(counter);
        let kind = if delta { 1 } else { 2 };
        let reached = |told: &[(u64, f64)], total: f64| {
            assert!(told.iter().all(|it| it.0 == kind), "{told:?}");
            let sum: f64 = told.iter().map(|it| it.1).sum();
            let last = told.last().map(|it| it.1);
            if delta { sum == total } else { last == Some(total) }
        };
        await_told(&broker, ORDERS, |told| reached(told, 5.0));
        orders.fetch_add(7, Relaxed);
        await_told(&broker, ORDERS, |told| reached(told, 12.0));
        let last = next(&broker);
        let gauge = format!("{DEPTH} aisle=3 store_id=7");
        assert_eq!(last.keys().map(String::as_str).collect::<Vec<_>>(), [ORDERS, &gauge]);
        assert_eq!(last[&gauge], (0, -2.5));
        assert_eq!(last[ORDERS], (kind, if delta { 0.0 } else { 12.0 }));
        // What is counted until then is in the last push.
        orders.fetch_add(1, Relaxed);
        producer.close(PATIENCE);
        broker.state(|state| {
            assert!(state.pushes.last().is_some_and(|push| push.terminating));
            assert!(reached(&told(state, ORDERS), 13.0));
            let of_us = |it: &PushTelemetryRequest| it.client_instance_id.into_bytes() == ID.0;
            assert!(state.pushes.iter().all(of_us));
        });
    }
}

pub(crate) fn kip_1076_only_metrics_that_the_subscription_selects_are_read(driver: DriverChoice) {
    let broker = broker(&["org.apache.kafka.shop.queue", "kuring.producer.shard"]);
    let producer = builder(&broker, driver).build().unwrap();
    let depth = ApplicationMetric::gauge("shop-metrics", "queue-depth", || 1.0);
    let never = || panic!("nobody asked for it");
    let orders = ApplicationMetric::counter("shop-metrics", "orders-total", never);
    producer.register_metric_for_subscription(depth);
    producer.register_metric_for_subscription(orders);
    let names: Vec<_> = next(&broker).into_keys().collect();
    assert_eq!(names, ["kuring.producer.shard.count", DEPTH]);
}

pub(crate) fn kip_1076_an_unregistered_metric_is_pushed_no_more(driver: DriverChoice) {
    let broker = broker(&["org.apache.kafka.shop.", "kuring.producer.shard"]);
    let producer = builder(&broker, driver).build().unwrap();
    let register = |value: f64, store: &str| {
        let (held, dropped) = channel::<()>();
        let metric = ApplicationMetric::gauge("shop-metrics", "queue-depth", move || {
            // It holds the sender, and never uses it.
            if value < 0.0 { held.send(()).map_or(0.0, |()| value) } else { value }
        });
        producer.register_metric_for_subscription(metric.attribute("store-id", store));
        dropped
    };
    let first = register(1.0, "7");
    let other = register(2.0, "8");
    let of = |store: &str| format!("{DEPTH} store_id={store}");
    await_told(&broker, &of("7"), |told| told.contains(&(0, 1.0)));
    let second = register(3.0, "7");
    assert!(first.recv().is_err(), "registering again replaces");
    await_told(&broker, &of("7"), |told| told.last() == Some(&(0, 3.0)));
    let unregister = |attributes: &[(&str, &str)]| {
        producer.unregister_metric_from_subscription("shop-metrics", "queue-depth", attributes);
    };
    // Not one of these; also not the producer's own.
    unregister(&[]);
    unregister(&[("store-id", "9")]);
    producer.unregister_metric_from_subscription("producer-metrics", "shard-count", &[]);
    let names: Vec<_> = next(&broker).into_keys().collect();
    assert_eq!(names, ["kuring.producer.shard.count".to_owned(), of("7"), of("8")]);
    unregister(&[("store-id", "7")]);
    assert!(second.recv().is_err(), "its closure is gone");
    let names: Vec<_> = next(&broker).into_keys().collect();
    assert_eq!(names, ["kuring.producer.shard.count".to_owned(), of("8")]);
    producer.close(PATIENCE);
    assert_eq!(other.try_recv(), Err(TryRecvError::Disconnected), "CLS-5: it went with the close");
    let late = register(4.0, "7");
    assert!(late.recv().is_err(), "a closed producer keeps none");
}

pub(crate) fn kip_1076_a_metric_that_fails_is_left_out_and_the_others_go_on(driver: DriverChoice) {
    let broker = broker(&["org.apache.kafka.shop."]);
    let producer = builder(&broker, driver).build().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let broken = ApplicationMetric::gauge("shop-metrics", "broken", move || {
        counted.fetch_add(1, Relaxed);
        panic!("on purpose: a metric of a test");
    });
    producer.register_metric_for_subscription(broken);
    let nan = ApplicationMetric::gauge("shop-metrics", "nan", || f64::NAN);
    producer.register_metric_for_subscription(nan);
    let depth = ApplicationMetric::gauge("shop-metrics", "queue-depth", || 1.0);
    producer.register_metric_for_subscription(depth);
    await_told(&broker, DEPTH, |told| told.len() >= 3);
    assert!(calls.load(Relaxed) >= 2, "it may tell something the next time");
    let names: Vec<_> = next(&broker).into_keys().collect();
    assert_eq!(names, [DEPTH]);
}

pub(crate) fn kip_1076_the_producers_own_metrics_cannot_be_replaced(driver: DriverChoice) {
    let broker = broker(&["org.apache.kafka.producer.record.send.total"]);
    let producer = builder(&broker, driver).build().unwrap();
    let metric = ApplicationMetric::counter("producer-metrics", "record-send-total", || 1e6);
    producer.register_metric_for_subscription(metric.attribute("mine", "yes"));
    let expected =
        BTreeMap::from([("org.apache.kafka.producer.record.send.total".to_owned(), (1, 0.0))]);
    assert_eq!(next(&broker), expected);
}

pub(crate) fn ack_7_a_metric_that_would_wait_for_its_producer_does_not(driver: DriverChoice) {
    let broker = broker(&["org.apache.kafka.shop."]);
    let producer = builder(&broker, driver).build().unwrap();
    let gate = Gate::default();
    let held = gate.clone();
    broker.script(move |seen| match seen.api {
        ApiKey::InitProducerId => Turn::Hold(held.clone()),
        _ => Turn::Serve,
    });
    let (topic, own) = (producer.topic("t"), producer.clone());
    producer.blocking_partitions_for("t").unwrap();
    let metric = ApplicationMetric::gauge("shop-metrics", "queue-depth", move || {
        let delivery = topic.try_send(Record::new().value("x")).unwrap();
        own.blocking_flush();
        // It may register others, too.
        let other = ApplicationMetric::gauge("shop-metrics", "other", || 1.0);
        own.register_metric_for_subscription(other);
        f64::from(u8::from(delivery.wait().is_err()))
    });
    producer.register_metric_for_subscription(metric);
    await_told(&broker, DEPTH, |told| told.contains(&(0, 1.0)));
    await_told(&broker, "org.apache.kafka.shop.other", |told| told.contains(&(0, 1.0)));
    gate.open();
    producer.unregister_metric_from_subscription("shop-metrics", "queue-depth", &[]);
    let summary = producer.close(PATIENCE);
    assert_eq!(summary.acknowledged, broker.log("t", 0).len() as u64);
}
