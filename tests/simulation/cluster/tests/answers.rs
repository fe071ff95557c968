//! The answers in every version, and the faults of metadata and produce answers.
#![forbid(unsafe_code)]

use super::rig::{Batch, Rig, SECOND, with_fault};
use crate::cluster::{FaultKind, Line, Plan, Response};

#[test]
fn brokers_of_every_line_answer_in_their_newest_versions() {
    for line in [Line::V2_1, Line::V2_8, Line::V3_9, Line::V4_3] {
        let mut plan = Plan::calm(2, "t", 3);
        plan.lines = vec![line; 2];
        let mut rig = Rig::new(&plan);
        let read = rig.metadata(1, &["t", "nobody's"]);
        assert_eq!((read.brokers.len(), read.error.wire()), (2, 0));
        assert_eq!(read.topics[0].partitions.len(), 3);
        assert_eq!(read.topics[0].partitions[2].replicas.len(), 2);
        assert_eq!((read.topics[1].error.wire(), read.topics[1].partitions.len()), (3, 0));
        let id = rig.producer_id();
        let (leader, _) = rig.leader(1);
        let said = rig.produce(leader, &Batch::of(id, 0, "a b"));
        assert_eq!((said.code, said.offset), (0, 0), "{line:?}");
        assert_eq!(rig.violations(), [""; 0]);
    }
}

#[test]
fn api_versions_that_are_too_new_are_refused_in_version_0() {
    for (line, listed) in [(Line::V2_1, 0), (Line::V2_8, 1)] {
        let mut plan = Plan::calm(1, "t", 1);
        plan.lines = vec![line];
        let mut rig = Rig::new(&plan);
        // Key 18, version 4, correlation 9, no client id, no tags; names; no tags.
        let frame = [0, 18, 0, 4, 0, 0, 0, 9, 255, 255, 0, 2, b'k', 2, b'1', 0];
        let Response::Now(answer) = rig.cluster.request(1, 77, &frame, rig.now) else {
            panic!("no answer")
        };
        assert_eq!(answer[4..14], [0, 0, 0, 9, 0, 35, 0, 0, 0, listed]);
        assert_eq!(rig.violations(), [""; 0]);
    }
}

#[test]
fn a_topic_that_is_created_by_asking_has_leaders_a_little_later() {
    let mut plan = Plan::calm(3, "t", 2);
    plan.topics[0].is_automatic = true;
    let mut rig = Rig::new(&plan);
    assert_eq!(rig.metadata(1, &["t"]).topics[0].error.wire(), 5);
    rig.pass(SECOND);
    let topic = rig.metadata(2, &["t"]).topics.remove(0);
    assert!(topic.error.wire() == 0 && topic.partitions.iter().all(|it| it.leader.0 > 0));
}

#[test]
fn metadata_goes_wrong_in_all_the_ways_of_its_faults() {
    type Look = fn(&kuring::protocol::metadata::MetadataResponse) -> bool;
    let ways: [(FaultKind, Look); 6] = [
        (FaultKind::MetadataPartial, |read| read.topics.is_empty()),
        (FaultKind::MetadataEmpty, |read| read.brokers.is_empty()),
        (FaultKind::MetadataTopicError, |read| read.topics[0].error.is_retriable()),
        (FaultKind::MetadataDenied, |read| [17, 29].contains(&read.topics[0].error.wire())),
        (FaultKind::MetadataPartitionError, |read| read.topics[0].partitions[0].leader.0 == -1),
        (FaultKind::Rebootstrap, |read| read.error.wire() == 129),
    ];
    for (kind, look) in ways {
        let mut rig = Rig::new(&with_fault(3, kind, 1_000_000));
        assert!(look(&rig.metadata(1, &["t"])), "{kind:?}");
        rig.cluster.heal();
        assert!(!look(&rig.metadata(1, &["t"])), "{kind:?} after healing");
    }
}

