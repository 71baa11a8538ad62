//! What a broker checks before it appends a batch.

use super::producers::Stamp;
use bytes::{Bytes, BytesMut};
use kafka_wire::records::{
    assign_base_offset, Batch, BatchError, RecordBatches, Records, MAX_DECOMPRESSED_LEN,
    NO_PRODUCER_ID,
};
use kafka_wire::{Codec, ErrorCode};

/// Brokers take zstd from this version of Produce on (KIP-110).
const FIRST_WITH_ZSTD: i16 = 7;

/// Where the leader epoch lies in a batch; like the base offset, the checksum leaves it out.
const LEADER_EPOCH: std::ops::Range<usize> = 12..16;

/// One batch that is fit for a log.
#[derive(Debug)]
pub(crate) struct CheckedBatch {
    pub bytes: Bytes,
    pub last_offset_delta: i32,
    /// `None` if it is not to be found by time.
    pub max_timestamp: Option<i64>,
    /// Who wrote it, if that is an idempotent producer.
    pub stamp: Option<Stamp>,
}

impl CheckedBatch {
    /// The bytes with what the leader fills in.
    pub fn stamped(self, base_offset: i64, leader_epoch: i32) -> Bytes {
        let assigned = assign_base_offset(self.bytes, base_offset);
        let mut batch = assigned
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        if let Some(field) = batch.get_mut(LEADER_EPOCH) {
            field.copy_from_slice(&leader_epoch.to_be_bytes());
        }
        batch.freeze()
    }
}

/// Checks what a Produce of some version carries for a partition.
pub(crate) fn check_produced(records: Bytes, version: i16) -> Result<CheckedBatch, i16> {
    let batch = only_batch(records)?;
    if version < FIRST_WITH_ZSTD && batch.codec_id() == Codec::Zstd.id() {
        return Err(ErrorCode::UnsupportedCompressionType.code());
    }
    if batch.is_control() {
        return Err(ErrorCode::InvalidRecord.code());
    }
    if batch.producer_id == NO_PRODUCER_ID && batch.is_transactional() {
        return Err(ErrorCode::InvalidRecord.code());
    }
    if batch.producer_id != NO_PRODUCER_ID && batch.base_sequence < 0 {
        return Err(ErrorCode::InvalidRecord.code());
    }
    check(batch)
}

/// Checks bytes that are to be one batch, of whatever kind.
pub(crate) fn check_batch(bytes: Bytes) -> Result<CheckedBatch, i16> {
    only_batch(bytes).and_then(check)
}

/// From Produce 3 on exactly one batch of magic 2 is allowed, and INVALID_RECORD is for the rest.
fn only_batch(bytes: Bytes) -> Result<Batch, i16> {
    let mut batches = RecordBatches::new(bytes);
    let batch = batches
        .next()
        .ok_or(ErrorCode::InvalidRecord.code())?
        .map_err(code_of)?;
    match (batches.next(), batches.incomplete()) {
        (None, None) => Ok(batch),
        _ => Err(ErrorCode::InvalidRecord.code()),
    }
}

fn check(batch: Batch) -> Result<CheckedBatch, i16> {
    let records = batch.records(MAX_DECOMPRESSED_LEN).map_err(code_of)?;
    let has_room_for_all = i64::from(batch.last_offset_delta) + 1 == records.len() as i64;
    if records.is_empty() || !has_room_for_all || !is_consecutive(&records, batch.base_offset) {
        return Err(ErrorCode::InvalidRecord.code());
    }
    Ok(CheckedBatch {
        last_offset_delta: batch.last_offset_delta,
        max_timestamp: records.iter().map(|record| record.timestamp).max(),
        stamp: stamp(&batch),
        bytes: batch.bytes().clone(),
    })
}

fn stamp(batch: &Batch) -> Option<Stamp> {
    (batch.producer_id != NO_PRODUCER_ID).then(|| Stamp {
        producer_id: batch.producer_id,
        epoch: batch.producer_epoch,
        base_sequence: batch.base_sequence,
        last_sequence: Stamp::last_sequence(batch.base_sequence, batch.last_offset_delta),
        transactional: batch.is_transactional(),
    })
}

fn is_consecutive(records: &Records, base_offset: i64) -> bool {
    (0..)
        .zip(records.iter())
        .all(|(delta, r)| r.offset.wrapping_sub(base_offset) == delta)
}

fn code_of(error: BatchError) -> i16 {
    let code = match error {
        BatchError::CrcMismatch { .. }
        | BatchError::InvalidLength(_)
        | BatchError::UnknownMagic { .. } => ErrorCode::CorruptMessage,
        BatchError::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Incomplete { .. }
        | BatchError::OldMagic { .. }
        | BatchError::Decompress(_)
        | BatchError::InvalidRecord { .. } => ErrorCode::InvalidRecord,
    };
    code.code()
}
