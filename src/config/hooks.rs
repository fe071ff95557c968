//! What a builder is given to call: no property has it.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::ConfigBuilder;
use crate::callback::DeliveryReport;
use crate::interceptor::Interceptor;
use crate::shield::Shield;

impl ConfigBuilder {
    /// Adds an interceptor, which sees every record and its verdict after those that were added
    /// before (`interceptor.classes` names Java's, which are not for here). Records then take the
    /// long way to their batches.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> Self {
        self.chosen.hooks.interceptors.push(Arc::new(Shield::new("interceptor", interceptor)));
        self
    }

    /// Has the verdicts on submitted records ([`Topic::submit`](crate::Topic::submit) and its kin)
    /// told to `handler`, with the number each was submitted with, instead of the completion queue.
    /// Each record that was accepted is told exactly once, those of a partition in the order of
    /// their verdicts, which is that of the records unless one was sent again.
    ///
    /// Runs on the sender thread (several at once when there are several shards; an embedded
    /// producer's in its turns), before any flush or close that waits for the record is over
    /// (ACK-3). While it runs nothing goes out and nothing comes in: it may not take long. Calls
    /// that would wait are refused there ([`SendError::OnSenderThread`](crate::SendError)); to send
    /// from it is allowed. A panic of it is logged, and the next verdicts are told (ACK-4). Nothing
    /// is allocated for it.
    ///
    /// A handler that holds a [`Producer`](crate::Producer) keeps it open for good; let it hold a
    /// [`Topic`](crate::Topic).
    pub fn delivery_handler(
        mut self,
        handler: impl Fn(u64, &DeliveryReport<'_>) + Send + Sync + 'static,
    ) -> Self {
        let handler = Shield::new("delivery handler", handler);
        self.chosen.hooks.handler =
            Some(Arc::new(move |user_data, report| handler(user_data, report)));
        self
    }
}
