//! One socket, and what the kernel holds for it.
//!
//! Owns:     the socket, its frame from `send` to the last completion, the message's layout.
//! Thread:   the shard's.
//! Bounds:   one receive, one send with its notification, one cancel in the kernel at a time.
//! Never:    gives a frame back before the kernel has; sends two operations at once (they could
//!           reorder).
//!
//! # Why unsafe
//! A send names memory of the frame, which has to stay good until the kernel says so.

#![expect(unsafe_code, reason = "the kernel reads the frame; see `Why unsafe`")]

use std::io;
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::cqueue;
use io_uring::opcode::{Send, SendMsg, SendMsgZc, SendZc};
use io_uring::squeue::{self, Flags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::Socket;

use super::mark::{Kind, Mark};
use super::message::{Message, Next};
use super::ring::{Plain, Ring, Target};
use super::zero_copy::ZeroCopy;
use crate::driver::cursor::Cursor;
use crate::driver::{ConnectionError, Frame, Step, socket};
use crate::ids::ConnectionId;

/// `MSG_DONTWAIT`: the kernel does not wait for room, so the send is over when it is submitted.
const NO_WAIT: u32 = 0x40;
/// `MSG_WAITALL`: the kernel itself goes on after a short send (5.19; older ones ignore it).
const WAIT_ALL: u32 = 0x100;
/// Pieces of what is left in a socket whose sending side broke: 16 MiB, above any receive buffer.
const LAST_PIECES_MAX: u32 = 4096;
/// Most bytes of one operation; the kernel itself takes no more than 2 GiB less a page.
const BYTES_MAX: usize = 1 << 30;

/// What became of a send.
#[derive(Debug)]
pub(super) enum Sending {
    /// The kernel has not given everything back yet, or goes on.
    UnderWay,
    /// All is sent and given back.
    Done(Frame),
}

/// A socket and its operations.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// None once only notifications are waited for.
    socket: Option<Socket>,
    target: Target,
    pub(super) connected: bool,
    polling: bool,
    receiving: bool,
    sending: bool,
    /// The send is over once submitted, and posts a completion only if it failed or was short.
    pub(super) quiet: bool,
    cancelling: bool,
    /// Notifications of zero-copy sends that are due.
    notices: u32,
    /// Nothing is to be received any more.
    deaf: bool,
    last_pieces: u32,
    frame: Option<Frame>,
    cursor: Cursor,
    message: Message,
    zero_copy: ZeroCopy,
    /// Why the connection ends; the socket is shut down from then on.
    ending: Option<ConnectionError>,
}

