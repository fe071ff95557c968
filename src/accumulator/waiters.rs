//! Callers that wait for memory, served in the order in which they came (BUF-3).
//!
//! Owns:     the queue of waiting callers and the bytes set aside for the first of them.
//! Thread:   callers enqueue, poll and leave; the shard distributes and expires.
//! Bounds:   one entry per waiting call.
//! Never:    keeps bytes of a caller that left (BUF-4).
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use super::buffer_pool::{BufferPool, Need};
use crate::park;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use crate::sync::{Mutex, MutexGuard};

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The bytes are reserved for the caller.
    Granted,
    /// The deadline passed.
    TimedOut,
    /// The producer was closed.
    Closed,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    need: Need,
    set_aside: u64,
    deadline: u64,
    outcome: Option<Waited>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Waiter>,
    next_ticket: u64,
    closed: bool,
    /// Since when somebody could be served and is held back for more bytes to come.
    held_since: Option<u64>,
    /// Since when callers wait for the shard to catch up.
    pacing_since: Option<u64>,
    /// Whom to wake once the lock is released: wakers are foreign code. Kept for its memory.
    woken: Vec<Waker>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            next_ticket: 0,
            closed: false,
            held_since: None,
            pacing_since: None,
            // The first wait that ends may come when nothing else takes memory any more.
            woken: Vec::with_capacity(WOKEN),
        }
    }
}

/// Callers of which so many at once are woken without new memory. More make the list grow, once.
const WOKEN: usize = 64;

/// A caller that is woken for the first buffer that comes back fills it, waits again and is woken
/// again: two thread switches a batch. So waiters are served once this share of the memory is free
/// (`total / LUMP_SHARE`), but held back no longer than [`HOLD_NANOS_MAX`].
const LUMP_SHARE: u64 = 4;
/// Much longer than a buffer takes to come back while the brokers answer, much shorter than anyone
/// who ran out of memory would notice.
const HOLD_NANOS_MAX: u64 = 500_000;

/// Callers that are ahead of the shard wait for it no longer than this: then it is the brokers that
/// are slow, and memory is there to be used.
const PACE_NANOS_MAX: u64 = 1_000_000;

/// What [`Waiters::distribute`] leaves to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distributed {
    /// When it has to run again at the latest.
    pub again_at: Option<u64>,
    /// Callers who waited for the shard go on, because it has caught up.
    pub paced: bool,
    /// Callers go on although the shard has not caught up.
    pub unpaced: bool,
}

/// The callers of one shard that wait: for memory, or, with a need of 0 bytes, for the shard to
/// catch up (a full ring, or too many batches ahead of it).
#[derive(Debug, Default)]
pub struct Waiters {
    /// Entries without an outcome.
    count: AtomicUsize,
    /// Those of them that need memory.
    pressing: AtomicUsize,
    queue: Mutex<Queue>,
}

impl Waiters {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Callers that wait now.
    pub fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// Whether somebody waits for memory: then every partition is ready (RDY-4, BUF-6).
    pub fn is_pressing(&self) -> bool {
        self.pressing.load(SeqCst) > 0
    }

    /// Joins the queue. The caller then wakes the shard, and polls the ticket.
    pub fn enqueue(&self, need: Need, deadline: u64) -> u64 {
        let mut queue = self.queue();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        let outcome = queue.closed.then_some(Waited::Closed);
        if outcome.is_none() {
            self.count.fetch_add(1, SeqCst);
            self.pressing.fetch_add(usize::from(need.bytes() > 0), SeqCst);
        }
        let waiter = Waiter { ticket, need, set_aside: 0, deadline, outcome, waker: None };
        queue.waiting.push_back(waiter);
        ticket
    }

    /// How the wait ended; the ticket is then used up. Granted bytes belong to the caller.
    pub fn poll(&self, ticket: u64, context: &mut Context<'_>) -> Poll<Waited> {
        let mut queue = self.queue();
        let at = queue.waiting.iter().position(|waiter| waiter.ticket == ticket);
        let at = at.expect("a ticket is polled only until it is ready");
        let waiter = &mut queue.waiting[at];
        if let Some(outcome) = waiter.outcome {
            queue.waiting.remove(at);
            return Poll::Ready(outcome);
        }
        let old = waiter.waker.replace(context.waker().clone());
        // With it a task may go, and with that whatever it holds: not under the lock.
        drop(queue);
        drop(old);
        Poll::Pending
    }

