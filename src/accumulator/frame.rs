//! What a connection sends in one go: small bytes of its own, and bytes lent by batches.
#![forbid(unsafe_code)]

use super::buffer_pool::Loan;

/// One piece of a frame, in wire order.
#[derive(Debug)]
pub enum Part {
    /// Bytes `start..end` of [`Frame::head`].
    Head {
        /// First byte.
        start: u32,
        /// One past the last byte.
        end: u32,
    },
    /// Bytes of a batch's buffer.
    Lent(Loan),
}

/// A request on its way. The driver owns it from `send` until it gives it back in
/// [`Event::Sent`](crate::driver::Event::Sent), and gives it back only when the kernel holds
/// nothing of it.
#[derive(Debug, Default)]
pub struct Frame {
    /// The sender's own mark; a driver does not read it.
    pub token: u64,
    /// Nothing waits for this frame's way into the socket as such: a driver may report `Sent` with
    /// the next event of any kind, or at the end of the wait, instead of ending the wait for it.
    pub patient: bool,
    /// Bytes that the frame owns: headers and prefixes.
    pub head: Vec<u8>,
    /// The pieces in wire order.
    pub parts: Vec<Part>,
}

impl Frame {
    /// Empties the frame and drops its loans; the memory is kept for the next request.
    pub fn clear(&mut self) {
        self.patient = false;
        self.head.clear();
        self.parts.clear();
    }

    /// All bytes on the wire.
    pub fn len(&self) -> usize {
        (0..self.parts.len()).map(|index| self.part(index).len()).sum()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of piece `index`.
    pub fn part(&self, index: usize) -> &[u8] {
        match &self.parts[index] {
            Part::Head { start, end } => &self.head[*start as usize..*end as usize],
            Part::Lent(loan) => loan.bytes(),
        }
    }

    /// The one loan of a frame that is a single contiguous piece of the arena.
    pub fn contiguous(&self) -> Option<&Loan> {
        match self.parts.as_slice() {
            [Part::Lent(loan)] if loan.in_arena() => Some(loan),
            _ => None,
        }
    }
}
