//! Typed records of an embedded producer, and closures and batches that are awaited.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};

use kuring::embedded::Local;
use kuring::serializer::{Long, RecordHeaders, SerializeError, Serializer, Target, Text};
use kuring::{
    Completion, Delivery, DeliveryReport, DriverChoice, Embedded, Record, TrySendError,
    TypedRecord, TypedSendError,
};
use tokio::task::spawn_local;

use crate::loops::{embedded, poll};
use crate::pressure::small;
use crate::runtimes::in_tokio;
use crate::support::fake_broker::{FakeBroker, PATIENCE};
use crate::support::rig::builder;

/// The offsets of what was sent, by turns of this thread.
fn offsets(producer: &Embedded, deliveries: Vec<Local<Delivery>>) -> Vec<i64> {
    let offset = |delivery: Local<Delivery>| producer.block_on(delivery).unwrap().offset.unwrap();
    deliveries.into_iter().map(offset).collect()
}

fn tell(told: &Sender<i64>) -> impl FnOnce(&DeliveryReport<'_>) + Send + use<> {
    let told = told.clone();
    move |report| told.send(report.verdict.unwrap().offset.unwrap()).unwrap()
}

pub(crate) fn every_way_of_sending_typed_records_arrives(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).embedded().unwrap();
    let topic = producer.typed_topic::<str, i64>("t", Text, Long);
    let at = |number| TypedRecord::new().key("k").value(number).partition(0);
    let error = topic.try_send(at(&0)).unwrap_err();
    assert!(matches!(error, TypedSendError::Send(TrySendError::Metadata)), "{error}");
    // Waits for metadata, with what was serialized.
    let mut deliveries = vec![producer.block_on(topic.send(at(&0))).unwrap()];
    deliveries.push(topic.try_send(at(&1)).unwrap());
    let numbers: Vec<i64> = (2..100).collect();
    let records: Vec<_> = numbers.iter().map(at).collect();
    producer.block_on(topic.send_batch(&records, &mut deliveries)).unwrap();
    let plain = topic.plain();
    let value = 100_i64.to_be_bytes();
    let record = Record::new().key("k").value(&value).partition(0);
    producer.block_on(plain.send_batch(&[record], &mut deliveries)).unwrap();
    assert_eq!(offsets(&producer, deliveries), (0..101).collect::<Vec<_>>());

    let (told, heard) = channel();
    producer.block_on(topic.submit(at(&101), 101)).unwrap();
    topic.clone().try_submit(at(&102), 102).unwrap();
    producer.block_on(topic.send_with(at(&103), tell(&told))).unwrap();
    topic.try_send_with(at(&104), tell(&told)).unwrap();
    assert_eq!(heard.try_iter().count(), 0, "nothing happens between the turns");
    producer.blocking_flush();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [103, 104]);
    let mut found: Vec<Completion> = Vec::new();
    poll(&producer, &mut found);
    assert!(found.iter().map(|completion| completion.user_data).eq([101, 102]));

    let values = broker.log("t", 0).into_iter().map(|record| {
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        i64::from_be_bytes(record.value.unwrap().try_into().unwrap())
    });
    assert!(values.eq(0..105));
    assert_eq!((&**topic.name(), &**plain.name()), ("t", "t"));
}

/// Refuses numbers below zero, after it has added a header.
struct Unsigned;

impl Serializer<i64> for Unsigned {
    fn serialize(
        &self,
        _: Target<'_>,
        value: &i64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        out.extend_from_slice(&u64::try_from(*value)?.to_be_bytes());
        Ok(())
    }

    fn serialize_with_headers(
        &self,
        target: Target<'_>,
        headers: &mut RecordHeaders<'_>,
        value: &i64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        headers.push("unsigned", Some(&value.to_be_bytes()));
        self.serialize(target, value, out)
    }
}

pub(crate) fn a_serializer_that_fails_fails_its_record_only(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = embedded(&broker, driver);
    let topic = producer.typed_topic::<str, i64>("t", Text, Unsigned);
    let value = |number| TypedRecord::new().value(number);
    let is_refused = |error| matches!(error, TypedSendError::Serialize { .. });
    let mut deliveries = vec![topic.try_send(value(&0)).unwrap()];
    let refused = topic.try_send(value(&-1)).unwrap_err();
    assert!(matches!(refused, TypedSendError::Serialize { .. }), "{refused}");
    assert!(is_refused(producer.block_on(topic.send(value(&-1))).unwrap_err()));
    assert!(is_refused(producer.block_on(topic.submit(value(&-1), 1)).unwrap_err()));
    let uncalled = |_: &DeliveryReport<'_>| unreachable!("the record was refused");
    assert!(is_refused(producer.block_on(topic.send_with(value(&-1), uncalled)).unwrap_err()));
    let records = [1, 2, -1, 3].each_ref().map(value);
    let sent = producer.block_on(topic.send_batch(&records, &mut deliveries));
    assert!(is_refused(sent.unwrap_err()) && deliveries.len() == 3);
    producer.block_on(topic.send_batch(&records[3..], &mut deliveries)).unwrap();
    assert_eq!(offsets(&producer, deliveries), [0, 1, 2, 3]);
    assert_eq!(producer.close(PATIENCE).acknowledged, 4);
    for (record, number) in broker.log("t", 0).into_iter().zip(0_u64..) {
        let bytes = number.to_be_bytes().to_vec();
        assert_eq!(record.value.as_ref(), Some(&bytes));
        assert_eq!(record.headers, [(b"unsigned".to_vec(), Some(bytes))]);
    }
}

pub(crate) fn awaited_closures_and_batches_wait_for_memory_and_leave_nothing_behind(
    driver: DriverChoice,
) {
    const TASKS: i64 = 20;
    const EACH: i64 = 20;
    let broker = FakeBroker::start(&[("t", 1)]);
    let (told, heard) = channel();
    in_tokio(async {
        let producer = Rc::new(small(&broker, driver).embedded().unwrap());
        spawn_local(producer.drive());
        producer.warm_up(&["t"]).await.unwrap();
        let topic = producer.typed_topic::<str, [u8; 900]>("t", Text, kuring::serializer::Bytes);
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (topic, told) = (topic.clone(), told.clone());
                spawn_local(async move {
                    let (large, mut sent) = ([7; 900], Vec::new());
                    for _ in 0..EACH {
                        let record = TypedRecord::new().value(&large);
                        topic.send_with(record, tell(&told)).await.unwrap();
                        topic.send_batch(&[record; 2], &mut sent).await.unwrap();
                    }
                    for delivery in sent {
                        assert!(delivery.await.unwrap().offset.is_some());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(producer.shutdown(PATIENCE).await.unwrap().acknowledged, 3 * 400);
        let metrics = producer.metrics();
        assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
        // Not taken, so not called.
        let record = TypedRecord::new().value(&[7; 900]);
        assert!(topic.send_with(record, tell(&told)).await.is_err());
        assert!(topic.plain().send_with(Record::new(), tell(&told)).await.is_err());
    });
    let mut offsets: Vec<_> = heard.try_iter().collect();
    offsets.dedup();
    assert_eq!(offsets.len() as i64, TASKS * EACH);
}
