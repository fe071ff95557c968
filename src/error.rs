//! What a user is told when a record was not sent, sorted by what can be done about it.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::error_code::ErrorCode;

/// Why a record was not acknowledged. [`possibly_written`](Self::possibly_written) tells whether it
/// may be in the log all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The record cannot fit. Send a smaller one or raise the named setting.
    #[error(
        "the record needs {bytes} bytes, {setting} allows {limit}: send less or raise {setting}"
    )]
    TooLarge {
        /// Upper bound of the record's encoded size.
        bytes: usize,
        /// The limit it breaks.
        limit: u64,
        /// The property that sets the limit.
        setting: &'static str,
    },
    /// A field of the record is not allowed. Correct the record.
    #[error("the record's {field} is {value}: it must be zero or more")]
    InvalidField {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A partitioner of your own chose a partition that the topic does not have. Have it answer
    /// with 0 to one less than [`Unplaced::partition_count`](crate::Unplaced::partition_count).
    #[error(
        "the partitioner chose partition {partition}, and topic {topic} has {count}: it must \
             answer with 0 to {}", count.saturating_sub(1)
    )]
    NoSuchPartition {
        /// The topic.
        topic: Arc<str>,
        /// What it chose.
        partition: i32,
        /// How many partitions there are.
        count: u32,
    },
    /// The topic or the partition is not known after `max.block.ms`. Create it, or check the name.
    #[error("topic {topic}{}: not known after {waited:?} (max.block.ms): create it or check its \
             name{}", partition_text(*partition), cause_text(*cause))]
    Unknown {
        /// The topic.
        topic: Arc<str>,
        /// The partition that was asked for, and how many there are.
        partition: Option<(i32, i32)>,
        /// How long the call waited.
        waited: Duration,
        /// What the broker last said about the topic.
        cause: Option<ErrorCode>,
    },
    /// No bootstrap server had an address within `bootstrap.resolve.timeout.ms`. Check the names
    /// and the resolver, then make another producer: this one does not try again (RBT-7).
    #[error(
        "no address for any of {servers} (bootstrap.resolve.timeout.ms): check the names and \
             the resolver, then make another producer"
    )]
    Unresolved {
        /// The servers.
        servers: Arc<str>,
    },
    /// The brokers refuse the topic's name. Use letters, digits, dot, underscore, hyphen, at most
    /// 249 bytes.
    #[error("topic {topic:?}: the brokers refuse this name")]
    InvalidTopic {
        /// The name.
        topic: Arc<str>,
    },
    /// This client may not do this. Ask for the right named in `code`.
    #[error("not allowed: {}", code.name())]
    Denied {
        /// Which right is missing.
        code: ErrorCode,
    },
    /// An interceptor rejected the record. What it wants instead is in its reason.
    #[error("an interceptor rejected the record: {reason}")]
    Intercepted {
        /// What the interceptor said.
        reason: Arc<str>,
    },
    /// The future of the send was dropped before the record was taken. Only interceptors are told.
    #[error("the send was dropped before it was ready; the record was not written")]
    Cancelled,
    /// No buffer became free within `max.block.ms`. Send slower, or raise `buffer.memory`.
    #[error("no memory after {waited:?} (max.block.ms): send slower or raise buffer.memory")]
    MemoryExhausted {
        /// How long the call waited.
        waited: Duration,
    },
    /// `delivery.timeout.ms` passed. Check the brokers; the timeout counts from the batch's start.
    #[error("no acknowledgement within {elapsed:?} (delivery.timeout.ms){}; {}",
        waited_text(*cause), written_text(*possibly_written))]
    TimedOut {
        /// Since the batch was opened.
        elapsed: Duration,
        /// What stood in the way at the end, if it is known: what the brokers say about the topic
        /// or the partition, or what the last attempt ended with.
        cause: Option<ErrorCode>,
        /// Whether a request with the record ever left.
        possibly_written: bool,
    },
    /// The brokers said no, and trying again would not help or was not allowed any more.
    #[error("refused by the broker: {}{}{}; {}", code.name(), message_text(message),
        advice_text(*code), written_text(*possibly_written))]
    Rejected {
        /// What the broker said.
        code: ErrorCode,
        /// The broker's own words, where it sent any.
        message: Option<Arc<str>>,
        /// Whether an earlier attempt may have been written.
        possibly_written: bool,
    },
    /// Nothing is wrong with this record, but the broker refused others of its batch and dropped
    /// the batch whole (KIP-467). Send this one again.
    #[error("refused by the broker together with invalid records of its batch ({}): send it again; \
             {}", code.name(), written_text(*possibly_written))]
    InvalidBatch {
        /// What the broker said about the others.
        code: ErrorCode,
        /// Whether an earlier attempt may have been written.
        possibly_written: bool,
    },
    /// The brokers said something after which this producer can write nothing more: close it, mend
    /// the cause, and make another one.
    #[error("refused by the broker for good: {}; close this producer and mend that first; {}",
        code.name(), written_text(*possibly_written))]
    Fatal {
        /// What the broker said, perhaps to an earlier record.
        code: ErrorCode,
        /// Whether an attempt may have been written.
        possibly_written: bool,
    },
    /// The producer was closed before the record was acknowledged.
    #[error("the producer is closed; {}", written_text(*possibly_written))]
    Closed {
        /// Whether a request with the record ever left.
        possibly_written: bool,
    },
    /// The record was [purged](crate::Producer::purge).
    #[error("the record was purged; {}", written_text(*possibly_written))]
    Purged {
        /// Whether a request with the record ever left.
        possibly_written: bool,
    },
    /// A call that would have had to wait was made by a waker on a sender thread, which would wait
    /// for itself (ACK-7). A record that was to be sent was not sent; a delivery that was to be
    /// waited for keeps its verdict to itself. Use the async form, or another thread.
    #[error("a waker on a sender thread may not wait: use the async form or another thread; {}",
        written_text(*possibly_written))]
    OnSenderThread {
        /// Whether the call was about a record that had been accepted.
        possibly_written: bool,
    },
    /// This process is a fork's copy of the one that started the producer, which alone sends. Make
    /// a producer of this process's own; fork before the first one, or call `exec` afterwards.
    #[error("this process is a fork's copy of the producer's: make a producer here; {}",
        written_text(*possibly_written))]
    Forked {
        /// Whether the record was accepted before the fork: then the parent has its verdict.
        possibly_written: bool,
    },
    /// A sender thread ended by a bug. Close this producer and make another one.
    #[error("a sender thread failed: close this producer; {}", written_text(*possibly_written))]
    SenderFailed {
        /// Whether a request with the record ever left.
        possibly_written: bool,
    },
}

