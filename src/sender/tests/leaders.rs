//! Leader hints in produce answers (KIP-951), and how fast a new leader is found.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::rig::{Rig, config, ms};
use super::wire::{Address, Arrived};
use super::world::address_of;
use crate::accumulator::Accumulator;
use crate::ids::{BrokerId, TopicId};
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;
use crate::sender::{Sender, SenderOptions};

const MOVED: ErrorCode = ErrorCode::NotLeaderOrFollower;

/// Where broker `id` listens, as a broker tells it.
fn endpoint(id: i32) -> Address {
    (id, "127.0.0.1".to_owned(), address_of(id).port())
}

/// A rig at rest, whose metadata answers wait for the test: what it knows it has from hints.
fn without_metadata(leaders: &[i32]) -> Rig {
    let mut rig = Rig::new(config(), leaders);
    rig.advance(ms(2_000));
    rig.world.held.push(ApiKey::Metadata);
    rig
}

/// Leader and leader epoch of a partition, as published.
fn leader(rig: &Rig, partition: usize) -> (Option<i32>, i32) {
    let snapshot = rig.cluster.snapshot();
    let found = &snapshot.topic("t").unwrap().partitions[partition];
    (found.leader.map(|leader| leader.0), found.leader_epoch)
}

#[test]
fn ldr_1_ldr_4_a_batch_goes_to_the_leader_that_the_old_one_names_at_once() {
    for error in [MOVED, ErrorCode::FencedLeaderEpoch] {
        let mut rig = without_metadata(&[1]);
        let a = rig.send("t-0", "a");
        let request = rig.produce();
        let sent_at = rig.now;
        rig.redirect(&request, error, &[(2, 1)], &[endpoint(2)]);
        assert_eq!(leader(&rig, 0), (Some(2), 1));
        assert_eq!(rig.now, sent_at, "no time has passed");
        assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
        assert_eq!(rig.verdict(a), "offset 0");
        rig.assert_nothing_left();
    }
}

#[test]
fn ldr_1_other_errors_bring_no_hint() {
    let mut rig = without_metadata(&[1]);
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.redirect(&request, ErrorCode::NotEnoughReplicas, &[(2, 1)], &[endpoint(2)]);
    assert_eq!(leader(&rig, 0), (Some(1), 0));
}

#[test]
fn ldr_1_a_leader_that_was_not_known_is_connected_where_the_hint_says() {
    let mut rig = without_metadata(&[1]);
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.redirect(&request, MOVED, &[(7, 3)], &[endpoint(2), endpoint(7)]);
    assert_eq!(rig.connects_to(7), 1);
    assert_eq!(rig.accept_next(), "7: t-0 7000/0@0 [a]");
    assert_eq!(rig.cluster.snapshot().brokers.len(), 4, "the others stay");
}

#[test]
fn ldr_2_a_hint_that_is_not_newer_is_ignored() {
    let mut rig = without_metadata(&[1, 1]);
    rig.world.topic("t").partitions[0] = (1, 5);
    rig.world.held.retain(|api| *api != ApiKey::Metadata);
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    assert_eq!(leader(&rig, 0), (Some(1), 5));
    for epoch in [4, 5, 0, -1] {
        rig.send("t-0", "a");
        let request = rig.produce();
        rig.redirect(&request, MOVED, &[(2, epoch)], &[endpoint(2)]);
        assert_eq!(leader(&rig, 0), (Some(1), 5), "epoch {epoch}");
        assert!(rig.pending().is_empty(), "the batch waits as for any other error");
        rig.advance(ms(2_000));
        assert!(rig.accept_next().starts_with("1: "));
    }
}

#[test]
fn ldr_2_a_leader_without_an_address_is_ignored() {
    let mut rig = without_metadata(&[1]);
    rig.send("t-0", "a");
    let request = rig.produce();
    let nowhere = (7, "127.0.0.1".to_owned(), 0);
    rig.redirect(&request, MOVED, &[(7, 3)], &[endpoint(2), nowhere]);
    assert_eq!(leader(&rig, 0), (Some(1), 0));
}

#[test]
fn ldr_2_a_leader_whose_address_is_known_needs_no_endpoint() {
    let mut rig = without_metadata(&[1]);
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.redirect(&request, MOVED, &[(3, 1)], &[]);
    assert_eq!(rig.accept_next(), "3: t-0 7000/0@0 [a]");
}

