//! Where records go that name no partition: the partitioners, and what they are told.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use kafka_protocol::messages::ApiKey;
use kuring::{
    Delivery, DriverChoice, PartitionerClass, Producer, Record, SendError, Topic, TrySendError,
    Unplaced,
};

use crate::rig::{builder, millis, poll_once, run, until, verdict};
use crate::support::fake_broker::{FakeBroker, Gate, Turn};

/// The partition that a record went to.
fn place(topic: &Topic, record: Record<'_>) -> i32 {
    verdict(topic.blocking_send(record).unwrap()).unwrap().partition
}

pub(crate) fn api_4_a_partitioner_of_one_s_own_places_records_that_name_no_partition(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 5), ("u", 2)]);
    broker.move_leader("t", 1, -1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let by_length = move |record: &Unplaced<'_>| {
        let available: Vec<i32> = record.available().collect();
        told.lock().unwrap().push((record.topic().to_owned(), available));
        record.value().map_or(4, |value| 2 + value.len() as i32 % 3)
    };
    let last = |record: &Unplaced<'_>| record.partition_count() as i32 - 1;
    let builder = builder(&broker, driver).partitioner(by_length).topic_partitioner("u", last);
    let producer = builder.build().unwrap();
    let topic = producer.topic("t");
    assert_eq!(place(&topic, Record::new().value("ab")), 4);
    assert_eq!(place(&topic, Record::new().key("21").value("abc")), 2, "keys decide nothing");
    assert_eq!(place(&topic, Record::new().key("21").partition(0)), 0, "it names its partition");
    let records = ["", "a", "a", "ab"].map(|value| Record::new().value(value));
    let mut deliveries = Vec::new();
    run("send_batch", topic.send_batch(&records, &mut deliveries)).unwrap();
    let partitions = deliveries.into_iter().map(|delivery| verdict(delivery).unwrap().partition);
    assert_eq!(partitions.collect::<Vec<_>>(), [2, 3, 3, 4]);
    let mut written = topic.reserve_record(Record::new().value("not this"), 1).unwrap();
    written[0] = b'x';
    assert_eq!(verdict(written.commit().unwrap()).unwrap().partition, 4, "no value yet");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 7, "once per record that names no partition");
    assert!(seen.iter().all(|seen| *seen == ("t".to_owned(), vec![0, 2, 3, 4])), "{seen:?}");
    drop(seen);
    assert_eq!(place(&producer.topic("u"), Record::new()), 1, "a topic's own");
}

pub(crate) fn api_5_an_answer_beyond_the_partitions_fails_the_record_at_once(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let answer = Arc::new(Mutex::new(0));
    let asked = Arc::clone(&answer);
    let builder = builder(&broker, driver).partitioner(move |_: &Unplaced<'_>| {
        let answer: i32 = *asked.lock().unwrap();
        answer
    });
    let producer = builder.build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    for partition in [3, -1, i32::MAX, i32::MIN] {
        *answer.lock().unwrap() = partition;
        let expected = SendError::NoSuchPartition { topic: "t".into(), partition, count: 3 };
        assert!(expected.to_string().contains("it must answer with 0 to 2"), "{expected}");
        assert!(!expected.possibly_written());
        let record = Record::new().key("k");
        assert_eq!(topic.blocking_send(record).unwrap_err(), expected);
        assert_eq!(run("send", topic.send(record)).unwrap_err(), expected);
        let refused = Some(TrySendError::Rejected(expected.clone()));
        assert_eq!(topic.try_send(record).err(), refused);
        assert_eq!(topic.reserve_record(record, 1).err(), refused);
        let mut deliveries = Vec::new();
        let sent = run("send_batch", topic.send_batch(&[record], &mut deliveries));
        assert_eq!((sent, deliveries.len()), (Err(expected), 0));
    }
    *answer.lock().unwrap() = 2;
    assert_eq!(place(&topic, Record::new()), 2);
}

