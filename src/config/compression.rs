//! How batches are compressed: the codec, and how hard it tries.
//!
//! Source: KIP-110 (zstd), KIP-390 (levels); `compression.type` and `compression.*.level`.
#![forbid(unsafe_code)]

use std::fmt;

use super::error::ConfigError;
use super::value::{self, Whole};

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
    pub const GZIP: Self = Self::Gzip(value::GZIP_LEVEL.default as i32);
    /// `lz4` at the level that Kafka has by default.
    pub const LZ4: Self = Self::Lz4(value::LZ4_LEVEL.default as i32);
    /// `zstd` at the level that Kafka has by default.
    pub const ZSTD: Self = Self::Zstd(value::ZSTD_LEVEL.default as i32);

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

    /// The same, if it can be carried out.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for a level that the codec does not have,
    /// [`ConfigError::CodecNotBuilt`] for a codec whose feature is missing.
    pub(crate) fn checked(self) -> Result<Self, ConfigError> {
        if let Some((spec, level)) = self.leveled() {
            spec.checked(Some(level.into()))?;
        }
        if !self.is_built() {
            return Err(ConfigError::CodecNotBuilt { codec: self.name(), built: built() });
        }
        Ok(self)
    }

    fn leveled(self) -> Option<(Whole, i32)> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip(level) => Some((value::GZIP_LEVEL, level)),
            Self::Lz4(level) => Some((value::LZ4_LEVEL, level)),
            Self::Zstd(level) => Some((value::ZSTD_LEVEL, level)),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.level().map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

/// The codecs of this build, for people.
fn built() -> String {
    let all = [
        Compression::None,
        Compression::GZIP,
        Compression::Snappy,
        Compression::LZ4,
        Compression::ZSTD,
    ];
    let built = all.into_iter().filter(|codec| codec.is_built());
    built.map(Compression::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_the_codec_does_not_have_is_refused_with_the_range() {
        for wrong in [
            Compression::Gzip(0),
            Compression::Gzip(10),
            Compression::Lz4(0),
            Compression::Lz4(18),
            Compression::Zstd(23),
            Compression::Zstd(-131_073),
        ] {
            let refused = wrong.checked().expect_err("refused").to_string();
            let level = wrong.level().expect("it has one").to_string();
            assert!(refused.contains(wrong.name()) && refused.contains(&level), "{refused}");
        }
    }

    #[test]
    fn a_codec_is_built_or_refused_by_name() {
        for codec in [Compression::GZIP, Compression::Snappy, Compression::LZ4, Compression::ZSTD] {
            match codec.checked() {
                Ok(same) => assert!(codec.is_built() && same == codec),
                Err(refused) => {
                    let refused = refused.to_string();
                    assert!(!codec.is_built());
                    assert!(refused.contains(codec.name()), "{refused}");
                }
            }
        }
        assert_eq!(Compression::None.checked().ok(), Some(Compression::None));
    }

    #[test]
    fn it_reads_as_name_and_level() {
        assert_eq!(Compression::ZSTD.to_string(), "zstd:3");
        assert_eq!(Compression::GZIP.to_string(), "gzip:-1");
        assert_eq!(Compression::Snappy.to_string(), "snappy");
    }
}
