//! The producer as a client in the telemetry of its cluster: its id there, and what its application
//! has pushed beside the producer's own metrics.
//!
//! Source:   KIP-714 and KIP-1076; `clientInstanceId`, `registerMetricForSubscription` and
//!           `unregisterMetricFromSubscription` of the Java producer.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Inner, Producer};
use crate::clock;
use crate::config::FOREVER;
use crate::ids::ClientInstanceId;
use crate::park;
use crate::telemetry::ApplicationMetric;

/// Why [`Producer::client_instance_id`] has no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientInstanceIdError {
    /// `enable.metrics.push=false`: the cluster is not asked. Java throws an
    /// `IllegalStateException`.
    #[error("telemetry is off: enable.metrics.push=true asks the cluster for an id")]
    TurnedOff,
    /// No broker has given an id in time: none could be reached, or none has a plug-in for
    /// telemetry, or they refuse it. Ask again later, or with more time. Java names a
    /// `TimeoutException` here, and returns null.
    #[error(
        "no broker has given an id within {waited:?}: check that one can be reached and has a \
             plug-in for telemetry"
    )]
    TimedOut {
        /// How long the call waited.
        waited: Duration,
    },
    /// The producer was closed before it had an id.
    #[error("the producer is closed, and was given no id before")]
    Closed,
    /// A blocking call from a waker or a callback on a sender thread would have waited for that
    /// thread. Ask from another thread, or await the id.
    #[error("a sender thread may not wait for the id: ask from another thread, or await it")]
    OnSenderThread,
    /// This process is a fork's child, and the producer is its parent's.
    #[error("the producer is that of the process that forked: make another one here")]
    Forked,
}

impl Producer {
    /// The id that the cluster has given this producer in its telemetry, by which a broker's
    /// plug-in knows what it pushes (TEL-1). One per producer, however many senders it has, and the
    /// same for life, also after a close. The producer asks for it on its own as soon as it is
    /// connected to a broker that has telemetry, which it is without any record; this call waits
    /// for that until `timeout` is over: zero only looks. Takes a lock that calls take which wait
    /// for metadata, and may allocate. Needs no runtime. Cancel-safe.
    ///
    /// # Errors
    /// Telemetry is off, no broker has answered in time, the producer is closed.
    pub async fn client_instance_id(
        &self,
        timeout: Duration,
    ) -> Result<ClientInstanceId, ClientInstanceIdError> {
        let wait = InstanceWait::new(self.inner(), timeout);
        poll_fn(|context| wait.poll(context)).await
    }

    /// [`client_instance_id`](Self::client_instance_id) for threads without a runtime. On a sender
    /// thread, which runs wakers and callbacks, it does not wait (ACK-7).
    ///
    /// # Errors
    /// As [`client_instance_id`](Self::client_instance_id).
    pub fn blocking_client_instance_id(
        &self,
        timeout: Duration,
    ) -> Result<ClientInstanceId, ClientInstanceIdError> {
        park::block_on(self.client_instance_id(timeout))
            .unwrap_or(Err(ClientInstanceIdError::OnSenderThread))
    }

    /// Has a metric of the application's own pushed beside the producer's, to a cluster whose
    /// subscription selects its [name](ApplicationMetric::name) (KIP-1076). It is in no
    /// [`metrics`](Self::metrics) of the producer. See [`ApplicationMetric`] for who calls its
    /// closure.
    ///
    /// As in Java, a metric that was registered under the same name with the same attributes is
    /// replaced, and a counter then counts from 0; one with the name of a metric that the producer
    /// itself has is ignored, with a line in the log; and nothing is kept where
    /// `enable.metrics.push` is false.
    ///
    /// Neither blocks nor asks the cluster; takes a lock that nothing on the path of a record
    /// takes; allocates. The closure is dropped when it is replaced or unregistered, and with the
    /// end of a close; a measurement that is going on has it until it is over. One that holds a
    /// [`Producer`] keeps that open until then.
    pub fn register_metric_for_subscription(&self, metric: ApplicationMetric) {
        let inner = self.inner();
        // In a fork's copy a thread that is not here may hold the lock.
        if inner.settings.metrics_push && !inner.is_copy() {
            inner.application.register(metric);
        }
    }

    /// No longer pushes a metric that was [registered](Self::register_metric_for_subscription)
    /// under these names with these attributes, in any order, and drops its closure; one that was
    /// not registered is no error. The producer's own metrics stay. Neither blocks nor asks the
    /// cluster; allocates.
    pub fn unregister_metric_from_subscription(
        &self,
        group: &str,
        name: &str,
        attributes: &[(&str, &str)],
    ) {
        let inner = self.inner();
        if !inner.is_copy() {
            inner.application.unregister(group, name, attributes);
        }
    }
}

/// A wait for the id. It waits as those for metadata do, with the shard's timers.
struct InstanceWait<'a> {
    inner: &'a Inner,
    ticket: u64,
    started: Instant,
    deadline: Instant,
}

impl<'a> InstanceWait<'a> {
    fn new(inner: &'a Inner, timeout: Duration) -> Self {
        let started = clock::now();
        let deadline = started + timeout.min(FOREVER);
        Self { inner, ticket: inner.cluster.ticket(), started, deadline }
    }

    fn poll(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ClientInstanceId, ClientInstanceIdError>> {
        let (inner, cluster) = (self.inner, &self.inner.cluster);
        if inner.is_copy() {
            return Poll::Ready(Err(ClientInstanceIdError::Forked));
        }
        if !inner.settings.metrics_push {
            return Poll::Ready(Err(ClientInstanceIdError::TurnedOff));
        }
        // Joining before looking: news that comes in between wakes this call.
        cluster.wait(self.ticket, clock::to_nanos(self.deadline), context.waker());
        if let Some(instance) = cluster.instance() {
            return Poll::Ready(Ok(instance));
        }
        if cluster.is_closed() {
            return Poll::Ready(Err(ClientInstanceIdError::Closed));
        }
        let now = clock::now();
        if now >= self.deadline {
            let waited = now - self.started;
            return Poll::Ready(Err(ClientInstanceIdError::TimedOut { waited }));
        }
        // The shard has to know when this is over.
        inner.shards[0].accumulator.nudge();
        Poll::Pending
    }
}

impl Drop for InstanceWait<'_> {
    fn drop(&mut self) {
        // Not in a fork's copy: the lock may be held for ever.
        if !self.inner.is_copy() {
            self.inner.cluster.leave(self.ticket);
        }
    }
}
