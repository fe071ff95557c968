//! The end of an embedded producer: closed, dropped, broken. Every record has one verdict.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::embedded::Local;
use kuring::{
    Delivery, DeliveryReport, DriverChoice, Embedded, Producer, Progress, Purge, Record, SendError,
    Summary, TrySendError,
};
use tokio::task::spawn_local;

use crate::loops::{embedded, poll};
use crate::runtimes::in_tokio;
use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};
use crate::support::rig::{builder, millis, poll_once};

type Promised = Vec<Local<Delivery>>;

/// After a close: each record has one verdict, the totals say the same, all memory is back.
pub(crate) fn settled(
    producer: &Embedded,
    summary: Summary,
    deliveries: &[Local<Delivery>],
    submitted: u64,
) {
    let mut found = Vec::new();
    poll(producer, &mut found);
    assert_eq!(found.len() as u64, submitted, "each submitted record has one completion");
    let verdicts = deliveries.iter().map(|delivery| delivery.verdict().expect("a verdict"));
    let mut counted = Summary { never_sent: summary.never_sent, ..Summary::default() };
    for verdict in verdicts.chain(found.into_iter().map(|completion| completion.verdict)) {
        match verdict {
            Ok(_) => counted.acknowledged += 1,
            Err(error) if error.possibly_written() => counted.possibly_written += 1,
            Err(_) => counted.failed += 1,
        }
    }
    assert_eq!(counted, summary);
    assert_eq!(producer.close(Duration::ZERO), summary, "closed is closed");
    let metrics = producer.metrics();
    assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
    assert_eq!(metrics.waiting_threads, 0);
    assert_eq!(producer.turn(None), Progress::Ended);
    let refused = producer.topic("t").try_send(Record::new()).unwrap_err();
    assert!(matches!(refused, TrySendError::Closed | TrySendError::Rejected(_)), "{refused}");
}

fn silent_about(broker: &FakeBroker, api: ApiKey) {
    broker.script(move |seen| if seen.api == api { Turn::Mute } else { Turn::Serve });
}

/// Sends some records and submits as many.
fn accepted(producer: &Embedded, count: u64) -> Promised {
    let topic = producer.topic("t");
    let both = |number: u64| {
        let record = Record::new().partition(number as i32 % 2).value("v");
        topic.try_submit(record, number).unwrap();
        topic.try_send(record).unwrap()
    };
    (0..count).map(both).collect()
}

/// One record is acknowledged; of the others half are in flight, to a broker that answers no more.
fn half_in_flight(broker: &FakeBroker, producer: &Embedded, others: u64) -> Promised {
    let mut deliveries = accepted(producer, 1);
    producer.blocking_flush();
    silent_about(broker, ApiKey::Produce);
    let before = broker.count(ApiKey::Produce);
    deliveries.extend(accepted(producer, others / 2));
    while broker.count(ApiKey::Produce) == before {
        producer.turn(Some(crate::support::deadline::now()));
    }
    deliveries.extend(accepted(producer, others / 2));
    deliveries
}

pub(crate) fn close_before_any_connection_is_made(driver: DriverChoice) {
    let asleep = FakeBroker::asleep(1, &[("t", 2)]);
    for patience in [0, 60] {
        let producer = builder(&asleep, driver).embedded().unwrap();
        let topic = producer.topic("t");
        let mut waiting = topic.send(Record::new());
        assert!(poll_once(&mut waiting).is_pending());
        producer.turn(Some(crate::support::deadline::now()));
        let summary = producer.close(millis(patience));
        let refused = producer.block_on(waiting).unwrap_err();
        assert_eq!(refused, SendError::Closed { possibly_written: false });
        settled(&producer, summary, &[], 0);
    }
}

pub(crate) fn close_with_requests_in_flight(driver: DriverChoice) {
    for patience in [0, 60] {
        let broker = FakeBroker::start(&[("t", 2)]);
        let producer = embedded(&broker, driver);
        let deliveries = half_in_flight(&broker, &producer, 200);
        let summary = producer.close(millis(patience));
        assert!(summary.acknowledged == 2 && summary.possibly_written > 0, "{summary:?}");
        settled(&producer, summary, &deliveries, 201);
    }
}

