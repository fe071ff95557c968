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

mod paced;

use std::error::Error;
use std::time::Duration;

use hdrhistogram::Histogram;
use kuring::{Producer, Record, Topic};
use kuring_tools::sink::{Sink, SinkHandle, SinkOptions};
use paced::Turns;

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
        let partition = |number: u32| number as usize % BROKERS;
        let sent = paced::send(self.records, self.pause, |number| {
            let record = Record::new().partition(partition(number) as i32).value(&VALUE);
            Ok(self.topic.blocking_send(record)?)
        })?;
        let numbered = sent.into_iter().zip(0..);
        let (held, mut sent): (Vec<_>, Vec<_>) =
            numbered.partition(|(_, number)| partition(*number) == STOPPED);
        // One of each partition: behind it all others have their verdicts, with their times.
        for ((_, last), _) in sent.split_off(sent.len() - (BROKERS - 1)) {
            last.wait()?;
        }
        let latencies = paced::latencies(sent.into_iter().map(|(sent, _)| sent).collect())?;
        let answered = held.iter().filter(|((_, delivery), _)| delivery.is_done()).count();
        assert!(!stopped || answered == 0, "the stopped broker has answered {answered} times");
        self.sink.stall(STOPPED, false);
        self.producer.blocking_flush();
        let is_acknowledged = |verdict| matches!(verdict, Some(Ok(_)));
        assert!(held.iter().all(|((_, delivery), _)| is_acknowledged(delivery.verdict())));
        Ok(latencies)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers = paced::numbers()?;
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default).max(1);
    let rig = Rig::new(number(0, 3000).max(BROKERS as u32), number(2, 2))?;
    // Everything has been used once by then.
    rig.measure(true)?;
    rig.measure(false)?;
    let mut turns =
        Turns::new(["to the others, all three answer", "to the others, one is stopped"])?;
    for _ in 0..number(1, 10) {
        turns.add(&[rig.measure(false)?, rig.measure(true)?])?;
    }
    turns.print();
    rig.producer.close(PATIENCE);
    Ok(())
}
