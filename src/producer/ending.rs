//! What ends with a producer besides its threads: whoever waits for a time of their own.
//!
//! Bounds:   as many entries as live ones, and those that ended since the last was added.
#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Ends somebody's wait.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    news: Condvar,
}

impl Stop {
    pub(crate) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_all();
    }

    /// Waits so long; whether it was stopped.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.news.wait_timeout_while(stopped, patience, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Those that a close stops.
#[derive(Debug, Default)]
pub(super) struct Stops(Mutex<Vec<Weak<Stop>>>);

impl Stops {
    fn stops(&self) -> MutexGuard<'_, Vec<Weak<Stop>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, as long as it lives.
    pub(super) fn add(&self, stop: &Arc<Stop>) {
        let mut stops = self.stops();
        stops.retain(|stop| stop.strong_count() > 0);
        stops.push(Arc::downgrade(stop));
    }

    pub(super) fn stop_all(&self) {
        self.stops().iter().filter_map(Weak::upgrade).for_each(|stop| stop.stop());
    }
}
