//! Records with keys and headers, configured by a Java properties file. A key decides the
//! partition as the Java producer does, so both can write the same topic.
//!
//! `cargo run --example keyed -- localhost:9092 examples/producer.properties`

use std::error::Error;
use std::time::Duration;

use kuring::{Delivery, Header, Producer, Record};

const USERS: [&str; 5] = ["ada", "bert", "cleo", "dora", "emil"];
const PAGES: [&str; 3] = ["/", "/cart", "/paid"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next();
    let file = arguments.next().unwrap_or_else(|| "examples/producer.properties".into());
    let mut builder = Producer::builder().properties_file(file)?;
    // Typed setters and properties mix; the later one wins.
    if let Some(servers) = servers {
        builder = builder.bootstrap_servers(servers);
    }
    let producer = builder.build()?;
    let topic = producer.topic("clicks");

    let headers =
        [Header { key: "source", value: Some(b"web") }, Header { key: "trace", value: None }];
    let mut deliveries: Vec<(&str, Delivery)> = Vec::new();
    for page in PAGES {
        for user in USERS {
            let record = Record::new().key(user).value(page).headers(&headers);
            deliveries.push((user, topic.blocking_send(record)?));
        }
    }
    // A null value deletes the key from a compacted topic.
    deliveries.push(("ada", topic.blocking_send(Record::new().key("ada"))?));

    for (user, delivery) in deliveries {
        let written = delivery.wait()?;
        println!("{user}: {}-{} at {:?}", written.topic, written.partition, written.offset);
    }
    println!("{:?}", producer.close(Duration::from_secs(5)));
    Ok(())
}