pub(crate) fn a_partitioner_is_asked_once_however_long_the_record_waits(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let in_turn = move |_: &Unplaced<'_>| counted.fetch_add(1, SeqCst) as i32 % 2;
    let builder = builder(&broker, driver).batch_bytes(1024).buffer_memory(4096);
    let producer = builder.partitioner(in_turn).build().unwrap();
    let topic = producer.topic("t");
    // The first one waits for the metadata, and nobody can be asked before it is there.
    let value = [7; 1000];
    let mut sending = topic.send(Record::new().value(&value));
    assert!(poll_once(&mut sending).is_pending());
    assert_eq!(asked.load(SeqCst), 0);
    let gate = Gate::default();
    let held = gate.clone();
    broker.script(move |seen| match seen.api {
        ApiKey::Produce => Turn::Hold(held.clone()),
        _ => Turn::Serve,
    });
    let mut deliveries = vec![run("send", sending).unwrap()];
    assert_eq!(asked.load(SeqCst), 1);
    while let Ok(delivery) = topic.try_send(Record::new().value(&value)) {
        deliveries.push(delivery);
    }
    let before = asked.load(SeqCst);
    let waiting = std::thread::spawn({
        let topic = topic.clone();
        move || topic.blocking_send(Record::new().value(&[7; 1000])).unwrap()
    });
    until("a call that waits for memory", || producer.metrics().waiting_threads == 1);
    gate.open();
    broker.sane();
    deliveries.push(waiting.join().unwrap());
    assert_eq!(asked.load(SeqCst), before + 1);
    deliveries.into_iter().for_each(|delivery| drop(verdict(delivery).unwrap()));
}

pub(crate) fn a_panic_of_a_partitioner_is_the_callers_and_breaks_nothing(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let moody = |record: &Unplaced<'_>| {
        assert!(record.key().is_some(), "on purpose: no key");
        1
    };
    let producer = builder(&broker, driver).partitioner(moody).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let first = topic.blocking_send(Record::new().key("k").value("first")).unwrap();
    let calls: [&dyn Fn() -> bool; 4] = [
        &|| topic.blocking_send(Record::new()).is_ok(),
        &|| topic.try_send(Record::new()).is_ok(),
        &|| run("send", topic.send(Record::new())).is_ok(),
        &|| topic.reserve_record(Record::new(), 1).is_ok(),
    ];
    for call in calls {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    }
    let second = topic.blocking_send(Record::new().key("k").value("second")).unwrap();
    for delivery in [first, second] {
        assert_eq!(verdict(delivery).unwrap().partition, 1);
    }
    assert_eq!(broker.values("t", 1), ["first", "second"]);
    producer.blocking_flush();
    let metrics = producer.metrics();
    assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
}

fn named(broker: &FakeBroker, driver: DriverChoice, name: &str) -> Producer {
    builder(broker, driver).property("partitioner.class", name).unwrap().build().unwrap()
}

pub(crate) fn round_robin_takes_the_partitions_that_have_a_leader_in_turn(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 4)]);
    broker.move_leader("t", 2, -1);
    let java = "org.apache.kafka.clients.producer.RoundRobinPartitioner";
    let producer = named(&broker, driver, java);
    assert_eq!(producer.settings().partitioner, PartitionerClass::RoundRobin);
    let topic = producer.topic("t");
    let partitions = (0..7).map(|_| place(&topic, Record::new().key("the same")));
    assert_eq!(partitions.collect::<Vec<_>>(), [0, 1, 3, 0, 1, 3, 0]);
}

