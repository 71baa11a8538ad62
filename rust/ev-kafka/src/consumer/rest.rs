//! What an answer has of a partition and is still to be delivered: batches as they came, each of which is checked and
//! decompressed when its turn has come. By then the broker has the next Fetch, and only one of them is in memory
//! decompressed.

use std::rc::Rc;

use kafka_wire::records::{Batch, BatchError, RecordCursor, Records, MAX_DECOMPRESSED_LEN};

use crate::api::fetch::batches::Unpacking;

/// A batch that is being delivered.
pub struct OpenBatch {
    /// Its records.
    pub records: Records,
    /// The epoch of the leader that appended it.
    pub epoch: i32,
    /// Where to go on behind it.
    next_offset: i64,
}

/// What is left to deliver of a partition.
pub struct Rest {
    /// The first offset that was asked for: the first batch may begin before it.
    from: i64,
    sealed: std::vec::IntoIter<Batch>,
    current: Option<OpenBatch>,
    cursor: RecordCursor,
    /// Offset and epoch behind the last batch that was read to its end, if there is one.
    behind: Option<(i64, i32)>,
    is_damaged: bool,
    unpacking: Rc<Unpacking>,
}

impl Rest {
    /// All of it.
    pub fn new(from: i64, sealed: Vec<Batch>, unpacking: Rc<Unpacking>) -> Rest {
        Rest {
            from,
            sealed: sealed.into_iter(),
            current: None,
            cursor: RecordCursor::default(),
            behind: None,
            is_damaged: false,
            unpacking,
        }
    }

    /// Moves to the batch that the next record comes from. False at the end, and before a batch that does not verify.
    #[inline]
    pub fn advance(&mut self) -> bool {
        match &self.current {
            Some(current) if current.records.has_next(&self.cursor) => true,
            _ => self.open_next(),
        }
    }

    #[inline(never)]
    fn open_next(&mut self) -> bool {
        loop {
            // Before its memory is wanted for the next one.
            if let Some(read) = self.current.take() {
                self.behind = Some((read.next_offset, read.epoch));
            }
            let Some(batch) = self.sealed.next() else {
                return false;
            };
            let Ok(records) = open(&batch, &self.unpacking) else {
                self.is_damaged = true;
                self.sealed = Vec::new().into_iter();
                return false;
            };
            self.cursor = RecordCursor::default();
            records.skip_to(&mut self.cursor, self.from);
            let is_left = records.has_next(&self.cursor);
            self.current = Some(OpenBatch {
                next_offset: records.next_offset(),
                records,
                epoch: batch.partition_leader_epoch,
            });
            if is_left {
                return true;
            }
        }
    }

    /// Whether there may be another record.
    pub fn has_more(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|batch| batch.records.has_next(&self.cursor)) || self.sealed.len() > 0
    }

    /// The batch that was moved to, and the place in it.
    #[inline]
    pub fn current(&mut self) -> Option<(&OpenBatch, &mut RecordCursor)> {
        Some((self.current.as_ref()?, &mut self.cursor))
    }

    /// Whether a batch has not verified: nothing comes any more.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Offset and epoch behind the last batch that was read to its end, if there is one.
    pub fn behind(&self) -> Option<(i64, i32)> {
        self.behind
    }
}

/// The records of a batch, verified and decompressed.
pub fn open(batch: &Batch, unpacking: &Unpacking) -> Result<Records, BatchError> {
    batch.records_with(MAX_DECOMPRESSED_LEN, &mut unpacking.borrow_mut())
}
