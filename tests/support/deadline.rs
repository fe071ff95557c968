//! Deadlines: every wait of a test ends, with a sentence that says what was waited for.
//!
//! Never:    sleeps. Whoever waits, waits for an event and gives it the time that is left.
#![forbid(unsafe_code)]

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A moment after which waiting turns into a failure.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self(now() + limit)
    }

    /// The time left; zero once the deadline has passed.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    pub(crate) fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// # Panics
    /// When the deadline has passed, naming `what` was awaited.
    pub(crate) fn check(self, what: impl FnOnce() -> String) {
        assert!(!self.passed(), "the deadline passed while waiting for {}", what());
    }
}

/// Runs a test's body in a thread of its own, and fails when it takes longer than `limit`.
///
/// A body that hangs is left behind: the test has failed, and the brokers it started stop when
/// the process ends (see `node.rs`).
pub(crate) fn bounded(limit: Duration, body: impl FnOnce() + Send + 'static) {
    let (finished, outcome) = channel();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let runner = thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            body();
            finished.send(()).ok();
        })
        .expect("a test may start a thread");
    match outcome.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => panic!("{name} hangs: not done after {limit:?}"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = runner.join() {
                resume_unwind(panic);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' one clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
