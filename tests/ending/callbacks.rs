//! What a waker may do that runs on a sender thread: this library's callbacks.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use kafka_protocol::messages::ApiKey;
use kuring::{Delivery, DriverChoice, Producer, Record, SendError, Topic};

use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use crate::support::rig::{builder, millis, until, verdict};
use crate::traces::{sender_threads, whole};

type Call = Box<dyn FnOnce() + Send>;

/// A waker that calls something, once, wherever it is woken.
struct Callback(Mutex<Option<Call>>);

impl Callback {
    fn waker(call: impl FnOnce() + Send + 'static) -> Waker {
        Arc::new(Self(Mutex::new(Some(Box::new(call))))).into()
    }
}

impl Wake for Callback {
    fn wake(self: Arc<Self>) {
        let call = self.0.lock().unwrap().take();
        if let Some(call) = call {
            call();
        }
    }
}

/// Whether this is a thread of a producer.
fn on_sender_thread() -> bool {
    thread::current().name().is_some_and(|name| name.starts_with("kuring-"))
}

/// Polls a future with this callback; it has to be pending.
fn arm<F: Future>(future: &mut Pin<Box<F>>, call: impl FnOnce() + Send + 'static) {
    let waker = Callback::waker(call);
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Pending), "the callback comes too late");
}

/// A producer whose next record is answered when the gate is open.
struct InFlight {
    broker: FakeBroker,
    producer: Producer,
    topic: Topic,
    gate: Gate,
}

impl InFlight {
    fn new(driver: DriverChoice) -> Self {
        let broker = FakeBroker::start(&[("t", 1)]);
        let producer = builder(&broker, driver).batch_bytes(1024).build().unwrap();
        let topic = producer.topic("t");
        verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
        let gate = Gate::default();
        let (closed, mut first) = (gate.clone(), true);
        broker.script(move |seen| {
            let is_first = seen.api == ApiKey::Produce && std::mem::take(&mut first);
            if is_first { Turn::Hold(closed.clone()) } else { Turn::Serve }
        });
        Self { broker, producer, topic, gate }
    }

    /// Sends a record whose verdict runs the callback; what that returns comes out of the receiver.
    fn on_verdict<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> (Pin<Box<Delivery>>, Receiver<T>) {
        let before = self.broker.count(ApiKey::Produce);
        let mut delivery = Box::pin(self.topic.blocking_send(Record::new()).unwrap());
        self.broker.wait_for_requests(ApiKey::Produce, before + 1);
        let (told, outcome): (Sender<T>, _) = channel();
        arm(&mut delivery, move || {
            assert!(on_sender_thread());
            told.send(call()).ok();
        });
        (delivery, outcome)
    }
}

fn outcome<T>(outcome: &Receiver<T>) -> T {
    outcome.recv_timeout(PATIENCE).expect("the callback returns")
}

pub(crate) fn ack_7_close_in_a_callback_waits_for_nothing(driver: DriverChoice) {
    let InFlight { broker, producer, topic, gate } = InFlight::new(driver);
    let rig = InFlight { broker, producer: producer.clone(), topic: topic.clone(), gate };
    let (first, told) = rig.on_verdict(move || producer.close(PATIENCE));
    // Behind the first: a linger without end would keep it; close(0) does not wait for it.
    rig.broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let second = topic.blocking_send(Record::new()).unwrap();
    rig.broker.wait_for_requests(ApiKey::Produce, 3);
    rig.gate.open();
    assert!(outcome(&told).acknowledged <= 2, "the totals of the moment");
    until("the end of the thread", || sender_threads() == 0);
    let closed = SendError::Closed { possibly_written: true };
    assert_eq!(verdict(second).unwrap_err(), closed);
    assert!(first.verdict().unwrap().is_ok());
    let summary = rig.producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.possibly_written, summary.failed), (2, 1, 0));
}

pub(crate) fn ack_7_calls_that_would_wait_are_refused_in_a_callback(driver: DriverChoice) {
    let rig = InFlight::new(driver);
    // Another producer, whose memory is taken by a record that nobody answers.
    let silent = FakeBroker::start(&[("t", 1)]);
    silent.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let full = builder(&silent, driver).batch_bytes(1024).buffer_memory(1472).build().unwrap();
    full.blocking_warm_up(&["t"]).unwrap();
    let full_topic = full.topic("t");
    let held = full_topic.try_send(Record::new().value(&[7; 900])).unwrap();
    let (producer, topic) = (rig.producer.clone(), rig.topic.clone());
    let (delivery, told) = rig.on_verdict(move || {
        let large = Record::new().value(&[7; 900]);
        let errors = [
            full_topic.blocking_send(large).unwrap_err(),
            full_topic.blocking_send_batch(&[large], &mut Vec::new()).unwrap_err(),
            producer.topic("unheard of").blocking_send(large).unwrap_err(),
            producer.blocking_partitions_for("unheard of").unwrap_err(),
            producer.blocking_warm_up(&["unheard of"]).unwrap_err(),
        ];
        let waited = topic.blocking_send(Record::new()).unwrap().wait().unwrap_err();
        // Starts it, and returns.
        producer.blocking_flush();
        (errors, waited)
    });
    rig.gate.open();
    let (errors, waited) = outcome(&told);
    let refused = |possibly_written| SendError::OnSenderThread { possibly_written };
    errors.iter().for_each(|error| assert_eq!(*error, refused(false)));
    assert_eq!((waited.clone(), waited.kind_name()), (refused(true), "on-sender-thread"));
    assert!(delivery.verdict().unwrap().is_ok());
    rig.producer.blocking_flush();
    let summary = rig.producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed), (3, 0), "{summary:?}");
    let summary = full.close(millis(0));
    assert_eq!((summary.possibly_written, summary.failed), (1, 0), "{summary:?}");
    assert!(held.is_done());
}

