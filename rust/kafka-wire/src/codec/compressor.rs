//! Compressing with what the batch before has left: tables, and room for the outcome.

use std::io;

use super::memory::initialised;
use super::{gzip, lz4, snappy, zstd, Codec, Compression};

/// Room that is kept from one batch to the next, in bytes: a few of the largest usual batches (1 MB).
const MAX_KEPT_ROOM: usize = 4 << 20;

/// Compresses batches, one after the other.
#[derive(Default)]
pub struct Compressor {
    /// A batch is compressed into it first: how large it becomes is not known before.
    room: Vec<u8>,
    gzip: Option<gzip::Deflater>,
    snappy: Option<snap::raw::Encoder>,
    zstd: Option<zstd::Squeezer>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// Compresses `input` to the end of `out`, which grows by no more than the outcome needs.
    ///
    /// # Errors
    /// Only when the codec itself cannot get the memory it needs.
    pub fn compress(
        &mut self,
        compression: Compression,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let level = compression.level;
        let room = &mut self.room;
        let len = match compression.codec {
            Codec::None => {
                out.extend_from_slice(input);
                return Ok(());
            }
            Codec::Gzip => {
                let usable = self.gzip.take().filter(|gzip| gzip.is_at(level));
                let gzip = self.gzip.insert(match usable {
                    Some(gzip) => gzip,
                    None => gzip::Deflater::new(level)?,
                });
                let bound = gzip.bound(input.len());
                gzip.compress(input, initialised(room, bound))?
            }
            Codec::Snappy => {
                let snappy = self.snappy.get_or_insert_with(snap::raw::Encoder::new);
                snappy::compress(snappy, input, initialised(room, snappy::bound(input.len())))?
            }
            Codec::Lz4 => {
                let room = initialised(room, lz4::bound(input.len())?);
                lz4::compress(level, input, room)?
            }
            Codec::Zstd => {
                let usable = self.zstd.take().filter(|zstd| zstd.is_at(level));
                let zstd = self.zstd.insert(match usable {
                    Some(zstd) => zstd,
                    None => zstd::Squeezer::new(level)?,
                });
                zstd.compress(input, initialised(room, zstd::bound(input.len())))?
            }
        };
        out.reserve_exact(len);
        out.extend_from_slice(&self.room[..len]);
        if self.room.len() > MAX_KEPT_ROOM {
            self.room = Vec::new();
        }
        Ok(())
    }
}
