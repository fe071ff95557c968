//! Every record that was offered, and what the application was told about it.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use kuring::{Delivery, SendError};

use crate::stamp::Stamp;

/// What the application knows of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Acknowledged {
        partition: i32,
        offset: Option<i64>,
    },
    NotWritten(String),
    PossiblyWritten(String),
    /// The delivery was dropped before its verdict.
    Unasked,
    /// Never accepted: refused, or its future was dropped.
    NeverAccepted,
}

/// How long the application keeps a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    ToTheEnd,
    UntilTheVerdict,
    Not,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    /// Bytes of the value.
    pub(crate) bytes: usize,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) accepted_at: u64,
    /// How long the process had been suspended by then.
    suspended_before: u64,
    keep: Keep,
    delivery: Option<Delivery>,
    pub(crate) verdict: Option<Verdict>,
    /// The place in the order in which its task's records were accepted.
    pub(crate) order: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    /// Entries without a verdict, in order.
    open: Vec<usize>,
    pub(crate) accepted: u64,
    /// How long the process has been suspended so far.
    pub(crate) suspended: u64,
    next_order: u32,
    /// Whether a record had its verdict when it was accepted.
    pub(crate) has_old: bool,
    /// What else the application was told: why calls failed, by name.
    pub(crate) refusals: std::collections::BTreeMap<String, u64>,
}

fn verdict_of(delivery: &Delivery) -> Option<Verdict> {
    Some(match delivery.verdict()? {
        Ok(found) => Verdict::Acknowledged { partition: found.partition, offset: found.offset },
        Err(error) => failure(&error),
    })
}

/// The name of what ends a producer.
pub(crate) const FATAL: &str = "fatal";

fn failure(error: &SendError) -> Verdict {
    let is_fatal = matches!(error, SendError::Fatal { .. });
    let name = if is_fatal { FATAL } else { error.kind_name() }.to_owned();
    match error.possibly_written() {
        true => Verdict::PossiblyWritten(name),
        false => Verdict::NotWritten(name),
    }
}

impl Ledger {
    /// A record was accepted; returns its place.
    pub(crate) fn accept(
        &mut self,
        offer: &Offer,
        delivery: Delivery,
        keep: Keep,
        now: u64,
    ) -> usize {
        let place = self.entries.len();
        self.accepted += 1;
        self.next_order += 1;
        let is_kept = keep != Keep::Not;
        self.entries.push(Entry {
            stamp: offer.stamp,
            bytes: offer.value.len(),
            key: offer.key.clone(),
            accepted_at: now,
            suspended_before: self.suspended,
            keep,
            delivery: is_kept.then_some(delivery),
            verdict: (!is_kept).then_some(Verdict::Unasked),
            order: self.next_order,
        });
        if is_kept {
            self.open.push(place);
            // A call that takes many records may return when the first have their verdicts.
            self.has_old |= self.entries[place].delivery.as_ref().is_some_and(Delivery::is_done);
        }
        place
    }

    /// A record was not accepted: it must not be found anywhere.
    pub(crate) fn refuse(&mut self, offer: &Offer, why: &str) {
        *self.refusals.entry(why.to_owned()).or_default() += 1;
        self.entries.push(Entry {
            stamp: offer.stamp,
            bytes: offer.value.len(),
            key: offer.key.clone(),
            accepted_at: 0,
            suspended_before: 0,
            keep: Keep::Not,
            delivery: None,
            verdict: Some(Verdict::NeverAccepted),
            order: 0,
        });
    }

    /// Looks at the deliveries that had no verdict; returns the places of those that have now.
    pub(crate) fn look(&mut self) -> Vec<usize> {
        self.has_old = false;
        let mut resolved = Vec::new();
        let entries = &mut self.entries;
        self.open.retain(|place| {
            let entry = &mut entries[*place];
            let found = entry.delivery.as_ref().and_then(verdict_of);
            if let Some(found) = found {
                // One that was awaited has it already.
                let known = entry.verdict.get_or_insert_with(|| found.clone());
                assert_eq!(*known, found, "the verdict of {:?} changed", entry.stamp);
                if entry.keep == Keep::UntilTheVerdict {
                    entry.delivery = None;
                }
                resolved.push(*place);
                return false;
            }
            entry.verdict.is_none()
        });
        resolved
    }

    pub(crate) fn unresolved(&self) -> usize {
        self.open.len()
    }

    /// The oldest record without a verdict, if it has waited for longer than `patience`, not
    /// counting what the process was suspended for.
    pub(crate) fn overdue(&self, now: u64, patience: u64) -> Option<&Entry> {
        let oldest = &self.entries[*self.open.first()?];
        let suspended = self.suspended - oldest.suspended_before;
        (now > oldest.accepted_at + patience + suspended).then_some(oldest)
    }

    /// The application lets go of all deliveries; what they say must not have changed.
    pub(crate) fn drop_deliveries(&mut self) {
        for entry in &mut self.entries {
            if let Some(delivery) = entry.delivery.take() {
                let found = verdict_of(&delivery);
                assert_eq!(entry.verdict, found, "the verdict of {:?} changed", entry.stamp);
            }
        }
    }
}

/// A record that an application task offers.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) stamp: Stamp,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
}

/// Waits for the verdict of an entry, as an application does that awaits a delivery.
#[derive(Debug)]
pub(crate) struct Verdicts {
    pub(crate) ledger: std::rc::Rc<std::cell::RefCell<Ledger>>,
    pub(crate) place: usize,
}

impl Future for Verdicts {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut ledger = self.ledger.borrow_mut();
        let entry = &mut ledger.entries[self.place];
        let Some(delivery) = entry.delivery.as_mut().filter(|_| entry.verdict.is_none()) else {
            return Poll::Ready(());
        };
        let Poll::Ready(found) = Pin::new(delivery).poll(context) else { return Poll::Pending };
        entry.verdict = Some(match found {
            Ok(found) => Verdict::Acknowledged { partition: found.partition, offset: found.offset },
            Err(error) => failure(&error),
        });
        Poll::Ready(())
    }
}
