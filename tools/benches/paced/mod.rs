//! Records on a schedule and how long they took, for the benches of what one thing costs another.
#![allow(dead_code, reason = "each bench uses its part")]

use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kuring::Delivery;
use kuring_tools::clock::{now, wait_until};

/// Sends `records` with `pause` between two; `send` gets the number of each. Returns when each was
/// meant to be sent, with its delivery.
pub(crate) fn send(
    records: u32,
    pause: Duration,
    mut send: impl FnMut(u32) -> Result<Delivery, Box<dyn Error>>,
) -> Result<Vec<(Instant, Delivery)>, Box<dyn Error>> {
    let start = now();
    let mut sent = Vec::with_capacity(records as usize);
    for number in 0..records {
        let due = start + pause * number;
        wait_until(due);
        sent.push((due, send(number)?));
    }
    Ok(sent)
}

/// The latencies in nanoseconds, from when a record was meant to be sent; all have their verdicts.
pub(crate) fn latencies(sent: Vec<(Instant, Delivery)>) -> Result<Histogram<u64>, Box<dyn Error>> {
    let mut latencies = Histogram::new(3)?;
    for (due, delivery) in sent {
        let at = delivery.verdict().ok_or("a record has no verdict")??.at;
        latencies.record(at.saturating_duration_since(due).as_nanos() as u64)?;
    }
    Ok(latencies)
}

/// Prints the percentiles of two states that took turns, and the ratio of the 99th.
pub(crate) struct Turns {
    names: [&'static str; 2],
    all: [Histogram<u64>; 2],
    ratios: Vec<f64>,
}

impl Turns {
    /// Nothing yet.
    pub(crate) fn new(names: [&'static str; 2]) -> Result<Self, Box<dyn Error>> {
        Ok(Self { names, all: [Histogram::new(3)?, Histogram::new(3)?], ratios: Vec::new() })
    }

    /// One turn of each.
    pub(crate) fn add(&mut self, round: &[Histogram<u64>; 2]) -> Result<(), Box<dyn Error>> {
        self.ratios.push(micros(&round[1], 0.99) / micros(&round[0], 0.99));
        for (total, latencies) in self.all.iter_mut().zip(round) {
            total.add(latencies)?;
        }
        Ok(())
    }

    /// The table.
    pub(crate) fn print(mut self) {
        println!("{:<34} {:>10} {:>10} {:>10}", "", "p50", "p99", "p99.9");
        for (name, latencies) in self.names.into_iter().zip(&self.all) {
            let cell = |quantile| format!("{:.1} us", micros(latencies, quantile));
            println!("{name:<34} {:>10} {:>10} {:>10}", cell(0.5), cell(0.99), cell(0.999));
        }
        self.ratios.sort_by(f64::total_cmp);
        let ratio = micros(&self.all[1], 0.99) / micros(&self.all[0], 0.99);
        let median = self.ratios[self.ratios.len() / 2];
        println!("p99 of the second: {ratio:.2} times, median round {median:.2}");
    }
}

fn micros(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e3
}

/// The numbers on the command line; `cargo bench` adds `--bench`.
pub(crate) fn numbers() -> Result<Vec<u32>, Box<dyn Error>> {
    let numbers =
        std::env::args().skip(1).filter(|argument| argument.starts_with(char::is_numeric));
    Ok(numbers.map(|text| text.parse()).collect::<Result<_, _>>()?)
}