#[test]
fn produce_answers_go_wrong_before_and_after_the_append() {
    for (kind, appended) in [
        (FaultKind::RetriableBefore, 0),
        (FaultKind::FinalBefore, 0),
        (FaultKind::FatalBefore, 0),
        (FaultKind::InvalidRecord, 0),
        (FaultKind::WrongLeader, 0),
        (FaultKind::RetriableAfter, 1),
        (FaultKind::ServerErrorAfter, 1),
    ] {
        let mut rig = Rig::new(&with_fault(1, kind, 1_000_000));
        let said = rig.produce(1, &Batch::of((-1, -1), -1, "a"));
        assert_ne!(said.code, 0, "{kind:?}");
        assert_eq!(rig.values().len(), appended, "{kind:?}");
        assert_eq!(rig.cluster.account().successes.len(), 0);
    }
}

#[test]
fn a_batch_above_the_topics_limit_is_too_large() {
    let mut plan = Plan::calm(1, "t", 1);
    plan.topics[0].batch_bytes_limit = 100;
    let mut rig = Rig::new(&plan);
    assert_eq!(rig.produce(1, &Batch::of((-1, -1), -1, &"x".repeat(60))).code, 10);
    assert_eq!(rig.produce(1, &Batch::of((-1, -1), -1, "x")).code, 0);
}

#[test]
fn without_acks_there_is_no_answer_and_an_error_closes_the_connection() {
    let mut rig = Rig::three();
    rig.acks = 0;
    let (leader, _) = rig.leader(1);
    assert_eq!(rig.begin(leader, &Batch::of((-1, -1), -1, "a")), Response::Silent);
    let other = rig.cluster.nodes().find(|node| *node != leader).unwrap();
    assert_eq!(rig.begin(other, &Batch::of((-1, -1), -1, "b")), Response::Cut);
    assert_eq!(rig.values(), ["a"]);
}

#[test]
fn requests_of_a_connection_are_answered_in_their_order() {
    let mut plan = Plan::calm(3, "t", 1);
    plan.lines = vec![Line::V3_9; 3];
    let mut rig = Rig::new(&plan);
    let (leader, _) = rig.leader(1);
    let first = rig.begin(leader, &Batch::of((-1, -1), -1, "a"));
    let second = rig.begin(leader, &Batch::of((-1, -1), -1, "b"));
    let Response::Waits(_) = second else { panic!("{second:?} before the first") };
    assert_eq!(rig.values(), ["a"], "the second is not read yet");
    let said = [rig.end(leader, first).unwrap(), rig.end(leader, second).unwrap()];
    assert_eq!(said.map(|said| said.offset), [0, 1]);
}

#[test]
fn requests_behind_an_answer_that_never_comes_wait_with_it() {
    let mut rig = Rig::new(&with_fault(1, FaultKind::Withheld, 1_000_000));
    let begun = rig.cluster.request(1, 5, &[0, 18, 0, 0, 0, 0, 0, 9, 255, 255], rig.now);
    assert!(matches!(begun, Response::Waits(_)));
    rig.cluster.heal();
    rig.pass(60 * SECOND);
    let behind = rig.cluster.request(1, 5, &[0, 18, 0, 0, 0, 0, 0, 9, 255, 255], rig.now);
    assert!(matches!(behind, Response::Waits(_)));
    rig.pass(60 * SECOND);
    rig.cluster.connection_closed(5);
    let afresh = rig.cluster.request(1, 6, &[0, 18, 0, 0, 0, 0, 0, 9, 255, 255], rig.now);
    assert!(matches!(afresh, Response::Now(_)));
}

#[test]
fn requests_come_after_api_versions_and_in_versions_that_the_broker_speaks() {
    let mut rig = Rig::one();
    let (_, frame) = rig.frame(1, &Batch::of((-1, -1), -1, "a").bytes());
    assert_eq!(rig.cluster.request(1, 99, &frame[4..], rig.now), Response::Cut);
    assert_eq!(rig.violations().len(), 1);
    let connection = rig.reconnect(1);
    let mut newer = frame[4..].to_vec();
    newer[3] = 14;
    assert_eq!(rig.cluster.request(1, connection, &newer, rig.now), Response::Cut);
    assert_eq!(rig.violations().len(), 2);
}
