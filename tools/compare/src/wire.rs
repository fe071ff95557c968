//! The few bytes of Kafka's protocol that the wall and the null broker need.
//!
//! Produce version 7, the last of the plain (not flexible) ones every client here speaks, and
//! record batch format 2. Bounds: a `Reader` never reads past its slice.

use compare_measure::Outcome;

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const PRODUCE_VERSION: i16 = 7;

/// Bytes of a record batch before its first record.
const BATCH_HEADER_BYTES: usize = 61;

/// Where the checksummed part of a batch starts.
const CRC_FROM: usize = 21;

/// What a record of this format needs around its value, at most.
const RECORD_OVERHEAD_MAX: usize = 24;

/// Appends big-endian fields.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn i16(&mut self, value: i16) {
        self.put(&value.to_be_bytes());
    }
    fn i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }
    fn text(&mut self, value: &str) {
        self.i16(value.len() as i16);
        self.put(value.as_bytes());
    }
}

impl Put for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads big-endian fields, checking what remains.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a short message")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    pub(crate) fn i16(&mut self) -> Outcome<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Outcome<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A string or byte field's length; null counts as empty.
    pub(crate) fn text(&mut self) -> Outcome<&'a str> {
        let length = self.i16()?.max(0) as usize;
        Ok(str::from_utf8(self.take(length)?)?)
    }
}

/// A batch being filled, behind the two fields that a produce request puts before it.
pub(crate) struct Batch {
    /// partition, length, then the batch; its full size from the start, filled up to `used`.
    bytes: Vec<u8>,
    used: usize,
    count: i32,
    bytes_max: usize,
}

/// Partition index and record length, before the batch.
const PREFIX_BYTES: usize = 8;

impl Batch {
    /// Room for `bytes_max`, or for one record of `value_bytes` if that is more.
    pub(crate) fn new(bytes_max: usize, value_bytes: usize) -> Self {
        let room = bytes_max.max(BATCH_HEADER_BYTES + value_bytes + RECORD_OVERHEAD_MAX);
        let mut batch =
            Self { bytes: vec![0; PREFIX_BYTES + room], used: 0, count: 0, bytes_max: room };
        batch.open();
        batch
    }

    /// Empties it. The header is filled by `seal`.
    pub(crate) fn open(&mut self) {
        self.used = PREFIX_BYTES + BATCH_HEADER_BYTES;
        self.count = 0;
    }

    /// Prefix and batch, as they go out.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// Adds a record without key or headers, unless the batch is full.
    #[inline]
    pub(crate) fn append(&mut self, value: &[u8]) -> bool {
        let room = value.len() + RECORD_OVERHEAD_MAX;
        if self.used + room > PREFIX_BYTES + self.bytes_max {
            return false;
        }
        let out = &mut self.bytes[self.used..self.used + room];
        let fixed = 1 + 1 + 1 + 1; // attributes, timestamp delta, null key, no headers
        let lengths = varint_bytes(self.count) + varint_bytes(value.len() as i32);
        let mut at = put_varint(out, 0, (fixed + lengths + value.len()) as i32);
        out[at] = 0; // attributes
        out[at + 1] = 0; // timestamp delta
        at = put_varint(out, at + 2, self.count);
        out[at] = 1; // key: null
        at = put_varint(out, at + 1, value.len() as i32);
        out[at..at + value.len()].copy_from_slice(value);
        at += value.len();
        out[at] = 0; // headers: none
        self.used += at + 1;
        self.count += 1;
        true
    }

    /// Writes prefix and header, the checksum last.
    pub(crate) fn seal(&mut self, partition: u32, timestamp: i64, sequence: i32) {
        self.seal_for(partition, timestamp, (1, 0, sequence));
    }

    /// The same without idempotence: no producer id, no sequence.
    pub(crate) fn seal_anonymous(&mut self, partition: u32, timestamp: i64) {
        self.seal_for(partition, timestamp, (-1, -1, -1));
    }

