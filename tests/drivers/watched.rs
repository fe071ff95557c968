//! Drivers in somebody else's loop: between two looks the loop waits for the descriptor alone.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use kuring::accumulator::buffer_pool::BufferPool;
use kuring::driver::epoll::EpollDriver;
use kuring::driver::uring::{UringDriver, UringOptions};
use kuring::driver::{Driver, Event, Frame, SocketOptions, Waker};
use kuring::ids::ConnectionId;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::rig::{PATIENCE, Rig, Seen, now, single};
use crate::{Open, open_uring_with};

/// How a loop waits for a descriptor.
enum Loop {
    /// As long as it polls readable, each wait ends at once.
    Level,
    /// Only what makes it readable anew ends a wait, as in tokio and other runtimes.
    Edge(OwnedFd),
}

/// Waits for the driver's descriptor, and only then looks.
pub(crate) struct Watched<D> {
    driver: D,
    waits: Loop,
}

impl<D: Driver> Watched<D> {
    fn level(driver: D) -> Self {
        Self { driver, waits: Loop::Level }
    }

    fn edge(driver: D) -> Self {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let interest = EventFlags::IN | EventFlags::ET;
        let descriptor = driver.descriptor().expect("an embeddable driver has a descriptor");
        epoll::add(&set, descriptor, EventData::new_u64(0), interest).unwrap();
        Self { driver, waits: Loop::Edge(set) }
    }

    /// Whether the descriptor tells of something until then.
    fn is_told(&mut self, until: Option<Instant>) -> bool {
        loop {
            let rest = until.unwrap_or_else(|| now() + PATIENCE).saturating_duration_since(now());
            let rest =
                Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() };
            let ready = match &self.waits {
                Loop::Level => {
                    let descriptor = self.driver.descriptor().unwrap();
                    poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&rest))
                }
                Loop::Edge(set) => {
                    let mut found = Vec::with_capacity(1);
                    epoll::wait(set, spare_capacity(&mut found), Some(&rest))
                }
            };
            match ready {
                Ok(ready) => return ready > 0,
                Err(Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl<D: Driver> Driver for Watched<D> {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn connect(&mut self, id: ConnectionId, address: SocketAddr, options: &SocketOptions) {
        self.driver.connect(id, address, options);
    }

    fn send(&mut self, id: ConnectionId, frame: Frame) {
        self.driver.send(id, frame);
    }

    fn shutdown(&mut self, id: ConnectionId) {
        self.driver.shutdown(id);
    }

    fn waker(&self) -> Waker {
        self.driver.waker()
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        if !self.driver.hand_over(true) {
            self.is_told(until);
        }
        self.driver.wait(Some(now()), handle);
    }
}

fn uring(pool: &Arc<BufferPool>) -> UringDriver {
    let options = UringOptions { descriptor: true, ..UringOptions::default() };
    open_uring_with(pool, &options)
}

pub(crate) fn open_level_epoll(_: &Arc<BufferPool>) -> Watched<EpollDriver> {
    Watched::level(EpollDriver::new().unwrap())
}

pub(crate) fn open_edge_epoll(_: &Arc<BufferPool>) -> Watched<EpollDriver> {
    Watched::edge(EpollDriver::new().unwrap())
}

pub(crate) fn open_level_uring(pool: &Arc<BufferPool>) -> Watched<UringDriver> {
    Watched::level(uring(pool))
}

pub(crate) fn open_edge_uring(pool: &Arc<BufferPool>) -> Watched<UringDriver> {
    Watched::edge(uring(pool))
}

#[test]
fn a_ring_has_a_descriptor_only_when_asked_for_one() {
    assert!(Rig::new(crate::open_uring).driver.descriptor().is_none());
    assert!(Rig::new(uring).driver.descriptor().is_some());
}

/// One wake for each answer, and none for what the look itself does.
fn tells_once<D: Driver>(open: Open<Watched<D>>) {
    const ANSWERS: usize = 50;
    let mut rig = Rig::new(open);
    let (_, mut peer) = rig.pair(0, &SocketOptions::default());
    while rig.driver.is_told(Some(now())) {
        rig.turn(Some(now()));
    }
    for count in 1..=ANSWERS {
        std::io::Write::write_all(&mut peer, b"x").unwrap();
        assert!(rig.driver.is_told(None));
        rig.received_at_least(0, count);
        assert!(!rig.driver.driver.hand_over(true), "there is nothing more");
        assert!(!rig.driver.is_told(Some(now())), "the loop is woken for nothing");
    }
}

#[test]
fn a_loop_is_told_once_of_each_answer() {
    tells_once(open_level_uring);
    tells_once(open_edge_uring);
    tells_once(open_level_epoll);
}

/// The second one as well as the first: an eventfd that signals another one would lose it.
#[test]
fn a_loop_is_told_of_every_wake_from_another_thread() {
    for open in [open_level_uring as Open<_>, open_edge_uring] {
        let mut rig = Rig::new(open);
        for _ in 0..20 {
            while rig.driver.driver.hand_over(true) || rig.driver.is_told(Some(now())) {
                rig.turn(Some(now()));
            }
            let waker = rig.driver.waker();
            let other = std::thread::spawn(move || waker.wake());
            assert!(rig.driver.is_told(None));
            other.join().unwrap();
        }
    }
}

/// What is sent patiently is not told of; a look has it, without asking the kernel.
#[test]
fn what_was_sent_patiently_is_held_back_until_a_look() {
    let mut rig = Rig::new(uring);
    let (id, _peer) = rig.pair(0, &SocketOptions::default());
    assert!(!rig.driver.holds_back());
    rig.driver.send(id, Frame { patient: true, ..single(&rig, 1, 1000).frame });
    rig.seen.clear();
    assert!(!rig.driver.hand_over(true) && rig.driver.holds_back());
    rig.turn(Some(now()));
    assert!(matches!(rig.seen[..], [Seen::Sent(_, _, true)]), "{:?}", rig.seen);
    assert!(!rig.driver.holds_back());
}

/// What arrives while nobody watches is told of as soon as somebody does.
#[test]
fn who_begins_to_watch_late_misses_nothing() {
    let mut rig = Rig::new(uring);
    let (_, mut peer) = rig.pair(0, &SocketOptions::default());
    assert!(!rig.driver.hand_over(false));
    std::io::Write::write_all(&mut peer, b"x").unwrap();
    let mut watched = Watched::level(rig.driver);
    assert!(watched.is_told(None));
    let mut bytes = 0;
    watched.driver.wait(Some(now()), &mut |event| {
        bytes += if let Event::Received(_, piece) = event { piece.len() } else { 0 };
    });
    assert_eq!(bytes, 1);
    assert!(!watched.driver.hand_over(true) && !watched.is_told(Some(now())));
}
