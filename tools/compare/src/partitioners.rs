//! Whether Kuring puts keys where librdkafka does, by each of its partitioners: both send the same
//! keys to the same topic of a broker, which may be a null one, and the partitions are compared.
//!
//! `kuring sink --listen 127.0.0.1:9092 --partitions 17`, then `compare partitioners`.

use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use compare_measure::Outcome;
use kuring::{Producer, Record};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

/// The partitioners, and whether one of them puts records without a key, and with an empty one,
/// into a partition of their own: otherwise these go anywhere.
const NAMES: [(&str, bool, bool); 6] = [
    ("consistent", true, true),
    ("consistent_random", false, false),
    ("murmur2", true, true),
    ("murmur2_random", false, true),
    ("fnv1a", true, true),
    ("fnv1a_random", false, true),
];

/// How it runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// The topic, with as many partitions as it has.
    #[arg(long, default_value = "partitioners")]
    topic: String,
    /// Keys, of 0 to 63 random bytes.
    #[arg(long, default_value_t = 2000)]
    keys: usize,
}

/// Notes the partitions of the records, by number.
struct Places(Mutex<Vec<Option<i32>>>);

impl ClientContext for Places {}

impl ProducerContext for Places {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let (Ok(message), Ok(mut places)) = (result, self.0.lock()) {
            places[number] = Some(message.partition());
        }
    }
}

/// None, the empty key, and random ones; the same in every run.
fn keys(count: usize) -> Vec<Option<Vec<u8>>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as usize
    };
    let random = (0..count).map(|_| {
        let length = draw() % 64;
        Some((0..length).map(|_| draw() as u8).collect())
    });
    [None, Some(Vec::new())].into_iter().chain(random).collect()
}

fn by_librdkafka(
    options: &Options,
    name: &str,
    keys: &[Option<Vec<u8>>],
) -> Outcome<Vec<Option<i32>>> {
    let producer: BaseProducer<Places> = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("partitioner", name)
        .create_with_context(Places(Mutex::new(vec![None; keys.len()])))?;
    for (number, key) in keys.iter().enumerate() {
        let record = BaseRecord::with_opaque_to(&options.topic, number).payload("v");
        let record: BaseRecord<'_, [u8], str, usize> = match key {
            Some(key) => record.key(key),
            None => record,
        };
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    let places = producer.context().0.lock().map_err(|_| "a delivery callback panicked")?;
    Ok(places.clone())
}

fn by_kuring(options: &Options, name: &str, keys: &[Option<Vec<u8>>]) -> Outcome<Vec<Option<i32>>> {
    let builder = Producer::builder().bootstrap_servers(&options.brokers);
    let producer = builder.property("partitioner.class", name)?.build()?;
    let topic = producer.topic(&options.topic);
    let send = |key: &Option<Vec<u8>>| {
        let record = Record::new().value("v");
        topic.blocking_send(match key {
            Some(key) => record.key(key),
            None => record,
        })
    };
    let sent: Vec<_> = keys.iter().map(send).collect::<Result<_, _>>()?;
    let places = sent.into_iter().map(|delivery| Ok(Some(delivery.wait()?.partition)));
    places.collect()
}

/// Prints a table; an error if there is a difference.
pub(crate) fn print(options: &Options) -> Outcome<()> {
    let keys = keys(options.keys);
    println!("{}\n", crate::librdkafka::version());
    println!("| partitioner | keys compared | placed differently |\n|---|---|---|");
    let mut wrong = 0;
    for (name, has_null, has_empty) in NAMES {
        let theirs = by_librdkafka(options, name, &keys)?;
        let ours = by_kuring(options, name, &keys)?;
        let (mut compared, mut different) = (0, 0);
        for ((key, theirs), ours) in keys.iter().zip(theirs).zip(ours) {
            let is_fixed = match key.as_deref() {
                None => has_null,
                Some([]) => has_empty,
                Some(_) => true,
            };
            compared += usize::from(is_fixed);
            different += usize::from(is_fixed && (theirs != ours || theirs.is_none()));
        }
        println!("| `{name}` | {compared} | {different} |");
        wrong += different;
    }
    if wrong > 0 {
        return Err(format!("{wrong} keys are placed differently").into());
    }
    Ok(())
}
