//! The only place that knows how Kafka lays numbers, strings and lengths out as bytes.
//!
//! Big-endian integers; strings and byte fields with a length before them (two or four bytes; an unsigned
//! varint of length + 1 in the compact forms of KIP-482); varints as in protocol buffers.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::malformed::{DecodeError, DecodeErrorKind};

pub use crate::malformed::TooLong;

/// A byte field of at least this many bytes is passed on as a segment of its own instead of being copied.
/// Below it, one more `iovec` costs more than the copy.
pub const SHARE_THRESHOLD: usize = 4096;

/// The longest encoding of a 32-bit varint.
pub const MAX_VARINT_LEN: usize = 5;

/// The longest encoding of a 64-bit varint.
pub const MAX_VARLONG_LEN: usize = 10;

/// Reads primitives from the front of a frame. Byte fields are slices of that frame: nothing is copied.
#[derive(Debug)]
pub struct Reader {
    buf: Bytes,
    lenient: bool,
    cut: bool,
}

impl Reader {
    /// A reader that fails at the first field that does not fit.
    pub fn new(buf: Bytes) -> Self {
        Reader {
            buf,
            lenient: false,
            cut: false,
        }
    }

    /// A reader for answers that may end early: arrays keep the elements that were complete.
    pub(crate) fn lenient(buf: Bytes) -> Self {
        Reader {
            buf,
            lenient: true,
            cut: false,
        }
    }

    pub(crate) fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// True once a lenient reader has met the place where its input breaks off.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Marks the break: whatever follows it cannot be told apart any more, so every later read fails.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
        self.buf.clear();
    }

    /// How many bytes have not been read yet.
    pub fn remaining(&self) -> usize {
        self.buf.len()
    }

    /// True when everything has been read.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// What has not been read yet.
    pub fn into_rest(self) -> Bytes {
        self.buf
    }

    fn need(&self, n: usize) -> Result<(), DecodeError> {
        if self.buf.len() < n {
            return Err(DecodeErrorKind::UnexpectedEnd.into());
        }
        Ok(())
    }

    /// The next `n` bytes, as a slice of the frame.
    pub fn get_raw(&mut self, n: usize) -> Result<Bytes, DecodeError> {
        self.need(n)?;
        Ok(self.buf.split_to(n))
    }

    /// BOOLEAN: one byte, anything but 0 is true.
    pub fn get_bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.get_i8()? != 0)
    }

    /// INT8
    pub fn get_i8(&mut self) -> Result<i8, DecodeError> {
        self.need(1)?;
        Ok(self.buf.get_i8())
    }

    /// INT16
    pub fn get_i16(&mut self) -> Result<i16, DecodeError> {
        self.need(2)?;
        Ok(self.buf.get_i16())
    }

    /// INT32
    pub fn get_i32(&mut self) -> Result<i32, DecodeError> {
        self.need(4)?;
        Ok(self.buf.get_i32())
    }

    /// INT64
    pub fn get_i64(&mut self) -> Result<i64, DecodeError> {
        self.need(8)?;
        Ok(self.buf.get_i64())
    }

    /// UINT16
    pub fn get_u16(&mut self) -> Result<u16, DecodeError> {
        self.need(2)?;
        Ok(self.buf.get_u16())
    }

    /// FLOAT64
    pub fn get_f64(&mut self) -> Result<f64, DecodeError> {
        self.need(8)?;
        Ok(self.buf.get_f64())
    }

    /// UUID: 16 bytes in network order.
    pub fn get_uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.need(16)?;
        let mut uuid = [0; 16];
        self.buf.copy_to_slice(&mut uuid);
        Ok(uuid)
    }

    /// UNSIGNED_VARINT
    pub fn get_uvarint(&mut self) -> Result<u32, DecodeError> {
        let (value, used) = get_uvarint(&self.buf)?;
        self.buf.advance(used);
        Ok(value)
    }

    /// VARINT (zigzag)
    pub fn get_varint(&mut self) -> Result<i32, DecodeError> {
        Ok(unzigzag32(self.get_uvarint()?))
    }

    /// VARLONG (zigzag)
    pub fn get_varlong(&mut self) -> Result<i64, DecodeError> {
        let (value, used) = get_uvarlong(&self.buf)?;
        self.buf.advance(used);
        Ok(unzigzag64(value))
    }

    /// The length before a string: `None` is null.
    pub(crate) fn get_string_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.get_compact_len();
        }
        let len = self.get_i16()?;
        checked_len(len.into())
    }

    /// The length before a byte field or the count before an array: `None` is null.
    pub(crate) fn get_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.get_compact_len();
        }
        let len = self.get_i32()?;
        checked_len(len)
    }

    fn get_compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.get_uvarint()? as usize).checked_sub(1))
    }

    /// STRING, NULLABLE_STRING and, when `flexible`, their compact forms.
    pub fn get_nullable_string(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let len = self.get_string_len(flexible)?;
        len.map(|n| self.get_raw(n)).transpose()
    }

    /// BYTES, NULLABLE_BYTES, RECORDS and, when `flexible`, their compact forms.
    pub fn get_nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let len = self.get_len(flexible)?;
        len.map(|n| self.get_raw(n)).transpose()
    }

    /// Skips a section of tagged fields (KIP-482) none of which the caller knows.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.get_uvarint()? {
            self.get_tagged_field()?;
        }
        Ok(())
    }

    /// One tagged field: its tag and its bytes.
    pub(crate) fn get_tagged_field(&mut self) -> Result<(u32, Bytes), DecodeError> {
        let tag = self.get_uvarint()?;
        let size = self.get_uvarint()? as usize;
        Ok((tag, self.get_raw(size)?))
    }
}

