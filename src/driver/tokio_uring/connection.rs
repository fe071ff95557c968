//! One connection: what is under way on its socket, and how it begins and ends.
//!
//! Owns:     the socket, its input buffer, and a frame from `send` until it is reported.
//! Thread:   the shard's, inside the runtime.
//! Bounds:   one operation per direction.
//! Never:    ends before the kernel has handed every operation back.
//!
//! connecting ─ok─► connected ─any failure, shutdown─► ending ─all operations back─► Closed
#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use socket2::Socket;

use super::alarm::{Board, Mark};
use super::operation::{self, InFlight, Incoming, Message, Outgoing};
use crate::driver::{ConnectionError, Event, Frame, Step, socket};
use crate::ids::ConnectionId;

/// Bytes of one read. Pages that are never received into are never touched.
const INPUT_BYTES: usize = 64 * 1024;
/// Reads of what is left in a socket whose sending side broke: 16 MiB, above any receive buffer.
const LAST_READS_MAX: u32 = 256;

/// One socket, and what the ring does for it.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    socket: Rc<Socket>,
    mark: Arc<Mark>,
    waker: Waker,
    message: Rc<Message>,
    connected: bool,
    connecting: Option<InFlight<Rc<Socket>>>,
    pub(super) queued: Option<Frame>,
    pub(super) sending: Option<InFlight<Outgoing>>,
    input: Option<Incoming>,
    receiving: Option<InFlight<Incoming>>,
    /// Why the connection ends; the socket is shut down from then on.
    pub(super) ending: Option<ConnectionError>,
    last_reads: u32,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, socket: Socket, board: &Arc<Board>) -> Self {
        let mark = Mark::new(id.slot, board);
        let socket = Rc::new(socket);
        Self {
            id,
            waker: Arc::clone(&mark).into(),
            mark,
            message: Message::new(),
            connected: false,
            connecting: None,
            queued: None,
            sending: None,
            input: Some(Incoming::new(INPUT_BYTES, &socket)),
            receiving: None,
            ending: None,
            last_reads: LAST_READS_MAX,
            socket,
        }
    }

    /// Begins the end; the first reason stays. Every operation of the socket returns soon after.
    pub(super) fn end(&mut self, step: Step, error: io::Error) {
        if self.ending.is_none() {
            self.ending = Some(ConnectionError { step, error });
            // Fails for a socket that the peer has reset: its operations return by themselves.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    fn is_shut_down(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.step == Step::Shutdown)
    }

    /// Why the connection ended, once it has, and the kernel holds nothing of it any more.
    pub(super) fn finished(&mut self) -> Option<ConnectionError> {
        let idle = self.connecting.is_none() && self.sending.is_none() && self.receiving.is_none();
        if idle { self.ending.take() } else { None }
    }

    /// Polls what is under way, starts what can be; whether anything was reported.
    pub(super) fn advance(
        &mut self,
        registered: Option<&Range<usize>>,
        handle: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        self.mark.clear();
        let mut reported = false;
        if !self.connected {
            reported |= self.advance_connect(handle);
        }
        reported |= self.advance_send(registered, handle);
        if self.connected {
            reported |= self.advance_receive(handle);
        }
        // The reader may have found the end while a frame was waiting to be sent.
        reported | self.return_queued(handle)
    }

    fn advance_connect(&mut self, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        if self.connecting.is_none() {
            if self.ending.is_some() {
                return false;
            }
            self.connecting = Some(operation::await_connect(&self.socket));
        }
        if poll(&mut self.connecting, &self.waker).is_none() || self.ending.is_some() {
            return false;
        }
        let result = socket::check_connected(&self.socket)
            // From here on the ring waits for room and for bytes; a nonblocking socket would make
            // it answer EAGAIN instead.
            .and_then(|()| self.socket.set_nonblocking(false));
        match result {
            Ok(()) => {
                self.connected = true;
                handle(Event::Connected(self.id));
                true
            }
            Err(error) => {
                self.end(Step::Connect, error);
                false
            }
        }
    }

    fn advance_send(
        &mut self,
        registered: Option<&Range<usize>>,
        handle: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        let connection = self.id;
        if self.connected
            && self.ending.is_none()
            && let Some(frame) = self.queued.take()
        {
            match Outgoing::new(frame, &self.message, &self.socket).submit(registered) {
                Ok(sending) => self.sending = Some(sending),
                Err(frame) => {
                    handle(Event::Sent { connection, frame, complete: true });
                    return true;
                }
            }
        }
        while let Some((mut sent, answer)) = poll(&mut self.sending, &self.waker) {
            let more = match answer {
                Ok(bytes) => sent.cursor.advance(&sent.frame, bytes),
                Err(error) => {
                    if !is_transient(&error) {
                        self.end(Step::Send, error);
                    }
                    true
                }
            };
            let (frame, complete) = if !more {
                (sent.frame, true)
            } else if self.ending.is_some() {
                (sent.frame, false)
            } else {
                match sent.submit(registered) {
                    Ok(sending) => {
                        self.sending = Some(sending);
                        continue;
                    }
                    Err(frame) => (frame, true),
                }
            };
            handle(Event::Sent { connection, frame, complete });
            return true;
        }
        false
    }

    fn advance_receive(&mut self, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let mut reported = false;
        loop {
            if let Some(input) = self.input.take() {
                self.receiving = Some(input.submit());
            }
            let Some((input, answer)) = poll(&mut self.receiving, &self.waker) else {
                return reported;
            };
            match answer {
                Ok(0) => self.end(Step::PeerClosed, io::ErrorKind::UnexpectedEof.into()),
                Err(error) if !is_transient(&error) => self.end(Step::Receive, error),
                Ok(bytes) if !self.is_shut_down() => {
                    handle(Event::Received(self.id, &input.bytes[..bytes]));
                    reported = true;
                    self.last_reads -= u32::from(self.ending.is_some());
                    if self.last_reads > 0 {
                        self.input = Some(input);
                    }
                    continue;
                }
                Err(_) if self.ending.is_none() => {
                    self.input = Some(input);
                    continue;
                }
                _ => {}
            }
            // Nothing is read any more: `input` is gone, and with it the reason to go on.
            return reported;
        }
    }

    fn return_queued(&mut self, handle: &mut dyn FnMut(Event<'_>)) -> bool {
        let Some(frame) = self.queued.take_if(|_| self.ending.is_some()) else { return false };
        handle(Event::Sent { connection: self.id, frame, complete: false });
        true
    }
}

/// Takes the operation's memory and answer out, if the kernel is through with it.
fn poll<D: Unpin + 'static>(
    operation: &mut Option<InFlight<D>>,
    waker: &Waker,
) -> Option<(D, io::Result<usize>)> {
    let mut cx = Context::from_waker(waker);
    let Poll::Ready(output) = Pin::new(operation.as_mut()?).poll(&mut cx) else { return None };
    *operation = None;
    Some(output)
}

/// The operation did nothing and may be repeated.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
