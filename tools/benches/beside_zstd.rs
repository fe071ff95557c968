//! What a topic that compresses with zstd at full speed costs the records of another topic, which is
//! not compressed, on the same shard: their latency percentiles with and without, taking turns.
//!
//! One thread sends the measured records on a schedule, linger 0; latency counts from when a record
//! was meant to be sent. Another one sends pieces of this project's sources of 1 KiB, as fast as the
//! producer takes them, in its turns: compressed in one kind of turn, and plain at the speed that
//! the compressor reached in the other, so that what differs is the compressing alone.
//! `alone` in the place of the plain ones: nothing else is sent in those turns. `elsewhere`: another
//! producer compresses in those turns, at full speed too, so that the machine has as much to do and
//! what differs is that a shard, its memory and its connection are shared.
//!
//! `tools/beside-zstd [RATE [ROUNDS [SECONDS [alone|elsewhere]]]]`: measured records a second, rounds, seconds
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
    /// The same by another producer.
    Elsewhere,
    /// Plain, so many pieces a second.
    Plain(f64),
}

struct Topics {
    measured: Topic,
    compressed: Topic,
    /// The same of the other producer.
    elsewhere: Topic,
    plain: Topic,
}

struct Rig {
    _sink: SinkHandle,
    producer: Producer,
    other: Producer,
    topics: Topics,
    text: Vec<u8>,
    pause: Duration,
    records: u32,
}

impl Rig {
    fn new(rate: u32, seconds: u32) -> Result<Self, Box<dyn Error>> {
        let sink = Sink::start(&SinkOptions::default())?;
        let (producer, other) = (producer_to(&sink)?, producer_to(&sink)?);
        producer.blocking_warm_up(&["measured", "compressed", "plain"])?;
        other.blocking_warm_up(&["compressed"])?;
        let zstd = TopicOptions::new().compression(Compression::ZSTD);
        let compressed = producer.topic_with("compressed", &zstd)?;
        let elsewhere = other.topic_with("compressed", &zstd)?;
        let (measured, plain) = (producer.topic("measured"), producer.topic("plain"));
        let mut text = Vec::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"), &mut text)?;
        let pause = Duration::from_secs(1) / rate;
        let records = rate * seconds;
        let topics = Topics { measured, compressed, elsewhere, plain };
        Ok(Self { _sink: sink, producer, other, topics, text, pause, records })
    }

    /// The latencies in nanoseconds, and how many pieces a second went beside.
    fn measure(&self, beside: Option<Beside>) -> Result<(Histogram<u64>, f64), Box<dyn Error>> {
        let over = AtomicBool::new(false);
        let (latencies, pieces) = thread::scope(|scope| {
            let other = scope.spawn(|| beside.map_or(0.0, |beside| self.flood(beside, &over)));
            let sent = paced::send(self.records, self.pause, |_| {
                Ok(self.topics.measured.blocking_send(Record::new().value(&VALUE))?)
            });
            over.store(true, Relaxed);
            let pieces = other.join().expect("the other thread ends");
            self.producer.blocking_flush();
            self.other.blocking_flush();
            sent.and_then(paced::latencies).map(|latencies| (latencies, pieces))
        })?;
        Ok((latencies, pieces))
    }

    /// Sends pieces until it is over; returns how many a second.
    fn flood(&self, beside: Beside, over: &AtomicBool) -> f64 {
        let topic = match beside {
            Beside::Compressing => &self.topics.compressed,
            Beside::Elsewhere => &self.topics.elsewhere,
            Beside::Plain(_) => &self.topics.plain,
        };
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

/// A producer with one shard that sends at once.
fn producer_to(sink: &SinkHandle) -> Result<Producer, Box<dyn Error>> {
    Ok(Producer::builder()
        .bootstrap_servers(sink.address().to_string())
        .linger(Duration::ZERO)
        .property("kuring.shards", "1")?
        .build()?)
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
    let with = |word: &str| std::env::args().any(|argument| argument == word);
    let numbers = paced::numbers()?;
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default).max(1);
    let rig = Rig::new(number(0, 1000), number(2, 2))?;
    // Everything has been used once by then.
    rig.measure(Some(Beside::Elsewhere))?;
    let (_, mut pieces) = rig.measure(Some(Beside::Compressing))?;
    let first = match () {
        () if with("alone") => "nothing beside",
        () if with("elsewhere") => "zstd in another producer",
        () => "as many plain pieces beside",
    };
    let mut turns = Turns::new([first, "zstd at full speed beside"])?;
    for _ in 0..number(1, 10) {
        let calm = match () {
            () if with("alone") => None,
            () if with("elsewhere") => Some(Beside::Elsewhere),
            () => Some(Beside::Plain(pieces)),
        };
        let (calm, _) = rig.measure(calm)?;
        let (busy, found) = rig.measure(Some(Beside::Compressing))?;
        pieces = found;
        turns.add(&[calm, busy])?;
    }
    turns.print();
    println!("{pieces:.0} pieces of 1 KiB a second compressed in the last turn");
    rig.producer.close(PATIENCE);
    rig.other.close(PATIENCE);
    Ok(())
}
