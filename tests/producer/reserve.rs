//! Values written in place: what is committed arrives, what is dropped was never there, and nobody
//! waits for long.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kuring::{
    Delivery, DriverChoice, Header, Producer, Record, Reservation, SendError, Topic, TrySendError,
};

use crate::rig::{builder, millis, offsets, until, verdict};
use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};

/// Longer than any test: with this, what is late would fail it.
const NEVER_LATE: Duration = Duration::from_secs(600);

/// Batches go when they are full or flushed.
fn producer(broker: &FakeBroker, driver: DriverChoice, reserve_max: Duration) -> Producer {
    let builder = builder(broker, driver).linger(Duration::from_secs(600)).batch_bytes(4_000);
    let producer = builder.reserve_max(reserve_max).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    producer
}

fn send(topic: &Topic, value: &str) -> Delivery {
    topic.blocking_send(Record::new().partition(0).value(value)).unwrap()
}

fn reserve<'t>(topic: &'t Topic, value: &str) -> Reservation<'t> {
    let mut reservation = topic.reserve(0, value.len()).unwrap();
    reservation.copy_from_slice(value.as_bytes());
    reservation
}

fn assert_memory_is_back(producer: &Producer) {
    until("the memory", || {
        let metrics = producer.metrics();
        metrics.buffer_available_bytes == metrics.buffer_total_bytes
    });
}

pub(crate) fn a_value_written_in_place_arrives_where_it_was_reserved(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let producer = producer(&broker, driver, NEVER_LATE);
    let topic = producer.topic("t");
    let first = reserve(&topic, "first");
    let second = send(&topic, "second");
    let third = reserve(&topic, "third");
    let fourth = send(&topic, "fourth");
    let headers = [Header { key: "h", value: Some(b"x") }];
    let record = Record::new().key("key").headers(&headers).timestamp(7).value("does not count");
    let mut keyed = topic.reserve_record(record, 5).unwrap();
    keyed.copy_from_slice(b"keyed");
    // Anywhere, in any order, from any thread.
    let third = thread::scope(|scope| scope.spawn(|| third.commit().unwrap()).join().unwrap());
    let keyed = keyed.commit().unwrap();
    let first = first.commit().unwrap();
    let free = topic.reserve_record(Record::new(), 0).unwrap().commit().unwrap();
    producer.blocking_flush();
    let keyed = verdict(keyed).unwrap();
    assert_eq!(keyed.timestamp, 7);
    let place = keyed.offset.unwrap() as usize;
    let arrived = broker.log("t", keyed.partition).swap_remove(place);
    assert_eq!(arrived.value.as_deref(), Some(&b"keyed"[..]));
    assert_eq!(arrived.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(arrived.headers.len(), 1);
    let values = broker.values("t", 0);
    let own = ["first", "second", "third", "fourth"];
    assert_eq!(values[..4], own);
    assert_eq!(offsets(vec![first, second, third, fourth]), [0, 1, 2, 3]);
    verdict(free).unwrap();
    assert_memory_is_back(&producer);
    assert_eq!(producer.close(PATIENCE).acknowledged, 6);
}

pub(crate) fn a_dropped_reservation_leaves_no_hole_no_request_and_no_gap(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = producer(&broker, driver, NEVER_LATE);
    let topic = producer.topic("t");
    drop([reserve(&topic, "a"), reserve(&topic, "b")]);
    producer.blocking_flush();
    assert_eq!(broker.count(ApiKey::Produce), 0, "a batch of nothing is not sent");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _open = reserve(&topic, "it panics");
        panic!("on purpose: a caller fails while it writes");
    }));
    assert!(panicked.is_err());
    let mut deliveries = Vec::new();
    for round in 0..5 {
        for number in 0..40 {
            let value = format!("{round}:{number}");
            match number % 4 {
                0 => drop(reserve(&topic, "x")),
                1 => deliveries.push(send(&topic, &value)),
                2 => deliveries.push(reserve(&topic, &value).commit().unwrap()),
                _ => drop(reserve(&topic, &"y".repeat(30))),
            }
        }
        producer.blocking_flush();
    }
    assert_eq!(offsets(deliveries), (0..100).collect::<Vec<_>>());
    let is_kept = |number: &i32| [1, 2].contains(&(number % 4));
    let kept = |round| (0..40).filter(is_kept).map(move |number| format!("{round}:{number}"));
    assert_eq!(broker.values("t", 0), (0..5).flat_map(kept).collect::<Vec<_>>());
    broker.state(|state| assert!(state.complaints.is_empty(), "{:?}", state.complaints));
    assert_memory_is_back(&producer);
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed), (100, 0));
}

