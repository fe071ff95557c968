//! What is sent arrives: every way of sending, every field of a record.
#![forbid(unsafe_code)]

use kuring::{DriverChoice, Header, Record, TrySendError};

use crate::rig::{builder, offsets, run, verdict};
use crate::support::fake_broker::FakeBroker;
use crate::support::fetch::OwnedRecord;

pub(crate) fn every_way_of_sending_arrives_byte_for_byte_in_order(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    assert_eq!(topic.try_send(Record::new()).unwrap_err(), TrySendError::Metadata);

    let binary: Vec<u8> = (0..=255).collect();
    let headers = [
        Header { key: "trace", value: Some(&binary) },
        Header { key: "", value: None },
        Header { key: "trace", value: Some(b"") },
    ];
    let records = [
        Record::new().key("k").value(&binary).headers(&headers).timestamp(1),
        Record::new().timestamp(0),
        Record::new().key("").value("").timestamp(1 << 50),
        Record::new().value("earlier than the one before").timestamp(7),
    ];
    let mut deliveries = vec![run("send", topic.send(records[0])).unwrap()];
    deliveries.push(topic.try_send(records[1]).unwrap());
    deliveries.push(topic.blocking_send(records[2]).unwrap());
    deliveries.push(run("send", producer.send("t", records[3])).unwrap());
    run("send_batch", topic.send_batch(&records, &mut deliveries)).unwrap();
    topic.blocking_send_batch(&records, &mut deliveries).unwrap();
    assert_eq!(offsets(deliveries), (0..12).collect::<Vec<_>>());

    let expected = (0..12).map(|offset| {
        let record = |timestamp, key: Option<&[u8]>, value: Option<&[u8]>| OwnedRecord {
            offset,
            timestamp,
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Vec::new(),
        };
        match offset % 4 {
            0 => OwnedRecord {
                headers: vec![
                    (b"trace".to_vec(), Some(binary.clone())),
                    (Vec::new(), None),
                    (b"trace".to_vec(), Some(Vec::new())),
                ],
                ..record(1, Some(b"k"), Some(&binary))
            },
            1 => record(0, None, None),
            2 => record(1 << 50, Some(b""), Some(b"")),
            _ => record(7, None, Some(b"earlier than the one before")),
        }
    });
    assert_eq!(broker.log("t", 0), expected.collect::<Vec<_>>());

    let told = verdict(topic.blocking_send(Record::new().timestamp(77)).unwrap()).unwrap();
    assert_eq!((&*told.topic, told.partition, told.timestamp), ("t", 0, 77));
}
