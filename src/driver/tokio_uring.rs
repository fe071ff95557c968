//! The io_uring driver through tokio-uring: its ring, its runtime, our submission entries.
//!
//! Owns:     the runtime, the sockets, the input buffers, and each frame until its completion.
//! Thread:   the shard's, from `open` to drop; not inside another runtime's task.
//! Bounds:   one operation in flight per connection and direction.
//! Never:    drops an operation that is under way: a dropped read would take bytes with it when it
//!           completes, and an address that the kernel holds must stay good.
//!
//! Each `wait` is one `block_on` of a `Turn`. There are no tasks: the operations lie in the
//! connections and are polled where they lie, so nothing is allocated per request and nothing waits
//! in a queue between two tasks.
//!
//! tokio-uring hands its submissions to the kernel only when the runtime parks, so a turn parks
//! at least once unless it has something to report, also when its deadline has passed already.
//!
//! # Why unsafe
//! Registered memory is named by address and length; `IoBufMut` promises both to tokio-uring. The
//! probe pushes one entry to a ring of its own, because tokio-uring hides what the kernel answers.

#![expect(unsafe_code, reason = "the arena is lent to the kernel; see `Why unsafe`")]

mod alarm;
mod connection;
mod operation;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use io_uring_06::opcode::{Nop, PollAdd, Recv, Send, SendMsg, WriteFixed};
use io_uring_06::{IoUring, Probe};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio_uring::Runtime;
use tokio_uring::buf::fixed::FixedBufRegistry;
use tokio_uring::buf::{IoBuf, IoBufMut};

use self::alarm::{Alarm, Board, drain_edges};
use self::connection::Connection;
use super::{
    ConnectionError, Driver, Event, Frame, SocketOptions, Step, Waker, memlock, sigpipe, socket,
};
use crate::accumulator::buffer_pool::BufferPool;
use crate::ids::ConnectionId;

/// Submission entries: two operations for each of 64 connections in one turn; more than that is
/// handed to the kernel early.
const ENTRIES: u32 = 128;
/// Completion entries: two operations for each of 512 connections before the kernel has to keep
/// some aside. Both rings together are 28 KiB, because recent kernels (6.18 does) count them as
/// locked memory, and 64 KiB of that is a common limit in containers.
const COMPLETIONS: u32 = 1024;
/// How long drop waits for the kernel to hand back what it holds. Every socket is shut down by
/// then, so this is never reached unless something is wrong with the kernel.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The arena as tokio-uring wants to see a buffer. Keeps the pool alive while it is registered.
struct ArenaBuffer(Arc<BufferPool>);

// SAFETY: obligation: the address stays the same and good for `bytes_total` while the value lives,
// wherever the value moves. The arena is one mapping, unmapped when the pool's last `Arc` goes.
// Test: `a_dropped_driver_leaves_the_memory_of_frames_intact`.
unsafe impl IoBuf for ArenaBuffer {
    fn stable_ptr(&self) -> *const u8 {
        self.0.arena().base().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        0
    }

    fn bytes_total(&self) -> usize {
        self.0.arena().bytes()
    }
}

// SAFETY: obligation: as for `IoBuf`, and writable. The mapping is writable; no operation of this
// driver lets the kernel write to it, and nobody checks the buffer out of the registry.
// Test: `a_dropped_driver_leaves_the_memory_of_frames_intact`.
unsafe impl IoBufMut for ArenaBuffer {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.arena().base().as_ptr()
    }

    unsafe fn set_init(&mut self, _bytes: usize) {}
}

/// I/O by io_uring, through tokio-uring.
pub struct TokioUringDriver {
    turn: Turn,
    /// Last: what the turn holds of it goes first. None only while being dropped.
    runtime: Option<Runtime>,
}

/// What a turn works on; the runtime beside it drives the turn.
struct Turn {
    /// By [`ConnectionId::slot`].
    connections: Vec<Option<Connection>>,
    board: Arc<Board>,
    /// The slots that have news in this turn.
    news: Vec<u32>,
    /// Frames and connections that never came as far as the ring.
    reports: VecDeque<Report>,
    event: Arc<OwnedFd>,
    wake: AsyncFd<Arc<OwnedFd>>,
    alarm: Alarm,
    /// The last wait ended without parking.
    skipped: bool,
    registered: Option<Range<usize>>,
}

