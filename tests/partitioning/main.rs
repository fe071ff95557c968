//! How unkeyed records spread over brokers of which one is slow, or stuck, or elsewhere: a whole
//! producer against three brokers in memory, in virtual time.
//!
//! The tables of docs/partitioning.md are what these tests print:
//! `cargo test --features simulation --test partitioning -- --nocapture --test-threads 1`.
#![forbid(unsafe_code)]

mod brokers;

use std::fmt;
use std::time::Duration;

use kuring::simulation::{self, SimulatedShard, application_thread, clock};
use kuring::{Completion, ConfigBuilder, Producer, Record, Topic};

use brokers::{Brokers, Pace, TOPIC, address_of};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const START: u64 = SECOND;
const STEP: u64 = MILLISECOND / 10;
const PARTITIONS: usize = 9;
const VALUE: [u8; 1000] = [b'v'; 1000];
/// One record of 1000 bytes per step: ten megabytes a second.
const PER_SECOND: u64 = SECOND / STEP;

/// What became of the records that were offered.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    /// Acknowledged, by broker.
    acknowledged: [u64; 3],
    /// Not taken, for want of memory.
    refused: u64,
    failed: u64,
    /// Nanoseconds from the call to the verdict.
    median: u64,
    p99: u64,
}

impl Spread {
    fn share(&self, broker: usize) -> f64 {
        self.acknowledged[broker - 1] as f64 / self.acknowledged.iter().sum::<u64>() as f64
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for broker in 1..=3 {
            write!(f, " {:>5.1} % |", 100.0 * self.share(broker))?;
        }
        let ms = |nanos: u64| nanos as f64 / MILLISECOND as f64;
        write!(f, " {} | {:.1} | {:.1} |", self.refused, ms(self.median), ms(self.p99))
    }
}

struct Run {
    producer: Producer,
    topic: Topic,
    shard: Option<SimulatedShard<Brokers>>,
    completions: Vec<Completion>,
    spread: Spread,
    waits: Vec<u64>,
}

impl Run {
    fn new(config: ConfigBuilder, paces: Vec<Pace>) -> Self {
        let wall_ms = 1_750_000_000_000;
        clock::set(Some(clock::Time { nanos: START, wall_ms, ..clock::Time::default() }));
        application_thread(0, 7);
        let settings = config.bootstrap_servers("127.0.0.1:9000").settings().expect("settings");
        let mut brokers = Some(Brokers::new(paces, vec!["a", "b", "c"], PARTITIONS));
        let open = |_| brokers.take().expect("one shard");
        let made = simulation::producer(settings, &[address_of(0)], &[7], open);
        let (producer, mut shards) = made.expect("the kernel has memory for the arena");
        let mut run = Self {
            topic: producer.topic(TOPIC),
            producer,
            shard: shards.pop(),
            completions: vec![Completion::EMPTY; 1024],
            spread: Spread::default(),
            waits: Vec::new(),
        };
        // ADP-1: until each partition had a batch, queue lengths do not count.
        for partition in 0..PARTITIONS as i32 {
            while run.topic.try_submit(Record::new().partition(partition), 0).is_err() {
                run.step();
            }
        }
        while run.producer.metrics().acknowledged < PARTITIONS as u64 {
            run.step();
        }
        run.spread = Spread::default();
        run.waits.clear();
        run
    }

    fn now(&self) -> u64 {
        clock::time().expect("the clocks are ours").nanos
    }

    /// One turn of the shard, a tenth of a millisecond later.
    fn step(&mut self) {
        let mut time = clock::time().expect("the clocks are ours");
        time.nanos += STEP;
        time.wall_ms = 1_750_000_000_000 + (time.nanos / MILLISECOND) as i64;
        clock::set(Some(time));
        if let Some(shard) = &mut self.shard
            && shard.step()
        {
            self.shard.take().into_iter().for_each(SimulatedShard::end);
        }
        self.collect();
    }

    fn collect(&mut self) {
        let now = self.now();
        loop {
            let count = self.producer.poll_deliveries(&mut self.completions);
            for completion in &self.completions[..count] {
                match &completion.verdict {
                    Ok(found) => {
                        self.spread.acknowledged[found.partition as usize % 3] += 1;
                        self.waits.push(now - completion.user_data);
                    }
                    Err(_) => self.spread.failed += 1,
                }
            }
            if count == 0 {
                return;
            }
        }
    }

