//! Transactions (KIP-98, KIP-890) as their coordinator sees them: who may write, to what, and how it ends.

use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};

/// Broker default of `transaction.max.timeout.ms`.
pub(crate) const MAX_TIMEOUT_MS: i32 = 15 * 60 * 1000;
/// An id with this epoch gets no higher one: the producer gets another id.
const LAST_EPOCH: i16 = i16::MAX - 1;
/// An epoch that nobody has.
pub(crate) const NO_EPOCH: i16 = -1;

/// Producer id and epoch.
pub(crate) type Identity = (i64, i16);

/// How a request speaks of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The coordinator is told what becomes part of one, and an epoch serves many of them. Whether the version of the
    /// request knows TRANSACTION_ABORTABLE.
    Told { tells_abortable: bool },
    /// What is written becomes part of one, and each end brings another epoch (KIP-890).
    Implicit,
}

impl Protocol {
    /// That of a request, of which these versions are the first with TRANSACTION_ABORTABLE, and with the rest of KIP-890.
    pub fn of_request(version: i16, tells_abortable: i16, implicit: i16) -> Self {
        match version >= implicit {
            true => Self::Implicit,
            false => Self::Told {
                tells_abortable: version >= tells_abortable,
            },
        }
    }
}

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
    pub(crate) last_epoch: i16,
    /// The id before this one.
    pub(crate) previous_producer_id: Option<i64>,
    /// When the transaction that is going on is aborted.
    pub(crate) deadline_ms: u64,
}

/// By transactional id.
pub(crate) type Transactions = BTreeMap<Bytes, Transaction>;

impl Transaction {
    pub(crate) fn new(producer_id: i64) -> Self {
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
    pub(crate) fn knows(&self, (id, epoch): Identity) -> bool {
        self.producer_epoch == NO_EPOCH
            || id == self.producer_id
            || (Some(id) == self.previous_producer_id && epoch >= LAST_EPOCH)
    }

    /// The next identity, for a producer that names the one it had or none.
    pub(crate) fn advance(
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

    /// Whether somebody names the identity that the end of its last transaction took from it (KIP-890): the answer was
    /// lost, and the request has come again.
    pub(crate) fn is_before_end(&self, (id, epoch): Identity) -> bool {
        let is_same_id = id == self.producer_id && epoch == self.producer_epoch - 1;
        let is_other_id = Some(id) == self.previous_producer_id
            && epoch == LAST_EPOCH
            && self.producer_epoch == 0;
        is_same_id || is_other_id
    }

    /// The identity of the markers that end this transaction, and the one with which its producer goes on (KIP-890).
    pub(crate) fn end_epoch(&mut self, new_id: impl FnOnce() -> i64) -> Identity {
        let marker = (self.producer_id, self.producer_epoch.saturating_add(1));
        self.last_epoch = self.producer_epoch;
        if self.producer_epoch >= LAST_EPOCH {
            self.previous_producer_id = Some(self.producer_id);
            (self.producer_id, self.producer_epoch) = (new_id(), 0);
        } else {
            self.producer_epoch = marker.1;
        }
        marker
    }

    pub(crate) fn check(&self, (id, epoch): Identity) -> Result<(), i16> {
        if id != self.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping.code());
        }
        if epoch != self.producer_epoch {
            return Err(ErrorCode::ProducerFenced.code());
        }
        Ok(())
    }
}
