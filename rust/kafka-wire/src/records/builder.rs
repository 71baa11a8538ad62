//! Building a batch, record by record.

use bytes::Bytes;

use super::header::{finish, put};
use super::layout::*;
use super::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE};
use crate::codec::Codec;
use crate::primitives::{zigzag32, zigzag64, MAX_VARINT_LEN, MAX_VARLONG_LEN};

/// For [`BatchBuilder::append`] of a record without headers.
pub const NO_HEADERS: [(&[u8], Option<&[u8]>); 0] = [];

/// Everything of a record before the key: its length, attributes, timestamp delta, offset delta, key length.
const MAX_RECORD_PREFIX: usize =
    MAX_VARINT_LEN + 1 + MAX_VARLONG_LEN + MAX_VARINT_LEN + MAX_VARINT_LEN;

/// How a batch is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealOptions {
    /// How the records are compressed.
    pub codec: Codec,
    /// The producer id; -1 when not idempotent.
    pub producer_id: i64,
    /// The producer epoch; -1 when not idempotent.
    pub producer_epoch: i16,
    /// The sequence number of the first record; -1 when not idempotent.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
}

impl Default for SealOptions {
    /// Uncompressed, from a producer that is not idempotent.
    fn default() -> Self {
        SealOptions {
            codec: Codec::None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
        }
    }
}

/// A record that cannot be part of the batch: the batch would pass 2³¹ - 1 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendError;

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("record batch would exceed 2147483647 bytes")
    }
}

impl std::error::Error for AppendError {}

/// Collects records in the form in which they go out: room for the header is kept in front of them, so that
/// an uncompressed batch is sealed without a copy. Can be filled again after [`seal`](Self::seal).
#[derive(Debug, Default)]
pub struct BatchBuilder {
    buf: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    capacity: usize,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch that takes `capacity` bytes from the allocator with its first record.
    pub fn with_capacity(capacity: usize) -> Self {
        BatchBuilder {
            capacity,
            ..Self::default()
        }
    }

    /// How many bytes the batch would have if it were sealed now without compression; 0 when it is empty.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// True when it has no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many records it has.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The timestamp of the first record, in milliseconds since the epoch.
    pub fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    /// The largest timestamp, in milliseconds since the epoch.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// An upper bound of what one record without headers adds to [`len`](Self::len).
    pub const fn max_record_len(key_len: usize, value_len: usize) -> usize {
        MAX_RECORD_PREFIX + key_len + MAX_VARINT_LEN + value_len + 1
    }

    /// Appends a record and gives its index in the batch. The timestamp is in milliseconds since the epoch and
    /// may lie before that of earlier records. Headers are iterated twice, as their size comes first.
    ///
    /// # Errors
    /// When the batch would pass 2³¹ - 1 bytes; it is unchanged then.
    #[inline]
    pub fn append<'a, H>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<usize, AppendError>
    where
        H: IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        H::IntoIter: Clone,
    {
        let headers = headers.into_iter();
        let (header_count, headers_len) = measure(headers.clone());
        let index = self.count;
        let first = index == 0;
        let base_timestamp = if first {
            timestamp_ms
        } else {
            self.base_timestamp
        };
        let timestamp_delta = zigzag64(timestamp_ms.wrapping_sub(base_timestamp));
        let offset_delta = zigzag32(index);
        let key_len = nullable_len(key);
        let value_len = nullable_len(value);

        let body_len = 1
            + varint_len(timestamp_delta)
            + varint_len(offset_delta.into())
            + varint_len(key_len)
            + key.map_or(0, <[u8]>::len)
            + varint_len(value_len)
            + value.map_or(0, <[u8]>::len)
            + varint_len(header_count)
            + headers_len;
        self.make_room(body_len)?;

        let mut prefix = Prefix::default();
        prefix.put(zigzag64(body_len as i64));
        prefix.put(0);
        prefix.put(timestamp_delta);
        prefix.put(offset_delta.into());
        prefix.put(key_len);
        self.buf.extend_from_slice(prefix.as_slice());
        self.buf.extend_from_slice(key.unwrap_or_default());
        put_varint(&mut self.buf, value_len);
        self.buf.extend_from_slice(value.unwrap_or_default());
        put_varint(&mut self.buf, header_count);
        for (name, value) in headers {
            put_varint(&mut self.buf, nullable_len(Some(name)));
            self.buf.extend_from_slice(name);
            put_varint(&mut self.buf, nullable_len(value));
            self.buf.extend_from_slice(value.unwrap_or_default());
        }

        self.base_timestamp = base_timestamp;
        self.max_timestamp = if first {
            timestamp_ms
        } else {
            self.max_timestamp.max(timestamp_ms)
        };
        self.count = index + 1;
        Ok(index as usize)
    }

