//! Metadata: when it is asked, of whom, and what comes of the answers.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Wake, Waker};

use super::rig::{Rig, config, ms};
use super::wire::{self, Body};
use crate::accumulator::Accumulator;
use crate::clock;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;
use crate::sender::{Sender, SenderOptions};

fn want(rig: &Rig, topic: &str) {
    rig.cluster.want(&rig.cluster.entry(topic), clock::to_nanos(rig.now));
}

/// Topics of the metadata requests that wait for an answer.
fn asked(rig: &Rig) -> Vec<Vec<&str>> {
    let metadata = |request: &&wire::Arrived| request.api == ApiKey::Metadata;
    rig.world.inbox.iter().filter(metadata).map(wire::Arrived::topics).collect()
}

#[test]
fn md_1_a_new_topic_is_asked_for_alone_and_at_once() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.add_topic("u", &[1]);
    rig.world.held.push(ApiKey::Metadata);
    want(&rig, "u");
    rig.run();
    assert_eq!(asked(&rig), [["u"]], "although the last answer is not a moment old");
    let request = rig.request(ApiKey::Metadata);
    let answer = rig.world.metadata_answer(&request);
    rig.world.answer(&request, answer);
    rig.run();
    assert_eq!(rig.cluster.entry("u").partition_count(), 1);
    assert_eq!(rig.cluster.entry("t").partition_count(), 1, "the others stay");
}

#[test]
fn md_1_a_full_update_names_the_topics_in_use_and_no_others() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.add_topic("u", &[1]);
    rig.world.add_topic("never used", &[1]);
    want(&rig, "u");
    rig.run();
    rig.world.held.push(ApiKey::Metadata);
    rig.cluster.mark_stale();
    rig.advance(ms(1_100));
    let mut topics = asked(&rig).remove(0);
    topics.sort_unstable();
    assert_eq!(topics, ["t", "u"]);
}

#[test]
fn md_1_a_topic_that_is_wanted_during_a_request_is_asked_for_after_it() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.add_topic("u", &[1]);
    rig.world.held.push(ApiKey::Metadata);
    rig.cluster.mark_stale();
    rig.advance(ms(1_100));
    want(&rig, "u");
    rig.run();
    assert_eq!(asked(&rig), [["t"]]);
    let request = rig.request(ApiKey::Metadata);
    let answer = rig.world.metadata_answer(&request);
    rig.world.answer(&request, answer);
    rig.run();
    assert_eq!(asked(&rig), [["u"]]);
}

#[test]
fn md_2_a_lost_connection_an_error_and_old_age_each_ask_for_an_update() {
    let mut rig = Rig::new(config().metadata_age_max(ms(60_000)), &[2, 3]);
    let mut before = rig.count(ApiKey::Metadata);
    let mut one_more = |rig: &mut Rig, why: &str| {
        rig.advance(ms(2_000));
        let now = rig.count(ApiKey::Metadata);
        assert!(now > before, "{why}");
        before = now;
    };
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.cut(request.connection);
    one_more(&mut rig, "a lost connection");
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    one_more(&mut rig, "an error that means old metadata");
    rig.accept_next();
    rig.stop_broker(3);
    rig.send("t-1", "b");
    one_more(&mut rig, "a failed connect");
    rig.start_broker(3);
    rig.advance(ms(2_000));
    rig.accept_next();
    rig.advance(ms(5_000));
    let quiet = rig.count(ApiKey::Metadata);
    rig.advance(ms(40_000));
    assert_eq!(rig.count(ApiKey::Metadata), quiet);
    rig.advance(ms(60_000));
    one_more(&mut rig, "old age");
}

#[test]
fn md_2_a_partition_that_is_listed_with_an_error_has_the_update_repeated() {
    let mut rig = Rig::new(config(), &[1, -1]);
    let before = rig.count(ApiKey::Metadata);
    rig.advance(ms(3_000));
    assert!(rig.count(ApiKey::Metadata) > before + 2);
    rig.world.lead("t", 1, 2);
    rig.advance(ms(2_000));
    let settled = rig.count(ApiKey::Metadata);
    rig.advance(ms(10_000));
    assert_eq!(rig.count(ApiKey::Metadata), settled);
}

#[test]
fn md_3_metadata_that_is_due_goes_before_batches() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.brokers.truncate(1);
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    rig.send("t-0", "warm");
    rig.accept_next();
    rig.advance(ms(2_000));
    let before = rig.world.seen.len();
    rig.cluster.mark_stale();
    rig.batch("t-0", &["a"]);
    rig.run();
    let kinds: Vec<_> = rig.world.seen[before..].iter().map(|(_, api)| *api).collect();
    assert_eq!(kinds, [ApiKey::Metadata, ApiKey::Produce]);
}

