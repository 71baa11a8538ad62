//! The batches of an answer, as far as they are to be read.

use std::cell::{RefCell, RefMut};

use kafka_wire::codec::Decompressor;
use kafka_wire::records::{Batch, BatchError, RecordBatches, Records, MAX_DECOMPRESSED_LEN};
use kafka_wire::ErrorCode;

/// Once this many bytes have been decompressed of an answer, its other batches are left for the next one. Each may be
/// small on the wire and a thousand times as large in memory, and all of them wait there until they are delivered.
const MAX_DECOMPRESSED_ANSWER: usize = MAX_DECOMPRESSED_LEN;

/// The memory that answers are decompressed into, one after the other. A connection keeps it.
pub type Unpacking = RefCell<Decompressor>;

/// What the batches of one answer may become when they are decompressed; goes along with them.
pub struct Budget<'a> {
    left: usize,
    decompressor: RefMut<'a, Decompressor>,
}

impl<'a> Budget<'a> {
    /// For an answer of the connection that keeps this.
    pub fn new(unpacking: &'a Unpacking) -> Budget<'a> {
        let mut decompressor = unpacking.borrow_mut();
        decompressor.trim();
        Budget {
            left: MAX_DECOMPRESSED_ANSWER,
            decompressor,
        }
    }

    /// Whether the batches that follow are to be left alone, as if the answer ended here.
    fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// The records of a batch, verified. Those that are not compressed are part of the answer already.
    fn records(&mut self, batch: &Batch) -> Result<Records, BatchError> {
        let records = batch.records_with(MAX_DECOMPRESSED_LEN, &mut self.decompressor)?;
        if batch.codec_id() != 0 {
            self.left = self.left.saturating_sub(records.byte_len());
        }
        Ok(records)
    }
}

/// The batches of a partition with their records, up to and including the first one that does not
/// verify, or up to where the budget has nothing left.
pub struct VerifiedBatches<'a, 'b> {
    batches: RecordBatches,
    budget: &'a mut Budget<'b>,
    has_ended: bool,
}

impl<'a, 'b> VerifiedBatches<'a, 'b> {
    /// Of these.
    pub fn new(batches: RecordBatches, budget: &'a mut Budget<'b>) -> Self {
        VerifiedBatches {
            batches,
            budget,
            has_ended: false,
        }
    }

    /// See [`RecordBatches::incomplete`].
    pub fn incomplete(&self) -> Option<usize> {
        self.batches.incomplete()
    }
}

impl Iterator for VerifiedBatches<'_, '_> {
    type Item = Result<(Batch, Records), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let batch = self.batches.next()?;
        if self.budget.is_spent() {
            self.has_ended = true;
            return None;
        }
        let verified = batch.and_then(|batch| {
            let records = self.budget.records(&batch)?;
            Ok((batch, records))
        });
        self.has_ended = verified.is_err();
        Some(verified)
    }
}

/// The error of a partition with a batch that does not verify: the broker's, if it gives one.
pub fn or_corrupt(error_code: i16) -> i16 {
    match error_code {
        0 => ErrorCode::CorruptMessage.code(),
        other => other,
    }
}
