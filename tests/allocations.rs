//! What the steady state takes from the heap: nothing, per record, per batch and per request.
//!
//! Counted are the thread that sends and the producer's own thread; the broker in this process
//! allocates as it likes. The warm-up first drives every queue and list to the most it can hold:
//! each keeps its memory, and what grows after that is a leak.

#[path = "support/counting.rs"]
mod counting;
#[path = "allocations/embedded.rs"]
mod embedded;
mod support;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::serializer::{Long, RecordHeaders, SerializeError, Serializer, Target, Text};
use kuring::{
    Completion, Compression, ConfigBuilder, Delivery, DeliveryReport, DriverChoice, HeaderList,
    Interceptor, Metrics, OnSendError, Outgoing, Producer, Record, Topic, TypedRecord, TypedTopic,
};

use counting::{calls, count_this_thread};
use support::deadline::{bounded, now};
use support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use support::rig::{builder, poll_once, until};

const WARM_UP: u64 = 100_000;
const RECORDS: u64 = 500_000;
const PARTITIONS: i32 = 4;
/// Partitions that take the memory which those leave that have a backlog.
const OTHERS: i32 = 512;
/// Verdicts that are waited for, oldest first.
const WINDOW: usize = 2000;
/// A buffer for a batch of the default size.
const BUFFER: u64 = 16_384 + 448;
/// The most that a chunk costs, in which a compressed batch is filled.
const CHUNK: u64 = 16 * 16_384 + 448;
/// Long enough for a batch to be full before.
const LINGER: Duration = Duration::from_millis(20);
const VALUE: [u8; 100] = [7; 100];

/// The counter is the process's, so one test counts at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Makes the thread that wakes it count: a delivery is resolved by the shard's own thread.
struct CountTheWaker;

impl Wake for CountTheWaker {
    fn wake(self: Arc<Self>) {
        assert_eq!(thread::current().name(), Some("kuring-0"));
        count_this_thread();
    }
}

/// Wakes a thread; made once, so that waiting allocates nothing.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

fn run<F: Future>(waker: &Waker, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// One manner of sending: sends so many records.
type Manner = fn(&Flooded, u64, &mut Vec<Delivery>, &mut VecDeque<Delivery>);

fn sent_and_dropped(
    Flooded { topic, .. }: &Flooded,
    count: u64,
    _: &mut Vec<Delivery>,
    _: &mut VecDeque<Delivery>,
) {
    for number in 0..count {
        let record = Record::new().value(&VALUE).partition(number as i32 % PARTITIONS);
        drop(topic.blocking_send(record).unwrap());
    }
}

fn sent_and_waited_for(
    Flooded { topic, .. }: &Flooded,
    count: u64,
    _: &mut Vec<Delivery>,
    window: &mut VecDeque<Delivery>,
) {
    for _ in 0..count {
        if window.len() == WINDOW {
            assert!(window.pop_front().unwrap().wait().is_ok());
        }
        window.push_back(topic.blocking_send(Record::new().value(&VALUE).key(b"key")).unwrap());
    }
    window.drain(..).for_each(|delivery| drop(delivery.wait().unwrap()));
}

fn awaited(
    Flooded { topic, .. }: &Flooded,
    count: u64,
    _: &mut Vec<Delivery>,
    window: &mut VecDeque<Delivery>,
) {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
    }
    WAKER.with(|waker| {
        for _ in 0..count {
            if window.len() == WINDOW {
                assert!(run(waker, window.pop_front().unwrap()).is_ok());
            }
            window.push_back(run(waker, topic.send(Record::new().value(&VALUE))).unwrap());
        }
        window.drain(..).for_each(|delivery| drop(run(waker, delivery).unwrap()));
    });
}

fn many_at_once(
    Flooded { topic, .. }: &Flooded,
    count: u64,
    taken: &mut Vec<Delivery>,
    _: &mut VecDeque<Delivery>,
) {
    let records = [Record::new().value(&VALUE); 100];
    for _ in 0..count / 100 {
        topic.blocking_send_batch(&records, taken).unwrap();
        taken.drain(..).for_each(drop);
    }
}

