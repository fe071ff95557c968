//! Variable-length integers: zig-zag ones in records, unsigned ones in flexible messages.
//!
//! Seven bits per byte, the lowest first; the top bit says that another byte follows.
//! Source:   Kafka protocol guide, "protocol primitive types"; KIP-482.
#![forbid(unsafe_code)]

/// Most bytes of a 32-bit value.
pub const VARINT_BYTES_MAX: usize = 5;
/// Most bytes of a 64-bit value.
pub const VARLONG_BYTES_MAX: usize = 10;

/// Why bytes are not a variable-length integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarintError {
    /// The bytes end before the value does.
    Short,
    /// The value does not end within its most bytes, or has bits beyond its width.
    TooLong,
}

/// Maps signed to unsigned so that small magnitudes stay small: 0, -1, 1, -2 become 0, 1, 2, 3.
#[inline]
pub const fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// The 64-bit form of [`zigzag`].
#[inline]
pub const fn zigzag_long(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub const fn unzigzag(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// The inverse of [`zigzag_long`].
#[inline]
pub const fn unzigzag_long(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Bytes of an unsigned value.
#[inline]
pub const fn unsigned_bytes(value: u32) -> usize {
    unsigned_long_bytes(value as u64)
}

/// Bytes of an unsigned 64-bit value.
#[inline]
pub const fn unsigned_long_bytes(value: u64) -> usize {
    // The highest bit's index times 9/64 is its index divided by seven, for every index below 64:
    // no branch and no division.
    (((value | 1).ilog2() * 9 + 73) / 64) as usize
}

/// Bytes of a zig-zag value.
#[inline]
pub const fn varint_bytes(value: i32) -> usize {
    unsigned_bytes(zigzag(value))
}

/// Bytes of a zig-zag 64-bit value.
#[inline]
pub const fn varlong_bytes(value: i64) -> usize {
    unsigned_long_bytes(zigzag_long(value))
}

/// Writes an unsigned value at the front of `out`; returns the bytes written.
///
/// # Panics
/// When `out` is shorter than the value.
#[inline]
pub fn write_unsigned(out: &mut [u8], value: u32) -> usize {
    write_unsigned_long(out, u64::from(value))
}

/// Writes an unsigned 64-bit value at the front of `out`; returns the bytes written.
///
/// # Panics
/// When `out` is shorter than the value.
#[inline]
pub fn write_unsigned_long(out: &mut [u8], value: u64) -> usize {
    // Lengths and deltas of ordinary records take one byte, or two; the loop is for the rest.
    if value < 1 << 7 {
        out[0] = value as u8;
        return 1;
    }
    if value < 1 << 14 {
        out[..2].copy_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
        return 2;
    }
    write_wide(out, value)
}

/// Out of line, so that the short cases stay small enough to be inlined everywhere.
#[cold]
#[inline(never)]
fn write_wide(out: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 1 << 7 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// Writes a zig-zag value at the front of `out`; returns the bytes written.
///
/// # Panics
/// When `out` is shorter than the value.
#[inline]
pub fn write_varint(out: &mut [u8], value: i32) -> usize {
    write_unsigned(out, zigzag(value))
}

/// Writes a zig-zag 64-bit value at the front of `out`; returns the bytes written.
///
/// # Panics
/// When `out` is shorter than the value.
#[inline]
pub fn write_varlong(out: &mut [u8], value: i64) -> usize {
    write_unsigned_long(out, zigzag_long(value))
}

/// Reads an unsigned value from the front of `bytes`: the value and its size.
///
/// # Errors
/// [`VarintError`]; the connection that sent it cannot be trusted further.
pub fn read_unsigned(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    let (value, size) = read_at_most(bytes, VARINT_BYTES_MAX)?;
    u32::try_from(value).map(|value| (value, size)).map_err(|_| VarintError::TooLong)
}

/// Reads an unsigned 64-bit value from the front of `bytes`: the value and its size.
///
/// # Errors
/// As [`read_unsigned`].
pub fn read_unsigned_long(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    read_at_most(bytes, VARLONG_BYTES_MAX)
}

/// Reads a zig-zag value from the front of `bytes`: the value and its size.
///
/// # Errors
/// As [`read_unsigned`].
pub fn read_varint(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    read_unsigned(bytes).map(|(value, size)| (unzigzag(value), size))
}

/// Reads a zig-zag 64-bit value from the front of `bytes`: the value and its size.
///
/// # Errors
/// As [`read_unsigned`].
pub fn read_varlong(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    read_unsigned_long(bytes).map(|(value, size)| (unzigzag_long(value), size))
}

fn read_at_most(bytes: &[u8], bytes_max: usize) -> Result<(u64, usize), VarintError> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(bytes_max).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // Only the tenth byte reaches past bit 63: it may carry one bit.
        if index == VARLONG_BYTES_MAX - 1 && bits > 1 {
            return Err(VarintError::TooLong);
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(if bytes.len() < bytes_max { VarintError::Short } else { VarintError::TooLong })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARINTS: [(i32, &[u8]); 17] = [
        (0, &[0x00]),
        (-1, &[0x01]),
        (1, &[0x02]),
        (63, &[0x7e]),
        (-64, &[0x7f]),
        (64, &[0x80, 0x01]),
        (-65, &[0x81, 0x01]),
        (8191, &[0xfe, 0x7f]),
        (-8192, &[0xff, 0x7f]),
        (8192, &[0x80, 0x80, 0x01]),
        (-8193, &[0x81, 0x80, 0x01]),
        (1_048_575, &[0xfe, 0xff, 0x7f]),
        (1_048_576, &[0x80, 0x80, 0x80, 0x01]),
        (134_217_727, &[0xfe, 0xff, 0xff, 0x7f]),
        (134_217_728, &[0x80, 0x80, 0x80, 0x80, 0x01]),
        (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];

    #[test]
    fn zigzag_varints_have_the_published_bytes_both_ways() {
        for (value, expected) in VARINTS {
            let mut out = [0; VARINT_BYTES_MAX];
            let written = write_varint(&mut out, value);
            assert_eq!(&out[..written], expected, "{value}");
            assert_eq!(varint_bytes(value), expected.len(), "{value}");
            let (read, size) = read_unsigned(expected).expect("a valid varint");
            assert_eq!((unzigzag(read), size), (value, expected.len()));
        }
    }

    #[test]
    fn varlongs_grow_at_each_seventh_bit_up_to_ten_bytes() {
        for bit in [6, 13, 20, 27, 34, 41, 48, 55, 62] {
            let step = 1_i64 << bit;
            let size = (bit + 1) / 7;
            for (value, expected) in
                [(step - 1, size), (-step, size), (step, size + 1), (-step - 1, size + 1)]
            {
                let mut out = [0; VARLONG_BYTES_MAX];
                assert_eq!(varlong_bytes(value), expected, "{value}");
                assert_eq!(write_varlong(&mut out, value), expected, "{value}");
                let (read, read_bytes) = read_unsigned_long(&out).expect("a valid varlong");
                assert_eq!((unzigzag_long(read), read_bytes), (value, expected));
            }
        }
        let mut out = [0; VARLONG_BYTES_MAX];
        assert_eq!(write_varlong(&mut out, i64::MAX), 10);
        assert_eq!(out, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(write_varlong(&mut out, i64::MIN), 10);
        assert_eq!(out, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn unsigned_varints_have_the_published_bytes_both_ways() {
        let vectors: [(u32, &[u8]); 8] = [
            (0, &[0x00]),
            (63, &[0x3f]),
            (64, &[0x40]),
            (8191, &[0xff, 0x3f]),
            (8192, &[0x80, 0x40]),
            (1_048_575, &[0xff, 0xff, 0x3f]),
            (1_048_576, &[0x80, 0x80, 0x40]),
            (2_147_483_647, &[0xff, 0xff, 0xff, 0xff, 0x07]),
        ];
        for (value, expected) in vectors {
            let mut out = [0; VARINT_BYTES_MAX];
            let written = write_unsigned(&mut out, value);
            assert_eq!(&out[..written], expected, "{value}");
            assert_eq!(unsigned_bytes(value), expected.len(), "{value}");
            assert_eq!(read_unsigned(expected), Ok((value, expected.len())));
        }
    }

    #[test]
    fn a_sixth_and_an_eleventh_byte_are_errors() {
        assert_eq!(read_unsigned(&[0x80; 5]), Err(VarintError::TooLong));
        assert_eq!(read_unsigned(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), Err(VarintError::TooLong));
        assert_eq!(read_unsigned_long(&[0x80; 10]), Err(VarintError::TooLong));
        assert_eq!(read_unsigned_long(&[0x80; 11]), Err(VarintError::TooLong));
    }

    #[test]
    fn bits_beyond_the_width_are_errors() {
        assert_eq!(read_unsigned(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(VarintError::TooLong));
        let mut eleven_bits = [0xff; 10];
        eleven_bits[9] = 0x02;
        assert_eq!(read_unsigned_long(&eleven_bits), Err(VarintError::TooLong));
    }

    #[test]
    fn a_value_cut_short_is_told_apart_from_one_too_long() {
        assert_eq!(read_unsigned(&[]), Err(VarintError::Short));
        assert_eq!(read_unsigned(&[0x80; 4]), Err(VarintError::Short));
        assert_eq!(read_unsigned_long(&[0xff; 9]), Err(VarintError::Short));
    }

    #[test]
    fn sizes_agree_with_the_bytes_written_around_every_power_of_two() {
        for bit in 0..64 {
            for value in [1_u64 << bit, (1 << bit) - 1, (1 << bit) | 1] {
                let mut out = [0; VARLONG_BYTES_MAX];
                assert_eq!(write_unsigned_long(&mut out, value), unsigned_long_bytes(value));
            }
        }
        assert_eq!(unsigned_long_bytes(u64::MAX), VARLONG_BYTES_MAX);
    }
}
