//! Batches: open ones that take records, sealed ones that are ready for the wire, and what is stamped on them.

use std::time::Duration;

use kafka_wire::codec::{Compression, Compressor};
use kafka_wire::records::{
    AppendError, BatchBuilder, EncodedBatch, RecordBatches, SealOptions, MAX_DECOMPRESSED_LEN,
};

use crate::buffers::UsualSize;
use crate::record::NewRecord;

/// Names a sealed batch for as long as it is not settled. Ids grow in the order in which batches were sealed.
pub type BatchId = u64;

/// A value of at least this many bytes is not copied if it can be borrowed: below it the copy into memory that is warm
/// costs less than a piece of its own in the request.
pub const LEND_FROM: usize = 8 << 10;

/// The most callbacks that an open batch has room for before they come: 24 KiB of them.
const CALLBACKS_AT_ONCE: usize = 1 << 10;

/// How far apart the ids of batches lie: the halves of a batch that was split share the range of the whole.
pub(crate) const ID_SPAN: u64 = 1 << 20;

/// A producer id and its epoch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// What makes a batch recognisable to the broker, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who sends it.
    pub identity: Identity,
    /// The sequence number of its first record.
    pub base_sequence: i32,
    /// How many batches were stamped before it under the same identity. Parts of a batch share that of the whole.
    pub ordinal: u64,
}

/// The sequence number that many records later. After 2³¹ - 1 comes 0.
pub(crate) fn sequence_after(sequence: i32, records: usize) -> i32 {
    ((i64::from(sequence) + records as i64) & i64::from(i32::MAX)) as i32
}

/// Where records stand in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// When the first of them came.
    pub born: Duration,
    /// When the last of them came; none for those of a batch that takes what comes now.
    pub youngest: Option<Duration>,
    /// See [`crate::Accumulator::end_generation`]: that of the first of them.
    pub generation: u64,
}

impl Origin {
    /// That of some records and of others beside them.
    pub fn and(self, other: Origin) -> Origin {
        Origin {
            born: self.born.min(other.born),
            youngest: self.youngest.zip(other.youngest).map(|(a, b)| a.max(b)),
            generation: self.generation.min(other.generation),
        }
    }

    /// The last so much of the time before `now` is as if it had not been.
    pub fn forgive(&mut self, lost: Duration, now: Duration) {
        self.born = (self.born + lost).min(now);
        self.youngest = self.youngest.map(|then| (then + lost).min(now));
    }
}

/// A batch that still takes records.
pub(crate) struct Open<C> {
    pub builder: BatchBuilder,
    pub callbacks: Vec<Option<C>>,
    pub origin: Origin,
    /// See [`Sealed::acks`].
    pub acks: Option<i16>,
    /// It has lingered long enough, or is large enough.
    pub is_due: bool,
}

impl<C> Open<C> {
    pub fn new(
        origin: Origin,
        acks: Option<i16>,
        builder: BatchBuilder,
        callbacks: UsualSize,
    ) -> Self {
        Open {
            builder,
            callbacks: Vec::with_capacity(callbacks.up_to(CALLBACKS_AT_ONCE)),
            origin,
            acks,
            is_due: false,
        }
    }

    /// Takes a record, and keeps the callback at its index.
    #[inline]
    pub fn push<'a, H>(
        &mut self,
        record: NewRecord<'a, H>,
        callback: Option<C>,
    ) -> Result<(), AppendError>
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        let NewRecord {
            timestamp,
            key,
            value,
            headers,
            lend,
        } = record;
        let lent = match (value, lend) {
            (Some(value), Some(lend)) if value.len() >= LEND_FROM => {
                let again = self.builder.lent_again(value);
                again.or_else(lend)
            }
            _ => None,
        };
        let index = match lent {
            Some(value) => self.builder.append_lent(timestamp, key, value, headers)?,
            None => self.builder.append(timestamp, key, value, headers)?,
        };
        if let Some(callback) = callback {
            if self.callbacks.len() < index {
                self.callbacks.resize_with(index, || None);
            }
            self.callbacks.push(Some(callback));
        }
        Ok(())
    }

    /// Closes the batch. Gives the buffer that it was written in beside it, if that is not the batch's own.
    pub fn seal(
        mut self,
        id: BatchId,
        (compression, compressor): (Compression, &mut Compressor),
        transaction: Option<u64>,
        now: Duration,
    ) -> (Sealed<C>, Vec<u8>) {
        let count = self.builder.count();
        let options = SealOptions {
            compression,
            transactional: transaction.is_some(),
            ..SealOptions::default()
        };
        let bytes = self.builder.encode(options, compressor);
        let sealed = Sealed {
            id,
            span: ID_SPAN,
            bytes,
            count,
            callbacks: self.callbacks,
            origin: Origin {
                youngest: self.origin.youngest.or(Some(now)),
                ..self.origin
            },
            acks: self.acks,
            transaction,
            stamp: None,
            retries: 0,
            refusal: 0,
            doubtful: false,
            renewed: false,
        };
        (sealed, self.builder.into_buffer())
    }
}

