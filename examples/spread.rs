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

/// What became of the records that were offered.
struct Tally {
    start: Instant,
    leaders: Vec<Option<BrokerId>>,
    completions: Vec<Completion>,
    acknowledged: BTreeMap<Option<BrokerId>, u64>,
    waits: Vec<Duration>,
    ended: u64,
    refused: u64,
}

impl Tally {
    fn new(leaders: Vec<Option<BrokerId>>) -> Self {
        Self {
            start: now(),
            leaders,
            completions: vec![Completion::EMPTY; 4096],
            acknowledged: BTreeMap::new(),
            waits: Vec::new(),
            ended: 0,
            refused: 0,
        }
    }

    /// Takes the verdicts that are there.
    fn collect(&mut self, producer: &Producer) {
        loop {
            let count = producer.poll_deliveries(&mut self.completions);
            for completion in &self.completions[..count] {
                self.ended += 1;
                let Ok(written) = &completion.verdict else { continue };
                let leader = self.leaders[written.partition as usize];
                *self.acknowledged.entry(leader).or_default() += 1;
                let sent = self.start + Duration::from_nanos(completion.user_data);
                self.waits.push(written.at.saturating_duration_since(sent));
            }
            if count == 0 {
                return;
            }
        }
    }

    fn into_line(mut self) -> String {
        self.waits.sort_unstable();
        let at = |share: usize| {
            let wait = self.waits.get(self.waits.len() * share / 100);
            wait.copied().unwrap_or_default()
        };
        let all: u64 = self.acknowledged.values().sum();
        let shares = self.acknowledged.iter().map(|(broker, count)| {
            let broker = broker.map_or_else(|| "none".to_owned(), |broker| broker.0.to_string());
            format!("broker {broker}: {:5.1} %", 100.0 * *count as f64 / all as f64)
        });
        let shares = shares.collect::<Vec<_>>().join("  ");
        let refused = self.refused;
        format!("{shares}  refused {refused}  median {:.1?}  p99 {:.1?}", at(50), at(99))
    }
}

/// Offers so many records a second; who got how many.
fn offer(
    producer: &Producer,
    name: &str,
    per_second: u64,
    seconds: u64,
) -> Result<String, Box<dyn Error>> {
    let partitions = producer.blocking_partitions_for(name)?;
    producer.blocking_warm_up(&[name])?;
    let topic = producer.topic(name);
    // Queue lengths count once each partition has had a batch.
    for partition in 0..partitions.len() as i32 {
        topic.blocking_send(Record::new().partition(partition).value(&VALUE))?.wait()?;
    }
    let mut tally = Tally::new(partitions.iter().map(|partition| partition.leader).collect());
    let (mut offered, mut taken) = (0, 0);
    while tally.start.elapsed() < Duration::from_secs(seconds) {
        let due = (tally.start.elapsed().as_secs_f64() * per_second as f64) as u64;
        while offered < due {
            let sent_at = tally.start.elapsed().as_nanos() as u64;
            match topic.try_submit(Record::new().value(&VALUE), sent_at) {
                Ok(()) => taken += 1,
                Err(_) => tally.refused += 1,
            }
            offered += 1;
        }
        tally.collect(producer);
        producer.wait_deliveries(now() + Duration::from_millis(1));
    }
    producer.blocking_flush();
    while tally.ended < taken {
        producer.wait_deliveries(now() + Duration::from_millis(100));
        tally.collect(producer);
    }
    Ok(tally.into_line())
}
