//! One partition's batches, and the rules by which they leave.
//!
//! Without idempotence a batch leaves whenever its leader may be sent to; after a refusal they leave one at a time until
//! nothing refused is left.
//!
//! With idempotence (KIP-98) the broker takes a batch only if its sequence number follows the last one, and knows the
//! last five batches again. From that the rules follow:
//! - No batch leaves for the first time unless it is among the five that follow each other from the oldest unsettled
//!   one on, settled ones included (KAFKA-5494): a broker forgets a batch when five more have been written, and would
//!   not know it if it had to be sent again.
//! - The first batch under an identity travels alone: a broker that knows nothing of an identity takes any sequence
//!   number, so a second batch could be written although the first was refused.
//! - A batch that is sent again goes when it is the partition's oldest unsettled one, with the stamp it has.
//! - A partition changes its identity when no batch may lie in the log under the old one unbeknown to us: nothing is in
//!   flight, and what was sent again or refused is known not to be there. A resend under a new identity would else
//!   write it twice.
//! - A stamped batch that failed leaves a gap that no later batch can pass: the partition is spent until it changes. A
//!   transaction cannot take another identity, so in one the partition numbers again from the gap on, if what left it
//!   is known not to be in the log, as Java's client does; by the same rule as it would change its identity.

use std::collections::VecDeque;
use std::time::Duration;

use crate::batch::{sequence_after, BatchId, Identity, Open, Sealed, Stamp};
use crate::buffers::UsualSize;

/// Leader of a partition that has none at the moment.
pub const NO_LEADER: i32 = -1;

/// How many of a producer's batches in a partition, counted from the last, a broker knows again (KIP-98).
const REMEMBERED_BATCHES: u64 = 5;

/// What all partitions have in common when it is decided what leaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// Batches leave only under an identity.
    pub idempotent: bool,
    /// The newest identity.
    pub identity: Option<Identity>,
    /// The transaction that is open.
    pub transaction: Option<u64>,
    /// That of the records in open batches: none, the one that is open, or the next one.
    pub part_of: Option<u64>,
}

/// The numbering of a partition's records under one identity.
#[derive(Clone, Copy, Debug)]
struct Numbering {
    identity: Identity,
    /// The sequence number of the next record.
    next: i32,
    /// How many batches have been stamped.
    stamped: u64,
    /// The broker has taken a batch under this identity.
    known: bool,
    /// Nothing new can follow under this identity.
    spent: Option<Spent>,
}

/// Why a partition cannot go on as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// A batch that is certainly not in the log has failed: its number is free.
    Gap { id: BatchId, stamp: Stamp },
    /// Only another identity helps: a batch outside of transactions needs it, or a transaction that has failed.
    ForGood { is_plain: bool },
}

impl Spent {
    /// What two failures come to. The partition goes back to the older gap.
    fn and(self, other: Spent) -> Spent {
        match (self, other) {
            (Spent::Gap { id, .. }, Spent::Gap { id: older, .. }) if older < id => other,
            (Spent::Gap { .. }, Spent::Gap { .. }) => self,
            _ => Spent::ForGood {
                is_plain: self.is_plain() || other.is_plain(),
            },
        }
    }

    fn is_plain(self) -> bool {
        matches!(self, Spent::Gap { .. } | Spent::ForGood { is_plain: true })
    }
}

impl Numbering {
    fn gap(&self) -> Option<(BatchId, Stamp)> {
        match self.spent? {
            Spent::Gap { id, stamp } => Some((id, stamp)),
            Spent::ForGood { .. } => None,
        }
    }
}

/// A batch that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    id: BatchId,
    /// See [`Stamp`]; 0 without idempotence.
    ordinal: u64,
}

