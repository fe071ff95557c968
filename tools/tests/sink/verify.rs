//! What `--verify` finds.
#![forbid(unsafe_code)]

use bytes::Bytes;
use kuring_tools::sink::Totals;

use crate::client::{Client, batch, batch_of, fit, produce, verifying};

/// Sends each batch in a request of its own to partition 0; the errors answered, and the totals.
fn answers_to(batches: &[Bytes]) -> (Vec<i16>, Totals) {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    let topic = client.topic("events");
    let codes = batches
        .iter()
        .map(|bytes| {
            let request = fit(produce(&topic, &[(0, bytes.clone())]), 9);
            client.call(&request, 9).responses[0].partition_responses[0].error_code
        })
        .collect();
    (codes, sink.stop().unwrap().totals)
}

fn with_byte(bytes: &Bytes, at: usize, change: impl Fn(u8) -> u8) -> Bytes {
    let mut changed = bytes.to_vec();
    changed[at] = change(changed[at]);
    changed.into()
}

/// Puts the right checksum on a changed batch, so that what was changed is found by itself.
fn with_crc(bytes: &Bytes) -> Bytes {
    let mut sealed = bytes.to_vec();
    let crc = crc32c::crc32c(&sealed[21..]);
    sealed[17..21].copy_from_slice(&crc.to_be_bytes());
    sealed.into()
}

#[test]
fn every_flipped_bit_of_a_batch_is_found() {
    let good = batch(0, 3);
    // The partition leader epoch (bytes 12 to 15) is the broker's to write and outside the CRC.
    let places = (0..good.len()).filter(|at| !(12..16).contains(at));
    let flipped: Vec<_> =
        places.map(|at| with_byte(&good, at, |byte| byte ^ (1 << (at % 8)))).collect();
    let (codes, totals) = answers_to(&flipped);
    for (place, code) in codes.iter().enumerate() {
        assert_ne!(*code, 0, "flip {place}");
    }
    assert_eq!((totals.errors, totals.batches), (flipped.len() as u64, 0));
}

#[test]
fn a_flipped_bit_in_a_record_is_named_by_checksum_topic_and_partition() {
    let good = batch(0, 3);
    let (codes, totals) = answers_to(&[with_byte(&good, good.len() - 10, |byte| byte ^ 1)]);
    assert_eq!(codes, [2]);
    let printed = totals.to_string();
    assert!(printed.contains("wrong batches 1, the first: events-0: CRC "), "{printed}");
}

#[test]
fn counts_and_lengths_that_lie_are_found_under_a_right_checksum() {
    let good = batch(0, 3);
    let cases = [
        (with_byte(&good, 60, |count| count + 1), "4 records, last offset delta 2"),
        (with_byte(&good, 26, |delta| delta + 1), "3 records, last offset delta 3"),
        (with_byte(&good, 61, |length| length + 2), "record 0 of 3: "),
        (with_byte(&good, 64, |delta| delta + 2), "record 0 of 3: its offset delta"),
    ];
    for (bytes, text) in cases {
        let (codes, totals) = answers_to(&[with_crc(&bytes)]);
        assert_eq!(codes, [87]);
        let first = totals.first_error.unwrap();
        assert!(first.contains(text), "{first} instead of {text}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    let (codes, totals) = answers_to(&[longer.into()]);
    assert_eq!(codes, [2]);
    assert!(totals.first_error.unwrap().contains("batch length says"));
}

#[test]
fn seq_gaps_repeats_and_old_epochs_are_told_apart() {
    let (codes, totals) = answers_to(&[
        batch(0, 10),
        batch(10, 5),
        batch(10, 5),             // a repeat
        batch(16, 5),             // a gap
        batch_of(1000, 1, 0, 2),  // a new epoch
        batch_of(1000, 0, 15, 1), // the old one
        batch_of(2000, 0, 5, 1),  // a producer that does not start at 0
        batch_of(-1, -1, -1, 4),  // no producer id: no sequence
    ]);
    assert_eq!(codes, [0, 0, 0, 45, 0, 47, 45, 0]);
    assert_eq!((totals.batches, totals.records), (4, 21));
    assert_eq!((totals.repeated_batches, totals.errors), (1, 3));
    let first = totals.first_error.unwrap();
    assert!(first.contains("sequence 16 where 15 must follow"), "{first}");
}
