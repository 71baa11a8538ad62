//! LZ4 frames. Those that Kafka's clients write are of independent blocks and little else: they are taken apart here,
//! and each block goes straight to where it belongs. All others are left to the library's own reader of frames.

use std::io;
use std::ops::RangeInclusive;

use lz4::block::{compress_bound, compress_to_buffer, decompress_to_buffer, CompressionMode};

use super::memory::Room;
use super::DecompressError;

/// Kafka's levels (KIP-390), all of them for LZ4's slower compressor (HC); it has 12 and takes higher ones for 12.
pub(super) const LEVELS: RangeInclusive<i32> = 1..=17;

/// Magic, flags (version 1, independent blocks, no checksums, no content size), block size, and the checksum of these
/// two: for each block size that there is.
const HEADERS: [(&[u8; HEADER_LEN], usize); 4] = [
    (b"\x04\x22\x4d\x18\x60\x40\x82", BLOCK_LEN),
    (b"\x04\x22\x4d\x18\x60\x50\xfb", 256 << 10),
    (b"\x04\x22\x4d\x18\x60\x60\x51", 1 << 20),
    (b"\x04\x22\x4d\x18\x60\x70\x73", 4 << 20),
];
const HEADER_LEN: usize = 7;
/// What Java compresses at a time.
const BLOCK_LEN: usize = 64 << 10;
/// Where the flags of a frame lie; the block size and what the flags announce follow, then the checksum of all that.
const FLAGS: usize = 4;
const HAS_CONTENT_SIZE: u8 = 0x08;
const HAS_DICTIONARY: u8 = 0x01;
/// What says how long a block is; zero for the end.
const BLOCK_PREFIX_LEN: usize = 4;
/// Set in a block's length when it was left as it is.
const IS_PLAIN: u32 = 1 << 31;

/// No byte of a block becomes more bytes than it can count.
const MAX_RATIO: usize = 255;

pub(super) fn bound(len: usize) -> io::Result<usize> {
    let block_len = BLOCK_PREFIX_LEN + compress_bound(BLOCK_LEN)?;
    Ok(HEADER_LEN + len.div_ceil(BLOCK_LEN) * block_len + BLOCK_PREFIX_LEN)
}

/// Gives the length of what lies in `out` then.
pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut [u8]) -> io::Result<usize> {
    let mode = level.map(CompressionMode::HIGHCOMPRESSION);
    out[..HEADER_LEN].copy_from_slice(HEADERS[0].0);
    let mut at = HEADER_LEN;
    for block in input.chunks(BLOCK_LEN) {
        let start = at + BLOCK_PREFIX_LEN;
        let end = start + compress_bound(block.len())?;
        let mut len = compress_to_buffer(block, mode, false, &mut out[start..end])?;
        let mut prefix = len as u32;
        if len >= block.len() {
            len = block.len();
            out[start..start + len].copy_from_slice(block);
            prefix = len as u32 | IS_PLAIN;
        }
        out[at..start].copy_from_slice(&prefix.to_le_bytes());
        at = start + len;
    }
    out[at..at + BLOCK_PREFIX_LEN].fill(0);
    Ok(at + BLOCK_PREFIX_LEN)
}

pub(super) fn decompress(input: &[u8], room: &mut Room) -> Result<usize, DecompressError> {
    for (header, block_len) in HEADERS {
        if let Some(blocks) = input.strip_prefix(header) {
            return decompress_blocks(blocks, block_len, room);
        }
    }
    let mut decoder = lz4::Decoder::new(input)?;
    let len = room.read(&mut decoder)?;
    decoder.finish().1?;
    Ok(len)
}

