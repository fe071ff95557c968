//! Interceptors: what they change is sent, and they are told of each record once.
#![forbid(unsafe_code)]

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{
    Completion, DeliveryReport, DriverChoice, Header, HeaderList, Interceptor, OnSendError,
    Outgoing, Producer, Record, SendError, TrySendError,
};

use crate::rig::{builder, millis, offsets, poll_once, run, verdict};
use crate::support::deadline::now;
use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};

/// What was told of records, by their values.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(&'static str, String)>>>);

impl Log {
    fn add(&self, call: &'static str, what: impl Into<String>) {
        self.0.lock().unwrap().push((call, what.into()));
    }

    fn take(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn said(&self, call: &'static str) -> Vec<String> {
        let log = self.0.lock().unwrap();
        log.iter().filter(|(found, _)| *found == call).map(|(_, what)| what.clone()).collect()
    }
}

/// Notes everything; gives each record a header with its value, by which its verdict is known.
struct Noting(Log);

impl Interceptor for Noting {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        let value = record.value().unwrap_or(b"null").to_vec();
        self.0.add("sent", std::str::from_utf8(&value)?);
        record.headers_mut().push("value", Some(&value));
        if value == b"reject" {
            return Err(OnSendError::reject("not this one"));
        }
        Ok(())
    }

    fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        let value = headers.last("value").and_then(|header| header.value);
        let value = String::from_utf8_lossy(value.unwrap_or(b"unchanged")).into_owned();
        match report.verdict {
            Ok(place) => self.0.add("acknowledged", format!("{value} {}", place.offset.unwrap())),
            Err(error) => self.0.add("failed", format!("{value} {}", error.kind_name())),
        }
    }
}

fn noting(broker: &FakeBroker, driver: DriverChoice) -> (Producer, Log) {
    let log = Log::default();
    let builder = builder(broker, driver).interceptor(Noting(log.clone()));
    (builder.build().unwrap(), log)
}

pub(crate) fn every_way_of_sending_comes_by_the_interceptors(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let (producer, log) = noting(&broker, driver);
    let topic = producer.topic("t");
    let own = [Header { key: "own", value: None }];
    // Waits for metadata; the interceptors see it once.
    let mut waiting = topic.send(Record::new().value("0").headers(&own));
    assert!(poll_once(&mut waiting).is_pending() && log.said("sent") == ["0"]);
    let mut deliveries = vec![run("send", waiting).unwrap()];
    deliveries.push(topic.try_send(Record::new().value("1")).unwrap());
    deliveries.push(topic.blocking_send(Record::new().value("2")).unwrap());
    deliveries.push(run("send", producer.send("t", Record::new().value("3"))).unwrap());
    let records = ["4", "5"].map(|value| Record::new().value(value));
    run("send_batch", topic.send_batch(&records, &mut deliveries)).unwrap();
    let records = ["6", "7"].map(|value| Record::new().value(value));
    topic.blocking_send_batch(&records, &mut deliveries).unwrap();
    assert_eq!(offsets(deliveries), (0..8).collect::<Vec<_>>());
    run("submit", topic.submit(Record::new().value("8"), 8)).unwrap();
    topic.try_submit(Record::new().value("9"), 9).unwrap();
    topic.blocking_submit(Record::new().value("10"), 10).unwrap();
    let (told, called) = channel();
    for value in ["11", "12", "13"] {
        let told = told.clone();
        let call = move |report: &DeliveryReport<'_>| {
            told.send(report.verdict.unwrap().offset).unwrap();
        };
        let record = Record::new().value(value);
        match value {
            "11" => run("send_with", topic.send_with(record, call)).unwrap(),
            "12" => topic.try_send_with(record, call).unwrap(),
            _ => topic.blocking_send_with(record, call).unwrap(),
        }
    }
    producer.blocking_flush();
    assert_eq!(called.try_iter().map(Option::unwrap).collect::<Vec<_>>(), [11, 12, 13]);
    let mut completions = [const { Completion::EMPTY }; 3];
    let mut queued = Vec::new();
    while queued.len() < 3 {
        assert!(producer.wait_deliveries(now() + PATIENCE));
        let polled = producer.poll_deliveries(&mut completions);
        queued.extend(completions[..polled].iter().map(|completion| {
            (completion.user_data, completion.verdict.as_ref().unwrap().offset.unwrap())
        }));
    }
    assert_eq!(queued, [(8, 8), (9, 9), (10, 10)]);

    let numbers: Vec<_> = (0..14).map(|number| number.to_string()).collect();
    assert_eq!(log.said("sent"), numbers);
    let acknowledged = numbers.iter().map(|number| format!("{number} {number}"));
    assert_eq!(log.said("acknowledged"), acknowledged.collect::<Vec<_>>());
    assert_eq!(log.said("failed"), [""; 0]);
    for (record, number) in broker.log("t", 0).iter().zip(&numbers) {
        let value = number.as_bytes().to_vec();
        assert_eq!(record.value.as_ref(), Some(&value));
        assert_eq!(record.headers.last(), Some(&(b"value".to_vec(), Some(value))));
        assert_eq!(record.headers.len(), if number == "0" { 2 } else { 1 });
    }
    // What is written in place is seen by nobody.
    let mut reserved = topic.reserve(0, 1).unwrap();
    reserved[0] = b'x';
    verdict(reserved.commit().unwrap()).unwrap();
    assert_eq!(log.take().len(), 28);
}

