//! Models of the buffer pool and of those who wait for its memory.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::sync::Arc;

use loom::sync::Notify;

use super::{BUFFER_BYTES, TURN_NANOS};
use crate::accumulator::buffer_pool::{BufferIndex, BufferPool, Need};
use crate::accumulator::waiters::{Waited, Waiters};
use crate::park::block_on;
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sync::{Mutex, explore, thread};

const COST: u64 = BUFFER_BYTES as u64;
const NEED: Need = Need::new(COST, false);

fn pool(buffers: usize) -> Arc<BufferPool> {
    let pool = BufferPool::new(COST * buffers as u64, 1).unwrap();
    assert_eq!((pool.pooled_count(), pool.cost(1)), (buffers, COST));
    pool
}

/// Takes a buffer, writes all of it and gives it back, as often as there is one.
fn use_buffers(pool: &Arc<BufferPool>, times: usize) {
    for _ in 0..times {
        if !pool.try_reserve(COST) {
            thread::yield_now();
            continue;
        }
        let index = pool.claim_reserved(1).expect("the reservation stands for a buffer");
        pool.note_written(index, 0, BUFFER_BYTES);
        pool.unreserve(pool.release(index));
    }
}

#[test]
fn k19012_1_a_buffer_has_one_user_at_a_time() {
    explore(|| {
        let pool = pool(2);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || use_buffers(&pool, 2))
        };
        use_buffers(&pool, 2);
        other.join().unwrap();
        assert_eq!(pool.available(), pool.total());
    });
}

#[test]
fn k19012_1_a_free_list_that_changed_and_looks_the_same_is_not_taken_for_unchanged() {
    explore(|| {
        let pool = pool(4);
        assert!(pool.try_reserve(pool.total()));
        let all = [(); 4].map(|()| pool.claim_reserved(1).unwrap());
        all.into_iter().for_each(|index| pool.unreserve(pool.release(index)));
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let [first, second] = take_two(&pool);
                pool.unreserve(pool.release(first));
                pool.note_written(second, 0, BUFFER_BYTES);
            })
        };
        let _ = pool.try_reserve(COST).then(|| pool.claim_reserved(1));
        use_buffers(&pool, 1);
        other.join().unwrap();
    });
}

fn take_two(pool: &Arc<BufferPool>) -> [BufferIndex; 2] {
    while !pool.try_reserve(2 * COST) {
        thread::yield_now();
    }
    [(); 2].map(|()| pool.claim_reserved(1).unwrap())
}

/// Callers that wait for memory, and a shard that serves them.
struct Callers {
    pool: Arc<BufferPool>,
    waiters: Waiters,
    wakes: Notify,
    served: Mutex<Vec<u64>>,
    over: AtomicBool,
}

impl Callers {
    /// All memory is taken.
    fn new(buffers: usize) -> Arc<Self> {
        let pool = pool(buffers);
        assert!(pool.try_reserve(pool.total()));
        let (waiters, wakes) = (Waiters::default(), Notify::new());
        Arc::new(Self {
            pool,
            waiters,
            wakes,
            served: Mutex::default(),
            over: AtomicBool::new(false),
        })
    }

    /// What `topic.rs` does: waits, uses the memory and gives it back.
    fn call(&self) -> Waited {
        let ticket = self.waiters.enqueue(NEED, 10);
        self.wakes.notify();
        self.wait(ticket)
    }

    fn wait(&self, ticket: u64) -> Waited {
        let waited = block_on(poll_fn(|context| self.waiters.poll(ticket, context))).unwrap();
        if waited == Waited::Granted {
            self.served.lock().unwrap().push(ticket);
            self.pool.unreserve(COST);
        }
        self.over.store(true, Release);
        self.wakes.notify();
        waited
    }

    fn spawn(self: &Arc<Self>) -> thread::JoinHandle<Waited> {
        let callers = Arc::clone(self);
        thread::spawn(move || callers.call())
    }

    /// What the shard does each turn, until `count` callers were served.
    fn serve(&self, count: usize) {
        let mut now = 0;
        while self.served.lock().unwrap().len() < count {
            now += TURN_NANOS;
            if self.waiters.distribute(&self.pool, true, now).again_at.is_none() {
                self.wakes.wait();
            }
        }
    }

    fn assert_over(&self) {
        assert_eq!(self.waiters.count(), 0);
        assert!(!self.waiters.is_pressing());
        assert_eq!(self.pool.available(), self.pool.total());
    }
}

#[test]
fn buf_3_callers_are_served_in_the_order_in_which_they_came() {
    explore(|| {
        let callers = Callers::new(1);
        let threads = [(); 2].map(|()| {
            let ticket = callers.waiters.enqueue(NEED, 10);
            let callers = Arc::clone(&callers);
            thread::spawn(move || callers.wait(ticket))
        });
        callers.pool.unreserve(COST);
        callers.serve(2);
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Waited::Granted));
        assert_eq!(*callers.served.lock().unwrap(), [0, 1]);
        callers.assert_over();
    });
}

#[test]
fn buf_4_a_caller_is_granted_its_memory_or_times_out_and_no_byte_is_lost() {
    explore(|| {
        let callers = Callers::new(1);
        let calling = callers.spawn();
        callers.wakes.wait();
        let _ = callers.waiters.distribute(&callers.pool, true, TURN_NANOS);
        callers.pool.unreserve(COST);
        let mut turns = 1;
        while !callers.over.load(Acquire) {
            turns += 1;
            let _ = callers.waiters.distribute(&callers.pool, true, turns * TURN_NANOS);
            let _ = callers.waiters.expire(10, &callers.pool);
            callers.wakes.wait();
        }
        let waited = calling.join().unwrap();
        assert!(matches!(waited, Waited::Granted | Waited::TimedOut), "{waited:?}");
        callers.assert_over();
    });
}

#[test]
fn buf_4_a_caller_that_leaves_while_it_is_served_gives_its_bytes_back() {
    explore(|| {
        let callers = Callers::new(1);
        let other = {
            let callers = Arc::clone(&callers);
            thread::spawn(move || {
                let ticket = callers.waiters.enqueue(NEED, 10);
                callers.waiters.leave(ticket, &callers.pool);
            })
        };
        callers.pool.unreserve(COST);
        let _ = callers.waiters.distribute(&callers.pool, true, TURN_NANOS);
        other.join().unwrap();
        callers.assert_over();
    });
}

#[test]
fn buf_8_a_close_ends_every_wait_also_one_that_begins() {
    explore(|| {
        let callers = Callers::new(1);
        let threads = [callers.spawn(), callers.spawn()];
        callers.waiters.close(&callers.pool);
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Waited::Closed));
        callers.pool.unreserve(COST);
        callers.assert_over();
    });
}
