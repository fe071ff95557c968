//! The bounded reader and the writer under every message.
//!
//! Bounds:   a count is believed only if the bytes that remain could hold that many elements.
//! Never:    panics on what it reads; allocates.
//! Source:   Kafka protocol guide, "protocol primitive types"; KIP-482 (flexible versions).
//!
//! A flexible message writes lengths as unsigned varints of length + 1 and ends each structure in
//! tagged fields; an older one has fixed-width lengths and no tags. Reader and writer know which of
//! the two they are in, so that a message's code shows its fields once.
#![forbid(unsafe_code)]

use super::varint::{self, VarintError};
use crate::ids::TopicId;

/// Bytes that are not what the protocol says. The connection they came from is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("{field} at byte {offset}: {missing} more bytes are needed")]
    Short {
        /// The field's name in the protocol.
        field: &'static str,
        /// Where the field starts.
        offset: usize,
        /// How many bytes are missing at least.
        missing: usize,
    },
    /// A field has a value that its type cannot have.
    #[error("{field} at byte {offset} is malformed")]
    Malformed {
        /// The field's name in the protocol.
        field: &'static str,
        /// Where the field starts.
        offset: usize,
    },
    /// A count that the bytes behind it cannot hold.
    #[error("{field} at byte {offset}: {count} elements do not fit in {remaining} bytes")]
    CountTooLarge {
        /// The field's name in the protocol.
        field: &'static str,
        /// Where the count starts.
        offset: usize,
        /// The count as it was read.
        count: usize,
        /// The bytes that remain behind it.
        remaining: usize,
    },
    /// A version that this crate does not speak.
    #[error("{field}: version {version} is not supported")]
    Unsupported {
        /// The message's name.
        field: &'static str,
        /// The version that was asked for.
        version: i16,
    },
}

