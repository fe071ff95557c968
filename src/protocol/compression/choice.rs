//! Which codec, and how hard it tries.
//!
//! Source: KIP-110 (zstd), KIP-390 (levels).
#![forbid(unsafe_code)]

use std::fmt;

/// How the batches of a producer, or of one topic, are compressed (`compression.type` and the level
/// of its codec).
///
/// Each codec is a cargo feature of the same name; all are on by default. A codec that was not
/// built is refused when it is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// `none`: records go as they are. The default.
    #[default]
    None,
    /// `gzip`, with a level of 1 (fast) to 9 (small), or -1 for the codec's own choice, which is 6.
    Gzip(i32),
    /// `snappy`, in the framing of Java's library. It has no levels.
    Snappy,
    /// `lz4`, with a level of 1 to 17. As in Kafka, 9 is the fast compressor and the default, and
    /// every other level the one that looks harder for matches, the harder the higher.
    Lz4(i32),
    /// `zstd`, with a level of -131072 (fast) to 22 (small). The default is 3.
    Zstd(i32),
}

impl Compression {
    /// `gzip` at the level that Kafka has by default.
    pub const GZIP: Self = Self::Gzip(-1);
    /// `lz4` at the level that Kafka has by default.
    pub const LZ4: Self = Self::Lz4(9);
    /// `zstd` at the level that Kafka has by default.
    pub const ZSTD: Self = Self::Zstd(3);

    /// The codec's name, as `compression.type` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip(_) => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4(_) => "lz4",
            Self::Zstd(_) => "zstd",
        }
    }

    /// The level; None where the codec has none.
    #[must_use]
    pub const fn level(self) -> Option<i32> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip(level) | Self::Lz4(level) | Self::Zstd(level) => Some(level),
        }
    }

    /// Whether the codec's feature is in this build.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip(_) => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4(_) => cfg!(feature = "lz4"),
            Self::Zstd(_) => cfg!(feature = "zstd"),
        }
    }

    /// Whether it compresses at all.
    pub(crate) const fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.level().map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_name_and_level() {
        assert_eq!(Compression::ZSTD.to_string(), "zstd:3");
        assert_eq!(Compression::GZIP.to_string(), "gzip:-1");
        assert_eq!(Compression::Snappy.to_string(), "snappy");
    }
}
