//! Models of the ready list and of the shard's sleep: no news is missed.
#![forbid(unsafe_code)]

use std::sync::Arc;

use loom::sync::Notify;

use super::{Shard, append, send};
use crate::accumulator::ready::{Link, ReadyList};
use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{explore, thread};

/// A ready list over two partitions, and what they have for the shard.
#[derive(Default)]
struct Partitions {
    ready: ReadyList,
    links: [Link; 2],
    /// Published by the list alone.
    news: [AtomicU32; 2],
    wakes: Notify,
}

impl Partitions {
    fn add(&self, index: usize) {
        self.news[index].fetch_add(1, Relaxed);
        self.ready.push(index as u32, &self.links[index]);
    }

    fn look(&self) -> u32 {
        let mut at = self.ready.take_all();
        let mut seen = 0;
        while let Some(index) = at.checked_sub(1) {
            at = ReadyList::take(&self.links[index as usize]);
            seen += self.news[index as usize].load(Relaxed);
            self.news[index as usize].fetch_sub(seen, Relaxed);
        }
        seen
    }
}

#[test]
fn whoever_finds_a_partition_listed_already_is_seen_all_the_same() {
    explore(|| {
        let all = Arc::new(Partitions::default());
        let other = {
            let all = Arc::clone(&all);
            thread::spawn(move || all.add(0))
        };
        let third = {
            let all = Arc::clone(&all);
            thread::spawn(move || all.add(0))
        };
        let mut seen = all.look();
        other.join().unwrap();
        third.join().unwrap();
        seen += all.look();
        assert_eq!(seen, 2);
    });
}

#[test]
fn a_sleeping_shard_is_woken_by_each_partition_and_none_is_lost() {
    explore(|| {
        let all = Arc::new(Partitions::default());
        let threads = [0, 1].map(|index| {
            let all = Arc::clone(&all);
            thread::spawn(move || {
                all.add(index);
                if all.ready.must_wake(0) {
                    all.wakes.notify();
                }
            })
        });
        let mut seen = 0;
        loop {
            all.ready.wake_up();
            seen += all.look();
            if seen == 2 {
                break;
            }
            if all.ready.fall_asleep(u64::MAX, 0) {
                all.wakes.wait();
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn an_appender_that_opens_fills_and_opens_again_wakes_the_sleeping_shard() {
    explore(|| {
        let mut shard = Shard::new(2, 1);
        let ring = shard.ring();
        let other = send(&ring, 0, 2);
        shard.run_until(2);
        drop(other.join().unwrap());
    });
}

#[test]
fn the_last_commit_of_a_batch_that_was_sealed_meanwhile_wakes_the_shard() {
    explore(|| {
        let mut shard = Shard::new(2, 3);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let other = send(&ring, 0, 1);
        shard.run_until(2);
        drop((first, other.join().unwrap()));
    });
}
