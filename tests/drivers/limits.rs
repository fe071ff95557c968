//! Bounds of a whole process: descriptors, locked memory, allocations. Each test runs in a process
//! of its own, so that the others do not count and are not limited.

#![expect(unsafe_code, reason = "counting allocations takes a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use kuring::accumulator::buffer_pool::{BufferPool, HEAD_ROOM_BYTES};
use kuring::driver::probe::{self, Choice, OpenError};
use kuring::driver::tokio_uring::TokioUringDriver;
use kuring::driver::uring::{UringDriver, UringOptions};
use kuring::driver::{Driver, Event, Frame, Part, SocketOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::rig::{Rig, pattern, single};
use crate::{Open, open_epoll, open_tokio_uring, open_uring, open_uring_zero_copy};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: obligation: allocates as `GlobalAlloc` says. All of it is the system allocator's.
// Test: every test of this binary.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: obligation: the caller's. Passed on. Test: every test of this binary.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: obligation: the caller's. Passed on. Test: every test of this binary.
        unsafe { System.dealloc(start, layout) };
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs the test of this name in a fresh process; whether this is that process.
fn in_own_process(test: &str) -> bool {
    const CHILD: &str = "KURING_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} in its own process: {text}{errors}");
    assert!(text.contains("1 passed"), "{test} did not run: {text}");
    false
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn descriptors_come_back<D: Driver>(open: Open<D>) {
    let before = descriptors();
    let mut rig = Rig::new(open);
    let idle = descriptors();
    for round in 0..10 {
        let (id, peer) = rig.pair(0, &SocketOptions::default());
        let built = single(&rig, round, 1000);
        rig.driver.send(id, built.frame);
        drop(rig.frame_back(id));
        rig.release(built.buffers[0]);
        if round % 2 == 0 {
            rig.driver.shutdown(id);
            rig.closed(id);
        }
        drop(peer);
        rig.closed(id);
        // Refused: the listener of `pair` is gone.
        let refused = rig.connect(1, "127.0.0.1:1".parse().unwrap());
        rig.closed(refused);
        assert_eq!(descriptors(), idle, "Closed means that the descriptor is closed");
    }
    let _open = rig.pair(2, &SocketOptions::default());
    drop(rig.driver);
    // The peer's end of the last pair is still open.
    assert_eq!(descriptors(), before + 1);
}

#[test]
fn descriptors_return_to_their_count() {
    if in_own_process("limits::descriptors_return_to_their_count") {
        descriptors_come_back(open_epoll);
        descriptors_come_back(open_tokio_uring);
        descriptors_come_back(open_uring);
        descriptors_come_back(open_uring_zero_copy);
    }
}

/// Allocations of this thread over `requests` requests and answers in the steady state.
fn allocations<D: Driver>(open: Open<D>, requests: u64) -> u64 {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &SocketOptions::default());
    let peer = thread::spawn(move || {
        let mut request = [0; 9000];
        while peer.read_exact(&mut request).is_ok() && peer.write_all(&request[..50]).is_ok() {}
    });
    let whole = rig.buffer(&pattern(1, 9000));
    let mut frame = Some(Frame::default());
    let mut counted = 0;
    for request in 0..requests + 100 {
        if request == 100 {
            counted = ALLOCATIONS.with(Cell::get);
        }
        let mut next = frame.take().unwrap();
        next.clear();
        if request % 2 == 0 {
            next.parts.push(Part::Lent(rig.pool.lend(whole, HEAD_ROOM_BYTES, 9000)));
        } else {
            next.head.extend_from_slice(&[7; 1000]);
            for start in [0, 500] {
                next.parts.push(Part::Head { start, end: start + 500 });
                next.parts.push(Part::Lent(rig.pool.lend(whole, HEAD_ROOM_BYTES, 4000)));
            }
        }
        rig.driver.send(id, next);
        let mut answered = 0;
        while frame.is_none() || answered < 50 {
            let until = crate::rig::now() + crate::rig::PATIENCE;
            rig.driver.wait(Some(until), &mut |event| match event {
                Event::Sent { frame: back, complete: true, .. } => frame = Some(back),
                Event::Received(_, bytes) => answered += bytes.len(),
                other => panic!("{other:?}"),
            });
        }
    }
    let counted = ALLOCATIONS.with(Cell::get) - counted;
    rig.driver.shutdown(id);
    rig.closed(id);
    peer.join().unwrap();
    counted
}

