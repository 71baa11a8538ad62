//! Building a batch, record by record.

use bytes::Bytes;

use super::encoded::EncodedBatch;
use super::header::put;
use super::layout::*;
use super::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE};
use crate::codec::{Codec, Compression, Compressor};
use crate::pieces::Pieces;
use crate::primitives::{zigzag32, zigzag64, MAX_VARINT_LEN, MAX_VARLONG_LEN};

/// For [`BatchBuilder::append`] of a record without headers.
pub const NO_HEADERS: [(&[u8], Option<&[u8]>); 0] = [];

/// Everything of a record before the key: its length, attributes, timestamp delta, offset delta, key length.
const MAX_RECORD_PREFIX: usize =
    MAX_VARINT_LEN + 1 + MAX_VARLONG_LEN + MAX_VARINT_LEN + MAX_VARINT_LEN;

/// The length of a batch is a signed 32-bit number.
const MAX_BATCH_LEN: usize = i32::MAX as usize;
/// Below this a varint has one byte.
const VARINT_1: u64 = 1 << 7;
/// Below this a varint has at most two bytes.
const VARINT_2: u64 = 1 << 14;
/// A value shorter than this leaves the length of its record, which has a sign bit, within two bytes.
const MAX_SMALL_VALUE: usize = (VARINT_2 as usize >> 1) - 128;
/// More than a record of the usual kind has besides its key and its value.
const SMALL_OVERHEAD: usize = 16;

