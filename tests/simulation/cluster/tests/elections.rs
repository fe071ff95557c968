//! Leaders come and go: what survives, and what is said to those who waited.
#![forbid(unsafe_code)]

use super::rig::{Batch, MILLISECOND, Rig, SECOND, with_fault};
use crate::cluster::{FaultKind, LossCause, Plan, Response};

fn count(rig: &Rig, kind: FaultKind) -> u64 {
    rig.cluster.fault_counts()[kind as usize]
}

/// A new leader, waited for.
fn next_leader(rig: &mut Rig, epoch: i32) -> (i32, i32) {
    for _ in 0..60_000 {
        let up = rig.cluster.nodes().find(|node| rig.cluster.broker_is_up(*node));
        if let Some(node) = up {
            let (leader, now) = rig.leader(node);
            if leader > 0 && now > epoch && rig.cluster.broker_is_up(leader) {
                return (leader, now);
            }
        }
        rig.pass(MILLISECOND);
    }
    panic!("nobody leads");
}

/// Sends until it is written, as a client would.
fn insist(rig: &mut Rig, batch: &Batch) -> i64 {
    for _ in 0..10_000 {
        let (leader, _) = next_leader(rig, -1);
        let begun = rig.begin(leader, batch);
        let said = rig.end(leader, begun);
        match said {
            Some(said) if said.code == 0 => return said.offset,
            _ => rig.pass(10 * MILLISECOND),
        }
    }
    panic!("not written: {batch:?}");
}

#[test]
fn acks_all_is_answered_when_the_in_sync_replicas_have_it() {
    let mut rig = Rig::three();
    let (leader, _) = rig.leader(1);
    let begun = rig.begin(leader, &Batch::of((-1, -1), -1, "a"));
    assert_eq!(rig.cluster.account().successes.len(), 0, "before any follower has fetched");
    let said = rig.end(leader, begun).unwrap();
    assert_eq!((said.code, said.offset, said.append_time, said.log_start), (0, 0, -1, 0));
    let success = &rig.cluster.account().successes[0];
    assert!(success.acks_all && success.base_offset == 0);
}

#[test]
fn a_broker_that_does_not_lead_says_who_does() {
    let mut rig = Rig::three();
    let (leader, epoch) = rig.leader(1);
    let other = rig.cluster.nodes().find(|node| *node != leader).unwrap();
    let said = rig.produce(other, &Batch::of((-1, -1), -1, "a"));
    assert_eq!((said.code, said.offset, said.leader), (6, -1, Some((leader, epoch))));
}

#[test]
fn clean_elections_and_restarts_lose_nothing_that_acks_all_acknowledged() {
    for kind in [
        FaultKind::LeaderMove,
        FaultKind::BrokerStop,
        FaultKind::BrokerRoll,
        FaultKind::DeposedLeader,
        FaultKind::StuckFollower,
    ] {
        let mut rig = Rig::new(&with_fault(3, kind, 300));
        let id = rig.producer_id();
        let values: Vec<String> = (0..150).map(|n| n.to_string()).collect();
        for (n, value) in (0..).zip(&values) {
            insist(&mut rig, &Batch::of(id, n, value));
            rig.pass(SECOND / 2);
        }
        assert!(count(&rig, kind) > 0, "{kind:?}");
        rig.cluster.heal();
        rig.pass(10 * SECOND);
        assert_eq!(rig.values(), values, "{kind:?}: in order and once");
        assert!(rig.cluster.lost().is_ok_and(|lost| lost.is_empty()), "{kind:?}");
        assert_eq!(rig.violations(), [""; 0]);
    }
}

#[test]
fn what_only_a_leader_had_can_be_lost_and_is_accounted_for() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut plan = with_fault(3, FaultKind::LeaderMove, 5_000);
        plan.news_lag_max = SECOND;
        plan.fetch_lag_max = SECOND + seed;
        let mut rig = Rig::new(&plan);
        rig.acks = 1;
        for n in 0..100 {
            let node = 1 + n % 3;
            rig.produce(node, &Batch::of((-1, -1), -1, &n.to_string()));
            rig.pass(20 * MILLISECOND);
        }
        rig.cluster.heal();
        rig.pass(10 * SECOND);
        let gone = rig.cluster.lost().unwrap();
        assert!(gone.iter().all(|it| it.cause == LossCause::LeaderOnly));
        let successes = rig.cluster.account().successes.len();
        assert_eq!(rig.values().len(), successes - gone.len());
        lost += gone.len();
    }
    assert!(lost > 0, "a move never lost anything");
}

