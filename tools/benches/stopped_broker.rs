//! What one stopped broker of three costs the records to the two others: their latency percentiles
//! while all three answer, and while one serves nobody, as a process that was stopped: its kernel
//! takes bytes and connections, and nothing answers.
//!
//! The two states take turns in one run, so that whatever else the machine does meets both. One
//! thread sends on a schedule, linger 0, to the three partitions in turn; latency counts from when
//! a record was meant to be sent. The null broker is a thread of this process.
//!
//! `tools/stopped-broker [RATE [ROUNDS [SECONDS]]]`: records a second, rounds, seconds of each
//! state in a round; the default is 3000, 10, 2.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use hdrhistogram::Histogram;
use kuring::{Delivery, Producer, Record, Topic};
use kuring_tools::clock::{now, wait_until};
use kuring_tools::sink::{Sink, SinkHandle, SinkOptions};

const BROKERS: usize = 3;
/// The partition that the last broker leads: they lead them in turn.
const STOPPED: usize = BROKERS - 1;
const VALUE: [u8; 100] = [b'x'; 100];
/// Far beyond what a broker needs that answers.
const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    sink: SinkHandle,
    producer: Producer,
    topic: Topic,
    /// Between two records.
    pause: Duration,
    records: u32,
}

impl Rig {
    fn new(rate: u32, seconds: u32) -> Result<Self, Box<dyn Error>> {
        let sink = Sink::start(&SinkOptions {
            brokers: BROKERS,
            partitions: BROKERS,
            ..SinkOptions::default()
        })?;
        let producer = Producer::builder()
            .bootstrap_servers(sink.address().to_string())
            .linger(Duration::ZERO)
            .build()?;
        producer.blocking_warm_up(&["bench"])?;
        let topic = producer.topic("bench");
        let pause = Duration::from_secs(1) / rate;
        Ok(Self { sink, producer, topic, pause, records: rate * seconds })
    }

    /// The latencies of the records to the others, in nanoseconds.
    fn measure(&self, stopped: bool) -> Result<Histogram<u64>, Box<dyn Error>> {
        self.sink.stall(STOPPED, stopped);
        // The answer says that it is so.
        self.sink.totals();
        let start = now();
        let mut sent: Vec<(_, Delivery)> = Vec::with_capacity(self.records as usize);
        let mut held = Vec::with_capacity(self.records as usize / BROKERS + 1);
        for number in 0..self.records {
            let due = start + self.pause * number;
            wait_until(due);
            let partition = number as usize % BROKERS;
            let record = Record::new().partition(partition as i32).value(&VALUE);
            let delivery = self.topic.blocking_send(record)?;
            if partition == STOPPED {
                held.push(delivery);
            } else {
                sent.push((due, delivery));
            }
        }
        // One of each partition: behind it all others have their verdicts, with their times.
        for (_, last) in sent.split_off(sent.len() - (BROKERS - 1)) {
            last.wait()?;
        }
        let mut latencies = Histogram::new(3)?;
        for (due, delivery) in sent {
            let at = delivery.verdict().ok_or("verdicts come in order")??.at;
            latencies.record(at.saturating_duration_since(due).as_nanos() as u64)?;
        }
        let answered = held.iter().filter(|delivery| delivery.is_done()).count();
        assert!(!stopped || answered == 0, "the stopped broker has answered {answered} times");
        self.sink.stall(STOPPED, false);
        self.producer.blocking_flush();
        assert!(held.iter().all(|delivery| matches!(delivery.verdict(), Some(Ok(_)))));
        Ok(latencies)
    }
}

fn micros(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e3
}

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds `--bench`.
    let numbers = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let numbers: Vec<u32> = numbers.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default).max(1);
    let rig = Rig::new(number(0, 3000).max(BROKERS as u32), number(2, 2))?;
    // Everything has been used once by then.
    rig.measure(true)?;
    rig.measure(false)?;
    let mut all: [Histogram<u64>; 2] = [Histogram::new(3)?, Histogram::new(3)?];
    let mut ratios = Vec::new();
    for _ in 0..number(1, 10) {
        let round = [rig.measure(false)?, rig.measure(true)?];
        ratios.push(micros(&round[1], 0.99) / micros(&round[0], 0.99));
        for (total, latencies) in all.iter_mut().zip(&round) {
            total.add(latencies)?;
        }
    }
    println!("{:<24} {:>10} {:>10} {:>10}", "records to the others", "p50", "p99", "p99.9");
    for (name, latencies) in ["all three answer", "one is stopped"].into_iter().zip(&all) {
        let cell = |quantile| format!("{:.1} us", micros(latencies, quantile));
        println!("{name:<24} {:>10} {:>10} {:>10}", cell(0.5), cell(0.99), cell(0.999));
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = micros(&all[1], 0.99) / micros(&all[0], 0.99);
    println!(
        "p99 with one stopped: {ratio:.2} times, median round {:.2}",
        ratios[ratios.len() / 2]
    );
    rig.producer.close(PATIENCE);
    Ok(())
}