fn checked_len(len: i32) -> Result<Option<usize>, DecodeError> {
    match len {
        -1 => Ok(None),
        0.. => Ok(Some(len as usize)),
        _ => Err(DecodeErrorKind::InvalidLength(len).into()),
    }
}

/// Collects an encoded message as segments, ready for a vectored write. Small fields are copied into one
/// growing buffer; large bodies such as record batches are shared.
#[derive(Debug, Default)]
pub struct Writer {
    done: Vec<Bytes>,
    done_len: usize,
    buf: BytesMut,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes were written, shared segments included.
    pub fn len(&self) -> usize {
        self.done_len + self.buf.len()
    }

    /// True when nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The segments in order; none of them is empty.
    pub fn into_segments(mut self) -> Vec<Bytes> {
        self.finish_segment();
        self.done
    }

    /// Everything as one piece; copies when there is more than one segment.
    pub fn into_bytes(self) -> Bytes {
        let mut segments = self.into_segments();
        if segments.len() == 1 {
            return segments.swap_remove(0);
        }
        segments.concat().into()
    }

    /// Moves everything out of `other` to the end of this writer.
    pub fn append(&mut self, other: Writer) {
        for segment in other.into_segments() {
            self.put_shared(segment);
        }
    }

    /// Where small fields are copied to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    fn finish_segment(&mut self) {
        if !self.buf.is_empty() {
            self.done_len += self.buf.len();
            self.done.push(self.buf.split().freeze());
        }
    }

    /// Raw bytes without a length, copied.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    /// Raw bytes without a length: shared from [`SHARE_THRESHOLD`] on, copied below it.
    pub fn put_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_THRESHOLD {
            return self.put_slice(&bytes);
        }
        self.finish_segment();
        self.done_len += bytes.len();
        self.done.push(bytes);
    }

    /// BOOLEAN
    pub fn put_bool(&mut self, value: bool) {
        self.buf.put_u8(value.into());
    }

    /// INT8
    pub fn put_i8(&mut self, value: i8) {
        self.buf.put_i8(value);
    }

    /// INT16
    pub fn put_i16(&mut self, value: i16) {
        self.buf.put_i16(value);
    }

    /// INT32
    pub fn put_i32(&mut self, value: i32) {
        self.buf.put_i32(value);
    }

    /// INT64
    pub fn put_i64(&mut self, value: i64) {
        self.buf.put_i64(value);
    }

    /// UINT16
    pub fn put_u16(&mut self, value: u16) {
        self.buf.put_u16(value);
    }

    /// FLOAT64
    pub fn put_f64(&mut self, value: f64) {
        self.buf.put_f64(value);
    }

    /// UNSIGNED_VARINT
    pub fn put_uvarint(&mut self, value: u32) {
        self.put_uvarlong(value.into());
    }

    /// VARINT (zigzag)
    pub fn put_varint(&mut self, value: i32) {
        self.put_uvarint(zigzag32(value));
    }

    /// VARLONG (zigzag)
    pub fn put_varlong(&mut self, value: i64) {
        self.put_uvarlong(zigzag64(value));
    }

    fn put_uvarlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buf.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.put_u8(value as u8);
    }

    /// The length before a string; `None` is null.
    pub(crate) fn put_string_len(
        &mut self,
        len: Option<usize>,
        flexible: bool,
    ) -> Result<(), TooLong> {
        if len.is_some_and(|n| n > i16::MAX as usize) {
            return Err(TooLong);
        }
        match flexible {
            true => self.put_uvarint(len.map_or(0, |n| n as u32 + 1)),
            false => self.put_i16(len.map_or(-1, |n| n as i16)),
        }
        Ok(())
    }

    /// The length before a byte field or the count before an array; `None` is null.
    pub(crate) fn put_len(&mut self, len: Option<usize>, flexible: bool) -> Result<(), TooLong> {
        if len.is_some_and(|n| n > i32::MAX as usize) {
            return Err(TooLong);
        }
        match flexible {
            true => self.put_uvarint(len.map_or(0, |n| n as u32 + 1)),
            false => self.put_i32(len.map_or(-1, |n| n as i32)),
        }
        Ok(())
    }

    /// NULLABLE_STRING in the form with a two-byte length. Headers carry one.
    ///
    /// # Errors
    /// When it is longer than 32767 bytes.
    pub fn put_nullable_string(&mut self, value: Option<&[u8]>) -> Result<(), TooLong> {
        self.put_string_len(value.map(<[u8]>::len), false)?;
        self.put_slice(value.unwrap_or_default());
        Ok(())
    }
}

