//! The test support itself: real brokers start and stop, and the log reader reads what Java wrote.
#![forbid(unsafe_code)]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use support::batches::next_batch;
use support::deadline::bounded;
use support::fetch::OwnedRecord;
use support::jars::Version;
use support::{jars, java, kafka};

/// The first test that `tools/check` runs, so that no other test's time includes a download.
#[test]
fn the_brokers_are_fetched() {
    for version in Version::ALL {
        let jars = jars::class_path(version).strip_suffix("/*").unwrap();
        assert!(Path::new(jars).join(format!("kafka_2.13-{version}.jar")).is_file());
    }
}

#[test]
fn the_reader_sees_what_the_java_producer_wrote() {
    bounded(Duration::from_secs(300), || {
        for version in Version::ALL {
            let cluster = kafka::shared(version);
            cluster.create_topic("java", 3, 1, &[]);
            let lines: String = (0..200).map(|i| format!("key {i}\tvalue {i}\n")).collect();
            java::produce_keyed(cluster, "java", &lines);
            let mut found = HashMap::new();
            for partition in 0..3 {
                for record in cluster.records("java", partition) {
                    assert!(record.headers.is_empty());
                    assert!(found.insert(record.key.unwrap(), record.value.unwrap()).is_none());
                }
            }
            assert_eq!(found.len(), 200);
            for i in 0..200 {
                assert_eq!(found[format!("key {i}").as_bytes()], format!("value {i}").into_bytes());
            }
            let read = java::consume(cluster, "java", 0, 5);
            assert_eq!(read.lines().count(), 5, "{read}");
            let dump = java::dump_log(cluster, 0, "java", 0);
            assert!(dump.contains("isvalid: true"), "{dump}");
        }
    });
}

#[test]
fn a_killed_leader_is_replaced_and_comes_back() {
    bounded(Duration::from_secs(600), || {
        for version in Version::ALL {
            let mut guard = kafka::disturbed(version);
            let cluster = guard.as_mut().unwrap();
            cluster.create_topic("led", 3, 3, &[]);
            let lines: String = (0..50).map(|i| format!("key {i}\tvalue {i}\n")).collect();
            java::produce_keyed(cluster, "led", &lines);
            let leader = cluster.leader_of("led", 0);
            let before = cluster.records("led", 0);
            cluster.kill_broker(leader);
            assert_ne!(cluster.leader_of("led", 0), leader);
            assert_eq!(cluster.records("led", 0), before);
            cluster.restart_broker(leader);
            cluster.await_in_sync("led");
            cluster.stop_broker(leader);
            cluster.restart_broker(leader);
            cluster.await_in_sync("led");
            cluster.create_partitions("led", 5);
            assert_eq!(cluster.end_offset("led", 4), 0);
            cluster.delete_topic("led");
        }
    });
}

#[test]
fn two_records_with_a_negative_delta_and_headers_are_read() {
    let bytes = unhex(TWO_RECORDS);
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    let head =
        next_batch(&mut rest, |record| records.push(OwnedRecord::from(record))).unwrap().unwrap();
    assert_eq!((head.count, head.producer_id, rest.len()), (2, -1, 0));
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let first = OwnedRecord {
        offset: 0,
        timestamp: 1000,
        key: bytes("k1"),
        value: bytes("v1"),
        headers: Vec::new(),
    };
    let headers = vec![(b"h".to_vec(), bytes("x")), (b"n".to_vec(), None)];
    let second = OwnedRecord { offset: 1, timestamp: 998, key: bytes("k2"), value: None, headers };
    assert_eq!(records, [first, second]);
}

#[test]
fn a_flipped_byte_is_noticed_and_a_cut_batch_is_no_batch() {
    let golden = unhex(TWO_RECORDS);
    for length in 0..golden.len() {
        assert_eq!(next_batch(&mut &golden[..length], |_| ()), Ok(None));
    }
    // Base offset and leader epoch are the broker's to change: the CRC starts behind them.
    for index in (17..golden.len()).chain([16]) {
        let mut bytes = golden.clone();
        bytes[index] ^= 0x40;
        assert!(next_batch(&mut &bytes[..], |_| ()).is_err(), "byte {index}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Made from the format's description, and decoded by a second implementation.
const TWO_RECORDS: &str = "00000000000000000000004cffffffff023fe869d700000000000100000000000003e8\
    00000000000003e8ffffffffffffffffffffffffffff0000000214000000046b31047631001e000302046b3201040\
    2680278026e01";
