//! From the first connection to the first record: addresses, warm-up, brokers that come later.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, ToSocketAddrs};

use kafka_protocol::messages::ApiKey;
use kuring::{DnsLookup, DriverChoice, Record, SendError, StartError, Summary, TrySendError};
use socket2::{Domain, Socket, Type};

use crate::rig::{builder, builder_for, millis, offsets, poll_once, run, until, verdict};
use crate::support::fake_broker::{FakeBroker, PATIENCE};

pub(crate) fn after_a_warm_up_records_wait_for_nothing(driver: DriverChoice) {
    for shards in [1, 2] {
        let broker = FakeBroker::cluster(3, &[("t", 6), ("u", 3)]);
        let client = builder(&broker, driver).client_id("warm").shards(shards);
        let producer = client.build().unwrap();
        run("warm_up", producer.warm_up(&["t", "u"])).unwrap();
        let counts = || {
            broker.state(|state| {
                let produce = state.count(ApiKey::Produce);
                (state.connections, state.seen.len() - produce, state.producer_ids)
            })
        };
        let before = counts();
        assert_eq!(before.2, shards as i64, "each shard has its own producer id");
        // Both topics have a leader on every node, and every shard some partition of each.
        assert!(before.0 > 3 * shards, "{} connections", before.0);
        assert_eq!(broker.count(ApiKey::Produce), 0);
        for (name, partitions) in [("t", 6), ("u", 3)] {
            let topic = producer.topic(name);
            let send = |partition| topic.try_send(Record::new().partition(partition)).unwrap();
            assert!(offsets((0..partitions).map(send).collect()).into_iter().all(|at| at == 0));
        }
        assert_eq!(counts(), before, "nothing but produce requests followed");
        let named = |id: &Option<String>| id.as_deref() == Some("warm");
        assert!(broker.state(|state| state.seen.iter().all(|seen| named(&seen.client_id))));
        run("a second warm-up", producer.warm_up(&["t", "u"])).unwrap();
    }
}

pub(crate) fn a_warm_up_waits_for_a_leader_that_is_down(driver: DriverChoice) {
    let broker = FakeBroker::asleep(2, &[("t", 2)]);
    broker.listen(0);
    let producer = builder(&broker, driver).build().unwrap();
    let mut warm_up = Box::pin(producer.warm_up(&["t"]));
    assert!(poll_once(&mut warm_up).is_pending());
    until("metadata", || producer.metrics().metadata_updates > 0);
    let topic = producer.topic("t");
    let send = |partition| topic.blocking_send(Record::new().partition(partition)).unwrap();
    verdict(send(0)).unwrap();
    let waiting = send(1);
    assert!(poll_once(&mut warm_up).is_pending() && !waiting.is_done());
    broker.listen(1);
    run("the warm-up", warm_up).unwrap();
    verdict(waiting).unwrap();

    let other = FakeBroker::asleep(2, &[("t", 2)]);
    other.listen(0);
    let producer = builder(&other, driver).build().unwrap();
    let mut warm_up = Box::pin(producer.warm_up(&["t"]));
    assert!(poll_once(&mut warm_up).is_pending());
    producer.close(PATIENCE);
    let ended = run("the warm-up of a closed producer", warm_up);
    assert!(matches!(ended, Ok(()) | Err(SendError::Closed { .. })), "{ended:?}");
}

