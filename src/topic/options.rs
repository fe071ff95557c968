//! What one topic does in another way than its producer.
#![forbid(unsafe_code)]

use crate::config::Compression;

/// What one topic does in another way than its producer's settings say: see
/// [`Producer::topic_with`](crate::Producer::topic_with). What is not set is as in the settings.
///
/// ```
/// use kuring::{Compression, TopicOptions};
///
/// let options = TopicOptions::new().compression(Compression::Lz4(9));
/// assert_eq!(options.compression, Some(Compression::LZ4));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// How its batches are compressed.
    pub compression: Option<Compression>,
}

impl TopicOptions {
    /// As the producer's settings say.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How its batches are compressed: [`Compression::None`] for a topic whose values are
    /// compressed already.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }
}
