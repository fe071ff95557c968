//! When the known brokers are given up, and clusters that take the place of another.
#![forbid(unsafe_code)]

use core::net::SocketAddr;
use std::sync::Arc;

use super::rig::{Rig, config, ms};
use super::world::address_of;
use crate::config::MetadataRecovery;
use crate::ids::ConnectionId;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

/// The sender was given the bootstrap server by name.
fn name_bootstrap(rig: &mut Rig) {
    rig.sender.nodes[0].host = Arc::from("kafka.example");
}

fn open_to(rig: &Rig, broker: i32) -> Vec<ConnectionId> {
    let open = rig.world.open.iter().filter(|(_, found)| **found == broker);
    open.map(|(connection, _)| *connection).collect()
}

/// All brokers are gone; the cluster is to be found at a new place, under a new node id.
fn move_cluster(rig: &mut Rig) -> SocketAddr {
    rig.world.brokers = vec![(8, "127.0.0.1".to_owned(), address_of(8).port())];
    (1..=3).for_each(|broker| rig.stop_broker(broker));
    address_of(8)
}

#[test]
fn rbt_1_when_no_known_broker_can_be_used_the_bootstrap_names_are_resolved_again() {
    let mut rig = Rig::new(config(), &[1]);
    name_bootstrap(&mut rig);
    rig.send("t-0", "a");
    rig.accept_next();
    let place = move_cluster(&mut rig);
    let b = rig.append("t-0", "b");
    rig.world.lead("t", 0, 8);
    rig.advance(ms(3_000));
    assert_eq!(rig.resolving.front().map(|(_, host)| host.as_str()), Some("kafka.example"));
    rig.resolved(&[place]);
    rig.advance(ms(2_000));
    assert_eq!(rig.accept_next(), "8: t-0 7000/0@1 [b]");
    assert_eq!(rig.verdict(b), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn rbt_1_without_rebootstrap_only_known_brokers_are_tried() {
    let mut rig = Rig::new(config().metadata_recovery(MetadataRecovery::None), &[1]);
    name_bootstrap(&mut rig);
    move_cluster(&mut rig);
    rig.append("t-0", "a");
    rig.advance(ms(60_000));
    assert!(rig.resolving.is_empty());
    rig.start_broker(1);
    rig.world.brokers = vec![(1, "127.0.0.1".to_owned(), 9001)];
    rig.advance(ms(3_000));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
}

/// A rig whose brokers take every request and answer none but produce requests.
fn mute(recovery: MetadataRecovery) -> Rig {
    let config = config()
        .metadata_recovery(recovery)
        .rebootstrap_trigger(ms(45_000))
        .request_timeout(ms(60_000))
        .delivery_timeout(ms(600_000));
    let mut rig = Rig::new(config, &[1, 2]);
    name_bootstrap(&mut rig);
    rig.advance(ms(2_000));
    rig.world.held.push(ApiKey::Metadata);
    rig
}

#[test]
fn rbt_2_rbt_5_brokers_that_bring_no_metadata_for_long_are_given_up() {
    let mut rig = mute(MetadataRecovery::Rebootstrap);
    let a = rig.send("t-0", "a");
    rig.cluster.mark_stale();
    rig.run();
    let since = rig.now;
    rig.advance(ms(20_000));
    let in_flight = rig.produce();
    rig.accept(&in_flight);
    let b = rig.send("t-0", "b");
    let c = rig.send("t-1", "c");
    rig.advance(ms(24_999));
    assert_eq!(rig.world.inbox.iter().filter(|request| request.api == ApiKey::Produce).count(), 2);
    let published = rig.published;
    rig.advance(ms(1));
    assert_eq!(rig.now, since + ms(45_000));
    assert!(rig.published > published);
    assert!((1..=3).all(|broker| open_to(&rig, broker).is_empty()), "all connections end");
    assert_eq!(
        (rig.verdict(a), rig.verdict(b), rig.verdict(c)),
        ("offset 0".to_owned(), "pending".to_owned(), "pending".to_owned())
    );
    let snapshot = rig.cluster.snapshot();
    let partitions = &snapshot.topic("t").unwrap().partitions;
    assert!(partitions.iter().all(|known| known.leader.is_none()), "RBT-6");
    assert_eq!(rig.cluster.entry("t").partition_count(), 2, "records can still be appended");
    rig.world.inbox.clear();
    rig.world.held.retain(|api| *api != ApiKey::Metadata);
    rig.advance(ms(200));
    rig.resolved(&[address_of(3)]);
    rig.advance(ms(2_000));
    let mut sent = [rig.accept_next(), rig.accept_next()];
    sent.sort();
    assert_eq!(sent, ["1: t-0 7000/0@1 [b]", "2: t-1 7000/0@0 [c]"]);
    rig.assert_nothing_left();
}

#[test]
fn rbt_2_it_happens_again_each_time_that_long_passes() {
    let mut rig = mute(MetadataRecovery::Rebootstrap);
    rig.cluster.mark_stale();
    rig.run();
    for round in 1..=3 {
        rig.advance(ms(45_000));
        while !rig.resolving.is_empty() {
            rig.resolved(&[address_of(1)]);
        }
        assert_eq!(rig.cluster.snapshot().rebootstraps, round);
    }
}

#[test]
fn rbt_2_without_rebootstrap_the_brokers_are_kept() {
    let mut rig = mute(MetadataRecovery::None);
    rig.cluster.mark_stale();
    rig.advance(ms(200_000));
    assert_eq!(rig.cluster.snapshot().rebootstraps, 0);
    assert_eq!(rig.cluster.snapshot().brokers.len(), 3);
}

#[test]
fn rbt_2_metadata_that_comes_starts_the_time_again() {
    let mut rig = mute(MetadataRecovery::Rebootstrap);
    for _ in 0..5 {
        rig.cluster.mark_stale();
        rig.advance(ms(29_000));
        let request = rig.request(ApiKey::Metadata);
        let answer = rig.world.metadata_answer(&request);
        rig.world.answer(&request, answer);
        rig.run();
    }
    assert_eq!(rig.cluster.snapshot().rebootstraps, 0);
}

#[test]
fn rbt_3_a_broker_that_sends_its_clients_away_is_left() {
    let mut rig = Rig::new(config(), &[1, 2]);
    name_bootstrap(&mut rig);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.advance(ms(2_000));
    rig.world.says.error = ErrorCode::RebootstrapRequired;
    rig.cluster.mark_stale();
    rig.run();
    assert!(!rig.world.open.contains_key(&request.connection));
    rig.world.says.error = ErrorCode::None;
    rig.advance(ms(500));
    rig.resolved(&[address_of(2)]);
    rig.advance(ms(2_000));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
    rig.assert_nothing_left();
}

#[test]
fn rbt_3_a_cluster_that_sends_everybody_away_for_ever_is_not_hammered() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.says.error = ErrorCode::RebootstrapRequired;
    rig.cluster.mark_stale();
    rig.advance(ms(5_000));
    let before = rig.count(ApiKey::Metadata);
    rig.advance(ms(10_000));
    let asked = rig.count(ApiKey::Metadata) - before;
    assert!((5..=15).contains(&asked), "asked {asked} times in 10 s");
}

#[test]
fn rbt_3_without_rebootstrap_it_is_an_error_like_any_other() {
    let mut rig = Rig::new(config().metadata_recovery(MetadataRecovery::None), &[1]);
    rig.world.says.error = ErrorCode::RebootstrapRequired;
    rig.cluster.mark_stale();
    rig.advance(ms(5_000));
    assert_eq!(rig.cluster.snapshot().rebootstraps, 0);
    rig.world.says.error = ErrorCode::None;
    rig.advance(ms(2_000));
    rig.send("t-0", "a");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
}

#[test]
fn rbt_6_an_answer_to_a_request_of_before_finds_its_topic() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    rig.world.keeps_closes = true;
    rig.sender.rebootstrap("the test says so", rig.now);
    rig.perform();
    // What the broker had sent before the connection went down is not read any more.
    rig.accept(&request);
    assert_eq!(rig.verdict(a), "pending");
    rig.world.keeps_closes = false;
    rig.world.finish_closes();
    rig.advance(ms(3_000));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0", "the broker knows it again");
    assert_eq!(rig.log("t-0"), ["a"]);
}

