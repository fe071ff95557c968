//! The completion queue: verdicts with the user data of their records, for loops that want neither
//! futures nor callbacks.
//!
//! Owns:     the runs of records that have their verdict and were not polled.
//! Thread:   shards add; any thread reads, and several take turns.
//! Bounds:   one run per verdict of a batch or of a piece of one. A run holds the batch's cell, not
//!           its buffer. So a reader that is behind costs a cell and its tags per batch, and stops
//!           neither the shard nor the appenders, until the process has no cell left (4 million
//!           batches): then appends wait for memory.
//! Never:    loses or overflows: what a completion needs is there before its record is accepted.
//!
//! A shard hands a batch over as it is: one entry under a lock, whatever its number of records. The
//! reader makes the completions out of the cell, on its own thread and in its own memory.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{ACKNOWLEDGED, Cell, CellIndex, PARTS, Part, Span};
use crate::clock;
use crate::error::SendError;
use crate::park;
use crate::record::Acknowledged;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{Mutex, MutexGuard};

/// Runs that fit without new memory once there are some: as many as verdicts of one turn.
pub const ROUND: usize = 256;
/// Waiting tasks that fit without new memory.
const WAITING: usize = 4;

/// The verdict on one record that was [submitted](crate::Topic::submit): what it was submitted
/// with, and what became of it. Errors are shared: copying one allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The number that the record was submitted with.
    pub user_data: u64,
    /// Where the record is, or why it was not acknowledged.
    pub verdict: Result<Acknowledged, SendError>,
}

impl Completion {
    /// What to fill an array with that completions are to be polled into. No record has it.
    pub const EMPTY: Self =
        Self { user_data: 0, verdict: Err(SendError::Closed { possibly_written: false }) };
}

impl Default for Completion {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Records of one cell that have their verdict, some of them tagged. Holds a share of the cell.
#[derive(Debug)]
pub struct Run {
    cell: CellIndex,
    next: u32,
    end: u32,
}

impl Run {
    /// A run of these records, by their ordinals, which are about to get their verdict; None if
    /// none of them can be tagged. One load then.
    pub fn of(cell: CellIndex, span: Span) -> Option<Self> {
        // What the appenders wrote was seen with their commits.
        if !cell.cell().tagged.load(Relaxed) {
            return None;
        }
        // There is no verdict on all of them yet, so somebody else's share is left.
        cell.cell().shares.fetch_add(1, Relaxed);
        Some(Self { cell, next: span.first, end: span.first + span.records })
    }

    fn is_over(&self) -> bool {
        self.next == self.end
    }

    /// Turns as many records into completions as there is room for; returns how many.
    fn read(&mut self, out: &mut [Completion]) -> usize {
        let cell = self.cell.cell();
        let tags = cell.tags.get().expect("a tagged cell has tags: made before its flag is set");
        let partition = cell.partition.load(Relaxed);
        let mut count = 0;
        while self.next < self.end && count < out.len() {
            let part = cell.part_at(self.next);
            let at = clock::from_nanos(part.resolved_at);
            let until = self.end.min(part.first + part.records);
            while self.next < until && count < out.len() {
                let ordinal = self.next - part.first;
                if let Some((user_data, timestamp)) = tags.take(self.next) {
                    let verdict = match &part.outcome {
                        Ok(place) => Ok(place.acknowledged(partition, ordinal, timestamp, at)),
                        Err(error) => Err(error.clone()),
                    };
                    out[count] = Completion { user_data, verdict };
                    count += 1;
                }
                self.next += 1;
            }
        }
        // Not more than the completions' own shares: the run's keeps the cell.
        self.cell.give_up(count as i64);
        count
    }

