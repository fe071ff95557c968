//! Fork without exec: the child's copy of a producer is inert and says so, and the parent's own
//! goes on as if nothing had happened.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io::{Read, Write, pipe};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{
    ApplicationMetric, ClientInstanceIdError, Delivery, DeliveryReport, DriverChoice, HeaderList,
    Interceptor, OnSendError, Outgoing, Producer, Record, Reservation, SendError, Summary, Topic,
    TrySendError,
};

use crate::in_child::in_child;
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use crate::support::rig::{builder, poll_once, run, verdict};
use crate::traces::{sender_threads, settled};

const BUFFER: u64 = 1472;
const LARGE: [u8; 900] = [7; 900];

type Mid = Pin<Box<dyn Future<Output = Result<Delivery, SendError>> + Send>>;

/// What the parent holds at the time of the fork, each thing in the middle of something.
struct Held {
    deliveries: Vec<Delivery>,
    memory: Mid,
    metadata: Mid,
    flush: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Held {
    fn new(producer: &Producer, topic: &Topic) -> Self {
        let acknowledged = topic.blocking_send(Record::new().value("before")).unwrap();
        producer.blocking_flush();
        let send = |_| topic.try_send(Record::new().value(&LARGE)).unwrap();
        let mut deliveries: Vec<_> = (0..2).map(send).collect();
        deliveries.insert(0, acknowledged);
        let (full, missing, flushing) =
            (topic.clone(), producer.topic("missing"), producer.clone());
        let mut held = Self {
            deliveries,
            memory: Box::pin(async move { full.send(Record::new().value(&LARGE)).await }),
            metadata: Box::pin(async move { missing.send(Record::new()).await }),
            flush: Box::pin(async move { flushing.flush().await }),
        };
        assert!(poll_once(&mut held.memory).is_pending());
        assert!(poll_once(&mut held.metadata).is_pending());
        assert!(poll_once(&mut held.flush).is_pending());
        held
    }
}

fn forked<T>(possibly_written: bool) -> Result<T, SendError> {
    Err(SendError::Forked { possibly_written })
}

/// Every call on a producer that a fork copied.
fn check_copy(producer: &Producer, topic: &Topic, mut held: Held) {
    let refused = SendError::Forked { possibly_written: false };
    for topic in [topic, &producer.topic("t"), &producer.topic("unheard of")] {
        let asked = topic.try_send(Record::new()).unwrap_err();
        assert_eq!(asked, TrySendError::Rejected(refused.clone()));
        assert_eq!(topic.blocking_send(Record::new()).map(drop), forked(false));
        let mut many = Vec::new();
        let records = [Record::new().value("a"); 3];
        assert_eq!(topic.blocking_send_batch(&records, &mut many), forked(false));
        let mut sending = Box::pin(topic.send(Record::new().partition(7)));
        let polled = poll_once(&mut sending);
        assert!(matches!(polled, Poll::Ready(Err(SendError::Forked { .. }))), "{polled:?}");
    }
    for mid in [&mut held.memory, &mut held.metadata] {
        let polled = mid.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Err(SendError::Forked { .. }))), "{polled:?}");
    }
    for delivery in held.deliveries.drain(1..) {
        assert!(delivery.is_done());
        assert_eq!(delivery.verdict().unwrap().map(drop), forked(true));
        assert_eq!(delivery.wait().map(drop), forked(true));
    }
    producer.blocking_flush();
    assert_eq!(producer.blocking_warm_up(&["t"]), forked(false));
    assert_eq!(producer.blocking_partitions_for("t").map(drop), forked(false));
    let id = producer.blocking_client_instance_id(PATIENCE);
    assert_eq!(id, Err(ClientInstanceIdError::Forked));
    let metric = ApplicationMetric::gauge("g", "n", || panic!("nothing is pushed from here"));
    producer.register_metric_for_subscription(metric);
    producer.unregister_metric_from_subscription("g", "n", &[]);
    assert_eq!(producer.metrics().shards, 1);
    assert_eq!(producer.clone().close(PATIENCE), Summary::default());
    assert_eq!(sender_threads(), 0, "there is one thread in a fork's child");
    drop(held);
}

