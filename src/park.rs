//! Where foreign code meets this crate's threads: one future run on a thread that has no runtime
//! (the blocking calls), and wakers run on a thread that has work to do.
//!
//! A sender thread runs wakers, and a waker may call anything. What would make the thread wait for
//! itself is refused here; what panics is caught here.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crate::clock;
use crate::sync::thread::{self, Thread};
use crate::sync::thread_local;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// One waker per thread, so that blocking calls allocate nothing after the first.
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

std::thread_local! {
    /// Whose sender thread this is; 0 for everybody else's.
    static SENDER_OF: Cell<usize> = const { Cell::new(0) };
}

/// This thread sends for `owner`, a number that is not 0 and that no other producer has.
pub(crate) fn become_sender_of(owner: usize) {
    SENDER_OF.set(owner);
}

/// Runs `work`, in which this thread sends for `owner`, inside a loop that is not its own.
pub(crate) fn as_sender_of<R>(owner: usize, work: impl FnOnce() -> R) -> R {
    /// Also after a panic.
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            SENDER_OF.set(self.0);
        }
    }
    let _restore = Restore(SENDER_OF.replace(owner));
    work()
}

/// A number that no other thread has while this one lives.
pub(crate) fn this_thread() -> usize {
    SENDER_OF.with(|here| std::ptr::from_ref(here).addr())
}

/// Whether this thread sends for `owner`.
pub(crate) fn is_sender_of(owner: usize) -> bool {
    SENDER_OF.get() == owner
}

/// Whether this thread is a sender: then it waits for nothing but its driver.
pub(crate) fn is_sender() -> bool {
    SENDER_OF.get() != 0
}

/// The call came from a waker on a sender thread, and would have had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WouldDeadlock;

/// Blocks the calling thread until `future` is ready. Futures of this crate end by themselves: each
/// has a deadline that its shard keeps.
///
/// # Errors
/// On a sender thread, when the future is not ready at once: it may be this thread that makes it
/// ready. The future is dropped.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, WouldDeadlock> {
    let mut future = pin!(future);
    WAKER.with(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return Ok(output),
                Poll::Pending if is_sender() => return Err(WouldDeadlock),
                Poll::Pending => thread::park(),
            }
        }
    })
}

/// Blocks the calling thread until `future` is ready, or until `deadline`: then None. On a sender
/// thread it does not wait.
pub(crate) fn block_until<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let mut future = pin!(future);
    WAKER.with(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return Some(output),
                Poll::Pending if is_sender() => return None,
                Poll::Pending => {
                    let left = deadline.saturating_duration_since(clock::now());
                    if left.is_zero() {
                        return None;
                    }
                    thread::park_timeout(left);
                }
            }
        }
    })
}

/// Wakes a task. Runs foreign code: no lock may be held. A panic of it is logged, and nothing else
/// suffers from it (ACK-4).
pub(crate) fn wake(waker: Waker) {
    if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
        tracing::error!("the waker of a task panicked; the task may never run again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_7_a_sender_thread_does_not_wait_and_others_do() {
        assert_eq!(block_on(std::future::ready(1)), Ok(1));
        let sender = thread::spawn(|| {
            become_sender_of(7);
            assert!(is_sender() && is_sender_of(7) && !is_sender_of(8));
            assert_eq!(block_on(std::future::ready(2)), Ok(2), "what need not wait is allowed");
            block_on(std::future::pending::<()>())
        });
        assert_eq!(sender.join().unwrap(), Err(WouldDeadlock));
        assert!(!is_sender());
    }

    #[test]
    fn a_thread_sends_for_somebody_as_long_as_the_work_lasts() {
        let work = || as_sender_of(7, || is_sender_of(7) && as_sender_of(8, || is_sender_of(8)));
        assert!(work() && !is_sender());
        let broken = catch_unwind(|| as_sender_of(7, || panic!("on purpose: this test's work")));
        assert!(broken.is_err() && !is_sender());
        let other = thread::spawn(this_thread);
        assert_ne!(this_thread(), other.join().unwrap());
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let soon = clock::now() + std::time::Duration::from_millis(1);
        assert_eq!(block_until(std::future::pending::<()>(), soon), None);
        assert_eq!(block_until(std::future::ready(1), soon), Some(1));
    }

    #[test]
    fn ack_4_a_waker_that_panics_is_survived() {
        struct Angry;
        impl Wake for Angry {
            fn wake(self: Arc<Self>) {
                panic!("on purpose: this test's waker");
            }
        }
        wake(Waker::from(Arc::new(Angry)));
    }
}