pub(crate) fn a_producer_built_before_its_broker_delivers_when_it_is_there(driver: DriverChoice) {
    let broker = FakeBroker::asleep(1, &[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let sending = std::thread::spawn({
        let topic = producer.topic("t");
        move || verdict(topic.blocking_send(Record::new()).unwrap())
    });
    until("refused connections", || producer.metrics().disconnects >= 3);
    broker.listen(0);
    assert_eq!(sending.join().unwrap().unwrap().offset, Some(0));
}

pub(crate) fn one_bootstrap_server_that_answers_is_enough(driver: DriverChoice) {
    let (dead, broker) = (FakeBroker::asleep(1, &[]), FakeBroker::start(&[("t", 1)]));
    let servers = [
        format!("{},{}", dead.bootstrap(), broker.bootstrap()),
        format!("{},{}", broker.bootstrap(), dead.bootstrap()),
        format!("no-such-host.invalid:9092,{}", broker.bootstrap()),
    ];
    for servers in servers {
        let producer = builder_for(servers, driver).build().unwrap();
        verdict(producer.topic("t").blocking_send(Record::new()).unwrap()).unwrap();
    }
}

/// A broker that listens at one address of `localhost` only.
fn only_at(address: &str) -> Option<FakeBroker> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    if address.is_ipv6() {
        socket.set_only_v6(true).ok()?;
    }
    socket.bind(&address.into()).ok()?;
    let resolved: Vec<_> = ("localhost", 1).to_socket_addrs().ok()?.collect();
    if !resolved.iter().any(|found| found.ip() == address.ip()) {
        return None;
    }
    let broker = FakeBroker::over(vec![socket], "localhost", &[("t", 1)]);
    broker.listen(0);
    Some(broker)
}

pub(crate) fn net_10_every_address_of_a_name_is_tried(driver: DriverChoice) {
    let brokers = ["127.0.0.1:0", "[::1]:0"].map(only_at);
    // A machine without IPv6, or without it in its hosts file, has one address to try.
    assert!(brokers.iter().any(Option::is_some), "localhost has no address");
    for broker in brokers.into_iter().flatten() {
        let producer = builder(&broker, driver).build().unwrap();
        verdict(producer.topic("t").blocking_send(Record::new()).unwrap()).unwrap();
    }
}

pub(crate) fn a_lost_connection_is_made_again_when_it_is_needed(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    for offset in 0..5 {
        let told = verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
        assert_eq!(told.offset, Some(offset));
        broker.cut_connections();
    }
}

pub(crate) fn metrics_tell_what_happened(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    let deliveries = (0..10).map(|_| topic.blocking_send(Record::new()).unwrap()).collect();
    assert_eq!(offsets(deliveries), (0..10).collect::<Vec<_>>());
    producer.blocking_flush();
    let metrics = producer.metrics();
    assert_eq!((metrics.records, metrics.acknowledged, metrics.failed), (10, 10, 0));
    assert_eq!(metrics.requests as usize, broker.count(ApiKey::Produce));
    let bytes = broker.state(|state| {
        let batches = state.seen.iter().flat_map(|seen| &seen.batches);
        batches.map(|batch| batch.bytes as u64).sum::<u64>()
    });
    assert_eq!(metrics.batch_bytes, bytes);
    assert!(metrics.bytes_out > bytes && metrics.connections >= 2 && metrics.shards == 1);
    let expected = driver.to_string();
    assert_eq!(metrics.driver, expected);
    let named =
        |name: &str| metrics.iter().find(|metric| metric.definition.name == name).unwrap().value;
    assert_eq!(named("record-send-total"), 10.0);
    assert_eq!(named("buffer-available-bytes"), named("buffer-total-bytes"));
}

pub(crate) fn rbt_7_names_may_be_resolved_after_the_start(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let servers = broker.bootstrap().replace("127.0.0.1", "localhost");
    let builder = builder_for(servers, driver).bootstrap_resolve_timeout(PATIENCE);
    let producer = builder.build().unwrap();
    let delivery = producer.topic("t").blocking_send(Record::new().partition(0)).unwrap();
    assert_eq!(offsets(vec![delivery]), [0]);
    producer.close(PATIENCE);

    let refused = builder_for("nobody.invalid:9092", driver).build().unwrap_err();
    assert!(matches!(refused, StartError::Unresolved { .. }), "{refused}");
    let builder = builder_for("nobody.invalid:9092", driver);
    let producer = builder.bootstrap_resolve_timeout(millis(20)).build().unwrap();
    let topic = producer.topic("t");
    let error = topic.blocking_send(Record::new()).unwrap_err();
    let expected = SendError::Unresolved { servers: "nobody.invalid:9092".into() };
    assert_eq!((&error, error.possibly_written()), (&expected, false));
    assert_eq!(topic.try_send(Record::new()).unwrap_err(), TrySendError::Rejected(error));
    assert_eq!(producer.blocking_partitions_for("t").unwrap_err(), expected);
    assert_eq!(producer.blocking_warm_up(&["u"]).unwrap_err(), expected);
    producer.blocking_flush();
    assert_eq!(producer.close(PATIENCE), Summary::default());
}

pub(crate) fn bootstrap_servers_may_go_by_the_names_of_their_addresses(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let builder = builder_for(broker.bootstrap().replace("127.0.0.1", "localhost"), driver);
    let builder = builder.dns_lookup(DnsLookup::ResolveCanonicalBootstrapServersOnly);
    let producer = builder.build().unwrap();
    let delivery = producer.topic("t").blocking_send(Record::new().partition(0)).unwrap();
    assert_eq!(offsets(vec![delivery]), [0]);
    producer.close(PATIENCE);
}
