//! `close` in every state that a producer can be in.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{ConfigBuilder, Delivery, DriverChoice, Producer, Record, SendError, TrySendError};
use socket2::{Domain, Socket, Type};

use crate::support::fake_broker::{FakeBroker, Gate, Turn};
use crate::support::rig::{builder, builder_for, millis, until};
use crate::traces::settled;

/// A pooled buffer for a `batch.size` of 1024.
const BUFFER: u64 = 1472;

type Waiting = JoinHandle<Result<Delivery, SendError>>;

/// Brings a producer into a state; returns what it was promised and the threads that wait in it.
type Prepare<'a> = &'a dyn Fn(&Producer) -> (Vec<Delivery>, Vec<Waiting>);

/// Closes in a state: without patience and with some, from one thread and from three at once.
fn closes(builder: impl Fn() -> ConfigBuilder, prepare: Prepare<'_>) {
    for (patience, threads) in [(0, 1), (60, 1), (0, 3), (60, 3)] {
        let producer = builder().build().unwrap();
        let (deliveries, waiting) = prepare(&producer);
        let closing: Vec<_> = (0..threads)
            .map(|_| {
                let producer = producer.clone();
                thread::spawn(move || producer.close(millis(patience)))
            })
            .collect();
        let summaries = closing.into_iter().map(|closing| closing.join().unwrap());
        let summaries: Vec<_> = summaries.collect();
        assert!(summaries.iter().all(|summary| *summary == summaries[0]), "{summaries:?}");
        let mut accepted = deliveries;
        for waiting in waiting {
            match waiting.join().unwrap() {
                Ok(delivery) => accepted.push(delivery),
                Err(error) => assert_eq!(error, SendError::Closed { possibly_written: false }),
            }
        }
        settled(&producer, summaries[0], accepted);
    }
}

/// Threads that send to a topic, and wait.
fn senders(producer: &Producer, count: i32) -> Vec<Waiting> {
    let send = |number| {
        let topic = producer.topic("t");
        thread::spawn(move || topic.blocking_send(Record::new().partition(number % 2).value("v")))
    };
    (0..count).map(send).collect()
}

fn accepted(producer: &Producer, count: i32) -> Vec<Delivery> {
    let topic = producer.topic("t");
    let send = |number| topic.blocking_send(Record::new().partition(number % 2).value("v"));
    (0..count).map(|number| send(number).unwrap()).collect()
}

fn silent_about(broker: &FakeBroker, api: ApiKey) {
    broker.script(move |seen| if seen.api == api { Turn::Ignore } else { Turn::Serve });
}

pub(crate) fn close_before_any_connection_is_made(driver: DriverChoice) {
    let asleep = FakeBroker::asleep(1, &[("t", 2)]);
    closes(|| builder(&asleep, driver).shards(2), &|producer| (Vec::new(), senders(producer, 3)));
}

pub(crate) fn close_while_a_connection_is_being_made(driver: DriverChoice) {
    // A listener that accepts nobody, with its queue full: the kernel drops who knocks.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _queued = TcpStream::connect(address).unwrap();
    closes(|| builder_for(address.to_string(), driver), &|producer| {
        let waiting = senders(producer, 2);
        until("a wait", || is_connecting(address));
        (Vec::new(), waiting)
    });
}

/// Whether a socket of this machine knocks at the address: state 2 of /proc/net/tcp.
fn is_connecting(address: SocketAddr) -> bool {
    let port = format!(":{:04X} 02", address.port());
    std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&port)
}

pub(crate) fn close_in_the_middle_of_the_greeting(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    silent_about(&broker, ApiKey::ApiVersions);
    closes(|| builder(&broker, driver), &|producer| {
        let before = broker.count(ApiKey::ApiVersions);
        let waiting = senders(producer, 2);
        // The connection may have been made, and the greeting sent, before this looked.
        broker.wait_for_requests(ApiKey::ApiVersions, before.max(1));
        (Vec::new(), waiting)
    });
}

pub(crate) fn close_in_the_middle_of_a_wait_for_metadata(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    silent_about(&broker, ApiKey::Metadata);
    closes(|| builder(&broker, driver), &|producer| {
        let before = broker.count(ApiKey::Metadata);
        let waiting = senders(producer, 4);
        broker.wait_for_requests(ApiKey::Metadata, before.max(1));
        (Vec::new(), waiting)
    });
}

pub(crate) fn close_before_there_is_a_producer_id(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    silent_about(&broker, ApiKey::InitProducerId);
    closes(|| builder(&broker, driver).shards(2), &|producer| (accepted(producer, 20), Vec::new()));
    assert_eq!(broker.count(ApiKey::Produce), 0);
}

pub(crate) fn close_with_requests_in_flight(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    closes(|| builder(&broker, driver).batch_bytes(200).shards(2), &|producer| {
        broker.sane();
        // The first batch under a producer id goes alone.
        let mut deliveries = accepted(producer, 2);
        producer.blocking_flush();
        broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
        let before = broker.count(ApiKey::Produce);
        deliveries.extend(accepted(producer, 100));
        broker.wait_for_requests(ApiKey::Produce, before + 2);
        (deliveries, Vec::new())
    });
}

