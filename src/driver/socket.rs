//! The sockets of every driver: options before connect, and what a finished connect really was.
//!
//! Never:    blocks.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;

use rustix::event::EventfdFlags;
use rustix::fd::OwnedFd;
use socket2::{Domain, Protocol, Socket, Type};

use super::SocketOptions;

/// A nonblocking TCP socket with every option set that must be set before connecting: the receive
/// buffer decides the window scale that the handshake announces.
pub(super) fn open(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(socket)
}

/// Refuses a socket that is connected to itself.
///
/// A connect to a closed port of the ephemeral range of this very host can pick that port as its
/// own, and TCP's simultaneous open then succeeds. A client that retries while its broker restarts
/// meets this sooner or later; kept, such a connection would also take the broker's port away.
pub(super) fn check_peer(socket: &Socket) -> io::Result<()> {
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
