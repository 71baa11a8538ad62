//! A batch of one record, for requests that each carry one: the same bytes as a
//! [`BatchBuilder`](super::BatchBuilder) gives, without its preparations for more records.

use super::builder::{nullable_len, varint_len, Out};
use super::header::{finish, put};
use super::layout::*;
use crate::primitives::zigzag64;

/// What batches of one record have in common: an uncompressed batch with base offset 0 of a
/// producer that is not idempotent.
const HEADER: [u8; RECORDS] = {
    let mut header = [0; RECORDS];
    let mut at = 0;
    while at < RECORDS {
        header[at] = match at {
            LEADER_EPOCH..MAGIC => 0xff,
            MAGIC => MAGIC_V2 as u8,
            PRODUCER_ID..RECORD_COUNT => 0xff,
            _ => 0,
        };
        at += 1;
    }
    header[RECORDS - 1] = 1;
    header
};

/// One record without headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleRecord<'a> {
    /// In milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl SingleRecord<'_> {
    /// What the length before the record says; attributes, both deltas and the number of headers are one
    /// byte each.
    #[inline]
    fn body_len(&self) -> usize {
        let field =
            |bytes: Option<&[u8]>| varint_len(nullable_len(bytes)) + bytes.map_or(0, <[u8]>::len);
        4 + field(self.key) + field(self.value)
    }

    /// How many bytes the batch has. What is too long for a batch is left to [`BatchBuilder`](super::BatchBuilder)
    /// to refuse.
    #[inline]
    pub fn batch_len(&self) -> usize {
        let body_len = self.body_len();
        RECORDS + varint_len(zigzag64(body_len as i64)) + body_len
    }

    /// Appends the batch.
    #[inline]
    pub fn put_batch(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.batch_len(), 0);
        let batch = &mut out[start..];
        batch[..RECORDS].copy_from_slice(&HEADER);
        put(batch, BASE_TIMESTAMP, &self.timestamp_ms.to_be_bytes());
        put(batch, MAX_TIMESTAMP, &self.timestamp_ms.to_be_bytes());
        let mut record = Out {
            buf: &mut batch[RECORDS..],
            at: 0,
        };
        record.varint(zigzag64(self.body_len() as i64));
        // Attributes and deltas are zero, as the number of headers at the end.
        record.at += 3;
        for field in [self.key, self.value] {
            record.varint(nullable_len(field));
            record.slice(field.unwrap_or_default());
        }
        finish(batch);
    }
}
