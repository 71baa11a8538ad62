//! Records of topics whose partitions are not known yet, in the order in which they came, whatever is said of their
//! partition. They cost no more than those in batches: they lie in the same form, in chunks, until
//! [`Accumulator::unpark`] gives each its partition.
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::codec::Compression;
use kafka_wire::records::Record;

use super::{Accumulator, GivenUp, Place};
use crate::batch::{BatchId, Open, Origin, Sealed, ID_SPAN};
use crate::buffers::UsualSize;
use crate::chunk::{
    chunk_builder, for_each_record, Answered, Chunk, Destination, Destinations, Parking, Question,
    CHUNK_SIZE,
};
use crate::record::{size_bound, Appended, NewRecord, Refused};

impl<C> Accumulator<C> {
    /// Keeps a record until its topic is known.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn park<'a, H>(
        &mut self,
        topic: usize,
        destination: Destination,
        record: NewRecord<'a, H>,
        callback: Option<C>,
    ) -> Result<(), Refused>
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        let size = size_bound(&record);
        self.check_room(size)?;
        let (transaction, acks) = (self.terms.part_of, self.acks);
        let (now, span) = ((self.settings.clock)(), self.span());
        let is_other = |parking: &Parking<C>| {
            parking.transaction != transaction
                || parking.open.acks != acks
                || now > parking.open.origin.born + span
        };
        if self.topics[topic].parking.as_ref().is_some_and(is_other) {
            self.close_chunk(topic);
        }
        let origin = Origin {
            born: now,
            youngest: Some(now),
            generation: self.generation,
        };
        let parking = self.topics[topic].parking.get_or_insert_with(|| Parking {
            open: Open::new(origin, acks, chunk_builder(), UsualSize::default()),
            transaction,
            destinations: Destinations::default(),
        });
        let index = parking.open.builder.count();
        let before = parking.open.builder.len();
        parking
            .open
            .push(record, callback)
            .map_err(|_| Refused::TooLarge(size))?;
        parking.open.origin.youngest = Some(now);
        parking.destinations.set(index, destination);
        let after = parking.open.builder.len();
        self.messages += 1;
        self.bytes += after - before;
        self.transactions.sealed(transaction, 1);
        if after >= CHUNK_SIZE {
            self.close_chunk(topic);
        }
        Ok(())
    }

    fn close_chunk(&mut self, topic: usize) {
        let Some(parking) = self.topics[topic].parking.take() else {
            return;
        };
        if !parking.open.builder.is_empty() {
            let now = (self.settings.clock)();
            let (batch, _) = parking.open.seal(
                self.next_id,
                (Compression::default(), &mut self.compressor),
                parking.transaction,
                now,
            );
            self.next_id += ID_SPAN;
            self.topics[topic].parked.push_back(Chunk {
                batch,
                destinations: parking.destinations,
            });
        }
    }

    /// Puts the parked records of a topic that is known by now into the batches of their partitions, in order, up to
    /// those that the caller is [`asked`](Self::asked) about, or until so many bytes have moved.
    pub fn unpark(&mut self, topic: usize, most: usize) -> Appended {
        let mut appended = Appended::default();
        if self.topics[topic].routed == 0 {
            return appended;
        }
        self.close_chunk(topic);
        let mut moved = 0;
        while moved < most {
            let Some(chunk) = self.take_chunk(topic, |chunk| !chunk.destinations.ask()) else {
                break;
            };
            moved += chunk.batch.bytes.len();
            appended.add(self.put_into_batches(topic, chunk, &[]).appended);
        }
        appended
    }

    /// Whether records of a topic that is known by now are still parked.
    pub fn must_unpark(&self, topic: usize) -> bool {
        self.topics[topic].routed > 0 && !self.topics[topic].is_direct()
    }

    /// The parked records that only the caller can tell the partition of, and behind which everything else waits.
    pub fn asked(&self, topic: usize) -> Option<Question> {
        let topic = &self.topics[topic];
        let chunk = topic
            .parked
            .front()
            .filter(|chunk| chunk.destinations.ask())?;
        if topic.routed == 0 {
            return None;
        }
        let mut keys = Vec::new();
        for_each_record(chunk.batch.bytes.clone(), |index, record| {
            if let Destination::Asked { is_text } = chunk.destinations.of(index) {
                keys.push((record.key.map(Bytes::copy_from_slice), is_text));
            }
        });
        Some(Question {
            id: chunk.batch.id,
            keys,
        })
    }

    /// Puts records that [`asked`](Self::asked) has named into the batches of the partitions that the caller gives, one
    /// for each, none for a record that gets none. Nothing when they are not there any more.
    pub fn unpark_answered(
        &mut self,
        topic: usize,
        id: BatchId,
        answers: &[Option<usize>],
    ) -> Option<Answered<C>> {
        let chunk = self.take_chunk(topic, |chunk| chunk.batch.id == id)?;
        Some(self.put_into_batches(topic, chunk, answers))
    }

    /// The oldest chunk, if it is so.
    fn take_chunk(
        &mut self,
        topic: usize,
        is_wanted: impl Fn(&Chunk<C>) -> bool,
    ) -> Option<Chunk<C>> {
        let parked = &mut self.topics[topic].parked;
        match parked.front() {
            Some(chunk) if is_wanted(chunk) => parked.pop_front(),
            _ => None,
        }
    }

    fn put_into_batches(
        &mut self,
        topic: usize,
        chunk: Chunk<C>,
        answers: &[Option<usize>],
    ) -> Answered<C> {
        let Chunk {
            batch,
            destinations,
        } = chunk;
        let before = (self.terms.part_of, self.acks);
        self.forget_chunk(&batch);
        self.change_transaction(batch.transaction);
        self.acks = batch.acks;
        self.unparking = Some(batch.origin);
        let mut done = Answered {
            appended: Appended::default(),
            refused: Vec::new(),
            is_transactional: batch.transaction.is_some()
                && batch.transaction == self.terms.transaction,
        };
        self.seal_older(topic, batch.origin.born, &mut done.appended);
        let mut callbacks = batch.callbacks.into_iter();
        let mut asked = 0;
        for_each_record(batch.bytes, |index, record| {
            let callback = callbacks.next().flatten();
            let partition = match destinations.of(index) {
                Destination::ByKey => {
                    Some(self.topics[topic].partition_for(record.key, self.settings.batch_size))
                }
                Destination::Partition(partition) => Some(partition as usize),
                Destination::Asked { .. } => {
                    asked += 1;
                    answers.get(asked - 1).copied().flatten()
                }
            };
            match partition {
                Some(partition) => {
                    let appended = self.put_record(topic, partition, record, callback);
                    done.appended.add(appended);
                }
                None => done.refused.push((asked - 1, callback)),
            }
        });
        self.unparking = None;
        self.seal_older(topic, (self.settings.clock)(), &mut done.appended);
        self.acks = before.1;
        self.change_transaction(before.0);
        done
    }

    /// Records that have waited for a while do not share their batches with those that came much later.
    fn seal_older(&mut self, topic: usize, than: Duration, appended: &mut Appended) {
        let span = self.span();
        for partition in 0..self.topics[topic].partitions.len() {
            let open = self.topics[topic].partitions[partition].open.as_ref();
            if open.is_some_and(|open| than > open.origin.born + span) {
                appended.due = true;
                self.seal(&Place { topic, partition });
            }
        }
    }

    fn put_record(
        &mut self,
        topic: usize,
        partition: usize,
        record: &Record<'_>,
        callback: Option<C>,
    ) -> Appended {
        let record = NewRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers(),
            lend: None,
        };
        let size = size_bound(&record);
        // It fitted a batch before.
        let appended = self.write(topic, partition, record, callback, size);
        appended.unwrap_or_default()
    }

    fn change_transaction(&mut self, transaction: Option<u64>) {
        if transaction != self.terms.part_of {
            self.seal_all();
            self.terms.part_of = transaction;
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
            let (out, kept) = parked
                .into_iter()
                .partition::<Vec<_>, _>(|chunk| unwanted(&chunk.batch));
            self.topics[topic].parked = kept.into();
            failed.extend(self.give_up_chunks(topic, out));
        }
        failed
    }

    fn give_up_chunks(&mut self, topic: usize, chunks: Vec<Chunk<C>>) -> Vec<GivenUp<C>> {
        let give_up = |Chunk { batch, .. }: Chunk<C>| {
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
