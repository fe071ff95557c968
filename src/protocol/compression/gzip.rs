//! One gzip member per batch (RFC 1952).
#![forbid(unsafe_code)]

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Codec, CodecError};

/// The window that `java.util.zip` has as well: 32 KiB.
const WINDOW_BITS: u8 = 15;

/// What bytes become at most that do not shrink: at level 1, which knows no stored blocks, nine
/// bits for some of them; and head and tail of the member.
fn worst(plain: usize) -> usize {
    plain + plain / 8 + 64
}

/// A context per level: setting the level of a used one would write a block with the old.
#[derive(Default)]
pub(super) struct Encoder(Vec<(i32, Compress)>);

impl Encoder {
    pub(super) fn encode(
        &mut self,
        level: i32,
        plain: &[u8],
        packed: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let context = self.context(level);
        context.reset();
        packed.reserve(worst(plain.len()));
        loop {
            let taken = context.total_in() as usize;
            let ended = context.compress_vec(&plain[taken..], packed, FlushCompress::Finish);
            match ended {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(Status::Ok | Status::BufError) => packed.reserve(worst(plain.len() - taken)),
                Err(_) => return Err(CodecError::Failed(Codec::Gzip)),
            }
        }
    }

    fn context(&mut self, level: i32) -> &mut Compress {
        let at = self.0.iter().position(|(known, _)| *known == level).unwrap_or_else(|| {
            // -1 leaves it to the codec.
            let wanted =
                u32::try_from(level).map_or_else(|_| Compression::default(), Compression::new);
            self.0.push((level, Compress::new_gzip(wanted, WINDOW_BITS)));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

pub(super) fn decode(packed: &[u8], plain: &mut [u8]) -> Option<()> {
    let mut context = Decompress::new_gzip(WINDOW_BITS);
    let ended = context.decompress(packed, plain, FlushDecompress::Finish).ok()?;
    let whole = (packed.len() as u64, plain.len() as u64);
    (ended == Status::StreamEnd && (context.total_in(), context.total_out()) == whole).then_some(())
}