enum Report {
    Sent(ConnectionId, Frame),
    Closed(ConnectionId, ConnectionError),
}

impl TokioUringDriver {
    /// A ring with the pool's arena registered, or without if the limit on locked memory forbids
    /// it; then one warning says what to do. To be called on the thread that will use it.
    ///
    /// # Errors
    /// What the kernel said: no io_uring here, or no memory or descriptor left. See
    /// [`probe`](super::probe).
    pub fn open(pool: &Arc<BufferPool>) -> io::Result<Self> {
        let mut ring = io_uring_06::IoUring::builder();
        ring.dontfork().setup_cqsize(COMPLETIONS);
        try_ring(&ring)?;
        let mut builder = tokio_uring::builder();
        let runtime = Runtime::new(builder.entries(ENTRIES).uring_builder(&ring))?;
        let event = Arc::new(socket::wake_descriptor()?);
        let (wake, alarm) = runtime.block_on(async {
            let wake = alarm::watch(Arc::clone(&event))?;
            io::Result::Ok((wake, Alarm::new()?))
        })?;
        let registered = register(&runtime, pool);
        let turn = Turn {
            connections: Vec::new(),
            board: Arc::default(),
            news: Vec::with_capacity(16),
            reports: VecDeque::with_capacity(16),
            event,
            wake,
            alarm,
            skipped: false,
            registered,
        };
        Ok(Self { turn, runtime: Some(runtime) })
    }

    /// Whether the arena is registered: a frame of one batch then goes out by `WRITE_FIXED`.
    pub fn registered(&self) -> bool {
        self.turn.registered.is_some()
    }
}

/// Does what tokio-uring will do, and says what the kernel answers: tokio-uring ignores errors of
/// the submitting call, and leaks its runtime when the set-up fails.
fn try_ring(builder: &io_uring_06::Builder) -> io::Result<()> {
    let mut ring: IoUring = builder.build(8)?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known)?;
    let codes = [Send::CODE, SendMsg::CODE, WriteFixed::CODE, Recv::CODE, PollAdd::CODE];
    // Without fast poll (5.7), each read that waits would hold a thread of the kernel.
    if !ring.params().is_feature_fast_poll() || !codes.iter().all(|code| known.is_supported(*code))
    {
        return Err(Errno::NOSYS.into());
    }
    let entry = Nop::new().build();
    // SAFETY: obligation: what the entry names is good until it completes. A no-op names nothing.
    // Test: `the_probe_opens_a_ring_or_says_why_not`.
    let pushed = unsafe { ring.submission().push(&entry) };
    pushed.map_err(|_| io::ErrorKind::OutOfMemory)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next().map(|entry| entry.result()) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Registers the arena as buffer index 0; the addresses it covers, if that worked.
fn register(runtime: &Runtime, pool: &Arc<BufferPool>) -> Option<Range<usize>> {
    if sigpipe::would_kill() {
        tracing::info!("SIGPIPE would end this process, so WRITE_FIXED is not used on sockets");
        return None;
    }
    let need = pool.arena().bytes() as u64;
    let result = match memlock::refusal(need) {
        Some(error) => Err(error),
        None => {
            let registry = FixedBufRegistry::new([ArenaBuffer(Arc::clone(pool))]);
            runtime.block_on(async { registry.register() })
        }
    };
    if let Err(error) = result {
        memlock::warn_unregistered(need, &error);
        return None;
    }
    let start = pool.arena().base().addr().get();
    Some(start..start + pool.arena().bytes())
}

