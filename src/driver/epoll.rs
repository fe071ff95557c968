//! The driver for places where io_uring is not allowed: readiness from epoll, plain system calls.
//!
//! Owns:     the sockets, and each frame from `send` until its last byte is in the socket.
//! Thread:   the shard's.
//! Bounds:   one frame and one pending read per connection; one input buffer for all of them.
//! Never:    allocates once its tables have grown; waits while it has something to report.
//!
//! Level-triggered: an event that was not dealt with comes again, so fairness is one read of at
//! most `INPUT_BYTES` per connection and turn. Write interest is on only while a frame is stuck.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use socket2::Socket;

use super::cursor::Cursor;
use super::{ConnectionError, Driver, Event, Frame, SocketOptions, Step, Waker, socket};
use crate::ids::ConnectionId;

/// Bytes of one read. An answer to a produce request is far smaller; metadata of a large cluster
/// takes a few turns.
const INPUT_BYTES: usize = 64 * 1024;
/// Pieces of one `sendmsg`: 1 KiB of stack, well below the kernel's limit of 1024 (`IOV_MAX`).
const SLICES_MAX: usize = 64;
/// Events of one `epoll_wait`; more connections than this are served in the next turn.
const EVENTS_MAX: usize = 64;
/// Reads of what is left in a socket whose sending side broke: 16 MiB, above any receive buffer.
const LAST_READS_MAX: u32 = 256;
/// What `epoll_wait` counts in.
const TICK: Duration = Duration::from_millis(1);
/// The longest single `epoll_wait`; longer deadlines take several. Its argument is 32 bits.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// The mark of the waker among the events. No connection has it: slots are table indexes.
const WAKER: u64 = u64::MAX;

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    socket: Socket,
    connected: bool,
    /// The frame under way.
    frame: Option<Frame>,
    cursor: Cursor,
    /// Why nothing can be sent any more; what has arrived is still reported before the end.
    broken: Option<io::Error>,
    last_reads: u32,
    /// What epoll watches for.
    interest: EventFlags,
}

