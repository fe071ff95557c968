//! Interceptors: code that sees every record on its way out, and every verdict on its way back.
//!
//! Thread:   [`on_send`](Interceptor::on_send) on the thread that sends;
//!           [`on_acknowledgement`](Interceptor::on_acknowledgement) on the sender thread, or on
//!           the caller's where the record was not taken.
//! Never:    costs a record anything when there are none.
//! Source:   `ProducerInterceptor` (KIP-42), KAFKA-8830.
#![forbid(unsafe_code)]

mod outgoing;
pub(crate) mod throttle;

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::callback::DeliveryReport;
use crate::error::SendError;
use crate::record::{HeaderList, Record};
use crate::shield::Shield;
pub(crate) use outgoing::Draft;
pub use outgoing::Outgoing;
use throttle::Throttle;

/// Sees every record that is sent, and its verdict. Added by
/// [`ConfigBuilder::interceptor`](crate::ConfigBuilder::interceptor); several are called in the
/// order in which they were added, each seeing what the ones before it changed. Shared by all
/// threads.
///
/// One that fails or panics is logged, at most once a second, and the record goes on without its
/// changes, as in Java.
///
/// For each record that `on_send` has seen there is exactly one `on_acknowledgement`: with the
/// verdict if the record was taken, and with the reason if it was not, because an interceptor
/// rejected it, because the call failed, or because its future was dropped before it was ready.
///
/// Records that are written in place ([`Topic::reserve`](crate::Topic::reserve)) come by here
/// neither way: their values do not exist yet when they are placed.
///
/// ```
/// use kuring::{DeliveryReport, HeaderList, Interceptor, OnSendError, Outgoing};
///
/// struct Audit;
///
/// impl Interceptor for Audit {
///     fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
///         if record.key().is_none() {
///             return Err(OnSendError::reject("records of this service have keys"));
///         }
///         record.headers_mut().push("sent-by", Some(b"billing"));
///         Ok(())
///     }
///
///     fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
///         if let Err(error) = report.verdict {
///             eprintln!("{}: {error} ({} headers)", report.topic, headers.len());
///         }
///     }
/// }
/// ```
pub trait Interceptor: Send + Sync {
    /// A record is about to be sent: the first thing that happens to it. It may be changed, except
    /// for its topic, or rejected. Changing the key, the value, or more than 16 headers allocates.
    ///
    /// The key and the value are bytes already, where Java's are objects still. As in Java, the
    /// headers that [serializers](crate::serializer::Serializer::serialize_with_headers) add are
    /// not there: they come behind those that are, whatever is done to these.
    ///
    /// # Errors
    /// [`OnSendError::reject`]: the record is not sent, and the caller has
    /// [`SendError::Intercepted`]. Any other error, by `?` for instance, is the interceptor's own.
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        let _ = record;
        Ok(())
    }

    /// A record has its verdict, or was not taken. `headers` are all that it was sent with. Runs
    /// just before the record's own callback, mostly on the sender thread: nothing goes out and
    /// nothing comes in while it runs, so it may not take long, and what would wait is refused
    /// there ([`SendError::OnSenderThread`]).
    fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        let _ = (report, headers);
    }
}

impl<I: Interceptor> Interceptor for Shield<I> {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        (**self).on_send(record)
    }

    fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        (**self).on_acknowledgement(report, headers);
    }
}

/// Why [`Interceptor::on_send`] did not pass a record on.
#[derive(Debug)]
pub struct OnSendError(Reason);

#[derive(Debug)]
enum Reason {
    Rejected(Arc<str>),
    Failed(Box<dyn Error + Send + Sync>),
}

impl OnSendError {
    /// The record is not to be sent, and this is why.
    pub fn reject(reason: impl Into<Arc<str>>) -> Self {
        Self(Reason::Rejected(reason.into()))
    }

    /// The interceptor failed, which is logged. The record goes on without its changes.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Reason::Failed(error.into()))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for OnSendError {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// The interceptors of a producer, in order.
pub(crate) struct Chain {
    links: Vec<Arc<dyn Interceptor>>,
    throttle: Throttle,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.links.len()).finish()
    }
}

impl Chain {
    pub(crate) fn new(links: Vec<Arc<dyn Interceptor>>) -> Self {
        Self { links, throttle: Throttle::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Shows a record to each, with what the ones before have changed.
    pub(crate) fn on_send(
        &self,
        topic: &Arc<str>,
        record: &Record<'_>,
        draft: &mut Draft,
    ) -> Result<(), SendError> {
        for (number, link) in self.links.iter().enumerate() {
            let mut outgoing = Outgoing::new(topic, record, draft);
            match catch_unwind(AssertUnwindSafe(|| link.on_send(&mut outgoing))) {
                Ok(Ok(())) => draft.keep(),
                Ok(Err(OnSendError(Reason::Rejected(reason)))) => {
                    draft.undo();
                    return Err(SendError::Intercepted { reason });
                }
                Ok(Err(OnSendError(Reason::Failed(error)))) => {
                    draft.undo();
                    self.throttle.log(|missed| {
                        tracing::warn!(number, missed, %error, "an interceptor failed in on_send");
                    });
                }
                Err(_) => {
                    draft.undo();
                    self.log_panic(number, "on_send");
                }
            }
        }
        Ok(())
    }

    /// Tells each of a verdict.
    pub(crate) fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        for (number, link) in self.links.iter().enumerate() {
            let told = AssertUnwindSafe(|| link.on_acknowledgement(report, headers));
            if catch_unwind(told).is_err() {
                self.log_panic(number, "on_acknowledgement");
            }
        }
    }

    fn log_panic(&self, number: usize, call: &'static str) {
        self.throttle
            .log(|missed| tracing::error!(number, call, missed, "an interceptor panicked"));
    }
}

#[cfg(test)]
mod tests;
