//! What a connection asks first: which version of the question, whom it names, and what follows
//! when somebody else answers.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::wire::{self, Arrived, Body};
use super::world::address_of;
use crate::config::{ConfigBuilder, MetadataRecovery};
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

/// A rig whose brokers take greetings up to this version. Broker 1 is the bootstrap server as well.
fn speaking(config: ConfigBuilder, leaders: &[i32], greeting: i16) -> Rig {
    let mut rig = Rig::cold(config, leaders);
    rig.sender.probes = false;
    rig.world.logs.know_producers = true;
    rig.world.greetings.extend((1..=3).map(|broker| (broker, greeting)));
    rig.run();
    rig
}

/// The greetings since the last call, as text: broker, version, and who was named.
fn greetings(rig: &mut Rig) -> Vec<String> {
    let text = |Arrived { broker, version, body, .. }: Arrived| match body {
        Body::ApiVersions { intended: Some((cluster, node)), .. } => {
            format!("{broker} v{version} {cluster}/{node}")
        }
        _ => format!("{broker} v{version}"),
    };
    std::mem::take(&mut rig.world.greeted).into_iter().map(text).collect()
}

/// Sends a record, and has it accepted.
fn deliver(rig: &mut Rig, partition: &str, value: &str) {
    let record = rig.send(partition, value);
    rig.accept_all();
    assert!(rig.verdict(record).starts_with("offset"), "{}", rig.verdict(record));
}

/// Cuts the connections to a broker, and has a record bring the next one.
fn reconnect(rig: &mut Rig, broker: i32, partition: &str) {
    rig.stop_broker(broker);
    rig.start_broker(broker);
    rig.advance(ms(2_000));
    greetings(rig);
    deliver(rig, partition, "again");
}

#[test]
fn rbt_4_a_connection_says_which_broker_of_which_cluster_it_is_for() {
    let mut rig = speaking(config(), &[2, 3], 5);
    assert_eq!(greetings(&mut rig)[0], "1 v4", "who a bootstrap server is nobody knows");
    deliver(&mut rig, "t-0", "a");
    deliver(&mut rig, "t-1", "b");
    let mut named = greetings(&mut rig);
    named.retain(|greeting| !greeting.starts_with('1'));
    assert_eq!(named, ["2 v5 first/2", "3 v5 first/3"], "and without a second question");
    rig.assert_nothing_left();
}

#[test]
fn rbt_4_where_it_is_off_nobody_is_named() {
    let off = config().cluster_check(false);
    let alone = config().metadata_recovery(MetadataRecovery::None);
    for config in [off, alone] {
        let mut rig = speaking(config, &[2], 5);
        deliver(&mut rig, "t-0", "a");
        reconnect(&mut rig, 2, "t-0");
        assert_eq!(greetings(&mut rig), ["2 v4"]);
    }
}

#[test]
fn rbt_4_where_it_is_off_such_an_answer_is_an_error_like_any_other() {
    let mut rig = speaking(config().cluster_check(false), &[2], 5);
    rig.world.held.push(ApiKey::ApiVersions);
    rig.send("t-0", "a");
    let request = rig.request(ApiKey::ApiVersions);
    let answer = wire::versions_answer(&request, ErrorCode::RebootstrapRequired, &[]);
    rig.world.answer(&request, answer);
    rig.run();
    assert!(!rig.world.open.contains_key(&request.connection));
    assert_eq!(rig.cluster.snapshot().rebootstraps, 0);
}

#[test]
fn rbt_4_a_cluster_without_a_usable_id_is_not_named() {
    let longer_than_a_request_can_say = "x".repeat(32_768);
    for id in [None, Some(longer_than_a_request_can_say)] {
        let mut rig = Rig::cold(config(), &[2]);
        rig.world.says.cluster_id = id;
        rig.world.greetings.extend((1..=3).map(|broker| (broker, 5)));
        rig.run();
        deliver(&mut rig, "t-0", "a");
        assert_eq!(greetings(&mut rig).pop().unwrap(), "2 v4");
    }
}

#[test]
fn net_9_brokers_that_refuse_version_5_are_not_asked_in_it() {
    // Of Kafka 2.4 to 3.8, and of 3.9 to 4.3.
    for version in [3, 4] {
        let mut rig = speaking(config(), &[2], version);
        let mut expected = vec!["1 v4".to_owned(), "1 v3".to_owned()];
        expected.truncate(5 - version as usize);
        assert_eq!(greetings(&mut rig)[..expected.len()], expected);
        deliver(&mut rig, "t-0", "a");
        assert_eq!(greetings(&mut rig).pop(), Some(format!("2 v{version}")));
        reconnect(&mut rig, 2, "t-0");
        assert_eq!(greetings(&mut rig), [format!("2 v{version}")], "one round trip");
    }
}

#[test]
fn net_9_a_broker_that_was_upgraded_is_asked_again_and_then_at_once() {
    let mut rig = speaking(config(), &[2], 4);
    deliver(&mut rig, "t-0", "a");
    rig.world.greetings.insert(2, 5);
    reconnect(&mut rig, 2, "t-0");
    assert_eq!(greetings(&mut rig), ["2 v4", "2 v5 first/2"]);
    reconnect(&mut rig, 2, "t-0");
    assert_eq!(greetings(&mut rig), ["2 v5 first/2"]);
    // And back again.
    rig.world.greetings.insert(2, 3);
    reconnect(&mut rig, 2, "t-0");
    assert_eq!(greetings(&mut rig), ["2 v5 first/2", "2 v3"]);
    reconnect(&mut rig, 2, "t-0");
    assert_eq!(greetings(&mut rig), ["2 v3"]);
    rig.assert_nothing_left();
}

