//! Puts responses together again: length-prefixed frames from chunks of any size.
//!
//! Owns:     the part of a frame that has arrived, until the rest of it does.
//! Bounds:   a frame has `frame_bytes_max` bytes at most; memory grows with the bytes that arrived,
//!           never with the length that was claimed.
//! Never:    copies a frame that lies whole in a chunk; allocates in the steady state.
#![forbid(unsafe_code)]

/// Memory that is kept between frames. One large metadata answer should not stay for good.
const RETAINED_BYTES_MAX: usize = 256 * 1024;
const PREFIX_BYTES: usize = 4;

/// A length prefix that cannot be right. The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is negative.
    #[error("a response of {length} bytes was announced")]
    Negative {
        /// The length as it was read.
        length: i32,
    },
    /// The length is above the limit.
    #[error("a response of {length} bytes was announced, the limit is {frame_bytes_max}")]
    TooLarge {
        /// The length as it was read.
        length: usize,
        /// The limit.
        frame_bytes_max: usize,
    },
}

/// Reassembles the responses of one connection.
#[derive(Debug)]
pub struct FrameReader {
    frame_bytes_max: usize,
    /// Prefix and body of the frame that has not arrived whole; empty between frames.
    pending: Vec<u8>,
}

impl FrameReader {
    /// A reader that refuses frames above `frame_bytes_max`, the size prefix not counted.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, pending: Vec::new() }
    }

    /// Forgets what has arrived of a frame: for the next life of the connection.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.pending.shrink_to(RETAINED_BYTES_MAX);
    }

    /// Takes the bytes that arrived and hands out each frame that they complete, without its size
    /// prefix, in order.
    ///
    /// # Errors
    /// [`FrameError`], or what `handle` returned. The rest of the chunk is lost: the connection has
    /// to be closed, and the reader to be [`reset`](Self::reset).
    pub fn feed<E: From<FrameError>>(
        &mut self,
        mut chunk: &[u8],
        handle: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.pending.is_empty() {
            chunk = self.fill_to(PREFIX_BYTES, chunk);
            let Some(length) = self.length(&self.pending)? else { return Ok(()) };
            chunk = self.fill_to(PREFIX_BYTES + length, chunk);
            if self.pending.len() < PREFIX_BYTES + length {
                return Ok(());
            }
            let handled = handle(&self.pending[PREFIX_BYTES..]);
            self.reset();
            handled?;
        }
        while let Some(length) = self.length(chunk)? {
            let Some(frame) = chunk.get(PREFIX_BYTES..PREFIX_BYTES + length) else { break };
            handle(frame)?;
            chunk = &chunk[PREFIX_BYTES + length..];
        }
        self.pending.extend_from_slice(chunk);
        Ok(())
    }

    /// Moves bytes from the chunk until `bytes` are pending; returns the rest of the chunk.
    fn fill_to<'a>(&mut self, bytes: usize, chunk: &'a [u8]) -> &'a [u8] {
        let missing = bytes.saturating_sub(self.pending.len());
        let (moved, rest) = chunk.split_at(missing.min(chunk.len()));
        self.pending.extend_from_slice(moved);
        rest
    }

    /// The length that `bytes` start with; None when the prefix has not arrived whole.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let frame_bytes_max = self.frame_bytes_max;
        match usize::try_from(length) {
            Err(_) => Err(FrameError::Negative { length }),
            Ok(length) if length > frame_bytes_max => {
                Err(FrameError::TooLarge { length, frame_bytes_max })
            }
            Ok(length) => Ok(Some(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    fn feed_all(reader: &mut FrameReader, chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        for chunk in chunks {
            reader.feed::<FrameError>(chunk, &mut |frame| {
                frames.push(frame.to_vec());
                Ok(())
            })?;
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_out_whole_wherever_the_stream_is_cut() {
        let frames = vec![b"first".to_vec(), Vec::new(), b"x".to_vec(), vec![7; 300]];
        let bytes = stream(&frames);
        for first in 0..bytes.len() {
            for second in first..bytes.len().min(first + 9) {
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let read = feed_all(&mut FrameReader::new(300), &chunks);
                assert_eq!(read.as_ref(), Ok(&frames), "cut at {first} and {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(feed_all(&mut FrameReader::new(300), &single), Ok(frames));
    }

    #[test]
    fn a_frame_that_lies_whole_in_a_chunk_is_not_copied() {
        let bytes = stream(&[b"whole".to_vec()]);
        let mut reader = FrameReader::new(100);
        let mut address = None;
        let fed = reader.feed::<FrameError>(&bytes, &mut |frame| {
            address = Some(frame.as_ptr());
            Ok(())
        });
        assert_eq!((fed, address), (Ok(()), Some(bytes[4..].as_ptr())));
        assert_eq!(reader.pending.capacity(), 0);
    }

    #[test]
    fn a_length_below_zero_or_above_the_limit_is_refused_before_memory_is_taken() {
        let mut reader = FrameReader::new(100);
        let length = i32::from_be_bytes([0xff, 0, 0, 0]);
        let negative = feed_all(&mut reader, &[&[0xff, 0, 0, 0]]);
        assert_eq!(negative, Err(FrameError::Negative { length }));
        let large = feed_all(&mut reader, &[&[0, 0, 0], &[101]]);
        assert_eq!(large, Err(FrameError::TooLarge { length: 101, frame_bytes_max: 100 }));
        assert!(reader.pending.capacity() <= 64, "the prefix only");
    }

    #[test]
    fn memory_grows_with_what_arrived_and_not_with_what_was_announced() {
        let mut reader = FrameReader::new(100 << 20);
        let announced = feed_all(&mut reader, &[&(100_u32 << 20).to_be_bytes(), &[1; 100]]);
        assert_eq!(announced, Ok(Vec::new()));
        assert!(reader.pending.capacity() < 1024);
    }

    #[test]
    fn the_memory_of_a_large_frame_is_given_back() {
        let bytes = stream(&[vec![3; 4 * RETAINED_BYTES_MAX]]);
        let mut reader = FrameReader::new(bytes.len());
        let (first, second) = bytes.split_at(bytes.len() / 2);
        assert_eq!(feed_all(&mut reader, &[first, second]).map(|frames| frames.len()), Ok(1));
        assert!(reader.pending.capacity() <= RETAINED_BYTES_MAX);
    }

    #[test]
    fn an_error_of_the_handler_ends_the_feeding() {
        let bytes = stream(&[vec![1], vec![2]]);
        let mut seen = 0;
        let refused = FrameError::Negative { length: -9 };
        let fed = FrameReader::new(9).feed(&bytes, &mut |_| {
            seen += 1;
            Err(refused)
        });
        assert_eq!((fed, seen), (Err(refused), 1));
    }
}
