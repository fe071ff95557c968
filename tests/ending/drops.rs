//! Producers, topics, deliveries and futures dropped in any order, and with their runtime.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::thread;

use kafka_protocol::messages::ApiKey;
use kuring::{DriverChoice, Producer, Record};
use tokio::runtime;

use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use crate::support::rig::{builder, millis, poll_once, until};
use crate::traces::{sender_threads, whole};

const BUFFER: u64 = 1472;
const LARGE: [u8; 900] = [7; 900];

type Dropped = Box<dyn Send>;

fn boxed(future: impl Future + Send + 'static) -> Dropped {
    let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        drop(future.await);
    });
    assert!(poll_once(&mut future).is_pending());
    Box::new(future)
}

/// A producer with its memory full, and one of everything that can be held of it.
fn everything(broker: &FakeBroker, driver: DriverChoice) -> Vec<Dropped> {
    let small = builder(broker, driver).batch_bytes(1024).buffer_memory(2 * BUFFER);
    let producer = small.build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let send = |_| topic.try_send(Record::new().value(&LARGE)).unwrap();
    let deliveries: Vec<_> = (0..2).map(send).collect();
    let (memory, metadata) = (topic.clone(), producer.topic("missing"));
    let flushing = producer.clone();
    vec![
        boxed(async move { drop(memory.send(Record::new().value(&LARGE)).await) }),
        boxed(async move { drop(metadata.send(Record::new()).await) }),
        boxed(async move { flushing.flush().await }),
        Box::new(deliveries),
        Box::new(producer),
        Box::new(topic),
    ]
}

/// All orders of so many things, as what to take next out of those that are left.
fn orders(count: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..(1..=count).product::<usize>()).map(move |number| {
        let (mut number, mut order) = (number, Vec::new());
        for left in (1..=count).rev() {
            order.push(number % left);
            number /= left;
        }
        order
    })
}

/// Holds the answers to all produce requests.
fn gated() -> (FakeBroker, Gate) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let gate = Gate::default();
    let closed = gate.clone();
    broker.script(move |seen| match seen.api {
        ApiKey::Produce => Turn::Hold(closed.clone()),
        _ => Turn::Serve,
    });
    (broker, gate)
}

pub(crate) fn everything_dropped_in_every_order(driver: DriverChoice) {
    // 720 orders; each seventh, so that every thing comes first, last and next to every other.
    for order in orders(6).step_by(7) {
        let (broker, gate) = gated();
        let mut things = everything(&broker, driver);
        // Dropping the last handle waits for the answers.
        gate.open();
        for next in order {
            drop(things.swap_remove(next));
        }
        until("the end of the thread", || sender_threads() == 0);
        assert_eq!(broker.state(|state| state.stored("t")), 2);
    }
}

/// Tasks of a runtime hold everything, each in the middle of an await; then the runtime goes.
pub(crate) fn everything_dropped_with_its_runtime(driver: DriverChoice) {
    for answered in [true, false] {
        let (broker, gate) = gated();
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let producer = everything_spawned(&runtime, &broker, driver);
        runtime.block_on(async {
            // Each task has its turn, and waits.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        });
        until("a wait for memory", || producer.metrics().waiting_threads == 1);
        drop(producer);
        if answered {
            gate.open();
        }
        // The last handle goes with its task, somewhere in here, and waits for the answers.
        let dropping = thread::spawn(move || drop(runtime));
        gate.open();
        dropping.join().unwrap();
        until("the end of the thread", || sender_threads() == 0);
        assert_eq!(broker.state(|state| state.stored("t")), 2);
    }
}

fn everything_spawned(
    runtime: &runtime::Runtime,
    broker: &FakeBroker,
    driver: DriverChoice,
) -> Producer {
    let small = builder(broker, driver).batch_bytes(1024).buffer_memory(2 * BUFFER);
    let producer = small.build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    for _ in 0..2 {
        let delivery = topic.try_send(Record::new().value(&LARGE)).unwrap();
        runtime.spawn(async move { drop(delivery.await) });
    }
    let missing = producer.topic("missing");
    runtime.spawn(async move { drop(topic.send(Record::new().value(&LARGE)).await) });
    runtime.spawn(async move { drop(missing.send(Record::new()).await) });
    let handle = producer.clone();
    runtime.spawn(async move { handle.flush().await });
    let handle = producer.clone();
    runtime.spawn(async move { drop(handle.warm_up(&["missing"]).await) });
    producer
}

/// A send that is dropped before it is ready has sent nothing, however often it was polled.
pub(crate) fn futures_dropped_at_every_await(driver: DriverChoice) {
    let (broker, gate) = gated();
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(2 * BUFFER);
    let producer = small.max_block(millis(20_000)).build().unwrap();
    let topic = producer.topic("t");
    let missing = producer.topic("missing");
    for polls in 0..4 {
        let mut sending = Box::pin(missing.send(Record::new()));
        assert!((0..polls).all(|_| poll_once(&mut sending).is_pending()));
        drop(sending);
        let mut flush = Box::pin(producer.flush());
        let _ = (0..polls).all(|_| poll_once(&mut flush).is_pending());
        let mut warm_up = Box::pin(producer.warm_up(&["missing"]));
        assert!((0..polls).all(|_| poll_once(&mut warm_up).is_pending()));
    }
    producer.blocking_warm_up(&["t"]).unwrap();
    let send = |_| topic.try_send(Record::new().value(&LARGE)).unwrap();
    let deliveries: Vec<_> = (0..2).map(send).collect();
    for polls in 1..4 {
        let mut sending = Box::pin(topic.send(Record::new().value(&LARGE)));
        assert!((0..polls).all(|_| poll_once(&mut sending).is_pending()));
        drop(sending);
    }
    assert_eq!(producer.metrics().waiting_threads, 0);
    let mut many = Vec::new();
    let records = [Record::new().value(&LARGE); 4];
    let mut batch = Box::pin(topic.send_batch(&records, &mut many));
    assert!(poll_once(&mut batch).is_pending());
    drop(batch);
    gate.open();
    let summary = producer.close(PATIENCE);
    assert_eq!(summary.acknowledged as usize, deliveries.len() + many.len());
    assert_eq!(broker.state(|state| state.stored("t")) as u64, summary.acknowledged);
    whole(&producer, summary);
}
