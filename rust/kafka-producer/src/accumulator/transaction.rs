//! What transactions add to the accumulator (KIP-98): which batches are part of one, and which partitions its
//! coordinator knows of.
use super::{Accumulator, GivenUp, Place};
use crate::batch::{Sealed, ID_SPAN};

impl<C> Accumulator<C> {
    /// Records appended from now on are part of a new transaction, with those that were kept for it.
    pub fn begin_transaction(&mut self) {
        self.end_transaction();
        self.terms.transaction = Some(self.transactions.begin());
        self.terms.part_of = self.terms.transaction;
        let next_id = &mut self.next_id;
        for state in self.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
            state.begin(|| {
                *next_id += ID_SPAN;
                *next_id - ID_SPAN
            });
        }
        // In a transaction a partition can pass a gap.
        self.list_all();
    }

    /// The open transaction is about to end without what it has not sent: a batch that fails is not sent again.
    pub fn abort_transaction(&mut self) {
        self.is_aborting = true;
    }

    /// Records appended from now on wait for the transaction after the one that is open.
    pub fn keep_for_next_transaction(&mut self) {
        self.seal_all();
        self.terms.part_of = Some(self.transactions.begun() + 1);
    }

    /// Records appended from now on are part of no transaction.
    pub fn leave_transaction(&mut self) {
        self.seal_all();
        self.terms.part_of = None;
    }

    /// Batches of the transaction that was open never leave after this, nor is anything part of it any more.
    pub fn end_transaction(&mut self) {
        self.seal_all();
        if self.terms.part_of == self.terms.transaction {
            self.terms.part_of = None;
        }
        self.terms.transaction = None;
        self.is_aborting = false;
        for state in self.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
            state.registered = false;
        }
        self.list_all();
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.terms.transaction.is_some()
    }

    /// Whether the batch is part of a transaction that is over.
    pub fn is_past(&self, batch: &Sealed<C>) -> bool {
        batch.transaction.is_some()
            && batch.transaction != self.terms.transaction
            && !self.is_later(batch)
    }

    /// Whether the batch is part of a transaction that has not begun.
    pub fn is_later(&self, batch: &Sealed<C>) -> bool {
        self.transactions.is_later(batch.transaction)
    }

    /// Whether a transaction, open or over, answers for the batch.
    pub fn is_transactional(&self, batch: &Sealed<C>) -> bool {
        batch.transaction.is_some() && !self.is_later(batch)
    }

    /// Partitions whose next batch is part of the open transaction, which its coordinator does not know to write there
    /// yet. What was sent there before has been answered.
    pub fn unregistered(&self) -> Vec<Place> {
        let mut places = self.places();
        places.retain(|place| self.waits_for_coordinator(place));
        places
    }

    /// Whether there are any.
    pub fn must_register(&self) -> bool {
        self.in_transaction()
            && self
                .places()
                .iter()
                .any(|place| self.waits_for_coordinator(place))
    }

    fn waits_for_coordinator(&self, place: &Place) -> bool {
        let topic = &self.topics[place.topic];
        let state = &topic.partitions[place.partition];
        // A coordinator knows no partition that there is not.
        self.in_transaction()
            && place.partition < topic.routed
            && !state.registered
            && state.in_flight.is_empty()
            && state.next_transaction(&self.terms) == self.terms.transaction
    }

    /// The coordinator knows that the open transaction writes to the partition.
    pub fn register(&mut self, topic: &[u8], partition: usize) {
        let Some(&topic) = self.by_name.get(topic) else {
            return;
        };
        if self.terms.transaction.is_none() {
            return;
        }
        self.topics[topic].partition(partition).registered = true;
        self.list(&Place { topic, partition });
    }

    /// Records of the open transaction that are neither delivered nor failed.
    pub fn transaction_unsettled(&self) -> usize {
        let Some(transaction) = self.terms.transaction else {
            return 0;
        };
        let sealed = self.transactions.unsettled(transaction);
        let open = match self.terms.part_of == Some(transaction) {
            true => self.open_records,
            false => 0,
        };
        sealed + open
    }

    /// Gives up the transactional batches that are not in flight, oldest first: their records are failed by the caller.
    pub fn fail_transactional(&mut self) -> Vec<GivenUp<C>> {
        if self.in_transaction() {
            self.seal_all();
        }
        let begun = self.transactions.begun();
        self.fail_waiting(|batch| batch.transaction.is_some_and(|of| of <= begun))
    }
}
