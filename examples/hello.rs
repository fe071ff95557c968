//! The shortest program: one record to a topic, and where it went.
//!
//! `cargo run --example hello -- localhost:9092`

use std::time::Duration;

use kuring::{Producer, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".into());
    let producer = Producer::builder().bootstrap_servers(servers).build()?;
    let topic = producer.topic("events");
    let delivery = topic.blocking_send(Record::new().key("user-7").value("clicked"))?;
    let written = delivery.wait()?;
    println!("{} partition {} offset {:?}", written.topic, written.partition, written.offset);
    println!("{:?}", producer.close(Duration::from_secs(5)));
    Ok(())
}