pub(crate) fn librdkafka_s_partitioners_put_keys_where_librdkafka_does(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 17)]);
    let keys = ["", "23456", "this is another string with more length to it perhaps", "hejsan"];
    let crc32 = [0, 0xb1b4_51d7_u32, 0xb015_0df7, 0xd077_037e];
    let murmur2 = [0x106e_08d9, 0x058d_780f, 0x4f77_03da, 0x5ec1_9395];
    let fnv1a = [0x7ee3_623b, 0x27e6_f469, 0x155e_3e5f, 0x17b1_e27a];
    for (name, hashes, nothing) in [
        ("consistent", crc32, true),
        ("consistent_random", crc32, false),
        ("murmur2", murmur2, true),
        ("murmur2_random", murmur2, false),
        ("fnv1a", fnv1a, true),
        ("fnv1a_random", fnv1a, false),
    ] {
        let producer = named(&broker, driver, name);
        let topic = producer.topic("t");
        let skipped = usize::from(name == "consistent_random");
        // Twice: into a batch that is opened, and most likely into one that is open.
        let all = || keys.iter().zip(hashes).skip(skipped);
        for (key, hash) in all().chain(all()) {
            assert_eq!(place(&topic, Record::new().key(key)), (hash % 17) as i32, "{name} {key:?}");
        }
        let unkeyed: HashSet<_> = (0..4).map(|_| place(&topic, Record::new())).collect();
        assert!(!nothing || unkeyed == HashSet::from([(hashes[0] % 17) as i32]), "{name}");
        let records = [Record::new(); 3];
        let mut deliveries = Vec::new();
        topic.blocking_send_batch(&records, &mut deliveries).unwrap();
        let unkeyed: HashSet<_> =
            deliveries.into_iter().map(|sent| verdict(sent).unwrap().partition).collect();
        assert!(!nothing || unkeyed == HashSet::from([(hashes[0] % 17) as i32]), "{name}");
    }
}

pub(crate) fn random_places_each_keyed_record_anew(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 8)]);
    broker.move_leader("t", 3, -1);
    let producer = named(&broker, driver, "random");
    let topic = producer.topic("t");
    let records = [Record::new().key("the same"); 400];
    let mut deliveries = Vec::new();
    topic.blocking_send_batch(&records, &mut deliveries).unwrap();
    let reached: HashSet<_> =
        deliveries.into_iter().map(|sent| verdict(sent).unwrap().partition).collect();
    assert_eq!(reached, HashSet::from([0, 1, 2, 4, 5, 6, 7]));
}

/// Whether the verdict comes within a time in which it comes unless something holds it back.
fn is_answered(delivery: Delivery) -> bool {
    let limit = millis(250);
    run("a timeout", async { tokio::time::timeout(limit, delivery).await }).is_ok()
}

pub(crate) fn avl_1_a_broker_that_answers_nothing_gets_no_more_unkeyed_records(
    driver: DriverChoice,
) {
    let broker = FakeBroker::cluster(2, &[("t", 6)]);
    let builder = builder(&broker, driver).batch_bytes(1024).in_flight_max(1);
    let producer = builder.availability_timeout(millis(30)).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    for partition in 0..6 {
        place(&topic, Record::new().partition(partition));
    }
    let gate = Gate::default();
    let held = gate.clone();
    broker.script(move |seen| match seen.api {
        ApiKey::Produce if seen.node == 1 => Turn::Hold(held.clone()),
        _ => Turn::Serve,
    });
    let record = Record::new().value(&[7; 1000]);
    let mut in_a_row = 0;
    until("records that all go elsewhere", || {
        let answered = is_answered(topic.blocking_send(record).unwrap());
        in_a_row = if answered { in_a_row + 1 } else { 0 };
        in_a_row == 60
    });
    gate.open();
    broker.sane();
    until("records for the broker that answers again", || place(&topic, record) % 2 == 1);
}

pub(crate) fn rck_1_unkeyed_records_stay_in_the_clients_rack(driver: DriverChoice) {
    let broker = FakeBroker::cluster(3, &[("t", 9)]);
    broker.state(|state| state.racks = ["a", "b", "c"].map(str::to_owned).into());
    let builder = builder(&broker, driver).batch_bytes(1024);
    let properties = [("partitioner.rack.aware", "true"), ("client.rack", "b")];
    let producer = builder.properties(properties).unwrap().build().unwrap();
    let topic = producer.topic("t");
    let value = [7; 1000];
    let round = |count| -> HashSet<i32> {
        (0..count).map(|_| place(&topic, Record::new().value(&value))).collect()
    };
    assert_eq!(round(60), HashSet::from([1, 4, 7]));
    assert_eq!(place(&topic, Record::new().key("21")), (-973_932_308 & i32::MAX) % 9, "not keyed");
    for partition in [1, 4, 7] {
        broker.move_leader("t", partition, 2);
    }
    // The first of them fails at the old leader, and everything is asked for again.
    until("records elsewhere", || round(20).iter().any(|partition| partition % 3 == 0));
}
