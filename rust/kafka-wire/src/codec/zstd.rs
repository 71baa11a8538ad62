//! Zstandard.

use std::io;
use std::ops::RangeInclusive;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{compress_bound, get_error_name, get_frame_content_size, DCtx};

use super::memory::Room;
use super::DecompressError;

/// Kafka's levels (KIP-390), which are Zstandard's: the lower, the faster; 0 is the default.
pub(super) const LEVELS: RangeInclusive<i32> = -131_072..=22;

/// No block has more than 128 KiB, and none has less than four bytes.
const MAX_RATIO: usize = 1 << 15;
/// How much larger than its input the outcome is expected to be when it does not say so: more than records usually are.
const EXPECTED_RATIO: usize = 8;

/// The library's code for an outcome that is larger than the room for it (`ZSTD_error_dstSize_tooSmall`); codes are
/// negative numbers.
const TOO_SMALL: usize = 70_usize.wrapping_neg();

pub(super) fn bound(len: usize) -> usize {
    compress_bound(len)
}

/// Makes frames at one level.
pub(super) struct Squeezer {
    level: i32,
    context: Compressor<'static>,
}

impl Squeezer {
    pub fn new(level: Option<i32>) -> io::Result<Self> {
        let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
        Ok(Squeezer {
            level,
            context: Compressor::new(level)?,
        })
    }

    pub fn is_at(&self, level: Option<i32>) -> bool {
        self.level == level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)
    }

    pub fn compress(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<usize> {
        self.context.compress_to_buffer(input, out)
    }
}

/// Reads frames.
pub(super) struct Expander(DCtx<'static>);

impl Default for Expander {
    fn default() -> Self {
        Expander(DCtx::create())
    }
}

impl Expander {
    pub fn decompress(&mut self, input: &[u8], room: &mut Room) -> Result<usize, DecompressError> {
        let expected = match get_frame_content_size(input) {
            Ok(Some(claimed)) => usize::try_from(claimed)
                .unwrap_or(usize::MAX)
                .min(input.len().saturating_mul(MAX_RATIO)),
            _ => input.len().saturating_mul(EXPECTED_RATIO),
        };
        room.fill(expected, |out| match self.0.decompress(out, input) {
            Ok(len) => Ok(Some(len)),
            Err(TOO_SMALL) => Ok(None),
            Err(code) => Err(DecompressError::Malformed(format!(
                "zstd: {}",
                get_error_name(code)
            ))),
        })
    }
}
