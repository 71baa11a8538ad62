//! Records as the owner of a cluster sees them.

use bytes::Bytes;
use kafka_wire::records::Record;

/// A record as it lies in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// `None` is a null key.
    pub key: Option<Bytes>,
    /// `None` is a null value: a tombstone.
    pub value: Option<Bytes>,
    /// In order, repeats kept.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

pub(super) fn stored(record: Record<'_>) -> StoredRecord {
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
