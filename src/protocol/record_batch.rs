//! Record batch v2: exact sizes, the record encoder, the batch header and its checksum.
//!
//! Bounds:   a record takes exactly [`record_bytes`]; [`upper_bound_bytes`] needs no ordinal.
//! Never:    allocates, reads a clock. [`encode_record`] runs on application threads, per record.
//! Source:   RBF-1 to RBF-11 of the Java producer; KIP-98.
//!
//! | offset | field | bytes | | offset | field | bytes |
//! |---|---|---|---|---|---|---|
//! | 0 | base offset, 0 | 8 | | 27 | base timestamp | 8 |
//! | 8 | length behind this field | 4 | | 35 | max timestamp | 8 |
//! | 12 | partition leader epoch, -1 | 4 | | 43 | producer id | 8 |
//! | 16 | magic, 2 | 1 | | 51 | producer epoch | 2 |
//! | 17 | CRC-32C of all behind it | 4 | | 53 | base sequence | 4 |
//! | 21 | attributes | 2 | | 57 | record count | 4 |
//! | 23 | last offset delta | 4 | | 61 | records | |
#![forbid(unsafe_code)]

use super::varint::{
    read_varint, read_varlong, varint_bytes, varlong_bytes, write_varint, write_varlong,
};
use crate::ids::{ProducerIdentity, Sequence};

/// Bytes of a batch in front of its records.
pub const HEADER_BYTES: usize = 61;
/// A record's fields beside key, value and headers at most: length 5, attributes 1, timestamp delta
/// 10, offset delta 5.
pub const RECORD_OVERHEAD_BYTES_MAX: usize = 21;

const LENGTH_AT: usize = 8;
const LENGTH_COUNTS_FROM: usize = 12;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
/// Where a batch has the timestamp of its first record.
pub(super) const BASE_TIMESTAMP_AT: usize = 27;
/// Where a batch has the count of its records.
pub(super) const RECORD_COUNT_AT: usize = 57;
const MAGIC: u8 = 2;

/// A header of a record: a key, and a value that may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key. The same key may stand several times.
    pub key: &'a str,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
}

/// Bytes of a nullable field: the length's varint and the content; null is length -1, one byte.
#[inline]
fn field_bytes(length: Option<usize>) -> usize {
    match length {
        Some(length) => varint_bytes(length as i32) + length,
        None => 1,
    }
}