impl Driver for TokioUringDriver {
    fn name(&self) -> &'static str {
        "tokio-uring"
    }

    fn connect(&mut self, id: ConnectionId, address: SocketAddr, options: &SocketOptions) {
        let turn = &mut self.turn;
        let slot = id.slot as usize;
        if slot >= turn.connections.len() {
            turn.connections.resize_with(slot + 1, || None);
        }
        assert!(turn.connections[slot].is_none(), "{id:?}: the slot's last life has not ended");
        match socket::connect(address, options) {
            Ok(socket) => {
                turn.connections[slot] = Some(Connection::new(id, socket, &turn.board));
                turn.board.put(id.slot);
            }
            Err(error) => {
                let error = ConnectionError { step: Step::Connect, error };
                turn.reports.push_back(Report::Closed(id, error));
            }
        }
    }

    fn send(&mut self, id: ConnectionId, frame: Frame) {
        let turn = &mut self.turn;
        let found = turn.find(id).filter(|found| found.ending.is_none());
        let Some(connection) = found else {
            return turn.reports.push_back(Report::Sent(id, frame));
        };
        let idle = connection.queued.is_none() && connection.sending.is_none();
        assert!(idle, "{id:?}: a frame is under way");
        connection.queued = Some(frame);
        turn.board.put(id.slot);
    }

    fn shutdown(&mut self, id: ConnectionId) {
        let Some(connection) = self.turn.find(id) else { return };
        let error = io::ErrorKind::ConnectionAborted.into();
        // Overrides a failure that is being drained: nobody wants to hear of this connection again.
        connection.ending = None;
        connection.end(Step::Shutdown, error);
        self.turn.board.put(id.slot);
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.turn.event))
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        let Self { turn, runtime } = self;
        let runtime = runtime.as_ref().expect("there until drop");
        let (mut until, mut first, mut over) = (until, true, false);
        let mut reported = false;
        runtime.block_on(poll_fn(|cx| {
            reported |= turn.advance(cx, handle);
            if first && reported && turn.skipped {
                // The last wait did not park either; without parking nothing reaches the kernel.
                until = Some(crate::clock::now());
            } else if reported || over {
                turn.skipped = first;
                return Poll::Ready(());
            }
            if let Some(until) = until {
                // An alarm that rang before the first park says nothing: it may be an old one, and
                // nothing was submitted yet.
                over = turn.alarm.poll(cx, until) && !first;
                if over {
                    // Completions that arrived together with the deadline are dispatched by a task
                    // of the runtime, which runs after this one.
                    cx.waker().wake_by_ref();
                }
            }
            first = false;
            Poll::Pending
        }));
    }
}

impl Drop for TokioUringDriver {
    /// Waits until the kernel has handed everything back. What it does not hand back in time is
    /// leaked on purpose, runtime included: tokio-uring's own drop frees the memory of abandoned
    /// operations before their completions arrive.
    fn drop(&mut self) {
        for slot in 0..self.turn.connections.len() {
            if let Some(id) = self.turn.connections[slot].as_ref().map(|found| found.id) {
                self.shutdown(id);
            }
        }
        let until = crate::clock::now() + DRAIN_MAX;
        while self.turn.connections.iter().any(Option::is_some) {
            if crate::clock::now() >= until {
                tracing::error!(
                    "the kernel did not hand all operations back; their memory is lost"
                );
                mem::forget(self.runtime.take());
                mem::forget(mem::take(&mut self.turn.connections));
                return;
            }
            self.wait(Some(until), &mut |_| {});
        }
    }
}

impl Turn {
    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot as usize)?.as_mut().filter(|found| found.id == id)
    }

    /// Starts what is to be started and reports what there is; whether there was anything.
    fn advance(&mut self, cx: &mut Context<'_>, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let mut reported = drain_edges(&self.wake, cx);
        while let Some(report) = self.reports.pop_front() {
            reported = true;
            handle(match report {
                Report::Sent(connection, frame) => {
                    Event::Sent { connection, frame, complete: false }
                }
                Report::Closed(id, error) => Event::Closed(id, error),
            });
        }
        self.board.swap(cx.waker(), &mut self.news);
        for &slot in &self.news {
            let Some(connection) = &mut self.connections[slot as usize] else { continue };
            reported |= connection.advance(self.registered.as_ref(), handle);
            if let Some(error) = connection.finished() {
                let id = connection.id;
                // The last reference to the socket: the descriptor closes here.
                self.connections[slot as usize] = None;
                handle(Event::Closed(id, error));
                reported = true;
            }
        }
        reported
    }
}
