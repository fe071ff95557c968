//! Answers that name the records which the broker did not like (KIP-467).
//!
//! The broker drops the batch whole; it names records only to say why. So each record fails: the
//! named ones with what was said about them, the others with the advice to send them again.
//!
//! A place that the batch does not have says nothing about any record, and is passed over: that the
//! batch was refused is clear without it, while to take the whole answer for a broken one would
//! leave every batch of its request in doubt.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::produce::Answer;
use super::{Outcome, Sender};
use crate::error::SendError;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::produce::PartitionResponse;

/// What is said about single records, by their places in a batch of so many. Mostly empty, and
/// never larger than the batch, whatever the broker sends.
pub(super) type Named = BTreeMap<u32, Option<Arc<str>>>;

/// What an answer says about single records. Of a place that it names twice, the last word counts.
pub(super) fn named(answer: &PartitionResponse<'_>, records: u32) -> Named {
    let names = matches!(answer.error, ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp);
    let errors = answer.record_errors.filter(|_| names);
    let place = |place: i32| u32::try_from(place).ok().filter(|place| *place < records);
    errors.filter_map(|(at, message)| Some((place(at)?, message.map(Into::into)))).collect()
}

impl Sender {
    /// The end of a batch that the broker refused, perhaps for some of its records.
    pub(super) fn reject_records(&mut self, batch: u32, answer: &Answer) {
        let state = self.batches.get(batch);
        if answer.named.is_empty() || state.resolved {
            return self.reject(batch, answer.error, answer.message.clone());
        }
        let errors = errors_of(answer, state.sealed.records, state.possibly_written());
        self.give_up_sequence(batch);
        self.fail_each(batch, errors);
    }

    fn fail_each(&mut self, batch: u32, errors: Vec<(u32, SendError)>) {
        let partition = self.batches.get(batch).partition as usize;
        for (records, error) in &errors {
            self.partitions[partition].topic_meters.counts.failed.add(u64::from(*records));
            let count = match error.possibly_written() {
                true => &mut self.counters.possibly_written,
                false => &mut self.counters.failed,
            };
            *count += u64::from(*records);
        }
        self.resolve(batch, Outcome::FailedEach(errors));
    }
}

/// An error for each run of a batch's records.
fn errors_of(answer: &Answer, records: u32, possibly_written: bool) -> Vec<(u32, SendError)> {
    let named = &answer.named;
    // The code is that of the record if there is one alone; of several it may be that of another.
    let code = if named.len() == 1 { answer.error } else { ErrorCode::InvalidRecord };
    let others = SendError::InvalidBatch { code: answer.error, possibly_written };
    let (mut runs, mut next) = (Vec::with_capacity(2 * named.len() + 1), 0);
    for (at, message) in named {
        if *at > next {
            runs.push((at - next, others.clone()));
        }
        let message = message.as_ref().or(answer.message.as_ref()).cloned();
        runs.push((1, SendError::Rejected { code, message, possibly_written }));
        next = at + 1;
    }
    if next < records {
        runs.push((records - next, others));
    }
    runs
}
