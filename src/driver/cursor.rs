//! How far a frame is on its way: the first byte that the socket has not taken.
#![forbid(unsafe_code)]

use std::io::IoSlice;

use super::Frame;

/// A position in a frame. Resumes at any byte, whatever the socket took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    part: usize,
    /// Bytes of `part` that are gone. `offset < part's length`, or the part was never looked at.
    offset: usize,
}

impl Cursor {
    /// Behind the last byte of any frame.
    pub(super) const END: Self = Self { part: usize::MAX, offset: 0 };

    /// Puts what follows into `slices`, as far as they reach; how many are filled, with how many
    /// bytes. Zero slices: the frame is through. Pieces without bytes are passed over.
    pub(super) fn gather<'a>(self, frame: &'a Frame, slices: &mut [IoSlice<'a>]) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        self.each_piece(frame, |piece| {
            let Some(slice) = slices.get_mut(count) else { return false };
            *slice = IoSlice::new(piece);
            count += 1;
            bytes += piece.len();
            true
        });
        (count, bytes)
    }

    /// Shows what follows, piece by piece, until `see` declines one; whether it did. Pieces without
    /// bytes are passed over.
    pub(super) fn each_piece<'a>(
        self,
        frame: &'a Frame,
        mut see: impl FnMut(&'a [u8]) -> bool,
    ) -> bool {
        let mut offset = self.offset;
        for index in self.part..frame.parts.len() {
            let piece = &frame.part(index)[offset..];
            offset = 0;
            if !piece.is_empty() && !see(piece) {
                return true;
            }
        }
        false
    }

    /// Moves on by `sent` bytes; whether bytes remain.
    pub(super) fn advance(&mut self, frame: &Frame, mut sent: usize) -> bool {
        while self.part < frame.parts.len() {
            let rest = frame.part(self.part).len() - self.offset;
            if sent < rest {
                self.offset += sent;
                return true;
            }
            sent -= rest;
            self.part += 1;
            self.offset = 0;
        }
        assert_eq!(sent, 0, "the kernel took more bytes than it was given");
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Part;

    fn frame(sizes: &[u32]) -> Frame {
        let mut frame = Frame::default();
        for size in sizes {
            let start = frame.head.len() as u32;
            frame.head.extend((start..start + size).map(|byte| byte as u8));
            frame.parts.push(Part::Head { start, end: start + size });
        }
        frame
    }

    /// What goes out when the socket takes `step` bytes at a time and `slices_max` pieces a call.
    fn sent_in_steps(frame: &Frame, step: usize, slices_max: usize) -> Vec<u8> {
        let (mut cursor, mut wire) = (Cursor::default(), Vec::new());
        loop {
            let mut slices = vec![IoSlice::new(&[]); slices_max];
            let (count, bytes) = cursor.gather(frame, &mut slices);
            let offered: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
            assert_eq!(offered.len(), bytes);
            let taken = step.min(bytes);
            wire.extend(&offered[..taken]);
            if !cursor.advance(frame, taken) {
                return wire;
            }
        }
    }

    #[test]
    fn a_frame_goes_on_at_any_byte() {
        let frame = frame(&[0, 3, 1, 0, 0, 7, 2, 0]);
        for step in 1..=frame.len() + 1 {
            for slices_max in 1..=4 {
                assert_eq!(sent_in_steps(&frame, step, slices_max), frame.head);
            }
        }
    }

    #[test]
    fn an_empty_frame_is_through_at_once() {
        for sizes in [&[][..], &[0], &[0, 0]] {
            assert!(!Cursor::default().advance(&frame(sizes), 0));
        }
    }
}
