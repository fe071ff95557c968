//! A record batch as a broker checks it, and the records in it as a test sees them.
//!
//! Bounds:   nothing is allocated by a number that a batch holds; a record ends where its length
//!           says, which lies inside the batch.
//! Source:   the record batch format, version 2; KIP-98.
#![forbid(unsafe_code)]

use crate::protocol::compression::Codec;
use crate::protocol::record_batch::{HEADER_BYTES, checksum};
use crate::protocol::{ErrorCode, Reader, WireError};

/// A record as it stands in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The partition that it is in.
    pub partition: i32,
    /// Its place there, from 0 on.
    pub offset: i64,
    /// The producer's create time, in milliseconds since 1970.
    pub timestamp: i64,
    /// The key, if there is one.
    pub key: Option<Vec<u8>>,
    /// The value; None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<StoredHeader>,
}

/// A header of a [`StoredRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHeader {
    /// The key; what is not UTF-8 in it is replaced by U+FFFD.
    pub key: String,
    /// The value, or null.
    pub value: Option<Vec<u8>>,
}

/// What is wrong with a batch, and what a broker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) text: String,
}

pub(super) fn refuse<T>(code: ErrorCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, text: text.into() })
}

/// The header fields of a batch whose every byte was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) codec: Codec,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    /// Of the first record; -1 without a producer id.
    pub(super) base_sequence: i32,
    pub(super) count: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
}

const ATTRIBUTES_CODEC: i16 = 0b111;
const ATTRIBUTES_TRANSACTIONAL: i16 = 0x10;
const ATTRIBUTES_CONTROL: i16 = 0x20;

/// The fields of a header, unchecked.
struct Fields {
    length: i32,
    magic: i8,
    crc: u32,
    attributes: i16,
    last_offset_delta: i32,
    head: BatchHead,
}

impl Fields {
    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, false);
        reader.i64("base_offset")?;
        let length = reader.i32("batch_length")?;
        reader.i32("partition_leader_epoch")?;
        let magic = reader.i8("magic")?;
        let crc = reader.i32("crc")?.cast_unsigned();
        let attributes = reader.i16("attributes")?;
        let last_offset_delta = reader.i32("last_offset_delta")?;
        let codec = match attributes & ATTRIBUTES_CODEC {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return Err(WireError::Malformed { field: "attributes", offset: 21 }),
        };
        let head = BatchHead {
            codec,
            base_timestamp: reader.i64("base_timestamp")?,
            max_timestamp: reader.i64("max_timestamp")?,
            producer_id: reader.i64("producer_id")?,
            producer_epoch: reader.i16("producer_epoch")?,
            base_sequence: reader.i32("base_sequence")?,
            count: reader.i32("records_count")?,
        };
        Ok(Self { length, magic, crc, attributes, last_offset_delta, head })
    }
}

/// The header of what may be a batch, for the list of what arrived.
pub(super) fn peek(bytes: &[u8]) -> Option<BatchHead> {
    Fields::read(bytes).ok().map(|fields| fields.head)
}

/// Checks what a produce request carries for one partition: it has to be one batch, whole and
/// sound. Of a compressed batch everything but the records themselves is checked.
pub(super) fn check(bytes: &[u8]) -> Result<BatchHead, Refusal> {
    let fields = match Fields::read(bytes) {
        Ok(fields) => fields,
        Err(error) => return refuse(ErrorCode::CorruptMessage, format!("a batch: {error}")),
    };
    let Fields { length, magic, crc, attributes, last_offset_delta, head } = fields;
    if magic != 2 {
        return refuse(ErrorCode::InvalidRecord, format!("magic {magic}, not 2"));
    }
    if i64::from(length) + 12 != bytes.len() as i64 {
        let text = format!("batch length says {length} and 12 bytes, {} were sent", bytes.len());
        return refuse(ErrorCode::CorruptMessage, text);
    }
    let computed = checksum(bytes);
    if crc != computed {
        let text = format!("CRC {crc:08x} stands in the batch, {computed:08x} is right");
        return refuse(ErrorCode::CorruptMessage, text);
    }
    if head.count <= 0 || last_offset_delta != head.count - 1 {
        let text = format!("{} records, last offset delta {last_offset_delta}", head.count);
        return refuse(ErrorCode::InvalidRecord, text);
    }
    if attributes & ATTRIBUTES_CONTROL != 0 {
        return refuse(ErrorCode::InvalidRecord, "a control batch, which only brokers write");
    }
    if attributes & ATTRIBUTES_TRANSACTIONAL != 0 {
        return refuse(ErrorCode::InvalidTxnState, "a transactional batch outside a transaction");
    }
    let ids = (head.producer_id, head.producer_epoch, head.base_sequence);
    if (head.producer_id >= 0 && (head.producer_epoch < 0 || head.base_sequence < 0))
        || (head.producer_id < 0 && ids != (-1, -1, -1))
    {
        return refuse(ErrorCode::InvalidRecord, format!("producer id, epoch, sequence: {ids:?}"));
    }
    if head.codec == Codec::None {
        check_records(&head, &bytes[HEADER_BYTES..])?;
    }
    Ok(head)
}

