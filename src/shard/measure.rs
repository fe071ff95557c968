//! A producer's metrics out of its shards' counters, for whoever asks and for telemetry.
//!
//! Thread:   `kuring-telemetry`, for the time that a push of telemetry takes to make; an embedded
//!           shard, which has no other thread, measures in its turn.
//! Never:    makes a shard wait: what was made comes back as a command; has the application's
//!           metrics wait (ACK-7): their closures run as wakers on a sender thread do.
//!
//! With thousands of topics the metrics are a megabyte to encode and to compress: milliseconds, in
//! which a shard would serve none of its connections (TEL-8).
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::{Command, Shared};
use crate::clock;
use crate::config::{Settings, unpin_current_thread};
use crate::metrics::Metrics;
use crate::park;
use crate::protocol::get_telemetry_subscriptions::Subscription;
use crate::sender::telemetry::{MeasureError, Payload};
use crate::telemetry::{ApplicationMetrics, Reporter};

/// What all shards have counted. In a fork's child the lock of a shard may be held by a thread that
/// is not there: then `is_copy` is true, and nothing but settings is read.
pub(crate) fn metrics_of(
    shards: &[Arc<Shared>],
    client_id: &str,
    driver: &'static str,
    is_copy: bool,
) -> Metrics {
    let mut metrics = Metrics::new(client_id, driver);
    let now = clock::now_nanos();
    for shard in shards {
        metrics.add((!is_copy).then(|| shard.meters.read(now)), now);
        let pool = shard.accumulator.pool();
        metrics.buffer_total_bytes += pool.total();
        metrics.buffer_available_bytes += pool.available();
        metrics.waiting_threads += shard.accumulator.waiters.count() as u64;
    }
    metrics
}

/// Measures a producer for its pushes.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) settings: Arc<Settings>,
    pub(super) shards: Arc<[Arc<Shared>]>,
    pub(super) driver: &'static str,
    pub(super) application: Arc<ApplicationMetrics>,
    /// Made with the first push.
    pub(super) reporter: Arc<Mutex<Option<Reporter>>>,
}

impl Meter {
    /// On a thread of its own; the shard with this number is told. For the last push, the ends of
    /// the other shards are waited for, until `last` at most: then everything is counted.
    pub(super) fn start(
        &self,
        number: usize,
        subscription: Arc<Subscription>,
        last: Option<Instant>,
    ) {
        let meter = self.clone();
        let tell = move || {
            unpin_current_thread();
            if let Some(until) = last {
                let shards = meter.shards.iter().enumerate();
                let others = shards.filter(|(other, _)| *other != number);
                for (_, shard) in others {
                    let _ = park::block_until(shard.ended(), until);
                }
            }
            let measured = meter.measure(&subscription);
            meter.shards[number].command(Command::Measured(measured));
        };
        if let Err(error) = thread::Builder::new().name("kuring-telemetry".to_owned()).spawn(tell) {
            tracing::warn!(%error, "no thread to measure on: nothing is pushed this time");
            let failed = Err(MeasureError::NoThread);
            self.shards[number].command(Command::Measured(failed));
        }
    }

    /// At once.
    pub(super) fn measure(&self, subscription: &Subscription) -> Result<Payload, MeasureError> {
        let measure = || {
            let metrics = metrics_of(&self.shards, &self.settings.client_id, self.driver, false);
            // Let go of after the lock: the last one to hold a metric drops what is the user's.
            let registered = self.application.all();
            let mut reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
            let reporter = reporter.get_or_insert_with(|| Reporter::new(&self.settings));
            reporter.measure(&metrics, &registered, subscription, clock::wall_ms())
        };
        let owner = super::owner(&self.shards);
        catch_unwind(AssertUnwindSafe(|| park::as_sender_of(owner, measure)))
            .unwrap_or(Err(MeasureError::Panicked))
    }
}
