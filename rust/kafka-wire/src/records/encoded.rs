//! A batch that is complete but for what its sender adds, ready for the wire.

use bytes::Bytes;

use super::header::{edit, put};
use super::layout::*;
use crate::pieces::Pieces;

/// A batch as it goes out. Its CRC is computed when it is first asked for: a batch may get its producer's identity before.
#[derive(Clone, Debug, Default)]
pub struct EncodedBatch {
    /// The first of them has the header.
    pieces: Pieces,
    lacks_crc: bool,
}

impl EncodedBatch {
    /// Of pieces of which the first has a header that lacks only the CRC.
    pub(super) fn new(pieces: Pieces) -> Self {
        EncodedBatch {
            pieces,
            lacks_crc: true,
        }
    }

    /// How many bytes it has; 0 when it has no records.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// True when it has no records.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The batch from now on under this producer id, epoch and sequence. Copies the first piece when somebody else holds
    /// its bytes too.
    pub fn assign_producer(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) {
        self.edit(|header| {
            put(header, PRODUCER_ID, &producer_id.to_be_bytes());
            put(header, PRODUCER_EPOCH, &producer_epoch.to_be_bytes());
            put(header, BASE_SEQUENCE, &base_sequence.to_be_bytes());
        });
        self.lacks_crc = true;
    }

    /// The bytes to send.
    pub fn pieces(&mut self) -> &Pieces {
        if self.lacks_crc && !self.is_empty() {
            let mut crc = 0;
            let mut start = ATTRIBUTES;
            for piece in self.pieces.iter() {
                crc = crate::hash::crc32c_append(crc, &piece[start..]);
                start = 0;
            }
            self.edit(|header| put(header, CRC, &crc.to_be_bytes()));
        }
        self.lacks_crc = false;
        &self.pieces
    }

    /// The bytes as one piece; copies when there is more than one.
    pub fn into_bytes(mut self) -> Bytes {
        self.pieces();
        self.pieces.into_bytes()
    }

    /// The memory that the batch was written in, when that is all it has: to be used again.
    pub fn into_memory(self) -> Option<Bytes> {
        self.pieces.into_whole().ok()
    }

    fn edit(&mut self, change: impl FnOnce(&mut [u8])) {
        let first = self.pieces.first_mut();
        *first = edit(std::mem::take(first), change);
    }
}
