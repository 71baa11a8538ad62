//! Who the batches say they come from (KIP-98), and when that has to change (KIP-360).

use super::{Accumulator, Place};
use crate::batch::{BatchId, Identity, Sealed};
use crate::partition::{Partition, Spent};

impl<C> Accumulator<C> {
    /// Batches that are not stamped yet leave under this identity from now on.
    pub fn set_identity(&mut self, identity: Identity) {
        self.terms.identity = Some(identity);
        self.spent = false;
        self.list_all();
    }

    /// Whether some partition can go on only under an identity that has yet to be set. In a transaction, which keeps the
    /// one it has, partitions go on without if they can.
    pub fn needs_identity(&self) -> bool {
        let Some(identity) = self.terms.identity.filter(|_| self.spent) else {
            return false;
        };
        let needs = match self.in_transaction() {
            true => Partition::is_stuck,
            false => Partition::is_spent_under,
        };
        let mut partitions = self.topics.iter().flat_map(|t| &t.partitions);
        partitions.any(|state| needs(state, identity))
    }

    /// Whether a batch in flight is younger than one that has failed under the same identity, and left a gap: the broker
    /// refuses it for that.
    pub(super) fn follows_gap(&self, id: BatchId) -> bool {
        self.sent.get(&id).is_some_and(|(place, batch)| {
            self.topics[place.topic].partitions[place.partition].has_gap_before(batch)
        })
    }

    /// The broker will never take a batch in flight under its stamp, nor any that follows it, and does not have it.
    pub(super) fn break_sequence(&mut self, id: BatchId) {
        if let Some((place, mut batch)) = self.sent.remove(&id) {
            batch.doubtful = false;
            batch.renewed |= self.spend(&place, &batch, Spent::ForGood { is_plain: true });
            self.sent.insert(id, (place, batch));
        }
    }

    /// A batch has failed, or cannot be written under its stamp.
    fn spend(&mut self, place: &Place, batch: &Sealed<C>, why: Spent) -> bool {
        let is_news = self.state(place).spend(batch.stamp, why);
        let identity = batch.stamp.map(|stamp| stamp.identity);
        self.spent |= is_news && identity == self.terms.identity;
        is_news
    }

    pub(super) fn spend_on_failure(&mut self, place: &Place, batch: &Sealed<C>) {
        let Some(stamp) = batch.stamp else {
            return;
        };
        let is_plain = batch.transaction.is_none();
        let why = match is_plain && !batch.doubtful {
            true => Spent::Gap {
                id: batch.id,
                stamp,
            },
            false => Spent::ForGood { is_plain },
        };
        self.spend(place, batch, why);
    }
}
