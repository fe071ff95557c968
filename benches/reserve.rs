//! What a record costs that its caller writes in place: reserve, encode, commit.
//!
//! The same ring as in `append`, and the same promise, made and dropped. The value is written once,
//! by a fill, so that the comparison with `append` is that of one copy against none: there the
//! value was encoded before, somewhere else, which is not in its figures.
//!
//! `cargo bench --bench reserve`; `… -- count 100 1000000` only reserves and commits, for
//! `tools/instructions reserve 100`.
#![forbid(unsafe_code)]

mod measure;
mod one_ring;

use std::hint::black_box;

use kuring::accumulator::batch_ring::{Memory, Vacant};
use one_ring::OneRing;

#[inline]
fn write(one: &OneRing, value_bytes: usize) {
    let timestamp = 1_750_000_000_000;
    let vacant = Vacant { key: None, value_bytes, headers: &[], timestamp };
    let hold = one.ring.reserve(&vacant, Memory::Try);
    let mut held = hold.expect("the ring is emptied before it is full").held;
    held.value_mut().fill(black_box(b'x'));
    drop(held.commit().expect("nobody evicts it"));
}

fn main() {
    let one = OneRing::new();
    if let Some((size, records)) = measure::asked_count() {
        // The clock stays out: it would be counted, and it does not run under valgrind.
        one.laps(size, records, || write(&one, black_box(size)), |_| {});
        return;
    }
    println!("{:>6}  {:>16}", "value", "one thread");
    for size in [100, 1024, 10_240] {
        let spent = |count| one.spent(size, count, || write(&one, black_box(size)));
        let cost = measure::rounds(200_000, spent);
        println!("{size:>6}  {:>16}", format!("{:.1} ns ({:.1})", cost.median, cost.least));
    }
    println!("CPU time of a record: median of the rounds (least)");
}
