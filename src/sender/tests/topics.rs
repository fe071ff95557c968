//! Topics that are deleted, made again, told in part or by brokers that lag behind.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use crate::clock;
use crate::error::SendError;
use crate::ids::TopicId;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

/// Has the metadata fetched anew.
fn refresh(rig: &mut Rig) {
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
}

/// What a record's timeout says, and whether it may have been written.
fn timeout(rig: &Rig, record: usize) -> (Option<ErrorCode>, bool) {
    match rig.records[record].2.verdict() {
        Some(Err(SendError::TimedOut { cause, possibly_written, .. })) => (cause, possibly_written),
        other => panic!("{other:?}"),
    }
}

/// A rig whose brokers forget nothing that they should know, and that sends first batches alone.
fn careful(leaders: &[i32]) -> Rig {
    let mut rig = Rig::new(config(), leaders);
    rig.world.logs.know_producers = false;
    rig.sender.probes = true;
    rig
}

#[test]
fn tid_3_the_first_batch_for_a_topic_that_was_made_again_goes_alone() {
    let mut rig = careful(&[1, 2]);
    rig.world.topic("t").partitions[0] = (1, 40);
    refresh(&mut rig);
    for value in ["a", "b"] {
        rig.send("t-0", value);
        rig.accept_next();
    }
    rig.world.make_again("t", &[2, 2]);
    refresh(&mut rig);
    for value in ["c", "d", "e"] {
        rig.send("t-0", value);
    }
    assert_eq!(rig.pending(), ["2: t-0 7000/0@2 [c]"], "under epoch 0, which is not older");
    rig.accept_next();
    assert_eq!(rig.pending(), ["2: t-0 7000/0@3 [d]", "2: t-0 7000/0@4 [e]"]);
    rig.accept_next();
    rig.accept_next();
    assert_eq!(rig.log("t-0"), ["c", "d", "e"]);
    rig.assert_nothing_left();
}

#[test]
fn tid_3_what_was_in_flight_for_the_old_topic_goes_to_the_new_one_in_order() {
    for error in [
        ErrorCode::UnknownTopicId,
        ErrorCode::InconsistentTopicId,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::NotLeaderOrFollower,
    ] {
        let mut rig = careful(&[1]);
        rig.send("t-0", "warm");
        rig.accept_next();
        let records: Vec<_> = ["a", "b", "c"].map(|value| rig.send("t-0", value)).into();
        let sent = [rig.produce(), rig.produce(), rig.produce()];
        rig.world.make_again("t", &[1]);
        let id = rig.world.topic("t").id;
        sent.iter().for_each(|request| rig.refuse(request, error));
        let mut order = Vec::new();
        for _ in 0..30 {
            rig.advance(ms(200));
            while !rig.pending().is_empty() {
                let request = rig.produce();
                if request.batches()[0].topic_id != id {
                    // Sent before the metadata came.
                    rig.refuse(&request, error);
                    continue;
                }
                assert!(!order.is_empty() || rig.pending().is_empty(), "alone at first");
                order.push(request.to_string());
                rig.accept(&request);
            }
        }
        assert_eq!(rig.log("t-0"), ["a", "b", "c"], "{error:?}: {order:?}");
        let verdicts: Vec<_> = records.iter().map(|record| rig.verdict(*record)).collect();
        assert_eq!(verdicts, ["offset 0", "offset 1", "offset 2"]);
        rig.assert_nothing_left();
    }
}