/// The old cluster is gone, another one answers on its addresses: small epochs, other topic ids,
/// and producer ids of its own.
fn replace_cluster(rig: &mut Rig, leaders: &[i32]) {
    rig.world.says.cluster_id = Some("second".to_owned());
    rig.world.make_again("t", leaders);
    rig.world.logs.know_producers = false;
    rig.sender.probes = true;
    rig.world.identity = (0, 0);
}

#[test]
fn a_cluster_that_takes_the_place_of_another_one_is_used_with_a_producer_id_of_its_own() {
    let mut rig = Rig::new(config(), &[1, 2]);
    rig.world.topic("t").partitions = vec![(1, 77), (2, 55)];
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    for partition in ["t-0", "t-1"] {
        rig.send(partition, "old");
        rig.accept_next();
    }
    let old = open_to(&rig, 1);
    replace_cluster(&mut rig, &[2, 1]);
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    assert_eq!(rig.cluster.snapshot().replacements, 1);
    let answered = rig.world.open.keys().filter(|connection| old.contains(connection)).count();
    assert!(answered <= 1, "but for the one that answered, old connections end");
    rig.send("t-0", "a");
    rig.send("t-1", "b");
    rig.advance(ms(500));
    let mut sent = [rig.accept_next(), rig.accept_next()];
    sent.sort();
    assert_eq!(sent, ["1: t-1 0/0@0 [b]", "2: t-0 0/0@0 [a]"]);
    rig.assert_nothing_left();
}

