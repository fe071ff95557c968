//! A record batch as a broker checks it, and as a log keeps it.
//!
//! Source:   the record batch format, version 2.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};

use super::wire::Reader;

const HEADER_BYTES: usize = 61;

/// The header of a batch whose every byte was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// Of the first record; -1 without a producer id.
    pub(crate) sequence: i32,
    pub(crate) count: u32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
}

impl Head {
    /// The sequence of the last record: behind 2^31 - 1 comes 0.
    pub(crate) fn last_sequence(&self) -> i32 {
        (self.sequence as u32).wrapping_add(self.count - 1) as i32 & i32::MAX
    }
}

/// A batch in a log. All replicas that hold the batch hold this one: two batches are the same if
/// and only if they are one allocation.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) head: Head,
    pub(crate) base_offset: u64,
    /// With its records plain.
    bytes: Box<[u8]>,
}

/// One record of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) offset: u64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// -1 without a producer id.
    pub(crate) sequence: i32,
}

impl Stored {
    /// Of a batch that was checked.
    pub(super) fn new(head: Head, base_offset: u64, bytes: &[u8]) -> Self {
        let mut plain = bytes[..HEADER_BYTES].to_vec();
        plain.extend_from_slice(&plain_records(bytes).unwrap_or_default());
        Self { head, base_offset, bytes: plain.into() }
    }

    /// The offset behind the last record.
    pub(crate) fn end(&self) -> u64 {
        self.base_offset + u64::from(self.head.count)
    }

    /// The records in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut reader = Reader::new(&self.bytes[HEADER_BYTES..], false);
        (0..self.head.count).map_while(move |ordinal| {
            let (delta, key, value) = record(&mut reader, ordinal)?;
            let sequence = match self.head.sequence {
                -1 => -1,
                first => (first as u32).wrapping_add(ordinal) as i32 & i32::MAX,
            };
            Some(Record {
                offset: self.base_offset + u64::from(ordinal),
                timestamp: self.head.base_timestamp + delta,
                key,
                value,
                producer_id: self.head.producer_id,
                epoch: self.head.epoch,
                sequence,
            })
        })
    }
}

/// Looks at every byte of what a request carries for one partition: it has to be one batch.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(bytes: &[u8]) -> Result<Head, String> {
    let mut reader = Reader::new(bytes, false);
    let short = || format!("a batch of {} bytes", bytes.len());
    let mut fields = || {
        let (base_offset, length) = (reader.i64()?, reader.i32()?);
        let behind_length = reader.remaining();
        let (leader_epoch, magic, crc) = (reader.i32()?, reader.u8()?, reader.u32()?);
        let (attributes, last_offset_delta) = (reader.i16()?, reader.i32()?);
        let (base_timestamp, max_timestamp) = (reader.i64()?, reader.i64()?);
        let (producer_id, epoch, sequence) = (reader.i64()?, reader.i16()?, reader.i32()?);
        let count = reader.i32()?;
        let fixed = (base_offset, length as usize, leader_epoch, magic, attributes & !CODEC);
        let head = Head {
            producer_id,
            epoch,
            sequence,
            count: count as u32,
            base_timestamp,
            max_timestamp,
        };
        Some((fixed == (0, behind_length, -1, 2, 0), crc, last_offset_delta, head))
    };
    let (is_plain, crc, last_offset_delta, head) = fields().ok_or_else(short)?;
    if !is_plain {
        return Err(format!("a batch header with wrong constants or length: {head:?}"));
    }
    if crc32c::crc32c(&bytes[21..]) != crc {
        return Err(format!("a batch whose checksum is wrong: {head:?}"));
    }
    if (head.count as i32) < 1 || head.count as i32 - 1 != last_offset_delta {
        return Err(format!("{} records, last offset delta {last_offset_delta}", head.count));
    }
    let ids = (head.producer_id, head.epoch, head.sequence);
    let is_identified = head.producer_id >= 0 && head.epoch >= 0 && head.sequence >= 0;
    if !is_identified && ids != (-1, -1, -1) {
        return Err(format!("producer id, epoch and sequence {ids:?}"));
    }
    let records = plain_records(bytes)?;
    check_records(&head, Reader::new(&records, false))?;
    Ok(head)
}