/// Submits, and polls the completions.
fn submitted(flooded: &Flooded, count: u64, _: &mut Vec<Delivery>, _: &mut VecDeque<Delivery>) {
    let mut completions = [const { Completion::EMPTY }; 100];
    let mut poll = |wait: bool| {
        if wait {
            assert!(flooded.producer.wait_deliveries(now() + PATIENCE));
        }
        let polled = flooded.producer.poll_deliveries(&mut completions);
        assert!(completions[..polled].iter().all(|completion| completion.verdict.is_ok()));
        polled as u64
    };
    let (mut submitted, mut completed) = (0, 0);
    while completed < count {
        if submitted < count {
            let record = Record::new().value(&VALUE).partition(submitted as i32 % PARTITIONS);
            flooded.topic.blocking_submit(record, submitted).unwrap();
            submitted += 1;
        }
        completed += poll(submitted == count || submitted - completed >= WINDOW as u64);
    }
}

/// Writes a number as a hundred bytes.
struct Wide;

impl Serializer<u64> for Wide {
    fn serialize(
        &self,
        _: Target<'_>,
        value: &u64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        out.extend_from_slice(&value.to_be_bytes());
        out.resize(VALUE.len(), 0);
        Ok(())
    }
}

/// The same, and two headers.
struct Labelled;

impl Serializer<u64> for Labelled {
    fn serialize(
        &self,
        target: Target<'_>,
        value: &u64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        Wide.serialize(target, value, out)
    }

    fn serialize_with_headers(
        &self,
        target: Target<'_>,
        headers: &mut RecordHeaders<'_>,
        value: &u64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        headers.push("schema", Some(&value.to_be_bytes()));
        headers.push("content-type", Some(b"number"));
        self.serialize(target, value, out)
    }
}

fn serialized(
    flooded: &Flooded,
    count: u64,
    taken: &mut Vec<Delivery>,
    _: &mut VecDeque<Delivery>,
) {
    serialized_by(flooded, count, taken, || Wide);
}

fn labelled(flooded: &Flooded, count: u64, taken: &mut Vec<Delivery>, _: &mut VecDeque<Delivery>) {
    serialized_by(flooded, count, taken, || Labelled);
}

/// One by one, and several at once.
fn serialized_by<S: Serializer<u64> + 'static>(
    Flooded { producer, .. }: &Flooded,
    count: u64,
    taken: &mut Vec<Delivery>,
    values: fn() -> S,
) {
    thread_local! {
        static TOPICS: std::cell::OnceCell<(TypedTopic<str, u64>, TypedTopic<i64, u64>)> =
            const { std::cell::OnceCell::new() };
    }
    TOPICS.with(|topics| {
        let made = || {
            (producer.typed_topic("t", Text, values()), producer.typed_topic("t", Long, values()))
        };
        let (by_text, by_number) = topics.get_or_init(made);
        let numbers: [u64; 50] = std::array::from_fn(|at| at as u64);
        let many = numbers.each_ref().map(|number| TypedRecord::new().key(&7).value(number));
        for _ in 0..count / 100 {
            for number in &numbers {
                drop(by_text.blocking_send(("key", number)).unwrap());
            }
            by_number.blocking_send_batch(&many, taken).unwrap();
            taken.drain(..).for_each(drop);
        }
    });
}

/// Verdicts that the delivery handler was told.
static HANDLED: AtomicU64 = AtomicU64::new(0);

fn with_a_handler(builder: ConfigBuilder) -> ConfigBuilder {
    HANDLED.store(0, Relaxed);
    builder.delivery_handler(|_, report: &DeliveryReport<'_>| {
        assert!(report.verdict.is_ok());
        HANDLED.fetch_add(1, Relaxed);
    })
}

/// Submits, and has the handler told.
fn handled(flooded: &Flooded, count: u64, _: &mut Vec<Delivery>, _: &mut VecDeque<Delivery>) {
    let before = HANDLED.load(Relaxed);
    for number in 0..count {
        let record = Record::new().value(&VALUE).partition(number as i32 % PARTITIONS);
        flooded.topic.blocking_submit(record, number).unwrap();
    }
    until("every call", || HANDLED.load(Relaxed) - before == count);
}

/// Adds a header, and looks at every verdict.
struct Watching;

impl Interceptor for Watching {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        record.headers_mut().push("seen", Some(b"1"));
        Ok(())
    }

    fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        assert!(report.verdict.is_err() || headers.last("seen").is_some());
    }
}

fn with_an_interceptor(builder: ConfigBuilder) -> ConfigBuilder {
    builder.interceptor(Watching)
}

fn as_it_is(builder: ConfigBuilder) -> ConfigBuilder {
    builder
}

