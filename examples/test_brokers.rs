//! Brokers for tests, as a process: for services in other languages, and for a look at what a
//! client does.
//!
//!     cargo run --example test_brokers --features testing -- 3 events:6 clicks:1
//!
//! Starts so many brokers with these topics, each with so many partitions; makes every other topic
//! that is asked for with one. The first line of its output is what goes into `bootstrap.servers`.
//! Enter, or the end of its input, ends it: then it tells what arrived, by client and request, what
//! is in the topics, and what no sound client does, for which its exit status is 1.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;

use kuring::testing::Cluster;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let brokers = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let mut builder = Cluster::builder().brokers(brokers).auto_create_topics(1);
    let mut topics = Vec::new();
    for argument in arguments {
        let (name, partitions) = argument.split_once(':').unwrap_or((&argument, "1"));
        builder = builder.topic(name, partitions.parse()?);
        topics.push(name.to_owned());
    }
    let cluster = builder.start()?;
    println!("{}", cluster.bootstrap_servers());
    io::stdin().read_line(&mut String::new())?;

    let mut counts = BTreeMap::<String, usize>::new();
    for request in cluster.requests() {
        let client = request.client_id.as_deref().unwrap_or("(no name)");
        let line = format!("{client}: {} version {}", request.api, request.version);
        *counts.entry(line).or_default() += 1;
    }
    for (line, count) in counts {
        println!("{line}: {count}");
    }
    for topic in topics {
        let records = cluster.records(&topic)?;
        let (count, again) = (records.len(), cluster.duplicates(&topic)?);
        println!("{topic}: {count} records, {again} batches came again");
    }
    let complaints = cluster.complaints();
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
