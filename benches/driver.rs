//! What a request costs in each driver: CPU time of the sending thread per request and answer, over
//! loopback, one at a time. `cargo bench --bench driver`
//!
//! The time includes the kernel's, and on loopback the kernel delivers to the peer in the sender's
//! time, so only differences between the drivers mean anything; `taskset -c 1` makes them steadier.
//! An argument names the one driver to run, for a profiler. System calls per request, of 205,000
//! requests: `strace -f -c -e trace=io_uring_enter target/release/deps/driver-* uring`.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kuring::accumulator::buffer_pool::{BufferIndex, BufferPool, HEAD_ROOM_BYTES};
use kuring::driver::epoll::EpollDriver;
use kuring::driver::tokio_uring::TokioUringDriver;
use kuring::driver::uring::{UringDriver, UringOptions};
use kuring::driver::{Driver, Event, Frame, Part, SocketOptions};
use kuring::ids::ConnectionId;
use rustix::time::{ClockId, clock_gettime};

const BATCH_BYTES: usize = 16 << 10;
const ANSWER_BYTES: usize = 60;
const REQUESTS: u32 = 20_000;
const ROUNDS: usize = 5;
/// CPU and wall nanoseconds per request of so many batches.
type Run = fn(usize) -> (u64, u64);
const ID: ConnectionId = ConnectionId { slot: 0, generation: 1 };

fn main() {
    println!("{:<24} {:>10} {:>16} {:>16}", "driver", "batches", "cpu ns/request", "ns/request");
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let runs: [(&str, Run); 6] = [
        ("uring", |batches| run_uring(batches, &UringOptions::default())),
        // On loopback this gives up after eight requests; on a device it shows what it saves.
        ("uring-zerocopy", |batches| {
            run_uring(batches, &UringOptions { zero_copy: true, ..UringOptions::default() })
        }),
        ("uring-sqpoll", |batches| {
            let sqpoll = Some(Duration::from_millis(1));
            run_uring(batches, &UringOptions { sqpoll, ..UringOptions::default() })
        }),
        ("epoll", |batches| run(batches, |_| EpollDriver::new().expect("epoll"))),
        ("tokio-uring", |batches| {
            run(batches, |pool| TokioUringDriver::open(pool).expect("io_uring"))
        }),
        // Registered memory of another pool: every frame takes the unregistered way.
        ("tokio-uring-unregistered", |batches| {
            let other = BufferPool::new(1 << 16, 1000).expect("memory");
            run(batches, |_| TokioUringDriver::open(&other).expect("io_uring"))
        }),
    ];
    for batches in [1, 8] {
        let mut results: [Vec<_>; 6] = Default::default();
        // Interleaved, so that whatever else runs meets all of them.
        for _ in 0..ROUNDS {
            for ((name, run), result) in runs.iter().zip(&mut results) {
                if only.as_ref().is_none_or(|only| only == name) {
                    result.push(run(batches));
                }
            }
        }
        for ((name, _), mut result) in runs.iter().zip(results) {
            result.sort_unstable();
            if let Some((cpu, wall)) = result.get(result.len() / 2) {
                println!("{name:<24} {batches:>10} {cpu:>16} {wall:>16}");
            }
        }
    }
}

fn run_uring(batches: usize, options: &UringOptions) -> (u64, u64) {
    run(batches, |pool| UringDriver::open(pool, options).expect("io_uring of Linux 6.0"))
}

/// CPU and wall nanoseconds per request.
fn run<D: Driver>(batches: usize, open: impl FnOnce(&Arc<BufferPool>) -> D) -> (u64, u64) {
    let pool = BufferPool::new(1 << 20, BATCH_BYTES).expect("memory");
    let mut driver = open(&pool);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let peer = thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("the driver connects");
        peer.set_nodelay(true).expect("a TCP socket");
        let mut request = vec![0; batches * BATCH_BYTES];
        while peer.read_exact(&mut request).is_ok() {
            if peer.write_all(&request[..ANSWER_BYTES]).is_err() {
                return;
            }
        }
    });
    driver.connect(ID, address, &SocketOptions::default());
    let buffers: Vec<_> = (0..batches).map(|_| claim(&pool)).collect();
    let mut frame = Some(Frame::default());
    for _ in 0..500 {
        request(&mut driver, &pool, &buffers, &mut frame);
    }
    let (cpu, wall) = (nanos(ClockId::ThreadCPUTime), nanos(ClockId::Monotonic));
    for _ in 0..REQUESTS {
        request(&mut driver, &pool, &buffers, &mut frame);
    }
    let per_request = |clock, start| (nanos(clock) - start) / u64::from(REQUESTS);
    let result = (per_request(ClockId::ThreadCPUTime, cpu), per_request(ClockId::Monotonic, wall));
    drop(driver);
    peer.join().expect("the peer ends with its connection");
    result
}

fn claim(pool: &BufferPool) -> BufferIndex {
    assert!(pool.try_reserve(pool.cost(BATCH_BYTES)), "the pool is large enough");
    pool.claim_reserved(BATCH_BYTES).expect("reserved")
}

fn request<D: Driver>(
    driver: &mut D,
    pool: &Arc<BufferPool>,
    buffers: &[BufferIndex],
    frame: &mut Option<Frame>,
) {
    let mut next = frame.take().expect("the last one came back");
    next.clear();
    // As a shard says of a request that is followed by nothing but its answer.
    next.patient = true;
    for &buffer in buffers {
        next.parts.push(Part::Lent(pool.lend(buffer, HEAD_ROOM_BYTES, BATCH_BYTES)));
    }
    driver.send(ID, next);
    let mut answered = 0;
    while frame.is_none() || answered < ANSWER_BYTES {
        // With a deadline, as a shard has one nearly always.
        let until = kuring::clock::now() + Duration::from_millis(5);
        driver.wait(Some(until), &mut |event| match event {
            Event::Sent { frame: back, .. } => *frame = Some(back),
            Event::Received(_, bytes) => answered += bytes.len(),
            Event::Connected(_) => {}
            Event::Closed(_, error) => panic!("{error}"),
        });
    }
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
