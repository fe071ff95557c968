//! Kuring with its defaults, through one `Topic` handle, from one application thread.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use compare_measure::run::Subject;
use compare_measure::{Latencies, Outcome, Plan, Schedule, Sender, Values, cost};
use kuring::{Delivery, Producer, Record, Topic};

use crate::run::Options;

/// Deliveries kept before the oldest is waited for: the default buffer.memory holds fewer
/// records of 100 bytes than this, so memory is what slows the application down.
const KEPT_MAX: usize = 1 << 19;

pub(crate) struct Kuring {
    producer: Producer,
    topic: Topic,
    values: Values,
    /// Present when every delivery is kept and looked at.
    kept: Option<VecDeque<Delivery>>,
}

/// Version and settings, in words.
pub(crate) fn subject(options: &Options) -> Subject {
    let plan = options.plan();
    let batch = plan
        .batch_size
        .map_or("batch.size default (16384)".to_owned(), |bytes| format!("batch.size {bytes}"));
    let mut settings = format!("Topic handle, {batch}, linger.ms {}", plan.linger());
    settings += if options.deliveries { ", deliveries kept" } else { ", deliveries dropped" };
    for (key, value) in &plan.properties {
        settings += &format!(", {key}={value}");
    }
    let manifest = include_str!("../../../Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    let version = version.unwrap_or("unknown").trim_matches('"').to_owned();
    Subject { client: "kuring".into(), version, settings }
}

impl Kuring {
    pub(crate) fn connect(plan: &Plan, deliveries: bool) -> Outcome<Self> {
        let mut properties = vec![
            ("bootstrap.servers".to_owned(), plan.bootstrap.clone()),
            ("acks".to_owned(), plan.acks.clone()),
            ("linger.ms".to_owned(), plan.linger().to_string()),
        ];
        if let Some(bytes) = plan.batch_size {
            properties.push(("batch.size".to_owned(), bytes.to_string()));
        }
        properties.extend(plan.properties.iter().cloned());
        let producer = Producer::builder().properties(properties)?.build()?;
        let topic = producer.topic(&plan.topic);
        let kept = deliveries.then(VecDeque::new);
        Ok(Self { producer, topic, values: Values::of(plan)?, kept })
    }

    fn send_one(&self) -> Outcome<Delivery> {
        Ok(self.topic.blocking_send(Record::new().value(self.values.next()))?)
    }

    fn send_and_keep(&mut self, count: u64) -> Outcome<()> {
        let mut kept = self.kept.take().unwrap_or_default();
        for _ in 0..count {
            kept.push_back(self.send_one()?);
            while let Some(verdict) = kept.front().and_then(Delivery::verdict) {
                verdict?;
                kept.pop_front();
            }
            if kept.len() >= KEPT_MAX {
                kept.pop_front().map(Delivery::wait).transpose()?;
            }
        }
        self.kept = Some(kept);
        Ok(())
    }
}

impl Sender for Kuring {
    fn send(&mut self, count: u64) -> Outcome<()> {
        if self.kept.is_some() {
            return self.send_and_keep(count);
        }
        for _ in 0..count {
            drop(self.send_one()?);
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

    fn round_trip(&mut self) -> Outcome<()> {
        self.send_one()?.wait()?;
        Ok(())
    }

    fn open_loop(&mut self, mut schedule: Schedule, latencies: &Arc<Latencies>) -> Outcome<()> {
        let mut awaited = VecDeque::new();
        while let Some(due) = schedule.wait(|| forget_done(&mut awaited)) {
            let mut delivery = self.send_one()?;
            let stamp = Arc::new(Stamp { due, latencies: Arc::clone(latencies) });
            let waker = Waker::from(stamp);
            // The waker runs on the shard's thread when the verdict is there.
            match Pin::new(&mut delivery).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(verdict) => {
                    verdict?;
                    latencies.ends(due);
                }
                Poll::Pending => awaited.push_back(delivery),
            }
        }
        for delivery in awaited {
            delivery.wait()?;
        }
        Ok(())
    }

    fn time_sends(&mut self, mut schedule: Schedule, latencies: &Latencies) -> Outcome<()> {
        // What is due decides whether it counts, the clock how long it took.
        while let Some(due) = schedule.wait(|| ()) {
            let began = cost::now_ns();
            drop(self.send_one()?);
            latencies.spans(due, due + (cost::now_ns() - began));
        }
        Ok(())
    }
}

/// Lets go of deliveries from the front whose verdicts are there.
fn forget_done(awaited: &mut VecDeque<Delivery>) {
    while awaited.front().is_some_and(Delivery::is_done) {
        awaited.pop_front();
    }
}

/// Notes the end of one record when it is woken.
struct Stamp {
    due: u64,
    latencies: Arc<Latencies>,
}

impl Wake for Stamp {
    fn wake(self: Arc<Self>) {
        self.latencies.ends(self.due);
    }
}
