//! What `--verify` checks: the bytes of every batch, and each producer's sequence.
//!
//! Bounds:   the state of `PRODUCERS_MAX` (producer, topic, partition) triples, the last five
//!           batches of each, as brokers keep them.
//! Never:    decompresses. A compressed batch has its lengths, its checksum, its counts and its
//!           sequence checked, and its records left alone.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

use super::wire::{Reader, WireError};

/// The bytes of a batch before its records.
pub(crate) const BATCH_HEADER_BYTES: usize = 61;
/// Where the checksummed part starts.
const CRC_FROM: usize = 21;
/// About 200 bytes each.
const PRODUCERS_MAX: usize = 1 << 20;
/// A broker answers a repeat of any of the last five batches as it answered the first time.
const REMEMBERED_BATCHES: usize = 5;

const CORRUPT_MESSAGE: i16 = 2;
const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_RECORD: i16 = 87;

/// What is wrong with a batch, and what a broker would answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: i16,
    pub(crate) text: String,
}

fn problem(code: i16, text: impl Into<String>) -> Problem {
    Problem { code, text: text.into() }
}

/// The fields of a batch's header that the sink looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchHeader {
    pub(crate) magic: i8,
    pub(crate) length: i32,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

impl BatchHeader {
    /// Reads the first 61 bytes; `None` when there are fewer.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        Some(Self {
            magic: header[16].cast_signed(),
            length: i32::from_be_bytes(field(header, 8)),
            crc: u32::from_be_bytes(field(header, 17)),
            attributes: i16::from_be_bytes(field(header, 21)),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            count: i32::from_be_bytes(field(header, 57)),
        })
    }
}

fn field<const N: usize>(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("every field lies inside the header")
}

/// Checks lengths, checksum and counts of the batch that must fill `bytes` exactly.
pub(crate) fn check_batch(bytes: &[u8]) -> Result<BatchHeader, Problem> {
    let header = BatchHeader::read(bytes)
        .ok_or_else(|| problem(CORRUPT_MESSAGE, format!("a batch of {} bytes", bytes.len())))?;
    if header.magic != 2 {
        return Err(problem(INVALID_RECORD, format!("magic {}", header.magic)));
    }
    let length = i64::from(header.length) + 12;
    if length != bytes.len() as i64 {
        let text = format!("batch length says {length} bytes, {} were sent", bytes.len());
        return Err(problem(CORRUPT_MESSAGE, text));
    }
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    if crc != header.crc {
        let text = format!("CRC {:08x} stands in the batch, {crc:08x} is right", header.crc);
        return Err(problem(CORRUPT_MESSAGE, text));
    }
    if bytes[..8] != [0; 8] {
        return Err(problem(INVALID_RECORD, "base offset is not 0"));
    }
    if header.count <= 0 || header.last_offset_delta != header.count - 1 {
        let text =
            format!("{} records, last offset delta {}", header.count, header.last_offset_delta);
        return Err(problem(INVALID_RECORD, text));
    }
    if header.producer_id >= 0 && (header.producer_epoch < 0 || header.base_sequence < 0) {
        let text = format!(
            "producer {} with epoch {} and sequence {}",
            header.producer_id, header.producer_epoch, header.base_sequence
        );
        return Err(problem(INVALID_RECORD, text));
    }
    if header.attributes & 7 == 0 {
        check_records(&bytes[BATCH_HEADER_BYTES..], header.count)?;
    }
    Ok(header)
}

fn check_records(bytes: &[u8], count: i32) -> Result<(), Problem> {
    let mut reader = Reader::new(bytes);
    for index in 0..count {
        check_record(&mut reader, index).map_err(|error| {
            let what = match error {
                WireError::Short => "its fields run past the end",
                WireError::Malformed(what) => what,
            };
            problem(INVALID_RECORD, format!("record {index} of {count}: {what}"))
        })?;
    }
    let left = bytes.len() - reader.position();
    if left > 0 {
        return Err(problem(INVALID_RECORD, format!("{left} bytes after record {count}")));
    }
    Ok(())
}

fn check_record(reader: &mut Reader<'_>, index: i32) -> Result<(), WireError> {
    let length = usize::try_from(reader.varlong()?)
        .map_err(|_| WireError::Malformed("a negative length"))?;
    let mut record = Reader::new(reader.take(length)?);
    record.i8()?; // attributes
    record.varlong()?; // timestamp delta
    if record.varlong()? != i64::from(index) {
        return Err(WireError::Malformed("its offset delta is not its place"));
    }
    take_nullable(&mut record)?; // key
    take_nullable(&mut record)?; // value
    let headers = record.varlong()?;
    if headers < 0 || headers > length as i64 {
        return Err(WireError::Malformed("an impossible count of headers"));
    }
    for _ in 0..headers {
        if !take_nullable(&mut record)? {
            return Err(WireError::Malformed("a header without a key"));
        }
        take_nullable(&mut record)?;
    }
    if record.position() != length {
        return Err(WireError::Malformed("its length is not what its fields take"));
    }
    Ok(())
}

/// Whether there was one.
fn take_nullable(record: &mut Reader<'_>) -> Result<bool, WireError> {
    match record.varlong()? {
        -1 => Ok(false),
        length => {
            let length = usize::try_from(length)
                .map_err(|_| WireError::Malformed("a negative field length"))?;
            record.take(length)?;
            Ok(true)
        }
    }
}