/// Folds the sign into the lowest bit, so that small negative numbers are short varints too.
#[inline]
pub const fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// Undoes [`zigzag32`].
#[inline]
pub const fn unzigzag32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// Folds the sign into the lowest bit, so that small negative numbers are short varints too.
#[inline]
pub const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag64`].
#[inline]
pub const fn unzigzag64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// An unsigned 32-bit varint at the start of `bytes`, and how many bytes it takes.
#[inline]
pub fn get_uvarint(bytes: &[u8]) -> Result<(u32, usize), DecodeError> {
    let mut value = 0u32;
    for (i, &byte) in bytes.iter().take(MAX_VARINT_LEN).enumerate() {
        // The fifth byte has room for four more bits only.
        if i == MAX_VARINT_LEN - 1 && byte > 0x0f {
            break;
        }
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(bad_varint(bytes, MAX_VARINT_LEN))
}

/// An unsigned 64-bit varint at the start of `bytes`, and how many bytes it takes.
#[inline]
pub fn get_uvarlong(bytes: &[u8]) -> Result<(u64, usize), DecodeError> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(MAX_VARLONG_LEN).enumerate() {
        // The tenth byte has room for one more bit only.
        if i == MAX_VARLONG_LEN - 1 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(bad_varint(bytes, MAX_VARLONG_LEN))
}

#[cold]
fn bad_varint(bytes: &[u8], max: usize) -> DecodeError {
    match bytes.len() < max {
        true => DecodeErrorKind::UnexpectedEnd.into(),
        false => DecodeErrorKind::VarintTooLong.into(),
    }
}