/// A producer with its memory full of records whose answers wait for the gate.
fn full(driver: DriverChoice) -> (FakeBroker, Producer, Gate) {
    let broker = FakeBroker::start(&[("t", 1), ("of the child", 1)]);
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(2 * BUFFER);
    let producer = small.build().unwrap();
    let gate = Gate::default();
    let (closed, mut before) = (gate.clone(), 1);
    broker.script(move |seen| match seen.api {
        ApiKey::Produce if seen.topics == ["t"] && before > 0 => {
            before -= 1;
            Turn::Serve
        }
        ApiKey::Produce if seen.topics == ["t"] => Turn::Hold(closed.clone()),
        _ => Turn::Serve,
    });
    (broker, producer, gate)
}

pub(crate) fn a_forks_child_has_an_inert_copy_and_the_parent_notices_nothing(driver: DriverChoice) {
    let (broker, producer, gate) = full(driver);
    let topic = producer.topic("t");
    let held = Arc::new(Mutex::new(Some(Held::new(&producer, &topic))));
    let bootstrap = broker.bootstrap();
    let copies = Mutex::new(Some((producer.clone(), topic.clone())));
    let copied = Arc::clone(&held);
    in_child(move || {
        let (producer, topic) = copies.lock().unwrap().take().unwrap();
        let held = copied.lock().unwrap().take().unwrap();
        check_copy(&producer, &topic, held);
        drop((producer, topic));
        // A producer of the child's own.
        let own = crate::support::rig::builder_for(bootstrap.clone(), driver).build().unwrap();
        let sent = own.topic("of the child").blocking_send(Record::new().value("from the child"));
        assert_eq!(verdict(sent.unwrap()).unwrap().offset, Some(0));
        assert_eq!(own.close(PATIENCE).acknowledged, 1);
    });
    // The parent: everything is as it was, and goes on.
    let held = held.lock().unwrap().take().unwrap();
    assert!(held.deliveries[1..].iter().all(|delivery| !delivery.is_done()));
    gate.open();
    let mut deliveries = held.deliveries;
    deliveries.push(run("memory", held.memory).unwrap());
    run("the flush", held.flush);
    drop(held.metadata);
    deliveries.push(topic.blocking_send(Record::new().value("afterwards")).unwrap());
    let summary = producer.close(PATIENCE);
    assert_eq!(summary, Summary { acknowledged: 5, ..Summary::default() });
    settled(&producer, summary, deliveries);
    assert_eq!(broker.state(|state| state.stored("t")), 5);
    assert_eq!(broker.values("of the child", 0), ["from the child"]);
}

/// What a fork's child can do with reservations that were made before the fork.
fn check_reservations(topic: &Topic, mut held: Vec<Reservation<'_>>) {
    let mut last = held.pop().unwrap();
    last.fill(b'c');
    let refused = TrySendError::Rejected(SendError::Forked { possibly_written: false });
    assert_eq!(last.try_commit().map(drop), Err(refused.clone()));
    assert_eq!(last.commit().map(drop), Err(refused.clone()));
    assert_eq!(topic.reserve(0, 1).map(drop), Err(refused));
    // The others by dropping them.
    drop(held);
}

pub(crate) fn a_reservation_is_inert_in_a_forks_child_and_the_parents_own(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let never = Duration::from_secs(600);
    let producer = builder(&broker, driver).linger(never).reserve_max(never).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let reserve = |value: &str| {
        let mut reserved = topic.reserve(0, value.len()).unwrap();
        reserved.copy_from_slice(value.as_bytes());
        reserved
    };
    let held = Mutex::new(vec![reserve("first"), reserve("dropped"), reserve("third")]);
    let between = topic.blocking_send(Record::new().partition(0).value("between")).unwrap();
    in_child(|| check_reservations(&topic, std::mem::take(&mut *held.lock().unwrap())));
    // What the child wrote, committed in vain and dropped was its own copy.
    let [first, dropped, third] = held.into_inner().unwrap().try_into().unwrap();
    assert_eq!((&first[..], &third[..]), (&b"first"[..], &b"third"[..]));
    assert!(!first.is_late() && !dropped.is_late() && !third.is_late());
    let deliveries = vec![first.commit().unwrap(), third.commit().unwrap(), between];
    drop(dropped);
    producer.blocking_flush();
    assert_eq!(broker.values("t", 0), ["first", "third", "between"]);
    let summary = producer.close(PATIENCE);
    assert_eq!(summary, Summary { acknowledged: 3, ..Summary::default() });
    settled(&producer, summary, deliveries);
}

