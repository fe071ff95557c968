//! The io_uring driver: its own ring, one system call per turn.
//!
//! Owns:     the ring, the input buffers, the sockets, and each frame until its last completion.
//! Thread:   the shard's, from `open` to drop; the kernel accepts submissions of no other.
//! Bounds:   one `io_uring_enter` per `wait` that has something to submit or to wait for, none
//!           otherwise; see `ring` for the size of the completion queue.
//! Never:    blocks outside `wait`; lets the kernel hold memory that is freed.
//!
//! A `wait` submits everything that was begun since the last one and waits in the same call. What
//! the kernel has to do on this thread is done in there too (`IORING_SETUP_DEFER_TASKRUN`), so
//! nothing interrupts the shard between two waits; whether there is such work stands in shared
//! memory, so a shard that spins looks without a system call.
//!
//! Receiving is one operation per connection that lasts (multishot), into buffers that all
//! connections share; so is watching the waker's eventfd, which is never read: each write is an
//! edge. This needs Linux 6.0.
//!
//! A [patient](Frame::patient) frame is sent quietly: the kernel tries at once, while it takes the
//! submission, and has nothing to say if all of it went into the socket. So the wait that submits
//! it goes on until something else happens, the answer for one, and a round trip is one system
//! call. What is left of a short send is sent as usual.
//!
//! Inside somebody else's loop (`UringOptions::descriptor`) an eventfd that is registered with the
//! ring polls readable while there is something for `wait` to report. The ring's own descriptor
//! will not do: it polls readable with work that is deferred, but that work wakes nobody who polls
//! (seen on Linux 6.18). The kernel signals the eventfd when it defers the first work, and when a
//! completion is posted; what has been looked at is taken out of it by one read, after the look,
//! before the loop waits. One eventfd cannot signal another from inside the kernel (it is put off,
//! and then lost: 6.18), so a waker writes to both, the one the ring watches and this one.
//!
//! Sending without a copy (`kuring.zerocopy`): the frame comes back, in `Sent`, only when the
//! kernel has let its pages go, which is when the peer has acknowledged them. Until then nothing
//! else is sent on that connection: it pays off for few large requests over long links only where
//! copying is what limits them.
#![deny(unsafe_code)]

mod connection;
mod input;
mod mark;
mod message;
mod ring;
mod zero_copy;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::cqueue;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use self::connection::{Connection, Sending};
use self::input::Input;
use self::mark::{Kind, Mark};
use self::ring::{Plain, Ring, Target};
use self::zero_copy::ZeroCopy;
use super::{ConnectionError, Driver, Event, Frame, SocketOptions, Step, Waker, memlock, socket};
use crate::accumulator::buffer_pool::BufferPool;
use crate::ids::ConnectionId;

/// How long drop waits for the kernel to hand back what it holds. Every socket is shut down by
/// then, so this is never reached unless something is wrong with the kernel.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How a ring is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UringOptions {
    /// Large sends go out without a copy where the kernel can (`kuring.zerocopy`). Registers the
    /// arena, which pins all of it.
    pub zero_copy: bool,
    /// A thread of the kernel submits, and sleeps after so long without work (`kuring.sqpoll`). It
    /// uses a core of its own until then.
    pub sqpoll: Option<Duration>,
    /// For somebody else's loop: the ring has a [descriptor](Driver::descriptor).
    pub descriptor: bool,
    /// Entries of the completion queue; for tests that let it run full.
    pub completions: Option<u32>,
}

/// What a ring came to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// The kernel's work for the shard is done in the shard's waits only (6.1).
    pub defer_taskrun: bool,
    /// Such work does not interrupt the shard, but is done in any system call of it (5.19).
    pub coop_taskrun: bool,
    /// A thread of the kernel submits.
    pub sqpoll: bool,
    /// The ring is known to the kernel by a number of the thread.
    pub registered_ring: bool,
    /// The first connections' descriptors are registered.
    pub registered_files: bool,
    /// The arena is registered. Only tried for `zero_copy`: nothing else uses it.
    pub registered_arena: bool,
    /// The kernel has sends without a copy (6.1).
    pub can_send_zero_copy: bool,
    /// Connections begin with sends without a copy.
    pub zero_copy: bool,
}

