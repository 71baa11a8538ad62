//! The compression codecs of record batches.
//!
//! A [`Compressor`] and a [`Decompressor`] keep what a codec needs to work, so that only the first batch has to make
//! it; what they gave before is never part of what they give.

mod compressor;
mod decompressor;
mod gzip;
mod lz4;
mod memory;
mod snappy;
mod zstd;

pub use compressor::Compressor;
pub use decompressor::Decompressor;
pub(crate) use lz4::mend_header as mend_lz4_header;

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
}

/// A codec, and how much effort it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    codec: Codec,
    /// The codec's own level; none for its default.
    level: Option<i32>,
}

impl From<Codec> for Compression {
    /// At the codec's default level.
    fn from(codec: Codec) -> Self {
        Compression { codec, level: None }
    }
}

impl Compression {
    /// With a level on the codec's own scale (KIP-390); without compression any level will do.
    ///
    /// # Errors
    /// When the codec has no such level.
    pub fn new(codec: Codec, level: i32) -> Result<Self, LevelError> {
        let level = match codec {
            Codec::None => None,
            Codec::Gzip if level == gzip::KAFKAS_DEFAULT => None,
            Codec::Gzip if gzip::LEVELS.contains(&level) => Some(level),
            Codec::Lz4 if lz4::LEVELS.contains(&level) => Some(level),
            Codec::Zstd if zstd::LEVELS.contains(&level) => Some(level),
            _ => return Err(LevelError { codec, level }),
        };
        Ok(Compression { codec, level })
    }

    /// The codec.
    pub const fn codec(self) -> Codec {
        self.codec
    }
}

/// A level that a codec does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelError {
    codec: Codec,
    level: i32,
}

impl std::fmt::Display for LevelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (levels, or) = match self.codec {
            Codec::Gzip => (gzip::LEVELS, ", or -1 for the default,"),
            Codec::Lz4 => (lz4::LEVELS, ""),
            Codec::Zstd => (zstd::LEVELS, ""),
            codec @ (Codec::Snappy | Codec::None) => {
                return write!(
                    f,
                    "cannot be {}: {} has no levels",
                    self.level,
                    codec.name()
                );
            }
        };
        let (from, to) = levels.into_inner();
        let name = self.codec.name();
        write!(
            f,
            "must be from {from} to {to}{or} with {name}, not {}",
            self.level
        )
    }
}

impl std::error::Error for LevelError {}

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

impl From<std::io::Error> for DecompressError {
    fn from(error: std::io::Error) -> Self {
        DecompressError::Malformed(error.to_string())
    }
}
