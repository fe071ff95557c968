//! Memory given out again while a request with it is still in a socket (KAFKA-19012,
//! CVE-2026-35554): the records of one topic then arrive in another.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{Delivery, DriverChoice, Producer, Record, SendError};
use socket2::{Domain, Socket, Type};

use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use crate::support::rig::{builder_for, until, verdict};

const BATCH: usize = 256 << 10;
/// Expired records stay in the socket from here on: the delivery timeout counts from the batch's
/// opening, the request timeout from its request, and they are [`WITHOUT_LEADER`] apart.
const TIMEOUT: Duration = Duration::from_secs(6);
const WITHOUT_LEADER: Duration = Duration::from_secs(3);
/// Partitions of topic `a` that the deaf node leads.
const DEAF: [i32; 4] = [0, 2, 4, 6];

/// Says where it belongs, in each of its bytes.
fn value(topic: &str, partition: i32, number: usize) -> Vec<u8> {
    let mut value = format!("{topic}-{partition}-{number}-").into_bytes();
    value.resize(BATCH - 2000, topic.as_bytes()[0] + partition as u8);
    value
}

/// Node 0 comes late and hears nothing after the greeting, and its socket takes little; node 1 is
/// well.
struct Rig {
    broker: FakeBroker,
    producer: Producer,
    gate: Gate,
    stuck: Vec<Delivery>,
}

impl Rig {
    fn new(driver: DriverChoice) -> Self {
        let socket = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket
        };
        let sockets = (0..2).map(socket).collect();
        let broker = FakeBroker::over(sockets, "127.0.0.1", &[("a", 8), ("b", 2)]);
        broker.listen(1);
        DEAF.iter().for_each(|partition| broker.move_leader("a", *partition, -1));
        let gate = Gate::default();
        let closed = gate.clone();
        broker.script(move |seen| match seen.api {
            ApiKey::ApiVersions if seen.node == 0 => Turn::Deaf(closed.clone()),
            _ => Turn::Serve,
        });
        let producer = builder_for(broker.bootstrap().split(',').nth(1).unwrap(), driver)
            .batch_bytes(BATCH)
            .buffer_memory(12 * (BATCH as u64 + 1000))
            .send_buffer(Some(4096))
            .request_timeout(TIMEOUT)
            .delivery_timeout(TIMEOUT)
            .build()
            .unwrap();
        producer.blocking_partitions_for("b").unwrap();
        let mut rig = Self { broker, producer, gate, stuck: Vec::new() };
        rig.stuck = DEAF.iter().map(|partition| rig.send("a", *partition, 0)).collect();
        // Time passes for the records, and not yet for their request.
        assert!(rig.broker.find_within(WITHOUT_LEADER, |_| None::<()>).is_none());
        // All in one update of the metadata, so that they share a request.
        rig.broker.state(|state| {
            let partitions = &mut state.topics.get_mut("a").unwrap().partitions;
            DEAF.iter().for_each(|partition| partitions[*partition as usize].leader = 0);
        });
        let before = rig.broker.count(ApiKey::Metadata);
        rig.broker.wait_for_requests(ApiKey::Metadata, before + 2);
        // Nobody asks it for metadata: that would wait for its answer.
        rig.broker.listen(0);
        until("a window of zero", || rig.unsent_bytes() > 2000);
        rig
    }

    fn send(&self, topic: &str, partition: i32, number: usize) -> Delivery {
        let value = value(topic, partition, number);
        let record = Record::new().partition(partition).value(&value);
        self.producer.topic(topic).blocking_send(record).unwrap()
    }

    /// Bytes in sockets on their way to the deaf node.
    fn unsent_bytes(&self) -> u64 {
        let bootstrap = self.broker.bootstrap();
        let (_, port) = bootstrap.split(',').next().unwrap().rsplit_once(':').unwrap();
        let port = format!(":{:04X}", port.parse::<u16>().unwrap());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let queued = lines.filter(|fields| fields[2].ends_with(&port));
        let bytes = |fields: Vec<&str>| u64::from_str_radix(&fields[4][..8], 16).unwrap();
        queued.map(bytes).sum()
    }

    fn expire(&mut self) {
        for delivery in self.stuck.drain(..) {
            let error = verdict(delivery).unwrap_err();
            let SendError::TimedOut { possibly_written: true, .. } = error else {
                panic!("{error}")
            };
        }
    }

    fn check_that_memory_is_lent(&self) {
        let held = self.producer.metrics();
        assert!(held.buffer_available_bytes < held.buffer_total_bytes, "{held:?}");
    }

    /// Uses all memory that there is to be had, several times.
    fn use_the_memory(&self) {
        let sent: Vec<_> = (0..30).map(|number| self.send("b", 1, number)).collect();
        sent.into_iter().for_each(|delivery| drop(verdict(delivery).unwrap()));
    }

    /// Every record that any node has received is one that was sent to its partition.
    fn check(self) {
        let summary = self.producer.close(PATIENCE);
        assert_eq!((summary.acknowledged, summary.possibly_written), (30, 4), "{summary:?}");
        let metrics = self.producer.metrics();
        assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
        self.broker.wait_for("closed connections", |state| (state.open == 0).then_some(()));
        self.broker.state(|state| {
            let mut received = 0;
            for batch in state.seen.iter().flat_map(|seen| &seen.batches) {
                for record in &batch.records {
                    let found = record.value.as_ref().unwrap();
                    let text = String::from_utf8_lossy(&found[..20]);
                    let number = text.split('-').nth(2).unwrap().parse().unwrap();
                    assert!(*found == value(&batch.topic, batch.partition, number), "{text}");
                    received += 1;
                }
            }
            assert!(received >= 30);
        });
    }
}

pub(crate) fn kafka_19012_the_broker_reads_on_after_the_records_expired(driver: DriverChoice) {
    let mut rig = Rig::new(driver);
    rig.expire();
    rig.check_that_memory_is_lent();
    rig.use_the_memory();
    rig.gate.open();
    rig.broker.wait_for("the request that was stuck", |state| {
        let stuck = |seen: &&crate::support::fake_broker::Seen| seen.topics == ["a"];
        let mut produced = state.seen.iter().filter(|seen| seen.api == ApiKey::Produce);
        produced.find(stuck).map(drop)
    });
    rig.check();
}

pub(crate) fn kafka_19012_the_connection_is_cut_after_the_records_expired(driver: DriverChoice) {
    let mut rig = Rig::new(driver);
    rig.expire();
    rig.check_that_memory_is_lent();
    rig.broker.cut_connections();
    rig.use_the_memory();
    rig.gate.open();
    rig.check();
}

pub(crate) fn kafka_19012_forced_close_while_the_broker_does_not_read(driver: DriverChoice) {
    let rig = Rig::new(driver);
    rig.use_the_memory();
    let summary = rig.producer.close(Duration::ZERO);
    assert_eq!((summary.acknowledged, summary.possibly_written), (30, 4), "{summary:?}");
    assert!(rig.stuck.iter().all(Delivery::is_done));
    rig.gate.open();
    rig.check();
}
