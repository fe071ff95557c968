//! A batch of our own cut into smaller ones: where the cuts are, and the records behind them.
//!
//! Bounds:   work and memory are linear in the batch; a cut has two pieces or more.
//! Never:    changes a byte of the batch, or a key, value or header of a record.
//! Source:   SPL-3, SPL-4; RBF-5 and RBF-6 for the deltas.
//!
//! A record names its time and its place by differences to its batch's first record, so in another
//! batch both are written anew, and the length prefix with them; the rest is copied as it is. The
//! first piece starts where the batch starts: its records keep every byte.
#![forbid(unsafe_code)]

use super::record_batch::{
    BASE_TIMESTAMP_AT, HEADER_BYTES, RECORD_COUNT_AT, encode_record_around, record_bytes_around,
};
use super::varint::{read_varint, read_varlong};

/// A run of a batch's records that becomes a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Place of its first record in the batch.
    pub first: u32,
    /// Records in it, at least one.
    pub records: u32,
    /// Bytes that it will have, its header included.
    pub bytes: usize,
    /// The time that the times of its records are differences to: that of its first one, mostly.
    pub base_timestamp: i64,
    /// The latest time of its records.
    pub max_timestamp: i64,
    /// Where its first record starts in the batch.
    start: usize,
}

/// Cuts a batch into pieces with at most half of its records' bytes, and at most `limit` with the
/// header; a record that is larger than that raises the size for all pieces to its own (SPL-3).
/// None if the batch has only one record, or is not one of ours.
///
/// A batch that was filled without compression is within `batch.size`, so that this as the only
/// target would give it back whole, to be refused once more; hence the half from the start.
pub fn cut(batch: &[u8], limit: usize) -> Option<Vec<Piece>> {
    let base = base_timestamp(batch)?;
    let count = record_count(batch)?;
    if count < 2 {
        return None;
    }
    let alone = |record: &Record<'_>| HEADER_BYTES + record.bytes(0, 0);
    let largest = Records::of(batch, HEADER_BYTES).map(|record| alone(&record)).max()?;
    let half = HEADER_BYTES + (batch.len() - HEADER_BYTES) / 2;
    let target = largest.max(limit.min(half));
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut start, mut number) = (HEADER_BYTES, 0);
    let mut records = Records::of(batch, start);
    while let Some(record) = records.next() {
        let timestamp = base.wrapping_add(record.timestamp_delta);
        let added = pieces.last_mut().is_some_and(|piece| piece.add(&record, timestamp, target));
        if !added {
            // The first piece keeps every byte, and so the base, from which its first record may be
            // away: the one that gave the base was left out then.
            let base_timestamp = if number == 0 { base } else { timestamp };
            pieces.push(Piece {
                first: number,
                records: 1,
                bytes: HEADER_BYTES + record.bytes(0, timestamp.wrapping_sub(base_timestamp)),
                base_timestamp,
                max_timestamp: timestamp,
                start,
            });
        }
        (start, number) = (batch.len() - records.rest.len(), number + 1);
    }
    (number == count && records.rest.is_empty() && pieces.len() > 1).then_some(pieces)
}

impl Piece {
    /// Takes one more record if it fits.
    fn add(&mut self, record: &Record<'_>, timestamp: i64, target: usize) -> bool {
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        let bytes = self.bytes + record.bytes(self.records, delta);
        if bytes > target {
            return false;
        }
        self.bytes = bytes;
        self.records += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        true
    }

    /// Writes the records of the piece into `out`, which is the whole of the new batch; its header
    /// is left to be stamped.
    ///
    /// # Panics
    /// When `batch` is another one than was cut, or `out` has not [`Piece::bytes`].
    pub fn write_records(&self, batch: &[u8], out: &mut [u8]) {
        assert_eq!(out.len(), self.bytes, "memory for exactly this piece");
        let base = base_timestamp(batch).expect("the batch that was cut");
        let shift = self.base_timestamp.wrapping_sub(base);
        let mut rest = &mut out[HEADER_BYTES..];
        let records = Records::of(batch, self.start).take(self.records as usize);
        for (record, ordinal) in records.zip(0..) {
            let delta = record.timestamp_delta.wrapping_sub(shift);
            let (front, behind) = rest.split_at_mut(record.bytes(ordinal, delta));
            encode_record_around(front, ordinal, delta, record.content);
            rest = behind;
        }
        assert!(rest.is_empty(), "a piece has another size than was counted for it");
    }
}

fn base_timestamp(batch: &[u8]) -> Option<i64> {
    let field = batch.get(BASE_TIMESTAMP_AT..)?.first_chunk()?;
    Some(i64::from_be_bytes(*field))
}

fn record_count(batch: &[u8]) -> Option<u32> {
    let field = batch.get(RECORD_COUNT_AT..)?.first_chunk()?;
    u32::try_from(i32::from_be_bytes(*field)).ok()
}

/// A record in a batch: what stays the same in another batch, and its time.
#[derive(Clone, Copy, Debug)]
struct Record<'a> {
    timestamp_delta: i64,
    /// Key, value and headers.
    content: &'a [u8],
}

impl Record<'_> {
    fn bytes(&self, ordinal: u32, timestamp_delta: i64) -> usize {
        record_bytes_around(self.content.len(), ordinal, timestamp_delta)
    }
}