#[test]
fn what_was_in_flight_to_a_cluster_that_is_no_more_is_numbered_anew_for_the_next_one() {
    // Also when the next one happens to give the same producer id.
    for identity in [(0, 0), (7000, 0)] {
        let mut rig = Rig::new(config(), &[1]);
        rig.send("t-0", "warm");
        rig.accept_next();
        let records = ["a", "b", "c"].map(|value| rig.send("t-0", value));
        rig.world.inbox.clear();
        (1..=3).for_each(|broker| rig.stop_broker(broker));
        replace_cluster(&mut rig, &[2]);
        rig.world.identity = identity;
        rig.world.held.push(ApiKey::InitProducerId);
        (1..=3).for_each(|broker| rig.start_broker(broker));
        // The old id may go to the new brokers until their metadata is there; it is not accepted.
        rig.advance(ms(3_000));
        while !rig.pending().is_empty() {
            rig.refuse_next(ErrorCode::UnknownTopicId);
        }
        rig.advance(ms(2_000));
        assert!(rig.pending().is_empty(), "nothing goes without a producer id of this cluster");
        let request = rig.request(ApiKey::InitProducerId);
        let answer = super::wire::identity_answer(&request, ErrorCode::None, identity);
        rig.world.answer(&request, answer);
        rig.advance(ms(2_000));
        let first = format!("2: t-0 {}/{}@0 [a]", identity.0, identity.1);
        assert_eq!(rig.pending(), [first], "alone, and with the first sequence");
        while !rig.pending().is_empty() {
            rig.accept_next();
            rig.advance(ms(100));
        }
        assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
        assert!(records.iter().all(|record| rig.verdict(*record).starts_with("offset")));
        rig.assert_nothing_left();
    }
}

#[test]
fn a_hint_or_an_answer_of_the_cluster_that_is_no_more_changes_nothing() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "warm");
    rig.accept_next();
    rig.send("t-0", "a");
    let request = rig.produce();
    replace_cluster(&mut rig, &[2]);
    rig.world.keeps_closes = true;
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    let endpoint = (3, "127.0.0.1".to_owned(), address_of(3).port());
    rig.redirect(&request, ErrorCode::NotLeaderOrFollower, &[(3, 900)], &[endpoint]);
    let leader = rig.cluster.snapshot().topic("t").unwrap().partitions[0].leader;
    assert_eq!(leader.map(|leader| leader.0), Some(2));
}

/// A rig whose bootstrap server's name is resolved in the background.
fn unresolved() -> Rig {
    let config = config().bootstrap_resolve_timeout(ms(1_000));
    let mut rig = Rig::with_bootstrap(config, &[1], "kafka", Vec::new());
    rig.run();
    rig
}

#[test]
fn rbt_7_bootstrap_names_are_resolved_in_the_background_and_again_after_a_failure() {
    let mut rig = unresolved();
    assert_eq!(rig.resolving.len(), 1);
    for _ in 0..3 {
        rig.resolved(&[]);
        assert!(rig.resolving.is_empty());
        rig.advance(ms(99));
        assert!(rig.resolving.is_empty(), "not before retry.backoff.ms");
        rig.advance(ms(1));
        assert_eq!(rig.resolving.len(), 1);
    }
    rig.resolved(&[address_of(1)]);
    rig.advance(ms(60_000));
    assert!(!rig.cluster.is_unresolved());
    let a = rig.send("t-0", "a");
    rig.accept_all();
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn rbt_7_when_the_time_for_the_names_is_over_that_is_for_good() {
    let mut rig = unresolved();
    rig.resolved(&[]);
    rig.advance(ms(899));
    while !rig.resolving.is_empty() {
        rig.resolved(&[]);
    }
    rig.advance(ms(100));
    assert!(!rig.cluster.is_unresolved());
    rig.advance(ms(1));
    assert!(rig.cluster.is_unresolved());
    while !rig.resolving.is_empty() {
        rig.resolved(&[address_of(1)]);
    }
    let connects = rig.world.connects.len();
    rig.cluster.mark_stale();
    rig.advance(ms(600_000));
    assert_eq!((rig.world.connects.len(), rig.resolving.len()), (connects, 0));
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    assert!(rig.ended);
}

#[test]
fn rbt_7_an_address_needs_no_time() {
    let config = config().bootstrap_resolve_timeout(ms(1));
    let mut rig = Rig::with_bootstrap(config, &[1], "127.0.0.1", Vec::new());
    rig.advance(ms(10_000));
    assert!(!rig.cluster.is_unresolved());
    let a = rig.send("t-0", "a");
    rig.accept_all();
    assert_eq!(rig.verdict(a), "offset 0");
}