#[test]
fn md_4_the_least_loaded_connection_is_asked() {
    let mut rig = Rig::new(config(), &[1, 2]);
    for partition in ["t-0", "t-1"] {
        rig.send(partition, "warm");
        rig.accept_next();
    }
    for round in 0..20 {
        rig.advance(ms(2_000));
        // The metadata's own connection must not be behind the data's.
        let (busy, free) = if round % 2 == 0 { ("t-0", 2) } else { ("t-1", 1) };
        rig.send(busy, "x");
        rig.cluster.mark_stale();
        rig.run();
        assert_eq!(rig.world.seen.last(), Some(&(free, ApiKey::Metadata)));
        rig.accept_next();
    }
}

#[test]
fn md_4_brokers_that_back_off_or_rest_are_left_out() {
    let mut rig = Rig::new(config(), &[1, 2]);
    for partition in ["t-0", "t-1"] {
        rig.send(partition, "warm");
        rig.accept_next();
    }
    rig.advance(ms(2_000));
    rig.send("t-0", "x");
    rig.world.throttle_ms = 60_000;
    rig.accept_next();
    rig.world.throttle_ms = 0;
    for _ in 0..10 {
        rig.cluster.mark_stale();
        rig.advance(ms(2_000));
        assert_eq!(rig.world.seen.last(), Some(&(2, ApiKey::Metadata)));
    }
}

#[test]
fn md_5_a_stuck_cluster_is_not_hammered() {
    let mut rig = Rig::new(config(), &[-1]);
    rig.append("t-0", "a");
    rig.advance(ms(5_000));
    let before = rig.count(ApiKey::Metadata);
    rig.advance(ms(10_000));
    let asked = rig.count(ApiKey::Metadata) - before;
    assert!((8..=12).contains(&asked), "once a second, not {asked} times in ten");
}

#[test]
fn md_5_news_end_the_long_waits() {
    let mut rig = Rig::new(config(), &[-1]);
    rig.append("t-0", "a");
    rig.advance(ms(10_000));
    rig.world.lead("t", 0, -1);
    rig.advance(ms(1_100));
    let before = rig.count(ApiKey::Metadata);
    rig.advance(ms(500));
    assert!(rig.count(ApiKey::Metadata) > before, "after a new epoch the waits are short again");
}

#[test]
fn md_5_a_request_that_is_lost_is_repeated_after_a_wait() {
    let mut rig = Rig::new(config(), &[1]);
    rig.advance(ms(2_000));
    rig.world.held.push(ApiKey::Metadata);
    rig.cluster.mark_stale();
    rig.run();
    let request = rig.request(ApiKey::Metadata);
    rig.cut(request.connection);
    rig.advance(ms(79));
    assert!(asked(&rig).is_empty());
    rig.advance(ms(100));
    assert_eq!(asked(&rig).len(), 1);
}

#[test]
fn md_6_an_answer_without_brokers_is_ignored() {
    let mut rig = Rig::new(config(), &[1]);
    rig.advance(ms(2_000));
    let (brokers, published) = (std::mem::take(&mut rig.world.brokers), rig.published);
    rig.cluster.mark_stale();
    rig.run();
    assert_eq!(rig.published, published);
    assert_eq!(rig.cluster.snapshot().brokers.len(), 3);
    let before = rig.count(ApiKey::Metadata);
    rig.advance(ms(79));
    assert_eq!(rig.count(ApiKey::Metadata), before, "it counts as a failure");
    rig.world.brokers = brokers;
    rig.advance(ms(1_000));
    assert_eq!(rig.published, published + 1);
}

#[test]
fn md_7_an_older_epoch_moves_no_partition() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.topic("t").partitions[0] = (2, 5);
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    rig.world.topic("t").partitions[0] = (1, 4);
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    rig.send("t-0", "a");
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
}

#[test]
fn md_8_the_error_of_a_topic_is_kept_for_the_call_that_waits() {
    let mut rig = Rig::new(config(), &[1]);
    for (name, code) in [
        ("secret", ErrorCode::TopicAuthorizationFailed),
        ("in valid", ErrorCode::InvalidTopicException),
    ] {
        rig.world.add_topic(name, &[]);
        rig.world.topic(name).error = code;
        want(&rig, name);
        rig.run();
        assert_eq!(rig.cluster.entry(name).last_error(), Some(code));
    }
}

