//! krafka through `enqueue`, which returns once the record is buffered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use compare_measure::{Latencies, Outcome, Plan, Schedule, Sender, value};
use krafka::producer::{Acks, DeliveryHandle, Producer};
use krafka::{Kafka, Record};
use tokio::runtime::Runtime;

use crate::{outstanding_max, paced};

pub(crate) struct Krafka {
    runtime: Runtime,
    producer: Arc<Producer>,
    topic: String,
    value: Bytes,
    kept: VecDeque<DeliveryHandle>,
    kept_max: usize,
    acknowledged: Arc<AtomicU64>,
}

impl Krafka {
    pub(crate) fn connect(plan: &Plan, runtime: Runtime) -> Outcome<Self> {
        if !plan.properties.is_empty() {
            return Err("krafka has no properties by name".into());
        }
        let acks = match plan.acks.as_str() {
            "all" | "-1" => Acks::All,
            other => return Err(format!("acks={other} is not in this comparison").into()),
        };
        let producer = runtime.block_on(async {
            let kafka = Kafka::builder(&plan.bootstrap).connect().await?;
            let linger = Duration::from_millis(plan.linger());
            let mut builder = kafka.producer().acks(acks).linger(linger);
            if let Some(bytes) = plan.batch_size {
                builder = builder.batch_size(bytes);
            }
            builder.build().await
        })?;
        Ok(Self {
            runtime,
            producer: Arc::new(producer),
            topic: plan.topic.clone(),
            value: value(plan.size).into(),
            kept: VecDeque::new(),
            kept_max: outstanding_max(plan.size),
            acknowledged: Arc::default(),
        })
    }
}

impl Sender for Krafka {
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
                let record = Record::new(topic.as_str(), value.clone());
                kept.push_back(producer.enqueue(record).await?);
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
        let record = Record::new(self.topic.as_str(), self.value.clone());
        let written = self.runtime.block_on(self.producer.send(record))?;
        if !written.is_persisted() {
            return Err("a record failed".into());
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn open_loop(&mut self, schedule: Schedule, latencies: &Arc<Latencies>) -> Outcome<()> {
        let (producer, topic) = (Arc::clone(&self.producer), self.topic.clone());
        let value = self.value.clone();
        paced::run(&self.runtime, schedule, latencies, &self.acknowledged, move || {
            let record = Record::new(topic.as_str(), value.clone());
            let producer = Arc::clone(&producer);
            Ok(async move { producer.send(record).await.is_ok() })
        })
    }
}