pub(crate) fn an_open_reservation_delays_nobody_for_long_and_is_sent_when_it_comes(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = producer(&broker, driver, millis(5));
    let topic = producer.topic("t");
    let before = send(&topic, "before");
    let mut late = reserve(&topic, "____");
    let forgotten = reserve(&topic, "forgotten");
    let dropped = reserve(&topic, "dropped");
    let after = send(&topic, "after");
    std::mem::forget(forgotten);
    // The flush waits for what was accepted, and so not for these.
    producer.blocking_flush();
    assert_eq!(offsets(vec![before, after]), [0, 1]);
    assert!(late.is_late());
    drop(dropped);
    let held = || {
        let metrics = producer.metrics();
        metrics.buffer_total_bytes - metrics.buffer_available_bytes
    };
    let buffer = held();
    late.copy_from_slice(b"late");
    let late = late.commit().unwrap();
    producer.blocking_flush();
    assert_eq!(offsets(vec![late]), [2]);
    assert_eq!(broker.values("t", 0), ["before", "after", "late"]);
    // The one that was forgotten has its buffer for good.
    until("the memory", || held() == buffer);
    assert!(buffer > 0);
    assert_eq!(producer.close(PATIENCE).acknowledged, 3);
}

pub(crate) fn a_commit_in_time_is_waited_for(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = producer(&broker, driver, NEVER_LATE);
    let topic = producer.topic("t");
    for is_committed in [true, false] {
        let open = reserve(&topic, "open");
        let other = send(&topic, "other");
        let flush = thread::spawn({
            let producer = producer.clone();
            move || producer.blocking_flush()
        });
        // Behind it, in a batch of its own, is what the flush seals no more: it lingers.
        until("the seal", || {
            drop(topic.reserve(0, 0).unwrap());
            producer.metrics().buffer_total_bytes - producer.metrics().buffer_available_bytes
                > 4_500
        });
        assert!(!other.is_done());
        let open = match is_committed {
            true => Some(open.commit().unwrap()),
            false => {
                drop(open);
                None
            }
        };
        verdict(other).unwrap();
        flush.join().unwrap();
        if let Some(open) = open {
            assert_eq!(verdict(open).unwrap().offset, Some(0));
        }
    }
    assert_eq!(broker.values("t", 0), ["open", "other", "other"]);
    producer.blocking_flush();
    assert_memory_is_back(&producer);
}

pub(crate) fn cls_1_a_close_waits_for_no_reservation_and_what_is_open_is_refused(
    driver: DriverChoice,
) {
    for reserve_max in [millis(5), NEVER_LATE] {
        let broker = FakeBroker::start(&[("t", 1)]);
        let producer = producer(&broker, driver, reserve_max);
        let topic = producer.topic("t");
        let delivery = send(&topic, "one");
        let (mut open, other) = (reserve(&topic, "open"), reserve(&topic, "other"));
        let is_short = reserve_max < NEVER_LATE;
        let summary = producer.close(if is_short { PATIENCE } else { millis(50) });
        assert_eq!(
            (summary.acknowledged, summary.failed),
            (u64::from(is_short), u64::from(!is_short))
        );
        assert_eq!(verdict(delivery).is_ok(), is_short);
        drop(other);
        drop(producer);
        // The memory is still there.
        open.copy_from_slice(b"over");
        assert_eq!(open.try_commit().unwrap_err(), TrySendError::Closed);
        assert_eq!(&open[..], b"over");
        assert_eq!(open.commit().unwrap_err(), TrySendError::Closed);
        assert_eq!(topic.reserve(0, 1).unwrap_err(), TrySendError::Closed);
    }
}

pub(crate) fn a_failed_shard_leaves_no_reservation_behind(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = producer(&broker, driver, NEVER_LATE);
    let topic = producer.topic("t");
    let delivery = send(&topic, "one");
    let open = reserve(&topic, "open");
    producer.break_shard(0);
    let error = verdict(delivery).unwrap_err();
    assert_eq!(error, SendError::SenderFailed { possibly_written: false });
    assert_eq!(open.commit().unwrap_err(), TrySendError::Rejected(error));
    producer.close(PATIENCE);
    assert_memory_is_back(&producer);
}

