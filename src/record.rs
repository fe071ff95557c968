//! What a user sends, and what comes back for it.
#![forbid(unsafe_code)]

mod headers;

use std::sync::Arc;
use std::time::Instant;

pub use headers::HeaderList;

pub use crate::protocol::record_batch::Header;

/// A record to be sent. Everything is borrowed and copied once, into the arena, by `send`.
///
/// ```
/// use kuring::Record;
/// let record = Record::new().key(b"user-7").value(b"clicked").partition(3);
/// # let _ = record;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    /// The last so many of them are the serializers'.
    pub(crate) added_headers: usize,
    pub(crate) timestamp: Option<i64>,
    pub(crate) partition: Option<i32>,
}

impl<'a> Record<'a> {
    /// A record without key, value (null), headers, timestamp and partition.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key. With a key and no partition, the key chooses the partition as Java does (PRT-2).
    #[must_use]
    pub fn key<B: AsRef<[u8]> + ?Sized>(mut self, key: &'a B) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// The value. Without one the record is a tombstone (null value).
    #[must_use]
    pub fn value<B: AsRef<[u8]> + ?Sized>(mut self, value: &'a B) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// The headers, in order; keys may repeat.
    #[must_use]
    pub fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// The create time in milliseconds since 1970. Without one, `send` takes the wall clock at the
    /// resolution of the kernel's tick (API-2). A negative one is refused by `send` (TIM-3).
    #[must_use]
    pub fn timestamp(mut self, ms: i64) -> Self {
        self.timestamp = Some(ms);
        self
    }

    /// The partition, if the caller chooses it. A negative one is refused by `send` (API-1).
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Its headers in two: the caller's own, and those that serializers added.
    pub(crate) fn own_and_added_headers(&self) -> (&'a [Header<'a>], &'a [Header<'a>]) {
        self.headers.split_at(self.headers.len() - self.added_headers)
    }

    /// Bytes of key, value and headers as the user counts them.
    pub(crate) fn payload_bytes(&self) -> usize {
        let bytes = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let headers = self.headers.iter().map(|header| header.key.len() + bytes(header.value));
        bytes(self.key) + bytes(self.value) + headers.sum::<usize>()
    }
}

/// Where an acknowledged record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; None with `acks=0` and after a duplicate the broker no longer remembers (META-3,
    /// META-4).
    pub offset: Option<i64>,
    /// Milliseconds since 1970: the broker's append time where the topic asks for it, else the
    /// record's own time (META-2).
    pub timestamp: i64,
}

/// The part of [`RecordMetadata`] that costs nothing to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The partition.
    pub partition: i32,
    /// The offset, as in [`RecordMetadata::offset`].
    pub offset: Option<i64>,
    /// The timestamp, as in [`RecordMetadata::timestamp`].
    pub timestamp: i64,
    /// When the sender handled the acknowledgement, on the monotonic clock.
    pub at: Instant,
}
