//! Message formats 0 and 1 (Kafka 0.10 and older), which lie in the logs of newer brokers as long as nobody has
//! written them anew. They are read only: as if they were batches of magic 2.
//!
//! A message stands alone, or its value is a compressed set of messages. In format 1 the offsets in there count from
//! the first one, and the outer offset is that of the last.

use bytes::{BufMut, Bytes};

use super::builder::{nullable_len, varint_len, Out};
use super::error::BatchError;
use super::header::{batch_span, BatchHeader};
use super::iter::Records;
use super::layout::{CODEC_MASK, LOG_APPEND_TIME, MAGIC};
use super::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE};
use crate::codec::{mend_lz4_header, Codec, DecompressError, Decompressor};
use crate::primitives::zigzag64;

/// The CRC-32 of what follows it. Offset, length and magic lie where those of a batch do.
const CRC: usize = 12;
const ATTRIBUTES: usize = 17;
/// Where format 0 has its key; format 1 has the timestamp before it.
const FIELDS: usize = 18;

/// Format 0 has no timestamps.
const NO_TIMESTAMP: i64 = -1;
/// What an epoch is before there were any.
const NO_EPOCH: i32 = -1;

/// Sets may lie in sets, but nobody has ever written more than one within the other.
const MAX_DEPTH: usize = 3;

/// One message, still to be believed.
struct Message<'a> {
    bytes: &'a [u8],
    offset: i64,
    magic: i8,
    attributes: i16,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// The message at the start of `bytes`.
    fn first(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let (magic, size) = match batch_span(bytes) {
            Err(BatchError::OldMagic { magic, size }) => (magic, size),
            Err(error) => return Err(error),
            Ok(_) => return Err(invalid("of another format than its set")),
        };
        let bytes = bytes.get(..size).ok_or(BatchError::Incomplete { size })?;
        let parsed = Message::parse(bytes, magic);
        parsed.ok_or_else(|| invalid("not as long as its fields"))
    }

    fn parse(bytes: &'a [u8], magic: i8) -> Option<Self> {
        let attributes = i16::from(*bytes.get(ATTRIBUTES)?);
        let mut fields = bytes.get(FIELDS..)?;
        let mut timestamp = NO_TIMESTAMP;
        if magic > 0 {
            let (time, rest) = fields.split_first_chunk()?;
            (timestamp, fields) = (i64::from_be_bytes(*time), rest);
        }
        let key = nullable(&mut fields)?;
        let value = nullable(&mut fields)?;
        fields.is_empty().then_some(Message {
            bytes,
            offset: i64::from_be_bytes(*bytes.first_chunk()?),
            magic,
            attributes,
            timestamp,
            key,
            value,
        })
    }

    fn codec_id(&self) -> i16 {
        self.attributes & CODEC_MASK
    }

    fn crc(&self) -> u32 {
        let crc = self.bytes[CRC..].first_chunk().copied();
        u32::from_be_bytes(crc.unwrap_or_default())
    }

    fn verify(&self) -> Result<(), BatchError> {
        let (expected, actual) = (self.crc(), libdeflater::crc32(&self.bytes[MAGIC..]));
        match expected == actual {
            true => Ok(()),
            false => Err(BatchError::CrcMismatch { expected, actual }),
        }
    }

    /// The set that is its value.
    fn decompress(
        &self,
        limit: usize,
        decompressor: &mut Decompressor,
    ) -> Result<Bytes, BatchError> {
        let codec = match Codec::from_id(self.codec_id()) {
            Some(codec) if codec != Codec::Zstd => codec,
            _ => return Err(BatchError::UnknownCodec(self.codec_id())),
        };
        let sealed = self
            .value
            .ok_or_else(|| invalid("a compressed set is null"))?;
        let mended;
        let sealed = match (codec, self.magic) {
            (Codec::Lz4, 0) => {
                mended = mend_lz4_header(sealed);
                &mended
            }
            _ => sealed,
        };
        Ok(decompressor.decompress(codec, sealed, limit)?)
    }
}