#[inline]
fn headers_bytes(headers: &[Header<'_>]) -> usize {
    let mut bytes = varint_bytes(headers.len() as i32);
    for header in headers {
        bytes += field_bytes(Some(header.key.len())) + field_bytes(header.value.map(<[u8]>::len));
    }
    bytes
}

/// The exact bytes of a record, its length prefix included. `ordinal` is its place in the batch,
/// the delta is against the batch's base timestamp, `key` and `value` are lengths or null.
///
/// Lengths above `i32::MAX` have no encoding; [`upper_bound_bytes`] is checked before a record gets
/// this far.
#[inline]
pub fn record_bytes(
    ordinal: u32,
    timestamp_delta: i64,
    key: Option<usize>,
    value: Option<usize>,
    headers: &[Header<'_>],
) -> usize {
    record_bytes_around(content_bytes(key, value, headers), ordinal, timestamp_delta)
}

/// Bytes of a record's key, value and headers: the part of [`record_bytes`] that depends neither on
/// the batch nor on the place in it.
#[inline]
pub fn content_bytes(key: Option<usize>, value: Option<usize>, headers: &[Header<'_>]) -> usize {
    field_bytes(key) + field_bytes(value) + headers_bytes(headers)
}

/// [`record_bytes`] of a record with so many [`content_bytes`].
#[inline]
pub fn record_bytes_around(content: usize, ordinal: u32, timestamp_delta: i64) -> usize {
    let body = 1 + varlong_bytes(timestamp_delta) + varint_bytes(ordinal as i32) + content;
    varint_bytes(body as i32) + body
}

/// The bytes of a batch that holds only this record, at most: what `max.request.size` and
/// `buffer.memory` are checked against (APP-3).
pub fn upper_bound_bytes(
    key: Option<usize>,
    value: Option<usize>,
    headers: &[Header<'_>],
) -> usize {
    HEADER_BYTES
        + RECORD_OVERHEAD_BYTES_MAX
        + field_bytes(key)
        + field_bytes(value)
        + headers_bytes(headers)
}

/// Bytes of the length prefix inside a record of `total` bytes.
#[inline]
fn prefix_bytes(total: usize) -> usize {
    // A prefix of n bytes spans bodies up to 2^(7n - 1) - 1, hence totals up to that plus n.
    match total {
        0..=0x40 => 1,
        0x41..=0x2001 => 2,
        0x2002..=0x10_0002 => 3,
        0x10_0003..=0x800_0003 => 4,
        _ => 5,
    }
}

/// Writes a record into `out`, which has exactly [`record_bytes`] of the same arguments.
///
/// # Panics
/// When `out` has another length: the claim and the record have come apart, and the batch would be
/// unreadable.
#[inline]
pub fn encode_record(
    out: &mut [u8],
    ordinal: u32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) {
    let body = out.len() - prefix_bytes(out.len());
    let mut rest = put_varint(out, body as i32);
    rest[0] = 0;
    rest = &mut rest[1..];
    let delta_bytes = write_varlong(rest, timestamp_delta);
    rest = &mut rest[delta_bytes..];
    rest = put_varint(rest, ordinal as i32);
    rest = put_field(rest, key);
    rest = put_field(rest, value);
    rest = put_varint(rest, headers.len() as i32);
    for header in headers {
        rest = put_field(rest, Some(header.key.as_bytes()));
        rest = put_field(rest, header.value);
    }
    assert!(rest.is_empty(), "a record has another size than was claimed for it");
}

/// As [`encode_record`], with key, value and headers as they stand in another batch. `out` has
/// exactly [`record_bytes_around`] of the same arguments.
///
/// # Panics
/// When `out` has another length.
pub fn encode_record_around(out: &mut [u8], ordinal: u32, timestamp_delta: i64, content: &[u8]) {
    let total = out.len();
    put_head(out, total, ordinal, timestamp_delta).copy_from_slice(content);
}

/// Writes what stands in front of the content of a record of `total` bytes; `out` is all of it.
///
/// # Panics
/// When `out` has another length.
pub fn encode_head(out: &mut [u8], total: usize, ordinal: u32, timestamp_delta: i64) {
    let rest = put_head(out, total, ordinal, timestamp_delta);
    assert!(rest.is_empty(), "a head has another size than was left for it");
}

/// Writes a record whose value comes later; returns where the value of
/// `value_bytes` is. `out` has exactly [`record_bytes`] of the same arguments.
///
/// # Panics
/// When `out` has another length.
#[inline]
pub fn encode_record_without_value(
    out: &mut [u8],
    ordinal: u32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value_bytes: usize,
    headers: &[Header<'_>],
) -> usize {
    let total = out.len();
    let rest = put_head(out, total, ordinal, timestamp_delta);
    let rest = put_varint(put_field(rest, key), value_bytes as i32);
    let value_at = total - rest.len();
    put_headers(&mut rest[value_bytes..], headers);
    value_at
}

/// Where a record of `total` bytes has its attributes.
#[inline]
pub fn attributes_at(total: usize) -> usize {
    prefix_bytes(total)
}

/// Key and headers of a record that [`encode_record_without_value`] wrote into `record`.
///
/// # Panics
/// When it did not.
pub fn key_and_headers(record: &[u8]) -> (Option<&[u8]>, Vec<Header<'_>>) {
    let mut fields = Fields(&record[prefix_bytes(record.len()) + 1..]);
    let (_, delta_bytes) = read_varlong(fields.0).expect(OURS);
    fields.0 = &fields.0[delta_bytes..];
    fields.length();
    let (key, _) = (fields.take(), fields.take());
    let count = fields.length().expect(OURS);
    let header = |_| {
        let key = fields.take().and_then(|key| std::str::from_utf8(key).ok());
        Header { key: key.expect(OURS), value: fields.take() }
    };
    (key, (0..count).map(header).collect())
}

const OURS: &str = "a record that this process wrote";

/// The fields of a record of our own, one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// None: null.
    fn length(&mut self) -> Option<usize> {
        let (length, bytes) = read_varint(self.0).expect(OURS);
        self.0 = &self.0[bytes..];
        usize::try_from(length).ok()
    }

    fn take(&mut self) -> Option<&'a [u8]> {
        let (field, rest) = self.length().map(|length| self.0.split_at(length))?;
        self.0 = rest;
        Some(field)
    }
}

/// Writes to the front of `out`; returns what is behind it.
#[inline(always)]
fn put_head(out: &mut [u8], total: usize, ordinal: u32, timestamp_delta: i64) -> &mut [u8] {
    let rest = put_varint(out, (total - prefix_bytes(total)) as i32);
    rest[0] = 0;
    let rest = &mut rest[1..];
    let delta_bytes = write_varlong(rest, timestamp_delta);
    put_varint(&mut rest[delta_bytes..], ordinal as i32)
}

/// Writes the last fields of a record.
#[inline(always)]
fn put_headers(out: &mut [u8], headers: &[Header<'_>]) {
    let mut rest = put_varint(out, headers.len() as i32);
    for header in headers {
        rest = put_field(rest, Some(header.key.as_bytes()));
        rest = put_field(rest, header.value);
    }
    assert!(rest.is_empty(), "a record has another size than was claimed for it");
}

/// Writes to the front of `out`; returns what is behind it.
#[inline(always)]
fn put_varint(out: &mut [u8], value: i32) -> &mut [u8] {
    let bytes = write_varint(out, value);
    &mut out[bytes..]
}

/// Writes to the front of `out`; returns what is behind it.
#[inline(always)]
fn put_field<'a>(out: &'a mut [u8], content: Option<&[u8]>) -> &'a mut [u8] {
    let Some(content) = content else { return put_varint(out, -1) };
    let (front, rest) = put_varint(out, content.len() as i32).split_at_mut(content.len());
    front.copy_from_slice(content);
    rest
}

/// A batch's attribute bits (RBF-3). A producer's timestamps are create times: bit 3 stays 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(i16);

impl Attributes {
    /// No compression, no transaction.
    pub const NONE: Self = Self(0);
    const CODEC: i16 = 0b111;
    const TRANSACTIONAL: i16 = 0x10;

    /// With the codec of a wire number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    #[must_use]
    pub const fn with_codec(self, codec: u8) -> Self {
        Self(self.0 & !Self::CODEC | codec as i16 & Self::CODEC)
    }

    /// As part of a transaction.
    #[must_use]
    pub const fn transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// The bits.
    pub const fn wire(self) -> i16 {
        self.0
    }
}

/// The fields of a batch header that a producer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Codec and transaction.
    pub attributes: Attributes,
    /// `1 <= record_count <= i32::MAX`
    pub record_count: u32,
    /// The timestamp of the first record (RBF-6).
    pub base_timestamp: i64,
    /// The largest timestamp.
    pub max_timestamp: i64,
    /// Who sends it; `NONE` without idempotence (RBF-4).
    pub producer: ProducerIdentity,
    /// The sequence of the first record; None without idempotence.
    pub base_sequence: Option<Sequence>,
}

impl BatchHeader {
    /// Writes all of the header but the checksum, which is left zero, to the front of `out`, for
    /// `records_bytes` that follow it, compressed or not.
    ///
    /// # Panics
    /// When `out` is shorter than [`HEADER_BYTES`], or the batch is larger than `i32::MAX`.
    pub fn write(&self, out: &mut [u8], records_bytes: usize) {
        debug_assert!(self.record_count >= 1, "a batch has a record");
        let length = i32::try_from(HEADER_BYTES - LENGTH_COUNTS_FROM + records_bytes)
            .expect("a batch is bounded by max.request.size, an i32");
        let last_offset_delta = self.record_count as i32 - 1;
        let base_sequence = self.base_sequence.map_or(-1, Sequence::value);
        let out = &mut out[..HEADER_BYTES];
        out[..LENGTH_AT].fill(0);
        out[LENGTH_AT..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        out[16] = MAGIC;
        out[CRC_AT..ATTRIBUTES_AT].fill(0);
        out[ATTRIBUTES_AT..23].copy_from_slice(&self.attributes.wire().to_be_bytes());
        out[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer.id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer.epoch.to_be_bytes());
        out[53..57].copy_from_slice(&base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&(self.record_count as i32).to_be_bytes());
    }
}

/// CRC-32C of any bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    // The 32-bit checksum comes back in 64 bits.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The CRC-32C of a whole batch: of everything from its attributes on (RBF-1).
///
/// # Panics
/// When `batch` is shorter than its header.
pub fn checksum(batch: &[u8]) -> u32 {
    assert!(batch.len() >= HEADER_BYTES, "a whole batch");
    crc32c(&batch[ATTRIBUTES_AT..])
}

/// Computes and stores the checksum of a whole batch, whose other bytes are final.
///
/// # Panics
/// When `batch` is shorter than its header.
pub fn stamp_checksum(batch: &mut [u8]) {
    let crc = checksum(batch);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Record<'a> {
        timestamp: i64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: &'a [Header<'a>],
    }

    fn batch(mut header: BatchHeader, records: &[Record<'_>]) -> Vec<u8> {
        header.record_count = records.len() as u32;
        header.base_timestamp = records[0].timestamp;
        header.max_timestamp = records.iter().map(|record| record.timestamp).max().unwrap();
        let mut out = vec![0xee; HEADER_BYTES];
        for (ordinal, record) in records.iter().enumerate() {
            let Record { timestamp, key, value, headers } = record;
            let delta = timestamp - header.base_timestamp;
            let (key_length, value_length) = (key.map(<[u8]>::len), value.map(<[u8]>::len));
            let size = record_bytes(ordinal as u32, delta, key_length, value_length, headers);
            let start = out.len();
            out.resize(start + size, 0xee);
            encode_record(&mut out[start..], ordinal as u32, delta, *key, *value, headers);
        }
        let records_bytes = out.len() - HEADER_BYTES;
        header.write(&mut out, records_bytes);
        stamp_checksum(&mut out);
        out
    }

    const PLAIN: BatchHeader = BatchHeader {
        attributes: Attributes::NONE,
        record_count: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer: ProducerIdentity::NONE,
        base_sequence: None,
    };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn rbf_4_golden_batch_a_has_no_key_and_no_producer_id() {
        let value = Some(&b"hello"[..]);
        let bytes = batch(PLAIN, &[Record { timestamp: 0, key: None, value, headers: &[] }]);
        assert_eq!(
            hex(&bytes),
            concat!(
                "00000000000000000000003dffffffff026636fc590000000000000000000000000000",
                "0000000000000000ffffffffffffffffffffffffffff0000000116000000010a68656c",
                "6c6f00"
            )
        );
    }

    #[test]
    fn rbf_5_rbf_6_golden_batch_b_has_headers_a_null_value_and_a_negative_delta() {
        let headers = [Header { key: "h", value: Some(b"x") }, Header { key: "n", value: None }];
        let records = [
            Record { timestamp: 1000, key: Some(b"k1"), value: Some(b"v1"), headers: &[] },
            Record { timestamp: 998, key: Some(b"k2"), value: None, headers: &headers },
        ];
        assert_eq!(
            hex(&batch(PLAIN, &records)),
            concat!(
                "00000000000000000000004cffffffff023fe869d700000000000100000000000003e8",
                "00000000000003e8ffffffffffffffffffffffffffff0000000214000000046b310476",
                "31001e000302046b32010402680278026e01"
            )
        );
    }

    #[test]
    fn rbf_3_golden_batch_c_is_transactional_with_id_epoch_and_sequence() {
        let header = BatchHeader {
            attributes: Attributes::NONE.transactional(),
            producer: ProducerIdentity { id: 1000, epoch: 5 },
            base_sequence: Some(Sequence::new(7)),
            ..PLAIN
        };
        let timestamp = 1_700_000_000_000;
        let (key, value) = (Some(&b"key"[..]), Some(&b"value"[..]));
        let bytes = batch(header, &[Record { timestamp, key, value, headers: &[] }]);
        assert_eq!(
            hex(&bytes),
            concat!(
                "000000000000000000000040ffffffff0205548bc30010000000000000018bcfe56800",
                "0000018bcfe5680000000000000003e8000500000007000000011c000000066b65790a",
                "76616c756500"
            )
        );
    }

    #[test]
    fn app_3_sizes_and_upper_bounds_are_the_published_ones() {
        let published = [(10, 17, 95), (100, 109, 186), (1000, 1009, 1086), (10240, 10251, 10327)];
        for (value, size, upper_bound) in published {
            assert_eq!(record_bytes(0, 0, None, Some(value), &[]), size);
            assert_eq!(upper_bound_bytes(None, Some(value), &[]), upper_bound);
        }
        assert_eq!(record_bytes(0, 0, None, None, &[]), 7);
    }

    #[test]
    fn the_length_prefix_is_known_from_the_size_alone() {
        let edges = [0, 1, 6, 57, 58, 59, 8180, 8183, 8184, 8190, 1_048_560, 1_048_570, 1_048_580];
        for value in edges.into_iter().chain(40..80).chain(8170..8200).chain(1_048_550..1_048_590) {
            for (ordinal, delta) in [(0, 0), (63, -64), (64, 64), (u32::MAX >> 1, i64::MIN)] {
                let total = record_bytes(ordinal, delta, None, Some(value), &[]);
                let prefix = prefix_bytes(total);
                assert_eq!(varint_bytes((total - prefix) as i32), prefix, "{total} bytes");
            }
        }
        for body in [134_217_727_usize, 134_217_728, i32::MAX as usize] {
            let total = body + varint_bytes(body as i32);
            assert_eq!(prefix_bytes(total), varint_bytes(body as i32));
        }
    }

    #[test]
    fn no_record_is_larger_than_its_upper_bound() {
        let headers = [Header { key: "key", value: Some(&[1; 300]) }];
        for value in [0, 63, 64, 8191, 8192, 100_000] {
            let bound = upper_bound_bytes(Some(value), Some(value), &headers);
            let worst = record_bytes(u32::MAX >> 1, i64::MIN, Some(value), Some(value), &headers);
            assert!(HEADER_BYTES + worst <= bound);
        }
    }

    #[test]
    fn a_record_whose_value_comes_later_is_the_same_and_tells_its_key_and_headers() {
        let headers = [Header { key: "h", value: Some(b"x") }, Header { key: "n", value: None }];
        for (key, headers) in [(None, &[][..]), (Some(&b"key"[..]), &headers)] {
            for value in [0, 1, 50, 300, 9_000] {
                let value = vec![b'v'; value];
                let (length, delta) = (Some(value.len()), -70);
                let bytes = record_bytes(80, delta, key.map(<[u8]>::len), length, headers);
                let (mut whole, mut later) = (vec![0; bytes], vec![0; bytes]);
                encode_record(&mut whole, 80, delta, key, Some(&value), headers);
                let at =
                    encode_record_without_value(&mut later, 80, delta, key, value.len(), headers);
                assert_eq!(later[attributes_at(bytes)], 0);
                assert_eq!(key_and_headers(&later), (key, headers.to_vec()));
                later[at..at + value.len()].copy_from_slice(&value);
                assert_eq!(later, whole);
            }
        }
    }

    #[test]
    #[should_panic(expected = "another size")]
    fn a_record_that_is_not_what_was_claimed_is_refused() {
        encode_record(&mut [0; 30], 0, 0, None, Some(b"ten bytes."), &[]);
    }

    #[test]
    fn rbf_1_the_checksum_is_crc_32c_of_all_behind_it() {
        assert_eq!(crc32c(b"Some String"), 608_512_271);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let value = Some(&b"hello"[..]);
        let mut bytes = batch(PLAIN, &[Record { timestamp: 0, key: None, value, headers: &[] }]);
        let crc = checksum(&bytes);
        bytes[..CRC_AT].fill(0x55);
        assert_eq!(checksum(&bytes), crc, "offset, length, epoch and magic are outside");
        bytes[ATTRIBUTES_AT] ^= 1;
        assert_ne!(checksum(&bytes), crc);
    }

    #[test]
    fn rbf_3_attributes_have_their_bits() {
        assert_eq!(Attributes::NONE.with_codec(4).transactional().wire(), 0x14);
        assert_eq!(Attributes::NONE.with_codec(3).with_codec(1).wire(), 1);
    }
}
