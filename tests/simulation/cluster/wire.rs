//! Bytes of requests and answers: a bounded reader and a writer, independent of the client's.
//!
//! Bounds:   a reader never looks behind its frame, and a count is never believed before the bytes
//!           for it are there.
#![forbid(unsafe_code)]

/// Reads one request; None wherever the bytes are not what they should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Whether strings, bytes and arrays have the compact form, and tagged fields follow (KIP-482).
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { rest: bytes, flexible }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn become_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        match self.fixed::<1>()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.fixed::<1>()?[0])
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Option<u128> {
        self.fixed().map(u128::from_be_bytes)
    }

    /// A variable-length unsigned integer.
    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return None;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A zig-zag integer.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A length: -1 is null.
    fn length(&mut self, wide: bool) -> Option<Option<usize>> {
        if self.flexible {
            return Some((self.unsigned()? as usize).checked_sub(1));
        }
        let length = if wide { self.i32()? } else { i32::from(self.i16()?) };
        match length {
            -1 => Some(None),
            length => usize::try_from(length).ok().map(Some),
        }
    }

    pub(super) fn nullable_string(&mut self) -> Option<Option<&'a str>> {
        match self.length(false)? {
            None => Some(None),
            Some(length) => str::from_utf8(self.take(length)?).ok().map(Some),
        }
    }

    pub(super) fn string(&mut self) -> Option<&'a str> {
        self.nullable_string()?
    }

    pub(super) fn nullable_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match self.length(true)? {
            None => Some(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// The count of an array, which may be null; each element takes at least one byte.
    pub(super) fn count(&mut self) -> Option<Option<usize>> {
        match self.length(true)? {
            Some(count) if count > self.rest.len() => None,
            count => Some(count),
        }
    }

    /// Tagged fields, which are passed over.
    pub(super) fn tags(&mut self) -> Option<()> {
        if self.flexible {
            for _ in 0..self.unsigned()? {
                self.unsigned()?;
                let length = self.unsigned()? as usize;
                self.take(length)?;
            }
        }
        Some(())
    }
}

/// Writes one answer.
#[derive(Debug)]
pub(super) struct Writer {
    out: Vec<u8>,
    flexible: bool,
}

impl Writer {
    /// Starts a frame: its size, the correlation id and, where the header is flexible, its tags.
    pub(super) fn answer(correlation: i32, flexible_header: bool, flexible: bool) -> Self {
        let mut writer = Self { out: Vec::with_capacity(128), flexible: flexible_header };
        writer.i32(0);
        writer.i32(correlation);
        writer.tags();
        writer.flexible = flexible;
        writer
    }

    /// The frame, its size filled in.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let size = (self.out.len() - 4) as u32;
        self.out[..4].copy_from_slice(&size.to_be_bytes());
        self.out
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn uuid(&mut self, value: u128) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    pub(super) fn string(&mut self, value: Option<&str>) {
        let length = value.map_or(-1, |text| text.len() as i64);
        if self.flexible {
            self.unsigned((length + 1) as u64);
        } else {
            self.i16(length as i16);
        }
        self.out.extend_from_slice(value.unwrap_or_default().as_bytes());
    }

    pub(super) fn count(&mut self, count: usize) {
        if self.flexible {
            self.unsigned(count as u64 + 1);
        } else {
            self.i32(count as i32);
        }
    }

    pub(super) fn nodes(&mut self, nodes: &[i32]) {
        self.count(nodes.len());
        nodes.iter().for_each(|node| self.i32(*node));
    }

    /// No tagged fields.
    pub(super) fn tags(&mut self) {
        if self.flexible {
            self.unsigned(0);
        }
    }

    /// One tagged field, number 0, whose content `write` writes.
    pub(super) fn tag_0(&mut self, write: impl FnOnce(&mut Self)) {
        let mut content = Self { out: Vec::new(), flexible: true };
        write(&mut content);
        self.unsigned(1);
        self.unsigned(0);
        self.unsigned(content.out.len() as u64);
        self.out.extend_from_slice(&content.out);
    }
}
