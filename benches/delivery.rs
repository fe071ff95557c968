//! What completing a batch costs: making its deliveries, the one verdict, and what becomes of each
//! delivery (dropped before the verdict, looked at after it, or awaited).
//!
//! `cargo bench --bench delivery`; `… -- count dropped:100 5000` only completes so many batches of
//! 100 records, for `tools/instructions`.
#![forbid(unsafe_code)]

mod measure;

use std::hint::black_box;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Waker};

use kuring::Delivery;
use kuring::delivery::CellIndex;

/// What is done with the deliveries of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Dropped,
    LookedAt,
    Awaited,
}

/// `WAY:RECORDS`.
#[derive(Clone, Copy)]
struct Size {
    way: Way,
    records: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (way, records) = text.split_once(':').ok_or("WAY:RECORDS")?;
        let way = match way {
            "dropped" => Way::Dropped,
            "looked-at" => Way::LookedAt,
            "awaited" => Way::Awaited,
            _ => return Err(format!("{way}: dropped, looked-at or awaited")),
        };
        Ok(Self { way, records: records.parse().map_err(|_| "RECORDS is a number".to_owned())? })
    }
}

/// Completes batch after batch; keeps its lists.
struct Batches {
    topic: Arc<str>,
    deliveries: Vec<Delivery>,
    wakers: Vec<(u32, Waker)>,
}

impl Batches {
    fn new() -> Self {
        Self { topic: "bench".into(), deliveries: Vec::new(), wakers: Vec::new() }
    }

    fn complete(&mut self, size: Size) {
        let cell = CellIndex::claim(&self.topic, 0).expect("cells are reused");
        for ordinal in 0..size.records {
            let mut delivery = cell.delivery(ordinal, 1_750_000_000_000);
            match size.way {
                Way::Dropped => drop(black_box(delivery)),
                Way::LookedAt => self.deliveries.push(delivery),
                Way::Awaited => {
                    assert!(poll(&mut delivery).is_pending());
                    self.deliveries.push(delivery);
                }
            }
        }
        cell.acknowledge(0, -1, size.records, &mut self.wakers);
        for mut delivery in self.deliveries.drain(..) {
            match size.way {
                Way::Awaited => assert!(poll(&mut delivery).is_ready()),
                _ => assert!(black_box(delivery.verdict()).is_some()),
            }
        }
    }
}

fn poll(delivery: &mut Delivery) -> std::task::Poll<()> {
    Pin::new(delivery).poll(&mut Context::from_waker(Waker::noop())).map(|verdict| {
        black_box(verdict).expect("acknowledged");
    })
}

fn main() {
    let mut batches = Batches::new();
    if let Some((size, count)) = measure::asked_count::<Size>() {
        (0..count).for_each(|_| batches.complete(size));
        return;
    }
    println!("{:>10}  {:>8}  {:>18}", "deliveries", "records", "a record");
    for way in [Way::Dropped, Way::LookedAt, Way::Awaited] {
        for records in [1, 10, 100, 1000] {
            let count = 200_000 / u64::from(records);
            let cost = measure::each(count, |_| batches.complete(Size { way, records }));
            let each = |nanos: f64| nanos / f64::from(records);
            let cell = format!("{:.1} ns ({:.1})", each(cost.median), each(cost.least));
            println!("{:>10}  {records:>8}  {cell:>18}", format!("{way:?}"));
        }
    }
    println!("CPU time of a record: median of the rounds (least)");
}
