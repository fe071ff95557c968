//! When a record's verdict comes, and what it says.
#![forbid(unsafe_code)]

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kuring::{Acks, Delivery, DriverChoice, ErrorCode, Producer, Record, SendError};

use crate::rig::{builder, millis, offsets, poll_once, run, until, verdict};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Seen, Turn};

fn is_produce(seen: &Seen) -> bool {
    seen.api == ApiKey::Produce
}

pub(crate) fn meta_3_acks_say_when_and_whether_there_is_an_offset(driver: DriverChoice) {
    for (acks, wire) in [(Acks::None, 0), (Acks::Leader, 1), (Acks::All, -1)] {
        let broker = FakeBroker::start(&[("t", 2)]);
        let producer = builder(&broker, driver).acks(acks).build().unwrap();
        let topic = producer.topic("t");
        for number in 0..6 {
            let record = Record::new().partition(number % 2).timestamp(5);
            let told = verdict(topic.blocking_send(record).unwrap()).unwrap();
            let offset = (acks != Acks::None).then_some(i64::from(number / 2));
            assert_eq!((told.partition, told.offset, told.timestamp), (number % 2, offset, 5));
        }
        broker.wait_for("six records", |state| (state.stored("t") == 6).then_some(()));
        broker.state(|state| {
            assert!(state.seen.iter().filter(|seen| is_produce(seen)).all(|s| s.acks == wire));
            let ids = i64::from(acks == Acks::All);
            assert_eq!(state.producer_ids, ids, "only idempotence takes a producer id");
        });
        assert_eq!(producer.close(PATIENCE).acknowledged, 6);
    }
}

pub(crate) fn flush_does_not_linger_and_waits_for_what_was_before_it(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 4)]);
    let (before, after) = (Gate::default(), Gate::default());
    broker.script({
        let (before, after) = (before.clone(), after.clone());
        move |seen| match is_produce(seen) {
            true if seen.batches.iter().any(|batch| batch.partition == 3) => {
                Turn::Hold(after.clone())
            }
            true => Turn::Hold(before.clone()),
            false => Turn::Serve,
        }
    });
    let producer = builder(&broker, driver).linger(Duration::from_secs(600)).build().unwrap();
    let topic = producer.topic("t");
    let send = |partition| topic.blocking_send(Record::new().partition(partition)).unwrap();
    let early: Vec<_> = (0..3).map(send).collect();
    assert_eq!(broker.count(ApiKey::Produce), 0);
    let mut flush = Box::pin(producer.flush());
    let mut twin = Box::pin(producer.flush());
    assert!(poll_once(&mut flush).is_pending() && poll_once(&mut twin).is_pending());
    broker.wait_for("three records", |state| (state.stored("t") == 3).then_some(()));
    let late = send(3);
    assert!(poll_once(&mut flush).is_pending() && !early[0].is_done());
    before.open();
    run("the flush", flush);
    assert!(early.iter().all(Delivery::is_done) && !late.is_done());
    // The second flush began before the late record as well, but shares its fate: it waits for more
    // than it has to, never for less.
    after.open();
    run("the second flush", twin);
    assert_eq!(offsets(early), [0, 0, 0]);
    producer.blocking_flush();
    assert!(late.is_done());
    run("a flush of nothing", producer.flush());
}

pub(crate) fn a_dropped_flush_goes_on_and_a_dropped_delivery_loses_nothing(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).linger(Duration::from_secs(600)).build().unwrap();
    let topic = producer.topic("t");
    for number in 0..100 {
        drop(topic.blocking_send(Record::new().value(&format!("{number}"))).unwrap());
    }
    let mut flush = Box::pin(producer.flush());
    assert!(poll_once(&mut flush).is_pending());
    drop(flush);
    broker.wait_for("all records", |state| (state.stored("t") == 100).then_some(()));
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(broker.values("t", 0), expected);
    assert_eq!(producer.close(PATIENCE).acknowledged, 100);
}

pub(crate) fn rdy_2_records_wait_for_the_linger_and_leave_together(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).linger(millis(150)).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let first = topic.blocking_send(Record::new()).unwrap();
    let second = topic.blocking_send(Record::new()).unwrap();
    assert_eq!(broker.count(ApiKey::Produce), 0);
    assert_eq!(offsets(vec![first, second]), [0, 1]);
    assert_eq!(broker.count(ApiKey::Produce), 1);
    broker.state(|state| assert_eq!(state.topics["t"].partitions[0].log.batches, [2]));
}

/// A producer whose request and delivery timeouts are short.
fn impatient(broker: &FakeBroker, driver: DriverChoice) -> Producer {
    builder(broker, driver)
        .request_timeout(millis(100))
        .delivery_timeout(millis(300))
        .build()
        .unwrap()
}

