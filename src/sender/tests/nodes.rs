//! Brokers that come, go, move, and share an address.
#![forbid(unsafe_code)]

use core::net::SocketAddr;

use super::rig::{Rig, config, ms};
use super::world::address_of;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

fn refresh(rig: &mut Rig) {
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
}

fn broker(id: i32, at: i32) -> (i32, String, u16) {
    (id, "127.0.0.1".to_owned(), address_of(at).port())
}

#[test]
fn two_node_ids_on_one_address_have_a_connection_each() {
    let mut rig = Rig::new(config(), &[2, 3]);
    rig.world.brokers[2] = broker(3, 2);
    refresh(&mut rig);
    rig.send("t-0", "a");
    rig.send("t-1", "b");
    assert_eq!(rig.connects_to(2), 2);
    let (first, second) = (rig.produce(), rig.produce());
    assert_ne!(first.connection, second.connection);
    rig.accept(&first);
    rig.accept(&second);
    assert_eq!((rig.log("t-0"), rig.log("t-1")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    // Neither update after update ends them.
    refresh(&mut rig);
    refresh(&mut rig);
    assert_eq!(rig.connects_to(2), 2);
    rig.assert_nothing_left();
}

#[test]
fn node_ids_that_change_places_take_their_partitions_along() {
    let mut rig = Rig::new(config(), &[2, 3]);
    for partition in ["t-0", "t-1"] {
        rig.send(partition, "warm");
        rig.accept_next();
    }
    rig.world.brokers[1] = broker(2, 3);
    rig.world.brokers[2] = broker(3, 2);
    refresh(&mut rig);
    rig.send("t-0", "a");
    rig.send("t-1", "b");
    rig.advance(ms(200));
    let mut sent = [rig.accept_next(), rig.accept_next()];
    sent.sort();
    assert_eq!(sent, ["2: t-1 7000/0@1 [b]", "3: t-0 7000/0@1 [a]"]);
    rig.assert_nothing_left();
}

#[test]
fn a_broker_that_is_removed_answers_what_it_has_and_is_left() {
    let mut rig = Rig::new(config(), &[2, 1]);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    let a = rig.send("t-0", "a");
    let b = rig.send("t-0", "b");
    let (first, second) = (rig.produce(), rig.produce());
    rig.world.brokers.remove(1);
    rig.world.lead("t", 0, 3);
    refresh(&mut rig);
    assert!(rig.world.open.contains_key(&first.connection), "two answers are due");
    rig.accept(&first);
    assert!(rig.world.open.contains_key(&first.connection));
    rig.accept(&second);
    assert!(!rig.world.open.contains_key(&first.connection), "nothing is");
    assert_eq!((rig.verdict(a), rig.verdict(b)), ("offset 0".to_owned(), "offset 1".to_owned()));
    rig.send("t-0", "c");
    assert_eq!(rig.accept_next(), "3: t-0 7000/0@2 [c]");
    // It comes back.
    rig.world.brokers.insert(1, broker(2, 2));
    rig.world.lead("t", 0, 2);
    refresh(&mut rig);
    rig.send("t-0", "d");
    rig.advance(ms(1_000));
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@3 [d]");
    rig.assert_nothing_left();
}

#[test]
fn a_broker_that_is_removed_while_it_holds_requests_it_never_answers_loses_none() {
    let mut rig = Rig::new(config(), &[2, 1]);
    let a = rig.send("t-0", "a");
    rig.world.inbox.clear();
    rig.world.brokers.remove(1);
    rig.world.lead("t", 0, 3);
    refresh(&mut rig);
    rig.advance(ms(31_000));
    assert_eq!(rig.accept_next(), "3: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn a_leader_that_the_answer_does_not_list_is_asked_about_again() {
    let mut rig = Rig::new(config(), &[2]);
    let left = rig.world.brokers.remove(1);
    refresh(&mut rig);
    let a = rig.append("t-0", "a");
    rig.advance(ms(2_000));
    let before = rig.count(ApiKey::Metadata);
    rig.advance(ms(5_000));
    let asked = rig.count(ApiKey::Metadata) - before;
    assert!((3..=8).contains(&asked), "asked {asked} times in 5 s");
    rig.world.brokers.push(left);
    rig.advance(ms(2_000));
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn a_broker_that_moves_while_its_name_is_looked_up_is_not_connected_at_the_old_place() {
    let mut rig = Rig::cold(config(), &[2]);
    rig.world.brokers[1].1 = "old.example".to_owned();
    rig.run();
    rig.send("t-0", "a");
    assert_eq!(rig.resolving.front().map(|(_, host)| host.as_str()), Some("old.example"));
    rig.world.brokers[1].1 = "new.example".to_owned();
    refresh(&mut rig);
    let old: SocketAddr = ([10, 0, 0, 1], 9002).into();
    rig.resolved(&[old]);
    assert!(!rig.world.connects.contains(&old));
    assert_eq!(rig.resolving.front().map(|(_, host)| host.as_str()), Some("new.example"));
    rig.resolved(&[([10, 0, 0, 2], 9002).into()]);
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    rig.assert_nothing_left();
}

#[test]
fn a_broker_that_moves_with_requests_out_has_them_sent_again_at_its_new_place() {
    let mut rig = Rig::new(config(), &[2, 1]);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    let a = rig.send("t-0", "a");
    let old = rig.produce();
    let _ = rig.world.produce_answer(&old);
    rig.world.brokers[1] = broker(2, 5);
    refresh(&mut rig);
    rig.advance(ms(2_000));
    assert_eq!(rig.accept_next(), "5: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0");
    assert_eq!(rig.log("t-0"), ["a"], "it was written once");
    rig.assert_nothing_left();
}

#[test]
fn tid_5_each_connection_speaks_its_own_version() {
    let mut rig = Rig::cold(config(), &[1, 2]);
    let old = vec![
        (ApiKey::Produce, 0, 9),
        (ApiKey::Metadata, 0, 9),
        (ApiKey::ApiVersions, 0, 3),
        (ApiKey::InitProducerId, 0, 4),
    ];
    rig.world.ranges.insert(2, old);
    rig.run();
    rig.send("t-0", "a");
    rig.send("t-1", "b");
    let (first, second) = (rig.produce(), rig.produce());
    assert_eq!((first.version, second.version), (13, 9));
    // The first one moves, and its batch is written for a broker that takes names.
    rig.world.lead("t", 0, 2);
    rig.refuse(&first, ErrorCode::NotLeaderOrFollower);
    rig.accept(&second);
    rig.advance(ms(3_000));
    if rig.pending()[0].starts_with("1: ") {
        rig.refuse_next(ErrorCode::NotLeaderOrFollower);
        rig.advance(ms(3_000));
    }
    assert_eq!(rig.world.inbox[0].version, 9);
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    rig.assert_nothing_left();
}

#[test]
fn tid_5_a_broker_that_tells_no_ids_does_not_make_known_ones_unknown() {
    let mut rig = Rig::new(config(), &[1]);
    let id = rig.world.topic("t").id;
    rig.world.ranges.clear();
    let old = vec![
        (ApiKey::Produce, 0, 9),
        (ApiKey::Metadata, 0, 9),
        (ApiKey::ApiVersions, 0, 3),
        (ApiKey::InitProducerId, 0, 4),
    ];
    (1..=3).for_each(|broker| drop(rig.world.ranges.insert(broker, old.clone())));
    let open: Vec<_> = rig.world.open.keys().copied().collect();
    open.into_iter().for_each(|connection| rig.cut(connection));
    rig.world.lead("t", 0, 2);
    refresh(&mut rig);
    let snapshot = rig.cluster.snapshot();
    let known = snapshot.topic("t").unwrap();
    assert_eq!((known.id, known.partitions[0].leader_epoch), (id, 1));
}

#[test]
fn md_10_a_refusal_of_the_whole_answer_ends_no_producer() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.says.error = ErrorCode::ClusterAuthorizationFailed;
    let before = rig.count(ApiKey::Metadata);
    rig.cluster.mark_stale();
    rig.advance(ms(10_000));
    let asked = rig.count(ApiKey::Metadata) - before;
    assert!((5..=20).contains(&asked), "asked {asked} times in 10 s");
    assert_eq!(rig.cluster.snapshot().brokers.len(), 3, "what was known stays");
    rig.send("t-0", "a");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
}

#[test]
fn md_4_a_broker_that_takes_no_bytes_does_not_keep_the_others_from_being_asked() {
    let mut rig = Rig::new(config(), &[2]);
    rig.send("t-0", "a");
    rig.accept_next();
    rig.advance(ms(3_000));
    rig.world.stalled.insert(2);
    let b = rig.send("t-0", "b");
    rig.world.lead("t", 0, 3);
    rig.cluster.mark_stale();
    rig.advance(ms(1_500));
    let leader = rig.cluster.snapshot().topic("t").unwrap().partitions[0].leader;
    assert_eq!(leader.map(|leader| leader.0), Some(3));
    rig.world.inbox.clear();
    rig.advance(ms(31_000));
    assert_eq!(rig.accept_next(), "3: t-0 7000/0@1 [b]");
    assert_eq!(rig.verdict(b), "offset 1");
}

#[test]
fn md_4_a_host_that_answers_no_connect_does_not_keep_the_others_from_being_asked() {
    let mut rig = Rig::new(config(), &[2]);
    rig.send("t-0", "a");
    rig.accept_next();
    rig.advance(ms(3_000));
    // Broker 2, the only one that is connected, is gone with its host.
    rig.world.silent.insert(2);
    let open: Vec<_> = rig.world.open.keys().copied().collect();
    open.into_iter().for_each(|connection| rig.cut(connection));
    rig.world.lead("t", 0, 3);
    let b = rig.append("t-0", "b");
    rig.advance(ms(1_500));
    assert_eq!(rig.accept_next(), "3: t-0 7000/0@1 [b]");
    assert_eq!(rig.verdict(b), "offset 1");
}
