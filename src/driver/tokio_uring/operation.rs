//! What goes on the ring: one submission entry each, and the memory that it names.
//!
//! Owns:     everything the kernel was told about, until the completion hands it back.
//! Thread:   the shard's.
//! Never:    allocates per operation: the memory moves into the operation and out again.
//!
//! # Soundness
//! `UnsubmittedOneshot` is a safe interface over an unsafe thing: the kernel follows the addresses
//! in the entry whenever it likes until it posts the completion. The rule that makes it sound here:
//! an address in an entry points into the operation's own value (`StoredData`), at memory that does
//! not move when that value moves: the heap behind a `Vec` or an `Rc`, or a pool's buffer behind a
//! loan. tokio-uring keeps the value until the completion, also when the future is dropped; the one
//! exception is the end of its runtime, see `Drop` of the driver.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring_06::{cqueue, opcode, squeue, types};
use rustix::net::SendFlags;
use socket2::Socket;
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

use crate::driver::Frame;
use crate::driver::cursor::Cursor;

/// Pieces of one `SENDMSG`; more go out in several. Well below the kernel's 1024 (`IOV_MAX`).
const SLICES_MAX: usize = 64;
/// `MSG_WAITALL`: the kernel itself goes on after a short send (5.19; older ones ignore it).
const WAIT_ALL: u32 = 0x100;
/// `POLLOUT`.
const WRITABLE: u32 = 4;

/// An operation under way. Resolves to its memory and the kernel's answer.
pub(super) type InFlight<D> = InFlightOneshot<D, Finish<D>>;

/// Hands the memory back together with the answer.
pub(super) struct Finish<D>(PhantomData<D>);

impl<D: 'static> OneshotOutputTransform for Finish<D> {
    type Output = (D, io::Result<usize>);
    type StoredData = D;

    fn transform_oneshot_output(self, memory: D, entry: cqueue::Entry) -> Self::Output {
        let answer = usize::try_from(entry.result())
            .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        (memory, answer)
    }
}

fn submit<D: 'static>(memory: D, entry: squeue::Entry) -> InFlight<D> {
    UnsubmittedOneshot::new(memory, Finish(PhantomData), entry).submit()
}

/// `struct iovec` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Slice {
    base: *const u8,
    bytes: usize,
}

/// `struct user_msghdr` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct MessageHeader {
    name: *const u8,
    name_bytes: i32,
    slices: *const Slice,
    slices_count: usize,
    control: *const u8,
    control_bytes: usize,
    flags: u32,
}

/// What a `SENDMSG` reads besides the bytes; one per connection, for one operation at a time.
/// Cells behind an `Rc`: the value is shared with the kernel, and nothing here claims otherwise.
pub(super) struct Message {
    header: Cell<MessageHeader>,
    slices: [Cell<Slice>; SLICES_MAX],
}

impl Message {
    pub(super) fn new() -> Rc<Self> {
        let null = std::ptr::null::<u8>;
        Rc::new(Self {
            header: Cell::new(MessageHeader {
                name: null(),
                name_bytes: 0,
                slices: std::ptr::null(),
                slices_count: 0,
                control: null(),
                control_bytes: 0,
                flags: 0,
            }),
            slices: [const { Cell::new(Slice { base: std::ptr::null(), bytes: 0 }) }; SLICES_MAX],
        })
    }

    fn fill(&self, slices: &[IoSlice<'_>]) {
        for (target, source) in self.slices.iter().zip(slices) {
            target.set(Slice { base: source.as_ptr(), bytes: source.len() });
        }
        let first = self.slices.as_ptr().cast();
        let header = self.header.get();
        self.header.set(MessageHeader { slices: first, slices_count: slices.len(), ..header });
    }
}

/// A frame on its way into a socket.
pub(super) struct Outgoing {
    pub(super) frame: Frame,
    pub(super) cursor: Cursor,
    message: Rc<Message>,
    /// Keeps the descriptor from being closed, and its number from being given away.
    socket: Rc<Socket>,
}

impl Outgoing {
    pub(super) fn new(frame: Frame, message: &Rc<Message>, socket: &Rc<Socket>) -> Self {
        let (message, socket) = (Rc::clone(message), Rc::clone(socket));
        Self { frame, cursor: Cursor::default(), message, socket }
    }

    /// Sends from the cursor on, or gives the frame back because nothing is left of it.
    /// `registered` are the addresses of buffer index 0.
    pub(super) fn submit(self, registered: Option<&Range<usize>>) -> Result<InFlight<Self>, Frame> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (count, bytes) = self.cursor.gather(&self.frame, &mut slices);
        let descriptor = types::Fd(self.socket.as_raw_fd());
        let more = if count == SLICES_MAX { SendFlags::MORE } else { SendFlags::empty() };
        let flags = (SendFlags::NOSIGNAL | more).bits() | WAIT_ALL;
        let entry = match &slices[..count] {
            [] => return Err(self.frame),
            [piece] => {
                let (start, bytes) = (piece.as_ptr(), bytes as u32);
                let fixed = self.frame.contiguous().is_some() && covers(registered, piece);
                if fixed {
                    opcode::WriteFixed::new(descriptor, start, bytes, 0).build()
                } else {
                    opcode::Send::new(descriptor, start, bytes).flags(flags as i32).build()
                }
            }
            pieces => {
                self.message.fill(pieces);
                let header = self.message.header.as_ptr().cast();
                opcode::SendMsg::new(descriptor, header).flags(flags).build()
            }
        };
        Ok(submit(self, entry))
    }
}

/// Whether the piece lies in the registered memory: a loan of another pool's arena does not.
fn covers(registered: Option<&Range<usize>>, piece: &[u8]) -> bool {
    let bytes = piece.as_ptr_range();
    registered.is_some_and(|all| all.start <= bytes.start.addr() && bytes.end.addr() <= all.end)
}

/// Room for what a socket receives.
pub(super) struct Incoming {
    /// Always initialised over its whole length; the kernel overwrites a prefix.
    pub(super) bytes: Vec<u8>,
    socket: Rc<Socket>,
}

impl Incoming {
    pub(super) fn new(bytes: usize, socket: &Rc<Socket>) -> Self {
        Self { bytes: vec![0; bytes], socket: Rc::clone(socket) }
    }

    pub(super) fn submit(mut self) -> InFlight<Self> {
        let descriptor = types::Fd(self.socket.as_raw_fd());
        let (start, bytes) = (self.bytes.as_mut_ptr(), self.bytes.len() as u32);
        submit(self, opcode::Recv::new(descriptor, start, bytes).build())
    }
}

/// Resolves when the socket's connect is over, well or not.
pub(super) fn await_connect(socket: &Rc<Socket>) -> InFlight<Rc<Socket>> {
    let entry = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), WRITABLE).build();
    submit(Rc::clone(socket), entry)
}
