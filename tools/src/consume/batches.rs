//! Record batches as a consumer sees them, read by code that is not the producer's.
//!
//! Bounds:   a batch within the bytes that came, its records within the batch; nothing is allocated
//!           by a count that a batch claims. Only a codec may make many bytes of few.
//! Never:    passes over a batch whose checksum is wrong.
//! Source:   the record batch of KIP-98, magic 2.
#![forbid(unsafe_code)]

use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};

/// A record in a fetched batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundRecord<'a> {
    /// Where it is.
    pub partition: i32,
    /// Where it is in the partition.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// Bytes in front of those that the length counts.
const HEAD_BYTES: usize = 12;
const CODEC: i16 = 0b111;
const CONTROL: i16 = 1 << 5;

/// Takes the first batch off `bytes` and shows its records; returns the offset behind it. None when
/// the rest is no whole batch: brokers cut what they send where the asked size ends. Batches of
/// control records are passed over.
///
/// # Errors
/// What is wrong with the batch, as a sentence.
pub(super) fn next_batch(
    bytes: &mut Bytes,
    partition: i32,
    visit: &mut dyn FnMut(FoundRecord<'_>),
) -> Result<Option<i64>, String> {
    let mut head = Reader(bytes);
    let (Some(base), Some(length)) = (head.i64(), head.i32()) else { return Ok(None) };
    let at = |what: &str| format!("the batch at offset {base} of partition {partition} {what}");
    let length = usize::try_from(length).map_err(|_| at("has a negative length"))?;
    if head.0.len() < length {
        return Ok(None);
    }
    let batch = bytes.split_to(HEAD_BYTES + length).slice(HEAD_BYTES..);
    let short = || at("is shorter than its head");
    let mut fields = Reader(&batch);
    fields.i32().ok_or_else(short)?; // leader epoch
    match fields.take(1).ok_or_else(short)? {
        [2] => {}
        _ => return Err(at("is of an older format than Kafka 0.11's, which is not read here")),
    }
    let checksum = fields.i32().ok_or_else(short)? as u32;
    if checksum != crc32c::crc32c(fields.0) {
        return Err(at("has a wrong checksum"));
    }
    let attributes = fields.i16().ok_or_else(short)?;
    let last_delta = fields.i32().ok_or_else(short)?;
    fields.take(8 + 8 + 8 + 2 + 4).ok_or_else(short)?; // timestamps, producer, epoch, sequence
    let count = fields.i32().ok_or_else(short)?;
    if last_delta < 0 {
        return Err(at("has a negative last offset"));
    }
    let next = base + i64::from(last_delta) + 1;
    if attributes & CONTROL != 0 {
        return Ok(Some(next));
    }
    let packed = batch.slice(batch.len() - fields.0.len()..);
    let plain = unpacked(attributes & CODEC, packed).map_err(|error| at(&error))?;
    let mut records = Reader(&plain);
    for _ in 0..count {
        let record = records.record(partition, base);
        visit(record.ok_or_else(|| at("has a record that cannot be read"))?);
    }
    if records.0.is_empty() { Ok(Some(next)) } else { Err(at("has bytes behind its last record")) }
}

fn unpacked(codec: i16, mut packed: Bytes) -> Result<Bytes, String> {
    let take = |plain: &mut Bytes| Ok(plain.clone());
    let plain = match codec {
        0 => return Ok(packed),
        1 => Gzip::decompress(&mut packed, take),
        2 => Snappy::decompress(&mut packed, take),
        3 => Lz4::decompress(&mut packed, take),
        4 => Zstd::decompress(&mut packed, take),
        other => return Err(format!("has the codec {other}, which nobody knows")),
    };
    plain.map_err(|error| format!("cannot be decompressed: {error}"))
}

/// The bytes that are left. What is not there is None.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// Zigzag, seven bits to a byte.
    fn varint(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    /// Bytes behind their length; the inner None is null.
    fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Some(None),
        }
    }

    fn record(&mut self, partition: i32, base: i64) -> Option<FoundRecord<'a>> {
        let mut body = Self(self.bytes()??);
        body.take(1)?; // attributes
        body.varint()?; // timestamp
        let offset = base.checked_add(body.varint()?)?;
        // Headers follow, which nobody asks for.
        Some(FoundRecord { partition, offset, key: body.bytes()?, value: body.bytes()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::records::{
        Compression, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record, RecordBatchEncoder,
        RecordEncodeOptions, TimestampType,
    };

    fn record(offset: i64, value: &'static str) -> Record {
        Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: offset as i32,
            timestamp: 1_700_000_000_000,
            key: (offset % 2 == 0).then(|| Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: Default::default(),
        }
    }

    fn encoded(compression: Compression) -> Bytes {
        let mut bytes = BytesMut::new();
        let records = [record(40, "forty"), record(41, "forty-one")];
        let options = RecordEncodeOptions { version: 2, compression };
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        bytes.freeze()
    }

    type Read = (Result<Option<i64>, String>, Vec<(i64, bool, Vec<u8>)>);

    fn read(mut bytes: Bytes) -> Read {
        let mut found = Vec::new();
        let next = next_batch(&mut bytes, 3, &mut |it| {
            found.push((it.offset, it.key.is_some(), it.value.unwrap_or_default().to_vec()));
        });
        (next, found)
    }

    #[test]
    fn every_codec_s_records_are_read() {
        let codecs = [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ];
        for codec in codecs {
            let found = vec![(40, true, b"forty".to_vec()), (41, false, b"forty-one".to_vec())];
            assert_eq!(read(encoded(codec)), (Ok(Some(42)), found), "{codec:?}");
        }
    }

    #[test]
    fn a_batch_that_was_cut_off_is_left_for_the_next_fetch() {
        let whole = encoded(Compression::None);
        for length in 0..whole.len() {
            assert_eq!(read(whole.slice(..length)), (Ok(None), vec![]), "{length}");
        }
    }

    #[test]
    fn no_byte_behind_the_leader_epoch_can_change_unseen() {
        let whole = encoded(Compression::None);
        for at in HEAD_BYTES + 4..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            assert!(read(bytes.into()).0.is_err(), "{at}");
        }
    }

    #[test]
    fn a_count_that_is_not_there_is_an_error_and_no_allocation() {
        let mut bytes = encoded(Compression::None).to_vec();
        bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        let checksum = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        let (next, found) = read(bytes.into());
        assert!(next.unwrap_err().contains("a record that cannot be read"));
        assert_eq!(found.len(), 2);
    }
}
