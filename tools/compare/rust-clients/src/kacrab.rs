//! kacrab through `send` and its futures.
//!
//! Not `send_with_callback`: on a runtime of several threads it appends the record before it
//! registers the callback, and a batch that completes in between never calls it. `send` spins
//! when the buffer is full, so the application bounds what is outstanding.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use compare_measure::{Latencies, Outcome, Plan, Schedule, Sender, value};
use kacrab::producer::{Producer, ProducerRecord, SendFuture};
use tokio::runtime::Runtime;

use crate::{outstanding_max, paced};

pub(crate) struct Kacrab {
    runtime: Runtime,
    producer: Arc<Producer>,
    topic: Arc<str>,
    value: Bytes,
    kept: VecDeque<SendFuture>,
    kept_max: usize,
    acknowledged: Arc<AtomicU64>,
}

impl Kacrab {
    pub(crate) fn connect(plan: &Plan, runtime: Runtime) -> Outcome<Self> {
        let mut builder = Producer::builder()
            .set("bootstrap.servers", plan.bootstrap.as_str())
            .set("acks", plan.acks.as_str())
            .set("enable.idempotence", "true")
            .set("linger.ms", plan.linger().to_string());
        if let Some(bytes) = plan.batch_size {
            builder = builder.set("batch.size", bytes.to_string());
        }
        for (key, value) in &plan.properties {
            builder = builder.set(key.as_str(), value.as_str());
        }
        let producer = Arc::new(runtime.block_on(builder.build())?);
        Ok(Self {
            runtime,
            producer,
            topic: plan.topic.as_str().into(),
            value: value(plan.size).into(),
            kept: VecDeque::new(),
            kept_max: outstanding_max(plan.size),
            acknowledged: Arc::default(),
        })
    }
}

impl Sender for Kacrab {
    fn send(&mut self, count: u64) -> Outcome<()> {
        let Self { runtime, producer, topic, value, kept, kept_max, acknowledged } = self;
        runtime.block_on(async {
            for _ in 0..count {
                if kept.len() == *kept_max
                    && let Some(oldest) = kept.pop_front()
                    && oldest.await.is_ok()
                {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                let record = ProducerRecord::topic_value(Arc::clone(topic), value.clone());
                kept.push_back(producer.send(record)?);
            }
            Ok(())
        })
    }

    fn settle(&mut self) -> Outcome<()> {
        let Self { runtime, producer, kept, acknowledged, .. } = self;
        runtime.block_on(async {
            producer.flush().await?;
            for delivery in kept.drain(..) {
                if delivery.await.is_ok() {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        })
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn round_trip(&mut self) -> Outcome<()> {
        let record = ProducerRecord::topic_value(Arc::clone(&self.topic), self.value.clone());
        let producer = &self.producer;
        self.runtime.block_on(async { producer.send(record)?.await })?;
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn open_loop(&mut self, schedule: Schedule, latencies: &Arc<Latencies>) -> Outcome<()> {
        let (producer, topic) = (Arc::clone(&self.producer), Arc::clone(&self.topic));
        let value = self.value.clone();
        paced::run(&self.runtime, schedule, latencies, &self.acknowledged, move || {
            let record = ProducerRecord::topic_value(Arc::clone(&topic), value.clone());
            let delivery = producer.send(record).map_err(|error| error.to_string())?;
            Ok(async move { delivery.await.is_ok() })
        })
    }
}
