//! What has become of records, by partition, for whoever wants to know.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Accumulator, Place};
use crate::batch::Sealed;

/// What has been settled of a partition since [`Accumulator::count`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that a broker has taken.
    pub batches: u64,
    /// Records in them.
    pub messages: u64,
    /// Their bytes as they were sent, compressed where they were.
    pub bytes: u64,
    /// Of the largest.
    pub largest: u64,
    /// How often they had been sent again.
    pub retries: u64,
    /// Records that were given up.
    pub failed: u64,
}

/// How a partition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStats {
    /// Its topic's name.
    pub topic: Bytes,
    /// Its number.
    pub partition: usize,
    /// Records that wait to be sent.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Batches that wait for their answer.
    pub in_flight: usize,
    /// See [`Counts`].
    pub counts: Counts,
}

impl<C> Accumulator<C> {
    /// Counts from now on.
    pub fn count(&mut self) {
        self.counts.get_or_insert_default();
    }

    /// Every partition that has anything, or has had anything since [`count`](Self::count).
    pub fn stats(&self) -> Vec<PartitionStats> {
        let mut stats = Vec::new();
        for (topic, of) in self.topics.iter().enumerate() {
            for (partition, state) in of.partitions.iter().enumerate() {
                let (waiting, waiting_bytes) = state.waiting();
                let counts = self.counts_of(&Place { topic, partition });
                let stat = PartitionStats {
                    topic: of.name.clone(),
                    partition,
                    waiting,
                    waiting_bytes,
                    in_flight: state.in_flight.len(),
                    counts,
                };
                if waiting > 0 || stat.in_flight > 0 || counts != Counts::default() {
                    stats.push(stat);
                }
            }
        }
        stats
    }

    fn counts_of(&self, place: &Place) -> Counts {
        let counts = self.counts.as_ref().and_then(|counts| counts.get(place));
        counts.copied().unwrap_or_default()
    }

    /// Before its bytes are taken out.
    pub(super) fn count_delivered(&mut self, place: &Place, batch: &Sealed<C>) {
        let Some(counts) = self.counts_mut(place) else {
            return;
        };
        let bytes = batch.bytes.len() as u64;
        counts.batches += 1;
        counts.messages += batch.count as u64;
        counts.bytes += bytes;
        counts.largest = counts.largest.max(bytes);
        counts.retries += u64::from(batch.retries);
    }

    pub(super) fn count_failed(&mut self, place: &Place, batch: &Sealed<C>) {
        if let Some(counts) = self.counts_mut(place) {
            counts.failed += batch.count as u64;
        }
    }

    fn counts_mut(&mut self, place: &Place) -> Option<&mut Counts> {
        let counts: &mut HashMap<_, _> = self.counts.as_mut()?;
        Some(counts.entry(place.clone()).or_default())
    }
}
