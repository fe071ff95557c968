//! Whole runs: topics deleted, everything at once, the same again from the same seed.
#![forbid(unsafe_code)]

use super::rig::{Batch, MILLISECOND, Rig, SECOND, with_fault};
use crate::cluster::{FaultKind, Plan, Response};
use crate::random::Random;

#[test]
fn a_deleted_topic_is_unknown_and_its_log_stays_readable() {
    let mut plan = with_fault(1, FaultKind::TopicDelete, 100);
    plan.lines = vec![crate::cluster::Line::V3_9];
    let mut rig = Rig::new(&plan);
    assert_eq!(rig.produce(1, &Batch::of((-1, -1), -1, "first")).code, 0);
    let mut unknown = 0;
    for n in 0..4_000 {
        let said = rig.produce(1, &Batch::of((-1, -1), -1, &n.to_string()));
        unknown += usize::from(said.code == 3);
        rig.pass(100 * MILLISECOND);
    }
    rig.cluster.heal();
    rig.pass(10 * SECOND);
    assert!(unknown > 0);
    let logs = rig.cluster.logs();
    let deleted = logs.iter().filter(|log| log.is_deleted).count();
    assert!(deleted > 0 && logs.iter().any(|log| !log.is_deleted));
    let first = logs[0].records().next().unwrap();
    assert_eq!((logs[0].is_deleted, first.value), (true, Some(&b"first"[..])));
    let records: usize = logs.iter().map(|log| log.records().count()).sum();
    assert_eq!(records, rig.cluster.account().successes.len());
}

/// Everything that a run says and leaves behind.
fn run(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut plan = Plan::draw(&mut random);
    plan.topics[0].name = "t".into();
    plan.topics[0].is_automatic = false;
    let mut rig = Rig::new(&plan);
    let mut trace = String::new();
    let mut connection = 1_000;
    for n in 0..150 {
        let node = 1 + random.index(plan.lines.len()) as i32;
        rig.acks = *random.pick(&[-1, 1, 0]);
        connection += 1;
        let greeting = [0, 18, 0, 0, 0, 0, 0, 9, 255, 255];
        let greeted = rig.cluster.request(node, connection, &greeting, rig.now);
        let batch = Batch::of((-1, -1), -1, &n.to_string()).bytes();
        let frame = super::rig::named_frame(rig.acks, &batch);
        let said = match greeted {
            Response::Now(_) => Some(rig.cluster.request(node, connection, &frame, rig.now)),
            _ => None,
        };
        trace += &format!("{n}: {said:?}\n");
        rig.pass(random.magnitude(MILLISECOND, 10 * SECOND));
        if random.one_in(3) {
            rig.cluster.connection_closed(connection);
        }
    }
    rig.cluster.heal();
    rig.pass(300 * SECOND);
    for node in rig.cluster.nodes().collect::<Vec<_>>() {
        let (leader, _) = rig.leader(node);
        assert!(leader > 0, "seed {seed}: everything is led after healing");
    }
    let (leader, _) = rig.leader(1);
    rig.acks = -1;
    let begun = rig.begin(leader, &Batch::of((-1, -1), -1, "last"));
    let said = rig.end(leader, begun).map(|said| said.code);
    assert_eq!(said, Some(0), "seed {seed}: a healed cluster takes batches");
    let lost = rig.cluster.lost().unwrap();
    trace += &format!("{:?} {:?}", rig.values(), lost.len());
    assert_eq!(rig.violations(), [""; 0], "seed {seed}");
    trace
}

#[test]
fn a_cluster_with_all_its_faults_heals_and_loses_nothing_without_a_reason() {
    (0..60).for_each(|seed| drop(run(seed)));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