#[test]
fn ldr_2_a_hint_about_a_topic_that_is_gone_or_another_one_by_now_is_ignored() {
    let mut rig = Rig::new(config(), &[1, 2]);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    for gone in [true, false] {
        rig.send("t-0", "a");
        let request = rig.produce();
        rig.world.make_again("t", &[1, 2]);
        if gone {
            rig.world.topics.clear();
        }
        rig.cluster.mark_stale();
        rig.advance(ms(2_000));
        rig.redirect(&request, MOVED, &[(3, 9)], &[endpoint(3)]);
        let snapshot = rig.cluster.snapshot();
        let known = snapshot.topic("t").map(|topic| topic.partitions[0].leader);
        assert_eq!(known, (!gone).then_some(Some(BrokerId(1))));
        rig.world.make_again("t", &[1, 2]);
        rig.advance(ms(2_000));
        rig.accept_next();
    }
}

#[test]
fn ldr_3_a_full_update_is_asked_for_all_the_same() {
    let mut rig = without_metadata(&[1]);
    rig.send("t-0", "a");
    let request = rig.produce();
    let before = rig.count(ApiKey::Metadata);
    rig.redirect(&request, MOVED, &[(2, 1)], &[endpoint(2)]);
    rig.advance(ms(1_100));
    assert_eq!(rig.count(ApiKey::Metadata), before + 1);
    assert_eq!(rig.request(ApiKey::Metadata).topics(), ["t"]);
}

#[test]
fn ldr_5_news_of_several_partitions_are_taken_together() {
    let mut rig = without_metadata(&[1, 1, 1]);
    rig.send("t-0", "cold");
    rig.accept_next();
    rig.world.stalled.insert(1);
    rig.send("t-0", "warm");
    for partition in ["t-0", "t-1", "t-2"] {
        rig.batch(partition, &["x"]);
    }
    rig.run();
    rig.world.stalled.clear();
    rig.world.return_frames();
    rig.accept_next();
    let published = rig.published;
    let request = rig.produce();
    assert_eq!(request.batches().len(), 3);
    let leader_of = |partition| [(2, 1), (3, 1), (1, 0)][partition as usize];
    let leaders: Vec<_> =
        request.batches().iter().map(|batch| leader_of(batch.partition)).collect();
    rig.redirect(&request, MOVED, &leaders, &[endpoint(2), endpoint(3)]);
    assert_eq!(rig.published, published + 1, "one snapshot");
    assert_eq!(
        (0..3).map(|at| leader(&rig, at).0).collect::<Vec<_>>(),
        [Some(2), Some(3), Some(1)]
    );
    let mut sent: Vec<_> = [rig.produce(), rig.produce()].iter().map(Arrived::to_string).collect();
    sent.sort();
    assert_eq!(sent, ["2: t-0 7000/0@2 [x]", "3: t-1 7000/0@0 [x]"]);
}

#[test]
fn ldr_4_batches_that_were_in_flight_follow_in_order() {
    let mut rig = without_metadata(&[1]);
    for value in ["a", "b", "c"] {
        rig.send("t-0", value);
    }
    let sent = [rig.produce(), rig.produce(), rig.produce()];
    for request in &sent {
        rig.redirect(request, MOVED, &[(2, 1)], &[endpoint(2)]);
    }
    for _ in 0..3 {
        assert!(rig.accept_next().starts_with("2: "));
    }
    assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
    rig.assert_nothing_left();
}

#[test]
fn md_7_a_broker_that_lags_behind_does_not_undo_a_hint() {
    let mut rig = Rig::new(config(), &[1]);
    rig.advance(ms(2_000));
    rig.send("t-0", "a");
    let request = rig.produce();
    let updates = rig.count(ApiKey::Metadata);
    // All brokers still say 1, under epoch 0.
    rig.redirect(&request, MOVED, &[(2, 1)], &[endpoint(2)]);
    rig.advance(ms(1_100));
    assert!(rig.count(ApiKey::Metadata) > updates);
    assert_eq!(leader(&rig, 0), (Some(2), 1));
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
}

