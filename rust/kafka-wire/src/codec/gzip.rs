//! gzip: libdeflate both ways, which wants all of the input and enough room for the outcome at once.

use std::io;
use std::ops::RangeInclusive;

use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, DecompressionError};

use super::memory::Room;
use super::DecompressError;

/// Kafka's levels (KIP-390), which are zlib's; libdeflate's compress a little better each, and in less time.
pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;
/// Kafka's level for the default.
pub(super) const KAFKAS_DEFAULT: i32 = -1;
/// Of JSON, text and logs it leaves 3 to 14 % more than zlib's default (6) does, in a fifth of the time; 5, which leaves as much
/// within some per cent, takes twice as long as this.
const DEFAULT: i32 = 1;

/// The trailer of a member: the CRC-32 of its content, and the content's length modulo 2³².
const TRAILER_LEN: usize = 8;
/// No code of deflate's is denser than 258 bytes in two bits.
const MAX_RATIO: usize = 1032;

/// Makes members at one level.
pub(super) struct Deflater {
    level: i32,
    deflate: libdeflater::Compressor,
}

impl Deflater {
    pub fn new(level: Option<i32>) -> io::Result<Self> {
        let level = level.unwrap_or(DEFAULT);
        let known = CompressionLvl::new(level).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Deflater {
            level,
            deflate: libdeflater::Compressor::new(known),
        })
    }

    pub fn is_at(&self, level: Option<i32>) -> bool {
        self.level == level.unwrap_or(DEFAULT)
    }

    pub fn bound(&mut self, len: usize) -> usize {
        self.deflate.gzip_compress_bound(len)
    }

    pub fn compress(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let compressed = self.deflate.gzip_compress(input, out);
        compressed.map_err(io::Error::other)
    }
}

/// Reads members.
#[derive(Default)]
pub(super) struct Inflater(libdeflater::Decompressor);

impl Inflater {
    pub fn decompress(&mut self, input: &[u8], room: &mut Room) -> Result<usize, DecompressError> {
        let Some((_, &[a, b, c, d, e, f, g, h])) = input.split_last_chunk::<TRAILER_LEN>() else {
            return Err(DecompressError::Malformed("gzip: truncated".into()));
        };
        let crc = u32::from_le_bytes([a, b, c, d]);
        let claimed = u32::from_le_bytes([e, f, g, h]) as usize;
        let expected = claimed.min(input.len().saturating_mul(MAX_RATIO));
        let len = room.fill(expected, |out| match self.0.gzip_decompress(input, out) {
            Ok(len) => Ok(Some(len)),
            Err(DecompressionError::InsufficientSpace) => Ok(None),
            Err(DecompressionError::BadData) => {
                Err(DecompressError::Malformed("gzip: bad data".into()))
            }
        })?;
        // The trailer at the end is that of the first member, unless others follow.
        if claimed == len && libdeflater::crc32(room.first(len)) == crc {
            return Ok(len);
        }
        room.read(&mut MultiGzDecoder::new(input))
    }
}