    fn seal_for(&mut self, partition: u32, timestamp: i64, from: (i64, i16, i32)) {
        let (producer, epoch, sequence) = from;
        let batch_bytes = self.used - PREFIX_BYTES;
        let mut header = Vec::with_capacity(PREFIX_BYTES + BATCH_HEADER_BYTES);
        header.i32(partition as i32);
        header.i32(batch_bytes as i32);
        header.i64(0); // base offset: the broker's to set
        header.i32((batch_bytes - 12) as i32);
        header.i32(-1); // partition leader epoch: the broker's to set
        header.put(&[2]); // format
        header.i32(0); // checksum, below
        header.i16(0); // attributes: no compression
        header.i32(self.count - 1);
        header.i64(timestamp);
        header.i64(timestamp);
        header.i64(producer);
        header.i16(epoch);
        header.i32(sequence);
        header.i32(self.count);
        self.bytes[..header.len()].copy_from_slice(&header);
        let crc = crc32c::crc32c(&self.bytes[PREFIX_BYTES + CRC_FROM..self.used]);
        self.bytes[PREFIX_BYTES + CRC_FROM - 4..PREFIX_BYTES + CRC_FROM]
            .copy_from_slice(&crc.to_be_bytes());
    }
}

fn zigzag(number: i32) -> u32 {
    ((number << 1) ^ (number >> 31)) as u32
}

/// Writes a varint at `at` and returns where it ends.
#[inline]
fn put_varint(out: &mut [u8], mut at: usize, number: i32) -> usize {
    let mut rest = zigzag(number);
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

#[inline]
fn varint_bytes(number: i32) -> usize {
    match zigzag(number) {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

/// The front of a produce request for one topic, up to the partitions' entries.
pub(crate) fn produce_head(correlation: i32, topic: &str, batches: &[Batch]) -> Vec<u8> {
    let mut head = Vec::with_capacity(64 + topic.len());
    head.i32(0); // size, below
    head.i16(PRODUCE);
    head.i16(PRODUCE_VERSION);
    head.i32(correlation);
    head.text("wall");
    head.i16(-1); // transactional id: null
    head.i16(-1); // acks: all
    head.i32(30_000);
    head.i32(1);
    head.text(topic);
    head.i32(batches.len() as i32);
    let body: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
    let size = (head.len() - 4 + body) as i32;
    head[..4].copy_from_slice(&size.to_be_bytes());
    head
}

/// Checks a produce answer: the request it belongs to, and no partition in error.
pub(crate) fn check_produce_answer(answer: &[u8], correlation: i32) -> Outcome<()> {
    let mut reader = Reader(answer);
    if reader.i32()? != correlation {
        return Err("an answer out of order".into());
    }
    for _ in 0..reader.i32()? {
        reader.text()?;
        for _ in 0..reader.i32()? {
            let partition = reader.i32()?;
            let code = reader.i16()?;
            if code != 0 {
                return Err(format!("partition {partition} answered error {code}").into());
            }
            reader.take(24)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_takes_as_many_bytes_as_foretold() {
        for number in [0, -1, 1, 63, 64, -64, -65, 8_191, 8_192, i32::MAX, i32::MIN] {
            let mut out = [0; 10];
            assert_eq!(put_varint(&mut out, 0, number), varint_bytes(number), "{number}");
        }
    }

    #[test]
    fn a_sealed_batch_says_its_length_and_count() {
        let mut batch = Batch::new(1_000, 100);
        let mut count = 0;
        while batch.append(&[b'x'; 100]) {
            count += 1;
        }
        batch.seal(3, 7, 11);
        assert!(batch.bytes().len() <= 1_008);
        let mut reader = Reader(batch.bytes());
        assert_eq!(reader.i32().expect("partition"), 3);
        assert_eq!(reader.i32().expect("bytes") as usize, batch.bytes().len() - 8);
        reader.take(8).expect("offset");
        assert_eq!(reader.i32().expect("length") as usize, batch.bytes().len() - 8 - 12);
        reader.take(41).expect("to the sequence");
        assert_eq!(reader.i32().expect("sequence"), 11);
        assert_eq!(reader.i32().expect("count"), count);
    }
}
