//! How records without a key spread over the brokers of a topic, with each way of choosing: what
//! to look at when one of them is slow.
//!
//! `cargo run --release --example spread -- localhost:9092 events`, and optionally the megabytes a
//! second and the seconds per row. With three brokers of which the third is slow:
//! `kuring sink --brokers 3 --partitions 9 --slow 3:50ms`.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use kuring::{BrokerId, Completion, Producer, Record};

const VALUE: [u8; 1000] = [b'v'; 1000];

/// The settings of each row.
const ROWS: [(&str, &[(&str, &str)]); 3] = [
    ("not adaptive", &[("partitioner.adaptive.partitioning.enable", "false")]),
    ("adaptive (default)", &[]),
    ("adaptive, availability 100 ms", &[("partitioner.availability.timeout.ms", "100")]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().unwrap_or_else(|| "localhost:9092".into());
    let name = arguments.next().unwrap_or_else(|| "events".into());
    let megabytes: u64 = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    println!("{megabytes} MB/s offered for {seconds} s, records of 1000 bytes; acknowledged:\n");
    for (row, settings) in ROWS {
        let builder = Producer::builder().bootstrap_servers(&servers);
        let builder = builder.properties(settings.iter().copied())?;
        println!("{row:<30} {}", offer(&builder.build()?, &name, megabytes * 1000, seconds)?);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a program has its own clock")]
fn now() -> Instant {
    Instant::now()
}

/// Offers so many records a second; who got how many.
fn offer(
    producer: &Producer,
    name: &str,
    per_second: u64,
    seconds: u64,
) -> Result<String, Box<dyn Error>> {
    let partitions = producer.blocking_partitions_for(name)?;
    let leader = |partition: i32| partitions[partition as usize].leader;
    producer.blocking_warm_up(&[name])?;
    let topic = producer.topic(name);
    // Queue lengths count once each partition has had a batch.
    for partition in 0..partitions.len() as i32 {
        topic.blocking_send(Record::new().partition(partition).value(&VALUE))?.wait()?;
    }
    let mut found: BTreeMap<Option<BrokerId>, u64> = BTreeMap::new();
    let mut waits = Vec::new();
    let mut completions = vec![Completion::EMPTY; 4096];
    let start = now();
    let (mut offered, mut taken, mut refused) = (0, 0, 0);
    let mut collect = |found: &mut BTreeMap<_, u64>| {
        let mut ended = 0;
        loop {
            let count = producer.poll_deliveries(&mut completions);
            for completion in &completions[..count] {
                ended += 1;
                let Ok(written) = &completion.verdict else { continue };
                *found.entry(leader(written.partition)).or_default() += 1;
                let sent = start + Duration::from_nanos(completion.user_data);
                waits.push(written.at.saturating_duration_since(sent));
            }
            if count == 0 {
                return ended;
            }
        }
    };
    let mut ended: u64 = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        let due = (start.elapsed().as_secs_f64() * per_second as f64) as u64;
        while offered < due {
            let sent_at = start.elapsed().as_nanos() as u64;
            match topic.try_submit(Record::new().value(&VALUE), sent_at) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
            offered += 1;
        }
        ended += collect(&mut found);
        producer.wait_deliveries(now() + Duration::from_millis(1));
    }
    producer.blocking_flush();
    while ended < taken {
        producer.wait_deliveries(now() + Duration::from_millis(100));
        ended += collect(&mut found);
    }
    drop(collect);
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
    let all: u64 = found.values().sum();
    let shares = found.iter().map(|(broker, count)| {
        let broker = broker.map_or_else(|| "none".to_owned(), |broker| broker.0.to_string());
        format!("broker {broker}: {:5.1} %", 100.0 * *count as f64 / all as f64)
    });
    let shares = shares.collect::<Vec<_>>().join("  ");
    Ok(format!("{shares}  refused {refused}  median {:.1?}  p99 {:.1?}", at(50), at(99)))
}
