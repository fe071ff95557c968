//! `close` while threads send: every delivery resolves, the numbers add up, and the log agrees.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::{Producer, SendError, Summary};

use crate::content::Content;
use crate::ledger::verify_acknowledged;
use crate::support::deadline::Deadline;
use crate::support::jars::Version;
use crate::support::kafka::{Cluster, shared};
use crate::traffic::{Plan, Sent, Traffic};

pub(crate) fn close_while_sending_resolves_every_delivery_and_adds_up(version: Version) {
    let cluster = shared(version);
    let plan = plan("closed");
    cluster.create_topic("closed", 3, 1, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let traffic = Traffic::start(&producer, &plan);
    traffic.await_more(20_000, Deadline::after(Duration::from_secs(60)));
    let summary = producer.close(Duration::from_secs(30));
    let sent = traffic.finish();
    assert_eq!(summary.acknowledged, sent.len() as u64, "there was time for all: {summary:?}");
    adds_up(&summary, &sent);
    let records = verify_acknowledged(cluster, &plan, &sent, |found| {
        panic!("offset {} was not acknowledged", found.offset)
    });
    assert_eq!(records, summary.acknowledged);
    assert_eq!(producer.close(Duration::ZERO), summary, "closing again tells the same");
}

/// SIGSTOP: the connections stay open, requests are in flight, and no answer comes.
pub(crate) fn close_with_a_silent_broker_ends_in_time_and_resolves_every_delivery(
    version: Version,
) {
    let cluster = Cluster::start(version, 1, &[]);
    let plan = plan("silent");
    cluster.create_topic("silent", 3, 1, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let traffic = Traffic::start(&producer, &plan);
    traffic.await_more(20_000, Deadline::after(Duration::from_secs(60)));
    cluster.pause_broker(0);
    let bound = Deadline::after(Duration::from_secs(60));
    let summary = producer.close(Duration::from_secs(2));
    bound.check(|| "close, which was given two seconds".to_owned());
    let sent = traffic.finish();
    adds_up(&summary, &sent);
    for sent in &sent {
        if let Err(error) = &sent.verdict {
            assert!(matches!(error, SendError::Closed { .. }), "{error}");
        }
    }
    cluster.resume_broker(0);
    let mut unacknowledged = 0;
    let records = verify_acknowledged(&cluster, &plan, &sent, |_| unacknowledged += 1);
    assert_eq!(records, summary.acknowledged + unacknowledged);
    assert!(unacknowledged <= summary.possibly_written, "{unacknowledged}, {summary:?}");
}

/// The summary counts what the deliveries said.
fn adds_up(summary: &Summary, sent: &[Sent]) {
    let count =
        |matches: fn(&Sent) -> bool| sent.iter().filter(|sent| matches(sent)).count() as u64;
    let possibly = |sent: &Sent| sent.verdict.as_ref().is_err_and(SendError::possibly_written);
    assert_eq!(summary.acknowledged, count(|sent| sent.verdict.is_ok()), "{summary:?}");
    assert_eq!(summary.possibly_written, count(possibly), "{summary:?}");
    let rest = sent.len() as u64 - summary.acknowledged - summary.possibly_written;
    assert_eq!(summary.failed, rest, "{summary:?}");
    assert!(summary.never_sent <= summary.failed, "{summary:?}");
}

fn plan(topic: &str) -> Plan {
    Plan {
        topics: vec![(topic.to_owned(), 3)],
        threads: 3,
        records_per_thread: u32::MAX,
        window: 20_000,
        content: Content::small,
    }
}