/// Takes a field with its length off the front; -1 is null.
fn nullable<'a>(fields: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (len, rest) = fields.split_first_chunk()?;
    let (value, rest) = match i32::from_be_bytes(*len) {
        -1 => (None, rest),
        len => {
            let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            (Some(value), rest)
        }
    };
    *fields = rest;
    Some(value)
}

fn invalid(reason: &'static str) -> BatchError {
    BatchError::InvalidRecord { index: 0, reason }
}

/// The messages of a set one after the other, each checked.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = Message::first(self.0).and_then(|message| {
            message.verify()?;
            Ok(message)
        });
        self.0 = match &message {
            Ok(message) => &self.0[message.bytes.len()..],
            Err(_) => &[],
        };
        Some(message)
    }
}

/// What is read as one batch at the start of `bytes`: a compressed set, or sound messages in a row.
///
/// # Errors
/// [`BatchError::Incomplete`] when not all of the first message is there, and what leaves nothing to go on with.
pub(super) fn span(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let first = Message::first(bytes)?;
    let mut header = BatchHeader {
        base_offset: first.offset,
        size: first.bytes.len(),
        partition_leader_epoch: NO_EPOCH,
        crc: first.crc(),
        attributes: first.codec_id(),
        last_offset_delta: 0,
        base_timestamp: first.timestamp,
        max_timestamp: first.timestamp,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        base_sequence: NO_SEQUENCE,
        record_count: 1,
    };
    if first.codec_id() != 0 || first.verify().is_err() {
        return Ok(header);
    }
    for message in Messages(&bytes[header.size..]) {
        let Ok(message) = message else { break };
        let delta = i32::try_from(message.offset.wrapping_sub(first.offset));
        let Ok(delta) = delta else { break };
        if message.codec_id() != 0 || delta <= header.last_offset_delta {
            break;
        }
        header.size += message.bytes.len();
        header.last_offset_delta = delta;
        header.max_timestamp = header.max_timestamp.max(message.timestamp);
        header.record_count += 1;
    }
    Ok(header)
}

/// Checks the CRC of every message that is not in a compressed set.
pub(super) fn verify(bytes: &[u8]) -> Result<(), BatchError> {
    Messages(bytes).try_for_each(|message| message.map(|_| ()))
}

/// The records of what [`span`] has found, of which all compressed sets together become at most `limit` bytes.
pub(super) fn records(
    spanned: &BatchHeader,
    bytes: &[u8],
    limit: usize,
    decompressor: &mut Decompressor,
) -> Result<Records, BatchError> {
    let mut rewriter = Rewriter {
        decompressor,
        limit,
        left: limit,
        data: Vec::new(),
        count: 0,
        first: (0, 0),
        last_offset: 0,
    };
    for message in Messages(bytes) {
        rewriter.message(&message?, None, None, 0)?;
    }
    let (base_offset, base_timestamp) = rewriter.first;
    let header = BatchHeader {
        base_offset,
        base_timestamp,
        // As large as the distance of two records that were written with it.
        last_offset_delta: rewriter.last_offset.wrapping_sub(base_offset) as i32,
        record_count: rewriter.count,
        ..*spanned
    };
    // Compaction may leave less in a set than its offset says.
    let next_offset = header.next_offset().max(spanned.next_offset());
    Ok(Records::new(rewriter.data.into(), &header).ending_before(next_offset))
}

/// Writes messages as records of a batch.
struct Rewriter<'a> {
    decompressor: &'a mut Decompressor,
    limit: usize,
    /// How many bytes sets may still become.
    left: usize,
    data: Vec<u8>,
    count: i32,
    /// Offset and timestamp that those of all records count from.
    first: (i64, i64),
    last_offset: i64,
}