pub(crate) fn close_in_the_middle_of_a_wait_for_memory(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let small = || builder(&broker, driver).batch_bytes(1024).buffer_memory(2 * BUFFER);
    closes(small, &|producer| {
        let topic = producer.topic("t");
        let large = [7; 900];
        producer.blocking_warm_up(&["t"]).unwrap();
        let send = |_| topic.try_send(Record::new().partition(0).value(&large)).unwrap();
        let deliveries = (0..2).map(send).collect();
        let waiting = (0..3)
            .map(|_| {
                let topic = topic.clone();
                thread::spawn(move || topic.blocking_send(Record::new().value(&[7; 900])))
            })
            .collect();
        until("three waiting threads", || producer.metrics().waiting_threads == 3);
        (deliveries, waiting)
    });
}

pub(crate) fn close_with_a_peer_that_does_not_read(driver: DriverChoice) {
    let gate = Gate::default();
    let broker = FakeBroker::start(&[("t", 2)]);
    let stalled = || builder(&broker, driver).batch_bytes(100_000).send_buffer(Some(4096));
    closes(stalled, &|producer| {
        broker.sane();
        let topic = producer.topic("t");
        let value = vec![7; 90_000];
        let send = || topic.blocking_send(Record::new().partition(0).value(&value)).unwrap();
        let mut deliveries = vec![send()];
        producer.blocking_flush();
        let closed = gate.clone();
        broker.script(move |seen| match seen.api {
            ApiKey::Produce => Turn::Stall(closed.clone()),
            _ => Turn::Serve,
        });
        let before = broker.count(ApiKey::Produce);
        deliveries.extend((0..30).map(|_| send()));
        broker.wait_for_requests(ApiKey::Produce, before + 1);
        until("a socket that takes no more", || is_stuck(&broker));
        (deliveries, Vec::new())
    });
    gate.open();
}

/// Whether bytes lie in a socket on the way to the broker, and do not get there.
fn is_stuck(broker: &FakeBroker) -> bool {
    let port = broker.bootstrap().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let queued = fields[4].split(':').next().unwrap();
        fields[2].ends_with(&format!(":{port:04X}")) && !queued.trim_matches('0').is_empty()
    })
}

pub(crate) fn close_with_nothing_to_do(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    closes(|| builder(&broker, driver).shards(3), &|_| (Vec::new(), Vec::new()));
    closes(|| builder(&broker, driver), &|producer| {
        let deliveries = accepted(producer, 10);
        producer.blocking_flush();
        (deliveries, Vec::new())
    });
}

/// Asked by a record that is never accepted.
fn is_closed(producer: &Producer) -> bool {
    let asked = producer.topic("missing").try_send(Record::new());
    asked.is_err_and(|error| error == TrySendError::Closed)
}

pub(crate) fn cls_4_many_threads_close_at_once_and_the_shortest_patience_counts(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let producer = builder(&broker, driver).shards(2).build().unwrap();
    let deliveries = accepted(&producer, 10);
    broker.wait_for_requests(ApiKey::Produce, 1);
    let close = |patience| {
        let producer = producer.clone();
        thread::spawn(move || producer.close(patience))
    };
    let patient: Vec<_> = (0..4).map(|_| close(Duration::MAX)).collect();
    until("the close", || is_closed(&producer));
    assert!(deliveries.iter().all(|delivery| !delivery.is_done()));
    let hasty = close(millis(20)).join().unwrap();
    let summaries: Vec<_> = patient.into_iter().map(|patient| patient.join().unwrap()).collect();
    assert_eq!(summaries, [hasty; 4]);
    settled(&producer, hasty, deliveries);
}

pub(crate) fn what_arrives_in_time_is_acknowledged_and_the_rest_is_forced(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let gate = Gate::default();
    let producer = builder(&broker, driver).build().unwrap();
    let mut deliveries = accepted(&producer, 2);
    producer.blocking_flush();
    let closed = gate.clone();
    broker.script(move |seen| match seen.api {
        ApiKey::Produce if seen.batches[0].partition == 0 => Turn::Hold(closed.clone()),
        _ => Turn::Serve,
    });
    deliveries.extend(accepted(&producer, 1));
    broker.wait_for_requests(ApiKey::Produce, 2);
    broker.move_leader("t", 1, -1);
    let second = producer.topic("t").blocking_send(Record::new().partition(1)).unwrap();
    let closing = thread::spawn({
        let producer = producer.clone();
        move || producer.close(millis(700))
    });
    until("the close", || is_closed(&producer));
    gate.open();
    let summary = closing.join().unwrap();
    assert_eq!(summary.acknowledged, 3, "{summary:?}");
    deliveries.push(second);
    settled(&producer, summary, deliveries);
}
