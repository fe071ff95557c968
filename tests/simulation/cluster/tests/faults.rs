//! Faults that are about time and about the past: lost state, stale answers, late requests.
#![forbid(unsafe_code)]

use super::rig::{Batch, MILLISECOND, Rig, SECOND, named_frame, with_fault};
use crate::cluster::{FaultKind, Line, Plan, Response};

const GREETING: [u8; 10] = [0, 18, 0, 0, 0, 0, 0, 9, 255, 255];
const ANONYMOUS: (i64, i16) = (-1, -1);

fn count(rig: &Rig, kind: FaultKind) -> u64 {
    rig.cluster.fault_counts()[kind as usize]
}

/// Lets time pass until a fault has happened.
fn pass_until(rig: &mut Rig, kind: FaultKind) {
    while count(rig, kind) == 0 {
        rig.pass(SECOND / 10);
    }
}

/// A cluster of one whose requests have a name in them.
fn named(kind: FaultKind, rate: u32) -> Plan {
    let mut plan = with_fault(1, kind, rate);
    plan.lines = vec![Line::V3_9];
    plan
}

#[test]
fn a_restart_without_producer_state_takes_a_batch_twice_and_the_account_says_so() {
    for forgets in [false, true] {
        let mut plan = named(FaultKind::BrokerStop, 100);
        plan.set_rate(FaultKind::StateLoss, if forgets { 1_000_000 } else { 0 });
        let mut rig = Rig::new(&plan);
        let id = rig.producer_id();
        assert_eq!(rig.produce(1, &Batch::of(id, 0, "a")).offset, 0);
        pass_until(&mut rig, FaultKind::BrokerStop);
        rig.cluster.heal();
        rig.pass(SECOND);
        // Healing ends the fault; a broker that was still down came back with its state.
        let forgot = count(&rig, FaultKind::StateLoss) > 0;
        let said = rig.produce(1, &Batch::of(id, 0, "a"));
        assert_eq!((said.code, said.offset), (0, i64::from(forgot)));
        let before: Vec<u64> = rig.cluster.account().forgotten.iter().map(|it| it.before).collect();
        assert_eq!(before, if forgot { vec![1] } else { Vec::new() });
        assert!(!forgot || forgets);
    }
}

#[test]
fn retention_moves_the_start_and_older_brokers_forget_who_wrote_below_it() {
    for forgets in [false, true] {
        let mut plan = named(FaultKind::Retention, 10_000);
        plan.retention_forgets = forgets;
        plan.refuses_unknown_producers = true;
        let mut rig = Rig::new(&plan);
        let id = rig.producer_id();
        assert_eq!(rig.produce(1, &Batch::of(id, 0, "a b c d")).offset, 0);
        let start = |rig: &Rig| rig.cluster.logs()[0].start;
        while start(&rig) < 4 {
            rig.pass(SECOND);
        }
        let said = rig.produce(1, &Batch::of(id, 4, "e"));
        let expected = if forgets { (59, -1, 4) } else { (0, 4, 4) };
        assert_eq!((said.code, said.offset, said.log_start), expected);
        assert_eq!(rig.values()[..4], ["a", "b", "c", "d"], "the model keeps what was removed");
        assert_eq!(rig.cluster.account().forgotten.iter().any(|it| it.before == 4), forgets);
    }
}

#[test]
fn hints_can_be_missing_or_of_an_older_epoch() {
    let mut rig = Rig::new(&with_fault(3, FaultKind::WithoutHint, 1_000_000));
    let (leader, _) = rig.leader(1);
    let said = rig.produce(leader % 3 + 1, &Batch::of(ANONYMOUS, -1, "a"));
    assert_eq!((said.code, said.leader), (6, None));

    let mut plan = with_fault(3, FaultKind::LeaderMove, 1_000);
    plan.set_rate(FaultKind::StaleHint, 1_000_000);
    let mut rig = Rig::new(&plan);
    let mut older = 0;
    for _ in 0..100 {
        rig.pass(SECOND);
        let (leader, epoch) = rig.leader(1);
        let said = rig.produce(leader % 3 + 1, &Batch::of(ANONYMOUS, -1, "a"));
        if let Some((_, hinted)) = said.leader {
            assert!(hinted <= rig.leader(1).1, "no hint is out of the future");
            older += usize::from(hinted < epoch);
        }
    }
    assert!(older > 0);
}

