//! The compression codecs of record batches.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

/// A compression codec of record batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i16)]
pub enum Codec {
    /// No compression.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks in the framing of xerial's snappy-java.
    Snappy = 2,
    /// The LZ4 frame format with independent blocks (Java reads no others).
    Lz4 = 3,
    /// RFC 8878 (KIP-110); brokers accept it from Produce 7 on.
    Zstd = 4,
}

/// The start of xerial's framing: a magic word, then the version and the oldest version that can read it.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_LEN: usize = 16;
/// Magic, version 1, readable by version 1.
const XERIAL_HEADER: &[u8; XERIAL_HEADER_LEN] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// What snappy-java compresses at a time by default.
const XERIAL_BLOCK_LEN: usize = 32 * 1024;

/// Why bytes could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecompressError {
    /// They are not what the codec makes.
    Malformed(String),
    /// They would become more than this many bytes.
    TooLarge(usize),
}

impl std::fmt::Display for DecompressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DecompressError::Malformed(reason) => write!(f, "cannot decompress: {reason}"),
            DecompressError::TooLarge(limit) => {
                write!(f, "decompresses to more than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for DecompressError {}

impl From<snap::Error> for DecompressError {
    fn from(error: snap::Error) -> Self {
        DecompressError::Malformed(error.to_string())
    }
}

impl From<io::Error> for DecompressError {
    fn from(error: io::Error) -> Self {
        DecompressError::Malformed(error.to_string())
    }
}

impl Codec {
    /// The codec with this name (`none`, `gzip`, `snappy`, `lz4`, `zstd`), as in Kafka's `compression.type`.
    pub fn from_name(name: &str) -> Option<Codec> {
        Some(match name {
            "none" => Codec::None,
            "gzip" => Codec::Gzip,
            "snappy" => Codec::Snappy,
            "lz4" => Codec::Lz4,
            "zstd" => Codec::Zstd,
            _ => return None,
        })
    }

    /// The codec with this number, as in a batch's attributes.
    pub const fn from_id(id: i16) -> Option<Codec> {
        Some(match id {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return None,
        })
    }

    /// The number in a batch's attributes.
    pub const fn id(self) -> i16 {
        self as i16
    }

    /// The name as in Kafka's `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// Compresses `input` to the end of `out`.
    ///
    /// # Errors
    /// Only when the codec itself cannot get the memory it needs.
    pub fn compress(self, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Codec::None => out.extend_from_slice(input),
            Codec::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(input)?;
                encoder.finish()?;
            }
            Codec::Snappy => compress_xerial(input, out)?,
            Codec::Lz4 => {
                let frame = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(frame, out);
                encoder.write_all(input)?;
                encoder.finish()?;
            }
            Codec::Zstd => {
                let compressed = zstd::bulk::compress(input, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                out.extend_from_slice(&compressed);
            }
        }
        Ok(())
    }

    /// Decompresses `input` to at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not what the codec makes, or would become larger than `limit`.
    pub fn decompress(self, input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        match self {
            Codec::None if input.len() > limit => Err(DecompressError::TooLarge(limit)),
            Codec::None => Ok(input.to_vec()),
            Codec::Gzip => read_bounded(MultiGzDecoder::new(input), input.len(), limit),
            Codec::Snappy => decompress_snappy(input, limit),
            Codec::Lz4 => read_bounded(FrameDecoder::new(input), input.len(), limit),
            Codec::Zstd => read_bounded(zstd::Decoder::with_buffer(input)?, input.len(), limit),
        }
    }
}

fn read_bounded(
    decoder: impl Read,
    input_len: usize,
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::with_capacity(input_len.saturating_mul(2).min(limit));
    decoder
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut out)?;
    if out.len() > limit {
        return Err(DecompressError::TooLarge(limit));
    }
    Ok(out)
}

fn compress_xerial(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(XERIAL_BLOCK_LEN)];
    out.extend_from_slice(XERIAL_HEADER);
    for chunk in input.chunks(XERIAL_BLOCK_LEN) {
        let len = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.extend_from_slice(&block[..len]);
    }
    Ok(())
}

/// Java frames its snappy as xerial does; librdkafka and others send one raw block.
fn decompress_snappy(input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    if !input.starts_with(XERIAL_MAGIC) {
        append_snappy_block(input, &mut out, limit)?;
        return Ok(out);
    }
    let mut rest = input;
    while !rest.is_empty() {
        // Streams that were joined repeat the header between blocks.
        if rest.starts_with(XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_LEN..).ok_or_else(short_block)?;
            continue;
        }
        let (len, blocks) = rest.split_first_chunk().ok_or_else(short_block)?;
        let len = u32::from_be_bytes(*len) as usize;
        let (block, next) = blocks.split_at_checked(len).ok_or_else(short_block)?;
        append_snappy_block(block, &mut out, limit)?;
        rest = next;
    }
    Ok(out)
}

fn append_snappy_block(
    block: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), DecompressError> {
    let len = snap::raw::decompress_len(block)?;
    let start = out.len();
    if len > limit - start {
        return Err(DecompressError::TooLarge(limit));
    }
    // Three bytes of input make 64 of output at most, so a larger claim is refused before it is believed.
    if len > block.len().saturating_mul(MAX_SNAPPY_RATIO) {
        return Err(DecompressError::Malformed(
            "snappy: impossible length".into(),
        ));
    }
    out.resize(start + len, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..])?;
    Ok(())
}

/// No snappy element is denser than a copy of 64 bytes in three, so this many output bytes an input byte is
/// more than any block can reach.
const MAX_SNAPPY_RATIO: usize = 32;

fn short_block() -> DecompressError {
    DecompressError::Malformed("snappy: truncated block".into())
}
