//! What only the raw ring promises: its modes, its bounds, and sends without a copy.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kuring::accumulator::buffer_pool::BufferPool;
use kuring::driver::uring::{UringDriver, UringOptions};
use kuring::driver::{Driver, Event, Frame, Part, SocketOptions, Waker};
use kuring::ids::ConnectionId;

use crate::rig::{PATIENCE, Rig, Seen, gather, now, single};
use crate::{Open, cases, open_uring, open_uring_with, open_uring_zero_copy};

/// Sends one byte back for each whole request, until the end.
fn answer(mut peer: TcpStream, bytes: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut request = vec![0; bytes];
        while peer.read_exact(&mut request).is_ok() && peer.write_all(&[1]).is_ok() {}
    })
}

#[test]
fn the_ring_defers_the_kernels_work_or_is_at_least_not_interrupted() {
    let rig = Rig::new(open_uring);
    let modes = rig.driver.modes();
    assert!(modes.defer_taskrun != modes.coop_taskrun, "{modes:?}");
    assert!(modes.registered_files && modes.registered_ring, "{modes:?}");
    assert!(!modes.zero_copy && !modes.registered_arena && !modes.sqpoll, "{modes:?}");
}

#[test]
fn on_loopback_sends_without_a_copy_are_given_up() {
    let mut rig = Rig::new(open_uring_zero_copy);
    assert!(rig.driver.modes().zero_copy);
    let (id, peer) = rig.pair(0, &SocketOptions::default());
    let peer = answer(peer, 16 << 10);
    for seed in 0..20 {
        // By turns from the registered arena, and from pieces inside and outside of it.
        assert_eq!(rig.driver.sends_zero_copy(id), seed < 8, "after {seed} sends");
        let built = if seed % 2 == 0 {
            single(&rig, seed, 16 << 10)
        } else {
            let head = crate::rig::Built::default().head(&rig, &[7; 100]);
            head.lent(&rig, &crate::rig::pattern(seed, (16 << 10) - 100))
        };
        rig.driver.send(id, built.frame);
        let (frame, complete) = rig.frame_back(id);
        assert!(complete);
        drop(frame);
        built.buffers.into_iter().for_each(|index| rig.release(index));
        rig.received_at_least(0, seed as usize + 1);
    }
    rig.driver.shutdown(id);
    rig.closed(id);
    peer.join().unwrap();
}

#[test]
fn small_sends_are_copied() {
    let mut rig = Rig::new(open_uring_zero_copy);
    let (id, peer) = rig.pair(0, &SocketOptions::default());
    let peer = answer(peer, 1000);
    for seed in 0..20 {
        let built = single(&rig, seed, 1000);
        rig.driver.send(id, built.frame);
        assert!(rig.frame_back(id).1);
        built.buffers.into_iter().for_each(|index| rig.release(index));
    }
    assert!(rig.driver.sends_zero_copy(id), "nothing was learnt");
    rig.driver.shutdown(id);
    rig.closed(id);
    peer.join().unwrap();
}

/// Twice as many connections as the queues have entries, all with news at once.
#[test]
fn more_operations_than_the_queue_holds_are_all_submitted() {
    const COUNT: u32 = 300;
    let pool = BufferPool::new(1 << 16, 1000).unwrap();
    let options = UringOptions { completions: Some(128), ..UringOptions::default() };
    let mut driver = open_uring_with(&pool, &options);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ids: Vec<_> = (0..COUNT).map(|slot| ConnectionId { slot, generation: 9 }).collect();
    let mut peers = Vec::new();
    // In steps that the listener's queue holds.
    for ids in ids.chunks(100) {
        for &id in ids {
            driver.connect(id, address, &SocketOptions::default());
        }
        peers.extend(ids.iter().map(|_| listener.accept().unwrap().0));
    }
    let mut counts: HashMap<&'static str, u32> = HashMap::new();
    let mut run = |driver: &mut UringDriver, what, until| {
        let deadline = now() + PATIENCE;
        while counts.get(what).copied().unwrap_or(0) < until {
            assert!(now() < deadline, "waited in vain for {what}: {counts:?}");
            driver.wait(Some(deadline), &mut |event| {
                let (what, count) = match event {
                    Event::Connected(_) => ("connected", 1),
                    Event::Sent { complete, .. } => (if complete { "sent" } else { "unsent" }, 1),
                    Event::Received(_, bytes) => ("received", bytes.len() as u32),
                    Event::Closed(..) => ("closed", 1),
                };
                *counts.entry(what).or_default() += count;
            });
        }
    };
    run(&mut driver, "connected", COUNT);
    for &id in &ids {
        let head = vec![7; 10];
        let parts = vec![Part::Head { start: 0, end: 10 }];
        driver.send(id, Frame { head, parts, ..Frame::default() });
    }
    // Everything completes before the driver looks: more than both queues and all buffers hold.
    for peer in &mut peers {
        peer.write_all(&[1; 10]).unwrap();
    }
    run(&mut driver, "sent", COUNT);
    run(&mut driver, "received", 10 * COUNT);
    for peer in &mut peers {
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.read_exact(&mut [0; 10]).unwrap();
    }
    ids.iter().for_each(|&id| driver.shutdown(id));
    run(&mut driver, "closed", COUNT);
    assert_eq!(counts.get("unsent"), None);
    for count in ["connected", "sent", "closed"] {
        assert_eq!(counts[count], COUNT, "{count}");
    }
}