/// Reads fields from the front of a message.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Index of the next byte; `position <= bytes.len()`.
    position: usize,
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// A reader over a whole message of a flexible version or of an older one.
    pub fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { bytes, position: 0, flexible }
    }

    /// Index of the next byte.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes have not been read.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The bytes that have not been read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// Ends the message.
    ///
    /// # Errors
    /// `Malformed` when bytes are left: both sides mean different layouts.
    pub fn finish(&self, field: &'static str) -> Result<(), WireError> {
        if self.remaining() > 0 {
            return Err(WireError::Malformed { field, offset: self.position });
        }
        Ok(())
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        if let Some((taken, _)) = self.rest().split_at_checked(count) {
            self.position += count;
            return Ok(taken);
        }
        Err(WireError::Short { field, offset: self.position, missing: count - self.remaining() })
    }

    fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        if let Some((taken, _)) = self.rest().split_first_chunk::<N>() {
            self.position += N;
            return Ok(*taken);
        }
        Err(WireError::Short { field, offset: self.position, missing: N - self.remaining() })
    }

    /// A signed byte.
    pub fn i8(&mut self, field: &'static str) -> Result<i8, WireError> {
        self.fixed(field).map(i8::from_be_bytes)
    }

    /// A 16-bit integer.
    pub fn i16(&mut self, field: &'static str) -> Result<i16, WireError> {
        self.fixed(field).map(i16::from_be_bytes)
    }

    /// A 32-bit integer.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        self.fixed(field).map(i32::from_be_bytes)
    }

    /// A 64-bit integer.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, WireError> {
        self.fixed(field).map(i64::from_be_bytes)
    }

    /// A boolean: any byte but zero is true, as in every other client.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, WireError> {
        self.i8(field).map(|byte| byte != 0)
    }

    /// A topic id.
    pub fn uuid(&mut self, field: &'static str) -> Result<TopicId, WireError> {
        self.fixed(field).map(TopicId)
    }

    /// An unsigned varint.
    pub fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, WireError> {
        let read = varint::read_unsigned(self.rest());
        self.advance(read, field)
    }

    /// A zig-zag varint.
    pub fn varint(&mut self, field: &'static str) -> Result<i32, WireError> {
        self.unsigned_varint(field).map(varint::unzigzag)
    }

    /// A zig-zag varlong.
    pub fn varlong(&mut self, field: &'static str) -> Result<i64, WireError> {
        let read = varint::read_unsigned_long(self.rest());
        self.advance(read, field).map(varint::unzigzag_long)
    }

    fn advance<T>(
        &mut self,
        read: Result<(T, usize), VarintError>,
        field: &'static str,
    ) -> Result<T, WireError> {
        let offset = self.position;
        match read {
            Ok((value, size)) => {
                self.position += size;
                Ok(value)
            }
            Err(VarintError::Short) => Err(WireError::Short { field, offset, missing: 1 }),
            Err(VarintError::TooLong) => Err(WireError::Malformed { field, offset }),
        }
    }

    /// A length in the message's style, `wide` being the older styles' 32 bits; None is null.
    fn length(&mut self, wide: bool, field: &'static str) -> Result<Option<usize>, WireError> {
        let offset = self.position;
        let length = if self.flexible {
            // Length + 1, and zero for null; u32::MAX - 1 at most, which i64 holds.
            i64::from(self.unsigned_varint(field)?) - 1
        } else if wide {
            i64::from(self.i32(field)?)
        } else {
            i64::from(self.i16(field)?)
        };
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(length as usize)),
            _ => Err(WireError::Malformed { field, offset }),
        }
    }

    /// A string that is never null.
    pub fn string(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        let offset = self.position;
        self.nullable_string(field)?.ok_or(WireError::Malformed { field, offset })
    }

    /// A string or null.
    pub fn nullable_string(&mut self, field: &'static str) -> Result<Option<&'a str>, WireError> {
        let offset = self.position;
        let Some(length) = self.length(false, field)? else { return Ok(None) };
        let bytes = self.take(length, field)?;
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|_| WireError::Malformed { field, offset })
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
        match self.length(true, field)? {
            Some(length) => self.take(length, field).map(Some),
            None => Ok(None),
        }
    }

    /// The count of an array that is never null, whose elements take `min_element_bytes` or more.
    pub fn array_len(
        &mut self,
        min_element_bytes: usize,
        field: &'static str,
    ) -> Result<usize, WireError> {
        let offset = self.position;
        self.nullable_array_len(min_element_bytes, field)?
            .ok_or(WireError::Malformed { field, offset })
    }

    /// The count of an array, whose elements take `min_element_bytes` or more; None is null.
    pub fn nullable_array_len(
        &mut self,
        min_element_bytes: usize,
        field: &'static str,
    ) -> Result<Option<usize>, WireError> {
        let offset = self.position;
        let Some(count) = self.length(true, field)? else { return Ok(None) };
        let remaining = self.remaining();
        if count > remaining / min_element_bytes.max(1) {
            return Err(WireError::CountTooLarge { field, offset, count, remaining });
        }
        Ok(Some(count))
    }

    /// Skips the tagged fields that close a structure of a flexible message.
    pub fn skip_tags(&mut self, field: &'static str) -> Result<(), WireError> {
        self.tags(field, |_, _| Ok(false))
    }

    /// Visits the tagged fields that close a structure of a flexible message; an older message has
    /// none. The visitor returns whether it knows the tag: then it has to have read all of it.
    pub fn tags(
        &mut self,
        field: &'static str,
        mut visit: impl FnMut(u32, &mut Self) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        if !self.flexible {
            return Ok(());
        }
        let offset = self.position;
        let count = self.unsigned_varint(field)? as usize;
        let remaining = self.remaining();
        // A tagged field is a tag and a size at least.
        if count > remaining / 2 {
            return Err(WireError::CountTooLarge { field, offset, count, remaining });
        }
        for _ in 0..count {
            let tag = self.unsigned_varint(field)?;
            let size = self.unsigned_varint(field)? as usize;
            let start = self.position;
            self.take(size, field)?;
            // The same offsets as in the message, and an end that the field cannot pass.
            let bytes = &self.bytes[..self.position];
            let mut tagged = Self { bytes, position: start, flexible: true };
            if visit(tag, &mut tagged)? {
                tagged.finish(field)?;
            }
        }
        Ok(())
    }
}

/// Appends fields to a message.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    flexible: bool,
}

