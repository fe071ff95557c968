//! How long an unloaded record takes, from its send to its verdict, one after the other, linger 0:
//! the whole way through two threads and the broker, or, embedded, through one thread, which sleeps
//! in between or looks again and again (`spinning`).
//!
//! Needs a broker: `kuring sink --listen 127.0.0.1:9092 &`, then
//! `KURING_BROKER=127.0.0.1:9092 cargo bench --bench round_trip`; `… -- count epoll 2000` only
//! sends so many with one driver, for `tools/calls`, which counts their system calls. `embedded-`
//! before the driver's name makes it an embedded producer whose turns wait, `watched-` one whose
//! loop waits for the descriptor itself.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "of this file only the command line is used")]
mod measure;

use std::time::Duration;

use kuring::embedded::LocalTopic;
use kuring::{ConfigBuilder, Embedded, Producer, Record, Topic, clock};
use rustix::event::{PollFd, PollFlags, Timespec};

const VALUE: [u8; 100] = [b'x'; 100];
const DRIVERS: [&str; 3] = ["uring", "epoll", "tokio-uring"];
const ROUND_TRIPS: usize = 20_000;

fn config() -> ConfigBuilder {
    let broker = std::env::var("KURING_BROKER");
    let broker = broker.expect("KURING_BROKER names a broker, such as kuring sink's address");
    ConfigBuilder::new().bootstrap_servers(broker).linger(Duration::ZERO)
}

fn of_driver(driver: &str) -> ConfigBuilder {
    config().property("kuring.driver", driver).expect("a driver's name")
}

fn producer(driver: &str) -> Producer {
    of_driver(driver).build().expect("the driver opens")
}

fn embedded(driver: &str) -> (Embedded, LocalTopic) {
    let embedded = of_driver(driver).embedded().expect("the driver opens");
    embedded.blocking_warm_up(&["bench"]).expect("the broker answers");
    let topic = embedded.topic("bench");
    (embedded, topic)
}

fn round_trip(topic: &Topic) {
    let delivery = topic.blocking_send(Record::new().partition(0).value(&VALUE));
    delivery.expect("accepted").wait().expect("acknowledged");
}

/// One in a loop that calls `turn` until the verdict is there.
fn turned(topic: &LocalTopic, turn: impl Fn()) {
    let delivery = topic.try_send(Record::new().partition(0).value(&VALUE)).expect("accepted");
    while !delivery.is_done() {
        turn();
    }
    delivery.verdict().expect("it is done").expect("acknowledged");
}

/// A turn of a loop that waits for the descriptor, unless one is due.
fn watch(embedded: &Embedded) {
    let mut watched = [PollFd::new(embedded, PollFlags::IN)];
    let left = embedded.next_deadline().map(|due| due.saturating_duration_since(clock::now()));
    if left.is_none_or(|left| !left.is_zero()) {
        let left = left.map(|left| Timespec::try_from(left).expect("a deadline is near"));
        rustix::event::poll(&mut watched, left.as_ref()).expect("a descriptor of ours");
    }
    embedded.turn(Some(clock::now()));
}

fn count(driver: &str, times: u64) {
    if let Some((manner, driver)) = driver.split_once('-').filter(|(manner, _)| *manner != "tokio")
    {
        let (embedded, topic) = embedded(driver);
        (0..times).for_each(|_| match manner {
            "watched" => turned(&topic, || watch(&embedded)),
            _ => turned(&topic, || _ = embedded.turn(None)),
        });
        embedded.close(Duration::from_secs(10));
        return;
    }
    let producer = producer(driver);
    let topic = producer.topic("bench");
    (0..times).for_each(|_| round_trip(&topic));
    producer.close(Duration::from_secs(10));
}

fn main() {
    if let Some((driver, times)) = measure::asked_count::<String>() {
        return count(&driver, times);
    }
    println!("{:<22} {:>10} {:>10} {:>10}", "driver", "p50", "p99", "p99.9");
    for driver in DRIVERS {
        let producer = producer(driver);
        let topic = producer.topic("bench");
        tell(driver, || round_trip(&topic));
        producer.close(Duration::from_secs(10));
    }
    for driver in ["uring", "epoll"] {
        let (embedded, topic) = embedded(driver);
        let name = |manner| format!("{manner}, {driver}");
        tell(&name("embedded"), || turned(&topic, || _ = embedded.turn(None)));
        tell(&name("its loop waits"), || turned(&topic, || watch(&embedded)));
        tell(&name("spinning"), || turned(&topic, || _ = embedded.turn(Some(clock::now()))));
        embedded.close(Duration::from_secs(10));
    }
}

/// Prints the percentiles of many round trips.
fn tell(name: &str, round_trip: impl Fn()) {
    (0..ROUND_TRIPS / 10).for_each(|_| round_trip());
    let mut nanos: Vec<_> = (0..ROUND_TRIPS)
        .map(|_| {
            let began = clock::now();
            round_trip();
            (clock::now() - began).as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    let at = |share: usize| format!("{:.1} us", nanos[nanos.len() * share / 1000] as f64 / 1e3);
    println!("{name:<22} {:>10} {:>10} {:>10}", at(500), at(990), at(999));
}