    /// Gives the shares up of all that was not read.
    fn forget(mut self) {
        let mut unread = 0;
        if let Some(tags) = self.cell.cell().tags.get() {
            unread = (self.next..self.end).filter(|ordinal| tags.take(*ordinal).is_some()).count();
        }
        self.next = self.end;
        self.cell.give_up(unread as i64 + 1);
    }
}

impl Cell {
    /// The records around this one that have the same verdict as it, which is there.
    fn part_at(&self, ordinal: u32) -> Part {
        let resolved_at = self.resolved_at.load(Relaxed);
        let whole = |outcome| Part { first: 0, records: u32::MAX, resolved_at, outcome };
        // Acquire: sees the result, as in `Delivery::verdict`.
        match self.state.load(Acquire) {
            ACKNOWLEDGED => whole(Ok(self.place())),
            PARTS => {
                let part = self.shared().run_of(ordinal);
                part.expect("a run is added after its verdict")
            }
            _ => {
                let error = self.shared().error.clone();
                whole(Err(error.expect("a failed cell has its error: stored before the state")))
            }
        }
    }
}

#[derive(Debug)]
struct Queue {
    runs: VecDeque<Run>,
    wakers: Vec<Waker>,
    /// Takes the place of `wakers` while they are woken: who waits again is there before they all
    /// are. Kept for its memory.
    spare: Vec<Waker>,
    /// Shards that may still add.
    shards: usize,
}

/// The runs of one producer.
#[derive(Debug)]
pub struct Completions {
    /// Runs that were added and not taken by a reader.
    added: AtomicUsize,
    /// Runs that a reader took.
    taken: AtomicUsize,
    queue: Mutex<Queue>,
    /// What the reader took out of the queue. Locked before the queue.
    reading: Mutex<VecDeque<Run>>,
}

impl Completions {
    /// An empty queue that so many shards add to.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            added: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            queue: Mutex::new(Queue {
                runs: VecDeque::new(),
                // The first wait may come when nothing else takes memory any more.
                wakers: Vec::with_capacity(WAITING),
                spare: Vec::with_capacity(WAITING),
                shards,
            }),
            reading: Mutex::default(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds runs, in order, and wakes who waits. `runs` comes back empty. Shards only.
    pub fn add(&self, runs: &mut Vec<Run>) {
        let mut queue = self.queue();
        if queue.runs.capacity() == 0 {
            queue.runs.reserve(ROUND);
        }
        // Release: who sees the number finds the runs. Partner: the load in `is_empty`.
        self.added.fetch_add(runs.len(), Release);
        queue.runs.extend(runs.drain(..));
        self.wake(queue);
    }

    /// A shard has ended: nothing more comes from it.
    pub fn leave(&self) {
        let mut queue = self.queue();
        queue.shards -= 1;
        self.wake(queue);
    }

    /// Wakes those who wait. A waker may come back here: not under the lock.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.wakers.is_empty() {
            return;
        }
        let spare = std::mem::take(&mut queue.spare);
        let mut woken = std::mem::replace(&mut queue.wakers, spare);
        drop(queue);
        woken.drain(..).for_each(park::wake);
        self.queue().spare = woken;
    }

    /// Whether nothing is there to be polled. Two loads.
    pub fn is_empty(&self) -> bool {
        self.added.load(Acquire) == 0 && self.taken.load(Acquire) == 0
    }

    /// Moves completions into `out`; returns how many. Neither waits for a shard nor allocates once
    /// the lists have grown.
    pub fn poll(&self, out: &mut [Completion]) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        while count < out.len() {
            let Some(run) = reading.front_mut() else {
                if !self.take(&mut reading) {
                    break;
                }
                continue;
            };
            count += run.read(&mut out[count..]);
            if run.is_over()
                && let Some(run) = reading.pop_front()
            {
                run.forget();
            }
        }
        self.taken.store(reading.len(), Release);
        count
    }

    /// Takes all runs over; false if there are none.
    fn take(&self, reading: &mut VecDeque<Run>) -> bool {
        let mut queue = self.queue();
        std::mem::swap(reading, &mut queue.runs);
        // Now, and not when a shard first adds to what the reader left, which may be much later: as
        // long as reads keep up, the two change places without that.
        if queue.runs.capacity() == 0 {
            queue.runs.reserve(ROUND);
        }
        self.taken.store(reading.len(), Release);
        self.added.store(0, Relaxed);
        !reading.is_empty()
    }

    /// Whether something can be polled: true as soon as that is so, false when nothing will come.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.is_empty() {
            return Poll::Ready(true);
        }
        let mut queue = self.queue();
        // Under the lock: what comes after this look sees the waker.
        if !queue.runs.is_empty() || self.taken.load(Acquire) > 0 {
            return Poll::Ready(true);
        }
        if queue.shards == 0 {
            return Poll::Ready(false);
        }
        if !queue.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            queue.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        let reading = self.reading.get_mut().unwrap_or_else(PoisonError::into_inner);
        reading.drain(..).chain(queue.runs.drain(..)).for_each(Run::forget);
    }
}

