//! Records as they come, and what is said to whoever brings them.

use bytes::Bytes;
use kafka_wire::records::BatchBuilder;

/// What a header costs beside its name and value, at the most: their two lengths.
const HEADER_OVERHEAD: usize = 10;

/// A record as [`crate::Accumulator::append`] takes it.
pub struct NewRecord<'a, H> {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The key, or none for a null key.
    pub key: Option<&'a [u8]>,
    /// The value, or none for a null value (a tombstone).
    pub value: Option<&'a [u8]>,
    /// Header names and values, in order.
    pub headers: H,
    /// Borrows the value until its batch is settled, if that is possible. Asked for large values only.
    pub lend: Option<&'a dyn Fn() -> Option<Bytes>>,
}

/// What the caller has to do after an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// No batch was lingering before: the linger time begins.
    pub first: bool,
    /// A batch has become due: something may be sent.
    pub due: bool,
}

impl Appended {
    /// What has to be done after both.
    pub(crate) fn add(&mut self, other: Appended) {
        self.first |= other.first;
        self.due |= other.due;
    }
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The record takes so many bytes, more than [`crate::Settings::max_request_size`] or than any batch can carry.
    TooLarge(usize),
    /// [`crate::Settings::buffer_memory`] is used up.
    BufferFull,
    /// The record takes so many bytes, more than [`crate::Settings::buffer_memory`].
    NeverFits(usize),
}

/// An upper bound of what a record adds to its batch.
#[inline]
pub(crate) fn size_bound<'a, H>(record: &NewRecord<'a, H>) -> usize
where
    H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
{
    let headers = record
        .headers
        .clone()
        .map(|(name, value)| HEADER_OVERHEAD + name.len() + value.map_or(0, <[u8]>::len));
    BatchBuilder::max_record_len(
        record.key.map_or(0, <[u8]>::len),
        record.value.map_or(0, <[u8]>::len),
    ) + headers.sum::<usize>()
}
