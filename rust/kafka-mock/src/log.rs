//! The log of one partition: record batches in memory, as they were sent.

mod check;
mod epochs;
mod marker;
mod producers;
mod record;

pub(crate) use check::{check_batch, check_produced, CheckedBatch};

use bytes::Bytes;
use kafka_wire::records::{batch_span, Batch, BatchError, RecordBatches, MAX_DECOMPRESSED_LEN};
use producers::Producers;
pub(crate) use producers::Stamp;
use record::stored;
pub use record::StoredRecord;

/// What a broker tells about an append.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Appended {
    pub base_offset: i64,
    pub log_start_offset: i64,
}

/// What a Fetch gets of a log.
#[derive(Debug)]
pub(crate) struct Found {
    /// Batches, the last of them perhaps cut off.
    pub parts: Vec<Bytes>,
    /// The offset behind the last of them.
    pub end_offset: i64,
}

/// Offsets from the start offset up to, not including, the high watermark. Everything appended is
/// readable at once: there are no followers to wait for.
#[derive(Debug, Default)]
pub(crate) struct PartitionLog {
    batches: Vec<StoredBatch>,
    start_offset: i64,
    high_watermark: i64,
    producers: Producers,
    /// In the order of their markers.
    aborted: Vec<Aborted>,
}

/// A transaction that was aborted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// That of its marker.
    pub last_offset: i64,
}

/// What a reader may see of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Everything.
    ReadUncommitted,
    /// What lies before the first transaction that has not ended, aborted ones left out.
    ReadCommitted,
}

impl IsolationLevel {
    pub(crate) fn from_code(code: i8) -> Self {
        match code {
            1 => Self::ReadCommitted,
            _ => Self::ReadUncommitted,
        }
    }
}

#[derive(Debug)]
struct StoredBatch {
    base_offset: i64,
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

    /// Everything before this offset is decided: the high watermark, or where the oldest transaction began that
    /// has not ended.
    pub fn last_stable_offset(&self) -> i64 {
        self.producers
            .first_open_offset()
            .unwrap_or(self.high_watermark)
    }

    /// The offset that such a reader does not get to.
    pub fn end_for(&self, isolation: IsolationLevel) -> i64 {
        match isolation {
            IsolationLevel::ReadUncommitted => self.high_watermark,
            IsolationLevel::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Whether a transaction of this producer and epoch has written here and not ended.
    pub fn has_open_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.producers.is_open(producer_id, epoch)
    }

    /// Writes the marker that ends a producer's transaction.
    pub fn end_transaction(
        &mut self,
        producer_id: i64,
        epoch: i16,
        committed: bool,
        leader_epoch: i32,
    ) {
        let now = self.batches.iter().filter_map(|b| b.max_timestamp).max();
        let bytes = marker::marker(producer_id, epoch, committed, now.unwrap_or(0));
        let marker = CheckedBatch {
            bytes,
            last_offset_delta: 0,
            max_timestamp: None,
            stamp: None,
        };
        let last_offset = self.append(marker, leader_epoch).base_offset;
        let first_offset = self.producers.end(producer_id, epoch);
        if let (Some(first_offset), false) = (first_offset, committed) {
            self.aborted.push(Aborted {
                producer_id,
                first_offset,
                last_offset,
            });
        }
    }

    /// The aborted transactions that have something between two offsets.
    pub fn aborted_between(&self, from: i64, to: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted
            .iter()
            .filter(move |aborted| aborted.last_offset >= from && aborted.first_offset < to)
    }

    pub fn batches(&self) -> impl Iterator<Item = &Bytes> {
        self.batches.iter().map(|batch| &batch.bytes)
    }

    /// Batches that reach to an offset or behind it: first and last offset, and their bytes.
    pub fn spans_from(&self, offset: i64) -> impl Iterator<Item = (i64, i64, &Bytes)> {
        let all = self.batches.iter();
        all.filter(move |batch| batch.last_offset >= offset)
            .map(|batch| (batch.base_offset, batch.last_offset, &batch.bytes))
    }

    /// Appends a batch that came by Produce, unless it is here already or not the producer's next: its error.
    /// `must_begin`: not even a producer that is not known here may begin with another sequence than the first (KIP-890).
    pub fn append_produced(
        &mut self,
        batch: CheckedBatch,
        leader_epoch: i32,
        must_begin: bool,
    ) -> Result<Appended, i16> {
        let Some(stamp) = batch.stamp else {
            return Ok(self.append(batch, leader_epoch));
        };
        if let Some(base_offset) = self.producers.admit(&stamp, must_begin)? {
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
            base_offset,
            last_offset,
            max_timestamp: batch.max_timestamp,
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
            base_offset,
            last_offset,
            max_timestamp: None,
            bytes,
        });
        base_offset
    }

    /// Batches from the one that holds `offset` on: up to `limit` bytes, the last of them cut off
    /// there like the slice of a file that a broker sends. With `at_least_one` the first batch
    /// comes whole. `None` if the offset is outside of the log.
    pub fn read(
        &self,
        offset: i64,
        isolation: IsolationLevel,
        limit: usize,
        at_least_one: bool,
    ) -> Option<Found> {
        if !(self.start_offset..=self.high_watermark).contains(&offset) {
            return None;
        }
        let first = self
            .batches
            .partition_point(|batch| batch.last_offset < offset);
        let end = self.end_for(isolation);
        let readable = self.batches[first..]
            .iter()
            .take_while(|batch| batch.base_offset < end);
        let mut left = match self.batches.get(first) {
            Some(batch) if at_least_one => limit.max(batch.bytes.len()),
            // A client could do nothing with a piece of the first batch.
            Some(batch) if batch.bytes.len() > limit => 0,
            _ => limit,
        };
        let mut found = Found {
            parts: Vec::new(),
            end_offset: offset,
        };
        for batch in readable {
            if left == 0 {
                break;
            }
            let part = batch.bytes.slice(..batch.bytes.len().min(left));
            left -= part.len();
            found.parts.push(part);
            found.end_offset = batch.last_offset + 1;
        }
        Some(found)
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

    /// All records that decode, control batches left out, as far as such a reader sees them.
    pub fn records(&self, isolation: IsolationLevel) -> Vec<StoredRecord> {
        let is_committed = |batch: &&StoredBatch| match isolation {
            IsolationLevel::ReadUncommitted => true,
            IsolationLevel::ReadCommitted => !self.is_aborted(batch),
        };
        let end = self.end_for(isolation);
        let mut records: Vec<StoredRecord> = self
            .batches
            .iter()
            .take_while(|batch| batch.base_offset < end)
            .filter(is_committed)
            .flat_map(|batch| decode(&batch.bytes))
            .collect();
        records.retain(|record| record.offset >= self.start_offset);
        records
    }
}

impl PartitionLog {
    fn is_aborted(&self, batch: &StoredBatch) -> bool {
        let Ok(header) = batch_span(&batch.bytes) else {
            return false;
        };
        header.is_transactional()
            && self
                .aborted_between(batch.base_offset, batch.last_offset + 1)
                .any(|aborted| aborted.producer_id == header.producer_id)
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
