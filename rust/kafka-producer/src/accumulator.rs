//! The producer's accumulator: open batches that records are written straight into, sealed batches that wait for
//! their leader, and sent batches that wait for their answer.
//!
//! It is a value without Perl, sockets or clock: `C` is whatever the caller keeps beside a record (a delivery
//! callback). A batch keeps its encoded bytes until it is settled, so sending it again encodes and copies nothing.
//!
//! The life of a record: [`Accumulator::append`] → open batch → (`batch_size` reached or [`Accumulator::all_due`])
//! → due → [`Accumulator::take_request`] → sent → [`Accumulator::acknowledge`] or [`Accumulator::failed`], which may put
//! it back among those that wait, where its partition rests until [`Accumulator::resume`].
//!
//! A batch that is due stays open and takes more records until a request takes it along: whatever keeps requests from
//! leaving, a slow link or an outage, makes batches larger instead of more. It is sealed before only at `batch_limit`,
//! or when it has waited for so long that its oldest and its youngest record should not share a fate.
//!
//! When a sealed batch may leave is the matter of `partition.rs`; what transactions add to it, of `transaction.rs`.

mod append;
mod counting;
mod failure;
mod giving_up;
mod identity;
mod options;
mod outcome;
mod parked;
mod request;
mod transaction;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::codec::Compressor;
use kafka_wire::{Codec, Pieces, TopicId};

use crate::batch::{BatchId, Open, Origin, Sealed, ID_SPAN};
use crate::buffers::Buffers;
use crate::ledger::Ledger;
use crate::partition::{Partition, Terms};
use crate::settings::Settings;
use crate::topic::Topic;
use crate::verdict::Hearer;

pub use self::counting::{Counts, PartitionStats};

/// So many times as long as a batch waits with others' records may its own be apart: a batch lives and fails as a whole.
const SPANS_IN_PATIENCE: u32 = 20;

/// Records that were given up before they were in flight.
pub struct GivenUp<C> {
    /// Index for [`Accumulator::topic_name`].
    pub topic: usize,
    /// None for records whose partition was not chosen yet.
    pub partition: Option<usize>,
    /// The records.
    pub batch: Sealed<C>,
}

/// Where a batch belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index for [`Accumulator::topic_name`].
    pub topic: usize,
    /// Partition number.
    pub partition: usize,
}

/// One batch of a Produce request.
#[derive(Debug)]
pub struct Outgoing {
    /// The batch's name, by which it is settled.
    pub id: BatchId,
    /// Its topic and partition.
    pub place: Place,
    /// The encoded record batch.
    pub bytes: Pieces,
    /// See [`Sealed::acks`]; the same for all batches of a request.
    pub acks: Option<i16>,
}

/// What has become of a batch that a broker has not taken.
#[derive(Debug)]
pub enum Fate<C> {
    /// It waits as if it had never left.
    Requeued,
    /// It waits to leave again, whole or in halves, now or when [`Accumulator::resume`] finds that it is time.
    Waits {
        /// See [`crate::verdict::Outcome::Retry`].
        refresh: bool,
    },
    /// It was given up: its records are failed by the caller.
    Failed {
        /// The records.
        batch: Box<Sealed<C>>,
        /// The error code that a broker gave.
        code: Option<i16>,
        /// What callbacks are told.
        text: String,
        /// Who else hears of it.
        hearer: Hearer,
    },
}

/// See the module's description.
pub struct Accumulator<C> {
    settings: Settings,
    topics: Vec<Topic<C>>,
    by_name: HashMap<Bytes, usize>,
    /// The topic of the last append: programs mostly write to one topic for a while.
    last: usize,
    /// Where batches were opened since [`Accumulator::all_due`]; some of them are due or sealed by now.
    lingering: Vec<Place>,
    /// Records in open batches.
    open_records: usize,
    ready: VecDeque<Place>,
    /// Where a refused batch waits for its next try.
    paused: Vec<Place>,
    sent: HashMap<BatchId, (Place, Sealed<C>)>,
    next_id: BatchId,
    terms: Terms,
    /// Some partition can go on only under an identity newer than the newest.
    spent: bool,
    transactions: Ledger,
    /// Nothing of the open transaction is sent again.
    is_aborting: bool,
    buffers: Buffers,
    compressor: Compressor,
    messages: usize,
    bytes: usize,
    /// See [`end_generation`](Self::end_generation).
    generation: u64,
    /// What the records that come now ask for; see [`Sealed::acks`].
    acks: Option<i16>,
    /// That of the records that are being unparked.
    unparking: Option<Origin>,
    /// What has been settled, if that is counted.
    counts: Option<HashMap<Place, Counts>>,
}

