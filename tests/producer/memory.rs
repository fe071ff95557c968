//! What callers see of a memory that is full: who waits, who is served, what is left behind.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{Delivery, DriverChoice, Producer, Record, SendError, Topic, TrySendError};

use crate::rig::{builder, millis, offsets, poll_once, run, until};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};

/// A pooled buffer for a `batch.size` of 1024.
const BUFFER: u64 = 1472;
/// Records of this size do not share a batch of 1024 bytes.
const ALONE: [u8; 900] = [7; 900];

/// A producer with so many buffers, at most five, all in use: each answer waits for its own gate.
struct Full {
    broker: FakeBroker,
    producer: Producer,
    topic: Topic,
    gates: Vec<Gate>,
    deliveries: Vec<Delivery>,
}

impl Full {
    fn new(driver: DriverChoice, buffers: u64, max_block: Duration) -> Self {
        let broker = FakeBroker::start(&[("t", 1)]);
        let producer = builder(&broker, driver)
            .batch_bytes(1024)
            .buffer_memory(buffers * BUFFER)
            .max_block(max_block)
            .build()
            .unwrap();
        run("warm_up", producer.warm_up(&["t"])).unwrap();
        let topic = producer.topic("t");
        // The first batch under a producer id goes alone.
        let mut deliveries = vec![topic.blocking_send(Record::new().value(&ALONE)).unwrap()];
        producer.blocking_flush();
        let metrics = || producer.metrics();
        until("the memory", || metrics().buffer_available_bytes == metrics().buffer_total_bytes);
        let before = broker.count(ApiKey::Produce);
        let gates: Vec<_> = (0..20).map(|_| Gate::default()).collect();
        let mut unused = gates.clone().into_iter();
        broker.script(move |seen| {
            let gate = (seen.api == ApiKey::Produce).then(|| unused.next()).flatten();
            gate.map_or(Turn::Serve, Turn::Hold)
        });
        let error = loop {
            match topic.try_send(Record::new().value(&ALONE)) {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => break error,
            }
        };
        assert_eq!((error, deliveries.len() as u64), (TrySendError::Memory, 1 + buffers));
        assert_eq!(producer.metrics().buffer_available_bytes, 0);
        // With all of it on the way, nobody waits for the shard to keep up.
        broker.wait_for_requests(ApiKey::Produce, before + buffers as usize);
        Self { broker, producer, topic, gates, deliveries }
    }

    fn open_all(&self) {
        self.gates.iter().for_each(Gate::open);
    }

    /// Everything that was accepted arrives, and all memory is back (BUF-2); the lengths of what
    /// came after the first record.
    fn settle(self) -> Vec<usize> {
        self.open_all();
        self.producer.blocking_flush();
        let count = self.deliveries.len() as i64;
        assert_eq!(offsets(self.deliveries), (0..count).collect::<Vec<_>>());
        let metrics = || self.producer.metrics();
        until("the memory", || metrics().buffer_available_bytes == metrics().buffer_total_bytes);
        assert_eq!(metrics().waiting_threads, 0);
        let stored = self.broker.log("t", 0);
        stored[1..].iter().map(|record| record.value.as_ref().unwrap().len()).collect()
    }
}

pub(crate) fn buf_3_the_longest_waiter_collects_and_later_ones_get_nothing_meanwhile(
    driver: DriverChoice,
) {
    let mut full = Full::new(driver, 4, PATIENCE);
    let (topic, producer) = (full.topic.clone(), full.producer.clone());
    let large = [8; 1800];
    let mut first = topic.send(Record::new().value(&large));
    let mut second = topic.send(Record::new().value(&ALONE));
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    assert_eq!(producer.metrics().waiting_threads, 2);
    full.gates[0].open();
    until("one acknowledgement", || producer.metrics().acknowledged == 2);
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    let newcomer = topic.try_send(Record::new().value(&ALONE));
    assert_eq!(newcomer.unwrap_err(), TrySendError::Memory, "it is set aside for the first");
    full.gates[1].open();
    full.deliveries.push(run("the first waiter", first).unwrap());
    assert!(poll_once(&mut second).is_pending());
    full.gates[2].open();
    full.deliveries.push(run("the second waiter", second).unwrap());
    assert_eq!(full.settle(), [900, 900, 900, 900, 1800, 900]);
}

pub(crate) fn buf_4_a_wait_that_ends_in_vain_gives_everything_back(driver: DriverChoice) {
    let full = Full::new(driver, 2, millis(100));
    let large = [8; 1500];
    let waiting = thread::spawn({
        let topic = full.topic.clone();
        move || topic.blocking_send(Record::new().value(&large)).unwrap_err()
    });
    let error = run("send", full.topic.send(Record::new().value(&ALONE))).unwrap_err();
    for error in [error, waiting.join().unwrap()] {
        let SendError::MemoryExhausted { waited } = error else { panic!("{error}") };
        assert!(waited >= millis(100), "{waited:?}");
    }
    assert_eq!(full.producer.metrics().waiting_threads, 0);
    assert_eq!(full.settle(), [900, 900]);
}

