//! Single-threaded runtimes that drive the shard as one of their tasks.
#![forbid(unsafe_code)]

use std::future::Future;
use std::rc::Rc;

use kuring::{Completion, DriverChoice, Embedded, Record};
use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};

use crate::loops::{are_in_order, poll};
use crate::support::fake_broker::{FakeBroker, PATIENCE};
use crate::support::rig::{builder, millis};

/// Runs a body in a current-thread runtime.
pub(crate) fn in_tokio<F: Future>(body: F) -> F::Output {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(PATIENCE * 3, body).await.expect("the body comes to its end")
    })
}

pub(crate) fn started(broker: &FakeBroker, driver: DriverChoice) -> Rc<Embedded> {
    let producer = builder(broker, driver).embedded().unwrap();
    spawn_local(producer.drive());
    Rc::new(producer)
}

/// Everything that a service does with it, in tasks of one thread.
async fn serves(broker: &FakeBroker, driver: DriverChoice) {
    const TASKS: u64 = 20;
    const EACH: u64 = 50;
    let producer = started(broker, driver);
    producer.warm_up(&["t"]).await.unwrap();
    let topic = producer.topic("t");
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let topic = topic.clone();
            spawn_local(async move {
                for _ in 0..EACH {
                    let delivery = topic.send(Record::new().partition(1).value("v")).await.unwrap();
                    assert!(delivery.await.unwrap().offset.is_some());
                }
            })
        })
        .collect();
    let polling = spawn_local({
        let producer = Rc::clone(&producer);
        async move {
            let mut found: Vec<Completion> = Vec::new();
            while found.len() < 1000 && producer.deliveries().await {
                poll(&producer, &mut found);
            }
            found
        }
    });
    for number in 0..1000 {
        topic.submit(Record::new().partition(0).value("v"), number).await.unwrap();
        if number % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    are_in_order(&polling.await.unwrap(), 1000);
    producer.flush().await;
    let summary = producer.shutdown(PATIENCE).await.unwrap();
    assert_eq!(summary.acknowledged, 1000 + TASKS * EACH);
    assert!(!producer.deliveries().await, "nothing comes any more");
}

pub(crate) fn a_current_thread_runtime_drives_it(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    in_tokio(serves(&broker, driver));
    assert_eq!(broker.state(|state| state.stored("t")), 2000);
}

pub(crate) fn tokio_urings_runtime_drives_it(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    tokio_uring::start(async {
        let served = tokio::time::timeout(PATIENCE * 3, serves(&broker, driver)).await;
        served.expect("the body comes to its end");
    });
    assert_eq!(broker.state(|state| state.stored("t")), 2000);
}

pub(crate) fn a_linger_ends_while_the_runtime_sleeps(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    in_tokio(async {
        let producer = builder(&broker, driver).linger(millis(30)).embedded().unwrap();
        let driving = spawn_local(producer.drive());
        let topic = producer.topic("t");
        for _ in 0..5 {
            let sent = [topic.send(Record::new()).await, topic.send(Record::new()).await];
            for delivery in sent {
                assert!(delivery.unwrap().await.is_ok());
            }
        }
        assert_eq!(producer.metrics().requests, 5, "what lingers leaves together");
        assert_eq!(producer.close(PATIENCE).acknowledged, 10);
        driving.await.unwrap().unwrap();
    });
}

pub(crate) fn two_in_one_runtime_share_a_thread(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    in_tokio(async {
        let producers = [started(&broker, driver), started(&broker, driver)];
        for _ in 0..100 {
            let deliveries = producers.each_ref().map(|producer| {
                let topic = producer.topic("t");
                spawn_local(async move { topic.send(Record::new()).await.unwrap().await })
            });
            for delivery in deliveries {
                assert!(delivery.await.unwrap().is_ok());
            }
        }
        for producer in producers {
            assert_eq!(producer.shutdown(PATIENCE).await.unwrap().acknowledged, 100);
        }
    });
}
