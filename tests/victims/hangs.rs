//! Producers that stood still.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::thread;

use kafka_protocol::messages::ApiKey;
use kuring::{DriverChoice, Record, SendError, TrySendError};
use socket2::{Domain, Socket, Type};

use crate::support::deadline::Deadline;
use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};
use crate::support::rig::{builder, builder_for, millis, poll_once, until, verdict};

pub(crate) fn franz_go_1_17_full_memory_cancelled_sends_and_unknown_topics(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let mut number = 0;
    broker.script(move |seen| {
        number += usize::from(seen.api == ApiKey::Produce);
        if seen.api == ApiKey::Produce && number % 5 == 0 { Turn::HangUp } else { Turn::Serve }
    });
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(3 * 1472);
    let producer = small.max_block(millis(10_000)).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (topic, missing) = (producer.topic("t"), producer.topic("missing"));
            thread::spawn(move || {
                let (large, huge) = ([7; 900], vec![7; 2 << 20]);
                let mut accepted = Vec::new();
                for number in 0..150 {
                    let record = Record::new().partition(number % 2).value(&large);
                    match (number + thread) % 5 {
                        0 => drop(poll_once(&mut Box::pin(topic.send(record))).map(|sent| {
                            accepted.push(sent.unwrap());
                        })),
                        1 => {
                            let error = topic.blocking_send(record.value(&huge)).unwrap_err();
                            assert!(matches!(error, SendError::TooLarge { .. }), "{error}");
                        }
                        2 => {
                            let error = missing.try_send(record).unwrap_err();
                            assert_eq!(error, TrySendError::Metadata);
                            drop(poll_once(&mut Box::pin(missing.send(record))));
                        }
                        _ => accepted.push(topic.blocking_send(record).unwrap()),
                    }
                }
                accepted.into_iter().map(|delivery| verdict(delivery).map(drop)).collect::<Vec<_>>()
            })
        })
        .collect();
    let verdicts: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    verdicts.iter().for_each(|verdict| assert!(verdict.is_ok(), "{verdict:?}"));
    let summary = producer.close(PATIENCE);
    assert_eq!(summary.acknowledged as usize, verdicts.len());
    let metrics = producer.metrics();
    assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
}

pub(crate) fn franz_go_1_13_1_a_topic_that_is_made_anew_again_and_again(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    // By name; what names topics by their ids has its own tests.
    broker.cap_version(ApiKey::Produce, 12);
    let producer = builder(&broker, driver)
        .request_timeout(millis(1000))
        .delivery_timeout(millis(3000))
        .build()
        .unwrap();
    let topic = producer.topic("t");
    for round in 1..=6 {
        let deadline = Deadline::after(PATIENCE);
        // A record may fail of the topic's end; one of the next ones arrives.
        while let Err(error) = topic.blocking_send(Record::new()).and_then(verdict) {
            deadline.check(|| format!("a record in round {round}: {error}"));
        }
        let pending = topic.try_send(Record::new());
        broker.state(|state| state.topics.remove("t"));
        broker.create_topic("t", 1);
        broker.state(|state| state.topics.get_mut("t").unwrap().id = 100 + round);
        drop(pending);
    }
    let summary = producer.close(PATIENCE);
    assert!(summary.acknowledged >= 6, "{summary:?}");
}

/// Each finds the shard asleep; a wake that is lost shows as a record that nobody sends.
pub(crate) fn librdkafka_2912_records_that_come_alone_are_sent_at_once(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    for number in 0..2000 {
        let told = verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
        assert_eq!(told.offset, Some(number));
    }
    assert_eq!(producer.close(PATIENCE).acknowledged, 2000);
}

pub(crate) fn librdkafka_0149_an_ipv6_listener_and_an_address_that_moves(driver: DriverChoice) {
    let bind = |_| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)).into()).unwrap();
        socket
    };
    let sockets: Vec<_> = (0..2).map(bind).collect();
    let port = |at: usize| -> u16 {
        let socket: &Socket = &sockets[at];
        socket.local_addr().unwrap().as_socket().unwrap().port()
    };
    let (first, second) = (port(0), port(1));
    let broker = FakeBroker::over(sockets, "::1", &[("t", 1)]);
    broker.listen(0);
    broker.listen(1);
    let producer = builder_for(format!("[::1]:{first}"), driver).build().unwrap();
    let topic = producer.topic("t");
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
    // Broker 0 is where broker 1 was, and the other way round.
    broker.nodes(vec![("::1".to_owned(), second), ("::1".to_owned(), first)]);
    broker.move_leader("t", 0, 1);
    broker.cut_connections();
    let moved = |told: kuring::RecordMetadata| told.offset;
    let delivery = topic.blocking_send(Record::new()).unwrap();
    // What listens at the new address of broker 1 answers for node 0.
    broker.move_leader("t", 0, 0);
    broker.nodes(vec![("::1".to_owned(), first), ("::1".to_owned(), second)]);
    assert_eq!(verdict(delivery).map(moved), Ok(Some(1)));
    until("the count", || producer.metrics().acknowledged == 2);
    assert_eq!(producer.close(PATIENCE).acknowledged, 2);
}
