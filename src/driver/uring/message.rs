//! What a `SENDMSG` reads besides the bytes: its header and its list of pieces.
//!
//! Owns:     both, at addresses that do not move until the next message is laid out.
//! Bounds:   one per connection, for one operation at a time; grows to the longest frame's pieces.
//! Never:    allocates once it has grown.
#![forbid(unsafe_code)]

use std::cell::Cell;

use super::super::Frame;
use super::super::cursor::Cursor;

/// Pieces of one operation: the kernel's `UIO_MAXIOV`. Longer frames go out in steps.
pub(super) const PIECES_MAX: usize = 1024;

/// `struct iovec` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: *const u8,
    bytes: usize,
}

/// `struct user_msghdr` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Header {
    name: *const u8,
    name_bytes: i32,
    pieces: *const Piece,
    pieces_count: usize,
    control: *const u8,
    control_bytes: usize,
    flags: u32,
}

/// What goes out next of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Nothing is left.
    Nothing,
    /// One piece of so many bytes.
    One(*const u8, usize),
    /// Several, listed in the message; whether more follow after these.
    Several {
        /// Of the header, for the kernel.
        header: *const u8,
        /// All bytes of the pieces.
        bytes: usize,
        /// The frame goes on after them.
        more: bool,
    },
}

/// Room for a header and a list of pieces.
#[derive(Debug)]
pub(super) struct Message {
    header: Box<Cell<Header>>,
    pieces: Vec<Piece>,
}

impl Message {
    pub(super) fn new() -> Self {
        let null = std::ptr::null::<u8>;
        Self {
            header: Box::new(Cell::new(Header {
                name: null(),
                name_bytes: 0,
                pieces: std::ptr::null(),
                pieces_count: 0,
                control: null(),
                control_bytes: 0,
                flags: 0,
            })),
            pieces: Vec::new(),
        }
    }

    /// Lays out what follows in the frame. No operation reads the message at that time.
    pub(super) fn lay_out(&mut self, frame: &Frame, cursor: Cursor) -> Next {
        let (pieces, mut bytes) = (&mut self.pieces, 0);
        pieces.clear();
        let more = cursor.each_piece(frame, |piece| {
            let room = pieces.len() < PIECES_MAX;
            if room {
                bytes += piece.len();
                pieces.push(Piece { start: piece.as_ptr(), bytes: piece.len() });
            }
            room
        });
        match pieces.as_slice() {
            [] => Next::Nothing,
            [piece] => Next::One(piece.start, piece.bytes),
            pieces => {
                let (first, pieces_count) = (pieces.as_ptr(), pieces.len());
                let header = self.header.get();
                self.header.set(Header { pieces: first, pieces_count, ..header });
                Next::Several { header: self.header.as_ptr().cast_const().cast(), bytes, more }
            }
        }
    }
}