fn decompress_blocks(
    mut rest: &[u8],
    max_block_len: usize,
    room: &mut Room,
) -> Result<usize, DecompressError> {
    let mut at = 0;
    loop {
        let (prefix, blocks) = rest.split_first_chunk().ok_or_else(truncated)?;
        let prefix = u32::from_le_bytes(*prefix);
        if prefix == 0 {
            return Ok(at);
        }
        let len = (prefix & !IS_PLAIN) as usize;
        let (block, next) = blocks.split_at_checked(len).ok_or_else(truncated)?;
        rest = next;
        at += match prefix & IS_PLAIN {
            0 => {
                let max_len = max_block_len.min(len.saturating_mul(MAX_RATIO));
                let out = &mut room.first(at + max_len)[at..];
                decompress_to_buffer(block, Some(max_len as i32), out)?
            }
            _ if len > max_block_len => {
                return Err(DecompressError::Malformed("lz4: block too long".into()))
            }
            _ => {
                room.first(at + len)[at..].copy_from_slice(block);
                len
            }
        };
        if at > room.limit() {
            return Err(room.too_large());
        }
    }
}

/// The frame with the right checksum of its header. Kafka's clients have long computed it over the magic word, too, and
/// go on doing so in message format 0 (KIP-57). What is no frame stays as it is.
pub fn mend_header(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let flags = frame.get(FLAGS).copied().unwrap_or_default();
    let content_size = if flags & HAS_CONTENT_SIZE != 0 { 8 } else { 0 };
    let dictionary = if flags & HAS_DICTIONARY != 0 { 4 } else { 0 };
    let end = FLAGS + 2 + content_size + dictionary;
    if let Some((descriptor, [checksum, ..])) = frame.split_at_mut_checked(end) {
        *checksum = (xxh32_of_few(&descriptor[FLAGS..]) >> 8) as u8;
    }
    frame
}

/// xxHash-32 with seed 0, of fewer than 16 bytes.
fn xxh32_of_few(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [
        0x9e37_79b1,
        0x85eb_ca77,
        0xc2b2_ae3d,
        0x27d4_eb2f,
        0x1656_67b1,
    ];
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(PRIMES[2]);
        hash = hash.wrapping_add(word).rotate_left(17);
        hash = hash.wrapping_mul(PRIMES[3]);
    }
    for byte in words.remainder() {
        let byte = u32::from(*byte).wrapping_mul(PRIMES[4]);
        hash = hash.wrapping_add(byte).rotate_left(11);
        hash = hash.wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 16
}

fn truncated() -> DecompressError {
    DecompressError::Malformed("lz4: truncated frame".into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4::liblz4::BlockChecksum;
    use lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder};

    use super::{mend_header, FLAGS, HEADERS, HEADER_LEN};

    #[test]
    fn any_header_is_mended() {
        for len in 0..=HEADER_LEN {
            assert_eq!(mend_header(&HEADERS[0].0[..len]), HEADERS[0].0[..len]);
        }
        for (size, content_size) in [
            (BlockSize::Max64KB, 0),
            (BlockSize::Max4MB, 0x0123_4567_89ab),
        ] {
            let encoder = EncoderBuilder::new()
                .block_size(size)
                .content_size(content_size)
                .build(Vec::new());
            let frame = encoder.expect("an encoder").finish().0;
            let header_len = HEADER_LEN + if content_size > 0 { 8 } else { 0 };
            assert_eq!(frame[FLAGS] & 8 != 0, content_size > 0);
            let mut wrong = frame.clone();
            wrong[header_len - 1] ^= 0xff;
            assert_eq!(mend_header(&wrong), frame);
        }
    }

    #[test]
    fn plain_frames_begin_as_the_library_writes_them() {
        for ((header, len), size) in HEADERS.into_iter().zip([
            BlockSize::Max64KB,
            BlockSize::Max256KB,
            BlockSize::Max1MB,
            BlockSize::Max4MB,
        ]) {
            assert_eq!(len, size.get_size());
            let mut encoder = EncoderBuilder::new()
                .block_size(size)
                .block_mode(BlockMode::Independent)
                .checksum(ContentChecksum::NoChecksum)
                .block_checksum(BlockChecksum::NoBlockChecksum)
                .build(Vec::new())
                .expect("an encoder");
            encoder.write_all(b"x").expect("it compresses");
            assert!(encoder.finish().0.starts_with(header));
        }
    }
}