/// More pieces than one operation takes.
#[test]
fn a_frame_of_thousands_of_pieces_goes_out_in_steps() {
    for open in [open_uring as Open<_>, open_uring_zero_copy] {
        let mut rig = Rig::new(open);
        let (id, mut peer) = rig.pair(0, &SocketOptions::default());
        let pieces: Vec<u8> = (0..5000_u32).map(|byte| byte as u8).collect();
        let parts = (0..5000).map(|start| Part::Head { start, end: start + 1 }).collect();
        let frame = Frame { head: pieces.clone(), parts, ..Frame::default() };
        rig.driver.send(id, frame);
        assert!(rig.frame_back(id).1);
        let mut read = vec![0; 5000];
        peer.read_exact(&mut read).unwrap();
        assert!(read == pieces);
    }
}

/// The peer keeps the bytes of a send without a copy unacknowledged for ever.
#[test]
fn a_peer_that_stops_reading_does_not_keep_the_memory_of_an_ended_connection() {
    let mut rig = Rig::new(open_uring_zero_copy);
    let tiny = SocketOptions { send_buffer: Some(1 << 20), receive_buffer: None };
    let (id, peer) = rig.pair(0, &tiny);
    let built = gather(&rig, 150, 2_400_000);
    rig.driver.send(id, built.frame);
    rig.turn(Some(now() + Duration::from_millis(1)));
    rig.driver.shutdown(id);
    let (frame, complete) = rig.frame_back(id);
    assert!(!complete);
    rig.closed(id);
    drop(frame);
    built.buffers.into_iter().for_each(|index| rig.release(index));
    assert_eq!(rig.pool.available(), rig.pool.total());
    drop(peer);
}

#[test]
fn a_patient_frame_is_reported_with_its_answer() {
    let mut rig = Rig::new(open_uring);
    let (id, peer) = rig.pair(0, &SocketOptions::default());
    let peer = answer(peer, 1000);
    for seed in 0..20 {
        let mut built = single(&rig, seed, 1000);
        built.frame.patient = true;
        rig.driver.send(id, built.frame);
        rig.seen.clear();
        rig.turn(None);
        assert!(matches!(rig.seen[..], [Seen::Received, Seen::Sent(_, _, true)]), "{:?}", rig.seen);
        rig.seen.clear();
        built.buffers.into_iter().for_each(|index| rig.release(index));
    }
    rig.driver.shutdown(id);
    rig.closed(id);
    peer.join().unwrap();
}

#[test]
fn a_patient_frame_is_reported_at_the_deadline() {
    let mut rig = Rig::new(open_uring);
    let (id, _peer) = rig.pair(0, &SocketOptions::default());
    for until in [now(), now() + Duration::from_millis(2)] {
        rig.seen.clear();
        rig.driver.send(id, Frame { patient: true, ..single(&rig, 1, 1000).frame });
        rig.turn(Some(until));
        assert!(matches!(rig.seen[..], [Seen::Sent(_, _, true)]), "{:?}", rig.seen);
    }
}

fn open_sqpoll(pool: &Arc<BufferPool>) -> UringDriver {
    let idle = Some(Duration::from_millis(1));
    open_uring_with(pool, &UringOptions { sqpoll: idle, ..UringOptions::default() })
}

/// Not the whole body of tests: several wakes may end several waits, which harms nobody.
#[test]
fn a_thread_of_the_kernel_may_submit() {
    assert!(Rig::new(open_sqpoll).driver.modes().sqpoll);
    cases::a_frame_of_one_piece_of_the_arena_arrives_unchanged(open_sqpoll);
    cases::a_gather_frame_arrives_unchanged(open_sqpoll);
    cases::a_slow_peer_gets_every_byte_of_a_large_frame_in_order(open_sqpoll);
    cases::a_peer_that_stops_reading_keeps_the_frame_lent_until_shutdown(open_sqpoll);
    cases::a_waker_on_another_thread_ends_the_wait(open_sqpoll);
    cases::a_flood_on_one_connection_does_not_starve_another(open_sqpoll);
    cases::a_panic_while_events_are_handled_loses_no_frame(open_sqpoll);
    cases::a_dropped_driver_leaves_the_memory_of_frames_intact(open_sqpoll);
}

/// Every frame is patient. What waits for one alone looks again after a millisecond.
pub(crate) struct Patient {
    driver: UringDriver,
    out: usize,
}

pub(crate) fn open_patient(pool: &Arc<BufferPool>) -> Patient {
    Patient { driver: open_uring(pool), out: 0 }
}

impl Driver for Patient {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn connect(&mut self, id: ConnectionId, address: SocketAddr, options: &SocketOptions) {
        self.driver.connect(id, address, options);
    }

    fn send(&mut self, id: ConnectionId, frame: Frame) {
        self.out += 1;
        self.driver.send(id, Frame { patient: true, ..frame });
    }

    fn shutdown(&mut self, id: ConnectionId) {
        self.driver.shutdown(id);
    }

    fn waker(&self) -> Waker {
        self.driver.waker()
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        let soon = (self.out > 0).then(|| now() + Duration::from_millis(1));
        let until = [until, soon].into_iter().flatten().min();
        let out = &mut self.out;
        self.driver.wait(until, &mut |event| {
            *out -= usize::from(matches!(event, Event::Sent { .. }));
            handle(event);
        });
    }
}
