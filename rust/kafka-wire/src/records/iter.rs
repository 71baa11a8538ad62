//! The records of a batch, one by one.

use bytes::Bytes;

use super::error::BatchError;
use super::header::BatchHeader;
use crate::malformed::{DecodeError, DecodeErrorKind};
use crate::primitives::{get_uvarint, get_uvarlong, unzigzag32, unzigzag64};

/// The records of one batch, all of them known to be sound. Iterating borrows from this; nothing is copied.
#[derive(Debug, Clone)]
pub struct Records {
    data: Bytes,
    count: usize,
    base_offset: i64,
    base_timestamp: i64,
    append_timestamp: Option<i64>,
    next_offset: i64,
}

impl Records {
    /// `data` must have passed [`validate`].
    pub(super) fn new(data: Bytes, header: &BatchHeader) -> Self {
        Records {
            data,
            count: header.record_count as usize,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_timestamp: header.is_log_append_time().then_some(header.max_timestamp),
            next_offset: header.next_offset(),
        }
    }

    /// The same, but reading goes on at another offset.
    pub(super) fn ending_before(self, next_offset: i64) -> Self {
        Records {
            next_offset,
            ..self
        }
    }

    /// Where to go on reading after them, whatever compaction has removed.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many bytes they take, decompressed.
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// True when compaction has removed all of them.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records in order.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            rest: &self.data,
            left: self.count,
            records: self,
        }
    }

    /// Whether a record is left at the cursor.
    #[inline]
    pub fn has_next(&self, cursor: &RecordCursor) -> bool {
        cursor.records < self.count
    }

    /// Moves the cursor to the first record at or behind an offset.
    pub fn skip_to(&self, cursor: &mut RecordCursor, offset: i64) {
        let mut ahead = *cursor;
        while let Some(record) = self.next_at(&mut ahead) {
            if record.offset >= offset {
                return;
            }
            *cursor = ahead;
        }
    }

    /// The record at the cursor, which moves on to the next one; `None` behind the last. A cursor that was moved by
    /// other records gives nothing of use, but harms nothing.
    #[inline]
    pub fn next_at(&self, cursor: &mut RecordCursor) -> Option<Record<'_>> {
        let mut iter = RecordIter {
            rest: self.data.get(cursor.bytes..)?,
            left: self.count.checked_sub(cursor.records)?,
            records: self,
        };
        let record = iter.next()?;
        cursor.bytes = self.data.len() - iter.rest.len();
        cursor.records += 1;
        Some(record)
    }
}

/// A place among [`Records`], for a caller that cannot hold a borrow from one record to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCursor {
    /// Bytes and records that lie before it.
    bytes: usize,
    records: usize,
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record<'a>;
    type IntoIter = RecordIter<'a>;
    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// In milliseconds since the epoch.
    pub timestamp: i64,
    /// The key; null and empty are different keys.
    pub key: Option<&'a [u8]>,
    /// The value; null is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// The headers in order; names may repeat.
    #[inline]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// What a record of a control batch says; `None` for a kind that is not known yet, which must be skipped.
    pub fn control_type(&self) -> Option<ControlType> {
        match self.key? {
            // A version, which later ones may raise while keeping what follows, and the type.
            [_, _, 0, 0, ..] => Some(ControlType::Abort),
            [_, _, 0, 1, ..] => Some(ControlType::Commit),
            _ => None,
        }
    }
}

/// What a transaction's marker says (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The producer's records before it are not to be read under read_committed.
    Abort,
    /// The producer's records before it are committed.
    Commit,
}