#[test]
fn stale_metadata_is_what_once_was_true() {
    let mut plan = with_fault(3, FaultKind::LeaderMove, 1_000);
    plan.set_rate(FaultKind::MetadataStale, 500_000);
    let mut rig = Rig::new(&plan);
    let mut told = std::collections::BTreeMap::new();
    let (mut latest, mut older) = (0, 0);
    for _ in 0..200 {
        rig.pass(SECOND / 2);
        let (leader, epoch) = rig.leader(1);
        assert_eq!(*told.entry(epoch).or_insert(leader), leader, "one leader per epoch");
        older += usize::from(epoch < latest);
        latest = latest.max(epoch);
    }
    assert!(older > 0 && latest > 10, "{older} {latest}");
}

#[test]
fn a_request_that_was_held_back_is_appended_after_its_connection_closed() {
    for is_zombie in [false, true] {
        let mut plan = named(FaultKind::SlowRequest, 1_000_000);
        plan.set_rate(FaultKind::Zombie, if is_zombie { 1_000_000 } else { 0 });
        let mut rig = Rig::new(&plan);
        rig.cluster.request(1, 50, &GREETING, rig.now);
        rig.pass(61 * SECOND);
        let frame = named_frame(-1, &Batch::of(ANONYMOUS, -1, "late").bytes());
        let begun = rig.cluster.request(1, 50, &frame, rig.now);
        assert!(matches!(begun, Response::Waits(_)));
        rig.cluster.connection_closed(50);
        assert!(rig.values().is_empty());
        rig.pass(61 * SECOND);
        assert_eq!(rig.values().len(), usize::from(is_zombie));
    }
}

#[test]
fn an_answer_can_come_late_and_the_batch_is_there_all_the_same() {
    let mut plan = named(FaultKind::LateAnswer, 1_000_000);
    plan.set_rate(FaultKind::Throttle, 1_000_000);
    let mut rig = Rig::new(&plan);
    assert!(matches!(rig.cluster.request(1, 50, &GREETING, rig.now), Response::Waits(_)));
    rig.pass(120 * SECOND);
    let frame = named_frame(1, &Batch::of(ANONYMOUS, -1, "x").bytes());
    assert!(matches!(rig.cluster.request(1, 50, &frame, rig.now), Response::Waits(_)));
    assert_eq!(rig.values(), ["x"]);
    assert!(count(&rig, FaultKind::Throttle) > 0);
}

#[test]
fn a_connection_that_is_cut_behind_an_append_is_gone() {
    let mut rig = Rig::new(&named(FaultKind::CutAfter, 300_000));
    let frame = named_frame(1, &Batch::of(ANONYMOUS, -1, "x").bytes());
    for connection in 50.. {
        if rig.cluster.request(1, connection, &GREETING, rig.now) == Response::Cut {
            continue;
        }
        let before = rig.values().len();
        let produced = rig.cluster.request(1, connection, &frame, rig.now);
        assert_eq!(rig.values().len(), before + 1);
        if produced == Response::Cut {
            assert_eq!(rig.cluster.request(1, connection, &frame, rig.now), Response::Cut);
            assert_eq!(rig.values().len(), before + 1, "nothing more is taken from it");
            return;
        }
    }
}

#[test]
fn added_partitions_appear_and_are_led() {
    let mut rig = Rig::new(&with_fault(3, FaultKind::PartitionsAdded, 1_000));
    pass_until(&mut rig, FaultKind::PartitionsAdded);
    rig.cluster.heal();
    rig.pass(SECOND);
    let topic = rig.metadata(1, &["t"]).topics.remove(0);
    assert!(topic.partitions.len() > 1);
    assert!(topic.partitions.iter().all(|partition| partition.leader.0 > 0));
}

#[test]
fn a_stopped_broker_refuses_and_its_connections_are_cut() {
    let mut rig = Rig::new(&named(FaultKind::BrokerStop, 1_000));
    rig.cluster.request(1, 60, &GREETING, rig.now);
    let (mut out, mut cuts) = (Vec::new(), Vec::new());
    while rig.cluster.broker_is_up(1) {
        rig.now += MILLISECOND;
        rig.cluster.tick(rig.now, &mut out);
    }
    rig.cluster.take_cuts(&mut cuts);
    assert_eq!(cuts, [60]);
    let life = rig.cluster.broker_life(1);
    rig.pass(40 * SECOND);
    rig.cluster.heal();
    assert!(rig.cluster.broker_life(1) > life);
    assert_eq!(
        rig.cluster.request(1, 60, &GREETING, rig.now),
        Response::Cut,
        "it is of another life"
    );
    rig.cluster.connection_closed(60);
    assert!(matches!(rig.cluster.request(1, 61, &GREETING, rig.now), Response::Now(_)));
}