/// I/O by io_uring.
pub struct UringDriver {
    ring: Ring,
    input: Rc<Input>,
    /// By [`ConnectionId::slot`].
    connections: Vec<Option<Connection>>,
    /// What is reported by the next look rather than from a completion.
    reports: VecDeque<Report>,
    /// Connections with a quiet send, in the order of submission.
    quiet: Vec<ConnectionId>,
    /// How many of them are submitted; what the kernel had to say about those is in the queue.
    tried: usize,
    event: Arc<OwnedFd>,
    /// The eventfd that the kernel signals for completions, if anybody is to watch it.
    signal: Option<Arc<OwnedFd>>,
    /// There was a look at the completions since `signal` was taken back.
    looked: bool,
    /// The addresses of the registered arena.
    arena: Option<Range<usize>>,
    modes: Modes,
}

enum Report {
    Sent { connection: ConnectionId, frame: Frame, complete: bool },
    Closed(ConnectionId, ConnectionError),
}

impl UringDriver {
    /// A ring without connections. To be called on the thread that will use it.
    ///
    /// # Errors
    /// What the kernel said: no io_uring here, one older than Linux 6.0, or no memory or descriptor
    /// left. See [`probe`](super::probe).
    pub fn open(pool: &Arc<BufferPool>, options: &UringOptions) -> io::Result<Self> {
        let input = Rc::new(Input::new()?);
        let event = Arc::new(socket::wake_descriptor()?);
        let mut modes = Modes::default();
        let mut ring = Ring::open(options, &input, &mut modes)?;
        modes.zero_copy = options.zero_copy && modes.can_send_zero_copy;
        let arena = modes.zero_copy.then(|| register(&mut ring, pool)).flatten();
        modes.registered_arena = arena.is_some();
        let signal = options.descriptor.then(socket::wake_descriptor).transpose()?.map(Arc::new);
        if let Some(signal) = &signal {
            ring.register_signal(signal.as_raw_fd())?;
        }
        let mut driver = Self {
            ring,
            input,
            connections: Vec::new(),
            reports: VecDeque::with_capacity(16),
            quiet: Vec::with_capacity(16),
            tried: 0,
            event,
            signal,
            looked: false,
            arena,
            modes,
        };
        driver.watch_wakes();
        Ok(driver)
    }

    /// What the ring came to have.
    pub fn modes(&self) -> Modes {
        self.modes
    }

    /// Whether a connection still sends without a copy; it stops where the kernel copies anyway.
    pub fn sends_zero_copy(&self, id: ConnectionId) -> bool {
        let found = self.connections.get(id.slot as usize).and_then(Option::as_ref);
        found
            .is_some_and(|found| found.id == id && matches!(found.zero_copy(), ZeroCopy::On { .. }))
    }

    fn watch_wakes(&mut self) {
        let target = Target::plain(self.event.as_raw_fd());
        self.ring.push_plain(Plain::PollReadable, target, Mark::WAKE.word());
    }

    fn take_signal_back(&self) {
        let Some(signal) = &self.signal else { return };
        // It was not signalled: EAGAIN.
        let _ = rustix::io::read(&**signal, &mut [0; 8]);
    }

    fn deliver(&mut self, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let some = !self.reports.is_empty();
        while let Some(report) = self.reports.pop_front() {
            handle(match report {
                Report::Sent { connection, frame, complete } => {
                    Event::Sent { connection, frame, complete }
                }
                Report::Closed(id, error) => Event::Closed(id, error),
            });
        }
        some
    }

    /// Reports what has completed by now; whether there was anything.
    fn reap(&mut self, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let mut reported = false;
        // Counted before: what completes meanwhile is for the next look, or a flood would keep this
        // one from ending.
        for _ in 0..self.ring.ready() {
            let Some(entry) = self.ring.take() else { break };
            reported |= self.complete(&entry, handle);
        }
        reported
    }

