//! Giving up records that were accepted: some of them, or all with the producer.
#![forbid(unsafe_code)]

use std::future::Future;
use std::sync::Arc;

use super::{Inner, Producer, Summary};
use crate::clock;
use crate::park;
use crate::sender::PurgeOrder;
use crate::shard::{Command, Finished, Ticket};

/// Which records a [`Producer::purge`] gives up.
///
/// ```
/// use kuring::Purge;
/// let everything_that_waits = Purge { queued: true, ..Purge::default() };
/// let one_topic = Purge { topic: Some("events"), queued: true, in_flight: true };
/// # assert_ne!(everything_that_waits, one_topic);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge<'a> {
    /// Only those of this topic; of all topics when there is none.
    pub topic: Option<&'a str>,
    /// Those in no request: they were not sent yet, or wait to be sent again.
    pub queued: bool,
    /// Those in requests that are not answered.
    pub in_flight: bool,
}

impl Producer {
    /// Gives up records that have no verdict yet: each gets
    /// [`SendError::Purged`](crate::SendError::Purged). One that never left is certainly not
    /// written, and its memory is free at once. One in flight may be written; its memory is free
    /// when the broker has answered or the connection is gone. One that waits to be sent again may
    /// be written if the answer to an earlier attempt was lost.
    ///
    /// Begins with the call: a queued record is meant if it was accepted before, or joined the
    /// batch of such a record before the shard saw the call. The future is ready when all that were
    /// meant have their verdicts; dropping it stops nothing. Calls that wait for memory or metadata
    /// go on, and so do reservations that are not committed. With
    /// idempotence, a partition that has lost a record in this way goes on under a new epoch.
    /// Allocates.
    pub fn purge(&self, purge: Purge<'_>) -> impl Future<Output = ()> + Send + Unpin + use<> {
        self.inner().start_purge(purge)
    }

    /// [`purge`](Self::purge) for threads without a runtime. From a waker on a sender thread it
    /// starts the purge, and returns (ACK-7).
    pub fn blocking_purge(&self, purge: Purge<'_>) {
        // A sender thread does not wait; the purge goes on.
        let _ = park::block_on(self.inner().start_purge(purge));
    }

    /// Closes at once: refuses new records, sends nothing more, gives every record that has no
    /// verdict one ([`SendError::Closed`](crate::SendError::Closed)), ends the threads. Does not
    /// wait for brokers, but blocks until the kernel has given back what it was sending from. As
    /// [`close`](Self::close) without patience, which still sends what is ready.
    ///
    /// From a waker, which a sender thread runs, it waits for nothing, and the totals are those of
    /// the moment (ACK-7). In a fork's child it does nothing, and counts nothing.
    pub fn abort(&self) -> Summary {
        self.inner().abort()
    }
}

impl Inner {
    pub(crate) fn start_purge(&self, purge: Purge<'_>) -> Finished {
        if self.is_copy() {
            return Finished(Ticket::new(0));
        }
        let order = PurgeOrder {
            topic: purge.topic.map(Arc::from),
            queued: purge.queued,
            in_flight: purge.in_flight,
            // The clock is read after the records were accepted: all their batches are older.
            opened_before: clock::now_nanos().saturating_add(1),
        };
        let ticket = Ticket::new(self.shards.len());
        for shard in self.shards.iter() {
            shard.command(Command::Purge(Arc::clone(&ticket), order.clone()));
        }
        Finished(ticket)
    }

    fn abort(&self) -> Summary {
        if self.is_copy() {
            return Summary::default();
        }
        self.start_abort();
        self.await_end()
    }
}
