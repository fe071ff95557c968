//! The completion queue of a producer with threads: one completion per accepted record, on every
//! path.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kuring::{Completion, DriverChoice, Producer, Record, SendError, TrySendError};

use crate::support::deadline::now;
use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};
use crate::support::rig::{builder, until};

/// Polls until there are so many.
fn completions(producer: &Producer, count: usize) -> Vec<Completion> {
    let mut out = [const { Completion::EMPTY }; 100];
    let mut found = Vec::new();
    while found.len() < count {
        assert!(producer.wait_deliveries(now() + PATIENCE), "{} of {count}", found.len());
        let polled = producer.poll_deliveries(&mut out);
        found.extend_from_slice(&out[..polled]);
    }
    assert_eq!(producer.poll_deliveries(&mut out), 0, "each record has one");
    found
}

/// The user data of each partition's completions, in their order. A record's is its partition,
/// then its number.
fn by_partition(found: &[Completion]) -> BTreeMap<u64, Vec<u64>> {
    let mut sorted = BTreeMap::<u64, Vec<u64>>::new();
    for completion in found {
        sorted
            .entry(completion.user_data >> 32)
            .or_default()
            .push(completion.user_data as u32 as u64);
    }
    sorted
}

fn submit(producer: &Producer, partition: i32, numbers: std::ops::Range<u64>) {
    let topic = producer.topic("t");
    for number in numbers {
        let value = format!("{number:>90}");
        let record = Record::new().partition(partition).value(&value);
        topic.blocking_submit(record, (partition as u64) << 32 | number).unwrap();
    }
}

pub(crate) fn completions_come_in_the_order_of_the_records(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    each_has_one(&broker, driver, |numbers| numbers);
}

/// Of two batches that were written, with both answers lost, the later one may be acknowledged
/// first.
pub(crate) fn each_submitted_record_has_one_completion(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let mut refusals = 0..;
    broker.script(move |seen| match seen.api {
        // Some requests are refused for a while, some answers are lost.
        ApiKey::Produce => match refusals.next() {
            Some(number) if number % 20 == 7 => Turn::Refuse(ResponseError::NotLeaderOrFollower),
            Some(number) if number % 50 == 31 => Turn::Cut(3),
            _ => Turn::Serve,
        },
        _ => Turn::Serve,
    });
    each_has_one(&broker, driver, |mut numbers| {
        numbers.sort_unstable();
        numbers
    });
}

fn each_has_one(broker: &FakeBroker, driver: DriverChoice, ordered: fn(Vec<u64>) -> Vec<u64>) {
    const EACH: u64 = 20_000;
    let producer = builder(broker, driver).shards(2).build().unwrap();
    let found = thread::scope(|scope| {
        for partition in 0..3 {
            let producer = &producer;
            scope.spawn(move || submit(producer, partition, 0..EACH));
        }
        completions(&producer, 3 * EACH as usize)
    });
    for completion in &found {
        let acknowledged = completion.verdict.as_ref().unwrap();
        let number = completion.user_data as u32 as u64;
        assert_eq!(acknowledged.partition as u64, completion.user_data >> 32);
        assert_eq!(acknowledged.offset.unwrap(), number as i64);
    }
    for (partition, numbers) in by_partition(&found) {
        let numbers = ordered(numbers);
        let early = numbers.iter().zip(0..).find(|(number, expected)| *number != expected);
        assert_eq!(early, None, "partition {partition}: a number and what it came in place of");
        assert_eq!(numbers.len() as u64, EACH);
    }
    assert_eq!(producer.close(PATIENCE).acknowledged, 3 * EACH);
    assert!(!producer.wait_deliveries(now() + PATIENCE), "closed, and all of it polled");
}

pub(crate) fn completions_of_split_batches_have_true_offsets(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.script(|seen| match seen.api {
        ApiKey::Produce if seen.batches[0].bytes > 2000 => {
            Turn::Refuse(ResponseError::MessageTooLarge)
        }
        _ => Turn::Serve,
    });
    let linger = Duration::from_millis(50);
    let producer = builder(&broker, driver).linger(linger).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    submit(&producer, 0, 0..500);
    let found = completions(&producer, 500);
    let told = found.iter().map(|completion| {
        (completion.user_data, completion.verdict.as_ref().unwrap().offset.unwrap() as u64)
    });
    assert!(told.eq((0..500).zip(0..500)), "{found:?}");
    assert!(producer.metrics().splits > 0);
}

pub(crate) fn a_forced_close_leaves_each_partitions_completions_in_order(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let producer = builder(&broker, driver).batch_bytes(1024).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    submit(&producer, 0, 0..1);
    producer.blocking_flush();
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    (0..300).for_each(|number| {
        (0..3).for_each(|partition| submit(&producer, partition, number + 1..number + 2));
    });
    let summary = producer.close(Duration::from_millis(20));
    assert_eq!(summary.acknowledged, 1);
    let found = completions(&producer, 901);
    let sorted = by_partition(&found);
    assert!(sorted[&0].iter().copied().eq(0..301), "{:?}", sorted[&0]);
    assert!((1..3).all(|partition| sorted[&partition].iter().copied().eq(1..301)));
    let written = |completion: &Completion| match &completion.verdict {
        Ok(_) => (1, 0, 0),
        Err(error) if error.possibly_written() => (0, 0, 1),
        Err(_) => (0, 1, 0),
    };
    let counted =
        found.iter().map(written).fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    assert_eq!(counted, (summary.acknowledged, summary.failed, summary.possibly_written));
}

pub(crate) fn a_shard_that_panics_leaves_a_completion_for_every_record(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    submit(&producer, 0, 0..1000);
    producer.break_shard(0);
    let found = completions(&producer, 1000);
    assert!(by_partition(&found)[&0].iter().copied().eq(0..1000));
    for completion in found {
        let error = completion.verdict.unwrap_err();
        assert!(matches!(error, SendError::SenderFailed { .. }), "{error}");
    }
    until("the end of the shard", || !producer.wait_deliveries(now()));
}

pub(crate) fn what_was_not_polled_goes_with_the_producer(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let delivery = producer.topic("t").blocking_send(Record::new()).unwrap();
    submit(&producer, 0, 0..1000);
    producer.blocking_flush();
    let mut some = [const { Completion::EMPTY }; 10];
    assert_eq!(producer.poll_deliveries(&mut some), 10);
    drop(producer);
    assert_eq!(delivery.wait().unwrap().offset, Some(0), "its cell is its own");
    assert_eq!(broker.state(|state| state.stored("t")), 1001);
}

pub(crate) fn a_refused_record_has_no_completion(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let negative = Record::new().timestamp(-1);
    assert!(matches!(topic.blocking_submit(negative, 1), Err(SendError::InvalidField { .. })));
    assert!(matches!(topic.try_submit(negative, 2), Err(TrySendError::Rejected(_))));
    topic.try_submit(Record::new(), u64::MAX).unwrap();
    let summary = producer.close(PATIENCE);
    let found = completions(&producer, summary.acknowledged as usize);
    assert_eq!(found[0].user_data, u64::MAX);
    assert_eq!(topic.try_submit(Record::new(), 3), Err(TrySendError::Closed));
    assert_eq!(producer.poll_deliveries(&mut [Completion::EMPTY]), 0);
}