    /// Deals with one completion. Everything is in order again before `handle` is called, which
    /// may panic.
    fn complete(&mut self, entry: &cqueue::Entry, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let Mark { kind, id } = Mark::of(entry.user_data());
        if kind == Kind::Wake {
            if !cqueue::more(entry.flags()) {
                self.watch_wakes();
            }
            return true;
        }
        let (ring, arena) = (&mut self.ring, self.arena.as_ref());
        let Some(connection) = find(&mut self.connections, id) else {
            unreachable!("{id:?}: {kind:?} completed after the end");
        };
        let mut reported = false;
        match kind {
            Kind::Wake => {}
            Kind::Connect => {
                if connection.complete_connect(ring) {
                    if let Sending::Done(frame) = connection.go_on(arena, ring) {
                        let report = Report::Sent { connection: id, frame, complete: true };
                        self.reports.push_back(report);
                    }
                    if connection.quiet {
                        self.quiet.push(id);
                    }
                    handle(Event::Connected(id));
                    reported = true;
                }
            }
            Kind::Send => {
                if let Sending::Done(frame) = connection.complete_send(entry, arena, ring) {
                    self.settle(id);
                    handle(Event::Sent { connection: id, frame, complete: true });
                    self.deliver(handle);
                    return true;
                }
            }
            Kind::Receive => {
                let wanted = connection.complete_receive(entry, ring);
                self.settle(id);
                if let Some(buffer) = cqueue::buffer_select(entry.flags()) {
                    let length = usize::try_from(entry.result()).unwrap_or(0);
                    let input = Rc::clone(&self.input);
                    input.hand_out(buffer, length, |bytes| {
                        if wanted {
                            handle(Event::Received(id, bytes));
                        }
                    });
                    reported = wanted;
                }
                return self.deliver(handle) || reported;
            }
            Kind::Cancel => connection.complete_cancel(entry),
        }
        self.settle(id);
        self.deliver(handle) || reported
    }

    /// Reports the quiet sends that went through: all that were tried and have not said otherwise
    /// in the completions, which have been taken. Whether there were any.
    fn conclude(&mut self, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let mut reported = false;
        while self.tried > 0 {
            self.tried -= 1;
            let id = self.quiet.remove(0);
            let found = find(&mut self.connections, id);
            let Some(frame) = found.and_then(Connection::conclude) else { continue };
            self.settle(id);
            handle(Event::Sent { connection: id, frame, complete: true });
            reported = true;
        }
        self.deliver(handle) || reported
    }

    fn has_quiet_end(&mut self) -> bool {
        let Self { quiet, connections, .. } = self;
        quiet.iter().any(|&id| find(connections, id).is_some_and(|found| found.is_ending()))
    }

    /// If the connection is ending: gives its frame back, and closes it, as far as the kernel is
    /// through with them.
    fn settle(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        if !connection.is_ending() {
            return;
        }
        if let Some(frame) = connection.frame_of_the_end() {
            self.reports.push_back(Report::Sent { connection: id, frame, complete: false });
        }
        if let Some(error) = connection.finished(&self.ring) {
            // The descriptor closes here.
            self.connections[id.slot as usize] = None;
            self.reports.push_back(Report::Closed(id, error));
        }
    }
}

/// Registers the arena as buffer index 0; the addresses it covers, if that worked.
fn register(ring: &mut Ring, pool: &Arc<BufferPool>) -> Option<Range<usize>> {
    let need = pool.arena().bytes() as u64;
    let result = memlock::refusal(need).map_or_else(|| ring.register_arena(pool), Err);
    if let Err(error) = result {
        memlock::warn_unregistered(need, &error);
        return None;
    }
    let start = pool.arena().base().addr().get();
    Some(start..start + pool.arena().bytes())
}

fn find(connections: &mut [Option<Connection>], id: ConnectionId) -> Option<&mut Connection> {
    connections.get_mut(id.slot as usize)?.as_mut().filter(|found| found.id == id)
}