impl SendError {
    /// Whether the record may be in the log although it was not acknowledged. When false, it is
    /// certainly not there, and sending it again cannot duplicate it.
    #[must_use]
    pub fn possibly_written(&self) -> bool {
        match self {
            Self::TimedOut { possibly_written, .. }
            | Self::Rejected { possibly_written, .. }
            | Self::InvalidBatch { possibly_written, .. }
            | Self::Fatal { possibly_written, .. }
            | Self::Closed { possibly_written }
            | Self::Purged { possibly_written }
            | Self::OnSenderThread { possibly_written }
            | Self::Forked { possibly_written }
            | Self::SenderFailed { possibly_written } => *possibly_written,
            Self::TooLarge { .. }
            | Self::InvalidField { .. }
            | Self::NoSuchPartition { .. }
            | Self::Unknown { .. }
            | Self::Unresolved { .. }
            | Self::InvalidTopic { .. }
            | Self::Denied { .. }
            | Self::Intercepted { .. }
            | Self::Cancelled
            | Self::MemoryExhausted { .. } => false,
        }
    }

    /// A short stable name of the kind, for counting.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::InvalidField { .. } => "invalid-field",
            Self::NoSuchPartition { .. } => "no-such-partition",
            Self::Unknown { .. } => "unknown-topic-or-partition",
            Self::Unresolved { .. } => "unresolved",
            Self::InvalidTopic { .. } => "invalid-topic",
            Self::Denied { .. } => "denied",
            Self::Intercepted { .. } => "intercepted",
            Self::Cancelled => "cancelled",
            Self::MemoryExhausted { .. } => "memory-exhausted",
            Self::TimedOut { .. } => "timed-out",
            Self::Rejected { code, .. } | Self::Fatal { code, .. } => code.name(),
            Self::InvalidBatch { .. } => "invalid-batch",
            Self::Closed { .. } => "closed",
            Self::Purged { .. } => "purged",
            Self::OnSenderThread { .. } => "on-sender-thread",
            Self::Forked { .. } => "forked",
            Self::SenderFailed { .. } => "sender-failed",
        }
    }
}

/// Why `try_send` did not take a record. The record is borrowed: the caller still has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// No buffer is free now. Try again after deliveries, or use `send`, which waits.
    #[error("no memory now (buffer.memory is in use)")]
    Memory,
    /// The topic's partitions are not known yet; they have been asked for. `warm_up` avoids this.
    #[error("the topic's metadata is not there yet")]
    Metadata,
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
    /// The record can never be sent like this.
    #[error(transparent)]
    Rejected(#[from] SendError),
}

fn partition_text(partition: Option<(i32, i32)>) -> String {
    partition.map_or_else(String::new, |(wanted, count)| {
        format!(" partition {wanted} (it has {count} partitions)")
    })
}

fn cause_text(cause: Option<ErrorCode>) -> String {
    cause.map_or_else(String::new, |code| format!("; the broker last said {}", code.name()))
}

fn waited_text(cause: Option<ErrorCode>) -> String {
    cause.map_or_else(String::new, |code| format!(", last of all {}", code.name()))
}

fn message_text(message: &Option<Arc<str>>) -> String {
    message.as_ref().map_or_else(String::new, |text| format!(" ({text})"))
}

/// What can be done where the code does not say it.
fn advice_text(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::MessageTooLarge => {
            ": send less in a record, or raise max.message.bytes of the topic"
        }
        ErrorCode::RecordListTooLarge => ": lower batch.size, or raise segment.bytes of the topic",
        _ => "",
    }
}

fn written_text(possibly_written: bool) -> &'static str {
    if possibly_written { "the record may have been written" } else { "the record was not written" }
}