#[test]
fn a_request_allocates_nothing_in_the_steady_state() {
    if in_own_process("limits::a_request_allocates_nothing_in_the_steady_state") {
        assert_eq!(allocations(open_epoll, 2000), 0);
        assert_eq!(allocations(open_tokio_uring, 2000), 0);
        assert_eq!(allocations(open_uring, 2000), 0);
        assert_eq!(allocations(open_uring_zero_copy, 2000), 0);
    }
}

/// Takes away what lets this process lock the pool's memory.
fn forbid_locking() {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).unwrap();
    let maximum = getrlimit(Resource::Memlock).maximum;
    setrlimit(Resource::Memlock, Rlimit { current: Some(512 << 10), maximum }).unwrap();
}

#[test]
fn without_locked_memory_the_ring_works_unregistered() {
    if in_own_process("limits::without_locked_memory_the_ring_works_unregistered") {
        forbid_locking();
        let warnings = crate::log::warnings();
        let unregistered: Open<TokioUringDriver> = |pool| {
            let driver = open_tokio_uring(pool);
            assert!(!driver.registered());
            driver
        };
        assert_eq!(allocations(unregistered, 10), 0);
        crate::cases::a_frame_of_one_piece_of_the_arena_arrives_unchanged(unregistered);
        crate::cases::a_gather_frame_arrives_unchanged(unregistered);
        crate::cases::a_peer_that_stops_reading_keeps_the_frame_lent_until_shutdown(unregistered);
        let unregistered: Open<UringDriver> = |pool| {
            let driver = open_uring_zero_copy(pool);
            assert!(!driver.modes().registered_arena && driver.modes().zero_copy);
            driver
        };
        assert_eq!(allocations(unregistered, 10), 0);
        crate::cases::a_frame_of_one_piece_of_the_arena_arrives_unchanged(unregistered);
        crate::cases::a_gather_frame_arrives_unchanged(unregistered);
        crate::cases::a_slow_peer_gets_every_byte_of_a_large_single_piece(unregistered);
        crate::cases::a_peer_that_stops_reading_keeps_the_frame_lent_until_shutdown(unregistered);
        let warnings = warnings.lock().unwrap();
        let [warning] = warnings.as_slice() else { panic!("one warning: {warnings:?}") };
        let expected =
            ["4194304 bytes", "RLIMIT_MEMLOCK", "524288", "ulimit -l 4096", "cap_ipc_lock"];
        assert!(expected.iter().all(|word| warning.contains(word)), "{warning}");
    }
}

/// Opens drivers with room for ever more descriptors, until one opens.
#[test]
fn a_probe_that_runs_out_of_descriptors_is_an_error_and_no_fallback() {
    let name = "limits::a_probe_that_runs_out_of_descriptors_is_an_error_and_no_fallback";
    if !in_own_process(name) {
        return;
    }
    let pool = BufferPool::new(1 << 20, 1000).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let mut refused = 0;
    for room in 0.. {
        // Numbers below the limit are given out: the lowest free one is the first that counts.
        let next = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
        setrlimit(Resource::Nofile, Rlimit { current: Some(next + room), ..limit }).unwrap();
        let result = probe::open(Choice::Auto, &pool, &UringOptions::default());
        setrlimit(Resource::Nofile, limit).unwrap();
        match result {
            Ok(driver) => {
                assert_eq!(driver.name(), "uring");
                break;
            }
            Err(OpenError::Exhausted { .. }) => refused += 1,
            Err(error) => panic!("with room for {room}: {error}"),
        }
    }
    assert!(refused >= 2, "a ring and an eventfd at least");
}

#[test]
fn with_locked_memory_the_arena_is_registered_once_and_let_go() {
    let pool = BufferPool::new(1 << 20, 1000).unwrap();
    let driver = open_tokio_uring(&pool);
    assert!(driver.registered(), "1 MiB fits the usual limit of 8 MiB");
    assert_eq!(Arc::strong_count(&pool), 2);
    drop(driver);
    assert_eq!(Arc::strong_count(&pool), 1);
    let driver = open_uring_zero_copy(&pool);
    assert!(driver.modes().registered_arena);
    assert_eq!(Arc::strong_count(&pool), 2);
    drop(driver);
    assert_eq!(Arc::strong_count(&pool), 1);
}
