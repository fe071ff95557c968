//! Holding a topic's records back, and letting them go.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Topic;
use crate::shard::Command;

impl Topic {
    /// Holds back what was not sent yet, and all that is sent from now on, through whichever handle
    /// of this producer. Records are still accepted, until the memory is full; they expire as
    /// usual, and a flush waits for them. Requests that are out go on; what has to be sent again is
    /// held back too. Closing the producer ends the pause: what was held back is sent while the
    /// patience lasts. Neither blocks nor allocates. In a fork's child it does nothing.
    pub fn pause(&self) {
        if !self.producer.is_copy() {
            self.shared.entry.set_paused(true);
        }
    }

    /// Ends a [`pause`](Self::pause): what was held back is sent, in the order of its acceptance.
    /// Does not block; allocates.
    pub fn resume(&self) {
        if self.producer.is_copy() {
            return;
        }
        self.shared.entry.set_paused(false);
        for shard in self.producer.shards.iter() {
            shard.command(Command::Resume(Arc::clone(self.name())));
        }
    }

    /// Whether the topic is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.entry.is_paused()
    }
}