/// Counts what it sees.
struct Counting(Arc<AtomicUsize>);

impl Interceptor for Counting {
    fn on_send(&self, _: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }

    fn on_acknowledgement(&self, _: &DeliveryReport<'_>, _: &HeaderList) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Nothing of the user's is called in the child, and no lock is taken that a thread of the parent
/// may hold.
pub(crate) fn a_forks_copy_calls_nobody(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let (count, handled) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let handling = Arc::clone(&handled);
    let producer = builder(&broker, driver)
        .interceptor(Counting(Arc::clone(&count)))
        .delivery_handler(move |_, _| {
            handling.fetch_add(1, Relaxed);
        })
        .build()
        .unwrap();
    let topic = producer.topic("t");
    topic.blocking_submit(Record::new(), 1).unwrap();
    producer.blocking_flush();
    let missing = producer.topic("missing");
    let held = Arc::new(Mutex::new(None::<Mid>));
    let waiting = missing.clone();
    *held.lock().unwrap() = Some(Box::pin(async move { waiting.send(Record::new()).await }));
    assert!(poll_once(held.lock().unwrap().as_mut().unwrap()).is_pending());
    assert_eq!((count.load(Relaxed), handled.load(Relaxed)), (3, 1));
    let copies = Mutex::new(Some((producer.clone(), topic.clone(), missing)));
    let (copied, counted) = (Arc::clone(&held), Arc::clone(&count));
    in_child(move || {
        let (producer, topic, missing) = copies.lock().unwrap().take().unwrap();
        let never = |_: &DeliveryReport<'_>| unreachable!("this is a copy");
        let refused = SendError::Forked { possibly_written: false };
        for topic in [&topic, &missing] {
            assert_eq!(topic.blocking_send(Record::new()).map(drop), forked(false));
            assert_eq!(topic.blocking_send_with(Record::new(), never), forked(false));
            let asked = topic.try_send_with(Record::new(), never).unwrap_err();
            assert_eq!(asked, TrySendError::Rejected(refused.clone()));
            assert_eq!(run("send_with", topic.send_with(Record::new(), never)), forked(false));
        }
        drop(copied.lock().unwrap().take());
        assert_eq!(producer.close(PATIENCE), Summary::default());
        assert_eq!(counted.load(Relaxed), 3);
    });
    drop(held.lock().unwrap().take());
    assert_eq!(count.load(Relaxed), 4, "the parent's own is told of the send that was dropped");
    topic.blocking_submit(Record::new(), 2).unwrap();
    assert_eq!(producer.close(PATIENCE).acknowledged, 2);
    assert_eq!((count.load(Relaxed), handled.load(Relaxed)), (6, 2));
}

/// The child has a copy of every descriptor, and what the parent closes ends all the same.
pub(crate) fn a_childs_copies_of_the_sockets_keep_no_connection_open(driver: DriverChoice) {
    let (broker, producer, gate) = full(driver);
    gate.open();
    let topic = producer.topic("t");
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
    let (mut started, mut start) = pipe().unwrap();
    let (mut stop, mut stopping) = pipe().unwrap();
    let child = thread::spawn(move || {
        in_child(move || {
            start.write_all(&[1]).unwrap();
            stop.read_exact(&mut [0]).unwrap();
        });
    });
    started.read_exact(&mut [0]).unwrap();
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
    assert_eq!(producer.close(PATIENCE).acknowledged, 2);
    broker.wait_for("the end of all connections", |state| (state.open == 0).then_some(()));
    stopping.write_all(&[1]).unwrap();
    child.join().unwrap();
}
