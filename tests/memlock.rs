//! A whole producer whose arena does not fit what its process may lock: it works, and says so once.
#![forbid(unsafe_code)]

#[path = "drivers/log.rs"]
mod log;
mod support;

use std::time::Duration;

use kuring::{Affinity, DriverChoice, Producer, Record, Summary};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use support::deadline::bounded;
use support::fake_broker::{FakeBroker, PATIENCE};
use support::own_process::in_own_process;

/// Half a MiB: less than any arena, more than a ring needs.
const LIMIT: u64 = 512 << 10;

/// Makes this thread, and those it starts, like those of a user without privileges.
fn forbid_locking() {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).unwrap();
    let maximum = getrlimit(Resource::Memlock).maximum;
    setrlimit(Resource::Memlock, Rlimit { current: Some(LIMIT), maximum }).unwrap();
}

/// Default memory, two shards: records arrive, and what the process may lock does not matter.
fn produces(driver: DriverChoice, name: &str) {
    let broker = FakeBroker::start(&[("t", 4)]);
    let producer = Producer::builder()
        .bootstrap_servers(broker.bootstrap())
        .driver(driver)
        .affinity(Affinity::None)
        .shards(2)
        .build()
        .unwrap();
    assert_eq!(producer.metrics().driver, name);
    let topic = producer.topic("t");
    for number in 0..2000 {
        let value = vec![7; 1 + number * 31 % 20_000];
        let record = Record::new().partition(number as i32 % 4).value(&value);
        drop(topic.blocking_send(record).unwrap());
    }
    let summary = producer.close(PATIENCE);
    assert_eq!(summary, Summary { acknowledged: 2000, ..Summary::default() });
    for partition in 0..4 {
        let lengths = broker.log("t", partition).into_iter();
        let lengths: Vec<_> = lengths.map(|record| record.value.unwrap().len()).collect();
        let numbers = (0..2000).filter(|number| number % 4 == partition as usize);
        assert_eq!(lengths, numbers.map(|number| 1 + number * 31 % 20_000).collect::<Vec<_>>());
    }
}

#[test]
fn without_locked_memory_a_producer_works_and_warns_once() {
    if !in_own_process("without_locked_memory_a_producer_works_and_warns_once") {
        return;
    }
    bounded(Duration::from_secs(120), || {
        forbid_locking();
        let warnings = log::warnings();
        produces(DriverChoice::TokioUring, "tokio-uring");
        produces(DriverChoice::Auto, "uring");
        let warnings = warnings.lock().unwrap();
        let locked = |text: &&String| text.contains("RLIMIT_MEMLOCK");
        let [warning] = warnings.iter().filter(locked).collect::<Vec<_>>()[..] else {
            panic!("one warning for four shards of two producers: {warnings:?}")
        };
        for word in ["524288 bytes", "ulimit -l", "cap_ipc_lock", "buffer.memory"] {
            assert!(warning.contains(word), "{word:?} in {warning}");
        }
    });
}

#[test]
fn with_enough_locked_memory_there_is_no_warning() {
    if !in_own_process("with_enough_locked_memory_there_is_no_warning") {
        return;
    }
    bounded(Duration::from_secs(120), || {
        let warnings = log::warnings();
        let broker = FakeBroker::start(&[("t", 1)]);
        let producer = Producer::builder()
            .bootstrap_servers(broker.bootstrap())
            .driver(DriverChoice::TokioUring)
            .buffer_memory(1 << 20)
            .request_bytes_max(100_000)
            .build()
            .unwrap();
        let delivery = producer.topic("t").blocking_send(Record::new()).unwrap();
        assert!(delivery.wait().is_ok());
        let warnings = warnings.lock().unwrap();
        assert!(warnings.is_empty(), "1 MiB fits the usual limit of 8 MiB: {warnings:?}");
    });
}