/// How a batch is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealOptions {
    /// How the records are compressed.
    pub compression: Compression,
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
            compression: Compression::default(),
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
    /// Initialised a good way beyond what is used, so that a record is written by plain stores.
    buf: Vec<u8>,
    used: usize,
    /// Values that are not in `buf`, and before which of its bytes they stand.
    lent: Vec<(usize, Bytes)>,
    lent_len: usize,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// How much to take from the allocator for the next batch.
    next_capacity: usize,
    /// A larger buffer than this is only taken for a record that needs it; 0 for no such limit.
    limit: usize,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch that takes `capacity` bytes from the allocator with its first record. Later batches of the
    /// same builder take a little more than the one before them turned out to need.
    pub fn with_capacity(capacity: usize) -> Self {
        BatchBuilder {
            next_capacity: capacity,
            ..Self::default()
        }
    }

    /// An empty batch that is written into `buffer`, whatever that holds: memory which has been used before costs
    /// no page faults. What lies behind the buffer's end is initialised when it is needed, not before.
    pub fn in_buffer(buffer: Vec<u8>) -> Self {
        BatchBuilder {
            buf: buffer,
            ..Self::default()
        }
    }

    /// Buffers that grow stop at this many bytes, as long as the records fit: for batches that are sealed at that size.
    pub fn up_to(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// How many bytes the batch would have if it were sealed now without compression; 0 when it is empty.
    pub fn len(&self) -> usize {
        self.used + self.lent_len
    }

    /// How many of these bytes the builder's own memory holds.
    pub fn written_len(&self) -> usize {
        self.used
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
        let deltas = self.deltas(timestamp_ms);
        if headers.clone().next().is_some() || !self.write_small(deltas, key, value) {
            self.write(deltas, key, Value::Copied(value), headers)?;
        }
        Ok(self.counted(timestamp_ms))
    }

    /// The same with a value that is not copied: it stays where it is until the batch is gone.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn append_lent<'a, H>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Bytes,
        headers: H,
    ) -> Result<usize, AppendError>
    where
        H: IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        H::IntoIter: Clone,
    {
        let deltas = self.deltas(timestamp_ms);
        self.write(deltas, key, Value::Lent(value), headers.into_iter())?;
        Ok(self.counted(timestamp_ms))
    }

    /// The value, if the record before had the very same and it was lent.
    pub fn lent_again(&self, value: &[u8]) -> Option<Bytes> {
        let (_, last) = self.lent.last()?;
        (last.as_ptr() == value.as_ptr() && last.len() == value.len()).then(|| last.clone())
    }

    #[inline]
    fn deltas(&self, timestamp_ms: i64) -> Deltas {
        let base_timestamp = match self.count {
            0 => timestamp_ms,
            _ => self.base_timestamp,
        };
        Deltas {
            timestamp: zigzag64(timestamp_ms.wrapping_sub(base_timestamp)),
            offset: zigzag32(self.count).into(),
        }
    }

    /// A record was written; gives its index.
    #[inline]
    fn counted(&mut self, timestamp_ms: i64) -> usize {
        let index = self.count;
        if index == 0 {
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        } else {
            self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        }
        self.count = index + 1;
        index as usize
    }

    /// Writes a record if it is of the usual kind: no headers, a short key, a value of a few kilobytes at most, and
    /// room for it. Then each varint has one byte or two, and everything before the key fits one register.
    #[inline]
    fn write_small(&mut self, deltas: Deltas, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        let (key_len, value_len) = (nullable_len(key), nullable_len(value));
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        let is_small = deltas.timestamp < VARINT_2
            && deltas.offset < VARINT_2
            && key_len < VARINT_1
            && value.len() < MAX_SMALL_VALUE;
        if !is_small
            || self.used == 0
            || self.buf.len() - self.used < key.len() + value.len() + SMALL_OVERHEAD
        {
            return false;
        }
        let (timestamp_delta, timestamp_bytes) = short_varint(deltas.timestamp);
        let (offset_delta, offset_bytes) = short_varint(deltas.offset);
        let (value_len, value_len_bytes) = short_varint(value_len);
        let body_len =
            1 + timestamp_bytes + offset_bytes + 1 + key.len() + value_len_bytes + value.len() + 1;
        let (body_len, body_len_bytes) = short_varint(zigzag64(body_len as i64));

        // The attributes are zero and need no store of their own.
        let timestamp_at = body_len_bytes + 1;
        let offset_at = timestamp_at + timestamp_bytes;
        let key_len_at = offset_at + offset_bytes;
        let prefix = body_len
            | timestamp_delta << (8 * timestamp_at)
            | offset_delta << (8 * offset_at)
            | key_len << (8 * key_len_at);

        let mut out = Out {
            buf: &mut self.buf[self.used..],
            at: 0,
        };
        out.buf[..8].copy_from_slice(&prefix.to_le_bytes());
        out.at = key_len_at + 1;
        out.slice(key);
        out.buf[out.at..out.at + 2].copy_from_slice(&(value_len as u16).to_le_bytes());
        out.at += value_len_bytes;
        out.slice(value);
        out.byte(0);
        self.used += out.at;
        true
    }

    /// Writes a record of any kind.
    #[inline(never)]
    fn write<'a>(
        &mut self,
        deltas: Deltas,
        key: Option<&[u8]>,
        value: Value<'_>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    ) -> Result<(), AppendError> {
        let (header_count, headers_len) = measure(headers.clone());
        let (value, lent) = match value {
            Value::Copied(value) => (value, None),
            Value::Lent(value) => (None, Some(value)),
        };
        let lent_len = lent.as_ref().map_or(0, Bytes::len);
        let (key_len, value_len) = (nullable_len(key), nullable_len(lent.as_deref().or(value)));
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        let own_len = 1
            + varint_len(deltas.timestamp)
            + varint_len(deltas.offset)
            + varint_len(key_len)
            + key.len()
            + varint_len(value_len)
            + value.len()
            + varint_len(header_count)
            + headers_len;
        let body_len = own_len.saturating_add(lent_len);
        let used = self.used.max(RECORDS);
        let mut out = self.room(own_len, lent_len)?;
        out.varint(zigzag64(body_len as i64));
        out.byte(0);
        out.varint(deltas.timestamp);
        out.varint(deltas.offset);
        out.varint(key_len);
        out.slice(key);
        out.varint(value_len);
        out.slice(value);
        let value_end = used + out.at;
        out.varint(header_count);
        for (name, value) in headers {
            out.varint(nullable_len(Some(name)));
            out.slice(name);
            out.varint(nullable_len(value));
            out.slice(value.unwrap_or_default());
        }
        self.used = used + out.at;
        if let Some(value) = lent {
            self.lent_len += lent_len;
            self.lent.push((value_end, value));
        }
        Ok(())
    }

    /// Room for a record of `own_len` bytes without the length before them, and of others that are lent.
    fn room(&mut self, own_len: usize, lent_len: usize) -> Result<Out<'_>, AppendError> {
        let more = own_len.saturating_add(MAX_VARINT_LEN);
        let taken = self.buf.len().max(RECORDS).saturating_add(self.lent_len);
        // As long as the whole buffer may be filled, records that need no more room need not ask.
        if lent_len > MAX_BATCH_LEN.saturating_sub(taken) {
            return Err(AppendError);
        }
        if more > self.buf.len().saturating_sub(self.used) || self.used == 0 {
            self.grow(more, lent_len)?;
        }
        Ok(Out {
            buf: &mut self.buf[self.used..],
            at: 0,
        })
    }

    #[cold]
    fn grow(&mut self, more: usize, lent_len: usize) -> Result<(), AppendError> {
        let used = self.used.max(RECORDS);
        let most = MAX_BATCH_LEN.saturating_sub(self.lent_len.saturating_add(lent_len));
        if more > most.saturating_sub(used) {
            return Err(AppendError);
        }
        let needed = used + more;
        let mut wanted = self.next_capacity.max(self.buf.len().saturating_mul(2));
        if self.limit > 0 {
            wanted = wanted.min(self.limit);
        }
        wanted = wanted.clamp(needed, most);
        if self.buf.is_empty() {
            // Memory that comes zeroed from the system is not touched before it is used.
            self.buf = vec![0; wanted];
        } else if self.buf.len() < needed {
            if needed <= self.buf.capacity() {
                wanted = wanted.min(self.buf.capacity());
            }
            self.buf.reserve_exact(wanted - self.buf.len());
            self.buf.resize(wanted, 0);
        }
        if self.used == 0 {
            self.buf[..RECORDS].fill(0);
        }
        self.used = used;
        Ok(())
    }

    /// Gives back to the allocator what the batch does not use, which cuts the block short where it lies: for a batch
    /// that may wait long.
    pub fn shrink_to_fit(&mut self) {
        if self.buf.len() - self.used > self.used / 8 {
            self.buf.truncate(self.used);
            self.buf.shrink_to_fit();
        }
    }

    /// The buffer, for other batches: it holds nothing worth keeping once the batch is sealed.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buf
    }

    /// The complete batch in one piece, with base offset 0; the builder is empty afterwards. An empty builder gives an
    /// empty buffer: Kafka refuses batches without records.
    pub fn seal(&mut self, options: SealOptions) -> Bytes {
        self.encode(options, &mut Compressor::default())
            .into_bytes()
    }

    /// The same as it is to be sent: values that were lent are pieces of their own, unless records are compressed.
    /// The compressor serves for many batches.
    pub fn encode(&mut self, options: SealOptions, compressor: &mut Compressor) -> EncodedBatch {
        if self.is_empty() {
            return EncodedBatch::default();
        }
        let (mut batch, lent, codec) = self.take_records(options.compression, compressor);
        let len = batch.len() + lent.iter().map(|(_, value)| value.len()).sum::<usize>();
        self.put_header(&mut batch, len, codec, options);
        self.count = 0;
        EncodedBatch::new(cut(batch.into(), lent))
    }

    /// All of it but the CRC.
    fn put_header(&self, batch: &mut [u8], len: usize, codec: Codec, options: SealOptions) {
        let flags = match options.transactional {
            true => TRANSACTIONAL,
            false => 0,
        };
        let last_offset_delta = self.count - 1;
        put(batch, LENGTH, &((len - LEADER_EPOCH) as i32).to_be_bytes());
        put(batch, LEADER_EPOCH, &(-1i32).to_be_bytes());
        put(batch, MAGIC, &MAGIC_V2.to_be_bytes());
        put(batch, ATTRIBUTES, &(codec.id() | flags).to_be_bytes());
        put(batch, LAST_OFFSET_DELTA, &last_offset_delta.to_be_bytes());
        put(batch, BASE_TIMESTAMP, &self.base_timestamp.to_be_bytes());
        put(batch, MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(batch, PRODUCER_ID, &options.producer_id.to_be_bytes());
        put(batch, PRODUCER_EPOCH, &options.producer_epoch.to_be_bytes());
        put(batch, BASE_SEQUENCE, &options.base_sequence.to_be_bytes());
        put(batch, RECORD_COUNT, &self.count.to_be_bytes());
    }

    /// The records behind room for a header, and what of them lies elsewhere. Should the codec fail, which only a lack of
    /// memory can cause, they go out uncompressed.
    fn take_records(
        &mut self,
        compression: Compression,
        compressor: &mut Compressor,
    ) -> (Vec<u8>, Vec<(usize, Bytes)>, Codec) {
        let used = std::mem::take(&mut self.used);
        let lent = std::mem::take(&mut self.lent);
        self.lent_len = 0;
        if compression.codec() != Codec::None {
            let mut batch = vec![0; RECORDS];
            let outcome = match lent.is_empty() {
                true => {
                    let records = &self.buf[RECORDS..used];
                    compressor.compress(compression, records, &mut batch)
                }
                false => {
                    let whole = Bytes::copy_from_slice(&self.buf[..used]);
                    let whole = cut(whole, lent.clone()).into_bytes();
                    compressor.compress(compression, &whole[RECORDS..], &mut batch)
                }
            };
            if outcome.is_ok() {
                return (batch, Vec::new(), compression.codec());
            }
        }
        let mut batch = std::mem::take(&mut self.buf);
        batch.truncate(used);
        self.next_capacity = used + used / 8;
        (batch, lent, Codec::None)
    }
}

