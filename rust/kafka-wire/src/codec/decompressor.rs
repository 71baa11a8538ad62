//! Decompressing into memory that has been read from before.

use bytes::Bytes;

use super::memory::{Room, Shelf};
use super::{gzip, lz4, snappy, zstd, Codec, DecompressError};

/// Decompresses batches, one after the other. Memory comes back to it when nobody holds any longer what it gave.
#[derive(Default)]
pub struct Decompressor {
    shelf: Shelf,
    gzip: Option<gzip::Inflater>,
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::Expander>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// Decompresses `input` to at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not what the codec makes, or would become larger than `limit`.
    pub fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        limit: usize,
    ) -> Result<Bytes, DecompressError> {
        let mut room = Room::new(&self.shelf, limit);
        let len = match codec {
            Codec::None if input.len() > limit => return Err(DecompressError::TooLarge(limit)),
            Codec::None => return Ok(Bytes::copy_from_slice(input)),
            Codec::Gzip => self
                .gzip
                .get_or_insert_default()
                .decompress(input, &mut room)?,
            Codec::Snappy => snappy::decompress(&mut self.snappy, input, &mut room)?,
            Codec::Lz4 => lz4::decompress(input, &mut room)?,
            Codec::Zstd => self
                .zstd
                .get_or_insert_default()
                .decompress(input, &mut room)?,
        };
        Ok(room.into_bytes(len))
    }

    /// Between one answer and the next: gives up some of the memory that nothing has asked for since the last time.
    pub fn trim(&mut self) {
        self.shelf.trim();
    }
}