#[test]
fn tid_3_a_late_success_in_the_old_topic_says_nothing_about_the_new_one() {
    let mut rig = careful(&[1, 2]);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    rig.send("t-0", "warm");
    rig.accept_next();
    let a = rig.send("t-0", "a");
    let b = rig.send("t-0", "b");
    let (first, second) = (rig.produce(), rig.produce());
    let written = rig.world.produce_answer(&first);
    rig.world.make_again("t", &[1, 2]);
    refresh(&mut rig);
    for value in ["c", "d"] {
        rig.send("t-0", value);
    }
    assert!(rig.pending().is_empty(), "nothing goes to the new log while the old one may answer");
    rig.world.answer(&first, written);
    rig.run();
    assert_eq!(rig.verdict(a), "offset 1", "it was written, and then deleted");
    rig.refuse(&second, ErrorCode::UnknownTopicId);
    rig.advance(ms(2_000));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@2 [b]");
    assert_eq!(rig.verdict(b), "offset 0");
    assert_eq!(rig.pending().len(), 2);
    rig.accept_next();
    rig.accept_next();
    assert_eq!(rig.log("t-0"), ["b", "c", "d"]);
}

#[test]
fn tid_3_a_topic_may_be_made_again_over_and_over() {
    let mut rig = careful(&[1]);
    for round in 0..10 {
        let record = rig.send("t-0", "x");
        rig.advance(ms(100));
        if !rig.pending().is_empty() {
            rig.accept_next();
        }
        rig.world.topics.clear();
        rig.cluster.mark_stale();
        rig.advance(ms(round * 137));
        rig.world.make_again("t", &[1 + (round % 3) as i32]);
        let waiting = rig.append("t-0", "y");
        rig.advance(ms(3_000));
        while !rig.pending().is_empty() {
            let request = rig.produce();
            rig.accept(&request);
        }
        assert!(rig.verdict(record).starts_with("offset"), "round {round}");
        assert!(rig.verdict(waiting).starts_with("offset"), "round {round}");
    }
    rig.assert_nothing_left();
}

#[test]
fn md_7_a_broker_that_has_not_heard_of_the_new_topic_is_not_believed() {
    let mut rig = careful(&[1, 2]);
    let old = rig.world.topics.clone();
    rig.world.make_again("t", &[2, 1]);
    let id = rig.world.topic("t").id;
    refresh(&mut rig);
    assert_eq!(rig.cluster.snapshot().topic("t").unwrap().id, id);
    rig.world.views = (1..=3).map(|broker| (broker, old.clone())).collect();
    refresh(&mut rig);
    assert_eq!(rig.cluster.snapshot().topic("t").unwrap().id, id);
    let before = rig.count(ApiKey::Metadata);
    rig.advance(ms(500));
    assert!(rig.count(ApiKey::Metadata) > before, "it is asked again");
    rig.send("t-0", "a");
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
}

#[test]
fn md_7_a_topic_that_a_lagging_broker_does_not_know_comes_back_with_its_epochs() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.topic("t").partitions[0] = (2, 9);
    refresh(&mut rig);
    let mut older = rig.world.topics.clone();
    older[0].partitions[0] = (1, 3);
    rig.world.views = (1..=3).map(|broker| (broker, Vec::new())).collect();
    refresh(&mut rig);
    assert!(rig.cluster.snapshot().topic("t").is_none());
    rig.world.views = (1..=3).map(|broker| (broker, older.clone())).collect();
    let a = rig.append("t-0", "a");
    rig.advance(ms(2_000));
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]", "not to the leader of epoch 3");
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn md_7_a_topic_without_ids_that_was_gone_starts_anew() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.topic("t").id = TopicId::ZERO;
    rig.world.topic("t").partitions[0] = (1, 9);
    rig.run();
    rig.world.topics.clear();
    refresh(&mut rig);
    rig.world.add_topic("t", &[2]);
    rig.world.topic("t").id = TopicId::ZERO;
    rig.append("t-0", "a");
    rig.advance(ms(2_000));
    assert!(rig.pending()[0].starts_with("2: t-0"), "epoch 0 of a topic that was made again");
}

