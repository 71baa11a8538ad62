//! The header of a batch, and changing it in a batch that is complete.

use bytes::{Bytes, BytesMut};

use super::error::BatchError;
use super::layout::*;

/// What stands before the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the batch's first record, as it was when the batch was written.
    pub base_offset: i64,
    /// How many bytes the whole batch has, this header included.
    pub size: usize,
    /// The epoch of the leader that appended it.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// The last offset is this much behind the base offset, whatever compaction has removed since.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from, in milliseconds since the epoch.
    pub base_timestamp: i64,
    /// The largest timestamp, or under LogAppendTime every record's; in milliseconds since the epoch.
    pub max_timestamp: i64,
    /// The producer id; -1 when it is not idempotent.
    pub producer_id: i64,
    /// The producer epoch; -1 when it is not idempotent.
    pub producer_epoch: i16,
    /// The sequence number of the first record; -1 when the producer is not idempotent.
    pub base_sequence: i32,
    /// How many records the batch has; 0 when compaction has removed them all.
    pub record_count: i32,
}

impl BatchHeader {
    /// The offset of the last record, as it was when the batch was written.
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(self.last_offset_delta.into())
    }

    /// Where to go on reading after this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The number of the codec, whether we know it or not.
    pub fn codec_id(&self) -> i16 {
        self.attributes & CODEC_MASK
    }

    /// Whether every record carries the time at which the broker appended the batch.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker of the transaction coordinator instead of anybody's records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

/// Reads the header of the batch at the start of `bytes` without looking into the batch: its size tells where
/// the next one starts.
///
/// # Errors
/// [`BatchError::Incomplete`] when not all of the batch is there, others when it is no batch of magic 2.
pub fn batch_span(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let Some(length) = field(bytes, LENGTH).map(i32::from_be_bytes) else {
        return Err(BatchError::Incomplete { size: RECORDS });
    };
    let length = usize::try_from(length).map_err(|_| BatchError::InvalidLength(length))?;
    let size = LEADER_EPOCH.saturating_add(length);
    // Whatever the magic, everything up to it is laid out the same.
    if size <= MAGIC {
        return Err(BatchError::InvalidLength(length as i32));
    }
    match field(bytes, MAGIC).map(i8::from_be_bytes) {
        None => return Err(BatchError::Incomplete { size }),
        Some(MAGIC_V2) => {}
        Some(magic @ (0 | 1)) => return Err(BatchError::OldMagic { magic, size }),
        Some(magic) => return Err(BatchError::UnknownMagic { magic, size }),
    }
    if size < RECORDS {
        return Err(BatchError::InvalidLength(length as i32));
    }
    let (true, Some(header)) = (size <= bytes.len(), bytes.first_chunk::<RECORDS>()) else {
        return Err(BatchError::Incomplete { size });
    };
    Ok(parse(header, size))
}

fn parse(header: &[u8; RECORDS], size: usize) -> BatchHeader {
    fn at<const N: usize>(header: &[u8; RECORDS], start: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&header[start..start + N]);
        bytes
    }
    BatchHeader {
        base_offset: i64::from_be_bytes(at(header, BASE_OFFSET)),
        size,
        partition_leader_epoch: i32::from_be_bytes(at(header, LEADER_EPOCH)),
        crc: u32::from_be_bytes(at(header, CRC)),
        attributes: i16::from_be_bytes(at(header, ATTRIBUTES)),
        last_offset_delta: i32::from_be_bytes(at(header, LAST_OFFSET_DELTA)),
        base_timestamp: i64::from_be_bytes(at(header, BASE_TIMESTAMP)),
        max_timestamp: i64::from_be_bytes(at(header, MAX_TIMESTAMP)),
        producer_id: i64::from_be_bytes(at(header, PRODUCER_ID)),
        producer_epoch: i16::from_be_bytes(at(header, PRODUCER_EPOCH)),
        base_sequence: i32::from_be_bytes(at(header, BASE_SEQUENCE)),
        record_count: i32::from_be_bytes(at(header, RECORD_COUNT)),
    }
}

fn field<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..)?.first_chunk().copied()
}

pub(super) fn put(batch: &mut [u8], start: usize, value: &[u8]) {
    batch[start..start + value.len()].copy_from_slice(value);
}

/// Writes length and CRC, the two fields that depend on all others.
pub(super) fn finish(batch: &mut [u8]) {
    let length = (batch.len() - LEADER_EPOCH) as i32;
    put(batch, LENGTH, &length.to_be_bytes());
    let crc = crate::crc32c(&batch[ATTRIBUTES..]);
    put(batch, CRC, &crc.to_be_bytes());
}

/// The batch with another base offset, as a broker assigns it; the CRC does not cover that. Copies only when
/// somebody else holds the bytes too. Anything shorter than a batch header comes back unchanged.
pub fn assign_base_offset(batch: Bytes, base_offset: i64) -> Bytes {
    edit(batch, |batch| {
        put(batch, BASE_OFFSET, &base_offset.to_be_bytes())
    })
}

/// Changes the header. Copies only when somebody else holds the bytes too.
pub(super) fn edit(batch: Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    if batch.len() < RECORDS {
        return batch;
    }
    let mut batch = batch
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    change(&mut batch);
    batch.freeze()
}