impl<'a> Writer<'a> {
    /// A writer of a message of a flexible version or of an older one.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, flexible: bool) -> Self {
        Self { out, flexible }
    }

    /// Bytes in the underlying vector.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    /// A 16-bit integer.
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// A 32-bit integer.
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// A 64-bit integer.
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    /// A topic id.
    pub fn uuid(&mut self, value: TopicId) {
        self.raw(&value.0);
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes `value` over the four bytes at `position`.
    pub fn patch_i32(&mut self, position: usize, value: i32) {
        self.out[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// An unsigned varint.
    pub fn unsigned_varint(&mut self, value: u32) {
        let mut bytes = [0; varint::VARINT_BYTES_MAX];
        let size = varint::write_unsigned(&mut bytes, value);
        self.raw(&bytes[..size]);
    }

    /// A string that is never null.
    ///
    /// # Panics
    /// When the string is longer than 32767 bytes: names are checked where they enter.
    pub fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    /// A string or null.
    ///
    /// # Panics
    /// As [`Writer::string`].
    pub fn nullable_string(&mut self, value: Option<&str>) {
        let length = value.map(|text| {
            i16::try_from(text.len()).expect("names are checked where they enter the crate")
        });
        match length {
            _ if self.flexible => self.unsigned_varint(length.map_or(0, |l| l as u32 + 1)),
            Some(length) => self.i16(length),
            None => self.i16(-1),
        }
        self.raw(value.unwrap_or_default().as_bytes());
    }

    /// The count of an array, or null.
    ///
    /// # Panics
    /// When the count is above `i32::MAX`.
    pub fn array_len(&mut self, count: Option<usize>) {
        self.wide_length(count);
    }

    /// The length in front of bytes, or null. The bytes themselves are the caller's to add.
    ///
    /// # Panics
    /// When the length is above `i32::MAX`.
    pub fn bytes_len(&mut self, length: Option<usize>) {
        self.wide_length(length);
    }

    fn wide_length(&mut self, length: Option<usize>) {
        let length = length.map(|length| {
            i32::try_from(length).expect("requests are bounded by max.request.size, an i32")
        });
        match length {
            _ if self.flexible => self.unsigned_varint(length.map_or(0, |l| l as u32 + 1)),
            Some(length) => self.i32(length),
            None => self.i32(-1),
        }
    }

    /// Closes a structure: no tagged fields in a flexible message, nothing in an older one.
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.out.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_of_strings_and_arrays_read_what_was_written() {
        for flexible in [false, true] {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, flexible);
            writer.string("");
            writer.nullable_string(None);
            writer.nullable_string(Some("grüße"));
            writer.array_len(Some(2));
            writer.i32(7);
            writer.i32(-8);
            writer.array_len(None);
            writer.bytes_len(Some(3));
            writer.raw(b"abc");
            writer.uuid(TopicId([9; 16]));
            writer.bool(true);
            writer.no_tags();
            let mut reader = Reader::new(&out, flexible);
            assert_eq!(reader.string("a"), Ok(""));
            assert_eq!(reader.nullable_string("b"), Ok(None));
            assert_eq!(reader.nullable_string("c"), Ok(Some("grüße")));
            assert_eq!(reader.array_len(4, "d"), Ok(2));
            assert_eq!((reader.i32("e"), reader.i32("f")), (Ok(7), Ok(-8)));
            assert_eq!(reader.nullable_array_len(1, "g"), Ok(None));
            assert_eq!(reader.nullable_bytes("h"), Ok(Some(&b"abc"[..])));
            assert_eq!(reader.uuid("i"), Ok(TopicId([9; 16])));
            assert_eq!(reader.bool("j"), Ok(true));
            assert_eq!(reader.skip_tags("k"), Ok(()));
            assert_eq!(reader.finish("l"), Ok(()));
        }
    }

    #[test]
    fn a_count_that_the_rest_cannot_hold_is_refused() {
        let hostile = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(
            Reader::new(&hostile, false).array_len(1, "topics"),
            Err(WireError::CountTooLarge {
                field: "topics",
                offset: 0,
                count: 0x7fff_ffff,
                remaining: 4
            })
        );
        let compact = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(matches!(
            Reader::new(&compact, true).array_len(1, "topics"),
            Err(WireError::CountTooLarge { count: 0xffff_fffe, .. })
        ));
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 3, 4], false).array_len(2, "two").is_ok());
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 3], false).array_len(2, "two").is_err());
    }

    #[test]
    fn an_error_names_the_field_and_where_it_starts() {
        let mut reader = Reader::new(&[0, 1, 0, 5, b'a'], false);
        assert_eq!(reader.i16("error_code"), Ok(1));
        let error = reader.string("host").expect_err("four bytes are missing");
        assert_eq!(error, WireError::Short { field: "host", offset: 4, missing: 4 });
        assert_eq!(error.to_string(), "host at byte 4: 4 more bytes are needed");
    }

    #[test]
    fn lengths_below_null_and_bytes_that_are_not_text_are_malformed() {
        let malformed = Err(WireError::Malformed { field: "name", offset: 0 });
        assert_eq!(Reader::new(&[0xff, 0xfe], false).nullable_string("name"), malformed);
        assert_eq!(Reader::new(&[0xff, 0xff], false).string("name").map(Some), malformed);
        assert_eq!(Reader::new(&[0, 1, 0xff], false).nullable_string("name"), malformed);
    }

    #[test]
    fn a_known_tag_is_read_to_its_end_and_an_unknown_one_is_skipped() {
        // Two tags: 5 with two bytes, 0 with four.
        let bytes = [2, 5, 2, 0xaa, 0xbb, 0, 4, 0, 0, 0, 9, 0x77];
        let mut seen = None;
        let mut reader = Reader::new(&bytes, true);
        let visited = reader.tags("tags", |tag, tagged| {
            if tag == 0 {
                seen = Some((tagged.position(), tagged.i32("leader")?));
            }
            Ok(tag == 0)
        });
        assert_eq!((visited, seen), (Ok(()), Some((7, 9))));
        assert_eq!(reader.rest(), [0x77]);
        let cut = Reader::new(&bytes, true).tags("tags", |tag, tagged| {
            tagged.i8("part of it")?;
            Ok(tag == 0)
        });
        assert_eq!(cut, Err(WireError::Malformed { field: "tags", offset: 8 }));
        let past = Reader::new(&bytes, true).tags("tags", |_, tagged| {
            tagged.i64("more than it")?;
            Ok(true)
        });
        assert!(matches!(past, Err(WireError::Short { .. })));
    }
}
