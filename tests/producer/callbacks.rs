//! Verdicts that call somebody: closures of records, and the delivery handler.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kuring::{
    Acks, Completion, ConfigBuilder, Delivery, DeliveryReport, DriverChoice, Producer, Record,
    RecordMetadata, SendError, Topic, TrySendError,
};

use crate::rig::{builder, millis, poll_once, run, until, verdict};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};

/// What a call was told: the record's number, and its verdict.
type Told = (u64, Result<RecordMetadata, SendError>);

fn telling(told: &Sender<Told>, number: u64) -> impl FnOnce(&DeliveryReport<'_>) + Send + 'static {
    let told = told.clone();
    move |report| {
        assert!(on_sender_thread(), "calls are made on a sender thread");
        told.send((number, report.to_result())).unwrap();
    }
}

fn handled(builder: ConfigBuilder) -> (ConfigBuilder, Receiver<Told>) {
    let (told, heard) = channel();
    let handler = move |number, report: &DeliveryReport<'_>| {
        assert!(on_sender_thread(), "calls are made on a sender thread");
        told.send((number, report.to_result())).unwrap();
    };
    (builder.delivery_handler(handler), heard)
}

fn on_sender_thread() -> bool {
    thread::current().name().is_some_and(|name| name.starts_with("kuring-"))
}

fn offsets(heard: &Receiver<Told>) -> Vec<(u64, i64)> {
    heard.try_iter().map(|(number, told)| (number, told.unwrap().offset.unwrap())).collect()
}

/// Holds the first produce request, and so the verdict on what is in it.
fn hold_the_first(broker: &FakeBroker) -> Gate {
    let gate = Gate::default();
    let (closed, mut first) = (gate.clone(), true);
    broker.script(move |seen| {
        let is_first = seen.api == ApiKey::Produce && std::mem::take(&mut first);
        if is_first { Turn::Hold(closed.clone()) } else { Turn::Serve }
    });
    gate
}

pub(crate) fn ack_1_calls_of_a_partition_are_made_in_the_order_of_its_records(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let (builder, heard) = handled(builder(&broker, driver).batch_bytes(1024));
    let producer = builder.build().unwrap();
    let topic = producer.topic("t");
    let (told, called) = channel();
    for number in 0..600_u64 {
        let value = number.to_string();
        let record = Record::new().value(&value).partition((number % 2) as i32);
        match number % 4 {
            0 | 1 => topic.blocking_send_with(record, telling(&told, number)).unwrap(),
            _ => topic.blocking_submit(record, number).unwrap(),
        }
    }
    producer.blocking_flush();
    let (called, heard) = (offsets(&called), offsets(&heard));
    assert_eq!((called.len(), heard.len()), (300, 300));
    for (partition, told) in [0, 1].into_iter().flat_map(|p| [(p, &called), (p, &heard)]) {
        let of_it: Vec<_> = told.iter().filter(|(number, _)| number % 2 == partition).collect();
        assert_eq!(of_it.len(), 150);
        assert!(of_it.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{of_it:?}");
        assert!(of_it.iter().all(|(number, offset)| number / 2 == *offset as u64));
    }
}

pub(crate) fn ack_2_deliveries_come_after_all_calls_of_their_batch(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let gate = hold_the_first(&broker);
    let producer = builder(&broker, driver).linger(millis(600_000)).build().unwrap();
    let topic = producer.topic("t");
    let first = Arc::new(Mutex::new(None::<Delivery>));
    let calls = Arc::new(AtomicUsize::new(0));
    let mut delivery = topic.blocking_send(Record::new().value("first")).unwrap();
    assert!(poll_once(&mut delivery).is_pending());
    *first.lock().unwrap() = Some(delivery);
    for _ in 0..50 {
        let (first, calls) = (Arc::clone(&first), Arc::clone(&calls));
        let call = move |_: &DeliveryReport<'_>| {
            assert!(!first.lock().unwrap().as_ref().unwrap().is_done());
            calls.fetch_add(1, SeqCst);
        };
        topic.blocking_send_with(Record::new(), call).unwrap();
    }
    let last = topic.blocking_send(Record::new().value("last")).unwrap();
    drop(producer.flush());
    let mut flush = Box::pin(producer.flush());
    assert!(poll_once(&mut flush).is_pending());
    gate.open();
    assert_eq!(verdict(last).unwrap().offset, Some(51));
    assert_eq!(calls.load(SeqCst), 50);
    run("the flush", flush);
    let delivery = first.lock().unwrap().take().unwrap();
    assert_eq!(verdict(delivery).unwrap().offset, Some(0));
}