/// What one manner of sending took, once it was warm.
#[derive(Debug)]
struct Taken {
    calls: usize,
    batches: u64,
    requests: u64,
}

/// What holds the answers to produce requests, if anything does.
type Held = Arc<Mutex<Option<Gate>>>;

/// A broker that keeps nothing, and holds its answers while it is told to.
fn forgetful() -> (FakeBroker, Held) {
    let broker = FakeBroker::start(&[("t", PARTITIONS), ("others", OTHERS)]);
    broker.state(|state| state.forgetful = true);
    let held = Held::default();
    broker.script({
        let held = Arc::clone(&held);
        move |seen| match (seen.api, &*held.lock().unwrap()) {
            (ApiKey::Produce, Some(gate)) => Turn::Hold(gate.clone()),
            _ => Turn::Serve,
        }
    });
    (broker, held)
}

/// A producer at such a broker.
struct Flooded {
    broker: FakeBroker,
    gate: Held,
    producer: Producer,
    topic: Topic,
    others: Topic,
    /// All of it. Metrics allocate, so they are read before and after.
    memory: u64,
    /// What a partition with a backlog leaves of it: a 32nd of the buffers.
    left: u64,
}

impl Flooded {
    fn new(driver: DriverChoice, prepare: fn(ConfigBuilder) -> ConfigBuilder) -> Self {
        let (broker, gate) = forgetful();
        let producer = prepare(builder(&broker, driver).linger(LINGER)).build().unwrap();
        let topic = producer.topic("t");
        let memory = producer.metrics().buffer_total_bytes;
        // Not behind answers that are held.
        producer.blocking_warm_up(&["others"]).unwrap();
        let others = producer.topic("others");
        let left = memory / BUFFER / 32 * BUFFER;
        let flooded = Self { broker, gate, producer, topic, others, memory, left };
        flooded.count_the_shard();
        flooded
    }

    fn count_the_shard(&self) {
        let mut first = Box::pin(self.topic.blocking_send(Record::new()).unwrap());
        let waker = Waker::from(Arc::new(CountTheWaker));
        assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        until("the first verdict", || first.is_done());
        count_this_thread();
    }

    /// What takes memory takes as much as the most that was ever needed, and keeps it: fills
    /// `buffer.memory` with batches of these partitions, each awaited, and a call that waits.
    fn fill(&self, partitions: std::ops::Range<i32>) {
        self.settle();
        let gate = Gate::default();
        *self.gate.lock().unwrap() = Some(gate.clone());
        let large = [7; 16_000];
        let mut deliveries = Vec::new();
        let mut partitions = partitions.cycle();
        // A ring that is full for a moment is no end; the memory's is.
        let mut fill = |topic: &Topic, partition: i32| {
            let record = Record::new().partition(partition).value(&large);
            if let Ok(mut delivery) = topic.try_send(record) {
                assert!(poll_once(&mut delivery).is_pending());
                deliveries.push(delivery);
            }
        };
        while self.producer.buffer_available_bytes() >= self.left + BUFFER {
            fill(&self.topic, partitions.next().unwrap());
        }
        self.each_other(|partition| fill(&self.others, partition));
        let mut waiting = self.topic.send(Record::new().value(&large));
        assert!(poll_once(&mut waiting).is_pending());
        drop(waiting);
        *self.gate.lock().unwrap() = None;
        gate.open();
        deliveries.into_iter().for_each(|delivery| drop(delivery.wait().unwrap()));
    }

    /// The same with submitted records, so that each cell has room for what a batch has of them.
    fn fill_with_submitted(&self, are_queued: bool) {
        self.settle();
        let gate = Gate::default();
        *self.gate.lock().unwrap() = Some(gate.clone());
        let mut submitted = 0;
        let mut fill = |topic: &Topic, partition: i32| {
            // One batch, and a ring that is full for a moment.
            let record = Record::new().partition(partition).value(&VALUE);
            submitted += (0..140).take_while(|_| topic.try_submit(record, 0).is_ok()).count();
        };
        for partition in (0..PARTITIONS).cycle() {
            if self.producer.buffer_available_bytes() < self.left + BUFFER {
                break;
            }
            fill(&self.topic, partition);
        }
        self.each_other(|partition| fill(&self.others, partition));
        *self.gate.lock().unwrap() = None;
        gate.open();
        let mut completions = [const { Completion::EMPTY }; 100];
        if !are_queued {
            // ACK-3: with this the handler was told.
            return self.producer.blocking_flush();
        }
        while submitted > 0 {
            assert!(self.producer.wait_deliveries(now() + PATIENCE));
            submitted -= self.producer.poll_deliveries(&mut completions);
        }
    }

