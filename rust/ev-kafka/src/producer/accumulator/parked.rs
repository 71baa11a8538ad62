//! Records of topics whose partitions are not known yet. They cost no more than those in batches: they lie in the same
//! form, in chunks, until [`Accumulator::unpark`] gives each its partition.

use kafka_wire::records::{BatchBuilder, RecordBatches, MAX_DECOMPRESSED_LEN};
use kafka_wire::Codec;

use super::batch::{Open, Sealed, ID_SPAN};
use super::{size_bound, Accumulator, Appended, GivenUp, NewRecord, Refused};

/// Size in bytes at which a chunk is closed: what its records take twice while they get their partitions.
const CHUNK_SIZE: usize = 1 << 18;

/// Doubles its buffer as long as there are few records, and has about the size of a chunk then.
fn chunk_builder() -> BatchBuilder {
    BatchBuilder::new().up_to(CHUNK_SIZE + CHUNK_SIZE / 64)
}

impl<C> Accumulator<C> {
    /// Keeps a record until its topic is known.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn park<'a, H>(
        &mut self,
        topic: usize,
        record: NewRecord<'a, H>,
        callback: Option<C>,
    ) -> Result<(), Refused>
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        self.check_room(size_bound(&record))?;
        // Records of one chunk belong to one transaction.
        let is_other = |open: &(Open<C>, Option<u64>)| open.1 != self.terms.transaction;
        if self.topics[topic].parking.as_ref().is_some_and(is_other) {
            self.close_chunk(topic);
        }
        let born = (self.settings.clock)();
        let transaction = self.terms.transaction;
        let (open, _) = self.topics[topic]
            .parking
            .get_or_insert_with(|| (Open::new(born, chunk_builder()), transaction));
        let before = open.builder.len();
        open.push(record, callback).map_err(Refused::TooLarge)?;
        let after = open.builder.len();
        self.messages += 1;
        self.bytes += after - before;
        self.transactions.sealed(transaction, 1);
        if after >= CHUNK_SIZE {
            self.close_chunk(topic);
        }
        Ok(())
    }

    fn close_chunk(&mut self, topic: usize) {
        let Some((open, transaction)) = self.topics[topic].parking.take() else {
            return;
        };
        if !open.builder.is_empty() {
            let (chunk, _) = open.seal(self.next_id, Codec::None, transaction);
            self.next_id += ID_SPAN;
            self.topics[topic].parked.push_back(chunk);
        }
    }

    /// Puts the parked records of a topic that is known by now into the batches of their partitions, in order.
    pub fn unpark(&mut self, topic: usize) -> Appended {
        let mut appended = Appended::default();
        if self.topics[topic].routed == 0 {
            return appended;
        }
        self.close_chunk(topic);
        let transaction = self.terms.transaction;
        while let Some(chunk) = self.topics[topic].parked.pop_front() {
            self.forget_chunk(&chunk);
            self.change_transaction(chunk.transaction);
            let now = self.put_into_batches(topic, chunk);
            appended.first |= now.first;
            appended.sealed |= now.sealed;
        }
        self.change_transaction(transaction);
        appended
    }

    fn put_into_batches(&mut self, topic: usize, chunk: Sealed<C>) -> Appended {
        let mut appended = Appended::default();
        let mut callbacks = chunk.callbacks.into_iter();
        let batch = RecordBatches::new(chunk.bytes).next();
        let records = batch
            .and_then(Result::ok)
            .and_then(|batch| batch.records(MAX_DECOMPRESSED_LEN).ok());
        for record in records.iter().flat_map(|records| records.iter()) {
            let partition = self.topics[topic].partition_for(record.key);
            let record = NewRecord {
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers(),
            };
            let size = size_bound(&record);
            let callback = callbacks.next().flatten();
            // It fitted a batch before.
            if let Ok(now) = self.write(topic, partition, record, callback, size) {
                appended.first |= now.first;
                appended.sealed |= now.sealed;
            }
            if let Some(open) = &mut self.topics[topic].partitions[partition].open {
                open.born = open.born.min(chunk.born);
            }
        }
        appended
    }

    pub(super) fn change_transaction(&mut self, transaction: Option<u64>) {
        if transaction != self.terms.transaction {
            self.seal_all();
            self.terms.transaction = transaction;
        }
    }

    fn forget_chunk(&mut self, chunk: &Sealed<C>) {
        self.messages -= chunk.count;
        self.bytes -= chunk.bytes.len();
        self.transactions.settled(chunk.transaction, chunk.count);
    }

    /// Gives up the parked records of a topic: they are failed by the caller.
    pub fn fail_parked(&mut self, topic: usize) -> Vec<GivenUp<C>> {
        self.close_chunk(topic);
        let chunks: Vec<_> = self.topics[topic].parked.drain(..).collect();
        self.give_up_chunks(topic, chunks)
    }

    pub(super) fn fail_parked_if(
        &mut self,
        unwanted: impl Fn(&Sealed<C>) -> bool,
    ) -> Vec<GivenUp<C>> {
        let mut failed = Vec::new();
        for topic in 0..self.topics.len() {
            self.close_chunk(topic);
            let parked = std::mem::take(&mut self.topics[topic].parked);
            let (out, kept) = parked.into_iter().partition::<Vec<_>, _>(&unwanted);
            self.topics[topic].parked = kept.into();
            failed.extend(self.give_up_chunks(topic, out));
        }
        failed
    }

    fn give_up_chunks(&mut self, topic: usize, chunks: Vec<Sealed<C>>) -> Vec<GivenUp<C>> {
        let give_up = |batch: Sealed<C>| {
            self.forget_chunk(&batch);
            GivenUp {
                topic,
                partition: None,
                batch,
            }
        };
        chunks.into_iter().map(give_up).collect()
    }
}
