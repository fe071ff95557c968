//! Records that are given up, held back, or ended with their producer, at the caller's word.
#![forbid(unsafe_code)]

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{Compression, Delivery, DriverChoice, Producer, Purge, Record, SendError, Summary};

use crate::rig::{builder, offsets, run, until, verdict};
use crate::support::fake_broker::{FakeBroker, Turn};

const QUEUED: Purge<'_> = Purge { topic: None, queued: true, in_flight: false };

fn lingering(broker: &FakeBroker, driver: DriverChoice) -> Producer {
    builder(broker, driver).linger(Duration::from_secs(600)).build().unwrap()
}

fn send_many(producer: &Producer, topic: &str, count: i32) -> Vec<Delivery> {
    let topic = producer.topic(topic);
    let send = |number| topic.blocking_send(Record::new().partition(number % 2)).unwrap();
    (0..count).map(send).collect()
}

fn purged(deliveries: Vec<Delivery>, possibly_written: bool) {
    let error = SendError::Purged { possibly_written };
    for delivery in deliveries {
        assert_eq!(delivery.verdict(), Some(Err(error.clone())));
    }
}

fn is_all_free(producer: &Producer) -> bool {
    let metrics = producer.metrics();
    metrics.buffer_available_bytes == metrics.buffer_total_bytes
}

pub(crate) fn purged_records_are_not_written_and_their_memory_is_free(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2), ("u", 2)]);
    let producer = lingering(&broker, driver);
    let (of_t, of_u) = (send_many(&producer, "t", 10), send_many(&producer, "u", 10));
    producer.blocking_purge(Purge { topic: Some("t"), ..QUEUED });
    purged(of_t, false);
    assert!(of_u.iter().all(|delivery| !delivery.is_done()));
    run("purge", producer.purge(QUEUED));
    purged(of_u, false);
    assert!(is_all_free(&producer));
    let metrics = producer.metrics();
    assert_eq!((metrics.failed, metrics.acknowledged), (20, 0));
    let kept = send_many(&producer, "t", 4);
    let summary = producer.close(Duration::MAX);
    let expected = Summary { acknowledged: 4, failed: 20, never_sent: 20, possibly_written: 0 };
    assert_eq!((summary, offsets(kept)), (expected, vec![0, 0, 1, 1]));
    assert_eq!(
        (broker.state(|state| state.stored("t")), broker.state(|state| state.stored("u"))),
        (4, 0)
    );
    producer.blocking_purge(QUEUED);
}

/// The codec is slow enough that most batches wait for it when the purge comes.
pub(crate) fn records_that_are_being_compressed_are_purged_once_and_leave_no_memory(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 2), ("u", 2)]);
    let slow = builder(&broker, driver).compression(Compression::Zstd(19)).batch_bytes(16_000);
    let producer = slow.build().unwrap();
    producer.blocking_warm_up(&["t", "u"]).unwrap();
    let value: Vec<u8> =
        (0..4_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let topic = producer.topic("t");
    let send = |number: i32| {
        topic.blocking_send(Record::new().partition(number % 2).value(&value)).unwrap()
    };
    let mut written = 0;
    for round in 1.. {
        let deliveries: Vec<_> = (0..200).map(send).collect();
        producer.blocking_purge(Purge { topic: Some("t"), ..QUEUED });
        producer.blocking_flush();
        let mut purged = 0;
        for delivery in deliveries {
            match delivery.verdict().expect("a verdict, and one only") {
                Ok(_) => written += 1,
                Err(SendError::Purged { possibly_written: false }) => purged += 1,
                Err(other) => panic!("{other}"),
            }
        }
        until("all memory", || is_all_free(&producer));
        // A machine may be too fast once; not again and again.
        if purged > 0 && round >= 3 {
            break;
        }
        assert!(round < 100, "nothing is ever purged");
    }
    let after = producer.topic("u").blocking_send(Record::new().value("after")).unwrap();
    assert_eq!(verdict(after).unwrap().offset, Some(0));
    let summary = producer.close(Duration::MAX);
    assert_eq!(summary.acknowledged, written + 1);
    assert_eq!(broker.state(|state| state.stored("t")) as u64, written);
}

