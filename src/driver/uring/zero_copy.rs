//! Whether a connection's large sends leave out the copy into the kernel.
//!
//! Without the copy, the kernel reads the arena until the peer has acknowledged, and says so in a
//! second completion. Where it has to copy after all (loopback, and devices without scatter-gather
//! or checksums) the detour costs more than it saves. The second completion tells, so a connection
//! finds out by itself.
#![forbid(unsafe_code)]

use std::sync::Once;

use io_uring::cqueue;
use rustix::io::Errno;

/// The fewest bytes of a send that are worth two completions.
const BYTES_MIN: usize = 16 << 10;
/// Sends that were copied after all before a connection gives up.
const COPIED_MAX: u8 = 8;
/// `IORING_SEND_ZC_REPORT_USAGE`.
const REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`.
const COPIED: u32 = 1 << 31;

/// A connection's stand on sends without a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZeroCopy {
    /// Never.
    Off,
    /// For large sends; so many of them were copied after all, since the last that was not.
    On {
        /// In a row.
        copied: u8,
    },
    /// It was tried, and the kernel copied or refused.
    GivenUp,
}

impl ZeroCopy {
    /// Of each such operation: the kernel tells whether it copied.
    pub(super) const FLAGS: u16 = REPORT_USAGE;

    pub(super) fn new(wanted: bool) -> Self {
        if wanted { Self::On { copied: 0 } } else { Self::Off }
    }

    pub(super) fn is_for(self, bytes: usize) -> bool {
        matches!(self, Self::On { .. }) && bytes >= BYTES_MIN
    }

    /// Learns from the second completion of a send.
    pub(super) fn learn(&mut self, notice: &cqueue::Entry) {
        self.count(notice.result().cast_unsigned() & COPIED != 0);
    }

    fn count(&mut self, copied_after_all: bool) {
        let Self::On { copied } = self else { return };
        *copied = if copied_after_all { *copied + 1 } else { 0 };
        if *copied >= COPIED_MAX {
            self.give_up("the kernel copies all the same, as it does on loopback");
        }
    }

    /// Whether `error` means that the same bytes have to be sent with a copy; from now on all are.
    pub(super) fn gives_way_to(&mut self, error: Errno) -> bool {
        // Pages of a send count as locked memory while the kernel holds them, unless registered.
        let refused = matches!(self, Self::On { .. })
            && matches!(error, Errno::OPNOTSUPP | Errno::NOMEM | Errno::NOBUFS | Errno::INVAL);
        if refused {
            self.give_up("the kernel refuses it");
        }
        refused
    }

    fn give_up(&mut self, reason: &'static str) {
        static LOGGED: Once = Once::new();
        *self = Self::GivenUp;
        LOGGED.call_once(|| tracing::info!("sending without a copy is switched off: {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_gives_up_when_eight_sends_in_a_row_were_copied() {
        let mut state = ZeroCopy::new(true);
        assert!(state.is_for(BYTES_MIN) && !state.is_for(BYTES_MIN - 1));
        (0..COPIED_MAX - 1).for_each(|_| state.count(true));
        state.count(false);
        (0..COPIED_MAX - 1).for_each(|_| state.count(true));
        assert_eq!(state, ZeroCopy::On { copied: COPIED_MAX - 1 });
        state.count(true);
        assert_eq!(state, ZeroCopy::GivenUp);
        assert!(!state.is_for(1 << 20));
    }

    #[test]
    fn a_refusal_is_given_way_to_once() {
        let mut state = ZeroCopy::new(true);
        assert!(!state.gives_way_to(Errno::CONNRESET));
        assert!(state.gives_way_to(Errno::OPNOTSUPP));
        assert!(!state.gives_way_to(Errno::OPNOTSUPP));
        assert!(!ZeroCopy::new(false).gives_way_to(Errno::NOMEM));
    }
}
