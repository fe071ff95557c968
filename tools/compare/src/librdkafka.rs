//! librdkafka through `BaseProducer`: one application thread that sends and polls.
//!
//! No key, no headers, the payload copied by librdkafka, one poll for many records,
//! acknowledgements counted in the delivery callback. The queue keeps its default of 100,000
//! records: with a million it cost as much or more in every configuration, and held 300 MB.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::Outcome;
use crate::run::{Plan, Sender, value};

/// Records between two polls: an event holds many delivery reports, so seldom is enough.
const POLL_INTERVAL_RECORDS: u64 = 1_000;

/// Longest wait for the last acknowledgement.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// Counts the verdicts; the only work done for each record.
#[derive(Default)]
struct Verdicts {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Verdicts {}

impl ProducerContext for Verdicts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        let counter = if result.is_ok() { &self.acknowledged } else { &self.failed };
        // One thread polls, so a plain load and store would do; this is one add.
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct Librdkafka {
    producer: BaseProducer<Verdicts>,
    topic: String,
    value: Vec<u8>,
}

/// The version of librdkafka that is linked.
pub(crate) fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

impl Librdkafka {
    pub(crate) fn connect(plan: &Plan) -> Outcome<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &plan.bootstrap)
            .set("acks", &plan.acks)
            .set("enable.idempotence", "true")
            .set("linger.ms", plan.linger.to_string());
        if let Some(bytes) = plan.batch_size {
            config.set("batch.size", bytes.to_string());
        }
        for (key, value) in &plan.properties {
            config.set(key, value);
        }
        let producer = config.create_with_context(Verdicts::default())?;
        Ok(Self { producer, topic: plan.topic.clone(), value: value(plan.size) })
    }
}

impl Sender for Librdkafka {
    fn send(&mut self, count: u64) -> Outcome<()> {
        for index in 0..count {
            let mut record = BaseRecord::<(), [u8]>::to(&self.topic).payload(self.value.as_slice());
            while let Err((error, returned)) = self.producer.send(record) {
                let full = RDKafkaErrorCode::QueueFull;
                if error != KafkaError::MessageProduction(full) {
                    return Err(error.into());
                }
                record = returned;
                self.producer.poll(Duration::from_millis(1));
            }
            if index % POLL_INTERVAL_RECORDS == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        self.producer.flush(SETTLE_MAX)?;
        match self.producer.context().failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(format!("{failed} records failed").into()),
        }
    }

    fn acknowledged(&self) -> u64 {
        self.producer.context().acknowledged.load(Ordering::Relaxed)
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}