    /// One partition after the other, until there is no memory for another batch.
    fn each_other(&self, mut fill: impl FnMut(i32)) {
        for partition in (0..OTHERS).cycle() {
            if self.producer.buffer_available_bytes() < BUFFER {
                break;
            }
            fill(partition);
        }
    }

    /// Fills nearly all memory with compressed batches of one partition.
    fn fill_compressed(&self, partition: i32) {
        self.settle();
        let gate = Gate::default();
        *self.gate.lock().unwrap() = Some(gate.clone());
        let large = [7; 16_000];
        while self.producer.buffer_available_bytes() >= self.left + CHUNK {
            drop(self.topic.try_send(Record::new().partition(partition).value(&large)));
        }
        *self.gate.lock().unwrap() = None;
        gate.open();
    }

    /// Fills nearly all memory with open batches, each in another partition.
    fn open_everywhere(&self) {
        self.settle();
        let record = |partition| Record::new().partition(partition).value(b"x");
        while self.producer.buffer_available_bytes() > self.memory / 8 {
            self.producer.blocking_flush();
            self.settle();
            // Sooner than the first one's linger is over, in a try or two.
            let opened = (0..OTHERS).map(|partition| self.others.try_send(record(partition)));
            opened.take_while(Result::is_ok).for_each(drop);
        }
    }

    /// Waits until nothing is under way.
    fn settle(&self) {
        until("all memory", || self.producer.buffer_available_bytes() == self.memory);
    }

    /// The totals of a producer at rest.
    fn totals(&self) -> Metrics {
        self.producer.blocking_flush();
        self.producer.metrics()
    }
}

fn measured(
    driver: DriverChoice,
    manner: Manner,
    prepare: fn(ConfigBuilder) -> ConfigBuilder,
) -> Taken {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let is = |other: Manner| std::ptr::fn_addr_eq(manner, other);
    let watching: fn(ConfigBuilder) -> ConfigBuilder = with_an_interceptor;
    let is_watched = std::ptr::fn_addr_eq(prepare, watching);
    if is(handled) || is_watched {
        // The memory of a batch goes back before the calls are made that its cell is kept for, so
        // more cells are in use at times than it has batches. They are the process's: those of a
        // producer with more memory are enough.
        let large = |builder| with_a_handler(builder).buffer_memory(12 << 20);
        Flooded::new(driver, large).fill_with_submitted(false);
    }
    let flooded = Flooded::new(driver, prepare);
    for _ in 0..2 {
        (0..PARTITIONS).for_each(|partition| flooded.fill(partition..partition + 1));
        flooded.fill(0..PARTITIONS);
        if is(submitted) || is(handled) || is_watched {
            flooded.fill_with_submitted(!is(handled));
        }
    }
    let (mut taken, mut window) = (Vec::with_capacity(100), VecDeque::with_capacity(WINDOW));
    manner(&flooded, WARM_UP, &mut taken, &mut window);
    flooded.settle();
    let before = flooded.totals();
    let calls_before = calls();
    manner(&flooded, RECORDS, &mut taken, &mut window);
    // With what the shard has left to do; without the metrics, which take memory for their answer.
    flooded.settle();
    let calls = calls() - calls_before;
    let after = flooded.totals();
    assert_eq!(after.acknowledged - before.acknowledged, RECORDS);
    assert_eq!(flooded.broker.count(ApiKey::Produce), 0, "the broker keeps nothing");
    Taken {
        calls,
        batches: after.batches - before.batches,
        requests: after.requests - before.requests,
    }
}

/// Sends in one manner, on one driver: nothing is taken.
fn takes_nothing(driver: DriverChoice, manner: Manner) {
    takes_nothing_with(driver, manner, as_it_is);
}

/// The same with a producer that is built so.
fn takes_nothing_with(
    driver: DriverChoice,
    manner: Manner,
    prepare: fn(ConfigBuilder) -> ConfigBuilder,
) {
    bounded(Duration::from_secs(300), move || {
        let taken = measured(driver, manner, prepare);
        assert!(taken.batches > 1000 && taken.requests > 200, "{taken:?}");
        assert_eq!(taken.calls, 0, "{taken:?}");
    });
}