fn check_records(head: &BatchHead, bytes: &[u8]) -> Result<(), Refusal> {
    let mut reader = Reader::new(bytes, false);
    for ordinal in 0..head.count {
        if let Err(error) = RawRecord::read(&mut reader, ordinal) {
            let text = format!("record {ordinal} of {}: {error}", head.count);
            return refuse(ErrorCode::InvalidRecord, text);
        }
    }
    if reader.remaining() > 0 {
        let text = format!("{} bytes behind record {}", reader.remaining(), head.count);
        return refuse(ErrorCode::InvalidRecord, text);
    }
    Ok(())
}

/// The records of a batch that was checked; `records` is what stands behind its header, not
/// compressed any more. None when the bytes are no records after all: compressed ones were not
/// looked at before.
pub(super) fn records(
    head: &BatchHead,
    partition: i32,
    base_offset: i64,
    records: &[u8],
) -> Option<Vec<StoredRecord>> {
    let mut reader = Reader::new(records, false);
    let mut found = Vec::new();
    for ordinal in 0..head.count {
        let record = RawRecord::read(&mut reader, ordinal).ok()?;
        found.push(StoredRecord {
            partition,
            offset: base_offset + i64::from(ordinal),
            timestamp: head.base_timestamp.wrapping_add(record.delta),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers,
        });
    }
    (reader.remaining() == 0).then_some(found)
}

/// A record's fields as they stand in its batch.
struct RawRecord<'a> {
    delta: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<StoredHeader>,
}

impl<'a> RawRecord<'a> {
    fn read(reader: &mut Reader<'a>, ordinal: i32) -> Result<Self, WireError> {
        let offset = reader.position();
        let length = usize::try_from(reader.varint("length")?)
            .map_err(|_| WireError::Malformed { field: "length", offset })?;
        let mut body = Reader::new(reader.take(length, "a record")?, false);
        body.i8("attributes")?;
        let delta = body.varlong("timestamp_delta")?;
        let offset = body.position();
        if body.varint("offset_delta")? != ordinal {
            return Err(WireError::Malformed { field: "offset_delta", offset });
        }
        let key = nullable(&mut body, "key")?;
        let value = nullable(&mut body, "value")?;
        let offset = body.position();
        let mut headers = Vec::new();
        let count = body.varint("headers")?;
        if count < 0 || count as usize > body.remaining() {
            return Err(WireError::Malformed { field: "headers", offset });
        }
        for _ in 0..count {
            let offset = body.position();
            let key = nullable(&mut body, "header key")?
                .ok_or(WireError::Malformed { field: "header key", offset })?;
            let value = nullable(&mut body, "header value")?.map(<[u8]>::to_vec);
            headers.push(StoredHeader { key: String::from_utf8_lossy(key).into_owned(), value });
        }
        body.finish("the end of the record")?;
        Ok(Self { delta, key, value, headers })
    }
}

fn nullable<'a>(body: &mut Reader<'a>, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
    let offset = body.position();
    match body.varint(field)? {
        -1 => Ok(None),
        length => {
            let length =
                usize::try_from(length).map_err(|_| WireError::Malformed { field, offset })?;
            body.take(length, field).map(Some)
        }
    }
}