pub(crate) fn ack_7_send_is_allowed_in_a_callback(driver: DriverChoice) {
    let rig = InFlight::new(driver);
    let topic = rig.topic.clone();
    let (delivery, told) = rig.on_verdict(move || {
        let mut sent = vec![topic.try_send(Record::new().value("a")).unwrap()];
        sent.push(topic.blocking_send(Record::new().value("b")).unwrap());
        topic.blocking_send_batch(&[Record::new().value("c"); 3], &mut sent).unwrap();
        sent
    });
    rig.gate.open();
    let mut deliveries = outcome(&told);
    deliveries.push(*Pin::into_inner(delivery));
    let summary = rig.producer.close(PATIENCE);
    let acknowledged = summary.acknowledged;
    assert_eq!((acknowledged, rig.broker.state(|state| state.stored("t"))), (7, 7), "{summary:?}");
    assert!(deliveries.iter().all(|delivery| delivery.verdict().unwrap().is_ok()));
}

pub(crate) fn ack_7_the_last_handle_may_go_in_a_callback(driver: DriverChoice) {
    let InFlight { broker, producer, topic, gate } = InFlight::new(driver);
    let rig = InFlight { broker, producer: producer.clone(), topic: topic.clone(), gate };
    let lingering = topic.clone();
    let (delivery, told) = rig.on_verdict(move || {
        let sent = lingering.try_send(Record::new().value("goes out still")).unwrap();
        drop(producer);
        sent
    });
    let InFlight { broker, producer, topic, gate } = rig;
    drop(producer);
    gate.open();
    let sent = outcome(&told);
    assert!(verdict(sent).is_ok(), "as whenever the last handle is dropped");
    until("the end of the thread", || sender_threads() == 0);
    assert!(delivery.verdict().unwrap().is_ok());
    let closed = SendError::Closed { possibly_written: false };
    assert_eq!(topic.blocking_send(Record::new()).unwrap_err(), closed);
    assert_eq!(broker.state(|state| state.stored("t")), 3);
}

/// Everything that a callback may be tempted to call.
fn meddle(producer: &Producer, topic: &Topic) {
    drop(topic.try_send(Record::new()));
    drop(topic.blocking_send(Record::new()));
    let mut sending = Box::pin(topic.send(Record::new().value(&[7; 900])));
    drop(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    drop(sending);
    drop(producer.topic("unheard of").try_send(Record::new()));
    drop(producer.blocking_partitions_for("unheard of"));
    drop(producer.blocking_warm_up(&["t"]));
    producer.blocking_flush();
    assert_eq!(producer.metrics().shards, 1);
}

pub(crate) fn ack_7_callbacks_of_every_kind_may_call_anything(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(2 * 1472);
    let producer = small.max_block(millis(500)).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let gate = Gate::default();
    let closed = gate.clone();
    broker.script(move |seen| match seen.api {
        ApiKey::Produce => Turn::Hold(closed.clone()),
        _ => Turn::Serve,
    });
    let (told, outcome) = channel();
    let call = |kind: &'static str| {
        let (producer, topic, told) = (producer.clone(), topic.clone(), told.clone());
        move || {
            meddle(&producer, &topic);
            told.send(kind).unwrap();
        }
    };
    let large = [7; 900];
    let mut held: Vec<_> =
        (0..2).map(|_| Box::pin(topic.try_send(Record::new().value(&large)).unwrap())).collect();
    arm(&mut held[0], call("a verdict"));
    arm(&mut Box::pin(producer.flush()), call("a flush"));
    let mut memory = Box::pin(topic.send(Record::new().value(&large)));
    arm(&mut memory, call("memory"));
    let other = producer.topic("missing");
    let mut metadata = Box::pin(other.send(Record::new()));
    arm(&mut metadata, call("metadata"));
    gate.open();
    let mut kinds: Vec<_> =
        (0..4).map(|_| outcome.recv_timeout(PATIENCE).expect("all callbacks return")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["a flush", "a verdict", "memory", "metadata"]);
    drop((memory, metadata, held));
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.failed, summary.possibly_written), (0, 0), "{summary:?}");
    whole(&producer, summary);
}

pub(crate) fn ack_4_a_callback_that_panics_harms_nobody(driver: DriverChoice) {
    let rig = InFlight::new(driver);
    // One batch: the callbacks of its first records panic, the last one's is heard.
    let before = rig.broker.count(ApiKey::Produce);
    let mut deliveries = Vec::new();
    rig.topic.blocking_send_batch(&[Record::new(); 5], &mut deliveries).unwrap();
    rig.broker.wait_for_requests(ApiKey::Produce, before + 1);
    let mut deliveries: Vec<_> = deliveries.into_iter().map(Box::pin).collect();
    let (told, heard) = channel();
    let last = deliveries.len() - 1;
    for (at, delivery) in deliveries.iter_mut().enumerate() {
        let told = told.clone();
        arm(delivery, move || {
            assert!(on_sender_thread());
            told.send(()).unwrap();
            assert!(at == last, "on purpose: this test's callback panics");
        });
    }
    arm(&mut Box::pin(rig.producer.flush()), || panic!("on purpose: this test's callback panics"));
    rig.gate.open();
    (0..=last).for_each(|_| heard.recv_timeout(PATIENCE).expect("every callback runs"));
    verdict(rig.topic.blocking_send(Record::new()).unwrap()).unwrap();
    rig.producer.blocking_flush();
    let summary = rig.producer.close(PATIENCE);
    assert_eq!(summary.acknowledged, 7);
    whole(&rig.producer, summary);
}
