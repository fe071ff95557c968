//! The records of a batch, compressed: Kafka's four codecs, byte by byte as its own clients write
//! them.
//!
//! Bounds:   what is written is at most the codec's worst case, a little above the plain bytes;
//!           what is read back is exactly the bytes that went in.
//! Never:    allocates per batch once an [`Encoder`] has seen its codecs and largest batch; touches
//!           a batch's header, which is never compressed (RBF-8).
//! Source:   CMP-1 of the Java producer; RFC 1952 (gzip), RFC 8878 (zstd), the LZ4 frame format,
//!           the stream format of snappy-java.
//!
//! | codec | what stands in the batch |
//! |---|---|
//! | gzip | one member |
//! | snappy | the stream of snappy-java: a head, then raw blocks of 32 KiB with their lengths |
//! | lz4 | one frame of independent 64 KiB blocks, without sizes and checksums |
//! | zstd | one frame |
//!
//! An encoder keeps a context per codec and level, made when it first meets them: a table of a few
//! KiB for snappy and lz4, some hundred KiB for gzip, and from one to many MiB for zstd, by level.
#![forbid(unsafe_code)]

mod choice;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "lz4")]
mod lz4_search;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(all(test, feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
mod tests;
#[cfg(feature = "zstd")]
mod zstd;

pub use choice::Compression;

/// A codec, by its number in a batch's attributes (RBF-3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// Records as they are.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// The stream of snappy-java.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip(_) => Self::Gzip,
            Compression::Snappy => Self::Snappy,
            Compression::Lz4(_) => Self::Lz4,
            Compression::Zstd(_) => Self::Zstd,
        }
    }
}

/// Why records were not compressed, or not read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The codec is not in this build. Settings with it are refused, so nobody should see this.
    #[error("the codec {0:?} is not in this build")]
    NotBuilt(Codec),
    /// The codec refused: no memory for its context, or bytes that it did not write.
    #[error("the codec {0:?} failed")]
    Failed(Codec),
}

/// What compresses: the contexts of the codecs, kept from batch to batch. One per thread.
#[derive(Default)]
pub struct Encoder {
    #[cfg(feature = "gzip")]
    gzip: gzip::Encoder,
    #[cfg(feature = "snappy")]
    snappy: snappy::Encoder,
    #[cfg(feature = "lz4")]
    lz4: lz4::Encoder,
    #[cfg(feature = "zstd")]
    zstd: zstd::Encoder,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// Replaces what is in `packed` with the compressed form of `plain`. Allocates contexts the
    /// first time, and where `packed` has not had so many bytes yet.
    ///
    /// # Errors
    /// The codec is not there or refused; `packed` then means nothing.
    pub fn encode(
        &mut self,
        compression: Compression,
        plain: &[u8],
        packed: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        packed.clear();
        match compression {
            #[cfg(feature = "gzip")]
            Compression::Gzip(level) => self.gzip.encode(level, plain, packed),
            #[cfg(feature = "snappy")]
            Compression::Snappy => self.snappy.encode(plain, packed),
            #[cfg(feature = "lz4")]
            Compression::Lz4(level) => self.lz4.encode(level, plain, packed),
            #[cfg(feature = "zstd")]
            Compression::Zstd(level) => self.zstd.encode(level, plain, packed),
            #[allow(unreachable_patterns, reason = "with every codec built only `None` is left")]
            other => {
                packed.extend_from_slice(plain);
                match other {
                    Compression::None => Ok(()),
                    missing => Err(CodecError::NotBuilt(missing.into())),
                }
            }
        }
    }
}

/// Writes the plain form of records that an [`Encoder`] wrote into `plain`, all of whose bytes they
/// fill. Allocates a context: this is for the rare batch that has to be taken apart again.
///
/// # Errors
/// The codec is not there, or the bytes are not what it wrote; `plain` then means nothing.
pub fn decode(codec: Codec, packed: &[u8], plain: &mut [u8]) -> Result<(), CodecError> {
    let filled = match codec {
        Codec::None => {
            let same = packed.len() == plain.len();
            if same {
                plain.copy_from_slice(packed);
            }
            same
        }
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::decode(packed, plain).is_some(),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::decode(packed, plain).is_some(),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::decode(packed, plain).is_some(),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::decode(packed, plain).is_some(),
        #[allow(unreachable_patterns, reason = "with every codec built none is left")]
        missing => return Err(CodecError::NotBuilt(missing)),
    };
    if filled { Ok(()) } else { Err(CodecError::Failed(codec)) }
}
