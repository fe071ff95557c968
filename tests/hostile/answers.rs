//! Answers that are well-formed and not true.
#![forbid(unsafe_code)]

use kafka_protocol::messages::{ApiKey, ProduceResponse};
use kuring::{DriverChoice, Record, SendError};

use crate::support::fake_broker::{FakeBroker, Turn};
use crate::support::rig::{builder_for, millis, verdict};
use crate::support::wire::topic_name;
use crate::survival::{APIS, endures, impatient, recovers, survives};

/// A produce answer that is edited, in versions that name topics and in those that number them.
fn edited(driver: DriverChoice, change: fn(&mut ProduceResponse)) {
    for version in [8, 12, 13] {
        let broker = FakeBroker::start(&[("t", 1), ("other", 1)]);
        broker.cap_version(ApiKey::Produce, version);
        let attack = move || Turn::Edit(Box::new(change));
        let error = survives(driver, ApiKey::Produce, &broker, attack);
        let error = error.expect("such an answer is none");
        assert!(matches!(error, SendError::TimedOut { possibly_written: true, .. }), "{error:?}");
        let mut stored = broker.values("t", 0);
        stored.retain(|value| value.starts_with("attacked"));
        let count = stored.len();
        stored.dedup();
        assert!(count > 0 && stored.len() == count, "the broker took each once");
    }
}

pub(crate) fn a_correlation_id_that_was_never_sent(driver: DriverChoice) {
    for api in APIS {
        for id in [-1, i32::MAX, 1_000_000] {
            let broker = FakeBroker::start(&[("t", 1)]);
            let attack = move || {
                Turn::Mangle(Box::new(move |bytes| {
                    bytes[4..8].copy_from_slice(&id.to_be_bytes());
                }))
            };
            assert!(survives(driver, api, &broker, attack).is_some(), "{api:?} {id}");
        }
    }
}

pub(crate) fn every_answer_twice(driver: DriverChoice) {
    for api in APIS {
        let broker = FakeBroker::start(&[("t", 1)]);
        // The first copy may settle the matter before the second one ends the connection.
        endures(driver, api, &broker, || {
            Turn::Mangle(Box::new(|bytes| bytes.extend_from_within(..)))
        });
    }
}

pub(crate) fn an_answer_for_a_partition_that_was_not_asked(driver: DriverChoice) {
    edited(driver, |answer| answer.responses[0].partition_responses[0].index = 1);
    edited(driver, |answer| answer.responses[0].partition_responses[0].index = -1);
}

pub(crate) fn an_answer_for_a_topic_that_was_not_asked(driver: DriverChoice) {
    edited(driver, |answer| {
        let topic = &mut answer.responses[0];
        topic.name = topic_name("other");
        topic.topic_id = "00000000000000000000000000000002".parse().unwrap();
    });
}

pub(crate) fn an_answer_without_the_partition_that_was_asked(driver: DriverChoice) {
    edited(driver, |answer| answer.responses.clear());
    edited(driver, |answer| answer.responses[0].partition_responses.clear());
}

pub(crate) fn an_answer_with_the_partition_twice(driver: DriverChoice) {
    for version in [8, 13] {
        let broker = FakeBroker::start(&[("t", 1)]);
        broker.cap_version(ApiKey::Produce, version);
        survives(driver, ApiKey::Produce, &broker, || {
            Turn::Edit(Box::new(|answer| {
                let partitions = &mut answer.responses[0].partition_responses;
                partitions.push(partitions[0].clone());
            }))
        });
    }
}

pub(crate) fn error_codes_that_do_not_exist(driver: DriverChoice) {
    for code in [9999, i16::MAX, i16::MIN, -1] {
        let broker = FakeBroker::start(&[("t", 1)]);
        broker.script(move |seen| match seen.api {
            ApiKey::Produce => Turn::Edit(Box::new(move |answer| {
                answer.responses[0].partition_responses[0].error_code = code;
            })),
            _ => Turn::Serve,
        });
        let producer = impatient(&broker, driver);
        let sent = producer.topic("t").blocking_send(Record::new()).unwrap();
        let error = verdict(sent).unwrap_err();
        assert!(
            matches!(error, SendError::Rejected { .. } | SendError::TimedOut { .. }),
            "{code}: {error:?}"
        );
        broker.sane();
        recovers(&producer);
    }
}

pub(crate) fn metadata_that_names_no_broker(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let (nodes, first) = (broker.nodes(Vec::new()), broker.bootstrap());
    assert_eq!(first, "");
    nodes_lie(driver, &broker, nodes);
}

pub(crate) fn metadata_that_names_unreachable_brokers(driver: DriverChoice) {
    for lie in [("no-such-host.invalid", 9092), ("127.0.0.1", 1), ("", 9092), ("a b", 0)] {
        let broker = FakeBroker::start(&[("t", 1)]);
        let nodes = broker.nodes(vec![(lie.0.to_owned(), lie.1)]);
        nodes_lie(driver, &broker, nodes);
    }
}

/// The broker's metadata lies about where its nodes are, then tells the truth.
fn nodes_lie(driver: DriverChoice, broker: &FakeBroker, truth: Vec<(String, u16)>) {
    let servers = format!("{}:{}", truth[0].0, truth[0].1);
    let producer = builder_for(servers, driver)
        .max_block(millis(250))
        .request_timeout(millis(100))
        .delivery_timeout(millis(250))
        .build()
        .unwrap();
    let sent = producer.topic("t").blocking_send(Record::new().value("attacked"));
    let error = sent.and_then(verdict).unwrap_err();
    assert!(
        matches!(
            error,
            SendError::Unknown { .. } | SendError::TimedOut { possibly_written: false, .. }
        ),
        "{error:?}"
    );
    broker.nodes(truth);
    recovers(&producer);
}
