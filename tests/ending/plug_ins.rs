//! What a user plugs into a producer, and when the producer lets go of it.
//!
//! Java closes plug-ins; here they are dropped: what is called by verdicts, pushes or reports with
//! the end of the close, what is called by those who send with the last handle, which may still be
//! used.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{
    ApplicationMetric, Delivery, DeliveryReport, DriverChoice, HeaderList, Interceptor,
    OnSendError, Outgoing, Producer, Record, SendError, StatsReporter, Topic, Unplaced,
};

use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};
use crate::support::rig::{builder, until, verdict};
use crate::traces::whole;

/// How often each plug-in was dropped.
#[derive(Clone, Default)]
struct Drops(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl Drops {
    fn of(&self, name: &str) -> usize {
        self.0.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    fn held(&self, name: &'static str, panics: bool) -> Held {
        Held { name, panics, drops: self.clone() }
    }
}

/// What a plug-in holds.
struct Held {
    name: &'static str,
    panics: bool,
    drops: Drops,
}

impl Held {
    /// A closure that calls it holds all of it, and not only the fields that it reads.
    fn used(&self) -> i32 {
        0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.drops.0.lock().unwrap().entry(self.name).or_default() += 1;
        assert!(!self.panics, "on purpose: a plug-in of a test");
    }
}

impl Interceptor for Held {
    fn on_send(&self, _: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        Ok(())
    }

    fn on_acknowledgement(&self, _: &DeliveryReport<'_>, _: &HeaderList) {}
}

const WITH_THE_HANDLES: [&str; 4] = ["first", "second", "partitioner", "of the topic"];

/// A producer of two shards with one of everything.
struct Scene {
    broker: FakeBroker,
    producer: Producer,
    topic: Topic,
    drops: Drops,
    reporter: StatsReporter,
    delivery: Option<Delivery>,
}

impl Scene {
    fn new(driver: DriverChoice, panics: bool) -> Self {
        let broker = FakeBroker::start(&[("t", 2)]);
        let drops = Drops::default();
        let partitioner = |name| {
            let held = drops.held(name, panics);
            move |_: &Unplaced<'_>| held.used()
        };
        let handler = drops.held("handler", panics);
        let producer = builder(&broker, driver)
            .shards(2)
            .interceptor(drops.held("first", panics))
            .interceptor(drops.held("second", panics))
            .partitioner(partitioner("partitioner"))
            .topic_partitioner("t", partitioner("of the topic"))
            .delivery_handler(move |_, _| assert_eq!(handler.used(), 0))
            .build()
            .unwrap();
        let measured = drops.held("metric", panics);
        let read = move || f64::from(measured.used());
        producer.register_metric_for_subscription(ApplicationMetric::gauge("shop", "depth", read));
        let reported = drops.held("reporter", panics);
        // Longer than anybody would wait for the next report.
        let hour = Duration::from_secs(3600);
        let report = move |_: &str| assert_eq!(reported.used(), 0);
        let reporter = StatsReporter::start(&producer, hour, report).unwrap();
        let topic = producer.topic("t");
        verdict(topic.blocking_send(Record::new().value("written")).unwrap()).unwrap();
        Self { broker, producer, topic, drops, reporter, delivery: None }
    }

    /// Records of every kind that will not be answered.
    fn stuck(mut self) -> Self {
        self.broker.script(|seen| match seen.api {
            ApiKey::Produce => Turn::Mute,
            _ => Turn::Serve,
        });
        let before = self.broker.count(ApiKey::Produce);
        let held = self.drops.held("closure", false);
        let told = move |_: &DeliveryReport<'_>| drop(held);
        self.topic.blocking_send_with(Record::new().value("told"), told).unwrap();
        self.topic.blocking_submit(Record::new().value("numbered"), 7).unwrap();
        self.delivery = Some(self.topic.blocking_send(Record::new().value("awaited")).unwrap());
        self.broker.wait_for_requests(ApiKey::Produce, before + 1);
        self
    }

    /// Closes without patience, then lets the handles go; after each step what has to be gone is.
    fn end(self) {
        let Self { producer, topic, drops, reporter, delivery, broker } = self;
        let summary = producer.close(Duration::ZERO);
        assert_eq!(summary.acknowledged, 1);
        if let Some(delivery) = delivery {
            assert!(delivery.verdict().expect("its verdict").is_err());
        }
        until("the end of the reporting", || drops.of("reporter") == 1);
        assert_eq!(drops.of("handler"), 1, "close waits for the threads");
        assert_eq!(drops.of("metric"), 1, "nothing is pushed any more");
        for name in WITH_THE_HANDLES {
            assert_eq!(drops.of(name), 0, "{name}: a handle may still call it");
        }
        whole(&producer, summary);
        drop(producer);
        // A topic is a handle as well, and does without the producer's.
        assert!(topic.blocking_send(Record::new()).is_err());
        drop(topic);
        for name in WITH_THE_HANDLES {
            until(name, || drops.of(name) == 1);
        }
        drop((reporter, broker));
    }
}

pub(crate) fn cls_5_a_forced_close_lets_go_of_every_plug_in(driver: DriverChoice) {
    let scene = Scene::new(driver, false).stuck();
    let drops = scene.drops.clone();
    scene.end();
    assert_eq!(drops.of("closure"), 1, "and of what a record was given");
}

pub(crate) fn cls_5_after_a_panic_of_a_shard_every_plug_in_goes(driver: DriverChoice) {
    let mut scene = Scene::new(driver, false).stuck();
    (0..2).for_each(|shard| scene.producer.break_shard(shard));
    let error = verdict(scene.delivery.take().unwrap()).unwrap_err();
    assert!(matches!(error, SendError::SenderFailed { .. }), "{error}");
    let drops = scene.drops.clone();
    scene.end();
    assert_eq!(drops.of("closure"), 1);
}

pub(crate) fn cls_5_a_plug_in_that_panics_in_its_drop_harms_no_other(driver: DriverChoice) {
    Scene::new(driver, true).end();
}

pub(crate) fn cls_5_plug_ins_outlive_a_close_as_long_as_there_are_handles(driver: DriverChoice) {
    let scene = Scene::new(driver, false);
    let other = scene.producer.clone();
    let closing = thread::spawn(move || other.close(PATIENCE).acknowledged);
    assert_eq!(closing.join().unwrap(), 1);
    // Interceptors are told of what was refused.
    assert!(matches!(scene.topic.blocking_send(Record::new()), Err(SendError::Closed { .. })));
    scene.end();
}