pub(crate) fn buf_4_a_send_that_is_dropped_while_it_waits_leaves_nothing_behind(
    driver: DriverChoice,
) {
    let full = Full::new(driver, 3, PATIENCE);
    let (topic, producer) = (full.topic.clone(), full.producer.clone());
    // One that has got nothing, and one that has got what it needs and does not know yet.
    let mut without = topic.send(Record::new().value(&ALONE));
    let mut with = topic.send(Record::new().value(&ALONE));
    assert!(poll_once(&mut without).is_pending());
    drop(without);
    assert_eq!(producer.metrics().waiting_threads, 0);
    assert!(poll_once(&mut with).is_pending());
    full.gates[0].open();
    until("memory for the other one", || producer.metrics().waiting_threads == 0);
    drop(with);
    assert_eq!(full.settle(), [900, 900, 900]);
}

pub(crate) fn buf_8_closing_ends_every_wait_for_memory(driver: DriverChoice) {
    let full = Full::new(driver, 2, PATIENCE);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let topic = full.topic.clone();
            thread::spawn(move || topic.blocking_send(Record::new().value(&ALONE)).unwrap_err())
        })
        .collect();
    until("three waiting threads", || full.producer.metrics().waiting_threads == 3);
    let closing = thread::spawn({
        let producer = full.producer.clone();
        move || producer.close(PATIENCE)
    });
    for waiting in waiting {
        let error = waiting.join().unwrap();
        assert_eq!(error, SendError::Closed { possibly_written: false });
    }
    full.open_all();
    let summary = closing.join().unwrap();
    assert_eq!(summary.acknowledged, 3, "{summary:?}");
    assert_eq!(full.settle(), [900, 900]);
}

pub(crate) fn buf_6_a_wait_for_memory_ends_all_lingering(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let producer = builder(&broker, driver)
        .batch_bytes(1024)
        .buffer_memory(2 * BUFFER)
        .linger(Duration::from_secs(600))
        .build()
        .unwrap();
    let topic = producer.topic("t");
    let send = |partition| topic.blocking_send(Record::new().partition(partition)).unwrap();
    let deliveries: Vec<_> = (0..3).map(send).collect();
    producer.blocking_flush();
    assert_eq!(offsets(deliveries), [0, 0, 0]);
}

pub(crate) fn many_threads_share_three_buffers(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 4)]);
    let producer =
        builder(&broker, driver).batch_bytes(1024).buffer_memory(3 * BUFFER).build().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let topic = producer.topic("t");
            thread::spawn(move || {
                let value = |at: usize| vec![7; 1 + at * 37 % 1300];
                let deliveries: Vec<_> = (0..250)
                    .map(|at| {
                        topic.blocking_send(Record::new().partition(number).value(&value(at)))
                    })
                    .collect::<Result<_, _>>()
                    .unwrap();
                assert_eq!(offsets(deliveries), (0..250).collect::<Vec<_>>());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let metrics = || producer.metrics();
    until("the memory", || metrics().buffer_available_bytes == metrics().buffer_total_bytes);
    assert_eq!(broker.state(|state| state.stored("t")), 1000);
}

pub(crate) fn a_topic_that_floods_the_memory_leaves_some_to_the_others(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("flood", 1), ("calm", 1)]);
    let producer = builder(&broker, driver).batch_bytes(1024).buffer_memory(64 * BUFFER);
    let producer = producer.max_block(millis(200)).build().unwrap();
    run("warm_up", producer.warm_up(&["flood", "calm"])).unwrap();
    let gate = Gate::default();
    broker.script({
        let gate = gate.clone();
        move |seen| if seen.api == ApiKey::Produce { Turn::Hold(gate.clone()) } else { Turn::Serve }
    });
    let (flood, calm) = (producer.topic("flood"), producer.topic("calm"));
    let mut deliveries = Vec::new();
    // A ring that is full for a moment is no end; the memory's is.
    while producer.metrics().buffer_available_bytes > 2 * BUFFER {
        deliveries.extend(flood.try_send(Record::new().value(&ALONE)).ok());
    }
    let refused = flood.try_send(Record::new().value(&ALONE)).unwrap_err();
    assert_eq!(refused, TrySendError::Memory);
    let waited = flood.blocking_send(Record::new().value(&ALONE)).unwrap_err();
    assert!(matches!(waited, SendError::MemoryExhausted { .. }), "{waited:?}");
    let calm_one = calm.try_send(Record::new().value(&ALONE)).expect("two buffers are left");
    gate.open();
    let count = deliveries.len() as i64;
    assert_eq!(offsets(deliveries), (0..count).collect::<Vec<_>>());
    assert_eq!(offsets(vec![calm_one]), [0]);
    let metrics = || producer.metrics();
    until("the memory", || metrics().buffer_available_bytes == metrics().buffer_total_bytes);
}
