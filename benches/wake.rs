//! What waking a sleeping shard costs: CPU time of the thread that wakes (one write to an eventfd),
//! and the time until the driver's `wait` has returned on the other thread, for each driver.
//!
//! `cargo bench --bench wake`. The second figure is the scheduler's for the most part, and means
//! something only on a machine that has nothing else to do.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "of this file only the clock is used")]
mod measure;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc::channel;
use std::time::Duration;

use kuring::accumulator::buffer_pool::BufferPool;
use kuring::clock;
use kuring::driver::epoll::EpollDriver;
use kuring::driver::tokio_uring::TokioUringDriver;
use kuring::driver::uring::{UringDriver, UringOptions};
use kuring::driver::{Driver, Waker};

const WAKES: usize = 5000;
/// Before each wake the other thread gets so long to fall asleep.
const REST: Duration = Duration::from_micros(100);
/// In `running_at`, while the other thread has not run.
const ASLEEP: u64 = 0;

type Run = fn() -> Wakes;

struct Wakes {
    /// CPU time of the waking thread, for one.
    cpu: Duration,
    /// From before the write to the return of `wait`, sorted.
    until_running: Vec<u64>,
}

fn wakes<D: Driver>(open: impl FnOnce() -> D + Send) -> Wakes {
    let running_at = AtomicU64::new(ASLEEP);
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let running_at = &running_at;
        scope.spawn(move || {
            let mut driver = open();
            sender.send(driver.waker()).expect("the other side waits for it");
            for _ in 0..WAKES {
                driver.wait(None, &mut |event| panic!("nothing is connected: {event:?}"));
                running_at.store(clock::now_nanos(), Release);
            }
        });
        let waker = receiver.recv().expect("the driver opens");
        wake_all(&waker, running_at)
    })
}

fn wake_all(waker: &Waker, running_at: &AtomicU64) -> Wakes {
    let mut cpu = Duration::ZERO;
    let mut until_running = Vec::with_capacity(WAKES);
    for _ in 0..WAKES {
        let rested = clock::now() + REST;
        while clock::now() < rested {
            std::thread::yield_now();
        }
        let began = clock::now_nanos();
        let cpu_began = measure::thread_cpu();
        waker.wake();
        cpu += measure::thread_cpu() - cpu_began;
        let running = loop {
            match running_at.swap(ASLEEP, Acquire) {
                ASLEEP => std::thread::yield_now(),
                at => break at,
            }
        };
        until_running.push(running.saturating_sub(began));
    }
    until_running.sort_unstable();
    Wakes { cpu: cpu / WAKES as u32, until_running }
}

fn tokio_uring() -> TokioUringDriver {
    let pool = BufferPool::new(1 << 20, 16 << 10).expect("memory");
    TokioUringDriver::open(&pool).expect("io_uring")
}

fn uring() -> UringDriver {
    let pool = BufferPool::new(1 << 20, 16 << 10).expect("memory");
    UringDriver::open(&pool, &UringOptions::default()).expect("io_uring of Linux 6.0")
}

fn main() {
    let drivers: [(&str, Run); 3] = [
        ("uring", || wakes(uring)),
        ("epoll", || wakes(|| EpollDriver::new().expect("epoll"))),
        ("tokio-uring", || wakes(tokio_uring)),
    ];
    println!("{:<12} {:>12} {:>14} {:>14}", "driver", "waker, CPU", "running, p50", "p99");
    for (name, run) in drivers {
        let wakes = run();
        let at = |share: usize| wakes.until_running[WAKES * share / 100] as f64 / 1000.0;
        let cpu = wakes.cpu.as_nanos();
        println!("{name:<12} {cpu:>9} ns {:>11.1} us {:>11.1} us", at(50), at(99));
    }
}