#[test]
fn md_7_partitions_that_a_lagging_broker_leaves_out_stay() {
    let mut rig = Rig::new(config(), &[1, 2]);
    let mut older = rig.world.topics.clone();
    older[0].partitions.pop();
    rig.world.views = (1..=3).map(|broker| (broker, older.clone())).collect();
    refresh(&mut rig);
    assert_eq!(rig.cluster.entry("t").partition_count(), 2);
    rig.send("t-1", "a");
    assert_eq!(rig.accept_next(), "2: t-1 7000/0@0 [a]");
}

#[test]
fn md_2_a_topic_that_is_left_out_of_an_answer_is_asked_for_again_without_haste() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.add_topic("u", &[1]);
    rig.world.left_out.push("u".to_owned());
    let before = rig.count(ApiKey::Metadata);
    for _ in 0..100 {
        // As a waiting call does at each update.
        rig.cluster.want(&rig.cluster.entry("u"), clock::to_nanos(rig.now));
        rig.advance(ms(50));
    }
    let asked = rig.count(ApiKey::Metadata) - before;
    assert!((4..=15).contains(&asked), "asked {asked} times in 5 s");
    rig.world.left_out.clear();
    rig.cluster.want(&rig.cluster.entry("u"), clock::to_nanos(rig.now));
    rig.advance(ms(1_100));
    assert_eq!(rig.cluster.entry("u").partition_count(), 1);
    assert_eq!(rig.cluster.entry("t").partition_count(), 1, "the others stay");
}

#[test]
fn a_topic_that_is_deleted_while_records_wait_gives_them_a_verdict_that_says_so() {
    let mut rig = Rig::new(config().delivery_timeout(ms(40_000)), &[1]);
    rig.world.logs.know_producers = false;
    rig.send("t-0", "warm");
    rig.accept_next();
    rig.world.topics.clear();
    refresh(&mut rig);
    let a = rig.append("t-0", "a");
    rig.advance(ms(40_100));
    assert_eq!(timeout(&rig, a), (Some(ErrorCode::UnknownTopicOrPartition), false));
    let text = rig.records[a].2.verdict().unwrap().unwrap_err().to_string();
    assert!(text.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{text}");
    rig.world.make_again("t", &[2]);
    let b = rig.append("t-0", "b");
    rig.advance(ms(2_000));
    rig.accept_next();
    assert_eq!(rig.verdict(b), "offset 0", "the producer stays usable");
    rig.assert_nothing_left();
}

#[test]
fn a_topic_that_is_deleted_under_a_batch_in_flight_says_so_too() {
    let mut rig = Rig::new(config().delivery_timeout(ms(40_000)), &[1]);
    let a = rig.send("t-0", "a");
    rig.world.topics.clear();
    rig.refuse_next(ErrorCode::UnknownTopicOrPartition);
    rig.advance(ms(41_000));
    assert_eq!(timeout(&rig, a).0, Some(ErrorCode::UnknownTopicOrPartition));
    rig.assert_nothing_left();
}

#[test]
fn a_partition_without_a_leader_and_a_last_error_are_named_in_the_timeout() {
    let mut rig = Rig::new(config().delivery_timeout(ms(40_000)), &[-1, 1]);
    let a = rig.append("t-0", "a");
    let b = rig.send("t-1", "b");
    let end = rig.now + ms(40_100);
    while rig.now < end {
        while !rig.pending().is_empty() {
            rig.refuse_next(ErrorCode::NotEnoughReplicas);
        }
        rig.advance(ms(100));
    }
    assert_eq!(timeout(&rig, a), (Some(ErrorCode::LeaderNotAvailable), false));
    assert_eq!(timeout(&rig, b), (Some(ErrorCode::NotEnoughReplicas), false));
}

#[test]
fn f_4_a_topic_that_vanishes_from_the_metadata_and_returns_keeps_its_sequences() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.accept_next();
    let topics = std::mem::take(&mut rig.world.topics);
    refresh(&mut rig);
    rig.append("t-0", "b");
    rig.advance(ms(3_000));
    rig.world.topics = topics;
    rig.advance(ms(2_000));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    assert_eq!(rig.log("t-0"), ["a", "b"]);
}