pub(crate) fn ack_3_a_flush_and_a_close_mean_that_calls_have_returned(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let producer = builder(&broker, driver).linger(millis(600_000)).build().unwrap();
    let topic = producer.topic("t");
    let calls = Arc::new(AtomicUsize::new(0));
    let send = |count: i32| {
        for number in 0..count {
            let calls = Arc::clone(&calls);
            let call = move |_: &DeliveryReport<'_>| {
                // As a call that takes its time.
                (0..10).for_each(|_| thread::yield_now());
                calls.fetch_add(1, SeqCst);
            };
            let record = Record::new().partition(number % 3);
            topic.blocking_send_with(record, call).unwrap();
        }
    };
    send(300);
    producer.blocking_flush();
    assert_eq!(calls.load(SeqCst), 300);
    send(30);
    assert_eq!(producer.close(PATIENCE).acknowledged, 330);
    assert_eq!(calls.load(SeqCst), 330);
}

pub(crate) fn ack_4_a_call_that_panics_is_survived_by_all_others(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let handler = move |number: u64, _: &DeliveryReport<'_>| {
        counting.fetch_add(1, SeqCst);
        assert!(number.is_multiple_of(2), "on purpose: this test's handler panics");
    };
    let producer = builder(&broker, driver).delivery_handler(handler).build().unwrap();
    let topic = producer.topic("t");
    let (told, called) = channel();
    for number in 0..40 {
        topic.blocking_submit(Record::new(), number).unwrap();
        let panicking = |_: &DeliveryReport<'_>| panic!("on purpose: this test's callback panics");
        topic.blocking_send_with(Record::new(), panicking).unwrap();
        topic.blocking_send_with(Record::new(), telling(&told, number)).unwrap();
    }
    producer.blocking_flush();
    assert_eq!((count.load(SeqCst), called.try_iter().count()), (40, 40));
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed), (121, 0));
}

pub(crate) fn ack_5_a_batch_s_memory_is_free_when_its_calls_are_made(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let gate = hold_the_first(&broker);
    // Room for one batch, which both records fill.
    let builder = builder(&broker, driver).batch_bytes(1024).buffer_memory(1472);
    let producer = builder.build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let (told, called) = channel();
    let again = topic.clone();
    let call = move |report: &DeliveryReport<'_>| {
        assert!(report.verdict.is_ok());
        told.send(again.try_send(Record::new().value(&[8; 900]))).unwrap();
    };
    topic.blocking_send_with(Record::new().value(&[7; 900]), call).unwrap();
    let full = topic.try_send(Record::new().value(&[7; 900])).unwrap_err();
    assert_eq!(full, TrySendError::Memory);
    gate.open();
    let sent = called.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(verdict(sent).unwrap().offset, Some(1));
}

pub(crate) fn ack_6_a_failure_is_told_with_topic_and_partition(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    broker.script(|seen| match seen.api {
        ApiKey::Produce => Turn::Edit(Box::new(|answer| {
            let refused = ResponseError::TopicAuthorizationFailed.code();
            let answers = &mut answer.responses[0].partition_responses;
            answers.iter_mut().for_each(|answer| answer.error_code = refused);
        })),
        _ => Turn::Serve,
    });
    let (told, heard) = channel();
    let tell = move |number: u64, report: &DeliveryReport<'_>| {
        let error = report.verdict.unwrap_err().clone();
        told.send((number, Arc::clone(report.topic), report.partition, error)).unwrap();
    };
    let handler = tell.clone();
    let producer = builder(&broker, driver).delivery_handler(handler).build().unwrap();
    let topic = producer.topic("t");
    topic.blocking_submit(Record::new().partition(2), 7).unwrap();
    topic.blocking_send_with(Record::new().partition(1), move |report| tell(8, report)).unwrap();
    producer.blocking_flush();
    let mut failures: Vec<_> = heard.try_iter().collect();
    failures.sort_by_key(|failure| failure.0);
    for ((number, topic, partition, error), expected) in
        failures.into_iter().zip([(7, Some(2)), (8, Some(1))])
    {
        assert_eq!((number, partition, &*topic), (expected.0, expected.1, "t"));
        assert_eq!(error.kind_name(), "denied", "{error}");
    }
}