impl Connection {
    /// Writes as much of the frame as the socket takes; whether the rest has to wait.
    fn write(&mut self) -> rustix::io::Result<bool> {
        let Some(frame) = &self.frame else { return Ok(false) };
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let (count, bytes) = self.cursor.gather(frame, &mut slices);
            if count == 0 {
                return Ok(false);
            }
            // With more to follow, the kernel need not close a segment for each call.
            let more = if count == SLICES_MAX { SendFlags::MORE } else { SendFlags::empty() };
            let flags = SendFlags::NOSIGNAL | more;
            let mut control = SendAncillaryBuffer::default();
            match sendmsg(&self.socket, &slices[..count], &mut control, flags) {
                Ok(sent) if !self.cursor.advance(frame, sent) => return Ok(false),
                Ok(sent) if sent < bytes => return Ok(true),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What happened outside `wait` and is reported by the next one.
#[derive(Debug)]
enum Report {
    Connected(ConnectionId),
    Sent { connection: ConnectionId, frame: Frame, complete: bool },
    Closed(ConnectionId, ConnectionError),
}

/// I/O by epoll.
pub struct EpollDriver {
    epoll: OwnedFd,
    event: Arc<OwnedFd>,
    /// By [`ConnectionId::slot`].
    connections: Vec<Option<Connection>>,
    reports: VecDeque<Report>,
    /// The last turn reported without asking the kernel; two in a row would starve the sockets.
    skipped: bool,
    /// The last look left something in the kernel: more events, or more bytes of a connection.
    more: bool,
    events: Vec<epoll::Event>,
    input: Box<[u8]>,
}

impl EpollDriver {
    /// A driver without connections. Allocates its input buffer.
    ///
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let event = Arc::new(socket::wake_descriptor()?);
        epoll::add(&epoll, &*event, EventData::new_u64(WAKER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            event,
            connections: Vec::new(),
            reports: VecDeque::with_capacity(16),
            skipped: false,
            more: false,
            events: Vec::with_capacity(EVENTS_MAX),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
        })
    }

    fn open(
        &self,
        id: ConnectionId,
        address: SocketAddr,
        options: &SocketOptions,
    ) -> io::Result<Connection> {
        let socket = socket::connect(address, options)?;
        let interest = EventFlags::OUT;
        epoll::add(&self.epoll, &socket, EventData::new_u64(mark(id)), interest)?;
        Ok(Connection {
            id,
            socket,
            connected: false,
            frame: None,
            cursor: Cursor::default(),
            broken: None,
            last_reads: LAST_READS_MAX,
            interest,
        })
    }

    /// Takes the connection out of the table and reports its end; the descriptor closes here.
    fn close(&mut self, id: ConnectionId, error: ConnectionError) {
        let Some(slot) = self.connections.get_mut(id.slot as usize) else { return };
        let Some(mut closed) = slot.take_if(|found| found.id == id) else { return };
        if let Some(frame) = closed.frame.take() {
            self.reports.push_back(Report::Sent { connection: id, frame, complete: false });
        }
        // Both say explicitly what closing says implicitly: a child between fork and exec still
        // holds the descriptor, and would keep the connection and its events alive.
        let _ = epoll::delete(&self.epoll, &closed.socket);
        let _ = closed.socket.shutdown(Shutdown::Both);
        self.reports.push_back(Report::Closed(id, error));
    }

    fn deliver(&mut self, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let some = !self.reports.is_empty();
        while let Some(report) = self.reports.pop_front() {
            handle(match report {
                Report::Connected(id) => Event::Connected(id),
                Report::Sent { connection, frame, complete } => {
                    Event::Sent { connection, frame, complete }
                }
                Report::Closed(id, error) => Event::Closed(id, error),
            });
        }
        some
    }

    /// Fills `events`; returns with none when `until` has passed.
    ///
    /// epoll counts in milliseconds, so it waits for the whole ones, and `ppoll` on the epoll
    /// descriptor for the rest. (`epoll_pwait2` does both but is younger than the kernels and the
    /// system call filters that this driver is for.)
    fn poll(&mut self, until: Option<Instant>) {
        loop {
            let rest = until.map(|until| until.saturating_duration_since(crate::clock::now()));
            let mut over = rest.is_some_and(|rest| rest.is_zero());
            if let Some(rest) = rest.filter(|rest| *rest < TICK && !over) {
                let mut ready = [PollFd::new(&self.epoll, PollFlags::IN)];
                over = rustix::event::poll(&mut ready, Some(&timespec(rest))) == Ok(0);
            }
            let ticks = rest
                .map(|rest| timespec(Duration::from_millis(rest.min(WAIT_MAX).as_millis() as u64)));
            self.events.clear();
            let events = spare_capacity(&mut self.events);
            match epoll::wait(&self.epoll, events, ticks.as_ref()) {
                Ok(0) if !over => {}
                Ok(_) => return,
                // A signal handler ran; the deadline is looked at again.
                Err(Errno::INTR) => {}
                Err(error) => unreachable!("epoll_wait on a descriptor of its own: {error}"),
            }
        }
    }

    fn handle_ready(&mut self, ready: epoll::Event, handle: &mut dyn FnMut(Event<'_>)) {
        let (mark, flags) = (ready.data.u64(), ready.flags);
        if mark == WAKER {
            let mut count = [0; 8];
            let _ = rustix::io::read(&*self.event, &mut count);
            return;
        }
        let id = ConnectionId { slot: mark as u32, generation: (mark >> 32) as u32 };
        let Some(connection) = find(&mut self.connections, id) else { return };
        if !connection.connected {
            self.finish_connect(id);
            self.deliver(handle);
            return;
        }
        if flags.contains(EventFlags::OUT) {
            self.advance(id);
            self.deliver(handle);
        }
        if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
            self.receive(id, handle);
            self.deliver(handle);
        }
    }

    fn finish_connect(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        if let Err(error) = socket::check_connected(&connection.socket) {
            return self.close(id, ConnectionError { step: Step::Connect, error });
        }
        connection.connected = true;
        self.reports.push_back(Report::Connected(id));
        self.advance(id);
    }

    /// Goes on with the frame, and watches for room in the socket while it is stuck.
    fn advance(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        let stuck = match connection.write() {
            Ok(stuck) => stuck,
            Err(error) => return self.fail_send(id, error.into()),
        };
        if !stuck && let Some(frame) = connection.frame.take() {
            self.reports.push_back(Report::Sent { connection: id, frame, complete: true });
        }
        let wanted = if stuck { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        if let Err(error) = watch(&self.epoll, connection, wanted) {
            self.fail_send(id, error);
        }
    }

    /// Gives the frame back, and lets the socket run dry: answers that arrived before the peer cut
    /// the connection still count.
    fn fail_send(&mut self, id: ConnectionId, error: io::Error) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        if let Some(frame) = connection.frame.take() {
            self.reports.push_back(Report::Sent { connection: id, frame, complete: false });
        }
        connection.broken = Some(error);
        // From here on the socket polls readable, to its end. An error says that it does already.
        let _ = connection.socket.shutdown(Shutdown::Both);
        if let Err(error) = watch(&self.epoll, connection, EventFlags::IN) {
            self.close(id, ConnectionError { step: Step::Send, error });
        }
    }

    /// One read, so that no connection keeps the others waiting.
    fn receive(&mut self, id: ConnectionId, handle: &mut dyn FnMut(Event<'_>)) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        if connection.broken.is_some() {
            connection.last_reads -= 1;
        }
        let (step, error) = match rustix::io::read(&connection.socket, &mut *self.input) {
            Ok(bytes) if bytes > 0 && connection.last_reads > 0 => {
                self.more |= bytes == INPUT_BYTES || connection.broken.is_some();
                return handle(Event::Received(id, &self.input[..bytes]));
            }
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(_) => (Step::PeerClosed, io::ErrorKind::UnexpectedEof.into()),
            Err(error) => (Step::Receive, error.into()),
        };
        let (step, error) = match connection.broken.take() {
            Some(error) => (Step::Send, error),
            None => (step, error),
        };
        self.close(id, ConnectionError { step, error });
    }
}

impl Driver for EpollDriver {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn connect(&mut self, id: ConnectionId, address: SocketAddr, options: &SocketOptions) {
        let slot = id.slot as usize;
        if slot >= self.connections.len() {
            self.connections.resize_with(slot + 1, || None);
        }
        assert!(self.connections[slot].is_none(), "{id:?}: the slot's last life has not ended");
        match self.open(id, address, options) {
            Ok(connection) => self.connections[slot] = Some(connection),
            Err(error) => {
                let error = ConnectionError { step: Step::Connect, error };
                self.reports.push_back(Report::Closed(id, error));
            }
        }
    }

    fn send(&mut self, id: ConnectionId, frame: Frame) {
        let found = find(&mut self.connections, id).filter(|found| found.broken.is_none());
        let Some(connection) = found else {
            return self.reports.push_back(Report::Sent { connection: id, frame, complete: false });
        };
        assert!(connection.frame.is_none(), "{id:?}: a frame is under way");
        connection.frame = Some(frame);
        connection.cursor = Cursor::default();
        if connection.connected {
            self.advance(id);
        }
    }

    fn shutdown(&mut self, id: ConnectionId) {
        let error = io::ErrorKind::ConnectionAborted.into();
        self.close(id, ConnectionError { step: Step::Shutdown, error });
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.event))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }

    fn hand_over(&mut self, _watched: bool) -> bool {
        !self.reports.is_empty() || self.more
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        let reported = self.deliver(handle);
        if reported && !self.skipped {
            self.skipped = true;
            return;
        }
        self.skipped = false;
        self.poll(if reported { Some(crate::clock::now()) } else { until });
        self.more = self.events.len() == EVENTS_MAX;
        for index in 0..self.events.len() {
            self.handle_ready(self.events[index], handle);
        }
    }
}

fn find(connections: &mut [Option<Connection>], id: ConnectionId) -> Option<&mut Connection> {
    connections.get_mut(id.slot as usize)?.as_mut().filter(|found| found.id == id)
}

fn watch(epoll: &OwnedFd, connection: &mut Connection, wanted: EventFlags) -> io::Result<()> {
    if wanted != connection.interest {
        let label = EventData::new_u64(mark(connection.id));
        epoll::modify(epoll, &connection.socket, label, wanted)?;
        connection.interest = wanted;
    }
    Ok(())
}

/// What epoll gives back with an event: an event of an earlier life of the slot is recognised.
fn mark(id: ConnectionId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.slot)
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
}