    /// Leaves the queue; what was set aside goes back, also when it was already granted (BUF-4).
    pub fn leave(&self, ticket: u64, pool: &BufferPool) {
        let mut queue = self.queue();
        let Some(at) = queue.waiting.iter().position(|waiter| waiter.ticket == ticket) else {
            return;
        };
        let left = queue.waiting.remove(at);
        if let Some(waiter) = &left {
            pool.unreserve(waiter.set_aside);
            if waiter.outcome.is_none() {
                self.leave_count(waiter.need);
            }
        }
        // The waker may take its task with it: not under the lock.
        drop(queue);
        drop(left);
    }

    fn leave_count(&self, need: Need) {
        self.count.fetch_sub(1, SeqCst);
        self.pressing.fetch_sub(usize::from(need.bytes() > 0), SeqCst);
    }

    /// Gives free bytes to the waiters in order, in lumps. Runs on the shard, after buffers came
    /// back. `caught_up`: those who wait for the shard may go on.
    pub fn distribute(&self, pool: &BufferPool, caught_up: bool, now: u64) -> Distributed {
        if self.count.load(Relaxed) == 0 {
            return Distributed::default();
        }
        let mut queue = self.queue();
        let paced = self.pace(&mut queue, caught_up, now);
        let held = self.serve(&mut queue, pool, now);
        let again_at = [paced.again_at, held].into_iter().flatten().min();
        self.wake(queue);
        Distributed { again_at, ..paced }
    }

    /// Lets those go on who wait for the shard, if it has caught up or takes too long.
    fn pace(&self, queue: &mut Queue, caught_up: bool, now: u64) -> Distributed {
        let pacing = |waiter: &Waiter| waiter.outcome.is_none() && waiter.need.bytes() == 0;
        if !queue.waiting.iter().any(pacing) {
            queue.pacing_since = None;
            return Distributed::default();
        }
        let until = *queue.pacing_since.get_or_insert(now) + PACE_NANOS_MAX;
        if !caught_up && now < until {
            return Distributed { again_at: Some(until), ..Distributed::default() };
        }
        queue.pacing_since = None;
        let Queue { waiting, woken, .. } = queue;
        for waiter in waiting.iter_mut().filter(|waiter| pacing(waiter)) {
            self.finish(waiter, Waited::Granted, woken);
        }
        Distributed { again_at: None, paced: caught_up, unpaced: !caught_up }
    }

    /// Serves those who wait for memory; returns until when somebody is held back.
    fn serve(&self, queue: &mut Queue, pool: &BufferPool, now: u64) -> Option<u64> {
        let pressing = |waiter: &Waiter| waiter.outcome.is_none() && waiter.need.bytes() > 0;
        let mut held = true;
        let Queue { waiting, held_since, woken, .. } = queue;
        // What is left to those without a backlog was not enough for them: then all are equal.
        let all_equal = waiting.iter().any(|waiter| pressing(waiter) && !waiter.need.has_backlog());
        for waiter in waiting.iter_mut().filter(|waiter| pressing(waiter)) {
            let left = if all_equal { 0 } else { pool.left_by(waiter.need) };
            let missing = waiter.need.bytes() - waiter.set_aside;
            let take = missing.min(pool.available().saturating_sub(left));
            if take > 0 && pool.try_reserve(take) {
                waiter.set_aside += take;
            }
            if waiter.set_aside < waiter.need.bytes() {
                break;
            }
            // Nothing to wait for when no byte is out.
            let more = pool.available() + waiter.set_aside < pool.total();
            if held && more && pool.available() < pool.total() / LUMP_SHARE {
                let until = *held_since.get_or_insert(now) + HOLD_NANOS_MAX;
                if now < until {
                    return Some(until);
                }
            }
            held = false;
            self.finish(waiter, Waited::Granted, woken);
        }
        *held_since = None;
        None
    }

