//! Connections that end at each byte of an answer.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use kafka_protocol::messages::ApiKey;
use kuring::{DriverChoice, Record};

use crate::support::fake_broker::{FakeBroker, Turn};
use crate::support::rig::verdict;
use crate::survival::patient;

/// The first answer is cut before its first byte, the next one after it, and so on, until the
/// last cut leaves it whole; then the record arrives, once.
fn cut_at_each_byte(driver: DriverChoice, api: ApiKey, versions: &[i16]) {
    for &version in versions {
        let broker = FakeBroker::start(&[("t", 1)]);
        broker.cap_version(api, version);
        let (length, mut cut) = (Arc::new(AtomicUsize::new(usize::MAX)), 0);
        let known = Arc::clone(&length);
        broker.script(move |seen| {
            if seen.api != api || cut > length.load(Relaxed).saturating_add(1) {
                return Turn::Serve;
            }
            cut += 1;
            if cut == 1 {
                let length = Arc::clone(&length);
                return Turn::Mangle(Box::new(move |bytes| {
                    length.store(bytes.len(), Relaxed);
                    bytes.clear();
                    // A frame of nothing ends the connection from the other side.
                    bytes.extend([0xff; 4]);
                }));
            }
            Turn::Cut(cut - 2)
        });
        let producer = patient(&broker, driver);
        let delivery = producer.topic("t").blocking_send(Record::new().value("once")).unwrap();
        assert_eq!(verdict(delivery).unwrap().offset, Some(0));
        assert_eq!(broker.values("t", 0), ["once"]);
        let (tried, length) = (broker.count(api), known.load(Relaxed));
        assert!(tried >= length + 2, "{tried} tries for {length} bytes");
    }
}

pub(crate) fn api_versions_cut_at_each_byte(driver: DriverChoice) {
    cut_at_each_byte(driver, ApiKey::ApiVersions, &[0, 4, 5]);
}

pub(crate) fn metadata_cut_at_each_byte(driver: DriverChoice) {
    cut_at_each_byte(driver, ApiKey::Metadata, &[4, 13]);
}

pub(crate) fn init_producer_id_cut_at_each_byte(driver: DriverChoice) {
    cut_at_each_byte(driver, ApiKey::InitProducerId, &[0, 5]);
}

pub(crate) fn produce_cut_at_each_byte(driver: DriverChoice) {
    cut_at_each_byte(driver, ApiKey::Produce, &[3, 13]);
}
