//! What is logged of a sender's troubles: a line a second of each kind, and how many were left out.
//!
//! A cluster that goes down takes every connection, batch and leader with it, and a line for each
//! would be the next outage. Counts of everything are in the meters.
//!
//! Never:    keys, values or headers: what is logged are names, numbers and codes.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// At most one line of a kind in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// What is logged no more often than that.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Connected,
    Disconnected,
    /// No address, no connection or no answer.
    Unreachable,
    LeaderChanged,
    Expired,
    EpochBumped,
    SentAgain,
    Throttled,
    Telemetry,
}

/// How many kinds there are.
const KINDS: usize = Kind::Telemetry as usize + 1;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// When the last line was written.
    at: Option<Instant>,
    left_out: u64,
}

/// Decides which lines are written.
#[derive(Debug, Default)]
pub(super) struct Events([Slot; KINDS]);

impl Events {
    /// Whether a line may be written now; if so, how many were left out since the last one.
    pub(super) fn admit(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        let slot = &mut self.0[kind as usize];
        if slot.at.is_some_and(|at| now < at + PAUSE) {
            slot.left_out += 1;
            return None;
        }
        slot.at = Some(now);
        Some(std::mem::take(&mut slot.left_out))
    }
}

/// News on level INFO, or trouble on level WARN, with the field `left_out`, if a line of its kind
/// may be written.
macro_rules! limited {
    (news, $events:expr, $kind:ident, $now:expr, $($rest:tt)+) => {
        if let Some(left_out) = $events.admit($crate::sender::events::Kind::$kind, $now) {
            tracing::info!(left_out, $($rest)+);
        }
    };
    (trouble, $events:expr, $kind:ident, $now:expr, $($rest:tt)+) => {
        if let Some(left_out) = $events.admit($crate::sender::events::Kind::$kind, $now) {
            tracing::warn!(left_out, $($rest)+);
        }
    };
}

pub(super) use limited;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_line_a_second_which_tells_how_many_were_left_out() {
        let start = crate::clock::now();
        let mut events = Events::default();
        let mut admit = |kind, ms| events.admit(kind, start + Duration::from_millis(ms));
        assert_eq!(admit(Kind::Expired, 0), Some(0));
        assert_eq!((admit(Kind::Expired, 1), admit(Kind::Expired, 999)), (None, None));
        assert_eq!(admit(Kind::SentAgain, 999), Some(0), "another kind");
        assert_eq!(admit(Kind::Expired, 1000), Some(2));
        assert_eq!(admit(Kind::Expired, 2000), Some(0));
    }
}
