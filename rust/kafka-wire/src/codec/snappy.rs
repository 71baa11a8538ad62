//! Snappy: written in the framing of xerial's snappy-java, as Java does; read in it, and as the single raw block that
//! librdkafka and others send.

use std::io;

use snap::raw::{decompress_len, max_compress_len, Decoder, Encoder};

use super::memory::Room;
use super::DecompressError;

/// The start of xerial's framing: a magic word, then the version and the oldest version that can read it.
const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const HEADER_LEN: usize = 16;
/// Magic, version 1, readable by version 1.
const HEADER: &[u8; HEADER_LEN] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// What snappy-java compresses at a time by default.
const BLOCK_LEN: usize = 32 * 1024;
/// What says how long a block is.
const BLOCK_PREFIX_LEN: usize = 4;

/// No snappy element is denser than a copy of 64 bytes in three, so this many output bytes an input byte is
/// more than any block can reach.
const MAX_RATIO: usize = 32;

pub(super) fn bound(len: usize) -> usize {
    let block = BLOCK_PREFIX_LEN + max_compress_len(BLOCK_LEN);
    HEADER_LEN + len.div_ceil(BLOCK_LEN) * block
}

/// Gives the length of what lies in `out` then.
pub(super) fn compress(encoder: &mut Encoder, input: &[u8], out: &mut [u8]) -> io::Result<usize> {
    out[..HEADER_LEN].copy_from_slice(HEADER);
    let mut at = HEADER_LEN;
    for block in input.chunks(BLOCK_LEN) {
        let start = at + BLOCK_PREFIX_LEN;
        let len = encoder.compress(block, &mut out[start..])?;
        out[at..start].copy_from_slice(&(len as u32).to_be_bytes());
        at = start + len;
    }
    Ok(at)
}

pub(super) fn decompress(
    decoder: &mut Decoder,
    input: &[u8],
    room: &mut Room,
) -> Result<usize, DecompressError> {
    let mut total = 0;
    for block in Blocks::of(input) {
        let (_, len) = block?;
        if len > room.limit() - total {
            return Err(room.too_large());
        }
        total += len;
    }
    let mut out = room.first(total);
    for block in Blocks::of(input) {
        let (block, len) = block?;
        let (here, behind) = out.split_at_mut(len);
        decoder.decompress(block, here)?;
        out = behind;
    }
    Ok(total)
}

/// The blocks of some input, and how long each says it will be.
enum Blocks<'a> {
    Raw(Option<&'a [u8]>),
    Framed(&'a [u8]),
}

impl<'a> Blocks<'a> {
    fn of(input: &'a [u8]) -> Self {
        match input.starts_with(MAGIC) {
            true => Blocks::Framed(input),
            false => Blocks::Raw(Some(input)),
        }
    }

    fn next_block(&mut self) -> Result<Option<&'a [u8]>, DecompressError> {
        let rest = match self {
            Blocks::Raw(block) => return Ok(block.take()),
            Blocks::Framed(rest) => rest,
        };
        // Streams that were joined repeat the header between blocks.
        while rest.starts_with(MAGIC) {
            *rest = rest.get(HEADER_LEN..).ok_or_else(truncated)?;
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let (len, blocks) = rest.split_first_chunk().ok_or_else(truncated)?;
        let len = u32::from_be_bytes(*len) as usize;
        let (block, next) = blocks.split_at_checked(len).ok_or_else(truncated)?;
        *rest = next;
        Ok(Some(block))
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<(&'a [u8], usize), DecompressError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.next_block().transpose()?;
        Some(block.and_then(|block| Ok((block, believable_len(block)?))))
    }
}

fn believable_len(block: &[u8]) -> Result<usize, DecompressError> {
    let len = decompress_len(block)?;
    match len > block.len().saturating_mul(MAX_RATIO) {
        true => Err(DecompressError::Malformed(
            "snappy: impossible length".into(),
        )),
        false => Ok(len),
    }
}

fn truncated() -> DecompressError {
    DecompressError::Malformed("snappy: truncated block".into())
}

impl From<snap::Error> for DecompressError {
    fn from(error: snap::Error) -> Self {
        DecompressError::Malformed(error.to_string())
    }
}
