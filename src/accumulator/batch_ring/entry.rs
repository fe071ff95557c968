//! A record on its way into a batch: its fields, and the two encodings that write them.
//!
//! Thread:   any. Runs per record.
//! Never:    allocates.
#![forbid(unsafe_code)]

use crate::protocol::plain_record::Plan;
use crate::protocol::record_batch::{self, HEADER_BYTES, Header};

/// The fields of a record as they go into a batch.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [Header<'a>],
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

impl Entry<'_> {
    /// Bytes of key, value and headers.
    #[inline]
    pub(super) fn content_bytes(&self) -> usize {
        let length = |field: Option<&[u8]>| field.map(<[u8]>::len);
        record_batch::content_bytes(length(self.key), length(self.value), self.headers)
    }

    pub(super) fn bytes(&self, ordinal: u32, base_timestamp: i64) -> usize {
        let delta = self.timestamp.wrapping_sub(base_timestamp);
        record_batch::record_bytes_around(self.content_bytes(), ordinal, delta)
    }

    pub(super) fn encode(&self, out: &mut [u8], ordinal: u32, delta: i64) {
        record_batch::encode_record(out, ordinal, delta, self.key, self.value, self.headers);
    }

    /// Bytes of a batch of this record alone.
    pub(super) fn alone_bytes(&self) -> usize {
        HEADER_BYTES + self.bytes(0, self.timestamp)
    }
}

/// How a record is turned into bytes, in two steps: its size before the claim, its bytes after it.
pub(super) trait Encoding {
    type Plan;

    /// What is known of the record at this place in a batch, and its size. None: not by this one.
    fn plan(&self, entry: &Entry<'_>, ordinal: u32, delta: i64) -> Option<(Self::Plan, usize)>;

    fn write(plan: Self::Plan, entry: &Entry<'_>, out: &mut [u8]);
}

/// The usual records.
pub(super) struct Plain;

impl Encoding for Plain {
    type Plan = Plan;

    #[inline(always)]
    fn plan(&self, entry: &Entry<'_>, ordinal: u32, delta: i64) -> Option<(Plan, usize)> {
        let plan = Plan::new(ordinal, delta, entry.key, entry.value)?;
        Some((plan, plan.bytes()))
    }

    #[inline(always)]
    fn write(plan: Plan, entry: &Entry<'_>, out: &mut [u8]) {
        plan.write(out, entry.key, entry.value);
    }
}

/// The same ones, also a while after the first one of their batch.
pub(super) struct Late;

impl Encoding for Late {
    type Plan = Plan;

    #[inline(always)]
    fn plan(&self, entry: &Entry<'_>, ordinal: u32, delta: i64) -> Option<(Plan, usize)> {
        let plan = Plan::new_late(ordinal, delta, entry.key, entry.value)?;
        Some((plan, plan.bytes()))
    }

    #[inline(always)]
    fn write(plan: Plan, entry: &Entry<'_>, out: &mut [u8]) {
        plan.write(out, entry.key, entry.value);
    }
}

/// All records.
pub(super) struct Any {
    /// [`Entry::content_bytes`], computed once, however often a claim is tried.
    pub(super) content: usize,
}

impl Encoding for Any {
    type Plan = (u32, i64);

    #[inline]
    fn plan(&self, _: &Entry<'_>, ordinal: u32, delta: i64) -> Option<((u32, i64), usize)> {
        let bytes = record_batch::record_bytes_around(self.content, ordinal, delta);
        Some(((ordinal, delta), bytes))
    }

    #[inline]
    fn write((ordinal, delta): (u32, i64), entry: &Entry<'_>, out: &mut [u8]) {
        entry.encode(out, ordinal, delta);
    }
}