impl Rewriter<'_> {
    /// A message, or all that are in it, so many sets deep; with the offset and the timestamp that the sets around it say
    /// it has.
    fn message(
        &mut self,
        message: &Message<'_>,
        offset: Option<i64>,
        timestamp: Option<i64>,
        depth: usize,
    ) -> Result<(), BatchError> {
        let offset = offset.unwrap_or(message.offset);
        if message.codec_id() == 0 {
            let timestamp = timestamp.unwrap_or(message.timestamp);
            return self.record(offset, timestamp, message.key, message.value);
        }
        if depth == MAX_DEPTH {
            return Err(invalid("sets in sets in sets"));
        }
        let set = self.decompress(message)?;
        // Only a walk to its end tells where a set of format 1 begins.
        let last = last_offset(&set, message.magic)?;
        let base = match (message.magic, offset) {
            (0, _) => None,
            // Some clients left it at that, and brokers too old to know format 1 as well.
            (_, 0) => Some(0),
            _ => Some(offset.wrapping_sub(last)),
        };
        // Then the broker has given all of them its own time.
        let is_append_time = message.magic > 0 && message.attributes & LOG_APPEND_TIME != 0;
        let timestamp = timestamp.or(is_append_time.then_some(message.timestamp));
        for inner in Messages(&set) {
            let inner = inner?;
            let offset = base.map(|base| base.wrapping_add(inner.offset));
            self.message(&inner, offset, timestamp, depth + 1)?;
        }
        Ok(())
    }

    fn decompress(&mut self, message: &Message<'_>) -> Result<Bytes, BatchError> {
        let set =
            message
                .decompress(self.left, self.decompressor)
                .map_err(|error| match error {
                    BatchError::Decompress(DecompressError::TooLarge(_)) => {
                        DecompressError::TooLarge(self.limit).into()
                    }
                    error => error,
                })?;
        self.left -= set.len();
        Ok(set)
    }

    fn record(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), BatchError> {
        let index = self.count as usize;
        if index == 0 {
            self.first = (offset, timestamp);
        } else if offset <= self.last_offset {
            return Err(BatchError::InvalidRecord {
                index,
                reason: "offsets do not ascend",
            });
        }
        let delta = i32::try_from(offset.wrapping_sub(self.first.0)).map_err(|_| {
            BatchError::InvalidRecord {
                index,
                reason: "an offset too far from the first",
            }
        })?;
        self.last_offset = offset;
        self.count += 1;
        let timestamp_delta = zigzag64(timestamp.wrapping_sub(self.first.1));
        let offset_delta = zigzag64(delta.into());
        let fields = [key, value].map(|field| (nullable_len(field), field.unwrap_or_default()));
        let body_len = 2
            + varint_len(timestamp_delta)
            + varint_len(offset_delta)
            + fields
                .map(|(len, field)| varint_len(len) + field.len())
                .iter()
                .sum::<usize>();
        let len = zigzag64(body_len as i64);
        let start = self.data.len();
        self.data.put_bytes(0, varint_len(len) + body_len);
        let mut out = Out {
            buf: &mut self.data[start..],
            at: 0,
        };
        out.varint(len);
        // No attributes.
        out.at += 1;
        out.varint(timestamp_delta);
        out.varint(offset_delta);
        for (len, field) in fields {
            out.varint(len);
            out.slice(field);
        }
        // And no headers: what is left is zero.
        Ok(())
    }
}

/// The offset of a set's last message, whose format is that of the message around it.
fn last_offset(set: &[u8], magic: i8) -> Result<i64, BatchError> {
    let (mut rest, mut last) = (set, None);
    while !rest.is_empty() {
        let message = Message::first(rest)?;
        if message.magic != magic {
            return Err(invalid("of another format than its set"));
        }
        rest = &rest[message.bytes.len()..];
        last = Some(message.offset);
    }
    last.ok_or_else(|| invalid("an empty set"))
}
