//! What a producer must not leave behind, and whether its totals are true.
#![forbid(unsafe_code)]

use std::fs;
use std::time::Duration;

use kuring::{Delivery, Producer, Summary};

use crate::support::rig::until;

/// The threads and the descriptors of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Traces {
    threads: usize,
    descriptors: usize,
}

impl Traces {
    fn now() -> Self {
        let entries = |folder: &str| fs::read_dir(folder).unwrap().count();
        Self { threads: entries("/proc/self/task"), descriptors: entries("/proc/self/fd") }
    }
}

/// Runs the body; then there are as many threads and descriptors as before.
pub(crate) fn leaves_nothing(body: impl FnOnce()) {
    let before = Traces::now();
    body();
    until("the end of all threads and descriptors", || Traces::now() == before);
}

/// The shards' threads that run now, by the names the kernel knows.
pub(crate) fn sender_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.flat_map(|task| fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.starts_with("kuring-")).count()
}

/// After a close: each record has one verdict, the totals say the same, and [`whole`].
pub(crate) fn settled(producer: &Producer, summary: Summary, deliveries: Vec<Delivery>) {
    let mut counted = Summary::default();
    for delivery in deliveries {
        match delivery.verdict().expect("every record has its verdict") {
            Ok(_) => counted.acknowledged += 1,
            Err(error) if error.possibly_written() => counted.possibly_written += 1,
            Err(_) => counted.failed += 1,
        }
    }
    assert!(summary.never_sent <= summary.failed, "{summary:?}");
    counted.never_sent = summary.never_sent;
    assert_eq!(counted, summary);
    whole(producer, summary);
}

/// After a close: no byte of the arena is lost, nobody waits, no thread is left.
pub(crate) fn whole(producer: &Producer, summary: Summary) {
    assert_eq!(producer.close(Duration::ZERO), summary, "closed is closed");
    let metrics = producer.metrics();
    assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
    assert_eq!(metrics.waiting_threads, 0);
    // A joined thread stands in /proc for a moment longer: the kernel tells its end to whoever
    // joins before it takes the entry away (CLONE_CHILD_CLEARTID, clone(2)).
    until("the end of the threads", || sender_threads() == 0);
}
