//! The sockets of every driver: options before connect, and what a finished connect really was.
//!
//! Never:    blocks.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;

use rustix::event::EventfdFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::SocketOptions;

/// A nonblocking TCP socket that is connecting. It polls writable when that is over, at once if it
/// is over already.
pub(super) fn connect(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    // Before connecting: the receive buffer decides the window scale that the handshake announces.
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

/// What became of a connect that is over.
///
/// Refuses a socket that is connected to itself: a connect to a closed port of the ephemeral range
/// of this very host can pick that port as its own, and TCP's simultaneous open then succeeds. A
/// client that retries while its broker restarts meets this sooner or later; kept, such a
/// connection would also take the broker's port away.
pub(super) fn check_connected(socket: &Socket) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let peer = socket.peer_addr()?;
    if socket.local_addr()?.as_socket() == peer.as_socket() {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// The descriptor behind a driver's [`Waker`](super::Waker).
pub(super) fn wake_descriptor() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}
