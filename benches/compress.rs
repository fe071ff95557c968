//! What the codecs cost, and what they make of text: the project's own sources, cut into 1 KiB
//! records, in batches of 16 KiB and 64 KiB plain.
//!
//! CPU time of one thread per batch, contexts kept, as a compressor keeps them; `--test` does each
//! once.
//!
//! `cargo bench --bench compress`
#![forbid(unsafe_code)]

mod measure;

use std::fs;
use std::hint::black_box;
use std::path::Path;

use kuring::Compression;
use kuring::protocol::compression::Encoder;

const BATCH_BYTES: [usize; 2] = [16 << 10, 64 << 10];
/// Batches of one round.
const BATCHES: u64 = 60;

/// All Rust sources below a folder, one after another.
fn corpus(folder: &Path, text: &mut Vec<u8>) {
    let mut found: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    for path in found {
        if path.is_dir() {
            corpus(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.extend(fs::read(&path).unwrap_or_default());
        }
    }
}

/// As a batch has it: 1 KiB values with the fields of a record around them.
fn records(text: &[u8]) -> Vec<u8> {
    let value = |(number, value): (usize, &[u8])| {
        let mut record = vec![0x90, 0x10, 0, 0, (number % 64) as u8, 1, 0x80, 0x10];
        record.extend_from_slice(value);
        record.push(0);
        record
    };
    text.chunks_exact(1024).enumerate().flat_map(value).collect()
}

fn main() {
    let mut text = Vec::new();
    corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    let records = records(&text);
    let once = std::env::args().any(|argument| argument == "--test");
    println!("{:>8}  {:>10}  {:>10}  {:>9}  {:>6}", "plain", "codec", "ns/batch", "MB/s", "ratio");
    let codecs = [
        Compression::Gzip(1),
        Compression::GZIP,
        Compression::Snappy,
        Compression::LZ4,
        Compression::Lz4(3),
        Compression::Lz4(12),
        Compression::Zstd(-1),
        Compression::Zstd(1),
        Compression::ZSTD,
        Compression::Zstd(9),
    ];
    for plain in BATCH_BYTES {
        let batches: Vec<&[u8]> = records.chunks_exact(plain).collect();
        for codec in codecs.into_iter().filter(|codec| codec.is_built()) {
            let (mut encoder, mut packed) = (Encoder::default(), Vec::new());
            let mut encode = |number: u64| {
                let batch = batches[number as usize % batches.len()];
                let encoded = encoder.encode(codec, black_box(batch), &mut packed);
                encoded.expect("the codec is built");
            };
            if once {
                encode(0);
                continue;
            }
            (0..batches.len() as u64).for_each(&mut encode);
            let cost = measure::each(BATCHES, &mut encode);
            let mut all = 0;
            for batch in &batches {
                encoder.encode(codec, batch, &mut packed).expect("the codec is built");
                all += packed.len();
            }
            let ratio = all as f64 / (batches.len() * plain) as f64;
            let speed = plain as f64 / cost.least * 1e3;
            let (codec, median) = (codec.to_string(), cost.median);
            println!("{plain:>8}  {codec:>10}  {median:>10.0}  {speed:>9.0}  {ratio:>6.3}");
        }
    }
}
