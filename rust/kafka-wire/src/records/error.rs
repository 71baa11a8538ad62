//! Why bytes are not a batch of records.

use crate::codec::DecompressError;

/// Why bytes are not a batch that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchError {
    /// The batch goes on behind the end of the input: `size` bytes would be needed.
    Incomplete {
        /// How many bytes the whole batch has.
        size: usize,
    },
    /// A length that no batch can have.
    InvalidLength(i32),
    /// A message of Kafka 0.10 or older, where only batches of magic 2 may be.
    OldMagic {
        /// 0 or 1.
        magic: i8,
        /// How many bytes it has.
        size: usize,
    },
    /// A format that did not exist when this was written.
    UnknownMagic {
        /// The format.
        magic: i8,
        /// How many bytes it has.
        size: usize,
    },
    /// The batch was changed on its way.
    CrcMismatch {
        /// What the batch says.
        expected: u32,
        /// What its bytes give.
        actual: u32,
    },
    /// A codec that does not exist.
    UnknownCodec(i16),
    /// The records do not decompress, or to more than allowed.
    Decompress(DecompressError),
    /// A record is not laid out as it should be, or there are more or fewer of them than the header says.
    InvalidRecord {
        /// Its index in the batch.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BatchError::Incomplete { size } => write!(f, "incomplete record batch of {size} bytes"),
            BatchError::InvalidLength(length) => write!(f, "invalid record batch length {length}"),
            BatchError::OldMagic { magic, .. } => {
                write!(
                    f,
                    "message format v{magic} (before Kafka 0.11) instead of a record batch"
                )
            }
            BatchError::UnknownMagic { magic, .. } => {
                write!(f, "unknown record batch magic {magic}")
            }
            BatchError::CrcMismatch { expected, actual } => {
                write!(
                    f,
                    "record batch CRC mismatch: expected {expected:08x}, got {actual:08x}"
                )
            }
            BatchError::UnknownCodec(id) => write!(f, "unknown compression codec {id}"),
            BatchError::Decompress(error) => write!(f, "record batch: {error}"),
            BatchError::InvalidRecord { index, reason } => {
                write!(f, "invalid record {index}: {reason}")
            }
        }
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BatchError::Decompress(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DecompressError> for BatchError {
    fn from(error: DecompressError) -> Self {
        BatchError::Decompress(error)
    }
}