/// The future of [`Producer::deliveries`](crate::Producer::deliveries): true as soon as something
/// can be polled, false once the producer is closed and all of it was polled. Needs no runtime.
/// Cancel-safe: dropping it loses nothing.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Deliveries {
    /// None in a fork's copy of the producer.
    completions: Option<Arc<Completions>>,
}

impl Deliveries {
    /// Of these completions; in a fork's copy, where the lock may be held for ever, of none.
    pub fn new(completions: Option<Arc<Completions>>) -> Self {
        Self { completions }
    }
}

impl Future for Deliveries {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        match &self.completions {
            Some(completions) => completions.poll_ready(context),
            None => Poll::Ready(false),
        }
    }
}

#[cfg(all(test, not(kuring_loom)))]
mod tests {
    use super::super::tags::{Tag, UserData};
    use super::*;

    fn submitted(ordinals: impl IntoIterator<Item = u32>) -> CellIndex {
        let cell = CellIndex::claim(&"t".into(), 3).unwrap();
        for ordinal in ordinals {
            UserData(u64::from(ordinal) + 100).leave(cell, ordinal, 7);
            cell.delivery(ordinal, 7).leave_to_queue();
        }
        cell
    }

    fn add(queue: &Completions, cell: CellIndex, span: Span, verdict: impl FnOnce()) {
        let run = Run::of(cell, span);
        verdict();
        queue.add(&mut run.into_iter().collect());
    }

    fn polled(queue: &Completions) -> Vec<(u64, Option<i64>)> {
        let mut out = [const { Completion::EMPTY }; 3];
        let mut found = Vec::new();
        loop {
            let count = queue.poll(&mut out);
            found.extend(out[..count].iter().map(|completion| {
                (completion.user_data, completion.verdict.as_ref().ok().and_then(|ack| ack.offset))
            }));
            if count < out.len() {
                return found;
            }
        }
    }

    fn is_free(cell: CellIndex) -> bool {
        // What this thread dropped and did not count yet.
        super::super::shares::count_held();
        let cell = cell.cell();
        !cell.tagged.load(Relaxed) && cell.shares.load(Relaxed) == super::super::UNRESOLVED
    }

    #[test]
    fn each_submitted_record_has_one_completion_in_order() {
        let queue = Completions::new(1);
        assert_eq!(polled(&queue), []);
        let cell = submitted(0..10);
        add(&queue, cell, Span::whole(10), || cell.acknowledge(50, -1, 10, &mut Vec::new()));
        assert!(!queue.is_empty());
        let expected: Vec<_> = (0..10).map(|n| (100 + n as u64, Some(50 + n))).collect();
        assert_eq!(polled(&queue), expected);
        assert!(queue.is_empty() && is_free(cell));
    }

    #[test]
    fn sent_and_submitted_records_share_a_batch() {
        let queue = Completions::new(1);
        let cell = submitted([1, 3]);
        let sent = [0, 2, 4].map(|ordinal| cell.delivery(ordinal, 7));
        add(&queue, cell, Span::whole(5), || cell.acknowledge(0, -1, 5, &mut Vec::new()));
        assert_eq!(polled(&queue), [(101, Some(1)), (103, Some(3))]);
        assert!(!is_free(cell), "three deliveries are left");
        assert_eq!(sent.map(|delivery| delivery.wait().unwrap().offset.unwrap()), [0, 2, 4]);
        assert!(is_free(cell));
        let plain = CellIndex::claim(&"t".into(), 3).unwrap();
        assert!(Run::of(plain, Span::whole(1)).is_none(), "nothing was submitted");
        plain.abandon();
    }

