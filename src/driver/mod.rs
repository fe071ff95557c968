//! The seam between a shard and the kernel: sockets in, completions out, no Kafka.
//!
//! Thread:   the shard's; only a [`Waker`] may be used from elsewhere.
//! Bounds:   at most one frame per connection is in a driver (two sends could reorder).
//! Never:    drops a frame while the kernel may still read it; blocks outside `wait`.
//!
//! The drivers: [`uring`] (io_uring, Linux 6.0), [`tokio_uring`] (io_uring through tokio-uring),
//! [`epoll`] (where io_uring is not allowed). [`probe`] chooses.
#![deny(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::fd::BorrowedFd;

pub mod capabilities;
mod cursor;
pub mod dns;
pub mod epoll;
mod memlock;
pub mod probe;
mod sigpipe;
mod socket;
pub mod tokio_uring;
pub mod uring;

pub use crate::accumulator::frame::{Frame, Part};

use crate::ids::ConnectionId;

/// Socket options that are set before connecting. No delay and keep-alive are always on (NET-8).
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// `SO_SNDBUF` in bytes; None leaves the system's default.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` in bytes; None leaves the system's default.
    pub receive_buffer: Option<usize>,
}

/// In which step a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// While the TCP connection was being made.
    Connect,
    /// While bytes were being sent.
    Send,
    /// While bytes were being received.
    Receive,
    /// The peer closed the connection in an orderly way.
    PeerClosed,
    /// This side asked for the end (`shutdown`).
    Shutdown,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
#[error("{step:?}: {error}")]
pub struct ConnectionError {
    /// The step that failed.
    pub step: Step,
    /// What the system said.
    #[source]
    pub error: io::Error,
}

/// What the kernel tells.
#[derive(Debug)]
pub enum Event<'a> {
    /// The connection is established.
    Connected(ConnectionId),
    /// The frame is back: the kernel holds nothing of it. `complete` says whether all of it was
    /// handed to the socket; when false, `Closed` of the same connection follows.
    Sent {
        /// Which connection.
        connection: ConnectionId,
        /// The frame, with its loans.
        frame: Frame,
        /// Whether every byte was handed to the socket.
        complete: bool,
    },
    /// Bytes arrived. They are valid during the call only.
    Received(ConnectionId, &'a [u8]),
    /// The connection is gone, every frame of it is back, its descriptor is closed. Exactly one per
    /// `connect`, also after `shutdown` and after a failed connect. The last event of that id.
    Closed(ConnectionId, ConnectionError),
}

/// Wakes a driver out of `wait` from any thread. Cheap to clone; one system call per wake, two if
/// somebody may wait for the driver's descriptor instead.
#[derive(Clone, Debug)]
pub struct Waker {
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    Event(Arc<rustix::fd::OwnedFd>),
    Both(Arc<rustix::fd::OwnedFd>, Arc<rustix::fd::OwnedFd>),
    #[cfg(feature = "simulation")]
    Flag(Arc<std::sync::atomic::AtomicBool>),
}

impl Waker {
    /// A waker over an eventfd of the driver.
    pub fn new(event: Arc<rustix::fd::OwnedFd>) -> Self {
        Self { target: Target::Event(event) }
    }

    /// A waker over an eventfd of the driver, and over the one that is its descriptor.
    pub fn of_both(event: Arc<rustix::fd::OwnedFd>, descriptor: Arc<rustix::fd::OwnedFd>) -> Self {
        Self { target: Target::Both(event, descriptor) }
    }

    /// A waker that raises a flag, for drivers without a kernel.
    #[cfg(feature = "simulation")]
    pub fn raising(flag: Arc<std::sync::atomic::AtomicBool>) -> Self {
        Self { target: Target::Flag(flag) }
    }

    /// Ends the current or the next `wait`. Allocates nothing. Safe from any thread.
    pub fn wake(&self) {
        match &self.target {
            Target::Event(event) => count_up(event),
            // In this order: whom the descriptor wakes finds that the event has happened.
            Target::Both(event, descriptor) => {
                count_up(event);
                count_up(descriptor);
            }
            #[cfg(feature = "simulation")]
            Target::Flag(flag) => flag.store(true, std::sync::atomic::Ordering::SeqCst),
        }
    }
}

fn count_up(event: &rustix::fd::OwnedFd) {
    // A full counter (EAGAIN) means that a wake is pending already.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// The I/O under a shard.
pub trait Driver {
    /// The driver's name as in `kuring.driver`.
    fn name(&self) -> &'static str;

    /// Starts connecting; does not block. Every problem comes back as `Closed`, from `wait`.
    fn connect(&mut self, connection: ConnectionId, address: SocketAddr, options: &SocketOptions);

    /// Starts sending. The caller has no other frame in the driver for this connection. A wait ends
    /// when the frame is sent, unless the frame is [patient](Frame::patient). For an
    /// unknown or dead connection the frame comes back from `wait` with `complete: false`.
    fn send(&mut self, connection: ConnectionId, frame: Frame);

    /// Ends the connection: no more bytes go out, frames come back, then `Closed` follows. Ends a
    /// pending connect too. For an unknown or closed connection it does nothing.
    fn shutdown(&mut self, connection: ConnectionId);

    /// A waker for this driver.
    fn waker(&self) -> Waker;

    /// A descriptor that polls readable while the kernel has something for `wait` to report. None
    /// where there is no such thing: then the driver needs a thread of its own.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Before somebody waits for the [`descriptor`](Self::descriptor) instead of in `wait`: hands
    /// everything that was started to the kernel, without waiting. `watched` says whether anybody
    /// ever does; only then the descriptor has to be in order. True if `wait` may have something to
    /// report that the descriptor does not show.
    fn hand_over(&mut self, watched: bool) -> bool {
        let _ = watched;
        false
    }

    /// Whether `wait` has something to report for which it need not ask the kernel, and which
    /// neither the descriptor nor [`hand_over`](Self::hand_over) tells of: a frame that was
    /// [patient](Frame::patient).
    fn holds_back(&self) -> bool {
        false
    }

    /// Waits until something happened, `until` has passed or a waker was used, then reports all
    /// that is there. `until` in the past only looks. None waits without limit.
    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>));
}
