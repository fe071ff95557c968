//! Whether a codec and its level can be carried out.
//!
//! Source: `compression.type` and `compression.*.level`; KIP-390.
#![forbid(unsafe_code)]

use super::error::ConfigError;
use super::value::{self, Whole};
use crate::protocol::compression::Compression;

/// The same, if it can be carried out.
///
/// # Errors
/// [`ConfigError::Value`] for a level that the codec does not have,
/// [`ConfigError::CodecNotBuilt`] for a codec whose feature is missing.
pub(crate) fn checked(compression: Compression) -> Result<Compression, ConfigError> {
    if let Some((spec, level)) = leveled(compression) {
        spec.checked(Some(level.into()))?;
    }
    if !compression.is_built() {
        return Err(ConfigError::CodecNotBuilt { codec: compression.name(), built: built() });
    }
    Ok(compression)
}

fn leveled(compression: Compression) -> Option<(Whole, i32)> {
    match compression {
        Compression::None | Compression::Snappy => None,
        Compression::Gzip(level) => Some((value::GZIP_LEVEL, level)),
        Compression::Lz4(level) => Some((value::LZ4_LEVEL, level)),
        Compression::Zstd(level) => Some((value::ZSTD_LEVEL, level)),
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
            let refused = checked(wrong).expect_err("refused").to_string();
            let level = wrong.level().expect("it has one").to_string();
            assert!(refused.contains(wrong.name()) && refused.contains(&level), "{refused}");
        }
    }

    #[test]
    fn a_codec_is_built_or_refused_by_name() {
        for codec in [Compression::GZIP, Compression::Snappy, Compression::LZ4, Compression::ZSTD] {
            match checked(codec) {
                Ok(same) => assert!(codec.is_built() && same == codec),
                Err(refused) => {
                    let refused = refused.to_string();
                    assert!(!codec.is_built());
                    assert!(refused.contains(codec.name()), "{refused}");
                }
            }
        }
        assert_eq!(checked(Compression::None).ok(), Some(Compression::None));
    }
}
