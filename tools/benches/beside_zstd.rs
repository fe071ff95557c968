//! What a topic that compresses with zstd at full speed costs the records of another topic, which is
//! not compressed, on the same shard: their latency percentiles with and without, taking turns.
//!
//! One thread sends the measured records on a schedule, linger 0; latency counts from when a record
//! was meant to be sent. Another one sends pieces of this project's sources of 1 KiB, as fast as the
//! producer takes them, in its turns: compressed in one kind of turn, and plain at the speed that
//! the compressor reached in the other, so that what differs is the compressing alone.
//! `alone` in the place of the plain ones: nothing else is sent in those turns.
//!
//! `tools/beside-zstd [RATE [ROUNDS [SECONDS [alone]]]]`: measured records a second, rounds, seconds
//! of each state in a round; the default is 1000, 10, 2.
#![forbid(unsafe_code)]

mod paced;

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{fs, thread};

use hdrhistogram::Histogram;
use kuring::{Compression, Producer, Record, Topic, TopicOptions};
use kuring_tools::clock::{now, wait_until};
use kuring_tools::sink::{Sink, SinkHandle, SinkOptions};
use paced::Turns;

const VALUE: [u8; 100] = [b'x'; 100];
const PIECE: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the other thread does meanwhile.
#[derive(Clone, Copy)]
enum Beside {
    Compressing,
    /// Plain, so many pieces a second.
    Plain(f64),
}

struct Rig {
    _sink: SinkHandle,
    producer: Producer,
    measured: Topic,
    compressed: Topic,
    plain: Topic,
    text: Vec<u8>,
    pause: Duration,
    records: u32,
}

impl Rig {
    fn new(rate: u32, seconds: u32) -> Result<Self, Box<dyn Error>> {
        let sink = Sink::start(&SinkOptions::default())?;
        let producer = Producer::builder()
            .bootstrap_servers(sink.address().to_string())
            .linger(Duration::ZERO)
            .property("kuring.shards", "1")?
            .build()?;
        producer.blocking_warm_up(&["measured", "compressed", "plain"])?;
        let zstd = TopicOptions::new().compression(Compression::ZSTD);
        let compressed = producer.topic_with("compressed", &zstd)?;
        let (measured, plain) = (producer.topic("measured"), producer.topic("plain"));
        let mut text = Vec::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"), &mut text)?;
        let pause = Duration::from_secs(1) / rate;
        let records = rate * seconds;
        Ok(Self { _sink: sink, producer, measured, compressed, plain, text, pause, records })
    }

    /// The latencies in nanoseconds, and how many pieces a second went beside.
    fn measure(&self, beside: Option<Beside>) -> Result<(Histogram<u64>, f64), Box<dyn Error>> {
        let over = AtomicBool::new(false);
        let (latencies, pieces) = thread::scope(|scope| {
            let other = scope.spawn(|| beside.map_or(0.0, |beside| self.flood(beside, &over)));
            let sent = paced::send(self.records, self.pause, |_| {
                Ok(self.measured.blocking_send(Record::new().value(&VALUE))?)
            });
            over.store(true, Relaxed);
            let pieces = other.join().expect("the other thread ends");
            self.producer.blocking_flush();
            sent.and_then(paced::latencies).map(|latencies| (latencies, pieces))
        })?;
        Ok((latencies, pieces))
    }

    /// Sends pieces until it is over; returns how many a second.
    fn flood(&self, beside: Beside, over: &AtomicBool) -> f64 {
        let topic = if let Beside::Compressing = beside { &self.compressed } else { &self.plain };
        let start = now();
        let mut sent = 0_u32;
        for piece in self.text.chunks_exact(PIECE).cycle() {
            if over.load(Relaxed) {
                break;
            }
            if let Beside::Plain(rate) = beside {
                wait_until(start + Duration::from_secs_f64(f64::from(sent) / rate));
            }
            drop(topic.blocking_send(Record::new().value(piece)).expect("there is a broker"));
            sent += 1;
        }
        f64::from(sent) / start.elapsed().as_secs_f64()
    }
}

/// All sources below a folder.
fn read(folder: &Path, text: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, text)?;
        } else {
            text.extend(fs::read(&path)?);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let alone = std::env::args().any(|argument| argument == "alone");
    let numbers = paced::numbers()?;
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default).max(1);
    let rig = Rig::new(number(0, 1000), number(2, 2))?;
    // Everything has been used once by then.
    let (_, mut pieces) = rig.measure(Some(Beside::Compressing))?;
    let first = if alone { "nothing beside" } else { "as many plain pieces beside" };
    let mut turns = Turns::new([first, "zstd at full speed beside"])?;
    for _ in 0..number(1, 10) {
        let (calm, _) = rig.measure((!alone).then_some(Beside::Plain(pieces)))?;
        let (busy, found) = rig.measure(Some(Beside::Compressing))?;
        pieces = found;
        turns.add(&[calm, busy])?;
    }
    turns.print();
    println!("{pieces:.0} pieces of 1 KiB a second compressed in the last turn");
    rig.producer.close(PATIENCE);
    Ok(())
}
