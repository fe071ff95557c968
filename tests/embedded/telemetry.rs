//! Its id in the telemetry of the cluster, and the application's own metrics.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use kuring::{ApplicationMetric, ClientInstanceIdError, DriverChoice};

use crate::support::deadline::{Deadline, now};
use crate::support::fake_broker::{FakeBroker, PATIENCE};
use crate::support::rig::{builder, millis};
use crate::support::telemetry::{ID, told, wants};

pub(crate) fn tel_1_the_id_comes_with_the_turns(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).embedded().unwrap();
    let answer = producer.blocking_client_instance_id(millis(20));
    assert!(matches!(answer, Err(ClientInstanceIdError::TimedOut { .. })), "{answer:?}");
    producer.close(Duration::ZERO);
    let answer = producer.blocking_client_instance_id(PATIENCE);
    assert_eq!(answer, Err(ClientInstanceIdError::Closed));
    broker.subscribe(wants(ID, &[]));
    let producer = builder(&broker, driver).embedded().unwrap();
    assert_eq!(producer.blocking_client_instance_id(PATIENCE), Ok(ID));
    assert_eq!(producer.block_on(producer.client_instance_id(Duration::ZERO)), Ok(ID));
}

pub(crate) fn kip_1076_a_registered_metric_is_read_in_the_turns(driver: DriverChoice) {
    const ORDERS: &str = "org.apache.kafka.shop.orders.total";
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.subscribe(wants(ID, &["org.apache.kafka.shop."]));
    let producer = builder(&broker, driver).embedded().unwrap();
    let (here, calls) = (thread::current().id(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&calls);
    let metric = ApplicationMetric::counter("shop-metrics", "orders-total", move || {
        assert_eq!(thread::current().id(), here);
        counted.fetch_add(1, Relaxed) as f64 + 1.0
    });
    producer.register_metric_for_subscription(metric);
    let deadline = Deadline::after(PATIENCE);
    while broker.state(|state| told(state, ORDERS).len()) < 2 {
        producer.turn(Some(now() + millis(10)));
        deadline.check(|| "two pushes".to_owned());
    }
    producer.close(PATIENCE);
    let told = broker.state(|state| told(state, ORDERS));
    assert!(told.iter().all(|told| *told == (1, 1.0)), "{told:?}");
    assert_eq!(Arc::strong_count(&calls), 1, "CLS-5: the closure went with the close");
    assert_eq!(calls.load(Relaxed), told.len() as u64);
}
