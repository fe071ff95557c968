//! One zstd frame per batch (RFC 8878), without a checksum: the batch has one.
#![forbid(unsafe_code)]

use zstd_safe::{CCtx, DCtx, compress_bound};

use super::{Codec, CodecError};

/// One context serves all levels: it grows to what the largest of them needs.
#[derive(Default)]
pub(super) struct Encoder(Option<CCtx<'static>>);

impl Encoder {
    pub(super) fn encode(
        &mut self,
        level: i32,
        plain: &[u8],
        packed: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let failed = CodecError::Failed(Codec::Zstd);
        if self.0.is_none() {
            self.0 = CCtx::try_create();
        }
        let context = self.0.as_mut().ok_or(failed)?;
        packed.reserve(compress_bound(plain.len()));
        context.compress(packed, plain, level).map(|_| ()).map_err(|_| failed)
    }
}

pub(super) fn decode(packed: &[u8], plain: &mut [u8]) -> Option<()> {
    let bytes = DCtx::try_create()?.decompress(plain, packed).ok()?;
    (bytes == plain.len()).then_some(())
}
