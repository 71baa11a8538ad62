//! What becomes of a batch in flight.

use std::time::Duration;

use kafka_wire::Codec;

use super::{Accumulator, Place};
use crate::batch::{BatchId, Sealed};

impl<C> Accumulator<C> {
    /// How many records a batch in flight has.
    pub fn records_in_flight(&self, id: BatchId) -> usize {
        self.sent.get(&id).map_or(0, |(_, batch)| batch.count)
    }

    /// Whether a batch in flight is older than all unsettled ones of its partition.
    pub(super) fn is_oldest(&self, id: BatchId) -> bool {
        self.sent.get(&id).is_some_and(|(place, _)| {
            self.topics[place.topic].partitions[place.partition].is_oldest(id)
        })
    }

    /// How long all records of a batch in flight have been here.
    pub(super) fn age(&self, batch: &Sealed<C>) -> Duration {
        batch.waited((self.settings.clock)())
    }

    /// The batch was never on its way: back to its place among those that wait.
    pub fn requeue(&mut self, id: BatchId) {
        if let Some((place, batch)) = self.sent.remove(&id) {
            self.state(&place).put_back(batch);
            self.list(&place);
        }
    }

    /// Replaces a batch in flight, which the broker found too large, by two of half its records each, and lets no
    /// later batch of the topic become as large. False when it has a single record.
    pub(super) fn split(&mut self, id: BatchId) -> bool {
        let Some((place, batch)) = self.sent.remove(&id) else {
            return false;
        };
        let before = batch.bytes.len();
        let split = batch.split(self.settings.compression, &mut self.compressor);
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
        self.count_delivered(&place, &batch);
        self.settled(&place, &batch);
        let bytes = std::mem::take(&mut batch.bytes);
        // Compressed bytes leave no room for another batch; where that one was built has been kept already.
        if self.codec() == Codec::None {
            self.buffers.give_back(bytes, self.bytes);
        }
        Some((place, batch))
    }

    /// Gives a batch in flight up: takes it out, its records are failed by the caller.
    pub(super) fn fail(&mut self, id: BatchId) -> Option<(Place, Sealed<C>)> {
        let (place, batch) = self.sent.remove(&id)?;
        self.spend_on_failure(&place, &batch);
        self.count_failed(&place, &batch);
        self.settled(&place, &batch);
        Some((place, batch))
    }
}
