//! Models of what application threads ask of a shard: no command and no waiter is forgotten.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Notify;

use super::{Command, Finished, Shared, Ticket, finish};
use crate::accumulator::Accumulator;
use crate::meters::WindowSpec;
use crate::park::block_on;
use crate::sync::{explore, thread};

#[test]
fn a_ticket_wakes_its_waiter_with_the_last_of_two_shards() {
    explore(|| {
        let ticket = Ticket::new(2);
        let shards = [0, 1].map(|_| {
            let ticket = Arc::clone(&ticket);
            thread::spawn(move || ticket.finish_one())
        });
        block_on(Finished(Arc::clone(&ticket))).unwrap();
        assert!(ticket.is_over());
        shards.into_iter().for_each(|shard| shard.join().unwrap());
    });
}

fn shared() -> (Arc<Shared>, Arc<Notify>) {
    let accumulator = Accumulator::new(1, 1, Duration::ZERO).unwrap();
    let wakes = Arc::new(Notify::new());
    let wake = Arc::clone(&wakes);
    accumulator.set_wake(Box::new(move || wake.notify()));
    (Shared::new(accumulator, WindowSpec::default()), wakes)
}

fn flush(shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let ticket = Ticket::new(1);
        shared.command(Command::Flush(Arc::clone(&ticket)));
        block_on(Finished(ticket)).unwrap();
    })
}

#[test]
fn a_command_wakes_the_shard_that_falls_asleep() {
    explore(|| {
        let (shared, wakes) = shared();
        let flushing = flush(&shared);
        let mut commands = Vec::new();
        loop {
            shared.accumulator.awake();
            std::mem::swap(&mut commands, &mut *shared.commands());
            if !commands.is_empty() {
                break;
            }
            if shared.accumulator.fall_asleep(u64::MAX, false) {
                wakes.wait();
            }
        }
        commands.into_iter().for_each(finish);
        flushing.join().unwrap();
    });
}

#[test]
fn cls_4_a_command_that_meets_the_end_of_its_shard_is_finished() {
    explore(|| {
        let (shared, _) = shared();
        let flushing = [flush(&shared), flush(&shared)];
        shared.end().into_iter().for_each(finish);
        flushing.into_iter().for_each(|flushing| flushing.join().unwrap());
        block_on(shared.ended()).unwrap();
    });
}