pub(crate) fn ack_7_a_call_may_send_flush_and_close(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    let (told, called) = channel();
    let (again, own) = (topic.clone(), producer.clone());
    let call = move |_: &DeliveryReport<'_>| {
        let more = told.clone();
        let sent = again.try_send_with(Record::new().value("again"), move |report| {
            more.send(report.to_result()).unwrap();
        });
        sent.unwrap();
        // It starts one, and does not wait for itself.
        own.blocking_flush();
        let waited = again.blocking_send(Record::new()).unwrap().wait().unwrap_err();
        assert_eq!(waited, SendError::OnSenderThread { possibly_written: true });
    };
    topic.blocking_send_with(Record::new().value("first"), call).unwrap();
    assert_eq!(called.recv_timeout(PATIENCE).unwrap().unwrap().offset, Some(1));
    let (own, (told, called)) = (producer.clone(), channel());
    let call = move |_: &DeliveryReport<'_>| {
        // As close(0), and without a wait for the own thread.
        told.send(own.close(PATIENCE)).unwrap();
    };
    topic.blocking_send_with(Record::new().value("last"), call).unwrap();
    called.recv_timeout(PATIENCE).expect("a close in a callback returns");
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed), (4, 0), "{summary:?}");
}

pub(crate) fn ack_7_a_call_on_expiry_may_send(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1), ("other", 1)]);
    broker.script(|seen| match seen.api {
        ApiKey::Produce if seen.batches.iter().any(|batch| batch.topic == "t") => Turn::Mute,
        _ => Turn::Serve,
    });
    let builder = builder(&broker, driver).linger(millis(50)).request_timeout(millis(200));
    let producer = builder.delivery_timeout(millis(400)).build().unwrap();
    producer.blocking_warm_up(&["t", "other"]).unwrap();
    let (topic, other) = (producer.topic("t"), producer.topic("other"));
    let (told, called) = channel();
    let first = move |report: &DeliveryReport<'_>| {
        assert_eq!(report.verdict.unwrap_err().kind_name(), "timed-out");
        let call = move |report: &DeliveryReport<'_>| told.send(report.to_result()).unwrap();
        other.try_send_with(Record::new(), call).unwrap();
    };
    topic.blocking_send_with(Record::new().partition(0), first).unwrap();
    let told = called.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!((&*told.topic, told.offset), ("other", Some(0)));
}

pub(crate) fn api_7_every_accepted_record_is_told_once_however_it_ends(driver: DriverChoice) {
    for (acks, is_silent) in [(Acks::All, false), (Acks::All, true), (Acks::None, false)] {
        let broker = FakeBroker::start(&[("t", 4)]);
        let mut count = 0;
        broker.script(move |seen| match seen.api {
            ApiKey::Produce if is_silent => {
                count += 1;
                if count > 5 { Turn::Mute } else { Turn::Serve }
            }
            _ => Turn::Serve,
        });
        let calls = Arc::new(Mutex::new(vec![0; 4000]));
        let counting = Arc::clone(&calls);
        let handler = move |number: u64, _: &DeliveryReport<'_>| {
            counting.lock().unwrap()[number as usize] += 1;
        };
        let builder = builder(&broker, driver).acks(acks).idempotence(acks == Acks::All);
        let builder = builder.batch_bytes(1024).delivery_handler(handler);
        let producer = builder.build().unwrap();
        producer.blocking_warm_up(&["t"]).unwrap();
        let topic = producer.topic("t");
        let mut accepted = vec![0; 4000];
        for (number, accepted) in accepted.iter_mut().enumerate() {
            let counting = Arc::clone(&calls);
            let call = move |_: &DeliveryReport<'_>| counting.lock().unwrap()[number] += 1;
            let taken = match number % 2 {
                0 => topic.try_submit(Record::new(), number as u64),
                _ => topic.try_send_with(Record::new(), call),
            };
            *accepted = i32::from(taken.is_ok());
        }
        let summary = producer.close(if is_silent { millis(0) } else { PATIENCE });
        let told = summary.acknowledged + summary.failed + summary.possibly_written;
        assert_eq!(told, accepted.iter().sum::<i32>() as u64);
        assert_eq!(*calls.lock().unwrap(), accepted, "{acks:?} {is_silent}");
        assert!(accepted.contains(&1));
    }
}

