//! Typed records: what serializers write arrives, and one that fails harms no other record.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use std::sync::mpsc::{Sender, channel};

use kuring::serializer::{
    Double, Field, Long, Nullable, RecordHeaders, SerializeError, Serializer, Target, Text, Void,
    from_fn,
};
use kuring::{
    Completion, DeliveryReport, DriverChoice, Header, HeaderList, Interceptor, OnSendError,
    Outgoing, Producer, SendError, TrySendError, TypedRecord, TypedSendError, TypedTopic,
};

use crate::rig::{builder, offsets, poll_once, run};
use crate::support::deadline::now;
use crate::support::fake_broker::{FakeBroker, PATIENCE};

pub(crate) fn every_way_of_sending_typed_records_arrives(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.typed_topic::<str, i64>("t", Text, Long);
    let at = |number| TypedRecord::new().value(number).partition(0);
    // Waits for metadata, with what was serialized.
    let mut waiting = Box::pin(topic.send(at(&1).key("one")));
    assert!(poll_once(&mut waiting).is_pending());
    let mut deliveries = vec![run("send", waiting).unwrap()];
    deliveries.push(topic.try_send(at(&2)).unwrap());
    let headers = [Header { key: "h", value: Some(b"v") }];
    deliveries.push(topic.blocking_send(at(&3).headers(&headers).timestamp(7)).unwrap());
    let numbers: Vec<i64> = (4..100).collect();
    let records: Vec<_> = numbers.iter().map(at).collect();
    run("send_batch", topic.send_batch(&records[..40], &mut deliveries)).unwrap();
    topic.blocking_send_batch(&records[40..], &mut deliveries).unwrap();
    assert_eq!(offsets(deliveries), (0..99).collect::<Vec<_>>());

    run("submit", topic.submit(at(&100), 100)).unwrap();
    topic.try_submit(at(&101), 101).unwrap();
    topic.blocking_submit(at(&102), 102).unwrap();
    let mut completions = [const { Completion::EMPTY }; 4];
    let mut told = Vec::new();
    while told.len() < 3 {
        assert!(producer.wait_deliveries(now() + PATIENCE));
        let polled = producer.poll_deliveries(&mut completions);
        told.extend(completions[..polled].iter().map(|completion| completion.user_data));
    }
    assert_eq!(told, [100, 101, 102]);

    let log = broker.log("t", 0);
    let values: Vec<_> = log.iter().map(|record| record.value.clone().unwrap()).collect();
    let expected: Vec<_> = (1..103_i64).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(values, expected);
    assert_eq!((log[0].key.as_deref(), &log[1].key), (Some(&b"one"[..]), &None));
    assert_eq!(log[2].headers, [(b"h".to_vec(), Some(b"v".to_vec()))]);
    assert_eq!(log[2].timestamp, 7);
}

pub(crate) fn typed_records_have_closures_too(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = moody(&producer);
    let (told, heard) = std::sync::mpsc::channel();
    let tell = || {
        let told = told.clone();
        move |report: &DeliveryReport<'_>| told.send(report.verdict.unwrap().offset).unwrap()
    };
    let value = |number| TypedRecord::new().value(number);
    let sending = topic.send_with(value(&1), tell());
    let is_send = |_: &(dyn Send + '_)| ();
    is_send(&sending);
    is_send(&topic.send(value(&1)));
    run("send_with", sending).unwrap();
    topic.try_send_with(value(&2), tell()).unwrap();
    topic.blocking_send_with(value(&3), tell()).unwrap();
    assert!(is_refused(&topic.blocking_send_with(value(&-1), tell()).unwrap_err()));
    producer.blocking_flush();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
}

pub(crate) fn the_bytes_of_a_typed_key_choose_the_partition(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 7)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let typed = producer.typed_topic::<i64, str>("t", Long, Text);
    for key in [0, 7, -1, i64::MAX] {
        let bytes = key.to_be_bytes();
        let plain = kuring::Record::new().key(&bytes).value("plain");
        let partition = |delivery| crate::rig::verdict(delivery).unwrap().partition;
        let expected = partition(typed.plain().blocking_send(plain).unwrap());
        assert_eq!(partition(typed.blocking_send((&key, "typed")).unwrap()), expected);
    }
}

