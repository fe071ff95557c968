//! Versions: what each side speaks, and whether topics go by name or by id.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::wire::{self, Body, Said};
use crate::ids::TopicId;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

#[test]
fn net_14_the_client_says_what_it_is() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.held.push(ApiKey::ApiVersions);
    rig.run();
    let Body::ApiVersions { software, release, .. } = rig.request(ApiKey::ApiVersions).body else {
        panic!("a greeting");
    };
    assert_eq!(software, "kuring");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    for text in [software, release] {
        assert!(text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphanumeric()));
        assert!(text.ends_with(|c: char| c.is_ascii_alphanumeric()));
    }
}

/// What a broker speaks that has all but one API in common with us.
fn all_but(missing: ApiKey) -> Vec<(ApiKey, i16, i16)> {
    let all = ApiKey::ALL.into_iter().map(|api| (api, api.versions().min, api.versions().max));
    all.map(|(api, min, max)| if api == missing { (api, 90, 99) } else { (api, min, max) })
        .collect()
}

#[test]
fn net_15_without_a_shared_produce_version_records_fail_and_are_not_sent() {
    let mut rig = Rig::new(config(), &[2, 1]);
    rig.world.ranges.insert(2, all_but(ApiKey::Produce));
    rig.batch("t-0", &["a"]);
    rig.batch("t-0", &["b"]);
    let c = rig.batch("t-1", &["c"]);
    rig.run();
    assert_eq!(rig.verdict(0), "UNSUPPORTED_VERSION");
    assert_eq!(rig.verdict(1), "UNSUPPORTED_VERSION", "also what stood behind it");
    rig.accept_next();
    assert_eq!(rig.verdict(c), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn net_15_without_a_shared_metadata_version_the_broker_is_left_alone() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.ranges.insert(1, all_but(ApiKey::Metadata));
    rig.advance(ms(10_000));
    assert_eq!(rig.count(ApiKey::Metadata), 0);
    assert!(rig.connects_to(1) < 20, "it is not hammered");
}

#[test]
fn net_15_without_a_shared_version_for_producer_ids_records_fail() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.ranges.insert(1, all_but(ApiKey::InitProducerId));
    rig.world.brokers.truncate(1);
    rig.run();
    let a = rig.send("t-0", "a");
    rig.advance(ms(2_000));
    assert_eq!(rig.verdict(a), "UNSUPPORTED_VERSION");
    rig.assert_nothing_left();
}

#[test]
fn tid_1_a_topic_without_an_id_is_named() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.topic("t").id = TopicId::ZERO;
    rig.run();
    rig.send("t-0", "a");
    assert_eq!(rig.world.inbox[0].version, 12);
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
}

#[test]
fn tid_1_an_unknown_id_is_retried_with_fresh_metadata() {
    let mut rig = Rig::new(config(), &[1]);
    rig.advance(ms(2_000));
    let a = rig.send("t-0", "a");
    assert_eq!(rig.world.inbox[0].version, 13);
    // The topic was made again, under another id.
    rig.world.topics.clear();
    rig.world.add_topic("t", &[1]);
    let id = rig.world.topic("t").id;
    rig.refuse_next(ErrorCode::UnknownTopicId);
    rig.advance(ms(500));
    assert_eq!(rig.world.inbox[0].batches()[0].topic_id, id);
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn tid_2_an_answer_is_read_with_the_ids_of_its_request() {
    let mut rig = Rig::new(config(), &[1, 2]);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    rig.world.topics.clear();
    rig.world.add_topic("t", &[1, 2]);
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    assert_eq!(rig.sender.partitions[1].topic_id, rig.world.topic("t").id);
    rig.accept(&request);
    assert_eq!(rig.verdict(a), "offset 0");
    assert!(rig.world.open.contains_key(&request.connection));
}

#[test]
fn tid_4_an_answer_about_another_partition_closes_the_connection() {
    let mut rig = Rig::new(config(), &[1, 1]);
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    let mut other = request.clone();
    let Body::Produce { batches, .. } = &mut other.body else { unreachable!() };
    batches[0].partition = 1;
    let said = [Said::written(7)];
    rig.world.receive(request.connection, wire::produce_answer(&other, &said, 0));
    rig.run();
    assert!(!rig.world.open.contains_key(&request.connection));
    assert_eq!(rig.verdict(a), "pending");
    rig.advance(ms(300));
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn tid_5_each_connection_speaks_its_own_version() {
    let mut rig = Rig::new(config(), &[1, 2, 3]);
    rig.world.ranges.insert(2, vec![(ApiKey::Produce, 3, 7), (ApiKey::Metadata, 4, 9)]);
    rig.world.ranges.insert(3, vec![(ApiKey::Produce, 0, 3), (ApiKey::Metadata, 0, 4)]);
    for partition in ["t-0", "t-1", "t-2"] {
        rig.send(partition, "x");
    }
    let mut versions: Vec<_> =
        rig.world.inbox.iter().map(|request| (request.broker, request.version)).collect();
    versions.sort_unstable();
    assert_eq!(versions, [(1, 13), (2, 7), (3, 3)]);
    // A batch that was built for one version goes out again in another.
    rig.world.lead("t", 2, 1);
    let mut last = String::new();
    for _ in 0..100 {
        while !rig.pending().is_empty() {
            let request = rig.produce();
            if request.broker == 3 {
                rig.refuse(&request, ErrorCode::NotLeaderOrFollower);
            } else {
                rig.accept(&request);
                last = format!("version {} to {request}", request.version);
            }
        }
        rig.advance(ms(20));
    }
    assert_eq!(last, "version 13 to 1: t-2 7000/0@0 [x]");
    rig.assert_nothing_left();
}