pub(crate) fn with_a_handler_the_queue_has_nothing(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let (builder, heard) = handled(builder(&broker, driver));
    let producer = builder.build().unwrap();
    let topic = producer.topic("t");
    run("submit", topic.submit(Record::new(), 1)).unwrap();
    topic.try_submit(Record::new(), 2).unwrap();
    topic.blocking_submit(Record::new(), u64::MAX).unwrap();
    producer.blocking_flush();
    assert_eq!(offsets(&heard), [(1, 0), (2, 1), (u64::MAX, 2)]);
    assert_eq!(producer.poll_deliveries(&mut [Completion::EMPTY]), 0);
    // A delivery has its own verdict, and the handler is not told of it.
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
    assert_eq!(heard.try_iter().count(), 0);
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

pub(crate) fn a_record_that_is_not_taken_drops_its_closure_uncalled(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let never = || {
        let kept = Dropped(Arc::clone(&dropped));
        move |_: &DeliveryReport<'_>| unreachable!("{}", kept.0.load(SeqCst))
    };
    let topic = producer.topic("t");
    let error = topic.try_send_with(Record::new(), never()).unwrap_err();
    assert_eq!((error, dropped.load(SeqCst)), (TrySendError::Metadata, 1));
    // Dropped while it waits, or before.
    let unheard = producer.topic("unheard of");
    let mut waiting = Box::pin(unheard.send_with(Record::new(), never()));
    assert!(poll_once(&mut waiting).is_pending());
    drop(waiting);
    drop(unheard.send_with(Record::new(), never()));
    assert_eq!(dropped.load(SeqCst), 3);
    let wrong = Record::new().timestamp(-1);
    run("send_with", topic.send_with(wrong, never())).unwrap_err();
    topic.blocking_send_with(wrong, never()).unwrap_err();
    let (told, called) = channel();
    run("send_with", topic.send_with(Record::new(), telling(&told, 5))).unwrap();
    producer.blocking_flush();
    assert_eq!(offsets(&called), [(5, 0)]);
    producer.close(PATIENCE);
    topic.blocking_send_with(Record::new(), never()).unwrap_err();
    assert_eq!(dropped.load(SeqCst), 6);
}

pub(crate) fn a_handler_goes_with_its_producer(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let dropped = Arc::new(AtomicUsize::new(0));
    let (kept, late) = (Dropped(Arc::clone(&dropped)), Arc::new(Mutex::new(None::<Topic>)));
    let own = Arc::clone(&late);
    let handler = move |number: u64, _: &DeliveryReport<'_>| {
        let topic = own.lock().unwrap();
        // A handler may hold a topic of its own producer.
        if number > 0 {
            topic.as_ref().unwrap().try_submit(Record::new(), number - 1).unwrap();
        }
        let _ = &kept;
    };
    let producer: Producer = builder(&broker, driver).delivery_handler(handler).build().unwrap();
    *late.lock().unwrap() = Some(producer.topic("t"));
    producer.topic("t").blocking_submit(Record::new(), 3).unwrap();
    until("four records", || producer.metrics().acknowledged == 4);
    assert_eq!(dropped.load(SeqCst), 0);
    drop(producer);
    assert_eq!(dropped.load(SeqCst), 1);
}

pub(crate) fn a_failed_shard_calls_everyone(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let (builder, heard) = handled(builder(&broker, driver).linger(millis(600_000)));
    let producer = builder.build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let (told, called) = channel();
    for number in 0..10 {
        topic.blocking_submit(Record::new(), number).unwrap();
        topic.blocking_send_with(Record::new(), telling(&told, number)).unwrap();
    }
    producer.break_shard(0);
    let expected = SendError::SenderFailed { possibly_written: false };
    for heard in [heard, called] {
        for number in 0..10 {
            let (found, verdict) = heard.recv_timeout(PATIENCE).unwrap();
            assert_eq!((found, verdict.unwrap_err()), (number, expected.clone()));
        }
    }
}
