//! Transactions (KIP-98) as their coordinator sees them: who may write, to what, and how it ends.

use crate::cluster::Cluster;
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};

/// Broker default of `transaction.max.timeout.ms`.
const MAX_TIMEOUT_MS: i32 = 15 * 60 * 1000;
/// An id with this epoch gets no higher one: the producer gets another id.
const LAST_EPOCH: i16 = i16::MAX - 1;
/// An epoch that nobody has.
const NO_EPOCH: i16 = -1;

/// Producer id and epoch.
pub(crate) type Identity = (i64, i16);

/// Where a transactional id stands. A cluster writes markers at once, so that nothing is ever
/// seen while preparing to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// Nothing was begun yet.
    Empty,
    /// Partitions or groups have been added.
    Ongoing,
    /// The last one was committed.
    CompleteCommit,
    /// The last one was aborted.
    CompleteAbort,
}

impl TransactionState {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }
}

/// What the coordinator knows about a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The producer id that goes with it.
    pub producer_id: i64,
    /// The epoch; older ones are fenced.
    pub producer_epoch: i16,
    /// Where it stands.
    pub state: TransactionState,
    /// How long a transaction may last, in milliseconds.
    pub timeout_ms: u64,
    /// Topics and partitions of the transaction that is going on.
    pub partitions: BTreeSet<(Bytes, i32)>,
    /// Groups whose positions are part of it.
    pub groups: BTreeSet<Bytes>,
    /// The epoch before this one, if the producer itself asked for the new one (KIP-360).
    last_epoch: i16,
    /// The id before this one.
    previous_producer_id: Option<i64>,
    /// When the transaction that is going on is aborted.
    deadline_ms: u64,
}

/// By transactional id.
pub(crate) type Transactions = BTreeMap<Bytes, Transaction>;

impl Transaction {
    fn new(producer_id: i64) -> Self {
        Self {
            producer_id,
            producer_epoch: NO_EPOCH,
            state: TransactionState::Empty,
            timeout_ms: 0,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            last_epoch: NO_EPOCH,
            previous_producer_id: None,
            deadline_ms: 0,
        }
    }

    /// Whether a producer that names the identity it had may go on (KIP-360); its epoch is looked at later.
    fn knows(&self, (id, epoch): Identity) -> bool {
        self.producer_epoch == NO_EPOCH
            || id == self.producer_id
            || (Some(id) == self.previous_producer_id && epoch >= LAST_EPOCH)
    }

    /// The next identity, for a producer that names the one it had or none.
    fn advance(
        &mut self,
        expected: Option<Identity>,
        new_id: impl FnOnce() -> i64,
    ) -> Result<Identity, i16> {
        let is_current = expected.is_none_or(|(_, epoch)| epoch == self.producer_epoch);
        let is_new = self.producer_epoch == NO_EPOCH;
        if self.producer_epoch >= LAST_EPOCH && is_current {
            self.last_epoch = expected.map_or(NO_EPOCH, |(_, epoch)| epoch);
            self.previous_producer_id = Some(self.producer_id);
            self.producer_id = new_id();
            self.producer_epoch = 0;
        } else if expected.is_none() {
            self.last_epoch = NO_EPOCH;
            self.producer_epoch += 1;
        } else if is_current || is_new {
            self.last_epoch = self.producer_epoch;
            self.producer_epoch += 1;
        } else if expected.is_some_and(|(_, epoch)| epoch != self.last_epoch) {
            return Err(ErrorCode::ProducerFenced.code());
        }
        // The last case, the epoch before this one, is the same request come again.
        Ok((self.producer_id, self.producer_epoch))
    }

    fn check(&self, (id, epoch): Identity) -> Result<(), i16> {
        if id != self.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping.code());
        }
        if epoch != self.producer_epoch {
            return Err(ErrorCode::ProducerFenced.code());
        }
        Ok(())
    }
}

/// Looking at them.
impl Cluster {
    /// All transactional ids that were ever used, with their transactions.
    pub fn transactions(&self) -> impl Iterator<Item = (&Bytes, &Transaction)> {
        self.transactions.iter()
    }
}

/// What the coordinator does.
impl Cluster {
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
            (TransactionState::Ongoing, _) => self.complete(id, committed),
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
            }
            _ => return Err(ErrorCode::InvalidTxnState.code()),
        }
        Ok(())
    }

    /// Checks that a producer may write as part of its transaction to something that `holds` finds in it.
    /// `tells_abortable`: the version of the request knows TRANSACTION_ABORTABLE (KIP-890).
    pub(crate) fn verify_in_transaction(
        &self,
        id: &Bytes,
        identity: Identity,
        tells_abortable: bool,
        holds: impl FnOnce(&Transaction) -> bool,
    ) -> Result<(), i16> {
        let transaction = self
            .transactions
            .get(id)
            .ok_or(ErrorCode::InvalidProducerIdMapping.code())?;
        transaction.check(identity).map_err(|code| {
            // Who only writes is told so in the words that all versions know.
            match code == ErrorCode::ProducerFenced.code() {
                true => ErrorCode::InvalidProducerEpoch.code(),
                false => code,
            }
        })?;
        match (holds(transaction), tells_abortable) {
            (true, _) => Ok(()),
            (false, true) => Err(ErrorCode::TransactionAbortable.code()),
            (false, false) => Err(ErrorCode::InvalidTxnState.code()),
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
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest.code());
        }
        let transaction = self
            .transactions
            .get_mut(id)
            .ok_or(ErrorCode::InvalidProducerIdMapping.code())?;
        transaction.check(identity)?;
        Ok(transaction)
    }

    /// Aborts a transaction under a new epoch, so that its producer can write no more.
    fn fence(&mut self, id: &Bytes) {
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.producer_epoch = transaction.producer_epoch.saturating_add(1);
            transaction.last_epoch = NO_EPOCH;
        }
        self.complete(id, false);
    }

    /// Writes the markers to all partitions of a transaction and settles the positions of its groups.
    fn complete(&mut self, id: &Bytes, committed: bool) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        transaction.state = match committed {
            true => TransactionState::CompleteCommit,
            false => TransactionState::CompleteAbort,
        };
        let partitions = std::mem::take(&mut transaction.partitions);
        let groups = std::mem::take(&mut transaction.groups);
        let (producer_id, epoch) = (transaction.producer_id, transaction.producer_epoch);
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
