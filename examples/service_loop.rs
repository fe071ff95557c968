//! A service's loop without callbacks and without a runtime: it sends as work comes in, looks at
//! verdicts when it has time, and slows down when memory is short.
//!
//! `cargo run --release --example service_loop -- localhost:9092`

use std::collections::VecDeque;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use kuring::{Acknowledged, Delivery, Producer, Record, SendError, Topic, TrySendError};

/// How many orders this service has to report.
const ORDERS: u64 = 1_000_000;

/// Verdicts not looked at, at most: what the service would have to account for if it ended now.
const OUTSTANDING_MAX: usize = 100_000;

/// The service's side of the bargain: every record it sent is counted once, here.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: u64,
    /// Certainly not written: sending them again cannot duplicate them.
    lost: u64,
    /// Perhaps written: sending them again may duplicate them.
    unclear: u64,
}

impl Tally {
    fn count(&mut self, verdict: Result<Acknowledged, SendError>) {
        match verdict {
            Ok(_) => self.acknowledged += 1,
            Err(error) if error.possibly_written() => self.unclear += 1,
            Err(_) => self.lost += 1,
        }
    }
}

/// Looks at the oldest deliveries without waiting, as far as their verdicts are there.
fn settle(outstanding: &mut VecDeque<Delivery>, tally: &mut Tally) {
    while let Some(verdict) = outstanding.front().and_then(Delivery::verdict) {
        outstanding.pop_front();
        tally.count(verdict);
    }
}

/// Waits for the oldest verdict. It comes: `delivery.timeout.ms` bounds every record.
fn wait_for_oldest(outstanding: &mut VecDeque<Delivery>, tally: &mut Tally) {
    let Some(oldest) = outstanding.pop_front() else { return };
    match oldest.wait() {
        Ok(_) => tally.acknowledged += 1,
        Err(error) => tally.count(Err(error)),
    }
}

/// Sends one record. The service is never stopped unless it has to be, and then by its own choice:
/// here it prefers waiting to dropping. A service that prefers dropping would count and go on.
fn send(
    topic: &Topic,
    record: Record<'_>,
    outstanding: &mut VecDeque<Delivery>,
    tally: &mut Tally,
) -> Result<(), SendError> {
    loop {
        match topic.try_send(record) {
            Ok(delivery) => {
                outstanding.push_back(delivery);
                return Ok(());
            }
            // Back-pressure: the brokers are slower than we are. Memory comes back with verdicts.
            Err(TrySendError::Memory) if !outstanding.is_empty() => {
                wait_for_oldest(outstanding, tally);
            }
            // The first record of a topic, or memory that others hold: wait up to max.block.ms.
            Err(TrySendError::Memory | TrySendError::Metadata) => {
                outstanding.push_back(topic.blocking_send(record)?);
                return Ok(());
            }
            Err(TrySendError::Rejected(error)) => return Err(error),
            Err(_) => return Err(SendError::Closed { possibly_written: false }),
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".into());
    let producer = Producer::builder().bootstrap_servers(servers).build()?;
    let topic = producer.topic("orders");
    let mut outstanding = VecDeque::with_capacity(OUTSTANDING_MAX);
    let mut tally = Tally::default();
    let mut text = String::new();

    for number in 0..ORDERS {
        // The work of the service; the record borrows from it and is copied by `try_send`.
        text.clear();
        std::fmt::write(&mut text, format_args!("{{\"order\":{number},\"state\":\"paid\"}}"))?;
        send(&topic, Record::new().value(&text), &mut outstanding, &mut tally)?;
        if outstanding.len() >= OUTSTANDING_MAX {
            wait_for_oldest(&mut outstanding, &mut tally);
        }
        settle(&mut outstanding, &mut tally);
    }

    // Close sends what was accepted, for at most ten seconds, and fails the rest: afterwards every
    // verdict is there.
    let summary = producer.close(Duration::from_secs(10));
    settle(&mut outstanding, &mut tally);
    println!("{tally:?}");
    println!("{summary:?}");
    let all = tally.acknowledged == ORDERS && summary.acknowledged == ORDERS;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
