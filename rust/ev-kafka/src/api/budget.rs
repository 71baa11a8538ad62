//! What the batches of one Fetch answer may become when they are decompressed.

use kafka_wire::records::{Batch, BatchError, Records, MAX_DECOMPRESSED_LEN};

/// Once this many bytes have been decompressed of an answer, its other batches are left for the next one. Each may be
/// small on the wire and a thousand times as large in memory, and all of them wait there until they are delivered.
const MAX_DECOMPRESSED_ANSWER: usize = MAX_DECOMPRESSED_LEN;

/// Goes along with the batches of an answer.
pub struct Budget {
    left: usize,
}

impl Budget {
    /// For a new answer.
    pub fn new() -> Budget {
        Budget {
            left: MAX_DECOMPRESSED_ANSWER,
        }
    }

    /// Whether the batches that follow are to be left alone, as if the answer ended here.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// The records of a batch, verified. Those that are not compressed are part of the answer already.
    pub fn records(&mut self, batch: &Batch) -> Result<Records, BatchError> {
        let records = batch.records(MAX_DECOMPRESSED_LEN)?;
        if batch.codec_id() != 0 {
            self.left = self.left.saturating_sub(records.byte_len());
        }
        Ok(records)
    }
}
