//! What the calls of a test and the cluster's thread share, and how they wake each other.
//!
//! Thread:   any; the lock is held for the time of one look, or of one round of the thread.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fd::OwnedFd;

use super::answers::Endpoint;
use super::api::Versions;
use super::error::ClusterError;
use super::faults::Faults;
use super::journal::Journal;
use super::topics::Topics;
use crate::clock;
use crate::ids::BrokerId;

/// A broker of the cluster.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: BrokerId,
    pub(super) address: SocketAddr,
}

impl Node {
    pub(super) fn endpoint(&self) -> Endpoint {
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        Endpoint { node: self.id.0, host, port }
    }
}

/// Everything that the cluster knows and has seen.
#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) topics: Topics,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
    pub(super) versions: Versions,
    pub(super) rules: Rules,
    pub(super) next_producer_id: i64,
    /// Counts appended batches: whoever waits at the end of a log looks again when it changes.
    pub(super) appended: u64,
    /// Connections accepted so far.
    pub(super) connections: u64,
    pub(super) is_ending: bool,
}

impl State {
    /// The number of a connection that was just accepted.
    pub(super) fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections - 1
    }
}

/// How the brokers are set up.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) cluster_id: String,
    /// `message.max.bytes`: a larger batch is refused.
    pub(super) batch_bytes_max: usize,
    /// Whether a refused produce request is told who leads (KIP-951).
    pub(super) hints: bool,
    /// Partitions of topics that are made because a client asks for them; None makes none.
    pub(super) auto_create: Option<i32>,
}

/// The state, and the two ways to say that it changed.
pub(super) struct Shared {
    state: Mutex<State>,
    /// For whoever waits in a test.
    changed: Condvar,
    /// For the cluster's thread.
    wake: OwnedFd,
}

impl Shared {
    pub(super) fn new(state: State, wake: OwnedFd) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new(), wake }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state, and tells everybody.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.wake_thread();
        self.changed.notify_all();
        changed
    }

    pub(super) fn wake_thread(&self) {
        // A counter that is full already has the thread awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    pub(super) fn wake_waiters(&self) {
        self.changed.notify_all();
    }

    pub(super) fn waker(&self) -> &OwnedFd {
        &self.wake
    }

    /// Waits until `count` finds so many.
    ///
    /// # Errors
    /// `TimedOut` when it has not within `patience`.
    pub(super) fn wait(
        &self,
        what: impl FnOnce() -> String,
        wanted: usize,
        patience: Duration,
        mut count: impl FnMut(&State) -> usize,
    ) -> Result<(), ClusterError> {
        let deadline = clock::now().checked_add(patience);
        let mut state = self.lock();
        loop {
            let found = count(&state);
            if found >= wanted {
                return Ok(());
            }
            let left = deadline.map(|it| it.saturating_duration_since(clock::now()));
            if left == Some(Duration::ZERO) {
                let (what, waited) = (what(), patience);
                return Err(ClusterError::TimedOut { what, wanted, found, waited });
            }
            let waited = self.changed.wait_timeout(state, left.unwrap_or(Duration::MAX));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
