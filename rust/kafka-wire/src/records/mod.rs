//! Record batches of magic 2 (KIP-98): building them, reading them, and the little that a log needs to do
//! with them unopened. Of what was before them, message formats 0 and 1, only the reading.

mod batch;
mod builder;
mod encoded;
mod error;
mod header;
mod iter;
mod message_set;
mod single;

pub use batch::{Batch, RecordBatches, MAX_DECOMPRESSED_LEN};
pub use builder::{AppendError, BatchBuilder, SealOptions, NO_HEADERS};
pub use encoded::EncodedBatch;
pub use error::BatchError;
pub use header::{assign_base_offset, batch_span, BatchHeader};
pub use iter::{ControlType, Headers, Record, RecordCursor, RecordIter, Records};
pub use single::SingleRecord;

/// `producer_id` of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// `producer_epoch` of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// `base_sequence` of a batch from a producer that is not idempotent.
pub const NO_SEQUENCE: i32 = -1;

/// The layout of a batch: where each field of the header starts.
mod layout {
    pub const BASE_OFFSET: usize = 0;
    pub const LENGTH: usize = 8;
    /// What the length field counts starts here.
    pub const LEADER_EPOCH: usize = 12;
    pub const MAGIC: usize = 16;
    pub const CRC: usize = 17;
    /// What the CRC covers starts here.
    pub const ATTRIBUTES: usize = 21;
    pub const LAST_OFFSET_DELTA: usize = 23;
    pub const BASE_TIMESTAMP: usize = 27;
    pub const MAX_TIMESTAMP: usize = 35;
    pub const PRODUCER_ID: usize = 43;
    pub const PRODUCER_EPOCH: usize = 51;
    pub const BASE_SEQUENCE: usize = 53;
    pub const RECORD_COUNT: usize = 57;
    /// The records, which may be compressed, start here.
    pub const RECORDS: usize = 61;

    pub const MAGIC_V2: i8 = 2;

    pub const CODEC_MASK: i16 = 0x07;
    pub const LOG_APPEND_TIME: i16 = 0x08;
    pub const TRANSACTIONAL: i16 = 0x10;
    pub const CONTROL: i16 = 0x20;
}