#[test]
fn md_9_a_topic_without_use_is_dropped_and_comes_back_with_the_next_record() {
    let config = config().metadata_idle_max(ms(10_000)).metadata_age_max(ms(5_000));
    let mut rig = Rig::new(config, &[1]);
    rig.send("t-0", "a");
    rig.accept_next();
    rig.world.held.push(ApiKey::Metadata);
    let mut last = Vec::new();
    for _ in 0..8 {
        rig.advance(ms(5_000));
        if asked(&rig).is_empty() {
            continue;
        }
        let request = rig.request(ApiKey::Metadata);
        last = request.topics().into_iter().map(str::to_owned).collect();
        let answer = rig.world.metadata_answer(&request);
        rig.world.answer(&request, answer);
        rig.run();
    }
    assert!(last.is_empty(), "nobody uses it");
    assert_eq!(rig.cluster.entry("t").partition_count(), 0);
    rig.world.held.retain(|api| *api != ApiKey::Metadata);
    let b = rig.send("t-0", "b");
    rig.advance(ms(2_000));
    rig.accept_next();
    assert_eq!(rig.verdict(b), "offset 1");
}

#[test]
fn md_9_a_topic_without_an_answer_is_never_dropped() {
    let config = config().metadata_idle_max(ms(5_000)).metadata_age_max(ms(1_000));
    let mut rig = Rig::cold(config, &[1]);
    rig.world.silent.insert(1);
    rig.advance(ms(60_000));
    rig.world.silent.clear();
    rig.world.held.push(ApiKey::Metadata);
    rig.advance(ms(60_000));
    assert_eq!(asked(&rig)[0], ["t"]);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn md_11_every_update_wakes_whoever_waits() {
    let mut rig = Rig::new(config(), &[1]);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    for updates in 1..=3 {
        let ticket = rig.cluster.ticket();
        rig.cluster.wait(ticket, u64::MAX, &waker);
        want(&rig, "unknown");
        rig.cluster.mark_stale();
        rig.advance(ms(1_100));
        assert_eq!(count.0.load(Relaxed), updates);
    }
}

#[test]
fn md_12_the_brokers_may_make_a_topic() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.held.push(ApiKey::Metadata);
    rig.run();
    let request = rig.request(ApiKey::Metadata);
    assert!(matches!(request.body, Body::Metadata { may_create: true, .. }));
}

#[test]
fn md_13_bootstrap_addresses_and_brokers_have_separate_connections() {
    let mut rig = Rig::new(config(), &[1]);
    let bootstrap = rig.connects_to(1);
    rig.send("t-0", "a");
    rig.accept_next();
    assert_eq!((bootstrap, rig.connects_to(1)), (1, 2));
    assert_eq!(rig.sender.nodes[0].id.0, -1);
}

#[test]
fn md_13_when_no_broker_can_be_reached_the_bootstrap_address_is_asked() {
    let mut rig = Rig::new(config(), &[2]);
    for broker in [2, 3] {
        rig.stop_broker(broker);
    }
    let open: Vec<_> = rig.world.open.keys().copied().collect();
    open.into_iter().for_each(|connection| rig.world.close(connection, "reset by peer"));
    rig.world.brokers[0].2 = 9004;
    rig.world.refused.insert(super::world::address_of(4));
    rig.send("t-0", "a");
    rig.advance(ms(5_000));
    rig.world.lead("t", 0, 1);
    rig.world.brokers[0].2 = 9001;
    rig.advance(ms(5_000));
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn a_broker_that_moves_to_another_address_is_connected_there() {
    let mut rig = Rig::new(config(), &[2]);
    rig.send("t-0", "a");
    let old = rig.produce();
    rig.accept(&old);
    rig.world.brokers[1].2 = 9005;
    rig.cluster.mark_stale();
    rig.advance(ms(2_000));
    assert!(!rig.world.open.contains_key(&old.connection));
    rig.send("t-0", "b");
    rig.advance(ms(200));
    assert_eq!(rig.accept_next(), "5: t-0 7000/0@1 [b]");
}

#[test]
fn partitions_that_are_added_are_picked_up() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.topic("t").partitions.push((2, 0));
    let b = rig.send("t-1", "b");
    assert!(rig.pending().is_empty());
    rig.advance(ms(1_000));
    assert_eq!(rig.accept_next(), "2: t-1 7000/0@0 [b]");
    assert_eq!(rig.verdict(b), "offset 0");
    assert_eq!(rig.cluster.entry("t").partition_count(), 2);
}

#[test]
fn a_shard_that_starts_after_the_first_answer_adopts_what_is_published() {
    let rig = Rig::new(config(), &[1, 2]);
    let settings = Arc::new(config().settings().unwrap());
    let memory = Accumulator::new(settings.buffer_memory, settings.batch_bytes, settings.linger);
    let options =
        SenderOptions { settings, bootstrap: Vec::new(), seed: 7, meters: Arc::default() };
    let mut late = Sender::new(options, memory.unwrap(), Arc::clone(&rig.cluster), rig.now);
    late.handle_cluster(rig.now);
    assert_eq!(late.snapshot.topic("t").unwrap().partitions.len(), 2);
    assert_eq!(late.nodes.len(), rig.cluster.snapshot().brokers.len());
}
