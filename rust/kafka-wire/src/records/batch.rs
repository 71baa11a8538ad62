//! Reading batches out of a Fetch answer.

use std::ops::Deref;

use bytes::Bytes;

use super::error::BatchError;
use super::header::{batch_span, BatchHeader};
use super::iter::{validate, Records};
use super::layout::*;
use super::message_set;
use crate::codec::{Codec, Decompressor};

/// The largest batch that is decompressed unless the caller says otherwise: far above what any broker accepts,
/// far below what hurts the machine.
pub const MAX_DECOMPRESSED_LEN: usize = 256 * 1024 * 1024;

/// The batches of one partition in a Fetch answer, in order.
///
/// Such an answer normally ends in a batch that was cut off at the size limit: that ends the iteration without
/// an error, and [`incomplete`](Self::incomplete) tells of it. After an error that leaves no way to find the
/// next batch, the iteration ends too.
#[derive(Debug)]
pub struct RecordBatches {
    rest: Bytes,
    takes_old: bool,
    incomplete: Option<usize>,
}

impl RecordBatches {
    /// Batches of magic 2 from the start of `bytes` on.
    pub fn new(bytes: Bytes) -> Self {
        RecordBatches {
            rest: bytes,
            takes_old: false,
            incomplete: None,
        }
    }

    /// The same of a log that may be old: messages of formats 0 and 1 are given as batches, too.
    pub fn of_log(bytes: Bytes) -> Self {
        RecordBatches {
            takes_old: true,
            ..RecordBatches::new(bytes)
        }
    }

    fn span(&self) -> Result<BatchHeader, BatchError> {
        match batch_span(&self.rest) {
            Err(BatchError::OldMagic { .. }) if self.takes_old => message_set::span(&self.rest),
            spanned => spanned,
        }
    }

    /// After the end: the full size in bytes of a last batch that was cut off. When no batch came before it,
    /// only a fetch of at least that many bytes can ever bring it.
    pub fn incomplete(&self) -> Option<usize> {
        self.incomplete
    }

    fn skip(&mut self, size: usize) -> Bytes {
        self.rest.split_to(size.min(self.rest.len()))
    }
}

impl Iterator for RecordBatches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.span() {
            Ok(header) => {
                let bytes = self.skip(header.size);
                Some(Ok(Batch { header, bytes }))
            }
            Err(BatchError::Incomplete { size }) => {
                self.incomplete = Some(size);
                self.rest.clear();
                None
            }
            Err(error) => {
                match error {
                    BatchError::OldMagic { size, .. } | BatchError::UnknownMagic { size, .. } => {
                        self.skip(size);
                    }
                    _ => self.rest.clear(),
                }
                Some(Err(error))
            }
        }
    }
}

/// One batch: its header, and its records still sealed. Dereferences to its [`BatchHeader`], which nothing
/// vouches for before [`records`](Self::records) or [`verify`](Self::verify) has succeeded.
#[derive(Debug, Clone)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Deref for Batch {
    type Target = BatchHeader;
    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

impl Batch {
    /// The whole batch as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is of a format before magic 2.
    fn is_old(&self) -> bool {
        i8::from_be_bytes([self.bytes[MAGIC]]) != MAGIC_V2
    }

    /// Whether it is a compressed set of messages of formats 0 and 1: only the records tell how many they are, and
    /// [where to go on](Records::next_offset).
    pub fn is_compressed_set(&self) -> bool {
        self.is_old() && self.header.codec_id() != 0
    }

    /// Checks the CRC.
    ///
    /// # Errors
    /// [`BatchError::CrcMismatch`]
    pub fn verify(&self) -> Result<(), BatchError> {
        if self.is_old() {
            return message_set::verify(&self.bytes);
        }
        let actual = crate::crc32c(&self.bytes[ATTRIBUTES..]);
        if actual != self.header.crc {
            return Err(BatchError::CrcMismatch {
                expected: self.header.crc,
                actual,
            });
        }
        Ok(())
    }

    /// The records: CRC verified, decompressed to at most `limit` bytes ([`MAX_DECOMPRESSED_LEN`] is a good
    /// one), and every one of them checked before the first is given out.
    ///
    /// # Errors
    /// When any of that fails. There is no such thing as part of a batch.
    pub fn records(&self, limit: usize) -> Result<Records, BatchError> {
        self.records_with(limit, &mut Decompressor::default())
    }

    /// The same with a decompressor that serves for many batches.
    ///
    /// # Errors
    /// The same.
    pub fn records_with(
        &self,
        limit: usize,
        decompressor: &mut Decompressor,
    ) -> Result<Records, BatchError> {
        if self.is_old() {
            return message_set::records(&self.header, &self.bytes, limit, decompressor);
        }
        self.verify()?;
        let codec = Codec::from_id(self.header.codec_id())
            .ok_or(BatchError::UnknownCodec(self.header.codec_id()))?;
        let sealed = self.bytes.slice(RECORDS..);
        let data = match codec {
            Codec::None => sealed,
            // Compaction leaves batches without records, and nothing to decompress in them.
            _ if sealed.is_empty() && self.header.record_count == 0 => sealed,
            _ => decompressor.decompress(codec, &sealed, limit)?,
        };
        validate(&data, self.header.record_count)?;
        Ok(Records::new(data, &self.header))
    }
}