impl Driver for UringDriver {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn connect(&mut self, id: ConnectionId, address: SocketAddr, options: &SocketOptions) {
        let slot = id.slot as usize;
        if slot >= self.connections.len() {
            self.connections.resize_with(slot + 1, || None);
        }
        assert!(self.connections[slot].is_none(), "{id:?}: the slot's last life has not ended");
        match socket::connect(address, options) {
            Ok(socket) => {
                let zero_copy = ZeroCopy::new(self.modes.zero_copy);
                let connection = Connection::new(id, socket, zero_copy, &mut self.ring);
                self.connections[slot] = Some(connection);
            }
            Err(error) => {
                let error = ConnectionError { step: Step::Connect, error };
                self.reports.push_back(Report::Closed(id, error));
            }
        }
    }

    fn send(&mut self, id: ConnectionId, frame: Frame) {
        let found = find(&mut self.connections, id).filter(|found| !found.is_ending());
        let Some(connection) = found else {
            return self.reports.push_back(Report::Sent { connection: id, frame, complete: false });
        };
        let sending = connection.send(frame, self.arena.as_ref(), &mut self.ring);
        if connection.quiet {
            self.quiet.push(id);
        }
        if let Sending::Done(frame) = sending {
            self.reports.push_back(Report::Sent { connection: id, frame, complete: true });
        }
    }

    fn shutdown(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        connection.shut_down(&mut self.ring);
        self.settle(id);
    }

    fn waker(&self) -> Waker {
        match &self.signal {
            Some(signal) => Waker::of_both(Arc::clone(&self.event), Arc::clone(signal)),
            None => Waker::new(Arc::clone(&self.event)),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.signal.as_ref().map(|signal| signal.as_fd())
    }

    fn hand_over(&mut self, watched: bool) -> bool {
        if self.ring.has_queued() {
            self.ring.enter(0, None);
        }
        if watched && mem::take(&mut self.looked) {
            self.take_signal_back();
        }
        // After that: who signalled before it left a mark that shows here, and who signals later
        // finds the descriptor silent.
        let more = self.ring.ready() > 0 || self.ring.has_deferred() || self.ring.is_stuck();
        more || !self.reports.is_empty()
    }

    fn holds_back(&self) -> bool {
        !self.quiet.is_empty()
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        self.looked = true;
        let mut reported = self.deliver(handle);
        loop {
            let mut rest = None;
            let mut over = reported || self.ring.ready() > 0;
            if let Some(until) = until.filter(|_| !over) {
                let left = until.saturating_duration_since(crate::clock::now());
                over = left.is_zero();
                rest = Some(left);
            }
            if !over {
                self.ring.enter(1, rest);
            } else if self.ring.has_queued() || self.ring.has_deferred() {
                self.ring.enter(0, None);
            }
            if self.tried < self.quiet.len() && self.ring.is_settled() {
                self.tried = self.quiet.len();
            }
            reported |= self.reap(handle);
            // Without a deadline that has passed, completions of no interest end nothing.
            let over = over && rest.is_some();
            if reported || over || self.has_quiet_end() {
                reported |= self.conclude(handle);
            }
            if reported || over {
                return;
            }
        }
    }
}

impl Drop for UringDriver {
    /// Waits until the kernel has handed everything back. What it does not hand back in time is
    /// leaked on purpose.
    fn drop(&mut self) {
        for slot in 0..self.connections.len() {
            if let Some(id) = self.connections[slot].as_ref().map(|found| found.id) {
                self.shutdown(id);
            }
        }
        let until = crate::clock::now() + DRAIN_MAX;
        while self.connections.iter().any(Option::is_some) {
            if crate::clock::now() >= until {
                tracing::error!(
                    "the kernel did not hand all operations back; their memory is lost"
                );
                // The input too, which receives may still write to.
                mem::forget(Rc::clone(&self.input));
                mem::forget(mem::take(&mut self.connections));
                return;
            }
            self.wait(Some(until), &mut |_| {});
        }
    }
}
