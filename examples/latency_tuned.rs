//! The settings that trade processor time for latency, and what they give: one record at a time,
//! from send to acknowledgement.
//!
//! `cargo run --release --example latency_tuned -- localhost:9092 [affinity]`
//!
//! `affinity` is `auto`, `none`, CPUs (`2` or `4-7`) or `numa:0`; here it defaults to `none`, so
//! that the example runs on any machine. A latency-critical service names a CPU that nothing else
//! uses.

use std::error::Error;
use std::time::{Duration, Instant};

use kuring::{Producer, Record};

const RECORDS: usize = 10_000;

#[expect(clippy::disallowed_methods, reason = "a program has its own clock")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().unwrap_or_else(|| "localhost:9092".into());
    let affinity = arguments.next().unwrap_or_else(|| "none".into());
    let producer = Producer::builder()
        .bootstrap_servers(servers)
        // A batch leaves at once. Records that come while a request is on its way still share one.
        .linger(Duration::ZERO)
        // The sender looks for work this long before it sleeps; it uses its core meanwhile.
        .spin(Duration::from_micros(50))
        .affinity(affinity.parse()?)
        .build()?;
    // Metadata, connections and producer ids are there before the first record.
    producer.blocking_warm_up(&["latency"])?;
    let topic = producer.topic("latency");

    let mut micros = Vec::with_capacity(RECORDS);
    for number in 0..RECORDS {
        let sent = now();
        let written = topic.blocking_send(Record::new().value(&number.to_le_bytes()))?.wait();
        micros.push(sent.elapsed().as_micros());
        written?;
    }
    micros.sort_unstable();
    let quantile = |part: f64| micros[((RECORDS - 1) as f64 * part) as usize];
    println!("driver {}", producer.metrics().driver);
    println!("p50 {} us, p99 {} us, max {} us", quantile(0.5), quantile(0.99), quantile(1.0));
    println!("{:?}", producer.close(Duration::from_secs(5)));
    Ok(())
}
