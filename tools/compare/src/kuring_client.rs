//! Kuring with its defaults, through one `Topic` handle, from one application thread.

use std::collections::VecDeque;

use kuring::{Delivery, Producer, Record, Topic};

use crate::Outcome;
use crate::run::{Plan, Sender, value};

/// Deliveries kept before the oldest is waited for: the default buffer.memory holds fewer
/// records of 100 bytes than this, so memory is what slows the application down.
const KEPT_MAX: usize = 1 << 19;

pub(crate) struct Kuring {
    producer: Producer,
    topic: Topic,
    value: Vec<u8>,
    /// Present when every delivery is kept and looked at.
    kept: Option<VecDeque<Delivery>>,
}

impl Kuring {
    pub(crate) fn connect(plan: &Plan) -> Outcome<Self> {
        let mut properties = vec![
            ("bootstrap.servers".to_owned(), plan.bootstrap.clone()),
            ("acks".to_owned(), plan.acks.clone()),
            ("linger.ms".to_owned(), plan.linger.to_string()),
        ];
        if let Some(bytes) = plan.batch_size {
            properties.push(("batch.size".to_owned(), bytes.to_string()));
        }
        properties.extend(plan.properties.iter().cloned());
        let producer = Producer::builder().properties(properties)?.build()?;
        let topic = producer.topic(&plan.topic);
        let kept = plan.deliveries.then(VecDeque::new);
        Ok(Self { producer, topic, value: value(plan.size), kept })
    }

    fn send_and_keep(&mut self, count: u64) -> Outcome<()> {
        let kept = self.kept.get_or_insert_default();
        for _ in 0..count {
            kept.push_back(self.topic.blocking_send(Record::new().value(&self.value))?);
            while let Some(verdict) = kept.front().and_then(Delivery::verdict) {
                verdict?;
                kept.pop_front();
            }
            if kept.len() >= KEPT_MAX {
                kept.pop_front().map(Delivery::wait).transpose()?;
            }
        }
        Ok(())
    }
}

impl Sender for Kuring {
    fn send(&mut self, count: u64) -> Outcome<()> {
        if self.kept.is_some() {
            return self.send_and_keep(count);
        }
        for _ in 0..count {
            drop(self.topic.blocking_send(Record::new().value(&self.value))?);
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        self.producer.blocking_flush();
        for delivery in self.kept.iter_mut().flat_map(|kept| kept.drain(..)) {
            delivery.wait()?;
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.producer.metrics().acknowledged
    }

    fn requests(&self) -> Option<u64> {
        Some(self.producer.metrics().requests)
    }
}
