//! Compares the log with the verdicts: what was acknowledged is there, where the verdict says, as
//! it was sent, once, in order, and nothing else is.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use kuring::RecordMetadata;

use crate::content::Content;
use crate::support::batches::LogRecord;
use crate::support::fetch::LogSummary;
use crate::support::kafka::Cluster;
use crate::traffic::{Plan, Sent};

/// Every record was acknowledged, and the topics hold exactly these.
pub(crate) fn verify(cluster: &Cluster, plan: &Plan, sent: &[Sent]) {
    for sent in sent {
        if let Err(error) = &sent.verdict {
            panic!("thread {}, record {}: {error}", sent.thread, sent.number);
        }
    }
    let records = verify_acknowledged(cluster, plan, sent, |found| {
        panic!("offset {} was not acknowledged", found.offset)
    });
    assert_eq!(records, sent.len() as u64, "records in the log");
}

/// Whatever was acknowledged is there and right; `stranger` sees the other records of the log.
/// Returns the number of records in the log.
pub(crate) fn verify_acknowledged(
    cluster: &Cluster,
    plan: &Plan,
    sent: &[Sent],
    mut stranger: impl FnMut(&LogRecord<'_>),
) -> u64 {
    let mut total = 0;
    for (index, (name, partitions)) in plan.topics.iter().enumerate() {
        let mut pages = Page::of_topic(index, *partitions, sent);
        for (partition, page) in (0..*partitions).zip(&mut pages) {
            let summary = page.compare(cluster, plan, name, partition, &mut stranger);
            total += summary.end as u64;
        }
    }
    total
}

/// One partition's acknowledged records.
#[derive(Default)]
struct Page {
    /// By offset.
    entries: Vec<Option<Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    thread: usize,
    number: u32,
    timestamp: i64,
}

impl Page {
    fn of_topic(topic: usize, partitions: i32, sent: &[Sent]) -> Vec<Self> {
        let mut pages: Vec<Self> = (0..partitions).map(|_| Self::default()).collect();
        for sent in sent.iter().filter(|sent| sent.topic == topic) {
            if let Ok(metadata) = &sent.verdict {
                pages[metadata.partition as usize].enter(sent, metadata);
            }
        }
        pages
    }

    fn enter(&mut self, sent: &Sent, metadata: &RecordMetadata) {
        let offset = metadata.offset.expect("with acks 1 and all the broker tells the offset");
        let index = usize::try_from(offset).expect("an offset");
        if self.entries.len() <= index {
            self.entries.resize(index + 1, None);
        }
        let (thread, number, timestamp) = (sent.thread, sent.number, metadata.timestamp);
        let other = self.entries[index].replace(Entry { thread, number, timestamp });
        assert!(other.is_none(), "offset {offset} was given to {other:?} and to {sent:?}");
    }

    fn compare(
        &self,
        cluster: &Cluster,
        plan: &Plan,
        topic: &str,
        partition: i32,
        stranger: &mut impl FnMut(&LogRecord<'_>),
    ) -> LogSummary {
        let mut last = vec![None; plan.threads];
        let mut seen = 0;
        let summary = cluster.read(topic, partition, |found| {
            let Some(Some(entry)) = self.entries.get(found.offset as usize) else {
                return stranger(&found);
            };
            let content: Content = (plan.content)(entry.thread, entry.number);
            let place = || format!("{topic}-{partition} offset {} for {entry:?}", found.offset);
            assert!(content.is(&found, entry.timestamp), "{}: {content:?}\n{found:?}", place());
            let before = last[entry.thread].replace(entry.number);
            assert!(before < Some(entry.number), "{}: after number {before:?}", place());
            seen += 1;
        });
        let acknowledged = self.entries.iter().flatten().count();
        assert_eq!(seen, acknowledged, "{topic}-{partition}: acknowledged, but not in the log");
        summary
    }
}

/// The threads' numbers without a gap: a plan that ended by itself sent them all.
pub(crate) fn all_numbers_sent(plan: &Plan, sent: &[Sent]) {
    let numbers: HashSet<(usize, u32)> =
        sent.iter().map(|sent| (sent.thread, sent.number)).collect();
    assert_eq!(numbers.len(), sent.len());
    assert_eq!(sent.len(), plan.threads * plan.records_per_thread as usize);
}
