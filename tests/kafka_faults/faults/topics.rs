//! What an administrator does to a topic in use.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::ledger::Rebirth;
use crate::scene::{PARTITIONS, Scene};
use crate::support::deadline::now;
use crate::support::java;

/// Preferred leaders change, and Kafka's own tool elects them. Twice, so that leaders come back.
pub(super) fn elect_other_leaders(scene: &mut Scene<'_>) {
    for round in 1..3 {
        scene.progress();
        let replicas = |partition: i32| (0..3).map(|n| (partition + n + round) % 3 + 1).collect();
        scene.stage.cluster.reassign(scene.topic, PARTITIONS, replicas);
        java::elect_preferred_leaders(&scene.stage.cluster);
        for partition in 0..PARTITIONS {
            let preferred = ((partition + round) % 3) as usize;
            scene.stage.cluster.await_leader(scene.topic, partition, preferred);
        }
    }
    scene.progress();
}

/// Each partition leaves the broker that leads it, and comes back to all three.
pub(super) fn move_partitions(scene: &mut Scene<'_>) {
    for _ in 0..2 {
        scene.progress();
        let cluster = &scene.stage.cluster;
        let leaders: Vec<i32> = (0..PARTITIONS)
            .map(|partition| cluster.leader_of(scene.topic, partition) as i32 + 1)
            .collect();
        let without_leader = |partition: i32| {
            (1..=3).filter(|id| *id != leaders[partition as usize]).collect::<Vec<i32>>()
        };
        cluster.reassign(scene.topic, PARTITIONS, without_leader);
        scene.progress();
        let leader_last = |partition: i32| {
            let mut replicas = without_leader(partition);
            replicas.push(leaders[partition as usize]);
            replicas
        };
        cluster.reassign(scene.topic, PARTITIONS, leader_last);
        scene.await_in_sync();
    }
    scene.progress();
}

/// The topic is gone for everybody, and then there is one of its name.
pub(super) fn delete_and_create_again(scene: &mut Scene<'_>) {
    scene.progress();
    let deleting = now();
    scene.stage.cluster.delete_topic(scene.topic);
    scene.hold(Duration::from_secs(2));
    scene.stage.cluster.create_topic(scene.topic, PARTITIONS, 3, &[]);
    scene.rebirth = Some(Rebirth { deleting, created: now() });
    scene.await_in_sync();
    scene.progress();
}