/// The codec's number, in the attributes.
const CODEC: i16 = 0b111;
const ATTRIBUTES_AT: usize = 21;

/// The records of a batch, taken out of their codec by decoders that are not the producer's.
fn plain_records(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let codec = i16::from_be_bytes([bytes[ATTRIBUTES_AT], bytes[ATTRIBUTES_AT + 1]]) & CODEC;
    let records = &bytes[HEADER_BYTES..];
    let mut packed = Bytes::copy_from_slice(records);
    let take = |plain: &mut Bytes| Ok(plain.to_vec());
    let plain = match codec {
        0 => return Ok(Cow::Borrowed(records)),
        1 => Gzip::decompress(&mut packed, take),
        2 => Snappy::decompress(&mut packed, take),
        3 => Lz4::decompress(&mut packed, take),
        4 => Zstd::decompress(&mut packed, take),
        other => return Err(format!("a batch of codec {other}")),
    };
    plain.map(Cow::Owned).map_err(|error| format!("records of codec {codec}: {error}"))
}

/// How far the time of the first record is from the base, and its value, of a batch that was
/// checked.
pub(super) fn first_record(bytes: &[u8]) -> (i64, Option<Cow<'_, [u8]>>) {
    match plain_records(bytes) {
        Ok(Cow::Borrowed(records)) => {
            let first = record(&mut Reader::new(records, false), 0);
            first.map_or((0, None), |(delta, _, value)| (delta, value.map(Cow::Borrowed)))
        }
        Ok(Cow::Owned(records)) => {
            let first = record(&mut Reader::new(&records, false), 0);
            let owned = |value: &[u8]| Cow::Owned(value.to_vec());
            first.map_or((0, None), |(delta, _, value)| (delta, value.map(owned)))
        }
        Err(_) => (0, None),
    }
}

fn check_records(head: &Head, mut reader: Reader<'_>) -> Result<(), String> {
    let mut max_timestamp = i64::MIN;
    for ordinal in 0..head.count {
        let Some((delta, ..)) = record(&mut reader, ordinal) else {
            return Err(format!("record {ordinal} of {} is malformed", head.count));
        };
        max_timestamp = max_timestamp.max(head.base_timestamp.wrapping_add(delta));
    }
    if max_timestamp != head.max_timestamp {
        return Err(format!("largest timestamp {max_timestamp}: {head:?}"));
    }
    if !reader.is_empty() {
        return Err(format!("{} bytes behind the last record", reader.remaining()));
    }
    Ok(())
}

type Field<'a> = Option<&'a [u8]>;

/// Timestamp delta, key and value of the next record.
fn record<'a>(reader: &mut Reader<'a>, ordinal: u32) -> Option<(i64, Field<'a>, Field<'a>)> {
    let length = usize::try_from(reader.signed()?).ok()?;
    let mut body = Reader::new(reader.take(length)?, false);
    let attributes = body.u8()?;
    let delta = body.signed()?;
    let offset_delta = body.signed()?;
    if attributes != 0 || offset_delta != i64::from(ordinal) {
        return None;
    }
    let (key, value) = (field(&mut body)?, field(&mut body)?);
    for _ in 0..usize::try_from(body.signed()?).ok()? {
        field(&mut body)??;
        field(&mut body)?;
    }
    body.is_empty().then_some((delta, key, value))
}

fn field<'a>(reader: &mut Reader<'a>) -> Option<Field<'a>> {
    match reader.signed()? {
        -1 => Some(None),
        length => reader.take(usize::try_from(length).ok()?).map(Some),
    }
}