pub(crate) struct Partition<C> {
    pub leader: i32,
    pub open: Option<Open<C>>,
    pub usual_size: UsualSize,
    /// How many callbacks its batches have.
    pub usual_callbacks: UsualSize,
    /// Stands in the accumulator's `lingering` list.
    pub lingers: bool,
    /// In the order of their ids, also those that are sent again.
    pub sealed: VecDeque<Sealed<C>>,
    /// Batches of a transaction that has not begun. They follow the others when it does.
    pub later: VecDeque<Sealed<C>>,
    /// Stands in the accumulator's `ready` list.
    pub listed: bool,
    /// Batches that wait for their answer, in the order in which they left.
    pub in_flight: Vec<InFlight>,
    /// Nothing leaves until then: a refused batch waits for its next try.
    pub paused_until: Option<Duration>,
    /// The transaction coordinator knows that the open transaction writes here.
    pub registered: bool,
    /// One batch at a time, until nothing refused is left: younger batches must not pass one that is sent again.
    pub in_turn: bool,
    numbering: Option<Numbering>,
}

impl<C> Partition<C> {
    pub fn new() -> Self {
        Partition {
            leader: NO_LEADER,
            open: None,
            usual_size: UsualSize::default(),
            usual_callbacks: UsualSize::default(),
            lingers: false,
            sealed: VecDeque::new(),
            later: VecDeque::new(),
            listed: false,
            in_flight: Vec::new(),
            paused_until: None,
            registered: false,
            in_turn: false,
            numbering: None,
        }
    }

    /// The generation of the oldest records that are not in flight.
    pub fn waiting_generation(&self) -> Option<u64> {
        let first =
            |queue: &VecDeque<Sealed<C>>| queue.front().map(|batch| batch.origin.generation);
        let open = self.open.as_ref().map(|open| open.origin.generation);
        let oldest = [first(&self.sealed), first(&self.later), open];
        oldest.into_iter().flatten().min()
    }

