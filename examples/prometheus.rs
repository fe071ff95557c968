//! A producer whose metrics Prometheus can scrape, without any further dependency.
//!
//!     cargo run --example prometheus -- localhost:9092 events
//!     curl -s localhost:9464/metrics
//!
//! Sends a record every ten milliseconds and answers every HTTP request on port 9464 with all
//! metrics in Prometheus' text format. A service that has an exporter of the `metrics` crate turns
//! on the feature `metrics` instead, and calls `kuring::metrics::facade::publish`.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use kuring::metrics::{Group, Metric};
use kuring::{Metrics, Producer, Record};

const LISTEN: &str = "127.0.0.1:9464";
const EVERY: Duration = Duration::from_millis(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let servers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "events".to_owned());
    let producer = Producer::builder().bootstrap_servers(servers).build()?;
    let listener = TcpListener::bind(LISTEN)?;
    println!("metrics at http://{LISTEN}/metrics; Enter ends it");
    let scraped = producer.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Err(error) = answer(stream, &scraped.metrics()) {
                eprintln!("a scrape failed: {error}");
            }
        }
    });
    // Enter, or the end of the input.
    let (enter, entered) = channel();
    std::thread::spawn(move || enter.send(io::stdin().read_line(&mut String::new())));
    let topic = producer.topic(&topic);
    while matches!(entered.recv_timeout(EVERY), Err(RecvTimeoutError::Timeout)) {
        drop(topic.blocking_send(Record::new().value("tick"))?);
    }
    println!("{:?}", producer.close(Duration::from_secs(5)));
    Ok(())
}

/// One request, one answer.
fn answer(stream: TcpStream, metrics: &Metrics) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(&stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = exposition(metrics);
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// All metrics in Prometheus' text format: those of one name together, below what it means.
fn exposition(metrics: &Metrics) -> String {
    let mut metrics: Vec<_> = metrics.iter().map(|metric| (name_of(&metric), metric)).collect();
    metrics.sort_by(|one, other| one.0.cmp(&other.0));
    let (mut text, mut named) = (String::new(), BTreeSet::new());
    for (name, metric) in &metrics {
        let definition = metric.definition;
        if named.insert(name) {
            let kind = if definition.is_total() { "counter" } else { "gauge" };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", definition.meaning);
        }
        let tags = metric.tags;
        let _ = write!(text, "{name}{{client_id=\"{}\"", escaped(tags.client_id));
        if let Some(node) = tags.node {
            let _ = write!(text, ",node_id=\"{node}\"");
        }
        if let Some(topic) = tags.topic {
            let _ = write!(text, ",topic=\"{}\"", escaped(topic));
        }
        let _ = writeln!(text, "}} {}", metric.value);
    }
    text
}

fn name_of(metric: &Metric<'_>) -> String {
    let group = match metric.definition.group {
        Group::Node => "node_",
        Group::Topic => "topic_",
        _ => "",
    };
    format!("kafka_producer_{group}{}", metric.definition.name.replace('-', "_"))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
