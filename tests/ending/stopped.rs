//! A process that is stopped for longer than its timeouts, and times that never come.
//!
//! A wall clock that jumps cannot be had here without harm to others. That it decides nothing is
//! held by `tests/tidy`: only record timestamps read it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{DriverChoice, Record, SendError};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::fake_broker::{FakeBroker, Gate, Turn};
use crate::support::rig::{builder, builder_for, until, verdict};
use crate::traces::whole;

/// Where the process that is to be stopped finds the broker; only that process has it.
const BROKER: &str = "KURING_TEST_BROKER";
/// Longer than a busy machine takes to send and to answer.
const REQUEST: Duration = Duration::from_secs(4);
const STOPPED: Duration = Duration::from_millis(4500);

/// The process that is stopped: sends, waits for the word, and says what became of it.
fn produce(driver: DriverChoice, bootstrap: String, delivery: Duration, spin: Duration) {
    let producer = builder_for(bootstrap, driver)
        .batch_bytes(200)
        .request_timeout(REQUEST)
        .delivery_timeout(delivery)
        .spin(spin)
        .build()
        .unwrap();
    let topic = producer.topic("t");
    let send = |partition| topic.blocking_send(Record::new().partition(partition).value("v"));
    verdict(send(0).unwrap()).unwrap();
    let mut deliveries: Vec<_> = (0..60).map(|_| send(0).unwrap()).collect();
    // Nobody leads this one.
    deliveries.extend((0..3).map(|_| send(1).unwrap()));
    // Else the stop may come between a decision to send and the sending, and what was in time when
    // it was decided is sent when its time is over. Five requests may be unanswered at a time, a
    // question for the missing leader among them. They count before they are written, so the stop
    // waits until the broker has as many.
    until("all requests to be made that may", || {
        let metrics = producer.metrics();
        metrics.records == 61 || metrics.nodes.iter().any(|node| node.in_flight == 5)
    });
    println!("sent {}", producer.metrics().requests);
    let verdicts: Vec<_> = deliveries.into_iter().map(verdict).collect();
    let metrics = producer.metrics();
    let timed_out = |verdict: &&Result<_, SendError>| {
        matches!(verdict, Err(SendError::TimedOut { possibly_written: false, .. }))
    };
    let expired = verdicts[60..].iter().filter(timed_out).count();
    let acknowledged = verdicts[..60].iter().filter(|verdict| verdict.is_ok()).count();
    verdict(send(0).unwrap()).unwrap();
    producer.close(Duration::ZERO);
    println!("acknowledged {acknowledged} expired {expired} retries {}", metrics.retries);
}

/// This test once more, in a process that `produce`s.
fn start(broker: &FakeBroker) -> Child {
    let name = std::thread::current().name().unwrap().to_owned();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads", "1"])
        .env(BROKER, broker.bootstrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn is_stopped(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    status.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
}

fn stops(driver: DriverChoice, delivery: Duration, spin: Duration) {
    if let Ok(bootstrap) = std::env::var(BROKER) {
        return produce(driver, bootstrap, delivery, spin);
    }
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.move_leader("t", 1, -1);
    let gate = Gate::default();
    let (closed, mut first) = (gate.clone(), true);
    broker.script(move |seen| match seen.api {
        ApiKey::Produce if std::mem::take(&mut first) => Turn::Serve,
        ApiKey::Produce => Turn::Hold(closed.clone()),
        _ => Turn::Serve,
    });
    let mut child = start(&broker);
    let pid = Pid::from_child(&child);
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tell = || told.next().expect("the child says it").unwrap();
    let requests = loop {
        if let Some((_, requests)) = tell().split_once("sent ") {
            break requests.parse().unwrap();
        }
    };
    broker.wait_for_requests(ApiKey::Produce, requests);
    kill_process(pid, Signal::STOP).unwrap();
    until("the stop", || is_stopped(&child));
    gate.open();
    // Time passes for everyone but the one that is stopped.
    assert!(broker.find_within(STOPPED, |_| None::<()>).is_none());
    // All of this was answered long ago.
    let stored = broker.state(|state| state.stored("t"));
    kill_process(pid, Signal::CONT).unwrap();
    let said = loop {
        let line = tell();
        if line.starts_with("acknowledged") {
            break line;
        }
    };
    assert!(child.wait().unwrap().success());
    // What was answered is taken as answered, also after its time; what never left has expired, or
    // goes on waiting if it has time.
    let duplicates = broker.state(|state| state.topics["t"].partitions[0].log.duplicates);
    assert_eq!(duplicates, 0, "nothing was sent twice ({stored} had arrived before): {said}");
    let mut words = said.split(' ');
    let mut number = || words.nth(1).unwrap().parse::<usize>().unwrap();
    let (acknowledged, expired, retries) = (number(), number(), number());
    assert_eq!((expired, retries), (3, 0), "{said}");
    // The first record and the last one are not among the 60.
    assert!(acknowledged >= stored - 1, "{said}, {stored} were answered");
    let there = broker.state(|state| state.stored("t"));
    assert_eq!(there, 1 + acknowledged + 1, "{said}");
}

pub(crate) fn stopped_for_longer_than_the_request_timeout(driver: DriverChoice) {
    stops(driver, Duration::from_secs(8), Duration::ZERO);
}

pub(crate) fn stopped_for_longer_than_the_delivery_timeout(driver: DriverChoice) {
    stops(driver, REQUEST, Duration::ZERO);
}

/// A shard that spins is stopped anywhere in its turn, not where it waits.
pub(crate) fn stopped_in_the_middle_of_a_turn(driver: DriverChoice) {
    stops(driver, REQUEST, Duration::from_secs(60));
}

pub(crate) fn exp_10_times_of_24_days_work(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.move_leader("t", 1, -1);
    let max = Duration::from_millis(i32::MAX as u64);
    let producer = builder(&broker, driver)
        .request_timeout(max - Duration::from_millis(1))
        .delivery_timeout(max)
        .linger(Duration::from_millis(1))
        .max_block(max)
        .build()
        .unwrap();
    let topic = producer.topic("t");
    let waiting = topic.blocking_send(Record::new().partition(1)).unwrap();
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(topic.blocking_send(Record::new().partition(0)).unwrap());
        producer.topic("t").try_send(Record::new().partition(0)).map(drop).unwrap();
        until("a verdict", || deliveries.last().is_some_and(kuring::Delivery::is_done));
    }
    assert!(!waiting.is_done(), "it has 24 days");
    broker.move_leader("t", 1, 0);
    deliveries.push(waiting);
    let summary = producer.close(Duration::MAX);
    assert_eq!((summary.acknowledged, summary.failed), (7, 0), "{summary:?}");
    assert!(deliveries.into_iter().all(|delivery| verdict(delivery).is_ok()));
    whole(&producer, summary);
}