pub(crate) fn an_abort_sends_nothing_more(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = embedded(&broker, driver);
    let mut deliveries = accepted(&producer, 1);
    producer.blocking_flush();
    deliveries.extend(accepted(&producer, 10));
    let before = broker.count(ApiKey::Produce);
    let summary = producer.abort();
    let expected = Summary { acknowledged: 2, failed: 20, never_sent: 20, possibly_written: 0 };
    assert_eq!((summary, broker.count(ApiKey::Produce)), (expected, before));
    settled(&producer, summary, &deliveries, 11);
    assert_eq!(producer.abort(), summary);
}

pub(crate) fn records_are_held_back_purged_and_let_go(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = embedded(&broker, driver);
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    topic.pause();
    let purged = accepted(&producer, 5);
    let queued = Purge { queued: true, ..Purge::default() };
    producer.blocking_purge(Purge { topic: Some("other"), ..queued });
    assert!(topic.is_paused() && purged.iter().all(|delivery| !delivery.is_done()));
    producer.blocking_purge(queued);
    let error = SendError::Purged { possibly_written: false };
    assert!(purged.iter().all(|delivery| delivery.verdict() == Some(Err(error.clone()))));
    let mut deliveries = accepted(&producer, 5);
    topic.resume();
    producer.blocking_flush();
    assert!(deliveries.iter().all(|delivery| delivery.verdict().unwrap().is_ok()));
    deliveries.extend(purged);
    let summary = producer.close(PATIENCE);
    settled(&producer, summary, &deliveries, 10);
}

pub(crate) fn close_in_the_middle_of_waits(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(2 * 1472);
    let producer = small.embedded().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    silent_about(&broker, ApiKey::Produce);
    let (topic, missing) = (producer.topic("t"), producer.topic("missing"));
    let large = Record::new().value(&[7; 900]);
    let deliveries: Promised = (0..2).map(|_| topic.try_send(large).unwrap()).collect();
    let (mut memory, mut metadata) = (topic.send(large), missing.submit(large, 1));
    let mut flushing = producer.flush();
    assert!(poll_once(&mut memory).is_pending() && poll_once(&mut metadata).is_pending());
    assert!(poll_once(&mut flushing).is_pending());
    let summary = producer.close(millis(20));
    let closed = SendError::Closed { possibly_written: false };
    assert_eq!(producer.block_on(memory).unwrap_err(), closed);
    assert_eq!(producer.block_on(metadata).unwrap_err(), closed);
    producer.block_on(flushing);
    settled(&producer, summary, &deliveries, 0);
}

pub(crate) fn close_with_nothing_to_do(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).embedded().unwrap();
    let summary = producer.close(Duration::ZERO);
    settled(&producer, summary, &[], 0);
    let producer = embedded(&broker, driver);
    let deliveries = accepted(&producer, 5);
    producer.blocking_flush();
    let summary = producer.close(Duration::MAX);
    assert_eq!(summary.acknowledged, 10);
    settled(&producer, summary, &deliveries, 5);
}

pub(crate) fn a_shutdown_leaves_the_other_tasks_running(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    in_tokio(async {
        // Driven by a task of its own, and by the shutdown alone.
        for driven in [true, false] {
            broker.sane();
            let producer = Rc::new(builder(&broker, driver).embedded().unwrap());
            producer.blocking_warm_up(&["t"]).unwrap();
            silent_about(&broker, ApiKey::Produce);
            let driving = driven.then(|| spawn_local(producer.drive()));
            let deliveries = accepted(&producer, 10);
            let ticks = Rc::new(std::cell::Cell::new(0));
            let counted = Rc::clone(&ticks);
            let ticking = spawn_local(async move {
                loop {
                    counted.set(counted.get() + 1);
                    tokio::task::yield_now().await;
                }
            });
            let summary = producer.shutdown(millis(50)).await.unwrap();
            assert!(ticks.get() > 10, "the loop went on");
            ticking.abort();
            settled(&producer, summary, &deliveries, 10);
            if let Some(driving) = driving {
                driving.await.unwrap().unwrap();
            }
        }
    });
}

pub(crate) fn dropping_it_sends_what_was_accepted(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = embedded(&broker, driver);
    let topic = producer.topic("t");
    let deliveries = accepted(&producer, 100);
    drop(producer);
    assert!(deliveries.iter().all(|delivery| delivery.verdict().unwrap().is_ok()));
    assert_eq!(topic.try_send(Record::new()).unwrap_err(), TrySendError::Closed);
    assert_eq!(broker.state(|state| state.stored("t")), 200);
}

