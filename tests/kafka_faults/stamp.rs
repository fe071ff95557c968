//! Records that say what they are: topic, thread, number, partition where one was named, and a
//! checksum over all of it. Whoever finds one in a log needs nothing else to judge it.
#![forbid(unsafe_code)]

use crate::support::batches::LogRecord;

/// What one record is. Everything follows from the topic's name, the thread and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) thread: usize,
    pub(crate) number: u32,
}

impl Stamp {
    /// Every third record names its partition.
    pub(crate) fn partition(self, partitions: i32) -> Option<i32> {
        (self.number.is_multiple_of(3))
            .then(|| (self.number / 3).cast_signed().rem_euclid(partitions))
    }

    /// Every other record has a key, one of a few dozen for each thread.
    pub(crate) fn key(self) -> Option<String> {
        let Self { thread, number } = self;
        number.is_multiple_of(2).then(|| format!("key-{thread}-{}", number / 2 % KEYS))
    }

    /// Mostly a hundred bytes, now and then some thousand.
    pub(crate) fn value(self, topic: &str, partitions: i32) -> Vec<u8> {
        let mixed = (self.number ^ (self.thread as u32) << 24).wrapping_mul(0x9e37_79b1);
        let padding = if mixed.is_multiple_of(100) { mixed >> 19 } else { mixed >> 25 };
        let mut value = Vec::with_capacity(HEAD_BYTES + topic.len() + padding as usize + 4);
        value.extend((self.thread as u32).to_be_bytes());
        value.extend(self.number.to_be_bytes());
        value.extend(self.partition(partitions).unwrap_or(-1).to_be_bytes());
        value.extend((topic.len() as u32).to_be_bytes());
        value.extend(topic.as_bytes());
        value.extend((0..padding).map(|index| (mixed.wrapping_add(index * 7) >> 3) as u8));
        let checksum = crc32c::crc32c(&value);
        value.extend(checksum.to_be_bytes());
        value
    }

    /// Reads the stamp of a record that was found in a partition of `topic`.
    ///
    /// # Errors
    /// What is not as it was sent, as a sentence.
    pub(crate) fn read(
        found: &LogRecord<'_>,
        topic: &str,
        partitions: i32,
        partition: i32,
    ) -> Result<Self, String> {
        let value = found.value.ok_or("a record without value")?;
        let (body, checksum) = value.split_last_chunk::<4>().ok_or("a value of a few bytes")?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*checksum) {
            return Err("the checksum in the value does not match".to_owned());
        }
        let word = |index: usize| {
            let bytes = body.get(index * 4..index * 4 + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or("a value that is too short")
        };
        let stamp = Self { thread: word(0)? as usize, number: word(1)? };
        // One comparison covers topic, named partition, length and padding.
        if value != stamp.value(topic, partitions) {
            return Err(format!("{stamp:?} is another record's, or another topic's"));
        }
        if found.key != stamp.key().as_deref().map(str::as_bytes) {
            return Err(format!("{stamp:?} has the key {:?}", found.key));
        }
        match stamp.partition(partitions) {
            Some(named) if named != partition => {
                Err(format!("{stamp:?} was meant for partition {named}"))
            }
            _ => Ok(stamp),
        }
    }
}

/// Thread, number, partition, and the length of the topic's name.
const HEAD_BYTES: usize = 16;
const KEYS: u32 = 48;
