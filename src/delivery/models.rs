//! Models of the completion cells: verdict, poll, drop and reuse at the same time (`tools/loom`).
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{CellIndex, Delivery, SendError, Span};
use crate::sync::{explore, thread};

fn cell() -> CellIndex {
    let topic: Arc<str> = "t".into();
    CellIndex::claim(&topic, 3).unwrap()
}

fn wait(delivery: Delivery) -> thread::JoinHandle<Option<i64>> {
    thread::spawn(move || delivery.wait().unwrap().offset)
}

#[test]
fn a_waiting_thread_is_woken_by_a_verdict_that_comes_while_it_falls_asleep() {
    explore(|| {
        let cell = cell();
        let waiting = wait(cell.delivery(0, 7));
        cell.acknowledge(5, -1, 1, &mut Vec::new());
        assert_eq!(waiting.join().unwrap(), Some(5));
    });
}

#[test]
fn two_of_a_batch_learn_their_verdict_and_the_cell_is_free_again() {
    explore(|| {
        let cell = cell();
        let waiting = [wait(cell.delivery(0, 7)), wait(cell.delivery(1, 7))];
        cell.acknowledge(5, -1, 2, &mut Vec::new());
        for (waiting, offset) in waiting.into_iter().zip(5..) {
            assert_eq!(waiting.join().unwrap(), Some(offset));
        }
        assert_free(cell);
    });
}

#[test]
fn deliveries_dropped_and_read_while_the_verdict_comes_free_the_cell_once() {
    explore(|| {
        let cell = cell();
        let (dropped, read) = (cell.delivery(0, 7), cell.delivery(1, 7));
        let dropping = thread::spawn(move || drop(dropped));
        let reading = thread::spawn(move || {
            let verdict = read.verdict();
            let offset = |found: Result<crate::Acknowledged, SendError>| found.unwrap().offset;
            assert!(verdict.is_none_or(|found| offset(found) == Some(6)));
        });
        cell.acknowledge(5, -1, 2, &mut Vec::new());
        dropping.join().unwrap();
        reading.join().unwrap();
        assert_free(cell);
    });
}

#[test]
fn a_cell_used_again_shows_nothing_of_its_last_batch() {
    explore(|| {
        let cell = cell();
        let waiting = wait(cell.delivery(0, 7));
        cell.acknowledge(5, -1, 1, &mut Vec::new());
        // The same cell, if the thread has read its verdict by now.
        let next = self::cell();
        let delivery = next.delivery(0, 8);
        assert!(!delivery.is_done());
        next.fail(SendError::Closed { possibly_written: false }, 1, &mut Vec::new());
        assert!(!delivery.wait().unwrap_err().possibly_written());
        assert_eq!(waiting.join().unwrap(), Some(5));
        assert_free(cell);
        assert_free(next);
    });
}

#[test]
fn a_task_that_moved_is_woken_where_it_is_now() {
    explore(|| {
        let cell = cell();
        let mut delivery = cell.delivery(0, 7);
        let waiting = thread::spawn(move || {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = std::pin::Pin::new(&mut delivery).poll(&mut context);
            delivery.wait().unwrap().offset
        });
        cell.acknowledge(5, -1, 1, &mut Vec::new());
        assert_eq!(waiting.join().unwrap(), Some(5));
    });
}

#[test]
fn records_with_verdicts_of_their_own_learn_them_and_the_cell_is_free_again() {
    explore(|| {
        let cell = cell();
        let waiting = [0, 1].map(|ordinal| {
            let delivery = cell.delivery(ordinal, 7);
            thread::spawn(move || delivery.wait().map(|found| found.offset))
        });
        let span = |first| Span { first, records: 1, of: 2 };
        let closed = SendError::Closed { possibly_written: false };
        cell.fail_part(span(1), [(1, closed)], &mut Vec::new());
        cell.acknowledge_part(span(0), 5, -1, &mut Vec::new());
        let [first, second] = waiting.map(|waiting| waiting.join().unwrap());
        assert_eq!(first.unwrap(), Some(5));
        assert!(!second.unwrap_err().possibly_written());
        assert_free(cell);
    });
}

/// As a cell is when nobody has used it yet, and exactly once among the free ones.
fn assert_free(index: CellIndex) {
    let cell = index.cell();
    assert_eq!(cell.state.load(super::Relaxed), super::PENDING);
    assert_eq!(cell.shares.load(super::Relaxed), super::UNRESOLVED);
    let shared = cell.shared();
    assert!(shared.topic.is_none() && shared.error.is_none() && shared.wakers.is_empty());
    assert!(shared.parts.is_empty() && shared.settled == 0);
    assert_eq!(super::free_cells().cells.iter().filter(|free| **free == index.0).count(), 1);
}