pub(crate) fn spl_1_a_batch_with_holes_that_is_too_large_is_split(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.script(|seen| {
        let is_produce = seen.api == ApiKey::Produce;
        match is_produce && seen.batches.iter().any(|batch| batch.bytes > 700) {
            true => Turn::Refuse(ResponseError::MessageTooLarge),
            false => Turn::Serve,
        }
    });
    let producer = producer(&broker, driver, millis(5));
    let topic = producer.topic("t");
    let mut open = Vec::new();
    let mut deliveries = Vec::new();
    let value = |number: usize| format!("{number}:{}", "x".repeat(number * 7 % 200));
    for number in 0..200 {
        match number % 10 {
            0 => drop(reserve(&topic, &value(number))),
            7 => open.push(reserve(&topic, &value(number))),
            _ => deliveries.push(send(&topic, &value(number))),
        }
    }
    producer.blocking_flush();
    assert_eq!(offsets(deliveries), (0..160).collect::<Vec<_>>());
    let kept = (0..200).filter(|number| ![0, 7].contains(&(number % 10)));
    assert_eq!(broker.values("t", 0), kept.map(value).collect::<Vec<_>>());
    assert!(producer.metrics().splits > 3);
    drop(open);
    assert_memory_is_back(&producer);
    assert_eq!(producer.close(PATIENCE).acknowledged, 160);
}

pub(crate) fn what_can_never_be_reserved_is_refused_at_once(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let builder = builder(&broker, driver).batch_bytes(1_000).buffer_memory(10_000);
    let producer = builder.request_bytes_max(4_000).build().unwrap();
    let topic = producer.topic("t");
    assert_eq!(topic.reserve(0, 1).unwrap_err(), TrySendError::Metadata);
    producer.blocking_warm_up(&["t"]).unwrap();
    let rejected = |found: Result<Reservation<'_>, TrySendError>| match found {
        Err(TrySendError::Rejected(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = rejected(topic.reserve(0, 3_990));
    assert!(matches!(error, SendError::TooLarge { setting: "max.request.size", .. }), "{error}");
    let error = rejected(topic.reserve(-1, 1));
    assert!(matches!(error, SendError::InvalidField { field: "partition", .. }), "{error}");
    let error = rejected(topic.reserve_record(Record::new().timestamp(-1), 1));
    assert!(matches!(error, SendError::InvalidField { field: "timestamp", .. }), "{error}");
    assert_eq!(topic.reserve(1, 1).unwrap_err(), TrySendError::Metadata);
    let mut held = Vec::new();
    let error = loop {
        match topic.reserve(0, 900) {
            Ok(reservation) => held.push(reservation),
            Err(error) => break error,
        }
    };
    assert_eq!(error, TrySendError::Memory);
    assert!(held.len() > 3);
    drop(held);
    assert_memory_is_back(&producer);
}

pub(crate) fn threads_that_reserve_send_and_drop_at_random_lose_nothing(driver: DriverChoice) {
    const THREADS: usize = 4;
    const EACH: usize = 1_500;
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver)
        .linger(millis(1))
        .batch_bytes(2_000)
        .reserve_max(millis(1))
        .build()
        .unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let sent: Vec<Vec<(String, Delivery)>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let producer = &producer;
                scope.spawn(move || send_some(producer, number, EACH))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    producer.blocking_flush();
    let logs = [broker.values("t", 0), broker.values("t", 1)];
    let mut count = 0;
    for (value, delivery) in sent.into_iter().flatten() {
        let told = verdict(delivery).unwrap();
        assert_eq!(logs[told.partition as usize][told.offset.unwrap() as usize], value);
        count += 1;
    }
    assert_eq!(logs[0].len() + logs[1].len(), count, "nothing else is there");
    assert_memory_is_back(&producer);
    assert_eq!(producer.close(PATIENCE).acknowledged, count as u64);
}

/// Sends in one way and another; returns what is to arrive.
fn send_some(producer: &Producer, thread: usize, count: usize) -> Vec<(String, Delivery)> {
    let topic = producer.topic("t");
    let mut sent = Vec::new();
    let mut open: Vec<(Reservation<'_>, String)> = Vec::new();
    // Any sequence that does not repeat soon will do.
    let mut random = 0x9e37_79b9_u32.wrapping_mul(thread as u32 + 1);
    for number in 0..count {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let partition = (random >> 16 & 1) as i32;
        let value = format!("{thread}:{number}:{}", "v".repeat((random >> 20) as usize % 60));
        match random >> 27 {
            0..8 => {
                let record = Record::new().partition(partition).value(&value);
                sent.push((value.clone(), topic.blocking_send(record).unwrap()));
            }
            _ => {
                let Ok(mut new) = topic.reserve(partition, value.len()) else { continue };
                new.copy_from_slice(value.as_bytes());
                open.push((new, value));
            }
        }
        if open.len() > 3 {
            // One is dropped, and one may have to find a new place.
            drop(open.remove(random as usize % 4));
            let (mut oldest, value) = open.remove(0);
            match oldest.try_commit() {
                Ok(delivery) => sent.push((value, delivery)),
                Err(error) => assert_eq!(error, TrySendError::Memory),
            }
        }
    }
    sent
}
