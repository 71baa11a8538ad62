//! What becomes of a batch in flight.

use std::time::Duration;

use kafka_wire::Codec;

use super::{Accumulator, Place};
use crate::batch::{BatchId, Sealed};

impl<C> Accumulator<C> {
    /// A batch in flight: where it belongs and what is known of it.
    pub fn sent_batch(&self, id: BatchId) -> Option<(&Place, &Sealed<C>)> {
        self.sent.get(&id).map(|(place, batch)| (place, batch))
    }

    /// Whether a batch in flight is older than all unsettled ones of its partition.
    pub fn is_oldest(&self, id: BatchId) -> bool {
        self.sent.get(&id).is_some_and(|(place, _)| {
            self.topics[place.topic].partitions[place.partition].is_oldest(id)
        })
    }

    /// How long all records of a batch in flight have been here.
    pub fn age(&self, batch: &Sealed<C>) -> Duration {
        batch.waited((self.settings.clock)())
    }

    /// What became of a batch in flight is not known: its broker may have it.
    pub fn doubt(&mut self, id: BatchId) {
        if let Some((_, batch)) = self.sent.get_mut(&id) {
            batch.doubtful = true;
        }
    }

    /// The broker does not have a batch in flight, whatever became of earlier tries: it knows what it has.
    pub fn dispel_doubt(&mut self, id: BatchId) {
        if let Some((_, batch)) = self.sent.get_mut(&id) {
            batch.doubtful = false;
        }
    }

    /// The error code with which a batch in flight was refused, for the error of one that is given up later.
    pub fn refused(&mut self, id: BatchId, code: i16) {
        if let Some((_, batch)) = self.sent.get_mut(&id) {
            batch.refusal = code;
        }
    }

    /// The batch was never on its way: back to its place among those that wait.
    pub fn requeue(&mut self, id: BatchId) {
        if let Some((place, batch)) = self.sent.remove(&id) {
            self.state(&place).put_back(batch);
            self.list(&place);
        }
    }

    /// Puts a batch in flight back to be sent again; nothing of its partition leaves until [`resume`](Self::resume),
    /// nor does a younger batch pass it then. False when it must not be sent again: it was settled meanwhile, or its
    /// transaction is over.
    pub fn hold(&mut self, id: BatchId) -> bool {
        let transaction = self.terms.transaction;
        let is_over =
            |batch: &Sealed<C>| batch.transaction.is_some() && batch.transaction != transaction;
        match self.sent.get(&id) {
            Some((_, batch)) if !is_over(batch) => {}
            _ => return false,
        }
        if let Some((place, mut batch)) = self.sent.remove(&id) {
            batch.retries += 1;
            let state = self.state(&place);
            state.put_back(batch);
            state.paused = true;
            state.in_turn = true;
        }
        true
    }

    /// The partition's batches may leave again.
    pub fn resume(&mut self, topic: &[u8], partition: usize) {
        let Some(&topic) = self.by_name.get(topic) else {
            return;
        };
        if let Some(state) = self.topics[topic].partitions.get_mut(partition) {
            state.paused = false;
            self.list(&Place { topic, partition });
        }
    }

    /// Replaces a batch in flight, which the broker found too large, by two of half its records each, and lets no
    /// later batch of the topic become as large. False when it has a single record.
    pub fn split(&mut self, id: BatchId) -> bool {
        let Some((place, batch)) = self.sent.remove(&id) else {
            return false;
        };
        let before = batch.bytes.len();
        let split = batch.split(self.settings.codec);
        let topic = &mut self.topics[place.topic];
        let state = &mut topic.partitions[place.partition];
        let is_split = split.is_ok();
        match split {
            Ok((parts, size)) => {
                topic.batch_limit = topic.batch_limit.min(size);
                for part in parts {
                    self.bytes += part.bytes.len();
                    state.put_back(part);
                }
                self.bytes -= before;
                state.leave_flight(id);
                state.in_turn = true;
            }
            Err(batch) => {
                self.sent.insert(id, (place.clone(), *batch));
            }
        }
        self.list(&place);
        is_split
    }

    /// A broker has the batch: takes it out, its records are delivered by the caller. Its bytes are not there any more.
    pub fn acknowledge(&mut self, id: BatchId) -> Option<(Place, Sealed<C>)> {
        let (place, mut batch) = self.sent.remove(&id)?;
        self.state(&place).acknowledged(batch.stamp);
        self.settled(&place, &batch);
        let bytes = std::mem::take(&mut batch.bytes);
        // Compressed bytes leave no room for another batch; where that one was built has been kept already.
        if self.settings.codec == Codec::None {
            self.buffers.give_back(bytes);
        }
        Some((place, batch))
    }

    /// Gives a batch in flight up: takes it out, its records are failed by the caller.
    pub fn fail(&mut self, id: BatchId) -> Option<(Place, Sealed<C>)> {
        let (place, batch) = self.sent.remove(&id)?;
        self.spend_on_failure(&place, &batch);
        self.settled(&place, &batch);
        Some((place, batch))
    }
}
