//! More records than memory: the one thread that could free some must not wait for it.
#![forbid(unsafe_code)]

use std::rc::Rc;

use kuring::{ConfigBuilder, DriverChoice, Record, TrySendError};
use tokio::task::spawn_local;

use crate::loops::{are_in_order, poll};
use crate::runtimes::in_tokio;
use crate::support::fake_broker::{FakeBroker, PATIENCE};
use crate::support::rig::{builder, poll_once};

/// A pooled buffer for a `batch.size` of 1024.
const BUFFER: u64 = 1472;
const LARGE: [u8; 900] = [7; 900];

pub(crate) fn small(broker: &FakeBroker, driver: DriverChoice) -> ConfigBuilder {
    builder(broker, driver).batch_bytes(1024).buffer_memory(2 * BUFFER)
}

pub(crate) fn tasks_that_wait_for_memory_all_get_it(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    in_tokio(async {
        let producer = Rc::new(small(&broker, driver).embedded().unwrap());
        spawn_local(producer.drive());
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let topic = producer.topic("t");
                spawn_local(async move {
                    for _ in 0..20 {
                        let sent = topic.send(Record::new().value(&LARGE)).await.unwrap();
                        assert!(sent.await.is_ok());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(producer.shutdown(PATIENCE).await.unwrap().acknowledged, 1000);
        let metrics = producer.metrics();
        assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
    });
}

pub(crate) fn a_bare_loop_sends_more_than_its_memory_holds(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = small(&broker, driver).embedded().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let (mut found, mut refused) = (Vec::new(), 0);
    for number in 0..500 {
        loop {
            match topic.try_submit(Record::new().value(&LARGE), number) {
                Ok(()) => break,
                Err(TrySendError::Memory) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            producer.turn(None);
        }
        poll(&producer, &mut found);
    }
    // A blocking send runs turns itself.
    for number in 500..600 {
        producer.block_on(topic.submit(Record::new().value(&LARGE), number)).unwrap();
    }
    producer.blocking_flush();
    poll(&producer, &mut found);
    are_in_order(&found, 600);
    assert!(refused > 0);
}

pub(crate) fn a_dropped_wait_for_memory_leaves_nothing_behind(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = small(&broker, driver).embedded().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let sent: Vec<_> =
        (0..2).map(|_| topic.try_send(Record::new().value(&LARGE)).unwrap()).collect();
    let mut waiting = topic.send(Record::new().value(&LARGE));
    assert!(poll_once(&mut waiting).is_pending());
    let mut completing = topic.submit(Record::new().value(&LARGE), 1);
    assert!(poll_once(&mut completing).is_pending());
    drop((waiting, completing));
    producer.blocking_flush();
    assert!(sent.iter().all(|delivery| delivery.verdict().unwrap().is_ok()));
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, producer.metrics().waiting_threads), (2, 0));
    assert_eq!(producer.poll_deliveries(&mut [kuring::Completion::EMPTY]), 0);
}
