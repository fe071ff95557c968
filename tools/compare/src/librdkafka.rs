//! librdkafka through rdkafka's `BaseProducer`: one application thread that sends and polls.
//!
//! No key, no headers, the payload copied by librdkafka, one poll for many records,
//! acknowledgements counted in the delivery callback. The queue keeps its default of 100,000
//! records: with a million it cost as much or more in every configuration, and held 300 MB.
//! Where latencies are measured the polling is `ThreadedProducer`'s: `BaseProducer::poll` sleeps
//! its whole timeout even when an event came, and verdicts must not wait for sends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use compare_measure::{Latencies, Mode, Outcome, Plan, Schedule, Sender, Values, cost};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer,
};

/// Records between two polls: an event holds many delivery reports, so seldom is enough.
const POLL_INTERVAL_RECORDS: u64 = 1_000;

/// Longest wait for the last acknowledgement.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// Sleep of one poll; no event ends it early.
const POLL_SLEEP: Duration = Duration::from_millis(1);

/// Counts the verdicts, and in the open loop notes their time.
#[derive(Default)]
struct Verdicts {
    acknowledged: AtomicU64,
    failed: AtomicU64,
    /// Who waits for the one record of a round trip.
    waiting: OnceLock<Thread>,
    latencies: OnceLock<Arc<Latencies>>,
}

impl ClientContext for Verdicts {}

impl ProducerContext for Verdicts {
    /// When the record was due, in the open loop; otherwise zero.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        let counter = if result.is_ok() { &self.acknowledged } else { &self.failed };
        // One thread polls, so a plain load and store would do; this is one add.
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(thread) = self.waiting.get() {
            thread.unpark();
        }
        if let Some(latencies) = self.latencies.get().filter(|_| due != 0) {
            latencies.ends(due as u64);
        }
    }
}

/// Polled by the application, or by a thread of its own.
enum Polled {
    Here(BaseProducer<Verdicts>),
    Elsewhere(ThreadedProducer<Verdicts>),
}

pub(crate) struct Librdkafka {
    producer: Polled,
    topic: String,
    values: Values,
}

/// The version of librdkafka that is linked.
pub(crate) fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

fn polled_elsewhere(plan: &Plan) -> bool {
    matches!(plan.mode, Mode::OpenLoop | Mode::Rtt)
}

/// How it is driven, in words.
pub(crate) fn settings(plan: &Plan) -> String {
    let batch = plan
        .batch_size
        .map_or("batch.size default (1 MB)".to_owned(), |bytes| format!("batch.size {bytes}"));
    let mut text = format!(
        "rdkafka 0.39 {}, {batch}, linger.ms {}",
        if polled_elsewhere(plan) { "ThreadedProducer" } else { "BaseProducer" },
        plan.linger()
    );
    for (key, value) in &plan.properties {
        text += &format!(", {key}={value}");
    }
    text
}

impl Librdkafka {
    pub(crate) fn connect(plan: &Plan) -> Outcome<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &plan.bootstrap)
            .set("acks", &plan.acks)
            .set("enable.idempotence", "true")
            .set("linger.ms", plan.linger().to_string());
        if let Some(bytes) = plan.batch_size {
            config.set("batch.size", bytes.to_string());
        }
        for (key, value) in &plan.properties {
            config.set(key, value);
        }
        let verdicts = Verdicts::default();
        let producer = match polled_elsewhere(plan) {
            true => Polled::Elsewhere(config.create_with_context(verdicts)?),
            false => Polled::Here(config.create_with_context(verdicts)?),
        };
        Ok(Self { producer, topic: plan.topic.clone(), values: Values::of(plan)? })
    }

    fn verdicts(&self) -> &Verdicts {
        match &self.producer {
            Polled::Here(producer) => producer.context(),
            Polled::Elsewhere(producer) => producer.context(),
        }
    }

    fn poll(&self, sleep: Duration) {
        match &self.producer {
            Polled::Here(producer) => producer.poll(sleep),
            Polled::Elsewhere(producer) => producer.poll(sleep),
        }
    }

    fn unsettled(&self) -> i32 {
        match &self.producer {
            Polled::Here(producer) => producer.in_flight_count(),
            Polled::Elsewhere(producer) => producer.in_flight_count(),
        }
    }

    /// Hands one over; waits while the queue is full.
    fn send_one(&self, due: usize) -> Outcome<()> {
        let mut record =
            BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, due)
                .payload(self.values.next());
        loop {
            let sent = match &self.producer {
                Polled::Here(producer) => producer.send(record),
                Polled::Elsewhere(producer) => producer.send(record),
            };
            let Err((error, returned)) = sent else { return Ok(()) };
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = returned;
            self.poll(POLL_SLEEP);
        }
    }
}

impl Sender for Librdkafka {
    fn send(&mut self, count: u64) -> Outcome<()> {
        for index in 0..count {
            self.send_one(0)?;
            if index % POLL_INTERVAL_RECORDS == 0 {
                self.poll(Duration::ZERO);
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        // Not by `flush`, which looks only every 100 ms. Records that failed are those that were
        // not acknowledged, and are counted as such.
        let began = cost::now();
        while self.unsettled() > 0 {
            self.poll(POLL_SLEEP);
            if began.elapsed() > SETTLE_MAX {
                return Err("the last records have no verdict".into());
            }
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.verdicts().acknowledged.load(Ordering::Relaxed)
    }

    fn round_trip(&mut self) -> Outcome<()> {
        let before = self.acknowledged();
        self.verdicts().waiting.get_or_init(std::thread::current);
        self.send_one(0)?;
        while self.acknowledged() == before {
            if self.verdicts().failed.load(Ordering::Relaxed) > 0 {
                return Err("a record failed".into());
            }
            std::thread::park();
        }
        Ok(())
    }

    fn open_loop(&mut self, mut schedule: Schedule, latencies: &Arc<Latencies>) -> Outcome<()> {
        drop(self.verdicts().latencies.set(Arc::clone(latencies)));
        while let Some(due) = schedule.wait(|| ()) {
            self.send_one(due as usize)?;
        }
        Ok(())
    }

    fn time_sends(&mut self, mut schedule: Schedule, latencies: &Latencies) -> Outcome<()> {
        while let Some(due) = schedule.wait(|| self.poll(Duration::ZERO)) {
            let began = cost::now_ns();
            self.send_one(0)?;
            latencies.spans(due, due + (cost::now_ns() - began));
        }
        Ok(())
    }
}
