//! The log of one partition: record batches in memory, as they were sent.

mod check;
mod producers;

pub(crate) use check::{check_batch, check_produced, CheckedBatch};

use crate::topics::StoredRecord;
use bytes::Bytes;
use kafka_wire::records::{Batch, BatchError, Record, RecordBatches, MAX_DECOMPRESSED_LEN};
use producers::Producers;

/// What a broker tells about an append.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Appended {
    pub base_offset: i64,
    pub log_start_offset: i64,
}

/// Offsets from the start offset up to, not including, the high watermark. Everything appended is
/// readable at once: there are no followers to wait for.
#[derive(Debug, Default)]
pub(crate) struct PartitionLog {
    batches: Vec<StoredBatch>,
    start_offset: i64,
    high_watermark: i64,
    producers: Producers,
}

#[derive(Debug)]
struct StoredBatch {
    last_offset: i64,
    /// Highest timestamp of its records; `None` if it was not looked into.
    max_timestamp: Option<i64>,
    bytes: Bytes,
}

impl PartitionLog {
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    pub fn batches(&self) -> impl Iterator<Item = &Bytes> {
        self.batches.iter().map(|batch| &batch.bytes)
    }

    /// Appends a batch that came by Produce, unless it is here already or not the producer's next: its error.
    pub fn append_produced(
        &mut self,
        batch: CheckedBatch,
        leader_epoch: i32,
    ) -> Result<Appended, i16> {
        let Some(stamp) = batch.stamp else {
            return Ok(self.append(batch, leader_epoch));
        };
        if let Some(base_offset) = self.producers.admit(&stamp)? {
            return Ok(Appended {
                base_offset,
                log_start_offset: self.start_offset,
            });
        }
        let appended = self.append(batch, leader_epoch);
        self.producers.record(&stamp, appended.base_offset);
        Ok(appended)
    }

    /// Appends a batch: it gets the next offset and the leader's epoch, which the checksum leaves
    /// out for this very reason.
    pub fn append(&mut self, batch: CheckedBatch, leader_epoch: i32) -> Appended {
        let base_offset = self.high_watermark;
        let last_offset = base_offset + i64::from(batch.last_offset_delta);
        self.batches.push(StoredBatch {
            last_offset,
            max_timestamp: Some(batch.max_timestamp),
            bytes: batch.stamped(base_offset, leader_epoch),
        });
        self.high_watermark = last_offset + 1;
        Appended {
            base_offset,
            log_start_offset: self.start_offset,
        }
    }

    /// Appends bytes as they are, in the place of so many offsets; gives the first of them.
    pub fn append_unchecked(&mut self, bytes: Bytes, offsets: u32) -> i64 {
        let base_offset = self.high_watermark;
        self.high_watermark += i64::from(offsets.max(1));
        let last_offset = self.high_watermark - 1;
        self.batches.push(StoredBatch {
            last_offset,
            max_timestamp: None,
            bytes,
        });
        base_offset
    }

    /// Batches from the one that holds `offset` on: up to `limit` bytes, the last of them cut off
    /// there like the slice of a file that a broker sends. With `at_least_one` the first batch
    /// comes whole. `None` if the offset is outside of the log.
    pub fn read(&self, offset: i64, limit: usize, at_least_one: bool) -> Option<Vec<Bytes>> {
        if !(self.start_offset..=self.high_watermark).contains(&offset) {
            return None;
        }
        let first = self
            .batches
            .partition_point(|batch| batch.last_offset < offset);
        let mut left = match self.batches.get(first) {
            Some(batch) if at_least_one => limit.max(batch.bytes.len()),
            // A client could do nothing with a piece of the first batch.
            Some(batch) if batch.bytes.len() > limit => 0,
            _ => limit,
        };
        let mut parts = Vec::new();
        for batch in &self.batches[first..] {
            if left == 0 {
                break;
            }
            let part = batch.bytes.slice(..batch.bytes.len().min(left));
            left -= part.len();
            parts.push(part);
        }
        Some(parts)
    }

    /// Drops what lies before an offset. A batch that straddles it stays, as on disk.
    pub fn delete_before(&mut self, offset: i64) {
        self.start_offset = offset.clamp(self.start_offset, self.high_watermark);
        let start = self.start_offset;
        self.batches.retain(|batch| batch.last_offset >= start);
    }

    /// Offset and timestamp of the first record at or after a time.
    pub fn offset_at(&self, timestamp: i64) -> Option<(i64, i64)> {
        let mut candidates = self
            .batches
            .iter()
            .filter(|b| b.max_timestamp.is_some_and(|max| max >= timestamp));
        candidates.find_map(|batch| self.find_record(batch, |time| time >= timestamp))
    }

    /// Offset and timestamp of the first record with the highest timestamp of all.
    pub fn offset_of_max_timestamp(&self) -> Option<(i64, i64)> {
        let highest = self
            .batches
            .iter()
            .filter_map(|batch| batch.max_timestamp)
            .max()?;
        self.offset_at(highest)
    }

    fn find_record(&self, batch: &StoredBatch, wanted: impl Fn(i64) -> bool) -> Option<(i64, i64)> {
        let records = decode(&batch.bytes);
        let found = records
            .iter()
            .find(|r| r.offset >= self.start_offset && wanted(r.timestamp));
        found.map(|record| (record.offset, record.timestamp))
    }

    /// All records that decode, control batches left out.
    pub fn records(&self) -> Vec<StoredRecord> {
        let mut records: Vec<StoredRecord> = self.batches().flat_map(decode).collect();
        records.retain(|record| record.offset >= self.start_offset);
        records
    }
}

/// The records of all batches in some bytes; control batches and what does not decode left out.
fn decode(bytes: &Bytes) -> Vec<StoredRecord> {
    let batches = RecordBatches::new(bytes.clone()).flatten();
    batches
        .filter(|batch| !batch.is_control())
        .flat_map(|batch| decode_batch(&batch).unwrap_or_default())
        .collect()
}

fn decode_batch(batch: &Batch) -> Result<Vec<StoredRecord>, BatchError> {
    let records = batch.records(MAX_DECOMPRESSED_LEN)?;
    Ok(records.iter().map(stored).collect())
}

fn stored(record: Record<'_>) -> StoredRecord {
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    StoredRecord {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.map(copy),
        value: record.value.map(copy),
        headers: record
            .headers()
            .map(|(name, value)| (copy(name), value.map(copy)))
            .collect(),
    }
}