    /// Ends the waits whose deadline has passed; returns the next deadline.
    pub fn expire(&self, now: u64, pool: &BufferPool) -> Option<u64> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut queue = self.queue();
        let mut next = None;
        let Queue { waiting, woken, .. } = &mut *queue;
        for waiter in waiting.iter_mut().filter(|waiter| waiter.outcome.is_none()) {
            if waiter.deadline <= now {
                pool.unreserve(std::mem::take(&mut waiter.set_aside));
                self.finish(waiter, Waited::TimedOut, woken);
            } else {
                next = Some(next.map_or(waiter.deadline, |at: u64| at.min(waiter.deadline)));
            }
        }
        self.wake(queue);
        next
    }

    /// Ends all waits, now and later (BUF-8).
    pub fn close(&self, pool: &BufferPool) {
        let mut queue = self.queue();
        queue.closed = true;
        let Queue { waiting, woken, .. } = &mut *queue;
        for waiter in waiting.iter_mut().filter(|waiter| waiter.outcome.is_none()) {
            pool.unreserve(std::mem::take(&mut waiter.set_aside));
            self.finish(waiter, Waited::Closed, woken);
        }
        self.wake(queue);
    }

    fn finish(&self, waiter: &mut Waiter, outcome: Waited, woken: &mut Vec<Waker>) {
        waiter.outcome = Some(outcome);
        self.leave_count(waiter.need);
        woken.extend(waiter.waker.take());
    }

    /// Wakes those whose wait has ended. A waker may come back here: not under the lock.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.woken.is_empty() {
            return;
        }
        let mut woken = std::mem::take(&mut queue.woken);
        drop(queue);
        woken.drain(..).for_each(park::wake);
        self.queue().woken = woken;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    fn light(bytes: u64) -> Need {
        Need::new(bytes, false)
    }

    fn poll(waiters: &Waiters, ticket: u64) -> Poll<Waited> {
        waiters.poll(ticket, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn buf_3_the_longest_waiter_gathers_bytes_and_later_ones_get_nothing() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        let cost = pool.cost(1000);
        assert!(pool.try_reserve(pool.total()));
        let waiters = Waiters::default();
        let (first, second) =
            (waiters.enqueue(light(2 * cost), 10), waiters.enqueue(light(cost), 10));
        pool.unreserve(cost);
        let _ = waiters.distribute(&pool, true, 0);
        let _ = waiters.distribute(&pool, true, HOLD_NANOS_MAX);
        assert!(poll(&waiters, first).is_pending() && poll(&waiters, second).is_pending());
        assert_eq!(pool.available(), 0, "the first waiter has set the bytes aside");
        pool.unreserve(cost);
        let _ = waiters.distribute(&pool, true, 0);
        let _ = waiters.distribute(&pool, true, HOLD_NANOS_MAX);
        assert_eq!(poll(&waiters, first), Poll::Ready(Waited::Granted));
        assert!(poll(&waiters, second).is_pending());
    }

    fn backlog(bytes: u64) -> Need {
        Need::new(bytes, true)
    }

    #[test]
    fn the_last_bytes_are_left_to_partitions_without_a_backlog() {
        let pool = BufferPool::new(1 << 20, 1000).unwrap();
        let cost = pool.cost(1000);
        let left = pool.left_by(backlog(cost));
        assert!(left >= 16 * cost, "a share of the buffers: {left}");
        while pool.try_take(backlog(cost)) {}
        assert_eq!(pool.available(), left);
        let waiters = Waiters::default();
        let flooding = waiters.enqueue(backlog(cost), 10);
        let _ = waiters.distribute(&pool, true, 0);
        let _ = waiters.distribute(&pool, true, HOLD_NANOS_MAX);
        assert!(poll(&waiters, flooding).is_pending());
        assert!(pool.try_take(light(cost)), "at once, although somebody waits");
        pool.unreserve(2 * cost);
        let _ = waiters.distribute(&pool, true, 2 * HOLD_NANOS_MAX);
        let _ = waiters.distribute(&pool, true, 3 * HOLD_NANOS_MAX);
        assert_eq!(poll(&waiters, flooding), Poll::Ready(Waited::Granted));
        assert_eq!(pool.available(), left);
    }

    #[test]
    fn buf_3_where_the_last_bytes_were_not_enough_the_longest_waiter_is_first_again() {
        let pool = BufferPool::new(1 << 20, 1000).unwrap();
        let cost = pool.cost(1000);
        assert!(pool.try_reserve(pool.total()));
        let waiters = Waiters::default();
        let (first, second) =
            (waiters.enqueue(backlog(cost), 10), waiters.enqueue(light(cost), 10));
        pool.unreserve(cost);
        let _ = waiters.distribute(&pool, true, 0);
        let _ = waiters.distribute(&pool, true, HOLD_NANOS_MAX);
        assert_eq!(poll(&waiters, first), Poll::Ready(Waited::Granted));
        assert!(poll(&waiters, second).is_pending());
    }

    #[test]
    fn buf_5_what_needs_all_of_the_memory_leaves_nothing() {
        let pool = BufferPool::new(1 << 20, 1000).unwrap();
        let (all, waiters) = (pool.total(), Waiters::default());
        for need in [all, all - 1] {
            assert!(pool.left_by(backlog(need)) <= 1);
            let ticket = waiters.enqueue(backlog(need), 10);
            let _ = waiters.distribute(&pool, true, 0);
            assert_eq!(poll(&waiters, ticket), Poll::Ready(Waited::Granted));
            pool.unreserve(need);
        }
        let few = BufferPool::new(1 << 14, 1000).unwrap();
        assert_eq!(few.left_by(backlog(1)), 0, "every one of a few buffers counts");
    }

    #[test]
    fn buf_4_a_waiter_that_times_out_or_leaves_gives_its_bytes_back() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        let cost = pool.cost(1000);
        assert!(pool.try_reserve(pool.total()));
        let waiters = Waiters::default();
        let (first, second) =
            (waiters.enqueue(light(3 * cost), 10), waiters.enqueue(light(2 * cost), 20));
        pool.unreserve(cost);
        let _ = waiters.distribute(&pool, true, 0);
        let _ = waiters.distribute(&pool, true, HOLD_NANOS_MAX);
        assert_eq!(waiters.expire(10, &pool), Some(20));
        assert_eq!(poll(&waiters, first), Poll::Ready(Waited::TimedOut));
        let _ = waiters.distribute(&pool, true, 0);
        let _ = waiters.distribute(&pool, true, HOLD_NANOS_MAX);
        waiters.leave(second, &pool);
        assert_eq!((pool.available(), waiters.count()), (cost, 0));
    }

    #[test]
    fn ack_7_a_waker_may_come_back_for_more() {
        /// Leaves the queue, and joins it again: what an executor does that runs tasks in `wake`.
        struct Again(Arc<Waiters>, Arc<BufferPool>, u64);
        impl Wake for Again {
            fn wake(self: Arc<Self>) {
                self.0.leave(self.2, &self.1);
                let ticket = self.0.enqueue(light(1), 20);
                assert!(poll(&self.0, ticket).is_pending());
            }
        }
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        assert!(pool.try_reserve(pool.total()));
        let waiters = Arc::new(Waiters::default());
        let ticket = waiters.enqueue(light(pool.cost(1000)), 10);
        let again = Again(Arc::clone(&waiters), Arc::clone(&pool), ticket);
        let waker = Waker::from(Arc::new(again));
        assert!(waiters.poll(ticket, &mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(waiters.expire(10, &pool), None);
        assert_eq!((waiters.count(), waiters.expire(19, &pool)), (1, Some(20)));
        waiters.close(&pool);
        assert_eq!(waiters.count(), 0);
    }

    #[test]
    fn buf_8_closing_ends_every_wait_and_memory_still_comes_back() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        assert!(pool.try_reserve(pool.total()));
        let waiters = Waiters::default();
        let early = waiters.enqueue(light(100), 10);
        waiters.close(&pool);
        let late = waiters.enqueue(light(100), 10);
        assert_eq!(poll(&waiters, early), Poll::Ready(Waited::Closed));
        assert_eq!(poll(&waiters, late), Poll::Ready(Waited::Closed));
        pool.unreserve(pool.total());
        assert_eq!(pool.available(), pool.total());
    }
}
