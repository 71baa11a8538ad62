//! The memory of batches: how much an open one takes at once, and buffers of settled ones that serve again.

use std::collections::VecDeque;

use bytes::Bytes;
use kafka_wire::records::{BatchBuilder, EncodedBatch};

/// Bytes kept for batches to come when nothing waits: a few rounds of the largest usual batches (1 MB) of several partitions.
/// While more waits, as much as that may be kept: a producer that is as far ahead of its brokers will need it again.
const MAX_KEPT: usize = 16 << 20;

/// How many buffers are kept, and looked through for one that suits: what a request has of a topic with many partitions.
const MAX_SPARE: usize = 256;

/// How much larger than wanted a buffer may be.
const MAX_EXCESS: usize = 4;

/// How large a partition's batches get before they are sealed: their bytes, or how many callbacks they have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UsualSize(usize);

impl UsualSize {
    /// Follows larger batches at once and smaller ones slowly: with the latter a buffer is only partly used, with the
    /// former it must grow.
    pub fn learn(&mut self, size: usize) {
        self.0 = size.max(self.0 - self.0 / 8);
    }

    /// So much, or the most that may be had at once.
    pub fn up_to(self, most: usize) -> usize {
        self.0.min(most)
    }
}

/// Buffers of batches that are settled. What the system gives anew costs a page fault for every 4 KiB.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// An empty batch of at most `batch_size` bytes, unless a single record takes more.
    pub fn builder(&mut self, usual: UsualSize, batch_size: usize) -> BatchBuilder {
        let wanted = usual.up_to(batch_size);
        let builder = match self.take(wanted) {
            Some(buffer) => BatchBuilder::in_buffer(buffer),
            None => BatchBuilder::with_capacity(wanted),
        };
        builder.up_to(batch_size)
    }

    fn take(&mut self, wanted: usize) -> Option<Vec<u8>> {
        let suits = wanted..=wanted.saturating_mul(MAX_EXCESS);
        let index = self
            .spare
            .iter()
            .rposition(|buffer| suits.contains(&buffer.capacity()))?;
        let buffer = self.spare.remove(index)?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Keeps the memory of a batch, unless somebody still holds it; `waiting` is how many bytes of others wait.
    pub fn give_back(&mut self, batch: EncodedBatch, waiting: usize) {
        if let Some(bytes) = batch.into_memory().filter(Bytes::is_unique) {
            self.keep(Vec::from(bytes), waiting);
        }
    }

    /// Keeps a buffer, rather than older ones.
    pub fn keep(&mut self, buffer: Vec<u8>, waiting: usize) {
        if buffer.capacity() == 0 {
            return;
        }
        self.bytes += buffer.capacity();
        self.spare.push_back(buffer);
        while self.bytes > waiting.max(MAX_KEPT) || self.spare.len() > MAX_SPARE {
            let oldest = self.spare.pop_front();
            self.bytes -= oldest.map_or(0, |buffer| buffer.capacity());
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_wire::codec::Compressor;
    use kafka_wire::records::{SealOptions, NO_HEADERS};

    use super::*;

    fn usual(size: usize) -> UsualSize {
        let mut usual = UsualSize::default();
        usual.learn(size);
        usual
    }

    fn batch_of(value: usize) -> EncodedBatch {
        let mut builder = BatchBuilder::with_capacity(1000);
        let value = vec![1; value];
        let appended = builder.append(1, None, Some(&value), NO_HEADERS);
        appended.expect("small enough");
        builder.encode(SealOptions::default(), &mut Compressor::default())
    }

    fn held(buffers: &Buffers) -> usize {
        buffers.spare.iter().map(Vec::capacity).sum()
    }

    fn first(batch: &mut EncodedBatch) -> Bytes {
        batch.pieces().iter().next().expect("a piece").clone()
    }

    #[test]
    fn a_settled_batch_lends_its_memory_to_the_next() {
        let mut buffers = Buffers::default();
        let mut batch = batch_of(900);
        let at = first(&mut batch).as_ptr();
        buffers.give_back(batch, 0);
        let next = buffers.builder(usual(900), 1000).into_buffer();
        assert_eq!(next.as_ptr(), at);
        assert_eq!(buffers.bytes, 0);
    }

    #[test]
    fn memory_that_somebody_reads_is_left_alone() {
        let mut buffers = Buffers::default();
        let mut batch = batch_of(900);
        let read = first(&mut batch);
        buffers.give_back(batch, 0);
        assert_eq!(buffers.bytes, 0);
        assert_eq!(
            read[read.len() - 801..],
            [[1; 800].as_slice(), &[0]].concat()
        );
    }

    #[test]
    fn small_batches_do_not_hold_large_buffers() {
        let mut buffers = Buffers::default();
        buffers.keep(Vec::with_capacity(1 << 20), 0);
        assert!(buffers.take(1 << 10).is_none());
        assert!(buffers.take((1 << 20) + 1).is_none());
        assert!(buffers.take(1 << 18).is_some());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut buffers = Buffers::default();
        for _ in 0..3 * MAX_SPARE {
            buffers.keep(Vec::with_capacity(1 << 10), 0);
        }
        assert_eq!(buffers.spare.len(), MAX_SPARE);
        for _ in 0..20 {
            buffers.keep(Vec::with_capacity(1 << 20), 0);
        }
        assert_eq!(buffers.bytes, held(&buffers));
        assert!(held(&buffers) <= MAX_KEPT);
    }

    #[test]
    fn as_much_as_waits_is_kept_until_it_waits_no_more() {
        let mut buffers = Buffers::default();
        for _ in 0..40 {
            buffers.keep(Vec::with_capacity(1 << 20), 30 << 20);
        }
        assert_eq!(held(&buffers), 30 << 20);
        buffers.keep(Vec::with_capacity(1 << 20), 0);
        assert_eq!(held(&buffers), MAX_KEPT);
        assert_eq!(buffers.bytes, MAX_KEPT);
    }

    #[test]
    fn a_larger_batch_counts_at_once_a_smaller_one_slowly() {
        let mut usual = usual(1000);
        usual.learn(100);
        assert_eq!(usual.0, 875);
        usual.learn(2000);
        assert_eq!(usual.0, 2000);
    }
}