#[test]
fn net_9_in_a_cluster_of_old_and_new_brokers_each_is_asked_as_it_was_answered() {
    let mut rig = speaking(config(), &[2, 3], 5);
    rig.world.greetings.insert(3, 4);
    deliver(&mut rig, "t-0", "a");
    deliver(&mut rig, "t-1", "a");
    for _ in 0..2 {
        reconnect(&mut rig, 3, "t-1");
        assert_eq!(greetings(&mut rig), ["3 v4"]);
        reconnect(&mut rig, 2, "t-0");
        assert_eq!(greetings(&mut rig), ["2 v5 first/2"]);
    }
}

#[test]
fn net_9_a_broker_that_refuses_what_it_names_is_not_asked_for_ever() {
    let mut rig = speaking(config(), &[2], 4);
    let spoken = [(ApiKey::ApiVersions, 0, 5), (ApiKey::Metadata, 0, 13), (ApiKey::Produce, 0, 13)];
    rig.world.ranges.insert(2, spoken.to_vec());
    let a = rig.send("t-0", "a");
    rig.accept_all();
    assert_eq!(rig.verdict(a), "offset 0");
    let mut named = greetings(&mut rig);
    named.retain(|greeting| greeting.starts_with('2'));
    assert_eq!(named, ["2 v4", "2 v5 first/2", "2 v4"]);
}

#[test]
fn rbt_4_rbt_5_an_address_that_leads_to_another_broker_has_the_bootstrap_servers_asked_again() {
    let mut rig = speaking(config(), &[2, 3], 5);
    deliver(&mut rig, "t-1", "over a connection of its own");
    let kept = *rig.world.open.iter().find(|(_, broker)| **broker == 3).unwrap().0;
    // Broker 2 is named with the address of broker 3, which says that it is not broker 2.
    rig.world.brokers[1].2 = address_of(3).port();
    rig.cluster.mark_stale();
    rig.advance(ms(1_000));
    let (rebootstraps, connects) = (rig.cluster.snapshot().rebootstraps, rig.connects_to(1));
    let a = rig.append("t-0", "a");
    rig.ring("t-0").seal_open();
    rig.run();
    assert!(rig.cluster.snapshot().rebootstraps > rebootstraps);
    assert!(!rig.world.open.contains_key(&kept), "all connections end");
    assert_eq!(rig.verdict(a), "pending");
    rig.world.brokers[1].2 = address_of(2).port();
    rig.advance(ms(3_000));
    assert!(rig.connects_to(1) > connects);
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn rbt_4_a_cluster_that_took_over_the_addresses_gets_the_records_with_a_producer_id_of_its_own() {
    let mut rig = speaking(config(), &[2], 5);
    deliver(&mut rig, "t-0", "old");
    rig.send("t-0", "a");
    rig.world.inbox.clear();
    rig.stop_broker(2);
    rig.world.says.cluster_id = Some("second".to_owned());
    rig.world.make_again("t", &[2]);
    rig.world.identity = (0, 0);
    rig.world.logs.know_producers = false;
    rig.sender.probes = true;
    rig.start_broker(2);
    greetings(&mut rig);
    rig.advance(ms(5_000));
    assert_eq!(rig.accept_next(), "2: t-0 0/0@0 [a]");
    assert_eq!(rig.cluster.snapshot().cluster_id.as_deref(), Some("second"));
    let greetings = greetings(&mut rig);
    assert!(greetings.contains(&"2 v5 second/2".to_owned()), "{greetings:?}");
    assert_eq!(rig.log("t-0"), ["a"]);
    rig.assert_nothing_left();
}

#[test]
fn rbt_4_addresses_that_lead_elsewhere_for_ever_are_not_hammered() {
    // One of them, and all of them.
    for strays in [&[2][..], &[1, 2, 3]] {
        let mut rig = speaking(config().delivery_timeout(ms(600_000)), &[2, 3, 1], 5);
        for &stray in strays {
            // What is told of it leads to a broker that is not in the cluster.
            rig.world.brokers[stray as usize - 1].2 = address_of(7).port();
        }
        rig.world.greetings.insert(7, 5);
        rig.cluster.mark_stale();
        rig.advance(ms(2_000));
        for partition in ["t-0", "t-1", "t-2"] {
            rig.append(partition, "a");
        }
        rig.advance(ms(10_000));
        rig.world.inbox.clear();
        let before = (rig.connects_to(7), rig.cluster.snapshot().rebootstraps);
        rig.advance(ms(10_000));
        let connects = rig.connects_to(7) - before.0;
        let rebootstraps = rig.cluster.snapshot().rebootstraps - before.1;
        // Each is tried about once in reconnect.backoff.max.ms.
        let most = 15 * strays.len();
        assert!((5..=most).contains(&connects), "{connects} connects in 10 s");
        assert!((5..=most as u32).contains(&rebootstraps), "{rebootstraps} in 10 s");
    }
}