/// Compressing takes nothing per batch, neither where records are sent nor on the shard: chunks,
/// and the memory for what comes out, are kept.
fn compressing_takes_nothing(driver: DriverChoice) {
    bounded(Duration::from_secs(300), move || {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let flooded = Flooded::new(driver, with_lz4);
        let (mut taken, mut window) = (Vec::new(), VecDeque::with_capacity(WINDOW));
        for _ in 0..3 {
            (0..PARTITIONS).for_each(|partition| flooded.fill_compressed(partition));
            // A chunk is made where there were never so many at once.
            flooded.open_everywhere();
            sent_and_dropped(&flooded, WARM_UP, &mut taken, &mut window);
            flooded.settle();
        }
        let (before, calls_before) = (flooded.totals(), calls());
        sent_and_dropped(&flooded, RECORDS, &mut taken, &mut window);
        flooded.settle();
        let calls = calls() - calls_before;
        let after = flooded.totals();
        let batches = after.compressed_batches - before.compressed_batches;
        assert!(batches > 100, "{batches} batches");
        assert_eq!(calls, 0, "{batches} batches");
    });
}

fn with_lz4(builder: ConfigBuilder) -> ConfigBuilder {
    builder.compression(Compression::LZ4)
}

macro_rules! takes_nothing {
    ($module:ident $driver:ident) => {
        mod $module {
            use kuring::DriverChoice::$driver as DRIVER;

            #[test]
            fn sending_and_dropping_takes_nothing() {
                crate::takes_nothing(DRIVER, crate::sent_and_dropped);
            }

            #[test]
            fn sending_and_waiting_takes_nothing() {
                crate::takes_nothing(DRIVER, crate::sent_and_waited_for);
            }

            #[test]
            fn awaiting_takes_nothing() {
                crate::takes_nothing(DRIVER, crate::awaited);
            }

            #[test]
            fn sending_many_at_once_takes_nothing() {
                crate::takes_nothing(DRIVER, crate::many_at_once);
            }

            #[test]
            fn submitting_and_polling_takes_nothing() {
                crate::takes_nothing(DRIVER, crate::submitted);
            }

            #[test]
            fn compressing_takes_nothing_per_batch() {
                crate::compressing_takes_nothing(DRIVER);
            }

            #[test]
            fn serializing_takes_nothing() {
                crate::takes_nothing(DRIVER, crate::serialized);
            }

            #[test]
            fn serializers_that_add_headers_take_nothing() {
                crate::takes_nothing(DRIVER, crate::labelled);
            }

            #[test]
            fn telling_a_delivery_handler_takes_nothing() {
                crate::takes_nothing_with(DRIVER, crate::handled, crate::with_a_handler);
            }

            #[test]
            fn an_interceptor_that_adds_a_header_takes_nothing() {
                let (manner, prepare) = (crate::sent_and_dropped, crate::with_an_interceptor);
                crate::takes_nothing_with(DRIVER, manner, prepare);
            }
        }
    };
}

takes_nothing!(epoll Epoll);
takes_nothing!(tokio_uring TokioUring);
takes_nothing!(uring Uring);

macro_rules! embedded_takes_nothing {
    ($module:ident $driver:ident) => {
        mod $module {
            use kuring::DriverChoice::$driver as DRIVER;

            #[test]
            fn a_loop_whose_turns_wait_takes_nothing() {
                crate::embedded::a_loop_takes_nothing(DRIVER, false);
            }

            #[test]
            fn a_loop_that_waits_for_the_descriptor_takes_nothing() {
                crate::embedded::a_loop_takes_nothing(DRIVER, true);
            }

            #[test]
            fn a_task_takes_nothing() {
                crate::embedded::a_task_takes_nothing(DRIVER);
            }
        }
    };
}

embedded_takes_nothing!(embedded_epoll Epoll);
embedded_takes_nothing!(embedded_uring Uring);

#[test]
fn the_counter_counts_the_threads_that_said_so() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let counted = thread::spawn(|| {
        let before = calls();
        drop(Box::new(VALUE));
        assert_eq!(calls(), before, "this thread has not said so");
        count_this_thread();
        drop(Box::new(VALUE));
        assert_eq!(calls(), before + 1);
    });
    counted.join().unwrap();
}
