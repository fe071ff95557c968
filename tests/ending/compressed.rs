//! The thread that compresses beside a shard: one that cannot be started, one that a fork did not
//! copy, one whose shard is gone.
#![forbid(unsafe_code)]

use std::fs;
use std::sync::Mutex;

use kafka_protocol::messages::ApiKey;
use kuring::{Compression, Delivery, DriverChoice, Record, SendError, Summary, TrySendError};

use crate::in_child::in_child;
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use crate::support::rig::{builder, builder_for, until, verdict};
use crate::traces::{sender_threads, settled};

const TEXT: &str = "some text that comes again, and again, and again, and again, and again";

/// Threads that compress.
fn compressors() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.flat_map(|task| fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.starts_with("kuring-pack")).count()
}

pub(crate) fn without_a_thread_to_compress_on_the_sender_does_it(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).compression(Compression::LZ4).build().unwrap();
    producer.refuse_compressor(0);
    // Commands are carried out in their order.
    producer.blocking_flush();
    let topic = producer.topic("t");
    let send = |_| topic.blocking_send(Record::new().value(TEXT)).unwrap();
    assert_eq!(verdict(send(0)).unwrap().offset, Some(0));
    let deliveries: Vec<_> = (0..50).map(send).collect();
    producer.blocking_flush();
    assert_eq!(compressors(), 0);
    assert!(producer.metrics().compressed_batches > 0, "they are compressed all the same");
    assert_eq!(broker.values("t", 0), [TEXT; 51]);
    let summary = producer.close(PATIENCE);
    assert_eq!(summary, Summary { acknowledged: 51, ..Summary::default() });
    assert!(deliveries.iter().all(Delivery::is_done));
}

fn forked<T>(possibly_written: bool) -> Result<T, SendError> {
    Err(SendError::Forked { possibly_written })
}

pub(crate) fn a_forks_child_of_a_producer_that_compresses_is_inert_as_well(driver: DriverChoice) {
    for codec in [Compression::GZIP, Compression::Snappy, Compression::LZ4, Compression::Zstd(19)] {
        let broker = FakeBroker::start(&[("t", 1), ("of the child", 1)]);
        let producer = builder(&broker, driver).compression(codec).shards(2).build().unwrap();
        let topic = producer.topic("t");
        let send = || topic.blocking_send(Record::new().value(TEXT)).unwrap();
        let acknowledged = send();
        producer.blocking_flush();
        assert_eq!(compressors(), 1, "of the shard that has the partition");
        let gate = Gate::default();
        let closed = gate.clone();
        broker.script(move |seen| match seen.api {
            ApiKey::Produce if seen.topics == ["t"] => Turn::Hold(closed.clone()),
            _ => Turn::Serve,
        });
        // In flight, with the compressor, in the ring: wherever the fork finds them.
        let held: Vec<_> = (0..200).map(|_| send()).collect();
        let copies = Mutex::new(Some((producer.clone(), topic.clone(), held)));
        let bootstrap = broker.bootstrap();
        in_child(|| {
            let (producer, topic, held) = copies.lock().unwrap().take().unwrap();
            assert_eq!((sender_threads(), compressors()), (0, 0));
            assert!(acknowledged.verdict().unwrap().is_ok());
            for delivery in held {
                assert!(delivery.is_done());
                assert_eq!(delivery.wait().map(drop), forked(true));
            }
            let asked = topic.try_send(Record::new().value(TEXT)).unwrap_err();
            let refused = SendError::Forked { possibly_written: false };
            assert_eq!(asked, TrySendError::Rejected(refused));
            assert_eq!(topic.blocking_send(Record::new().value(TEXT)).map(drop), forked(false));
            producer.blocking_flush();
            assert_eq!(producer.clone().close(PATIENCE), Summary::default());
            drop((producer, topic));
            // One of the child's own has a compressor of its own.
            let own = builder_for(bootstrap.clone(), driver).compression(codec).build().unwrap();
            let sent = own.topic("of the child").blocking_send(Record::new().value(TEXT));
            assert_eq!(verdict(sent.unwrap()).unwrap().offset, Some(0));
            assert_eq!(compressors(), 1);
            assert_eq!(own.close(PATIENCE).acknowledged, 1);
            assert_eq!(compressors(), 0);
        });
        let (copy, _, mut deliveries) = copies.into_inner().unwrap().unwrap();
        drop(copy);
        gate.open();
        deliveries.push(acknowledged);
        let summary = producer.close(PATIENCE);
        assert_eq!(summary, Summary { acknowledged: 201, ..Summary::default() });
        settled(&producer, summary, deliveries);
        assert_eq!(broker.values("of the child", 0), [TEXT]);
    }
}

pub(crate) fn a_panic_of_a_shard_with_batches_at_the_compressor_leaves_nothing(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).compression(Compression::Zstd(19)).build().unwrap();
    let topic = producer.topic("t");
    let send =
        |number: i32| topic.blocking_send(Record::new().partition(number % 2).value(TEXT)).unwrap();
    let deliveries: Vec<_> = (0..300).map(send).collect();
    producer.break_shard(0);
    until("all verdicts", || deliveries.iter().all(Delivery::is_done));
    let summary = producer.close(PATIENCE);
    assert_eq!(compressors(), 0);
    settled(&producer, summary, deliveries);
}