    /// Offers records for so long, then waits for all verdicts.
    fn offer(mut self, time: Duration) -> Spread {
        let end = self.now() + time.as_nanos() as u64;
        while self.now() < end {
            let sent_at = self.now();
            if self.topic.try_submit(Record::new().value(&VALUE), sent_at).is_err() {
                self.spread.refused += 1;
            }
            self.step();
        }
        simulation::start_close(&self.producer, Duration::from_secs(600));
        while self.shard.is_some() {
            self.step();
        }
        self.collect();
        self.waits.sort_unstable();
        let at = |share: usize| self.waits.get(self.waits.len() * share / 100).copied();
        (self.spread.median, self.spread.p99) = (at(50).unwrap_or(0), at(99).unwrap_or(0));
        self.spread
    }
}

fn config() -> ConfigBuilder {
    ConfigBuilder::new().buffer_memory(32 << 20)
}

fn steady(nanos: u64) -> Pace {
    Box::new(move |_| nanos)
}

/// The third broker takes fifteen times as long for each request as the others.
fn one_slow() -> Vec<Pace> {
    vec![steady(2 * MILLISECOND), steady(2 * MILLISECOND), steady(30 * MILLISECOND)]
}

/// The third broker answers nothing for two and a half of the five seconds, after the first.
fn one_stuck() -> Vec<Pace> {
    let (from, until) = (START + SECOND, START + 7 * SECOND / 2);
    let stuck = move |begins: u64| {
        if (from..until).contains(&begins) { until - begins } else { 2 * MILLISECOND }
    };
    vec![steady(2 * MILLISECOND), steady(2 * MILLISECOND), Box::new(stuck)]
}

fn table(title: &str, rows: &[(&str, Spread)]) {
    println!("\n{title}: {PER_SECOND} records of 1000 bytes a second, five seconds\n");
    println!("| | broker 1 | broker 2 | broker 3 | refused | median, ms | p99, ms |");
    println!("|---|---|---|---|---|---|---|");
    rows.iter().for_each(|(name, spread)| println!("| {name} |{spread}"));
}

fn run(config: ConfigBuilder, paces: Vec<Pace>) -> Spread {
    let spread = Run::new(config, paces).offer(Duration::from_secs(5));
    assert_eq!(spread.failed, 0, "{spread:?}");
    let ended = spread.acknowledged.iter().sum::<u64>() + spread.refused;
    assert_eq!(ended, 5 * PER_SECOND, "each has one end: {spread:?}");
    spread
}

#[test]
fn adp_2_a_slow_broker_gets_less() {
    let even = run(
        config(),
        vec![steady(2 * MILLISECOND), steady(2 * MILLISECOND), steady(2 * MILLISECOND)],
    );
    let plain = run(config().adaptive_partitioning(false), one_slow());
    let adaptive = run(config(), one_slow());
    table(
        "broker 3 takes 30 ms for a request, the others 2 ms",
        &[("all take 2 ms", even), ("not adaptive", plain), ("adaptive", adaptive)],
    );
    assert!((1..=3).all(|broker| (even.share(broker) - 1.0 / 3.0).abs() < 0.03), "{even:?}");
    assert!(adaptive.share(3) < 0.75 * plain.share(3).min(1.0 / 3.0), "{adaptive:?} {plain:?}");
    assert_eq!(adaptive.refused, 0);
    assert!(adaptive.median <= plain.median && adaptive.p99 < plain.p99);
}

#[test]
fn avl_1_a_stuck_broker_gets_nothing_until_it_goes_on() {
    let plain = run(config().adaptive_partitioning(false), one_stuck());
    let adaptive = run(config(), one_stuck());
    let watched = run(config().availability_timeout(Duration::from_millis(100)), one_stuck());
    table(
        "broker 3 answers nothing for 2.5 seconds",
        &[
            ("not adaptive", plain),
            ("adaptive", adaptive),
            ("adaptive, availability timeout 100 ms", watched),
        ],
    );
    assert!(adaptive.share(3) < plain.share(3), "{adaptive:?} {plain:?}");
    assert!(watched.share(3) < adaptive.share(3), "{watched:?} {adaptive:?}");
    assert!(watched.share(3) > 0.1, "it is used when it goes on: {watched:?}");
}

#[test]
fn rck_1_records_stay_in_the_rack() {
    let config = config().rack_aware(true).client_rack("b");
    let near = run(
        config,
        vec![steady(2 * MILLISECOND), steady(2 * MILLISECOND), steady(2 * MILLISECOND)],
    );
    table("partitioner.rack.aware, client.rack=b", &[("near", near)]);
    assert_eq!(near.share(2), 1.0);
}
