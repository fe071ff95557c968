//! What to do about each error code in a produce answer: one total table.
//!
//! Source: section 4.2 of the Java producer's behaviour; KIP-467, KIP-679, KIP-951.
#![forbid(unsafe_code)]

use crate::protocol::error_code::ErrorCode;

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// It was written.
    Success,
    /// It was written before; the broker no longer knows where (META-4).
    Duplicate,
    /// Send it again after a wait.
    Retry {
        /// Ask for metadata first.
        refresh: bool,
        /// Whether this attempt may have been written all the same.
        uncertain: bool,
    },
    /// The sequence is not the one that the broker expects.
    Sequence,
    /// Its records fail, and sequences start again under a new epoch.
    Fail,
}

/// The table, over the total classification of [`ErrorCode`]: a new code has to be thought about
/// there.
pub(super) fn recovery(code: ErrorCode) -> Recovery {
    use ErrorCode as E;
    use Recovery as R;
    match code {
        E::None => R::Success,
        E::DuplicateSequenceNumber => R::Duplicate,
        E::OutOfOrderSequenceNumber | E::UnknownProducerId => R::Sequence,
        // The leader has it, its followers may not: a retry without idempotence can duplicate.
        E::RequestTimedOut | E::NotEnoughReplicasAfterAppend => {
            R::Retry { refresh: false, uncertain: true }
        }
        E::NetworkException => R::Retry { refresh: true, uncertain: true },
        // With acks=all these also answer what was appended and then waited for followers, when the
        // broker stops leading (a shutdown does it), loses its disk or its replica meanwhile. Seen
        // for the first of these with 3.9.2: the next leader knows the batch as a duplicate.
        E::NotLeaderOrFollower | E::KafkaStorageError | E::UnknownTopicOrPartition => {
            R::Retry { refresh: code.refreshes_metadata(), uncertain: true }
        }
        code if code.is_retriable() => {
            R::Retry { refresh: code.refreshes_metadata(), uncertain: false }
        }
        _ => R::Fail,
    }
}
