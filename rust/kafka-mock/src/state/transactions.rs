//! What a coordinator does with transactions.

use super::State;
use crate::transactions::{
    Identity, Protocol, Transaction, TransactionState, Transactions, MAX_TIMEOUT_MS, NO_EPOCH,
};
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::BTreeSet;

impl State {
    /// Gives a producer its identity, and takes it from whoever had it before. A transaction that goes on is
    /// aborted first: as on a real broker this call then answers CONCURRENT_TRANSACTIONS.
    pub(crate) fn init_transactional(
        &mut self,
        id: &Bytes,
        timeout_ms: i32,
        expected: Option<Identity>,
    ) -> Result<Identity, i16> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest.code());
        }
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            return Err(ErrorCode::InvalidTransactionTimeout.code());
        }
        let ids = &mut self.producer_ids;
        let transaction = self
            .transactions
            .entry(id.clone())
            .or_insert_with(|| Transaction::new(ids.take()));
        if !expected.is_none_or(|identity| transaction.knows(identity)) {
            return Err(ErrorCode::ProducerFenced.code());
        }
        if transaction.state == TransactionState::Ongoing {
            self.fence(id);
            return Err(ErrorCode::ConcurrentTransactions.code());
        }
        transaction.timeout_ms = u64::from(timeout_ms.unsigned_abs());
        let identity = transaction.advance(expected, || ids.take())?;
        transaction.state = TransactionState::Empty;
        Ok(identity)
    }

    /// Adds partitions and groups to a producer's transaction, which begins with the first of them.
    pub(crate) fn add_to_transaction(
        &mut self,
        id: &Bytes,
        identity: Identity,
        partitions: BTreeSet<(Bytes, i32)>,
        groups: BTreeSet<Bytes>,
        now_ms: u64,
    ) -> Result<(), i16> {
        let transaction = self.transaction_of(id, identity)?;
        if transaction.state != TransactionState::Ongoing {
            transaction.state = TransactionState::Ongoing;
            transaction.deadline_ms = now_ms.saturating_add(transaction.timeout_ms);
        }
        transaction.partitions.extend(partitions);
        transaction.groups.extend(groups);
        Ok(())
    }

    /// Ends a producer's transaction. The same end once more is no error.
    pub(crate) fn end_transaction(
        &mut self,
        id: &Bytes,
        identity: Identity,
        committed: bool,
    ) -> Result<(), i16> {
        match (self.transaction_of(id, identity)?.state, committed) {
            (TransactionState::Ongoing, _) => {
                let marker = identity;
                self.complete(id, committed, marker);
            }
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
            }
            _ => return Err(ErrorCode::InvalidTxnState.code()),
        }
        Ok(())
    }

    /// The same as of KIP-890: gives the identity with which the producer goes on. The end that has come before is known
    /// by the epoch before this one, and the abort of a transaction to which nothing was written is one, too.
    pub(crate) fn end_with_epoch(
        &mut self,
        id: &Bytes,
        identity: Identity,
        committed: bool,
    ) -> Result<Identity, i16> {
        let ids = &mut self.producer_ids;
        let transaction = known(&mut self.transactions, id)?;
        let is_over = matches!(
            transaction.state,
            TransactionState::CompleteCommit | TransactionState::CompleteAbort
        );
        if is_over && transaction.is_before_end(identity) {
            let was_committed = transaction.state == TransactionState::CompleteCommit;
            return match was_committed == committed {
                true => Ok((transaction.producer_id, transaction.producer_epoch)),
                false => Err(ErrorCode::InvalidTxnState.code()),
            };
        }
        transaction.check(identity)?;
        if committed && transaction.state != TransactionState::Ongoing {
            return Err(ErrorCode::InvalidTxnState.code());
        }
        let marker = transaction.end_epoch(|| ids.take());
        let next = (transaction.producer_id, transaction.producer_epoch);
        self.complete(id, committed, marker);
        Ok(next)
    }

    /// Lets a producer write, as part of its transaction, partitions or a group's positions: they are in it, or become
    /// part of it where the request says so.
    pub(crate) fn write_in_transaction(
        &mut self,
        id: &Bytes,
        identity: Identity,
        protocol: Protocol,
        partitions: BTreeSet<(Bytes, i32)>,
        groups: BTreeSet<Bytes>,
        now_ms: u64,
    ) -> Result<(), i16> {
        let transaction = known(&mut self.transactions, id)?;
        transaction.check(identity).map_err(|code| {
            // Who only writes is told so in the words that all versions know.
            match code == ErrorCode::ProducerFenced.code() {
                true => ErrorCode::InvalidProducerEpoch.code(),
                false => code,
            }
        })?;
        let is_there =
            partitions.is_subset(&transaction.partitions) && groups.is_subset(&transaction.groups);
        match protocol {
            Protocol::Implicit => self.add_to_transaction(id, identity, partitions, groups, now_ms),
            Protocol::Told { .. } if is_there => Ok(()),
            Protocol::Told { tells_abortable } => Err(match tells_abortable {
                true => ErrorCode::TransactionAbortable.code(),
                false => ErrorCode::InvalidTxnState.code(),
            }),
        }
    }

    /// When the next transaction has lasted too long.
    pub(crate) fn transaction_deadline(&self) -> Option<u64> {
        let ongoing = self
            .transactions
            .values()
            .filter(|transaction| transaction.state == TransactionState::Ongoing);
        ongoing.map(|transaction| transaction.deadline_ms).min()
    }

    /// Aborts the transactions that have lasted too long, and fences their producers.
    pub(crate) fn expire_transactions(&mut self, now_ms: u64) {
        let is_late =
            |t: &Transaction| t.state == TransactionState::Ongoing && t.deadline_ms <= now_ms;
        let late: Vec<Bytes> = self
            .transactions
            .iter()
            .filter(|(_, transaction)| is_late(transaction))
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            self.fence(&id);
        }
    }

    fn transaction_of(&mut self, id: &Bytes, identity: Identity) -> Result<&mut Transaction, i16> {
        let transaction = known(&mut self.transactions, id)?;
        transaction.check(identity)?;
        Ok(transaction)
    }

    /// Aborts a transaction under a new epoch, so that its producer can write no more.
    fn fence(&mut self, id: &Bytes) {
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.producer_epoch = transaction.producer_epoch.saturating_add(1);
            transaction.last_epoch = NO_EPOCH;
            let marker = (transaction.producer_id, transaction.producer_epoch);
            self.complete(id, false, marker);
        }
    }

    /// Writes the markers to all partitions of a transaction and settles the positions of its groups.
    fn complete(&mut self, id: &Bytes, committed: bool, (producer_id, epoch): Identity) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        transaction.state = match committed {
            true => TransactionState::CompleteCommit,
            false => TransactionState::CompleteAbort,
        };
        let partitions = std::mem::take(&mut transaction.partitions);
        let groups = std::mem::take(&mut transaction.groups);
        for (topic, index) in partitions {
            // A topic may have been deleted meanwhile.
            if let Ok(partition) = self.partition_mut(&topic, index) {
                let leader_epoch = partition.leader_epoch;
                partition
                    .log
                    .end_transaction(producer_id, epoch, committed, leader_epoch);
            }
        }
        for group in groups {
            self.groups.end_transaction(&group, producer_id, committed);
        }
        self.changed = true;
    }
}

fn known<'a>(transactions: &'a mut Transactions, id: &Bytes) -> Result<&'a mut Transaction, i16> {
    if id.is_empty() {
        return Err(ErrorCode::InvalidRequest.code());
    }
    let unknown = ErrorCode::InvalidProducerIdMapping.code();
    transactions.get_mut(id).ok_or(unknown)
}
