//! Everything at once: what is acknowledged is in the log once and in order, whatever goes wrong.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Duration;

use kuring::testing::{Api, Cluster, Fault};
use kuring::{BrokerId, DriverChoice, ErrorCode, Record};

use crate::support::rig::{builder_for, millis, verdict};

const PARTITIONS: i32 = 6;
const RECORDS: usize = 2000;
const FAULTS: usize = 60;

/// The same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // Constants of Knuth's MMIX; the high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn some_fault<'a>(cluster: &'a Cluster, numbers: &mut Numbers) -> Fault<'a> {
    let fault = cluster.fail(Api::Produce).partition("t", numbers.below(PARTITIONS as u64) as i32);
    match numbers.below(9) {
        0 => fault.with(ErrorCode::NotLeaderOrFollower),
        1 => fault.with(ErrorCode::NotEnoughReplicas),
        2 => fault.with(ErrorCode::NotEnoughReplicasAfterAppend).after_append(),
        3 => fault.with(ErrorCode::RequestTimedOut).after_append().delay(millis(3)),
        4 => fault.disconnect(),
        5 => fault.disconnect().after_append(),
        6 => fault.lose_answer(),
        7 => fault.lose_request(),
        _ => fault.delay(millis(5)).throttle(millis(2)),
    }
}

#[test]
fn ord_every_record_is_in_the_log_once_and_in_order_after_a_storm_of_faults() {
    let cluster = Cluster::builder().brokers(3).topic("t", PARTITIONS).start().unwrap();
    let mut numbers = Numbers(7);
    let faults: Vec<_> = (0..FAULTS).map(|_| some_fault(&cluster, &mut numbers).once()).collect();
    let producer = builder_for(cluster.bootstrap_servers(), DriverChoice::Epoll)
        .batch_bytes(300)
        .request_timeout(millis(300))
        .delivery_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let topic = producer.topic("t");
    let mut sent: HashMap<i32, Vec<String>> = HashMap::new();
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        let partition = numbers.below(PARTITIONS as u64) as i32;
        let value = number.to_string();
        let record = Record::new().partition(partition).value(&value);
        deliveries.push(topic.blocking_send(record).unwrap());
        sent.entry(partition).or_default().push(value);
        if number % 200 == 0 {
            let leader = BrokerId(1 + numbers.below(3) as i32);
            cluster.move_leader("t", partition, leader).unwrap();
            cluster.disconnect_clients();
        }
    }
    for (delivery, number) in deliveries.into_iter().zip(0..) {
        let acknowledged = verdict(delivery).unwrap();
        let place = &sent[&acknowledged.partition][acknowledged.offset.unwrap() as usize];
        assert_eq!(*place, number.to_string(), "the offset that was told");
    }
    let mut stored: HashMap<i32, Vec<String>> = HashMap::new();
    for record in cluster.records("t").unwrap() {
        let value = String::from_utf8(record.value.unwrap()).unwrap();
        stored.entry(record.partition).or_default().push(value);
    }
    assert_eq!(stored, sent);
    let struck = faults.iter().filter(|fault| fault.hits() > 0).count();
    assert!(struck > FAULTS / 2, "{struck} of {FAULTS} faults met a request");
    let gaps = |text: &String| !text.contains("must follow");
    let complaints: Vec<_> = cluster.complaints().into_iter().filter(gaps).collect();
    assert_eq!(complaints, [""; 0], "sequences may come early after a loss; nothing else is odd");
}