/// A closed batch, encoded and ready for the wire.
#[derive(Debug)]
pub struct Sealed<C> {
    /// The batch's name.
    pub id: BatchId,
    /// How many ids, from its own on, are its to give to parts of it.
    pub(crate) span: u64,
    /// The encoded record batch.
    pub bytes: EncodedBatch,
    /// Records in it.
    pub count: usize,
    /// One entry a record up to the last record that has one; empty when no record has a callback.
    pub callbacks: Vec<Option<C>>,
    /// Where its records stand in time.
    pub(crate) origin: Origin,
    /// The acknowledgements that its records ask for, where these are not the client's.
    pub acks: Option<i16>,
    /// The transaction that it is part of.
    pub transaction: Option<u64>,
    /// Given when it leaves for the first time, and kept when it leaves again.
    pub stamp: Option<Stamp>,
    /// How often it was put back to be sent again.
    pub retries: u32,
    /// The error code that it was put back for last; 0 when there was no answer.
    pub refusal: i16,
    /// It was sent at least once in such a way that a broker may have it.
    pub doubtful: bool,
    /// Its partition took a new identity on its account.
    pub renewed: bool,
}

impl<C> Sealed<C> {
    /// See [`crate::Accumulator::end_generation`]: that of its first record.
    pub fn generation(&self) -> u64 {
        self.origin.generation
    }

    /// How long all of its records have waited.
    pub(crate) fn waited(&self, now: Duration) -> Duration {
        now.saturating_sub(self.origin.youngest.unwrap_or(now))
    }

    /// Writes identity and sequence into the bytes. Nobody else holds these yet, so no record is copied.
    pub(crate) fn stamp(&mut self, stamp: Stamp) {
        self.stamp = Some(stamp);
        let Identity { id, epoch } = stamp.identity;
        self.bytes.assign_producer(id, epoch, stamp.base_sequence);
    }

    /// Two batches with the first and the second half of the records, in this order, and the size of the larger one
    /// before compression. The sequence numbers stay with the records.
    ///
    /// # Errors
    /// The batch as it was, when it has a single record.
    pub(crate) fn split(
        mut self,
        compression: Compression,
        compressor: &mut Compressor,
    ) -> Result<([Sealed<C>; 2], usize), Box<Self>> {
        if self.count < 2 || self.span < 2 {
            return Err(Box::new(self));
        }
        let first_count = self.count / 2;
        let reencoded = self.reencode(first_count, compression, compressor);
        let Some(((first, second), size)) = reencoded else {
            return Err(Box::new(self));
        };
        let later = self
            .callbacks
            .split_off(first_count.min(self.callbacks.len()));
        let half = self.span / 2;
        let mut parts = [
            self.part(0, half, first_count, first, Vec::new()),
            self.part(half, half, self.count - first_count, second, later),
        ];
        parts[0].callbacks = self.callbacks;
        if let Some(stamp) = self.stamp {
            parts[0].stamp(stamp);
            parts[1].stamp(Stamp {
                base_sequence: sequence_after(stamp.base_sequence, first_count),
                ..stamp
            });
        }
        Ok((parts, size))
    }

    fn part(
        &self,
        id_offset: u64,
        span: u64,
        count: usize,
        bytes: EncodedBatch,
        callbacks: Vec<Option<C>>,
    ) -> Sealed<C> {
        Sealed {
            id: self.id + id_offset,
            span,
            bytes,
            count,
            callbacks,
            origin: self.origin,
            acks: self.acks,
            transaction: self.transaction,
            stamp: None,
            retries: self.retries,
            refusal: self.refusal,
            // No broker has ever taken what is too large for it.
            doubtful: false,
            renewed: self.renewed,
        }
    }

    fn reencode(
        &self,
        first_count: usize,
        compression: Compression,
        compressor: &mut Compressor,
    ) -> Option<((EncodedBatch, EncodedBatch), usize)> {
        let whole = self.bytes.clone().into_bytes();
        let batch = RecordBatches::new(whole).next()?.ok()?;
        let records = batch.records(MAX_DECOMPRESSED_LEN).ok()?;
        let mut halves = [BatchBuilder::new(), BatchBuilder::new()];
        for (index, record) in records.iter().enumerate() {
            let half = &mut halves[usize::from(index >= first_count)];
            let headers = record.headers();
            half.append(record.timestamp, record.key, record.value, headers)
                .ok()?;
        }
        let size = halves[0].len().max(halves[1].len());
        let options = SealOptions {
            compression,
            transactional: self.transaction.is_some(),
            ..SealOptions::default()
        };
        let [first, second] = &mut halves;
        let halves = (
            first.encode(options, compressor),
            second.encode(options, compressor),
        );
        Some((halves, size))
    }
}

#[cfg(test)]
mod tests {
    use super::sequence_after;

    #[test]
    fn sequence_numbers_go_round() {
        assert_eq!(sequence_after(7, 3), 10);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 2, 5), 2);
    }
}
