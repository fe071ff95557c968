//! Brokers that are killed, stopped, restarted, and too few.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use crate::scene::{Move, PARTITIONS, REQUEST_TIMEOUT, Scene};
use crate::support::deadline::{Deadline, now};
use crate::support::fetch::leads;
use crate::support::wire::Connection;

/// SIGKILL, and a look at when the new leaders serve.
pub(super) fn kill_a_leader_and_restart_it(scene: &mut Scene<'_>) {
    scene.progress();
    let leader = scene.stage.cluster.leader_of(scene.topic, 0);
    let orphans: Vec<i32> = (0..PARTITIONS)
        .filter(|&partition| scene.stage.cluster.leader_of(scene.topic, partition) == leader)
        .collect();
    scene.stage.cluster.kill_broker(leader);
    scene.moves = watch_moves(scene, leader, &orphans);
    scene.progress();
    scene.stage.cluster.restart_broker(leader);
    scene.await_in_sync();
    scene.progress();
}

/// Asks the living brokers, again and again, which of the partitions they lead and serve. A new
/// leader can acknowledge only when its followers know of it too, so all of them have to.
fn watch_moves(scene: &Scene<'_>, dead: usize, orphans: &[i32]) -> Vec<Move> {
    let lost = now();
    let deadline = Deadline::after(Duration::from_secs(60));
    let cluster = &scene.stage.cluster;
    let connect = |index| Connection::open(cluster.address(index));
    let alive = (0..cluster.len()).filter(|&index| cluster.is_running(index));
    let mut connections: Vec<Connection> =
        alive.map(connect).collect::<io::Result<_>>().expect("two brokers live");
    let mut open: BTreeSet<i32> = orphans.iter().copied().collect();
    let mut moves = Vec::new();
    while !open.is_empty() {
        let wanted: Vec<i32> = open.iter().copied().collect();
        let mut served = Vec::new();
        for connection in &mut connections {
            served.extend(leads(connection, scene.topic, &wanted).expect("the broker lives"));
        }
        for connection in &mut connections {
            let answer = connection.metadata(&[scene.topic]).expect("the broker lives");
            let known = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let stale = known.filter(|it| *it.leader_id == dead as i32 + 1);
            let stale: Vec<i32> = stale.map(|it| it.partition_index).collect();
            served.retain(|partition| !stale.contains(partition));
        }
        for partition in served {
            open.remove(&partition);
            moves.push(Move { partition, lost, serving: now() });
        }
        scene.hold(Duration::from_millis(5));
        deadline.check(|| format!("new leaders of partitions {open:?}"));
    }
    moves
}

/// SIGSTOP for longer than request.timeout.ms: the connections stay open, the others elect new
/// leaders, and the old one wakes up in the belief that it still leads.
pub(super) fn stop_a_leader_by_signal(scene: &mut Scene<'_>) {
    scene.progress();
    let leader = scene.stage.cluster.leader_of(scene.topic, 0);
    scene.stage.cluster.pause_broker(leader);
    scene.hold(REQUEST_TIMEOUT * 2);
    scene.progress();
    scene.stage.cluster.resume_broker(leader);
    scene.await_in_sync();
    scene.progress();
}

/// Nobody reads, and records expire while the kernels hold their bytes. Then everybody reads again,
/// what expired long ago included.
pub(super) fn stop_all_while_records_expire(scene: &mut Scene<'_>) {
    scene.progress();
    for index in 0..scene.stage.cluster.len() {
        scene.stage.cluster.pause_broker(index);
    }
    scene.hold(Duration::from_secs(9));
    for index in 0..scene.stage.cluster.len() {
        scene.stage.cluster.resume_broker(index);
    }
    scene.await_in_sync();
    scene.progress();
}

/// SIGTERM and a new start, one after the other.
pub(super) fn restart_one_after_the_other(scene: &mut Scene<'_>) {
    for index in 0..scene.stage.cluster.len() {
        scene.progress();
        scene.stage.cluster.stop_broker(index);
        scene.progress();
        scene.stage.cluster.restart_broker(index);
        scene.await_in_sync();
    }
    scene.progress();
}

/// Both followers of a partition stop: NOT_ENOUGH_REPLICAS, before or after the append, until the
/// records expire; some are written after all when the followers are back.
pub(super) fn leave_too_few_in_sync(scene: &mut Scene<'_>) {
    scene.progress();
    let leader = scene.stage.cluster.leader_of(scene.topic, 0);
    let others: Vec<usize> =
        (0..scene.stage.cluster.len()).filter(|&index| index != leader).collect();
    for &index in &others {
        scene.stage.cluster.pause_broker(index);
    }
    scene.hold(Duration::from_secs(13));
    for &index in &others {
        scene.stage.cluster.resume_broker(index);
    }
    scene.await_in_sync();
    scene.progress();
}
