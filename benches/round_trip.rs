//! How long an unloaded record takes, from its send to its verdict, one after the other, linger 0:
//! the whole way through two threads and the broker, or, embedded, through one thread, which sleeps
//! in between or looks again and again (`spinning`).
//!
//! Needs a broker: `kuring sink --listen 127.0.0.1:9092 &`, then
//! `KURING_BROKER=127.0.0.1:9092 cargo bench --bench round_trip`; `… -- count epoll 2000` only
//! sends so many with one driver, for `tools/calls`, which counts their system calls.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "of this file only the command line is used")]
mod measure;

use std::time::Duration;

use kuring::{ConfigBuilder, Producer, Record, Topic, clock};

const VALUE: [u8; 100] = [b'x'; 100];
const DRIVERS: [&str; 3] = ["uring", "epoll", "tokio-uring"];
const ROUND_TRIPS: usize = 20_000;

fn config() -> ConfigBuilder {
    let broker = std::env::var("KURING_BROKER");
    let broker = broker.expect("KURING_BROKER names a broker, such as kuring sink's address");
    ConfigBuilder::new().bootstrap_servers(broker).linger(Duration::ZERO)
}

fn producer(driver: &str) -> Producer {
    let config = config().property("kuring.driver", driver).expect("a driver's name");
    config.build().expect("the driver opens")
}

fn round_trip(topic: &Topic) {
    let delivery = topic.blocking_send(Record::new().partition(0).value(&VALUE));
    delivery.expect("accepted").wait().expect("acknowledged");
}

fn main() {
    if let Some((driver, count)) = measure::asked_count::<String>() {
        let producer = producer(&driver);
        let topic = producer.topic("bench");
        (0..count).for_each(|_| round_trip(&topic));
        producer.close(Duration::from_secs(10));
        return;
    }
    println!("{:<20} {:>10} {:>10} {:>10}", "driver", "p50", "p99", "p99.9");
    for driver in DRIVERS {
        let producer = producer(driver);
        let topic = producer.topic("bench");
        tell(driver, || round_trip(&topic));
        producer.close(Duration::from_secs(10));
    }
    for spins in [false, true] {
        let embedded = config().embedded().expect("the driver opens");
        let topic = embedded.topic("bench");
        embedded.blocking_warm_up(&["bench"]).expect("the broker answers");
        let name = if spins { "embedded, spinning" } else { "embedded" };
        tell(name, || {
            let delivery = topic.try_send(Record::new().partition(0).value(&VALUE));
            let delivery = delivery.expect("accepted");
            while delivery.verdict().is_none() {
                embedded.turn(spins.then(clock::now));
            }
        });
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
    println!("{name:<20} {:>10} {:>10} {:>10}", at(500), at(990), at(999));
}
