//! Reading requests, of which only a part may have arrived, at the level of integers, strings and
//! arrays.
//!
//! Bounds:   a count is checked against the bytes that can still hold its elements before anyone
//!           loops over it; nothing here allocates by a number the peer sent.
#![forbid(unsafe_code)]

/// Why a piece of a request could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireError {
    /// The bytes at hand end inside the piece; more may be on their way.
    Short,
    /// No further byte could make this right.
    Malformed(&'static str),
}

/// A cursor over the bytes of one request, or of the part of it that has arrived.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bytes were read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let rest = &self.bytes[self.position..];
        let piece = rest.get(..count).ok_or(WireError::Short)?;
        self.position += count;
        Ok(piece)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let piece = self.take(N)?;
        Ok(piece.try_into().expect("take returned N bytes"))
    }

    pub(crate) fn i8(&mut self) -> Result<i8, WireError> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// An unsigned varint of at most 32 bits.
    pub(crate) fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map_err(|_| WireError::Malformed("a varint above 32 bits"));
            }
        }
        Err(WireError::Malformed("a varint of more than five bytes"))
    }

    /// A zig-zag varint of at most 64 bits, as records use it.
    pub(crate) fn varlong(&mut self) -> Result<i64, WireError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(WireError::Malformed("a varint of more than ten bytes"))
    }

    /// A length or count in either form: `None` is null.
    fn length(&mut self, flexible: bool, plain: fn(&mut Self) -> Result<i64, WireError>) -> Length {
        if flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize));
        }
        match plain(self)? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| WireError::Malformed("a negative length")),
        }
    }

    /// A string, `None` for null.
    pub(crate) fn nullable_string(&mut self, flexible: bool) -> Result<Option<&'a str>, WireError> {
        let length = self.length(flexible, |reader| reader.i16().map(i64::from))?;
        let Some(length) = length else { return Ok(None) };
        if length > i16::MAX as usize {
            return Err(WireError::Malformed("a string above 32767 bytes"));
        }
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| WireError::Malformed("a string that is not UTF-8"))?;
        Ok(Some(text))
    }

    pub(crate) fn string(&mut self, flexible: bool) -> Result<&'a str, WireError> {
        self.nullable_string(flexible)?.ok_or(WireError::Malformed("null where a string must be"))
    }

    /// The length of a nullable block of bytes; the bytes themselves are left.
    pub(crate) fn bytes_length(&mut self, flexible: bool) -> Length {
        self.length(flexible, |reader| reader.i32().map(i64::from))
    }

    /// An array's element count; each element takes at least one of the `bytes_left` bytes.
    pub(crate) fn count(&mut self, flexible: bool, bytes_left: usize) -> Length {
        match self.length(flexible, |reader| reader.i32().map(i64::from))? {
            Some(count) if count > bytes_left => {
                Err(WireError::Malformed("a count above the bytes of its request"))
            }
            count => Ok(count),
        }
    }

    /// Skips the tagged fields of a flexible version.
    pub(crate) fn tags(&mut self, flexible: bool) -> Result<(), WireError> {
        if !flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let length = self.uvarint()? as usize;
            self.take(length)?;
        }
        Ok(())
    }
}

/// A length or count, `None` for null.
pub(crate) type Length = Result<Option<usize>, WireError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_above_the_bytes_that_remain_is_refused_before_any_loop() {
        let plain = 0x7fff_ffff_i32.to_be_bytes();
        let refused = Err(WireError::Malformed("a count above the bytes of its request"));
        assert_eq!(Reader::new(&plain).count(false, 1000), refused);
        let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(Reader::new(&compact).count(true, 1000), refused);
        assert_eq!(Reader::new(&[0]).count(true, 0), Ok(None));
    }

    #[test]
    fn varints_end_after_their_longest_form() {
        assert_eq!(
            Reader::new(&[0xff; 9]).uvarint(),
            Err(WireError::Malformed("a varint of more than five bytes"))
        );
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(),
            Err(WireError::Malformed("a varint above 32 bits"))
        );
        assert_eq!(Reader::new(&[0x80]).uvarint(), Err(WireError::Short));
        assert_eq!(Reader::new(&[0x01]).varlong(), Ok(-1));
        assert_eq!(Reader::new(&[0xac, 0x02]).varlong(), Ok(150));
    }

    #[test]
    fn tagged_fields_cannot_run_past_the_request() {
        assert_eq!(Reader::new(&[1, 0, 200, 1]).tags(true), Err(WireError::Short));
        assert_eq!(Reader::new(&[1, 0, 2, 9, 9]).tags(true), Ok(()));
    }
}
