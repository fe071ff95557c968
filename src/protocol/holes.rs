//! A batch of our own in which some records are left out: the others move together.
//!
//! Bounds:   work is linear in the batch; no memory is taken.
//! Never:    changes a key, value or header of a record that stays, or the order of two of them.
//! Source:   RBF-5 and RBF-6 for the deltas.
//!
//! A record is left out when its attributes, which mean nothing yet in Kafka, are not zero. What
//! stays gets a new place in the batch, so its head is written anew. Its time stays a difference to
//! the same base, even if the record that the base came from is gone: so no head ever grows, and
//! everything moves within the batch's own bytes.
#![forbid(unsafe_code)]

use super::record_batch::{HEADER_BYTES, encode_head, record_bytes_around};
use super::varint::{read_varint, read_varlong};

/// What is left of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Records that stay, at least one.
    pub records: u32,
    /// Bytes of the batch from now on, its header included.
    pub bytes: usize,
    /// The latest time of the records that stay.
    pub max_timestamp: i64,
}

/// Closes the holes of `batch`, whose header is not written yet. None if nothing stays.
///
/// # Panics
/// When the bytes are not records as this process writes them.
pub fn close(batch: &mut [u8], base_timestamp: i64) -> Option<Rest> {
    let mut rest = Rest { records: 0, bytes: HEADER_BYTES, max_timestamp: i64::MIN };
    let mut at = HEADER_BYTES;
    while at < batch.len() {
        let (end, body) = body_of(batch, at).expect(OURS);
        if batch[body] == 0 {
            rest.keep(batch, body, end, base_timestamp).expect(OURS);
        }
        at = end;
    }
    (rest.records > 0).then_some(rest)
}

const OURS: &str = "a batch that this process wrote";

/// Where the record that starts at `at` ends, and where its attributes are.
fn body_of(batch: &[u8], at: usize) -> Option<(usize, usize)> {
    let (length, prefix) = read_varint(batch.get(at..)?).ok()?;
    let body = at + prefix;
    let end = body + usize::try_from(length).ok()?;
    (body < end && end <= batch.len()).then_some((end, body))
}

impl Rest {
    /// The record whose body is `body..end` becomes the next one.
    fn keep(&mut self, batch: &mut [u8], body: usize, end: usize, base: i64) -> Option<()> {
        let fields = batch.get(body + 1..end)?;
        let (delta, delta_bytes) = read_varlong(fields).ok()?;
        let (_, place_bytes) = read_varint(&fields[delta_bytes..]).ok()?;
        let content = body + 1 + delta_bytes + place_bytes;
        let bytes = record_bytes_around(end - content, self.records, delta);
        let start = self.bytes + bytes - (end - content);
        if start != content {
            batch.copy_within(content..end, start);
            encode_head(&mut batch[self.bytes..start], bytes, self.records, delta);
        }
        self.records += 1;
        self.bytes += bytes;
        self.max_timestamp = self.max_timestamp.max(base.wrapping_add(delta));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record_batch::{encode_record, record_bytes};
    use super::*;

    const BASE: i64 = 5_000;

    /// A batch of so many records, each with the value and the time that its number says, but
    /// without those that are `left_out`: they are not numbered.
    fn batch(count: u32, left_out: &[u32], marked: bool) -> Vec<u8> {
        let mut out = vec![0xee; HEADER_BYTES];
        let mut ordinal = 0;
        for number in 0..count {
            let is_out = left_out.contains(&number);
            if is_out && !marked {
                continue;
            }
            let value = vec![number as u8; number as usize % 70];
            let delta = 40 * i64::from(number % 7) - 100;
            let start = out.len();
            out.resize(start + record_bytes(ordinal, delta, None, Some(value.len()), &[]), 0);
            encode_record(&mut out[start..], ordinal, delta, None, Some(&value), &[]);
            if is_out {
                let (end, body) = body_of(&out, start).unwrap();
                out[body..end].fill(0xdb);
            }
            ordinal += 1;
        }
        out
    }

    fn assert_closes(count: u32, left_out: &[u32]) {
        let mut holed = batch(count, left_out, true);
        let rest = close(&mut holed, BASE).unwrap();
        let expected = batch(count, left_out, false);
        assert_eq!(rest.records as usize, count as usize - left_out.len());
        assert_eq!(holed[HEADER_BYTES..rest.bytes], expected[HEADER_BYTES..]);
        let kept = (0..count).filter(|number| !left_out.contains(number));
        let latest = kept.map(|number| BASE + 40 * i64::from(number % 7) - 100).max();
        assert_eq!(Some(rest.max_timestamp), latest);
    }

    #[test]
    fn what_stays_is_as_if_the_others_had_never_been() {
        // From 64 records on a place takes two bytes, so that heads and lengths shrink.
        let all: Vec<u32> = (1..200).collect();
        let odd: Vec<u32> = (0..200).filter(|number| number % 2 == 1).collect();
        for left_out in [&[][..], &[0], &[199], &[64], &[0, 1, 2, 70, 199], &all, &odd] {
            assert_closes(200, left_out);
        }
        for (count, left_out) in [(1, &[][..]), (2, &[0]), (2, &[1]), (3, &[1])] {
            assert_closes(count, left_out);
        }
    }

    #[test]
    fn of_a_batch_without_records_that_stay_nothing_is_left() {
        assert_eq!(close(&mut batch(3, &[0, 1, 2], true), BASE), None);
    }
}