pub(crate) fn dropped_with_its_runtime_it_sends_what_was_accepted(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    for before_its_tasks in [true, false] {
        let stored = broker.state(|state| state.stored("t"));
        let deliveries = in_tokio(async {
            let producer = Rc::new(embedded(&broker, driver));
            spawn_local(producer.drive());
            tokio::task::yield_now().await;
            let deliveries = accepted(&producer, 100);
            if !before_its_tasks {
                // The task keeps it; it goes with the runtime.
                let kept = Rc::clone(&producer);
                spawn_local(async move {
                    kept.deliveries().await;
                    std::future::pending::<()>().await;
                });
                tokio::task::yield_now().await;
            }
            deliveries
        });
        assert!(deliveries.iter().all(|delivery| delivery.verdict().unwrap().is_ok()));
        assert_eq!(broker.state(|state| state.stored("t")), stored + 200);
    }
}

pub(crate) fn a_turn_that_panics_leaves_a_verdict_for_every_record(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = embedded(&broker, driver);
    let deliveries = half_in_flight(&broker, &producer, 100);
    let mut flushing = producer.flush();
    assert!(poll_once(&mut flushing).is_pending());
    producer.break_shard();
    assert_eq!(producer.turn(None), Progress::Ended);
    for delivery in &deliveries[1..] {
        let error = delivery.verdict().unwrap().unwrap_err();
        assert!(matches!(error, SendError::SenderFailed { .. }), "{error}");
    }
    producer.block_on(flushing);
    let failed = SendError::SenderFailed { possibly_written: false };
    let refused = producer.topic("t").try_send(Record::new()).unwrap_err();
    assert_eq!(refused, TrySendError::Rejected(failed));
    let summary = producer.close(PATIENCE);
    assert!(summary.acknowledged == 2 && summary.possibly_written > 0, "{summary:?}");
    settled(&producer, summary, &deliveries, 101);
}

/// Calls what blocks, on a producer with threads, from inside of a turn.
struct Calls {
    other: Mutex<Option<Producer>>,
    refused: AtomicBool,
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        let Some(other) = self.other.lock().unwrap().take() else { return };
        let sent = other.topic("missing").blocking_send(Record::new());
        let refused = SendError::OnSenderThread { possibly_written: false };
        self.refused.store(sent.unwrap_err() == refused, Ordering::Release);
    }
}

pub(crate) fn ack_7_a_waker_may_call_anything(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = embedded(&broker, driver);
    let other = builder(&broker, DriverChoice::Epoll).build().unwrap();
    let calls = Arc::new(Calls { other: Mutex::new(Some(other)), refused: AtomicBool::new(false) });
    let mut delivery = producer.topic("t").try_send(Record::new()).unwrap();
    let waker = Waker::from(Arc::clone(&calls));
    assert!(Pin::new(&mut delivery).poll(&mut Context::from_waker(&waker)).is_pending());
    producer.blocking_flush();
    assert!(delivery.is_done() && calls.refused.load(Ordering::Acquire));
    // Outside of a turn this thread may wait as any other.
    let other = builder(&broker, DriverChoice::Epoll).build().unwrap();
    assert!(other.topic("t").blocking_send(Record::new()).unwrap().wait().is_ok());
    assert_eq!(producer.close(PATIENCE).acknowledged, 1);
}

pub(crate) fn calls_are_made_in_the_turns(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let (told, heard) = std::sync::mpsc::channel();
    let handling = told.clone();
    let handler = move |number, report: &DeliveryReport<'_>| {
        handling.send((number, report.to_result().unwrap().offset)).unwrap();
    };
    let builder = builder(&broker, driver).delivery_handler(handler);
    let producer = builder.embedded().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let record = Record::new().partition(0);
    topic.try_submit(record, 1).unwrap();
    let call = move |report: &DeliveryReport<'_>| {
        told.send((2, report.to_result().unwrap().offset)).unwrap();
    };
    topic.try_send_with(record, call).unwrap();
    assert_eq!(heard.try_iter().count(), 0, "nothing happens between the turns");
    producer.blocking_flush();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [(1, Some(0)), (2, Some(1))]);
    assert_eq!(producer.close(PATIENCE).acknowledged, 2);
}