impl Connection {
    /// Waits for the connect that `socket` has begun.
    pub(super) fn new(
        id: ConnectionId,
        socket: Socket,
        zero_copy: ZeroCopy,
        ring: &mut Ring,
    ) -> Self {
        let target = ring.register(id.slot, socket.as_raw_fd());
        ring.push_plain(Plain::PollConnect, target, Mark::new(Kind::Connect, id).word());
        Self {
            id,
            socket: Some(socket),
            target,
            connected: false,
            polling: true,
            receiving: false,
            sending: false,
            quiet: false,
            cancelling: false,
            notices: 0,
            deaf: false,
            last_pieces: LAST_PIECES_MAX,
            frame: None,
            cursor: Cursor::default(),
            message: Message::new(),
            zero_copy,
            ending: None,
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn zero_copy(&self) -> ZeroCopy {
        self.zero_copy
    }

    /// Begins the end; the first reason stays. Every operation of the socket returns soon after,
    /// a receive when it has seen all that had arrived.
    fn end(&mut self, step: Step, error: io::Error) {
        if self.ending.is_none() {
            self.ending = Some(ConnectionError { step, error });
            self.shut(Shutdown::Both);
        }
    }

    fn shut(&self, how: Shutdown) {
        // Fails for a socket that the peer has reset: its operations return by themselves.
        let _ = self.socket.as_ref().map(|socket| socket.shutdown(how));
    }

    /// Ends the connection because it was asked for: nothing more is reported but its end.
    pub(super) fn shut_down(&mut self, ring: &mut Ring) {
        // Overrides a failure that is being drained: nobody wants to hear of this connection again.
        let error = io::ErrorKind::ConnectionAborted.into();
        self.ending = Some(ConnectionError { step: Step::Shutdown, error });
        // Not the receiving half: what had arrived would still be received, without opening the
        // window again, and a peer that waits for it would not learn that the socket is gone.
        // Closed with bytes unread, or with its window open, the socket answers with a reset.
        self.shut(Shutdown::Write);
        self.deaf = true;
        self.cancel(ring);
    }

    /// Has the kernel end what is under way.
    fn cancel(&mut self, ring: &mut Ring) {
        if !self.cancelling && (self.polling || self.receiving || self.sending) {
            self.cancelling = true;
            ring.push_plain(Plain::Cancel, self.target, Mark::new(Kind::Cancel, self.id).word());
        }
    }

    /// The frame, once the connection is ending and the kernel holds nothing of it.
    pub(super) fn frame_of_the_end(&mut self) -> Option<Frame> {
        let idle = self.ending.is_some() && !self.sending && self.notices == 0;
        if idle { self.frame.take() } else { None }
    }

    /// Why the connection ended, once it has, and the kernel holds nothing of it.
    pub(super) fn finished(&mut self, ring: &Ring) -> Option<ConnectionError> {
        let busy = self.polling || self.receiving || self.sending || self.cancelling;
        if busy || self.ending.is_none() {
            return None;
        }
        if let Some(socket) = self.socket.take() {
            ring.unregister(self.target);
            if self.notices > 0 {
                // The kernel would hold the frame until the peer has acknowledged it, or for some
                // quarter of an hour. Nobody counts on these bytes any more: a reset drops them.
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            // Closing says this too, but not while a child between fork and exec holds a copy.
            let _ = socket.shutdown(Shutdown::Both);
        }
        if self.notices > 0 || self.frame.is_some() { None } else { self.ending.take() }
    }

    /// The connect is over; whether it is good.
    pub(super) fn complete_connect(&mut self, ring: &mut Ring) -> bool {
        self.polling = false;
        if self.ending.is_some() {
            return false;
        }
        let Some(socket) = &self.socket else { return false };
        let result = socket::check_connected(socket)
            // From here on the ring waits for room and for bytes; a nonblocking socket would make
            // it answer EAGAIN instead.
            .and_then(|()| socket.set_nonblocking(false));
        if let Err(error) = result {
            self.end(Step::Connect, error);
            return false;
        }
        self.connected = true;
        self.receive(ring);
        true
    }

    /// The kernel has told how many operations it ended.
    pub(super) fn complete_cancel(&mut self, entry: &cqueue::Entry) {
        self.cancelling = false;
        let out =
            [self.polling, self.receiving, self.sending].into_iter().filter(|out| *out).count();
        if answer(entry).unwrap_or(0) < out {
            // One was between two steps and was not found. This ends it for certain.
            self.shut(Shutdown::Both);
        }
    }

    fn receive(&mut self, ring: &mut Ring) {
        self.receiving = true;
        ring.push_plain(Plain::Receive, self.target, Mark::new(Kind::Receive, self.id).word());
    }

    /// A piece arrived, or receiving ended: then it begins again, unless nothing more can come.
    /// True if there are bytes to be reported.
    pub(super) fn complete_receive(&mut self, entry: &cqueue::Entry, ring: &mut Ring) -> bool {
        self.receiving = cqueue::more(entry.flags());
        let wanted = !self.deaf;
        match answer(entry) {
            Ok(0) => {
                self.deaf = true;
                self.end(Step::PeerClosed, io::ErrorKind::UnexpectedEof.into());
            }
            Ok(_) if self.ending.is_some() && !self.deaf => {
                self.last_pieces -= 1;
                if self.last_pieces == 0 {
                    self.deaf = true;
                    self.cancel(ring);
                }
            }
            // No buffer was left: those that are handed out now are the kernel's again by the time
            // it looks.
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                self.deaf = true;
                self.end(Step::Receive, error.into());
            }
        }
        if !self.receiving && !self.deaf {
            self.receive(ring);
        }
        wanted && entry.result() > 0
    }

    /// Takes the frame; it is sent at once if the connection is there. Gives it back if it is
    /// empty.
    pub(super) fn send(
        &mut self,
        frame: Frame,
        arena: Option<&Range<usize>>,
        ring: &mut Ring,
    ) -> Sending {
        assert!(self.frame.is_none(), "{:?}: a frame is under way", self.id);
        self.frame = Some(frame);
        self.cursor = Cursor::default();
        if self.connected { self.go_on(arena, ring) } else { Sending::UnderWay }
    }

    /// Submits what follows of the frame, if there is one.
    pub(super) fn go_on(&mut self, arena: Option<&Range<usize>>, ring: &mut Ring) -> Sending {
        let Some(frame) = &self.frame else { return Sending::UnderWay };
        let next = self.message.lay_out(frame, self.cursor);
        let entry = match next {
            Next::Nothing => {
                return self.frame.take().map_or(Sending::UnderWay, Sending::Done);
            }
            Next::One(start, bytes) => {
                self.quiet = frame.patient && bytes <= BYTES_MAX && self.can_be_quiet(bytes, ring);
                self.entry_of_one(start, bytes.min(BYTES_MAX), arena)
            }
            Next::Several { header, bytes, more } => {
                self.quiet = frame.patient && !more && self.can_be_quiet(bytes, ring);
                let more = if more { SendFlags::MORE } else { SendFlags::empty() };
                let flags = self.send_flags() | more.bits();
                if self.zero_copy.is_for(bytes) {
                    SendMsgZc::new(self.target.fd(), header.cast())
                        .flags(flags)
                        .ioprio(ZeroCopy::FLAGS)
                        .build()
                } else {
                    SendMsg::new(self.target.fd(), header.cast()).flags(flags).build()
                }
            }
        };
        let mark = Mark::new(Kind::Send, self.id).word();
        self.sending = true;
        // SAFETY: obligation: what the entry names stays good and unchanged until its last
        // completion. That is the frame's bytes, behind loans and a `Vec` that nobody touches, and
        // the message's layout; `frame` is taken out only when neither `sending` nor `notices` says
        // that the kernel holds it, and a driver that is dropped waits for that or leaks both.
        // Test: `a_peer_that_stops_reading_keeps_the_frame_lent_until_shutdown`.
        unsafe { ring.push(entry.flags(self.entry_flags()).user_data(mark)) };
        Sending::UnderWay
    }

    /// A kernel's thread submits when it likes, so there is no moment when it must have happened;
    /// without a copy the end is a notification anyway.
    fn can_be_quiet(&self, bytes: usize, ring: &Ring) -> bool {
        ring.submits_itself() && !self.zero_copy.is_for(bytes)
    }

    fn send_flags(&self) -> u32 {
        let wait = if self.quiet { NO_WAIT } else { 0 };
        SendFlags::NOSIGNAL.bits() | WAIT_ALL | wait
    }

    fn entry_flags(&self) -> Flags {
        let quiet = if self.quiet { Flags::SKIP_SUCCESS } else { Flags::empty() };
        self.target.flags() | quiet
    }

    /// A quiet send that has been submitted and of which nothing was heard: all of it is sent.
    pub(super) fn conclude(&mut self) -> Option<Frame> {
        if !std::mem::take(&mut self.quiet) {
            return None;
        }
        self.sending = false;
        self.frame.take()
    }

    fn entry_of_one(
        &self,
        start: *const u8,
        bytes: usize,
        arena: Option<&Range<usize>>,
    ) -> squeue::Entry {
        let flags = self.send_flags() as i32;
        if !self.zero_copy.is_for(bytes) {
            return Send::new(self.target.fd(), start, bytes as u32).flags(flags).build();
        }
        let inside =
            |all: &&Range<usize>| all.start <= start.addr() && start.addr() + bytes <= all.end;
        SendZc::new(self.target.fd(), start, bytes as u32)
            .flags(flags)
            .buf_index(arena.filter(inside).map(|_| 0))
            .zc_flags(ZeroCopy::FLAGS)
            .build()
    }

    /// A send is over, or the kernel has let its memory go.
    pub(super) fn complete_send(
        &mut self,
        entry: &cqueue::Entry,
        arena: Option<&Range<usize>>,
        ring: &mut Ring,
    ) -> Sending {
        if cqueue::notif(entry.flags()) {
            self.notices -= 1;
            self.zero_copy.learn(entry);
        } else {
            self.sending = false;
            self.notices += u32::from(cqueue::more(entry.flags()));
            self.quiet = false;
            let Some(frame) = &mut self.frame else { return Sending::UnderWay };
            // What is left of it is waited for.
            frame.patient = false;
            let remains = match answer(entry) {
                Ok(bytes) => self.cursor.advance(frame, bytes),
                Err(Errno::INTR | Errno::AGAIN) => true,
                Err(error) if self.zero_copy.gives_way_to(error) => true,
                Err(error) => {
                    self.end(Step::Send, error.into());
                    true
                }
            };
            if remains && self.ending.is_none() {
                return self.go_on(arena, ring);
            }
            if remains {
                return Sending::UnderWay;
            }
            self.cursor = Cursor::END;
        }
        let done = self.cursor == Cursor::END && !self.sending && self.notices == 0;
        if !done {
            return Sending::UnderWay;
        }
        self.frame.take().map_or(Sending::UnderWay, Sending::Done)
    }
}

fn answer(entry: &cqueue::Entry) -> Result<usize, Errno> {
    usize::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result()))
}