pub(crate) fn none_is_a_null_and_no_value_is_a_tombstone(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.typed_topic::<str, Option<f64>>("t", Text, Nullable(Double));
    let sent = [
        topic.blocking_send(("a", &Some(0.5))).unwrap(),
        topic.blocking_send(("b", &None)).unwrap(),
        topic.blocking_send(TypedRecord::new().key("c")).unwrap(),
    ];
    let keyless = producer.typed_topic::<(), str>("t", Void, Text);
    let last = keyless.blocking_send((&(), "value")).unwrap();
    assert_eq!(offsets(sent.into_iter().chain([last]).collect()), [0, 1, 2, 3]);
    let log = broker.log("t", 0);
    let values: Vec<_> = log.iter().map(|record| record.value.clone()).collect();
    let half = Some(0.5_f64.to_be_bytes().to_vec());
    assert_eq!(values, [half, None, None, Some(b"value".to_vec())]);
    assert_eq!((log[2].key.as_deref(), &log[3].key), (Some(&b"c"[..]), &None));
}

/// Writes half of what it should, and then refuses (below zero) or panics (the highest).
struct Moody;

impl Serializer<i64> for Moody {
    fn serialize(
        &self,
        target: Target<'_>,
        value: &i64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        assert!(out.is_empty(), "nothing of another record is there");
        assert_eq!((target.topic, target.field), ("t", Field::Value));
        out.extend_from_slice(b"half");
        assert_ne!(*value, i64::MAX, "on purpose: this test's serializer panics");
        out.clear();
        // `?` takes every error.
        out.extend_from_slice(&u32::try_from(*value)?.to_be_bytes());
        Ok(())
    }
}

/// Adds the number as a header, under the part's name. Refuses those below zero after that.
struct Stamped;

impl Serializer<i64> for Stamped {
    fn serialize(
        &self,
        _: Target<'_>,
        value: &i64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        out.extend_from_slice(&u32::try_from(*value)?.to_be_bytes());
        Ok(())
    }

    fn serialize_with_headers(
        &self,
        target: Target<'_>,
        headers: &mut RecordHeaders<'_>,
        value: &i64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        assert!(headers.iter().all(|header| header.value != Some(b"-1")), "of a refused record");
        headers.push(&target.field.to_string(), Some(value.to_string().as_bytes()));
        self.serialize(target, value, out)
    }
}

pub(crate) fn serializers_add_headers_behind_the_records_own(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.typed_topic::<i64, i64>("t", Stamped, Stamped);
    let own = [Header { key: "own", value: None }];
    let keys: Vec<i64> = (0..101).map(|number| number * 1000).collect();
    let values: Vec<i64> = (0..101).collect();
    let pairs = || keys.iter().zip(&values);
    let record = |(key, value)| TypedRecord::from((key, value)).headers(&own);
    let refused = record((&0, &-1));
    // Waits for metadata, with the headers that were added.
    let mut waiting = Box::pin(topic.send(record((&keys[0], &values[0]))));
    assert!(poll_once(&mut waiting).is_pending());
    let mut deliveries = vec![run("send", waiting).unwrap()];
    assert!(is_refused(&topic.blocking_send(refused).unwrap_err()));
    deliveries.push(topic.try_send(record((&keys[1], &values[1]))).unwrap());
    assert!(is_refused(&topic.try_send(refused).unwrap_err()));
    let records: Vec<_> = pairs().skip(2).take(70).map(record).chain([refused]).collect();
    let error = topic.blocking_send_batch(&records, &mut deliveries).unwrap_err();
    assert!(is_refused(&error) && deliveries.len() == 72, "{error}");
    let records: Vec<_> = pairs().skip(72).take(28).map(record).collect();
    run("send_batch", topic.send_batch(&records, &mut deliveries)).unwrap();
    // A tombstone has a key, and its header.
    let tombstone = TypedRecord::new().key(&keys[100]).headers(&own);
    deliveries.push(topic.blocking_send(tombstone).unwrap());
    assert_eq!(offsets(deliveries), (0..101).collect::<Vec<_>>());

    let header = |field: &str, number: &i64| (field.into(), Some(number.to_string().into_bytes()));
    for (record, (key, value)) in broker.log("t", 0).iter().zip(pairs()) {
        let added = [("own".into(), None), header("key", key), header("value", value)];
        let expected = if record.value.is_some() { &added[..] } else { &added[..2] };
        assert_eq!(record.headers, expected);
        assert_eq!(record.value.is_none(), *value == 100);
    }
}