    #[inline]
    fn make_room(&mut self, body_len: usize) -> Result<(), AppendError> {
        let more = body_len.saturating_add(MAX_VARINT_LEN);
        if more > i32::MAX as usize - self.buf.len().max(RECORDS) {
            return Err(AppendError);
        }
        if self.buf.is_empty() {
            self.start(more);
        }
        self.buf.reserve(more);
        Ok(())
    }

    #[cold]
    fn start(&mut self, more: usize) {
        self.buf.reserve(self.capacity.max(RECORDS + more));
        self.buf.resize(RECORDS, 0);
    }

    /// The complete batch, with base offset 0; the builder is empty afterwards. An empty builder gives an empty
    /// buffer: Kafka refuses batches without records.
    pub fn seal(&mut self, options: SealOptions) -> Bytes {
        if self.is_empty() {
            return Bytes::new();
        }
        let (mut batch, codec) = self.take_records(options.codec);
        let flags = if options.transactional {
            TRANSACTIONAL
        } else {
            0
        };
        put(&mut batch, LEADER_EPOCH, &(-1i32).to_be_bytes());
        put(&mut batch, MAGIC, &MAGIC_V2.to_be_bytes());
        put(&mut batch, ATTRIBUTES, &(codec.id() | flags).to_be_bytes());
        put(
            &mut batch,
            LAST_OFFSET_DELTA,
            &(self.count - 1).to_be_bytes(),
        );
        put(
            &mut batch,
            BASE_TIMESTAMP,
            &self.base_timestamp.to_be_bytes(),
        );
        put(&mut batch, MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(&mut batch, PRODUCER_ID, &options.producer_id.to_be_bytes());
        put(
            &mut batch,
            PRODUCER_EPOCH,
            &options.producer_epoch.to_be_bytes(),
        );
        put(
            &mut batch,
            BASE_SEQUENCE,
            &options.base_sequence.to_be_bytes(),
        );
        put(&mut batch, RECORD_COUNT, &self.count.to_be_bytes());
        finish(&mut batch);
        self.count = 0;
        batch.into()
    }

    /// The records behind room for a header. Should the codec fail, which only a lack of memory can cause, they
    /// go out uncompressed.
    fn take_records(&mut self, codec: Codec) -> (Vec<u8>, Codec) {
        if codec != Codec::None {
            let mut compressed = Vec::with_capacity(RECORDS + self.buf.len() / 2);
            compressed.resize(RECORDS, 0);
            if codec
                .compress(&self.buf[RECORDS..], &mut compressed)
                .is_ok()
            {
                self.buf.clear();
                return (compressed, codec);
            }
        }
        (std::mem::take(&mut self.buf), Codec::None)
    }
}

/// A few varints on the stack, so that they reach the buffer in one copy.
#[derive(Default)]
struct Prefix {
    bytes: [u8; MAX_RECORD_PREFIX],
    len: usize,
}

impl Prefix {
    #[inline(always)]
    fn put(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value as u8;
        self.len += 1;
    }

    #[inline(always)]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The zigzag form of a length, -1 for null.
#[inline(always)]
fn nullable_len(bytes: Option<&[u8]>) -> u64 {
    zigzag64(bytes.map_or(-1, |b| b.len() as i64))
}

#[inline(always)]
const fn varint_len(value: u64) -> usize {
    // Seven bits a byte; zero takes a byte too.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[inline(always)]
fn put_varint(buf: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buf.push(value as u8 | 0x80);
        value >>= 7;
    }
    buf.push(value as u8);
}

/// The zigzag form of the number of headers, and how many bytes they take.
#[inline]
fn measure<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> (u64, usize) {
    let mut count = 0;
    let mut len = 0usize;
    for (name, value) in headers {
        count += 1;
        len += varint_len(nullable_len(Some(name))) + name.len();
        len += varint_len(nullable_len(value)) + value.map_or(0, <[u8]>::len);
    }
    (zigzag64(count), len)
}