    /// Records that are not in flight, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let sealed = self.sealed.iter().chain(&self.later);
        let sealed = sealed.map(|batch| (batch.count, batch.bytes.len()));
        let open = self.open.iter();
        let open = open.map(|open| (open.builder.count(), open.builder.len()));
        sealed.chain(open).fold((0, 0), |sum, (records, bytes)| {
            (sum.0 + records, sum.1 + bytes)
        })
    }

    /// The transaction of the batches that came before it begins: they get the ids of younger ones than all the others.
    pub fn begin(&mut self, mut new_id: impl FnMut() -> BatchId) {
        let Some(oldest) = self.later.front().map(|batch| batch.origin.generation) else {
            return;
        };
        // The first of a queue tells the generation of all.
        for batch in &mut self.sealed {
            batch.origin.generation = batch.origin.generation.min(oldest);
        }
        for mut batch in self.later.drain(..) {
            batch.id = new_id();
            self.sealed.push_back(batch);
        }
    }

    /// Which of the sealed batches may leave now; 0 where there is none and the open one may.
    pub fn next_to_leave(&self, terms: &Terms) -> Option<usize> {
        if self.paused_until.is_some() || !self.has_due() {
            return None;
        }
        let index = if terms.idempotent {
            self.next_in_sequence(terms)?
        } else if self.in_turn && !self.in_flight.is_empty() {
            return None;
        } else {
            0
        };
        self.admits(index, terms).then_some(index)
    }

    /// Whether anything waits to leave.
    fn has_due(&self) -> bool {
        !self.sealed.is_empty() || self.open.as_ref().is_some_and(|open| open.is_due)
    }

    /// The transaction of what leaves next; none when nothing is due.
    pub fn next_transaction(&self, terms: &Terms) -> Option<u64> {
        match self.has_due() {
            true => self.transaction_of(0, terms),
            false => None,
        }
    }

    fn transaction_of(&self, index: usize, terms: &Terms) -> Option<u64> {
        match self.sealed.get(index) {
            Some(batch) => batch.transaction,
            None => terms.part_of,
        }
    }

    /// The encoded bytes and the [`acks`](Sealed::acks) of the batch at `index`, as
    /// [`next_to_leave`](Self::next_to_leave) has chosen it.
    pub fn size_and_acks_of(&self, index: usize) -> (usize, Option<i16>) {
        match (self.sealed.get(index), &self.open) {
            (Some(batch), _) => (batch.bytes.len(), batch.acks),
            (None, Some(open)) => (open.builder.len(), open.acks),
            (None, None) => (0, None),
        }
    }

    /// Whether the batch goes with what the transaction coordinator knows.
    fn admits(&self, index: usize, terms: &Terms) -> bool {
        match self.transaction_of(index, terms) {
            None => !self.registered,
            of => of == terms.transaction && self.registered,
        }
    }

    fn next_in_sequence(&self, terms: &Terms) -> Option<usize> {
        let front = self.sealed.front();
        let stamped = front.filter(|batch| batch.stamp.is_some());
        if let Some(front) = stamped.filter(|batch| batch.doubtful || !self.is_spent()) {
            let is_oldest = self.in_flight.iter().all(|sent| sent.id > front.id);
            return is_oldest.then_some(0);
        }
        let identity = terms.identity?;
        match &self.numbering {
            Some(numbering)
                if stamped.is_none()
                    && numbering.identity == identity
                    && numbering.spent.is_none() =>
            {
                let limit = match numbering.known {
                    true => REMEMBERED_BATCHES,
                    false => 1,
                };
                let under_way = match self.in_flight.iter().map(|sent| sent.ordinal).min() {
                    Some(oldest) => numbering.stamped - oldest,
                    None => 0,
                };
                (under_way < limit).then_some(0)
            }
            _ if !self.in_flight.is_empty() => None,
            // What may lie in the log is asked about under its old stamp before the identity changes.
            numbering => match self.sealed.iter().position(|batch| batch.doubtful) {
                Some(index) => Some(index),
                None => numbering
                    .is_none_or(|numbering| {
                        numbering.identity != identity
                            || terms.transaction.is_some() && numbering.gap().is_some()
                    })
                    .then_some(0),
            },
        }
    }

    /// Takes the batch at `index`, as [`next_to_leave`](Self::next_to_leave) has chosen it, out of the queue and
    /// stamps it if it has no stamp that is still good.
    pub fn take(&mut self, index: usize, terms: &Terms) -> Option<Sealed<C>> {
        let must_renew = self
            .sealed
            .get(index)
            .is_some_and(|batch| !batch.doubtful && (batch.stamp.is_none() || self.is_spent()));
        if let (true, true, Some(identity)) = (terms.idempotent, must_renew, terms.identity) {
            self.adopt(identity);
        }
        let mut batch = self.sealed.remove(index)?;
        if terms.idempotent && batch.stamp.is_none() {
            let numbering = self.numbering.as_mut()?;
            batch.stamp(Stamp {
                identity: numbering.identity,
                base_sequence: numbering.next,
                ordinal: numbering.stamped,
            });
            numbering.next = sequence_after(numbering.next, batch.count);
            numbering.stamped += 1;
        }
        self.in_flight.push(InFlight {
            id: batch.id,
            ordinal: batch.stamp.map_or(0, |stamp| stamp.ordinal),
        });
        Some(batch)
    }

    /// Numbers from 0 under another identity, or from the gap on under the same. Nothing that waits may lie in the log.
    fn adopt(&mut self, identity: Identity) {
        self.numbering = match self.numbering {
            Some(numbering) if numbering.identity == identity => {
                let Some((failed, gap)) = numbering.gap() else {
                    return;
                };
                // What waits may be older than what has failed.
                let start = match self.sealed.front() {
                    Some(batch) if batch.id < failed => batch.stamp.unwrap_or(gap),
                    _ => gap,
                };
                Some(Numbering {
                    next: start.base_sequence,
                    stamped: start.ordinal,
                    spent: None,
                    ..numbering
                })
            }
            _ => Some(Numbering {
                identity,
                next: 0,
                stamped: 0,
                known: false,
                spent: None,
            }),
        };
        for batch in &mut self.sealed {
            batch.stamp = None;
        }
    }

    /// A batch goes back to its place among those that wait.
    pub fn put_back(&mut self, batch: Sealed<C>) {
        let id = batch.id;
        let index = self.sealed.partition_point(|other| other.id < id);
        self.sealed.insert(index, batch);
        self.leave_flight(id);
    }

    /// A batch is settled: no longer in flight, nor in the way of younger ones.
    pub fn leave_flight(&mut self, id: BatchId) {
        self.in_flight.retain(|sent| sent.id != id);
        if self.in_flight.is_empty() && self.sealed.front().is_none_or(|batch| batch.retries == 0) {
            self.in_turn = false;
        }
    }

    /// Whether no unsettled batch of the partition is older than this one.
    pub fn is_oldest(&self, id: BatchId) -> bool {
        let waits_longer = |batch: &Sealed<C>| batch.stamp.is_some() && batch.id < id;
        self.in_flight.iter().all(|sent| sent.id >= id)
            && !self.sealed.front().is_some_and(waits_longer)
    }

    /// The broker has taken a batch with this stamp.
    pub fn acknowledged(&mut self, stamp: Option<Stamp>) {
        let Some(numbering) = self.numbered_by(stamp) else {
            return;
        };
        numbering.known = true;
        // The broker did not mind the gap: it has lost count.
        if let (Some((_, gap)), Some(stamp)) = (numbering.gap(), stamp) {
            if stamp.ordinal > gap.ordinal {
                numbering.spent = Some(Spent::ForGood { is_plain: true });
            }
        }
    }

    /// No batch can follow under the stamp's identity as before. Says whether that is the partition's identity and this
    /// is news.
    pub fn spend(&mut self, stamp: Option<Stamp>, why: Spent) -> bool {
        let Some(numbering) = self.numbered_by(stamp) else {
            return false;
        };
        let is_news = numbering.spent.is_none();
        numbering.spent = Some(numbering.spent.map_or(why, |before| before.and(why)));
        is_news
    }

    /// Whether nothing can follow under this identity as before.
    pub fn is_spent_under(&self, identity: Identity) -> bool {
        self.is_spent() && self.numbering.is_some_and(|n| n.identity == identity)
    }

    /// Whether an older batch with this one's identity has failed, and left a gap.
    pub fn has_gap_before(&self, batch: &Sealed<C>) -> bool {
        let identity = batch.stamp.map(|stamp| stamp.identity);
        let numbering = self.numbering.filter(|n| Some(n.identity) == identity);
        let gap = numbering.and_then(|n| n.gap());
        gap.is_some_and(|(id, _)| id < batch.id)
    }

    /// Whether what waits here can only leave under another identity than this one, and no failed transaction is to blame.
    pub fn is_stuck(&self, identity: Identity) -> bool {
        let for_good = Some(Spent::ForGood { is_plain: true });
        self.is_spent_under(identity)
            && self.has_due()
            && self.numbering.is_some_and(|n| n.spent == for_good)
    }

    fn numbered_by(&mut self, stamp: Option<Stamp>) -> Option<&mut Numbering> {
        let identity = stamp?.identity;
        self.numbering
            .as_mut()
            .filter(|numbering| numbering.identity == identity)
    }

    fn is_spent(&self) -> bool {
        self.numbering
            .is_some_and(|numbering| numbering.spent.is_some())
    }

    /// Back to nothing queued and nothing known of sequence numbers.
    pub fn clear(&mut self) -> impl Iterator<Item = Sealed<C>> + '_ {
        self.listed = false;
        self.lingers = false;
        self.in_flight.clear();
        self.in_turn = false;
        self.paused_until = None;
        self.sealed.drain(..).chain(self.later.drain(..))
    }
}
