//! Produce of one record at a time: the request that carries one batch for one partition and the answer
//! that acknowledges it, without the machinery that reads and writes any message.

use bytes::Bytes;

use super::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::message::{EncodeError, Message};
use crate::pieces::Pieces;
use crate::primitives::{get_uvarint, Writer};
use crate::records::SingleRecord;
use crate::ApiKey;

/// In the versions from this on an answer has all fields but those of [`ERRORS_FROM`]. Older ones carry no
/// batches of magic 2.
const FIRST_VERSION: i16 = 3;
/// The first version with the first offset that the partition still has.
const LOG_START_OFFSET_FROM: i16 = 5;
/// The first version that says which records are wrong (KIP-467).
const ERRORS_FROM: i16 = 8;
/// The first version that names topics by their ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// The length of an empty byte field and the tagged fields of the three levels behind it take as many bytes
/// as, in the older versions, the length alone.
const EMPTY_RECORDS: usize = 4;
/// No tagged fields on three levels.
const NO_TAGGED_FIELDS: [u8; 3] = [0; 3];

/// Requests for one partition outside of transactions, of which only the batches differ.
#[derive(Clone, Debug)]
pub struct SinglePartition {
    before_records: Bytes,
    is_flexible: bool,
}

impl SinglePartition {
    /// Requests at `version` under these `acks`, for which the broker may wait for `timeout_ms`.
    ///
    /// # Errors
    /// When the topic's name is too long.
    pub fn new(
        topic: Bytes,
        partition: i32,
        acks: i16,
        timeout_ms: i32,
        version: i16,
    ) -> Result<Self, EncodeError> {
        let data = PartitionProduceData {
            index: partition,
            records: Some(Pieces::default()),
        };
        let request = ProduceRequest {
            transactional_id: None,
            acks,
            timeout_ms,
            topic_data: vec![TopicProduceData {
                name: topic,
                partition_data: vec![data],
                ..Default::default()
            }],
        };
        let mut writer = Writer::new();
        request.encode(&mut writer, version)?;
        let mut before_records = writer.into_bytes();
        before_records.truncate(before_records.len().saturating_sub(EMPTY_RECORDS));
        Ok(SinglePartition {
            before_records,
            is_flexible: ApiKey::Produce.is_flexible(version),
        })
    }

    /// Appends the body of a request with one record.
    #[inline]
    pub fn put(&self, record: &SingleRecord<'_>, out: &mut Vec<u8>) {
        let batch_len = record.batch_len();
        out.extend_from_slice(&self.before_records);
        if self.is_flexible {
            let mut len = batch_len as u32 + 1;
            while len >= 0x80 {
                out.push(len as u8 | 0x80);
                len >>= 7;
            }
            out.push(len as u8);
            record.put_batch(out);
            out.extend_from_slice(&NO_TAGGED_FIELDS);
        } else {
            out.extend_from_slice(&(batch_len as u32).to_be_bytes());
            record.put_batch(out);
        }
    }
}

/// What an answer about one partition says when there is nothing special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleAnswer<'a> {
    /// The name of the topic.
    pub topic: &'a [u8],
    /// The number of the partition.
    pub partition: i32,
    /// 0, or what went wrong.
    pub error_code: i16,
    /// The offset of the batch's first record.
    pub base_offset: i64,
    /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
    pub throttle_time_ms: i32,
}

impl<'a> SingleAnswer<'a> {
    /// Reads an answer's body. `None` when it says more than this, or breaks off:
    /// [`ProduceResponse`](super::ProduceResponse) reads any.
    #[inline]
    pub fn read(body: &'a [u8], version: i16) -> Option<Self> {
        if !(FIRST_VERSION..TOPIC_IDS_FROM).contains(&version) {
            return None;
        }
        let is_flexible = ApiKey::Produce.is_flexible(version);
        let mut rest = Rest(body);
        rest.is_one(is_flexible)?;
        let topic_len = match is_flexible {
            true => rest.compact_len()?,
            false => usize::try_from(i16::from_be_bytes(rest.array()?)).ok()?,
        };
        let topic = rest.slice(topic_len)?;
        rest.is_one(is_flexible)?;
        let partition = i32::from_be_bytes(rest.array()?);
        let error_code = i16::from_be_bytes(rest.array()?);
        let base_offset = i64::from_be_bytes(rest.array()?);
        rest.slice(size_of::<i64>())?;
        if version >= LOG_START_OFFSET_FROM {
            rest.slice(size_of::<i64>())?;
        }
        if version >= ERRORS_FROM {
            let (no_errors, no_message): (&[u8], &[u8]) = match is_flexible {
                true => (&[1], &[0]),
                false => (&[0; 4], &[0xff; 2]),
            };
            rest.is(no_errors)?;
            rest.is(no_message)?;
        }
        // Of the partition and of the topic.
        let no_tagged_fields: &[u8] = if is_flexible { &[0; 2] } else { &[] };
        rest.is(no_tagged_fields)?;
        let throttle_time_ms = i32::from_be_bytes(rest.array()?);
        rest.is(if is_flexible { &[0] } else { &[] })?;
        rest.0.is_empty().then_some(SingleAnswer {
            topic,
            partition,
            error_code,
            base_offset,
            throttle_time_ms,
        })
    }
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline(always)]
    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(slice)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// Whether these bytes come next.
    #[inline(always)]
    fn is(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// Whether an array with one element comes next.
    #[inline(always)]
    fn is_one(&mut self, is_flexible: bool) -> Option<()> {
        self.is(if is_flexible { &[2] } else { &[0, 0, 0, 1] })
    }

    #[inline(always)]
    fn compact_len(&mut self) -> Option<usize> {
        let (len, used) = get_uvarint(self.0).ok()?;
        self.0 = &self.0[used..];
        (len as usize).checked_sub(1)
    }
}