pub(crate) fn what_interceptors_change_is_sent_in_their_order(driver: DriverChoice) {
    struct Change(fn(&mut Outgoing<'_>));
    impl Interceptor for Change {
        fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
            (self.0)(record);
            Ok(())
        }
    }
    let broker = FakeBroker::start(&[("t", 7)]);
    let producer = builder(&broker, driver)
        .interceptor(Change(|record| {
            record.set_key(Some(b"21".to_vec()));
            record.set_partition(None);
            record.set_timestamp(77);
        }))
        .interceptor(Change(|record| {
            assert_eq!((record.key(), record.timestamp()), (Some(&b"21"[..]), Some(77)));
            let value = [record.value().unwrap(), b" and more"].concat();
            record.set_value(Some(value));
            (0..40).for_each(|number| record.headers_mut().push(&format!("h{number}"), None));
        }))
        .build()
        .unwrap();
    let topic = producer.topic("t");
    let record = Record::new().key("first").value("value").partition(0).timestamp(1);
    let told = verdict(topic.blocking_send(record).unwrap()).unwrap();
    // PRT-2: the key that the record has now chooses.
    assert_eq!((told.partition, told.timestamp), ((-973_932_308 & i32::MAX) % 7, 77));
    let log = broker.log("t", told.partition);
    assert_eq!(log[0].key.as_deref(), Some(&b"21"[..]));
    assert_eq!(log[0].value.as_deref(), Some(&b"value and more"[..]));
    assert_eq!((log[0].headers.len(), log[0].timestamp), (40, 77));
}

pub(crate) fn a_record_that_is_not_taken_is_told_once_and_on_this_thread(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let log = Log::default();
    let producer = builder(&broker, driver)
        .interceptor(Noting(log.clone()))
        .batch_bytes(1024)
        .buffer_memory(1472)
        .max_block(millis(100))
        .build()
        .unwrap();
    let topic = producer.topic("t");
    let failed = |what: &str, expected: &str| {
        let text = format!("{what} {expected}");
        assert_eq!(log.take(), [("sent", what.to_owned()), ("failed", text)]);
    };
    let error = topic.try_send(Record::new().value("metadata")).unwrap_err();
    assert_eq!(error, TrySendError::Metadata);
    failed("metadata", "unknown-topic-or-partition");
    producer.blocking_warm_up(&["t"]).unwrap();
    let rejected = SendError::Intercepted { reason: "not this one".into() };
    let record = Record::new().value("reject");
    let refusals = [
        topic.blocking_send(record).unwrap_err(),
        run("send", topic.send(record)).unwrap_err(),
        topic.blocking_submit(record, 7).unwrap_err(),
        topic.blocking_send_batch(&[record], &mut Vec::new()).unwrap_err(),
    ];
    assert!(refusals.iter().all(|error| *error == rejected));
    assert_eq!(topic.try_send(record).unwrap_err(), TrySendError::Rejected(rejected));
    // What a rejecting interceptor changed is undone, its header too.
    assert_eq!(log.said("failed"), ["unchanged intercepted"; 5]);
    assert_eq!(log.take().len(), 10);
    topic.blocking_send(Record::new().value("wrong").timestamp(-1)).unwrap_err();
    failed("wrong", "invalid-field");
    let large = vec![b'x'; 4096];
    topic.blocking_send(Record::new().value(&large)).unwrap_err();
    assert_eq!(log.said("failed"), [format!("{} too-large", String::from_utf8_lossy(&large))]);
    log.take();
    // Memory: one batch is all there is, and nobody answers.
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    // The header that the interceptor adds is as long.
    let full = "y".repeat(400);
    let held = topic.try_send(Record::new().value(&full)).unwrap();
    assert_eq!(log.take().len(), 1, "its verdict is to come");
    assert_eq!(topic.try_send(Record::new().value(&full)).unwrap_err(), TrySendError::Memory);
    failed(&full, "memory-exhausted");
    topic.blocking_send(Record::new().value(&full)).unwrap_err();
    failed(&full, "memory-exhausted");
    let mut waiting = topic.send(Record::new().value(&full));
    assert!(poll_once(&mut waiting).is_pending());
    drop(waiting);
    failed(&full, "cancelled");
    drop(topic.send(Record::new().value("never polled")));
    assert_eq!(log.take(), []);
    producer.close(Duration::ZERO);
    assert_eq!(log.said("failed"), [format!("{full} closed")]);
    assert!(held.is_done());
}

/// What interceptors change is the record that goes out, never the caller's.
pub(crate) fn api_3_a_record_that_was_not_taken_is_sent_again_as_it_was(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let (producer, log) = noting(&broker, driver);
    let topic = producer.topic("t");
    let headers = [Header { key: "own", value: Some(b"1") }];
    let record = Record::new().value("a").headers(&headers);
    assert_eq!(topic.try_send(record).unwrap_err(), TrySendError::Metadata);
    verdict(topic.blocking_send(record).unwrap()).unwrap();
    let found = broker.log("t", 0).remove(0).headers;
    let header = |key: &str, value: &str| (key.into(), Some(value.into()));
    assert_eq!(found, [header("own", "1"), header("value", "a")]);
    assert_eq!(log.said("sent"), ["a", "a"]);
}

pub(crate) fn ack_6_the_partition_is_told_where_it_was_chosen(driver: DriverChoice) {
    struct Partitions(Arc<Mutex<Vec<Option<i32>>>>);
    impl Interceptor for Partitions {
        fn on_acknowledgement(&self, report: &DeliveryReport<'_>, _: &HeaderList) {
            assert_eq!(&**report.topic, "t");
            self.0.lock().unwrap().push(report.partition);
        }
    }
    let broker = FakeBroker::start(&[("t", 7)]);
    let partitions = Arc::<Mutex<Vec<_>>>::default();
    let interceptor = Partitions(Arc::clone(&partitions));
    let builder = builder(&broker, driver).interceptor(interceptor);
    let producer = builder.request_bytes_max(2000).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let large = Record::new().value(&[7; 4000]);
    for record in [large.partition(2), large.key("21"), large] {
        let error = topic.blocking_send(record).unwrap_err();
        assert_eq!(error.kind_name(), "too-large");
    }
    let keyed = (-973_932_308 & i32::MAX) % 7;
    assert_eq!(*partitions.lock().unwrap(), [Some(2), Some(keyed), None]);
}

pub(crate) fn ack_8_interceptors_are_told_before_the_handler_with_the_headers(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let log = Log::default();
    let handling = log.clone();
    let producer = builder(&broker, driver)
        .interceptor(Noting(log.clone()))
        .delivery_handler(move |number, _| handling.add("handled", number.to_string()))
        .build()
        .unwrap();
    let topic = producer.topic("t");
    topic.blocking_submit(Record::new().value("a"), 7).unwrap();
    producer.blocking_flush();
    let expected = [("sent", "a"), ("acknowledged", "a 0"), ("handled", "7")];
    assert_eq!(log.take(), expected.map(|(call, what)| (call, what.to_owned())));
    assert_eq!(producer.poll_deliveries(&mut [Completion::EMPTY]), 0);
}

pub(crate) fn an_interceptor_that_fails_is_skipped(driver: DriverChoice) {
    struct Failing;
    impl Interceptor for Failing {
        fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
            record.set_value(None);
            match record.headers().count() {
                0 => panic!("on purpose: this test's interceptor panics"),
                _ => Err(OnSendError::failed("out of order")),
            }
        }

        fn on_acknowledgement(&self, _: &DeliveryReport<'_>, _: &HeaderList) {
            panic!("on purpose: this test's interceptor panics");
        }
    }
    let broker = FakeBroker::start(&[("t", 1)]);
    let log = Log::default();
    let builder = builder(&broker, driver).interceptor(Failing);
    let producer = builder.interceptor(Noting(log.clone())).build().unwrap();
    let topic = producer.topic("t");
    let headers = [Header { key: "h", value: None }];
    let sent = [Record::new().value("a"), Record::new().value("b").headers(&headers)];
    let deliveries = sent.map(|record| topic.blocking_send(record).unwrap());
    assert_eq!(offsets(deliveries.into()), [0, 1]);
    assert_eq!(broker.values("t", 0), ["a", "b"]);
    assert_eq!(log.said("acknowledged"), ["a 0", "b 1"]);
}
