//! Record batches v2 as a consumer sees them, read by code that shares nothing with the producer's
//! encoder, and checked as strictly as their format allows.
#![forbid(unsafe_code)]

use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};

/// A record in a fetched batch, borrowed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord<'a> {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// The fields of a batch that its successors are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) base_offset: i64,
    pub(crate) count: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    /// The number of its codec, 0 for none.
    pub(crate) codec: i16,
}

/// Takes the first batch off `bytes`; `None` when the rest is no whole batch: brokers cut a fetched
/// slice of the log where the asked size ends.
///
/// # Errors
/// What is wrong with the batch, as a sentence.
pub(crate) fn next_batch(
    bytes: &mut &[u8],
    mut visit: impl FnMut(LogRecord<'_>),
) -> Result<Option<BatchHead>, String> {
    let mut reader = Reader(bytes);
    let Ok(base_offset) = reader.i64() else { return Ok(None) };
    let Ok(length) = reader.i32() else { return Ok(None) };
    let length = usize::try_from(length).map_err(|_| format!("batch length {length}"))?;
    if length > reader.0.len() {
        return Ok(None);
    }
    let mut reader = Reader(reader.take(length)?);
    let _leader_epoch = reader.i32()?;
    let magic = reader.take(1)?[0];
    ensure(magic == 2, || format!("magic {magic} at offset {base_offset}"))?;
    let crc = reader.i32()? as u32;
    let computed = crc32c::crc32c(reader.0);
    ensure(crc == computed, || {
        format!("CRC {crc:08x}, computed {computed:08x}, at offset {base_offset}")
    })?;
    let attributes = reader.i16()?;
    let last_delta = reader.i32()?;
    let base_timestamp = reader.i64()?;
    let max_timestamp = reader.i64()?;
    let head = BatchHead {
        base_offset,
        producer_id: reader.i64()?,
        producer_epoch: reader.i16()?,
        base_sequence: reader.i32()?,
        count: reader.i32()?,
        codec: attributes & CODEC,
    };
    ensure(attributes & !LOG_APPEND_TIME & !CODEC == 0, || {
        format!("attributes {attributes:#x}: {head:?}")
    })?;
    ensure(head.count > 0 && head.count == last_delta + 1, || {
        format!("last offset delta {last_delta}: {head:?}")
    })?;
    let appended = (attributes & LOG_APPEND_TIME != 0).then_some(max_timestamp);
    let plain = plain_records(head.codec, reader.0)?;
    let mut reader = Reader(plain.as_deref().unwrap_or(reader.0));
    let mut seen_max = i64::MIN;
    for index in 0..head.count {
        let mut record = reader.record(base_offset, base_timestamp, index)?;
        record.timestamp = appended.unwrap_or(record.timestamp);
        seen_max = seen_max.max(record.timestamp);
        visit(record);
    }
    ensure(seen_max == max_timestamp, || {
        format!("max timestamp {max_timestamp}, of the records {seen_max}: {head:?}")
    })?;
    ensure(reader.0.is_empty(), || format!("{} bytes after {head:?}", reader.0.len()))?;
    *bytes = &bytes[BEFORE_LENGTH_ENDS + length..];
    Ok(Some(head))
}

/// Records taken out of their codec, by decoders that are not the producer's. None: it has none.
fn plain_records(codec: i16, records: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut packed = Bytes::copy_from_slice(records);
    let take = |plain: &mut Bytes| Ok(plain.to_vec());
    let plain = match codec {
        0 => return Ok(None),
        1 => Gzip::decompress(&mut packed, take),
        2 => Snappy::decompress(&mut packed, take),
        3 => Lz4::decompress(&mut packed, take),
        4 => Zstd::decompress(&mut packed, take),
        other => return Err(format!("codec {other}")),
    };
    plain.map(Some).map_err(|error| format!("records of codec {codec}: {error}"))
}

/// The bytes that are left of a batch.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn record(&mut self, offset: i64, timestamp: i64, index: i32) -> Result<LogRecord<'a>, String> {
        let at = || format!("in record {index} of the batch at offset {offset}");
        let length = self.length()?;
        let length = length.ok_or_else(|| format!("a record of negative length, {}", at()))?;
        let mut body = Self(self.take(length)?);
        let attributes = body.take(1)?[0];
        ensure(attributes == 0, || format!("attributes {attributes} {}", at()))?;
        let timestamp = timestamp + body.varint()?;
        let delta = body.varint()?;
        ensure(delta == i64::from(index), || format!("offset delta {delta} {}", at()))?;
        let key = body.bytes()?;
        let value = body.bytes()?;
        let count = body.length()?.ok_or_else(|| format!("no header count {}", at()))?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = body.bytes()?.ok_or_else(|| format!("a header without name {}", at()))?;
            headers.push((name, body.bytes()?));
        }
        ensure(body.0.is_empty(), || format!("{} bytes too many {}", body.0.len(), at()))?;
        Ok(LogRecord { offset: offset + delta, timestamp, key, value, headers })
    }

    fn bytes(&mut self) -> Result<Option<&'a [u8]>, String> {
        self.length()?.map(|length| self.take(length)).transpose()
    }

    /// `None` for -1, which is how null is written.
    fn length(&mut self) -> Result<Option<usize>, String> {
        match self.varint()? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| format!("length {length}")),
        }
    }

    /// Zig-zag; one function for 32 and 64 bits, they agree on every value that both can hold.
    fn varint(&mut self) -> Result<i64, String> {
        let mut raw = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err("a varint of more than ten bytes".to_owned())
    }

    fn i16(&mut self) -> Result<i16, String> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, String> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, String> {
        self.array().map(i64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk().ok_or("the bytes end too early")?;
        self.0 = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(length).ok_or("the bytes end too early")?;
        self.0 = rest;
        Ok(head)
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Base offset and length.
const BEFORE_LENGTH_ENDS: usize = 12;
/// Attribute bits 0 to 2: the codec.
const CODEC: i16 = 7;
/// Attribute bit 3: the broker's clock, in `max_timestamp`, stands for every record's timestamp.
const LOG_APPEND_TIME: i16 = 8;