pub(crate) fn records_in_flight_are_purged_and_their_memory_waits_for_the_connection(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let producer = builder(&broker, driver).build().unwrap();
    let deliveries = send_many(&producer, "t", 1);
    broker.wait_for_requests(ApiKey::Produce, 1);
    producer.blocking_purge(QUEUED);
    assert!(!deliveries[0].is_done(), "it is not queued any more");
    producer.blocking_purge(Purge { in_flight: true, ..Purge::default() });
    purged(deliveries, true);
    assert!(!is_all_free(&producer));
    producer.abort();
    assert!(is_all_free(&producer));
}

pub(crate) fn a_purge_makes_room_for_those_who_wait_for_memory(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.move_leader("t", 0, -1);
    let builder = builder(&broker, driver).batch_bytes(1_000).buffer_memory(3_000);
    let producer = builder.build().unwrap();
    let topic = producer.topic("t");
    let value = [7; 800];
    let mut held = Vec::new();
    topic.blocking_send(Record::new().partition(1)).unwrap().wait().unwrap();
    while let Ok(delivery) = topic.try_send(Record::new().partition(0).value(&value)) {
        held.push(delivery);
    }
    let waiting = std::thread::spawn({
        let topic = topic.clone();
        move || topic.blocking_send(Record::new().partition(1).value(&value)).unwrap()
    });
    until("somebody who waits", || producer.metrics().waiting_threads > 0);
    producer.blocking_purge(QUEUED);
    purged(held, false);
    assert!(verdict(waiting.join().unwrap()).is_ok());
    producer.close(Duration::ZERO);
}

pub(crate) fn a_paused_topic_is_held_back_and_the_others_go_on(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2), ("u", 2)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    topic.pause();
    assert!(producer.topic("t").is_paused(), "whichever handle it was");
    let held = send_many(&producer, "t", 20);
    assert_eq!(offsets(send_many(&producer, "u", 2)), [0, 0]);
    assert!(held.iter().all(|delivery| !delivery.is_done()));
    assert_eq!(broker.state(|state| state.stored("t")), 0);
    producer.topic("t").resume();
    assert!(!topic.is_paused());
    let expected: Vec<i64> = (0..20).map(|number| number / 2).collect();
    assert_eq!(offsets(held), expected, "in the order of their acceptance");
    producer.close(Duration::ZERO);
}

pub(crate) fn cls_1_a_close_sends_what_was_paused(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.topic("t").pause();
    let held = send_many(&producer, "t", 10);
    let summary = producer.close(Duration::MAX);
    assert_eq!(summary, Summary { acknowledged: 10, ..Summary::default() });
    assert!(held.iter().all(Delivery::is_done));
    producer.topic("t").resume();
}

pub(crate) fn cls_3_an_abort_sends_nothing_more(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = lingering(&broker, driver);
    let deliveries = send_many(&producer, "t", 10);
    let summary = producer.abort();
    assert_eq!(summary, Summary { failed: 10, never_sent: 10, ..Summary::default() });
    let never = SendError::Closed { possibly_written: false };
    assert!(deliveries.into_iter().all(|delivery| delivery.verdict() == Some(Err(never.clone()))));
    assert_eq!(broker.count(ApiKey::Produce), 0);
    assert_eq!(producer.topic("t").blocking_send(Record::new()).unwrap_err(), never);
    assert_eq!((producer.abort(), producer.close(Duration::MAX)), (summary, summary));
    broker.wait_for("closed connections", |state| (state.open == 0).then_some(()));
}

pub(crate) fn cls_4_an_abort_ends_a_close_that_waits(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let producer = builder(&broker, driver).build().unwrap();
    let deliveries = send_many(&producer, "t", 2);
    broker.wait_for_requests(ApiKey::Produce, 1);
    let closing = std::thread::spawn({
        let producer = producer.clone();
        move || producer.close(Duration::MAX)
    });
    let summary = producer.abort();
    assert_eq!(closing.join().unwrap(), summary);
    assert_eq!(summary.acknowledged, 0);
    assert!(deliveries.iter().all(Delivery::is_done));
}

pub(crate) fn ack_3_a_flush_is_over_after_the_wakers_of_its_records(driver: DriverChoice) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = lingering(&broker, driver);
    let count = std::sync::Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(std::sync::Arc::clone(&count));
    let mut deliveries = send_many(&producer, "t", 50);
    for delivery in &mut deliveries {
        let polled = std::pin::Pin::new(delivery).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    producer.blocking_flush();
    assert_eq!(count.0.load(Ordering::SeqCst), 50);
    producer.close(Duration::ZERO);
}