/// Iterates over [`Records`].
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    left: usize,
    records: &'a Records,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut cursor = Cursor { rest: self.rest };
        let (parts, headers) = cursor.record().ok()?;
        self.rest = cursor.rest;
        Some(Record {
            offset: self
                .records
                .base_offset
                .wrapping_add(parts.offset_delta.into()),
            timestamp: match self.records.append_timestamp {
                Some(timestamp) => timestamp,
                None => self
                    .records
                    .base_timestamp
                    .wrapping_add(parts.timestamp_delta),
            },
            key: parts.key,
            value: parts.value,
            headers: Headers {
                rest: headers.rest,
                left: parts.header_count,
            },
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordIter<'_> {}

/// The headers of a record: name and value.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut cursor = Cursor { rest: self.rest };
        let header = cursor.header().ok()?;
        self.rest = cursor.rest;
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Checks that `data` is exactly `count` records, each of them as long as it says and well formed to its last
/// header.
pub(super) fn validate(data: &[u8], count: i32) -> Result<(), BatchError> {
    if count < 0 {
        return Err(BatchError::InvalidRecord {
            index: 0,
            reason: "negative record count",
        });
    }
    let mut cursor = Cursor { rest: data };
    for index in 0..count as usize {
        validate_record(&mut cursor)
            .map_err(|reason| BatchError::InvalidRecord { index, reason })?;
    }
    if !cursor.rest.is_empty() {
        return Err(BatchError::InvalidRecord {
            index: count as usize,
            reason: "more records than the batch declares",
        });
    }
    Ok(())
}

#[inline]
fn validate_record(cursor: &mut Cursor<'_>) -> Result<(), &'static str> {
    let (parts, mut headers) = cursor.record()?;
    for _ in 0..parts.header_count {
        headers.header()?;
    }
    match headers.rest.is_empty() {
        true => Ok(()),
        false => Err("longer than its fields"),
    }
}

/// What stands in a record before its headers.
struct Parts<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: usize,
}

#[cold]
fn varint_reason(error: DecodeError) -> &'static str {
    match error.kind {
        DecodeErrorKind::UnexpectedEnd => "truncated",
        _ => "bad varint",
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The next record: its fields up to the headers, and a cursor over those.
    #[inline(always)]
    fn record(&mut self) -> Result<(Parts<'a>, Cursor<'a>), &'static str> {
        match self.small_record() {
            Some(record) => Ok(record),
            None => self.any_record(),
        }
    }

    /// A record of the usual kind, in which everything before the key fits one register. `None` for any other,
    /// sound or not; nothing is consumed then.
    #[inline(always)]
    fn small_record(&mut self) -> Option<(Parts<'a>, Cursor<'a>)> {
        let mut prefix = Prefix {
            bits: u64::from_le_bytes(*self.rest.first_chunk()?),
            used: 0,
        };
        let len = unzigzag32(prefix.varint()?);
        let start = prefix.used;
        // The attributes, none of which is in use.
        prefix.skip(1);
        let timestamp_delta = unzigzag32(prefix.varint()?).into();
        let offset_delta = unzigzag32(prefix.varint()?);
        let key_len = unzigzag32(prefix.varint()?);
        if prefix.used > size_of::<u64>() {
            return None;
        }
        let (record, rest) = self
            .rest
            .split_at_checked(start + usize::try_from(len).ok()?)?;
        let mut fields = Cursor {
            rest: record.get(prefix.used..)?,
        };
        let key = fields.take_nullable(key_len).ok()?;
        let value = fields.nullable_bytes().ok()?;
        let header_count = usize::try_from(fields.varint().ok()?).ok()?;
        self.rest = rest;
        Some((
            Parts {
                timestamp_delta,
                offset_delta,
                key,
                value,
                header_count,
            },
            fields,
        ))
    }

    #[inline(never)]
    fn any_record(&mut self) -> Result<(Parts<'a>, Cursor<'a>), &'static str> {
        let len = usize::try_from(self.varint()?).map_err(|_| "negative length")?;
        let mut fields = Cursor {
            rest: self.take(len)?,
        };
        fields.take(1)?;
        let timestamp_delta = fields.varlong()?;
        let offset_delta = fields.varint()?;
        let key = fields.nullable_bytes()?;
        let value = fields.nullable_bytes()?;
        let header_count =
            usize::try_from(fields.varint()?).map_err(|_| "negative header count")?;
        Ok((
            Parts {
                timestamp_delta,
                offset_delta,
                key,
                value,
                header_count,
            },
            fields,
        ))
    }

    #[inline]
    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), &'static str> {
        let name = self.nullable_bytes()?.ok_or("header name is null")?;
        Ok((name, self.nullable_bytes()?))
    }

    #[inline(always)]
    fn take(&mut self, n: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or("truncated")?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline(always)]
    fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        let len = self.varint()?;
        self.take_nullable(len)
    }

    #[inline(always)]
    fn take_nullable(&mut self, len: i32) -> Result<Option<&'a [u8]>, &'static str> {
        match len {
            0.. => self.take(len as usize).map(Some),
            -1 => Ok(None),
            _ => Err("invalid length"),
        }
    }

    /// A zigzag varint. Nearly all of them take one byte or two.
    #[inline(always)]
    fn varint(&mut self) -> Result<i32, &'static str> {
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(unzigzag32(a.into()))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(unzigzag32(u32::from(a & 0x7f) | u32::from(b) << 7))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<i32, &'static str> {
        let (value, used) = get_uvarint(self.rest).map_err(varint_reason)?;
        self.rest = &self.rest[used..];
        Ok(unzigzag32(value))
    }

    fn varlong(&mut self) -> Result<i64, &'static str> {
        let (value, used) = get_uvarlong(self.rest).map_err(varint_reason)?;
        self.rest = &self.rest[used..];
        Ok(unzigzag64(value))
    }
}

/// The first eight bytes of a record, read from the lowest on.
struct Prefix {
    bits: u64,
    used: usize,
}

impl Prefix {
    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        self.bits >>= 8 * bytes;
        self.used += bytes;
    }

    /// A varint of one byte or two, `None` when it is longer. One that would reach beyond the eight bytes is wrong,
    /// and leaves `used` greater than eight.
    #[inline(always)]
    fn varint(&mut self) -> Option<u32> {
        let bits = self.bits as u32;
        if bits & 0x80 == 0 {
            self.skip(1);
            Some(bits & 0x7f)
        } else if bits & 0x8000 == 0 {
            self.skip(2);
            Some((bits & 0x7f) | (bits >> 1) & 0x3f80)
        } else {
            None
        }
    }
}