#[test]
fn an_unclean_election_loses_what_the_account_says_and_nothing_else() {
    let mut lost = 0;
    for seed in 0..40 {
        let mut plan = with_fault(3, FaultKind::UncleanElection, 100_000);
        plan.topics[0].min_isr = 1;
        plan.fetch_lag_max = MILLISECOND + seed;
        let mut rig = Rig::new(&plan);
        for n in 0..200 {
            let (leader, _) = next_leader(&mut rig, -1);
            if let Response::Waits(_) = rig.begin(leader, &Batch::of((-1, -1), -1, &n.to_string()))
            {
                rig.pass(50 * MILLISECOND);
            }
        }
        rig.cluster.heal();
        rig.pass(20 * SECOND);
        let gone = rig.cluster.lost().unwrap();
        assert!(gone.iter().all(|it| it.cause == LossCause::UncleanElection));
        lost += gone.len();
    }
    assert!(lost > 0, "nothing was ever lost");
}

#[test]
fn a_cut_off_leader_takes_batches_and_says_not_leader_later() {
    let mut plan = with_fault(3, FaultKind::DeposedLeader, 100_000);
    plan.session = SECOND / 2;
    let mut rig = Rig::new(&plan);
    rig.timeout_ms = 60_000;
    let mut seen = 0;
    for _ in 0..300 {
        let (leader, _) = next_leader(&mut rig, -1);
        let begun = rig.begin(leader, &Batch::of((-1, -1), -1, "x"));
        let Response::Waits(_) = begun else { continue };
        let said = rig.end(leader, begun);
        seen += usize::from(said.is_some_and(|said| said.code == 6));
        if seen > 0 {
            return;
        }
    }
    panic!("nobody who waited was told");
}

#[test]
fn too_few_in_sync_replicas_refuse_acks_all_before_the_append() {
    let mut plan = with_fault(3, FaultKind::StuckFollower, 200_000);
    plan.topics[0].min_isr = 3;
    plan.replica_lag_max = SECOND;
    let mut rig = Rig::new(&plan);
    rig.timeout_ms = 500;
    let mut seen = [false; 2];
    for n in 0..500 {
        let (leader, _) = rig.leader(1);
        let before = rig.values().len();
        let said = rig.produce(leader, &Batch::of((-1, -1), -1, &n.to_string()));
        match said.code {
            19 => {
                seen[0] = true;
                assert_eq!(rig.values().len(), before, "not appended");
            }
            7 | 20 => {
                seen[1] = true;
                assert_eq!(rig.values().len(), before + 1, "appended all the same");
            }
            _ => {}
        }
        rig.pass(100 * MILLISECOND);
        if seen == [true; 2] {
            return;
        }
    }
    panic!("{seen:?}");
}

#[test]
fn a_broker_that_comes_back_may_have_moved() {
    let mut plan = Plan::calm(3, "t", 1);
    plan.set_rate(FaultKind::BrokerStop, 100_000);
    plan.set_rate(FaultKind::PortChange, 1_000_000);
    plan.set_rate(FaultKind::NodeReplaced, 1_000_000);
    let mut rig = Rig::new(&plan);
    let before: Vec<_> = rig.cluster.nodes().map(|node| rig.cluster.address(node)).collect();
    rig.pass(300 * SECOND);
    rig.cluster.heal();
    rig.pass(10 * SECOND);
    let after: Vec<_> = rig.cluster.nodes().map(|node| rig.cluster.address(node)).collect();
    assert!(before.iter().zip(&after).all(|(one, other)| one != other));
    for (node, address) in rig.cluster.nodes().zip(&after).collect::<Vec<_>>() {
        assert_eq!(rig.cluster.broker_at(*address), Some(node));
        assert_eq!(rig.cluster.broker_at(rig.cluster.bootstrap()[node as usize - 1]), Some(node));
    }
    assert!(before.iter().all(|address| rig.cluster.broker_at(*address).is_none()));
    let read = rig.metadata(1, &["t"]);
    for (broker, address) in read.brokers.iter().zip(&after) {
        assert_eq!(format!("{}:{}", broker.host, broker.port), address.to_string());
    }
}