impl<C> Accumulator<C> {
    /// An empty accumulator.
    pub fn new(mut settings: Settings) -> Self {
        settings.batch_limit = settings.batch_limit.min(settings.max_request_size);
        Accumulator {
            settings,
            topics: Vec::new(),
            by_name: HashMap::new(),
            last: 0,
            lingering: Vec::new(),
            open_records: 0,
            ready: VecDeque::new(),
            paused: Vec::new(),
            sent: HashMap::new(),
            next_id: ID_SPAN,
            terms: Terms {
                idempotent: settings.idempotent,
                ..Terms::default()
            },
            spent: false,
            transactions: Ledger::default(),
            is_aborting: false,
            buffers: Buffers::default(),
            compressor: Compressor::default(),
            messages: 0,
            bytes: 0,
            generation: 0,
            acks: None,
            unparking: None,
            counts: None,
        }
    }

    /// Records accepted and not settled yet, and the encoded bytes they hold.
    pub fn queued(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    /// How batches are compressed.
    pub fn codec(&self) -> Codec {
        self.settings.compression.codec()
    }

    /// The name of a topic that a [`Place`] speaks of.
    pub fn topic_name(&self, topic: usize) -> &Bytes {
        &self.topics[topic].name
    }

    /// The id of a topic that a [`Place`] speaks of.
    pub fn topic_id(&self, topic: usize) -> TopicId {
        self.topics[topic].id
    }

    /// Names everything that has been accepted up to now, for [`is_settled`](Self::is_settled).
    pub fn end_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation - 1
    }

    /// Whether nothing waits any more that was accepted before a generation ended. Records that share a batch share the
    /// generation of the oldest.
    pub fn is_settled(&self, generation: u64) -> bool {
        let is_later = |of: u64| of > generation;
        self.sent
            .values()
            .all(|(_, batch)| is_later(batch.origin.generation))
            && self.topics.iter().all(|topic| {
                topic.parked_generation().is_none_or(is_later)
                    && topic
                        .partitions
                        .iter()
                        .all(|state| state.waiting_generation().is_none_or(is_later))
            })
    }

    /// Seals every open batch, oldest first.
    pub fn seal_all(&mut self) {
        if self.open_records > 0 {
            self.seal_if(|_| true);
        }
    }

    fn seal_if(&mut self, wanted: impl Fn(&Open<C>) -> bool) {
        let mut found = Vec::new();
        for place in self.places() {
            let open = self.state(&place).open.as_ref();
            if let Some(open) = open.filter(|open| wanted(open)) {
                found.push((open.origin.born, place));
            }
        }
        found.sort_by_key(|(born, _)| *born);
        for (_, place) in found {
            self.seal(&place);
        }
    }

    fn seal(&mut self, place: &Place) {
        let state = &mut self.topics[place.topic].partitions[place.partition];
        let Some(mut open) = state.open.take() else {
            return;
        };
        let size = open.builder.len();
        state.usual_size.learn(open.builder.written_len());
        state.usual_callbacks.learn(open.callbacks.len());
        let compression = self.settings.compression;
        if !state.sealed.is_empty() && compression.codec() == Codec::None {
            open.builder.shrink_to_fit();
        }
        let (batch, buffer) = open.seal(
            self.next_id,
            (compression, &mut self.compressor),
            self.terms.part_of,
            (self.settings.clock)(),
        );
        // What was compressed is of no use for what waits then: a few serve all.
        self.buffers.keep(buffer, 0);
        self.next_id += ID_SPAN;
        self.open_records -= batch.count;
        self.bytes = self.bytes + batch.bytes.len() - size;
        self.transactions.sealed(batch.transaction, batch.count);
        match self.transactions.is_later(batch.transaction) {
            true => state.later.push_back(batch),
            false => state.sealed.push_back(batch),
        }
        self.topics[place.topic].filled(place.partition);
        self.list(place);
    }

    fn state(&mut self, place: &Place) -> &mut Partition<C> {
        &mut self.topics[place.topic].partitions[place.partition]
    }

    fn list(&mut self, place: &Place) {
        let state = &mut self.topics[place.topic].partitions[place.partition];
        if !state.listed && state.next_to_leave(&self.terms).is_some() {
            state.listed = true;
            self.ready.push_back(place.clone());
        }
    }

    /// After a change of what all partitions go by.
    fn list_all(&mut self) {
        for place in self.places() {
            self.list(&place);
        }
    }

    fn places(&self) -> Vec<Place> {
        let partitions = |(topic, state): (usize, &Topic<C>)| {
            (0..state.partitions.len()).map(move |partition| Place { topic, partition })
        };
        self.topics
            .iter()
            .enumerate()
            .flat_map(partitions)
            .collect()
    }

    fn settled(&mut self, place: &Place, batch: &Sealed<C>) {
        self.messages -= batch.count;
        self.bytes -= batch.bytes.len();
        self.transactions.settled(batch.transaction, batch.count);
        self.state(place).leave_flight(batch.id);
        self.list(place);
    }

    /// How far apart in time the records of a batch may be that cannot leave.
    fn span(&self) -> Duration {
        self.settings.patience / SPANS_IN_PATIENCE
    }
}