/// Adds a header, and tells which it saw before and after.
struct Onlooker(Sender<(&'static str, Vec<String>)>);

impl Onlooker {
    fn tell<'a>(&self, when: &'static str, headers: impl Iterator<Item = Header<'a>>) {
        self.0.send((when, headers.map(|header| header.key.to_owned()).collect())).unwrap();
    }
}

impl Interceptor for Onlooker {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        self.tell("sent", record.headers());
        record.headers_mut().push("onlooker", None);
        Ok(())
    }

    fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        self.tell(if report.verdict.is_ok() { "acknowledged" } else { "failed" }, headers.iter());
    }
}

/// In Java they see a record before it is serialized, and its verdict long after.
pub(crate) fn interceptors_see_the_headers_of_serializers_with_the_verdict(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let (told, heard) = channel();
    let producer = builder(&broker, driver).interceptor(Onlooker(told)).build().unwrap();
    let topic = producer.typed_topic::<i64, i64>("t", Stamped, Stamped);
    let own = [Header { key: "own", value: None }];
    let record = |value| TypedRecord::from((&7, value)).headers(&own);
    let mut deliveries = vec![topic.blocking_send(record(&1)).unwrap()];
    let mut waiting = Box::pin(topic.send(record(&2)));
    deliveries.extend(match poll_once(&mut waiting) {
        std::task::Poll::Ready(sent) => sent,
        std::task::Poll::Pending => run("send", waiting),
    });
    topic.blocking_send_batch(&[record(&3)], &mut deliveries).unwrap();
    assert_eq!(offsets(deliveries), [0, 1, 2]);
    producer.close(PATIENCE);
    drop(topic.blocking_send(record(&4)).unwrap_err());
    let all = ["own", "onlooker", "key", "value"];
    let mut told: Vec<_> = heard.try_iter().collect();
    told.sort();
    let expected = [("acknowledged", 3, &all[..]), ("failed", 1, &all[..]), ("sent", 4, &all[..1])];
    let expected = expected.iter().flat_map(|(when, count, keys)| {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        vec![(*when, keys); *count]
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
    for record in broker.log("t", 0) {
        let keys: Vec<_> = record.headers.iter().map(|(key, _)| &key[..]).collect();
        assert_eq!(keys, all.map(str::as_bytes));
    }
}

fn moody(producer: &Producer) -> TypedTopic<(), i64> {
    producer.typed_topic::<(), i64>("t", Void, Moody)
}

fn is_refused<E: std::error::Error>(error: &TypedSendError<E>) -> bool {
    matches!(error, TypedSendError::Serialize { field: Field::Value, source }
        if source.is::<std::num::TryFromIntError>())
}

pub(crate) fn a_serializer_that_fails_fails_its_record_only(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = moody(&producer);
    let value = |number| TypedRecord::new().value(number);
    let mut deliveries = vec![topic.blocking_send(value(&1)).unwrap()];
    let error = topic.blocking_send(value(&-1)).unwrap_err();
    assert!(is_refused(&error), "{error}");
    let text = "the record's value cannot be serialized: out of range integral type conversion \
                attempted";
    assert_eq!(error.to_string(), text);
    assert!(is_refused(&topic.try_send(value(&-1)).unwrap_err()));
    assert!(is_refused(&run("send", topic.send(value(&-1))).unwrap_err()));
    assert!(is_refused(&topic.blocking_submit(value(&-1), 7).unwrap_err()));
    // In the middle of many: what stood before it was sent, and what stands behind it can be.
    let numbers: Vec<i64> = (2..42).chain([-1]).chain(42..50).collect();
    let records: Vec<_> = numbers.iter().map(value).collect();
    let error = topic.blocking_send_batch(&records, &mut deliveries).unwrap_err();
    assert!(is_refused(&error) && deliveries.len() == 41, "{error}");
    topic.blocking_send_batch(&records[41..], &mut deliveries).unwrap();
    assert_eq!(offsets(deliveries), (0..49).collect::<Vec<_>>());
    let expected: Vec<_> = (1..50_u32).map(|number| number.to_be_bytes().to_vec()).collect();
    let log = broker.log("t", 0);
    assert_eq!(log.into_iter().map(|record| record.value.unwrap()).collect::<Vec<_>>(), expected);
    assert_eq!(producer.poll_deliveries(&mut [Completion::EMPTY]), 0, "nothing was submitted");
}

pub(crate) fn a_serializer_that_panics_leaves_no_hole(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = moody(&producer);
    let value = |number| TypedRecord::new().value(number);
    let mut deliveries = vec![topic.blocking_send(value(&1)).unwrap()];
    let panics = |call: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(call)).is_err();
    assert!(panics(&mut || drop(topic.blocking_send(value(&i64::MAX)))));
    assert!(panics(&mut || drop(topic.try_send(value(&i64::MAX)))));
    assert!(panics(&mut || drop(poll_once(&mut Box::pin(topic.send(value(&i64::MAX)))))));
    assert!(panics(&mut || {
        drop(topic.blocking_send_batch(&[value(&1), value(&i64::MAX)], &mut Vec::new()));
    }));
    deliveries.push(topic.blocking_send(value(&2)).unwrap());
    assert_eq!(offsets(deliveries), [0, 1]);
    assert_eq!(producer.close(PATIENCE).acknowledged, 2);
}

pub(crate) fn a_serializer_may_send_records_itself(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1), ("log", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let log = producer.typed_topic::<(), i64>("log", Void, Long);
    let serializer = from_fn(move |value: &i64, out: &mut Vec<u8>| {
        out.extend_from_slice(b"before ");
        drop(log.blocking_send(TypedRecord::new().value(value))?.wait()?);
        out.extend_from_slice(b"after");
        Ok(())
    });
    let topic = producer.typed_topic::<(), i64>("t", Void, serializer);
    let delivery = topic.blocking_send(TypedRecord::new().value(&7)).unwrap();
    assert_eq!(offsets(vec![delivery]), [0]);
    assert_eq!(broker.log("t", 0)[0].value.as_deref(), Some(&b"before after"[..]));
    assert_eq!(broker.log("log", 0)[0].value.as_deref(), Some(&7_i64.to_be_bytes()[..]));
}

pub(crate) fn what_the_plain_call_refuses_is_told_as_it_is(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.typed_topic::<str, str>("t", Text, Text);
    let error = topic.try_send(("k", "v")).unwrap_err();
    assert!(matches!(error, TypedSendError::Send(TrySendError::Metadata)), "{error}");
    producer.close(PATIENCE);
    let error = topic.blocking_send(("k", "v")).unwrap_err();
    let closed = SendError::Closed { possibly_written: false };
    assert_eq!(error.to_string(), closed.to_string());
    assert!(matches!(error, TypedSendError::Send(error) if error == closed));
}
