//! What one record costs to encode into a batch, and to checksum, without ring or claim.
//!
//! `cargo bench --bench encode`; `… -- count 100 1000000` only encodes, for `tools/instructions`.
#![forbid(unsafe_code)]

mod measure;

use std::hint::black_box;

use kuring::protocol::record_batch::{HEADER_BYTES, encode_record, record_bytes, stamp_checksum};

/// A batch of the default batch.size.
const BATCH_BYTES: usize = 16_384;

/// Fills batch after batch, in one buffer.
struct Batches {
    bytes: Vec<u8>,
    used: usize,
    ordinal: u32,
    checksummed: bool,
}

impl Batches {
    fn new(checksummed: bool) -> Self {
        Self { bytes: vec![0; BATCH_BYTES], used: HEADER_BYTES, ordinal: 0, checksummed }
    }

    #[inline]
    fn append(&mut self, key: Option<&[u8]>, value: &[u8]) {
        let key_bytes = key.map(<[u8]>::len);
        let mut size = record_bytes(self.ordinal, 0, key_bytes, Some(value.len()), &[]);
        if self.used + size > BATCH_BYTES {
            self.turn();
            size = record_bytes(self.ordinal, 0, key_bytes, Some(value.len()), &[]);
        }
        let out = &mut self.bytes[self.used..self.used + size];
        encode_record(out, self.ordinal, 0, key, Some(value), &[]);
        self.used += size;
        self.ordinal += 1;
    }

    #[cold]
    fn turn(&mut self) {
        if self.checksummed {
            stamp_checksum(&mut self.bytes[..self.used]);
        }
        black_box(&mut self.bytes);
        self.used = HEADER_BYTES;
        self.ordinal = 0;
    }
}

fn main() {
    if let Some((size, records)) = measure::asked_count::<usize>() {
        let value = vec![b'x'; size];
        let mut batches = Batches::new(false);
        (0..records).for_each(|_| batches.append(None, black_box(&value)));
        return;
    }
    println!("{:>6}  {:>4}  {:>12}  {:>18}", "value", "key", "encode", "encode, checksum");
    for (size, key) in [(100, None), (100, Some([b'k'; 16])), (1024, None)] {
        let value = vec![b'x'; size];
        let key = key.as_ref().map(<[u8; 16]>::as_slice);
        let cost = |checksummed| {
            let mut batches = Batches::new(checksummed);
            let cost =
                measure::each(200_000, |_| batches.append(black_box(key), black_box(&value)));
            format!("{:.1} ns ({:.1})", cost.median, cost.least)
        };
        let key_bytes = key.map_or(0, <[u8]>::len);
        println!("{size:>6}  {key_bytes:>4}  {:>12}  {:>18}", cost(false), cost(true));
    }
    println!("median of the rounds (least)");
}