#[derive(Clone, Copy)]
struct Remembered {
    base_sequence: i32,
    count: i32,
    base_offset: i64,
}

struct ProducerState {
    epoch: i16,
    next_sequence: i32,
    recent: VecDeque<Remembered>,
}

/// Every producer's place in every partition it writes to.
#[derive(Default)]
pub(crate) struct Sequences {
    producers: HashMap<(i64, usize, i32), ProducerState>,
}

/// What a batch's sequence says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It follows the one before, or has no producer id.
    Next,
    /// It was here before, at this offset.
    Repeat(i64),
}

impl Sequences {
    /// Where the batch stands; `accept` must follow when it is the next one.
    pub(crate) fn check(
        &self,
        header: &BatchHeader,
        topic: usize,
        partition: i32,
    ) -> Result<Place, Problem> {
        if header.producer_id < 0 {
            return Ok(Place::Next);
        }
        let key = (header.producer_id, topic, partition);
        let sequence = header.base_sequence;
        let Some(state) = self.producers.get(&key) else {
            if self.producers.len() >= PRODUCERS_MAX {
                return Err(problem(OUT_OF_ORDER_SEQUENCE, "more producers than can be checked"));
            }
            return expect_sequence(header, 0);
        };
        if header.producer_epoch < state.epoch {
            let text = format!("epoch {} after epoch {}", header.producer_epoch, state.epoch);
            return Err(problem(INVALID_PRODUCER_EPOCH, text));
        }
        if header.producer_epoch > state.epoch {
            return expect_sequence(header, 0);
        }
        let same = |it: &&Remembered| it.base_sequence == sequence && it.count == header.count;
        match state.recent.iter().find(same) {
            Some(first) => Ok(Place::Repeat(first.base_offset)),
            None => expect_sequence(header, state.next_sequence),
        }
    }

    /// Remembers a batch that was written.
    pub(crate) fn accept(
        &mut self,
        header: &BatchHeader,
        topic: usize,
        partition: i32,
        base_offset: i64,
    ) {
        if header.producer_id < 0 {
            return;
        }
        let state =
            self.producers.entry((header.producer_id, topic, partition)).or_insert_with(|| {
                ProducerState { epoch: 0, next_sequence: 0, recent: VecDeque::new() }
            });
        if header.producer_epoch != state.epoch {
            state.recent.clear();
            state.epoch = header.producer_epoch;
        }
        state.next_sequence = sequence_after(header.base_sequence, header.count);
        if state.recent.len() == REMEMBERED_BATCHES {
            state.recent.pop_front();
        }
        state.recent.push_back(Remembered {
            base_sequence: header.base_sequence,
            count: header.count,
            base_offset,
        });
    }
}

fn expect_sequence(header: &BatchHeader, expected: i32) -> Result<Place, Problem> {
    if header.base_sequence == expected {
        return Ok(Place::Next);
    }
    let text = format!(
        "producer {} epoch {}: sequence {} where {expected} must follow",
        header.producer_id, header.producer_epoch, header.base_sequence
    );
    Err(problem(OUT_OF_ORDER_SEQUENCE, text))
}

/// Sequences are 0 to 2147483647 and wrap to 0.
fn sequence_after(base: i32, count: i32) -> i32 {
    (base.cast_unsigned().wrapping_add(count.cast_unsigned()) & 0x7fff_ffff).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(producer_epoch: i16, base_sequence: i32, count: i32) -> BatchHeader {
        BatchHeader {
            magic: 2,
            length: 0,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            producer_id: 7,
            producer_epoch,
            base_sequence,
            count,
        }
    }

    #[test]
    fn seq_a_gap_is_found_and_a_repeat_keeps_its_offset() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.check(&header(0, 0, 10), 0, 0), Ok(Place::Next));
        sequences.accept(&header(0, 0, 10), 0, 0, 100);
        assert_eq!(sequences.check(&header(0, 0, 10), 0, 0), Ok(Place::Repeat(100)));
        assert_eq!(sequences.check(&header(0, 10, 5), 0, 0), Ok(Place::Next));
        let gap = sequences.check(&header(0, 11, 5), 0, 0).unwrap_err();
        assert_eq!(gap.code, OUT_OF_ORDER_SEQUENCE);
        assert!(gap.text.contains("sequence 11 where 10"), "{}", gap.text);
        // Another partition starts on its own.
        assert_eq!(sequences.check(&header(0, 0, 1), 0, 1), Ok(Place::Next));
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_an_old_one_is_refused() {
        let mut sequences = Sequences::default();
        sequences.accept(&header(3, 0, 10), 0, 0, 0);
        assert!(sequences.check(&header(4, 10, 1), 0, 0).is_err());
        assert_eq!(sequences.check(&header(4, 0, 1), 0, 0), Ok(Place::Next));
        sequences.accept(&header(4, 0, 1), 0, 0, 10);
        let old = sequences.check(&header(3, 10, 1), 0, 0).unwrap_err();
        assert_eq!(old.code, INVALID_PRODUCER_EPOCH);
    }

    #[test]
    fn rbf_11_sequences_wrap_to_zero() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 4), 2);
    }
}