/// A batch with the values that were lent in their places. The header is a piece of its own then: it may change.
fn cut(written: Bytes, lent: Vec<(usize, Bytes)>) -> Pieces {
    if lent.is_empty() {
        return written.into();
    }
    let mut pieces = Pieces::from(written.slice(..RECORDS));
    let mut from = RECORDS;
    for (at, value) in lent {
        pieces.push(written.slice(from..at));
        pieces.push(value);
        from = at;
    }
    pieces.push(written.slice(from..));
    pieces
}

/// The value of a record that is being written.
enum Value<'a> {
    Copied(Option<&'a [u8]>),
    Lent(Bytes),
}

/// What a record says of its timestamp and offset, in zigzag form: how far they are from the batch's first.
#[derive(Clone, Copy)]
struct Deltas {
    timestamp: u64,
    offset: u64,
}

/// Where a record is written to.
pub(super) struct Out<'a> {
    pub buf: &'a mut [u8],
    pub at: usize,
}

impl Out<'_> {
    #[inline(always)]
    pub fn byte(&mut self, byte: u8) {
        self.buf[self.at] = byte;
        self.at += 1;
    }

    #[inline(always)]
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline(always)]
    pub fn slice(&mut self, bytes: &[u8]) {
        let room = &mut self.buf[self.at..self.at + bytes.len()];
        self.at += bytes.len();
        // Keys are short: two overlapping moves cost less than a call of memcpy.
        match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) if bytes.len() <= 16 => {
                room[..8].copy_from_slice(first);
                let tail = room.len() - 8;
                room[tail..].copy_from_slice(last);
            }
            _ => room.copy_from_slice(bytes),
        }
    }
}

/// The zigzag form of a length, -1 for null.
#[inline(always)]
pub(super) fn nullable_len(bytes: Option<&[u8]>) -> u64 {
    zigzag64(bytes.map_or(-1, |b| b.len() as i64))
}

#[inline(always)]
pub(super) const fn varint_len(value: u64) -> usize {
    if value < 0x80 {
        return 1;
    }
    // Seven bits a byte.
    (70 - value.leading_zeros() as usize) / 7
}

/// A varint below [`VARINT_2`] as a little-endian number, and how many bytes it takes.
#[inline(always)]
const fn short_varint(value: u64) -> (u64, usize) {
    match value < VARINT_1 {
        true => (value, 1),
        false => ((value & 0x7f) | 0x80 | (value >> 7) << 8, 2),
    }
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
