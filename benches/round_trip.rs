//! How long an unloaded record takes, from `blocking_send` to its verdict, one after the other,
//! linger 0: the whole way through two threads and the broker.
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

fn producer(driver: &str) -> Producer {
    let broker = std::env::var("KURING_BROKER");
    let broker = broker.expect("KURING_BROKER names a broker, such as kuring sink's address");
    let config = ConfigBuilder::new().bootstrap_servers(broker).linger(Duration::ZERO);
    let config = config.property("kuring.driver", driver).expect("a driver's name");
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
    println!("{:<12} {:>10} {:>10} {:>10}", "driver", "p50", "p99", "p99.9");
    for driver in DRIVERS {
        let producer = producer(driver);
        let topic = producer.topic("bench");
        (0..ROUND_TRIPS / 10).for_each(|_| round_trip(&topic));
        let mut nanos: Vec<_> = (0..ROUND_TRIPS)
            .map(|_| {
                let began = clock::now();
                round_trip(&topic);
                (clock::now() - began).as_nanos()
            })
            .collect();
        nanos.sort_unstable();
        let at = |share: usize| format!("{:.1} us", nanos[nanos.len() * share / 1000] as f64 / 1e3);
        println!("{driver:<12} {:>10} {:>10} {:>10}", at(500), at(990), at(999));
        producer.close(Duration::from_secs(10));
    }
}
