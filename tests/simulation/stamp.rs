//! What the value of each record says about itself, so that a log can be compared with what was
//! sent, byte for byte.
#![forbid(unsafe_code)]

/// Bytes of the smallest value: the fields and the checksum.
pub(crate) const BYTES_MIN: usize = 4 + 2 + 4 + 2 + 4 + 4;
const MAGIC: [u8; 4] = *b"kuri";

/// A record's own account of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    /// The application task that sent it.
    pub(crate) task: u16,
    /// Counts the records of the task.
    pub(crate) number: u32,
    /// Which of the run's topics.
    pub(crate) topic: u16,
    /// The partition that was asked for; -1 when the producer chose.
    pub(crate) partition: i32,
}

impl Stamp {
    /// A value of `bytes` bytes, at least [`BYTES_MIN`].
    pub(crate) fn value(self, bytes: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(bytes.max(BYTES_MIN));
        value.extend_from_slice(&MAGIC);
        value.extend_from_slice(&self.task.to_be_bytes());
        value.extend_from_slice(&self.number.to_be_bytes());
        value.extend_from_slice(&self.topic.to_be_bytes());
        value.extend_from_slice(&self.partition.to_be_bytes());
        let fill = self.number.wrapping_mul(31).wrapping_add(u32::from(self.task)) as u8;
        value.resize(bytes.max(BYTES_MIN) - 4, fill);
        let sum = crc32c::crc32c(&value);
        value.extend_from_slice(&sum.to_be_bytes());
        value
    }

    /// Reads a value; None if a single bit of it is wrong.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let (content, sum) = value.split_last_chunk::<4>()?;
        if crc32c::crc32c(content).to_be_bytes() != *sum {
            return None;
        }
        let stamp = Self::peek(value)?;
        Some(stamp)
    }

    /// Reads the fields and believes them.
    pub(crate) fn peek(value: &[u8]) -> Option<Self> {
        let (magic, rest) = value.split_first_chunk::<4>()?;
        let (task, rest) = rest.split_first_chunk::<2>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (topic, rest) = rest.split_first_chunk::<2>()?;
        let (partition, _) = rest.split_first_chunk::<4>()?;
        (*magic == MAGIC).then_some(Self {
            task: u16::from_be_bytes(*task),
            number: u32::from_be_bytes(*number),
            topic: u16::from_be_bytes(*topic),
            partition: i32::from_be_bytes(*partition),
        })
    }
}