/// The records from one on; ends early where the bytes are no record.
#[derive(Clone, Debug)]
struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    fn of(batch: &'a [u8], start: usize) -> Self {
        Self { rest: batch.get(start..).unwrap_or_default() }
    }

    fn read(&self) -> Option<(Record<'a>, &'a [u8])> {
        let (body, prefix) = read_varint(self.rest).ok()?;
        let rest = &self.rest[prefix..];
        let (body, behind) = rest.split_at_checked(usize::try_from(body).ok()?)?;
        let body = body.get(ATTRIBUTES_BYTES..)?;
        let (timestamp_delta, bytes) = read_varlong(body).ok()?;
        let body = &body[bytes..];
        let (_, bytes) = read_varint(body).ok()?;
        Some((Record { timestamp_delta, content: &body[bytes..] }, behind))
    }
}

/// A record's attributes, which are all unused.
const ATTRIBUTES_BYTES: usize = 1;

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (record, rest) = self.read()?;
        self.rest = rest;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record_batch::{
        Attributes, BatchHeader, encode_record, record_bytes, stamp_checksum,
    };
    use super::*;
    use crate::ids::ProducerIdentity;

    /// A batch of records with values of these sizes, each a millisecond after the one before.
    fn batch(sizes: &[usize]) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        for (&size, ordinal) in sizes.iter().zip(0..) {
            let (start, delta) = (out.len(), i64::from(ordinal));
            out.resize(start + record_bytes(ordinal, delta, None, Some(size), &[]), 0);
            let value = vec![ordinal as u8; size];
            encode_record(&mut out[start..], ordinal, delta, None, Some(&value), &[]);
        }
        stamp(&mut out, sizes.len() as u32, 1_000, 1_000 + sizes.len() as i64 - 1);
        out
    }

    fn stamp(out: &mut [u8], record_count: u32, base_timestamp: i64, max_timestamp: i64) {
        let header = BatchHeader {
            attributes: Attributes::NONE,
            record_count,
            base_timestamp,
            max_timestamp,
            producer: ProducerIdentity::NONE,
            base_sequence: None,
        };
        let records_bytes = out.len() - HEADER_BYTES;
        header.write(out, records_bytes);
        stamp_checksum(out);
    }

    fn written(batch: &[u8], piece: &Piece) -> Vec<u8> {
        let mut out = vec![0xee; piece.bytes];
        piece.write_records(batch, &mut out);
        stamp(&mut out, piece.records, piece.base_timestamp, piece.max_timestamp);
        out
    }

    fn shape(pieces: &[Piece]) -> Vec<(u32, u32)> {
        pieces.iter().map(|piece| (piece.first, piece.records)).collect()
    }

    #[test]
    fn spl_3_a_batch_is_cut_in_half_and_its_half_in_half_again() {
        let whole = batch(&[100; 8]);
        let halves = cut(&whole, 16_384).unwrap();
        assert_eq!(shape(&halves), [(0, 4), (4, 4)]);
        let again = cut(&written(&whole, &halves[1]), 16_384).unwrap();
        assert_eq!(shape(&again), [(0, 2), (2, 2)]);
        assert_eq!((again[0].base_timestamp, again[1].base_timestamp), (1_004, 1_006));
    }

    #[test]
    fn spl_3_no_piece_is_larger_than_the_limit() {
        let pieces = cut(&batch(&[10; 100]), 200).unwrap();
        assert!(pieces.iter().all(|piece| piece.bytes <= 200), "{pieces:?}");
        assert_eq!(pieces.iter().map(|piece| piece.records).sum::<u32>(), 100);
    }

    #[test]
    fn spl_3_the_largest_record_is_the_least_that_a_piece_may_have() {
        let pieces = cut(&batch(&[5, 5, 900, 5, 5]), 16_384).unwrap();
        assert_eq!(shape(&pieces), [(0, 2), (2, 1), (3, 2)]);
        let pieces = cut(&batch(&[900, 5]), 16_384).unwrap();
        assert_eq!(shape(&pieces), [(0, 1), (1, 1)]);
    }

    #[test]
    fn spl_4_the_first_piece_is_the_front_of_the_batch_and_the_others_count_from_zero() {
        let whole = batch(&[100; 8]);
        let halves = cut(&whole, 16_384).unwrap();
        let first = written(&whole, &halves[0]);
        assert_eq!(first[HEADER_BYTES..], whole[HEADER_BYTES..halves[0].bytes]);
        let second = written(&whole, &halves[1]);
        // Length 105 (two bytes), attributes, time and place both 0.
        assert_eq!(second[HEADER_BYTES..][..5], [0xd6, 0x01, 0, 0, 0]);
        assert_eq!((halves[1].base_timestamp, halves[1].max_timestamp), (1_004, 1_007));
    }

    #[test]
    fn spl_1_one_record_and_foreign_bytes_are_not_cut() {
        assert_eq!(cut(&batch(&[500]), 100), None);
        assert_eq!(cut(&[], 100), None);
        let mut torn = batch(&[50; 4]);
        torn.truncate(torn.len() - 1);
        assert_eq!(cut(&torn, 100), None);
        let mut more = batch(&[50; 4]);
        more[RECORD_COUNT_AT + 3] = 5;
        assert_eq!(cut(&more, 100), None);
    }
}
