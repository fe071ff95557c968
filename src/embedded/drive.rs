//! An embedded shard as a task of a tokio runtime: it waits where the runtime waits.
//!
//! Thread:   the runtime's and the shard's: one and the same.
//! Bounds:   [`STEPS_MAX`] steps before the other tasks have their turn.
//! Never:    wakes the runtime by a system call.
//!
//! The runtime watches the shard's descriptor, edge-triggered. So its readiness is cleared before
//! the step that looks: what comes after that look makes a new edge, and a driver that left
//! something unread says so by `Step::Again`.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use rustix::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep_until};

use super::{Core, Progress};
use crate::shard::{Look, Step};

/// Steps of one poll; then the other tasks of the runtime have their turn.
const STEPS_MAX: usize = 16;

/// The future of [`Embedded::drive`](super::Embedded::drive): ready when the producer is closed.
///
/// # Errors
/// The runtime could not watch the descriptor.
///
/// # Panics
/// Polled outside of a tokio runtime, or in one without I/O or time.
#[must_use = "an embedded producer does nothing unless it is driven"]
pub struct Drive {
    core: Rc<Core>,
    /// Made by the first poll, in the runtime.
    watched: Option<AsyncFd<OwnedFd>>,
    timer: Option<Timer>,
}

/// A timer that is moved only when it has to be: most deadlines are replaced by later ones.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl std::fmt::Debug for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("producer", &self.core.producer).finish_non_exhaustive()
    }
}

#[allow(
    deprecated,
    reason = "the successor is younger than the oldest tokio that will do, and \
                              an `OwnedFd` is what it asks for"
)]
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

impl Drive {
    pub(super) fn new(core: Rc<Core>) -> Self {
        Self { core, watched: None, timer: None }
    }

    /// Whether the descriptor became readable. Registers the task.
    fn poll_watched(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let watched = match &self.watched {
            Some(watched) => watched,
            None => {
                // A descriptor of its own: each watch of the runtime needs one.
                let descriptor = self.core.watched().try_clone_to_owned()?;
                self.watched.insert(watch(descriptor)?)
            }
        };
        match watched.poll_read_ready(context) {
            Poll::Ready(ready) => {
                ready?.clear_ready();
                Ok(true)
            }
            Poll::Pending => Ok(false),
        }
    }

    /// Whether the shard's deadline has come. Registers the task.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> bool {
        let Some(deadline) = self.core.deadline() else { return false };
        let timer = self.timer.get_or_insert_with(|| Timer {
            sleep: Box::pin(sleep_until(deadline.into())),
            armed: deadline,
        });
        if timer.armed > deadline {
            timer.arm(deadline);
        }
        while timer.sleep.as_mut().poll(context).is_ready() {
            if timer.armed >= deadline {
                return true;
            }
            timer.arm(deadline);
        }
        false
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        // If others drive too, they have no timer for the last deadline.
        self.core.signal.wake();
    }
}

impl Timer {
    fn arm(&mut self, deadline: Instant) {
        self.armed = deadline;
        self.sleep.as_mut().reset(deadline.into());
    }
}

impl Future for Drive {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let over = Some(self.core.started);
        for _ in 0..STEPS_MAX {
            // First, so that what comes after the looks below wakes this task.
            self.core.signal.register(context.waker());
            let readable = self.poll_watched(context)?;
            let again = self.core.stepped.get() == Step::Again;
            let look = if readable || again { Look::Until(over) } else { Look::No };
            if !readable && !self.core.is_due() && !self.poll_timer(context) {
                return Poll::Pending;
            }
            if self.core.step(look) == Progress::Ended {
                return Poll::Ready(Ok(()));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