    #[test]
    fn a_full_array_stops_in_the_middle_of_a_batch() {
        let queue = Completions::new(1);
        let cell = submitted([0, 1, 2]);
        let sent = cell.delivery(3, 7);
        add(&queue, cell, Span::whole(4), || cell.acknowledge(0, -1, 4, &mut Vec::new()));
        let mut out = [const { Completion::EMPTY }; 3];
        assert_eq!(queue.poll(&mut out), 3);
        drop(sent);
        // The run has a share of its own, so the cell is not used again under it.
        assert!(!is_free(cell));
        assert_eq!(queue.poll(&mut out), 0);
        assert!(is_free(cell));
    }

    #[test]
    fn parts_and_failures_come_with_their_own_verdicts() {
        let queue = Completions::new(1);
        let cell = submitted(0..6);
        let last = Span { first: 4, records: 2, of: 6 };
        add(&queue, cell, last, || cell.acknowledge_part(last, 70, -1, &mut Vec::new()));
        assert_eq!(polled(&queue), [(104, Some(70)), (105, Some(71))]);
        let first = Span { first: 0, records: 4, of: 6 };
        let errors = [true, false].map(|possibly_written| SendError::Closed { possibly_written });
        let [maybe, never] = errors.clone();
        add(&queue, cell, first, || {
            cell.fail_part(first, [(1, maybe), (3, never)], &mut Vec::new());
        });
        let mut out = [const { Completion::EMPTY }; 8];
        assert_eq!(queue.poll(&mut out), 4);
        let [maybe, never] = errors;
        assert_eq!(out[0], Completion { user_data: 100, verdict: Err(maybe) });
        for (completion, number) in out[1..4].iter().zip(101..) {
            assert_eq!(*completion, Completion { user_data: number, verdict: Err(never.clone()) });
        }
        assert!(is_free(cell));
        let failed = submitted(0..2);
        add(&queue, failed, Span::whole(2), || failed.fail(never, 2, &mut Vec::new()));
        assert_eq!(polled(&queue), [(100, None), (101, None)]);
        assert!(is_free(failed));
    }

    #[test]
    fn records_around_those_that_were_left_out_have_their_own_offsets() {
        let queue = Completions::new(1);
        // Of ten places, five are left out; 3 was sent, and the others were submitted.
        let cell = submitted([1, 5, 6, 8]);
        let sent = cell.delivery(3, 7);
        cell.leave_out(vec![0, 2, 4, 7, 9]);
        let parts = [(0, 2, 70), (2, 3, 80)];
        for (first, records, offset) in parts {
            let span = Span { first, records, of: 5 };
            add(&queue, cell, cell.claimed(span), || {
                cell.acknowledge_part(span, offset, -1, &mut Vec::new());
            });
        }
        let expected = [(101, 70), (105, 80), (106, 81), (108, 82)];
        assert_eq!(polled(&queue), expected.map(|(number, offset)| (number, Some(offset))));
        assert_eq!(sent.wait().unwrap().offset, Some(71));
        assert!(is_free(cell));
    }

    #[test]
    fn a_queue_that_goes_frees_the_cells_of_what_was_not_polled() {
        let queue = Completions::new(1);
        let cells = [submitted(0..5), submitted(0..5)];
        for cell in cells {
            add(&queue, cell, Span::whole(5), || cell.acknowledge(0, -1, 5, &mut Vec::new()));
        }
        let mut out = [const { Completion::EMPTY }; 3];
        assert_eq!(queue.poll(&mut out), 3);
        drop(queue);
        assert!(cells.into_iter().all(is_free));
    }

    #[test]
    fn who_waits_is_woken_by_completions_and_by_the_end_of_the_last_shard() {
        let queue = Completions::new(2);
        let wait = || {
            let waiting = Deliveries::new(Some(Arc::clone(&queue)));
            std::thread::spawn(move || park::block_on(waiting).unwrap())
        };
        let waiting = wait();
        let cell = submitted(0..1);
        add(&queue, cell, Span::whole(1), || cell.acknowledge(5, -1, 1, &mut Vec::new()));
        assert!(waiting.join().unwrap());
        assert_eq!(polled(&queue), [(100, Some(5))]);
        let waiting = wait();
        queue.leave();
        queue.leave();
        assert!(!waiting.join().unwrap());
    }
}