pub(crate) fn exp_3_a_silent_broker_leaves_records_possibly_written(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = impatient(&broker, driver);
    producer.blocking_warm_up(&["t"]).unwrap();
    broker.script(|seen| if is_produce(seen) { Turn::Mute } else { Turn::Serve });
    let topic = producer.topic("t");
    let error = verdict(topic.blocking_send(Record::new().value("a")).unwrap()).unwrap_err();
    let SendError::TimedOut { elapsed, possibly_written: true, .. } = error else {
        panic!("{error}")
    };
    assert!(elapsed >= millis(300), "{elapsed:?}");
    assert!(broker.count(ApiKey::Produce) >= 2, "the request timeout is shorter");
    // The same bytes again: the leader knows them.
    assert_eq!(broker.values("t", 0), ["a"]);
    broker.sane();
    let later = verdict(topic.blocking_send(Record::new().value("b")).unwrap()).unwrap();
    assert_eq!(later.offset, Some(1));
    assert_eq!(broker.values("t", 0), ["a", "b"]);
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.possibly_written, summary.failed), (1, 1, 0));
}

pub(crate) fn exp_2_what_never_left_is_certainly_not_written(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.move_leader("t", 0, -1);
    let producer = impatient(&broker, driver);
    let topic = producer.topic("t");
    let send = |partition| topic.blocking_send(Record::new().partition(partition)).unwrap();
    let error = verdict(send(0)).unwrap_err();
    let SendError::TimedOut { elapsed, possibly_written: false, .. } = error else {
        panic!("{error}")
    };
    assert!(elapsed >= millis(300), "{elapsed:?}");
    verdict(send(1)).unwrap();
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed, summary.never_sent), (1, 1, 1));
}

pub(crate) fn net_4_a_request_without_answer_is_sent_again_elsewhere(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).request_timeout(millis(100)).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let mut silent = 2;
    broker.script(move |seen| {
        silent -= i32::from(is_produce(seen) && silent > 0);
        if is_produce(seen) && silent > 0 { Turn::Mute } else { Turn::Serve }
    });
    let topic = producer.topic("t");
    let told = verdict(topic.blocking_send(Record::new().value("once")).unwrap()).unwrap();
    assert_eq!(told.offset, Some(0));
    assert_eq!(broker.values("t", 0), ["once"]);
    let connections: Vec<_> = broker.state(|state| {
        state.seen.iter().filter(|seen| is_produce(seen)).map(|seen| seen.connection).collect()
    });
    assert!(connections.len() == 2 && connections[0] != connections[1], "{connections:?}");
    assert!(producer.metrics().retries >= 1);
}

pub(crate) fn a_refused_record_fails_alone_with_the_brokers_code(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let send = || verdict(topic.blocking_send(Record::new()).unwrap());
    for (code, expected) in [
        (ResponseError::MessageTooLarge, ErrorCode::MessageTooLarge),
        (ResponseError::InvalidRecord, ErrorCode::InvalidRecord),
        (ResponseError::InvalidRequiredAcks, ErrorCode::InvalidRequiredAcks),
    ] {
        broker.script(move |seen| if is_produce(seen) { Turn::Refuse(code) } else { Turn::Serve });
        let SendError::Rejected { code, possibly_written: false, .. } = send().unwrap_err() else {
            panic!("{expected:?}")
        };
        assert_eq!(code, expected);
        broker.sane();
        send().unwrap();
    }
    broker.script(|seen| match is_produce(seen) {
        true => Turn::Refuse(ResponseError::TopicAuthorizationFailed),
        false => Turn::Serve,
    });
    let denied = SendError::Denied { code: ErrorCode::TopicAuthorizationFailed };
    assert_eq!(send().unwrap_err(), denied);
    assert_eq!(broker.state(|state| state.stored("t")), 3);
}

pub(crate) fn rty_5_retries_end_and_the_last_reason_is_told(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).retries(2).build().unwrap();
    broker.script(|seen| match is_produce(seen) {
        true => Turn::Refuse(ResponseError::NotEnoughReplicas),
        false => Turn::Serve,
    });
    let topic = producer.topic("t");
    let error = verdict(topic.blocking_send(Record::new()).unwrap()).unwrap_err();
    let SendError::Rejected { code, possibly_written: false, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((code, broker.count(ApiKey::Produce)), (ErrorCode::NotEnoughReplicas, 3));
    broker.sane();
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
}

pub(crate) fn a_refused_producer_id_fails_records_until_it_is_granted(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.script(|seen| match seen.api {
        ApiKey::InitProducerId => Turn::Refuse(ResponseError::ClusterAuthorizationFailed),
        _ => Turn::Serve,
    });
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    let error = verdict(topic.blocking_send(Record::new()).unwrap()).unwrap_err();
    assert_eq!(error, SendError::Denied { code: ErrorCode::ClusterAuthorizationFailed });
    broker.sane();
    until("a producer id", || broker.state(|state| state.producer_ids > 0));
    run("a producer id", producer.warm_up(&["t"])).unwrap();
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
}

pub(crate) fn meta_2_the_brokers_time_is_told_where_it_counts(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.script(|seen| match is_produce(seen) {
        true => Turn::Edit(Box::new(|answer| {
            answer.responses[0].partition_responses[0].log_append_time_ms = 12_345;
        })),
        false => Turn::Serve,
    });
    let producer = builder(&broker, driver).build().unwrap();
    let delivery = producer.topic("t").blocking_send(Record::new().timestamp(7)).unwrap();
    assert_eq!(verdict(delivery).unwrap().timestamp, 12_345);
}