#[test]
fn a_shard_that_does_not_write_the_metadata_acts_on_a_hint_itself_and_tells_the_others() {
    let mut rig = without_metadata(&[1]);
    let settings = Arc::new(config().settings().unwrap());
    let memory = Accumulator::new(settings.buffer_memory, settings.batch_bytes, settings.linger);
    let options =
        SenderOptions { settings, bootstrap: Vec::new(), seed: 7, meters: Arc::default() };
    let mut other = Sender::new(options, memory.unwrap(), Arc::clone(&rig.cluster), rig.now);
    other.handle_cluster(rig.now);
    std::mem::swap(&mut rig.sender, &mut other);
    let hint = crate::metadata::LeaderHint {
        topic: "t".into(),
        topic_id: TopicId::ZERO,
        partition: 0,
        leader: BrokerId(2),
        leader_epoch: 1,
    };
    let published = rig.cluster.patch(&[hint], &[]).unwrap();
    rig.sender.adopt(published, None, rig.now);
    assert_eq!(rig.sender.generation, rig.cluster.generation());
    assert!(
        rig.sender.actions.iter().any(|action| matches!(action, crate::sender::Action::Published))
    );
    assert_ne!(other.generation, rig.cluster.generation());
    other.handle_cluster(rig.now);
    let known = &other.snapshot.topic("t").unwrap().partitions[0];
    assert_eq!((known.leader, known.leader_epoch), (Some(BrokerId(2)), 1));
}

#[test]
fn f_19_not_leader_with_stale_metadata_does_not_spin_and_ends_with_the_truth() {
    let mut rig = Rig::new(config(), &[1]);
    rig.advance(ms(2_000));
    let a = rig.send("t-0", "a");
    let metadata = rig.count(ApiKey::Metadata);
    let (mut refused, end) = (0, rig.now + ms(20_000));
    while rig.now < end {
        while !rig.pending().is_empty() {
            rig.refuse_next(MOVED);
            refused += 1;
        }
        rig.advance(ms(10));
    }
    let asked = rig.count(ApiKey::Metadata) - metadata;
    assert!((18..=40).contains(&refused), "tried {refused} times in 20 s");
    assert!((15..=45).contains(&asked), "asked {asked} times in 20 s");
    rig.world.lead("t", 0, 2);
    rig.advance(ms(2_000));
    if rig.pending()[0].starts_with("1: ") {
        rig.refuse_next(MOVED);
        rig.advance(ms(2_000));
    }
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn f_19_brokers_that_name_each_other_do_not_spin() {
    let mut rig = Rig::new(config(), &[1]);
    rig.advance(ms(2_000));
    rig.send("t-0", "a");
    // Two brokers that each say that the other one leads, under the same epoch.
    let mut sent = 0;
    let end = rig.now + ms(10_000);
    while rig.now < end {
        while !rig.pending().is_empty() {
            let request = rig.produce();
            let other = 3 - request.broker;
            rig.redirect(&request, MOVED, &[(other, 1)], &[endpoint(other)]);
            sent += 1;
        }
        rig.advance(ms(10));
    }
    assert!((10..=25).contains(&sent), "sent {sent} times in 10 s");
}

#[test]
fn f_19_brokers_that_name_each_other_under_ever_newer_epochs_do_not_spin() {
    let mut rig = Rig::new(config(), &[1]);
    rig.advance(ms(2_000));
    let a = rig.send("t-0", "a");
    let (mut sent, end) = (0, rig.now + ms(10_000));
    while rig.now < end {
        while !rig.pending().is_empty() {
            let request = rig.produce();
            let other = 3 - request.broker;
            sent += 1;
            rig.redirect(&request, MOVED, &[(other, sent)], &[endpoint(other)]);
        }
        rig.advance(ms(10));
    }
    assert!((20..=40).contains(&sent), "sent {sent} times in 10 s");
    rig.advance(ms(1_000));
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn after_a_leader_is_killed_its_batches_are_with_the_new_one_within_a_second() {
    // How long the cluster takes to elect one.
    for election in [0, 150, 700, 2_000, 5_000] {
        let mut rig = Rig::new(config(), &[1, 2]);
        for partition in ["t-0", "t-1"] {
            rig.send(partition, "warm");
            rig.accept_next();
        }
        rig.advance(ms(3_000));
        let a = rig.send("t-0", "a");
        rig.world.inbox.clear();
        rig.stop_broker(1);
        rig.advance(ms(election));
        rig.world.lead("t", 0, 2);
        rig.advance(ms(1_050));
        let waited = rig.now;
        assert_eq!(rig.accept_next(), "2: t-0 7000/0@1 [a]", "election of {election} ms");
        assert_eq!((rig.verdict(a), rig.now), ("offset 1".to_owned(), waited));
    }
}
