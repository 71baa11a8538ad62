//! The producer's accumulator: open batches that records are written straight into, sealed batches that wait for
//! their leader, and sent batches that wait for their answer.
//!
//! It is a value without Perl, sockets or clock: `C` is whatever the caller keeps beside a record (a delivery
//! callback). A batch keeps its encoded bytes until it is settled, so sending it again encodes and copies nothing.
//!
//! The life of a record: [`Accumulator::append`] → open batch → (`batch_size` reached or [`Accumulator::all_due`])
//! → due → [`Accumulator::take_request`] → sent → [`Accumulator::acknowledge`] or [`Accumulator::fail`]; or
//! [`Accumulator::hold`] back to those that wait, where its partition rests until [`Accumulator::resume`].
//!
//! A batch that is due stays open and takes more records until a request takes it along: whatever keeps requests from
//! leaving, a slow link or an outage, makes batches larger instead of more. It is sealed before only at `batch_limit`,
//! or when it has waited for so long that its oldest and its youngest record should not share a fate.
//!
//! When a sealed batch may leave is the matter of `partition.rs`; what transactions add to it, of `transaction.rs`.

mod batch;
mod buffers;
mod parked;
mod partition;
mod topic;
mod transaction;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::records::{AppendError, BatchBuilder};
use kafka_wire::Codec;

pub use batch::{BatchId, Identity, Sealed, Stamp};
pub use parked::{Answered, Destination, Question};

use batch::{Open, Origin, ID_SPAN};
use buffers::Buffers;
use partition::{Partition, Spent, Terms};
use topic::Topic;

/// Leader of a partition that has none at the moment.
pub const NO_LEADER: i32 = -1;

/// The most that batches share a Produce request up to: well below the broker's `socket.request.max.bytes` (100 MiB),
/// which would drop the connection, yet enough that 1 MB batches of several partitions travel together.
const MAX_SHARED_BYTES: usize = 8 << 20;

/// So many times as long as a batch waits with others' records may its own be apart: a batch lives and fails as a whole.
const SPANS_IN_PATIENCE: u32 = 20;

/// How long after its time a batch that is owed a try waits for a leader: a few times as long as the delay between tries.
const RETRY_GRACE: Duration = Duration::from_secs(10);

/// What a header costs beside its name and value, at the most: their two lengths.
const HEADER_OVERHEAD: usize = 10;

/// How the accumulator batches and encodes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A batch is due, however young, when its encoded size in bytes (before compression) reaches this.
    pub batch_size: usize,
    /// A batch that is due and cannot leave takes records up to this encoded size.
    pub batch_limit: usize,
    /// No record that is larger is taken, encoded and not compressed; a batch ends there, whatever its limit.
    pub max_request_size: usize,
    /// Compression of sealed batches.
    pub codec: Codec,
    /// Bytes that may be queued: what would go beyond is refused. `usize::MAX` for no limit.
    pub buffer_memory: usize,
    /// Records without a key stay on a partition until its batch is sealed (KIP-480).
    pub sticky: bool,
    /// How long records wait to be sent before [`Accumulator::expire`] gives them up.
    pub patience: Duration,
    /// Batches carry an identity and sequence numbers (KIP-98), and none leaves before there is an identity.
    pub idempotent: bool,
    /// The time that batches' ages are measured by; it never goes back.
    pub clock: fn() -> Duration,
}

/// A record as [`Accumulator::append`] takes it.
pub struct NewRecord<'a, H> {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The key, or none for a null key.
    pub key: Option<&'a [u8]>,
    /// The value, or none for a null value (a tombstone).
    pub value: Option<&'a [u8]>,
    /// Header names and values, in order.
    pub headers: H,
}

/// What the caller has to do after an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// No batch was lingering before: the linger time begins.
    pub first: bool,
    /// A batch has become due: something may be sent.
    pub due: bool,
}

impl Appended {
    /// What has to be done after both.
    fn add(&mut self, other: Appended) {
        self.first |= other.first;
        self.due |= other.due;
    }
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The record takes so many bytes, more than [`Settings::max_request_size`] or than any batch can carry.
    TooLarge(usize),
    /// [`Settings::buffer_memory`] is used up.
    BufferFull,
    /// The record takes so many bytes, more than [`Settings::buffer_memory`].
    NeverFits(usize),
}

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
    pub bytes: Bytes,
    /// See [`Sealed::acks`]; the same for all batches of a request.
    pub acks: Option<i16>,
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
    sent: HashMap<BatchId, (Place, Sealed<C>)>,
    next_id: BatchId,
    terms: Terms,
    /// Some partition can go on only under an identity newer than the newest.
    spent: bool,
    transactions: transaction::Ledger,
    buffers: Buffers,
    messages: usize,
    bytes: usize,
    /// See [`end_generation`](Self::end_generation).
    generation: u64,
    /// What the records that come now ask for; see [`Sealed::acks`].
    acks: Option<i16>,
    /// That of the records that are being unparked.
    unparking: Option<Origin>,
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
            sent: HashMap::new(),
            next_id: ID_SPAN,
            terms: Terms {
                idempotent: settings.idempotent,
                ..Terms::default()
            },
            spent: false,
            transactions: transaction::Ledger::default(),
            buffers: Buffers::default(),
            messages: 0,
            bytes: 0,
            generation: 0,
            acks: None,
            unparking: None,
        }
    }

    /// Compresses the batches that are sealed from now on so.
    pub fn set_codec(&mut self, codec: Codec) {
        self.settings.codec = codec;
    }

    /// Has batches due at another size from now on, and sealed at another limit; where a broker has found batches too
    /// large that still counts.
    pub fn set_batch_size(&mut self, size: usize, limit: usize) {
        self.settings.batch_size = size;
        let limit = limit.min(self.settings.max_request_size);
        let before = std::mem::replace(&mut self.settings.batch_limit, limit);
        for topic in &mut self.topics {
            let most = match topic.batch_limit < before {
                true => topic.batch_limit,
                false => limit,
            };
            topic.batch_limit = most.min(limit);
        }
    }

    /// Has records without a key stay on a partition for a batch, or no more.
    pub fn set_sticky(&mut self, is_sticky: bool) {
        if is_sticky != self.settings.sticky {
            self.settings.sticky = is_sticky;
            self.topics.iter_mut().for_each(|t| t.set_sticky(is_sticky));
        }
    }

    /// Has the records that come now acknowledged in another way than the client's: they go into batches, and requests,
    /// of their own.
    pub fn set_acks(&mut self, acks: Option<i16>) {
        self.acks = acks;
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

    /// Records accepted and not settled yet, and the encoded bytes they hold.
    pub fn queued(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    /// How batches are compressed.
    pub fn codec(&self) -> Codec {
        self.settings.codec
    }

    /// The name of a topic that a [`Place`] speaks of.
    pub fn topic_name(&self, topic: usize) -> &Bytes {
        &self.topics[topic].name
    }

    /// Sets the leaders of a topic, by partition number. An empty list means that the topic is not known (any more):
    /// its batches stay, but nothing is routed to it.
    pub fn route(&mut self, name: &[u8], leaders: &[i32]) {
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None if leaders.is_empty() => return,
            None => self.add_topic(name),
        };
        self.topics[index].route(leaders);
    }

    fn add_topic(&mut self, name: &[u8]) -> usize {
        let name = Bytes::copy_from_slice(name);
        let index = self.topics.len();
        self.by_name.insert(name.clone(), index);
        self.topics.push(Topic::new(
            name,
            self.settings.batch_limit,
            self.settings.sticky,
        ));
        index
    }

    /// The index of a topic that [`route`](Self::route) made known, and whose older records have got their partitions.
    pub fn routed_topic(&mut self, name: &[u8]) -> Option<usize> {
        if let Some(topic) = self.topics.get(self.last) {
            if topic.name == name && topic.is_direct() {
                return Some(self.last);
            }
        }
        let index = *self.by_name.get(name)?;
        if !self.topics[index].is_direct() {
            return None;
        }
        self.last = index;
        Some(index)
    }

    /// The default partitioner: murmur2 of the key over all partitions, as Java's; without a key round-robin over the
    /// partitions that have a leader (over all while none has).
    pub fn partition_for(&mut self, topic: usize, key: Option<&[u8]>) -> usize {
        self.topics[topic].partition_for(key)
    }

    /// The index of a topic, made if need be, for records whose partition the caller names.
    pub fn topic_index(&mut self, name: &[u8]) -> usize {
        match self.by_name.get(name) {
            Some(&index) => index,
            None => self.add_topic(name),
        }
    }

    /// Writes a record into its partition's open batch.
    ///
    /// A record that would take a non-empty batch past its limit seals that batch first, so that only a batch of a
    /// single record can be larger.
    ///
    /// # Errors
    /// Nothing was taken: the record is too large, or the buffer is full.
    #[inline]
    pub fn append<'a, H>(
        &mut self,
        topic: usize,
        partition: usize,
        record: NewRecord<'a, H>,
        callback: Option<C>,
    ) -> Result<Appended, Refused>
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        let size = size_bound(&record);
        self.check_room(size)?;
        self.write(topic, partition, record, callback, size)
            .map_err(|_| Refused::TooLarge(size))
    }

    #[inline]
    fn check_room(&self, size: usize) -> Result<(), Refused> {
        if size > self.settings.max_request_size {
            return Err(Refused::TooLarge(size));
        }
        match self.bytes.saturating_add(size) > self.settings.buffer_memory {
            true if size > self.settings.buffer_memory => Err(Refused::NeverFits(size)),
            true => Err(Refused::BufferFull),
            false => Ok(()),
        }
    }

    #[inline]
    fn write<'a, H>(
        &mut self,
        topic: usize,
        partition: usize,
        record: NewRecord<'a, H>,
        callback: Option<C>,
        size: usize,
    ) -> Result<Appended, AppendError>
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        let limit = self.topics[topic].batch_limit;
        let due_size = self.settings.batch_size.min(limit);
        let state = self.topics[topic].partition(partition);
        let mut appended = Appended::default();
        if let Some(open) = &state.open {
            if open.builder.len() + size > limit || open.acks != self.acks {
                appended.due = true;
                self.seal(&Place { topic, partition });
            }
        }
        let state = &mut self.topics[topic].partitions[partition];
        let is_new = state.open.is_none();
        let open = state.open.get_or_insert_with(|| {
            let builder = self.buffers.builder(state.usual_size, limit);
            let origin = self.unparking.unwrap_or_else(|| Origin {
                born: (self.settings.clock)(),
                youngest: None,
                generation: self.generation,
            });
            Open::new(origin, self.acks, builder)
        });
        match self.unparking {
            None => open.origin.youngest = None,
            Some(older) => open.origin = open.origin.and(older),
        }
        let before = open.builder.len();
        if let Err(error) = open.push(record, callback) {
            if is_new {
                state.open = None;
            }
            return Err(error);
        }
        let after = open.builder.len();
        let (was_due, is_due) = (open.is_due, after >= due_size);
        open.is_due |= is_due;
        self.messages += 1;
        self.open_records += 1;
        self.bytes += after - before;
        if is_new {
            appended.first = self.lingering.is_empty();
            if !state.lingers {
                state.lingers = true;
                self.lingering.push(Place { topic, partition });
            }
        }
        if after >= limit {
            appended.due = true;
            self.seal(&Place { topic, partition });
        } else if is_due && !was_due {
            appended.due = true;
            self.topics[topic].filled(partition);
            self.list(&Place { topic, partition });
        }
        Ok(appended)
    }

    /// The linger time is over: every open batch leaves as soon as it can.
    pub fn all_due(&mut self) {
        for place in std::mem::take(&mut self.lingering) {
            let state = self.state(&place);
            state.lingers = false;
            if let Some(open) = &mut state.open {
                open.is_due = true;
                self.topics[place.topic].filled(place.partition);
                self.list(&place);
            }
        }
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
        state.usual_size.learn(size);
        if !state.sealed.is_empty() && self.settings.codec == Codec::None {
            open.builder.shrink_to_fit();
        }
        let (codec, now) = (self.settings.codec, (self.settings.clock)());
        let (batch, buffer) = open.seal(self.next_id, codec, self.terms.part_of, now);
        self.buffers.keep(buffer);
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

    /// The leaders that batches wait for which are due, each once; [`NO_LEADER`] among them when some partition has none.
    pub fn ready_nodes(&self) -> Vec<i32> {
        let mut nodes = Vec::new();
        for place in &self.ready {
            let state = &self.topics[place.topic].partitions[place.partition];
            if !nodes.contains(&state.leader) && state.next_to_leave(&self.terms).is_some() {
                nodes.push(state.leader);
            }
        }
        nodes
    }

    /// Takes the next batch of each partition led by `node`, up to a few megabytes, for one Produce request, all
    /// of them with the same [`acks`](Sealed::acks). They count as in flight until they are acknowledged, failed, held or requeued.
    pub fn take_request(&mut self, node: i32) -> Vec<Outgoing> {
        let mut outgoing: Vec<Outgoing> = Vec::new();
        let most = MAX_SHARED_BYTES.min(self.settings.max_request_size);
        let mut size = 0;
        for _ in 0..self.ready.len() {
            let Some(place) = self.ready.pop_front() else {
                break;
            };
            let state = &mut self.topics[place.topic].partitions[place.partition];
            let Some(index) = state.next_to_leave(&self.terms) else {
                state.listed = false;
                continue;
            };
            let (batch_size, acks) = state.size_and_acks_of(index);
            let fits = outgoing.is_empty() || size + batch_size <= most;
            let is_alike = outgoing.first().is_none_or(|first| first.acks == acks);
            if state.leader != node || !fits || !is_alike {
                self.ready.push_back(place);
                continue;
            }
            state.listed = false;
            if state.sealed.is_empty() {
                self.seal(&place);
            }
            let state = &mut self.topics[place.topic].partitions[place.partition];
            if let Some(batch) = state.take(index, &self.terms) {
                size += batch_size;
                outgoing.push(Outgoing {
                    id: batch.id,
                    place: place.clone(),
                    bytes: batch.bytes.clone(),
                    acks: batch.acks,
                });
                self.sent.insert(batch.id, (place.clone(), batch));
            }
            self.list(&place);
        }
        outgoing
    }

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

    /// What became of a batch in flight is not known: its broker may have it.
    pub fn doubt(&mut self, id: BatchId) {
        if let Some((_, batch)) = self.sent.get_mut(&id) {
            batch.doubtful = true;
        }
    }

    /// The batch was never on its way: back to its place among those that wait.
    pub fn requeue(&mut self, id: BatchId) {
        if let Some((place, batch)) = self.sent.remove(&id) {
            self.state(&place).put_back(batch);
            self.list(&place);
        }
    }

    /// The error code with which a batch in flight was refused, for the error of one that is given up later.
    pub fn refused(&mut self, id: BatchId, code: i16) {
        if let Some((_, batch)) = self.sent.get_mut(&id) {
            batch.refusal = code;
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

    fn settled(&mut self, place: &Place, batch: &Sealed<C>) {
        self.messages -= batch.count;
        self.bytes -= batch.bytes.len();
        self.transactions.settled(batch.transaction, batch.count);
        self.state(place).leave_flight(batch.id);
        self.list(place);
    }

    /// Gives up what waits and is unwanted, oldest first: the records are failed by the caller.
    fn fail_waiting(&mut self, unwanted: impl Fn(&Sealed<C>) -> bool) -> Vec<GivenUp<C>> {
        let mut failed = self.fail_parked_if(&unwanted);
        for place in self.places() {
            let state = self.state(&place);
            let mut out = split_off(&mut state.sealed, &unwanted);
            out.extend(split_off(&mut state.later, &unwanted));
            failed.extend(out.into_iter().map(|batch| self.give_up(&place, batch)));
        }
        failed.sort_by_key(|given_up| given_up.batch.id);
        failed
    }

    /// How far apart in time the records of a batch may be that cannot leave.
    fn span(&self) -> Duration {
        self.settings.patience / SPANS_IN_PATIENCE
    }

    /// Gives up batches that wait and all of whose records came at least `age` ago, from now on also the patience. A
    /// batch that was sent before has `retries` tries all the same, unless no leader takes it for some seconds more.
    ///
    /// A batch that is due and has waited for a while takes no more records: they would share its end.
    pub fn expire(&mut self, age: Duration, retries: u32) -> Vec<GivenUp<C>> {
        self.settings.patience = age;
        let (now, span) = ((self.settings.clock)(), self.span());
        if self.open_records > 0 {
            self.seal_if(|open| open.is_due && now.saturating_sub(open.origin.born) >= span);
        }
        self.fail_waiting(|batch| {
            let waited = batch.waited(now);
            let has_tries = (1..=retries).contains(&batch.retries);
            let limit = match has_tries {
                true => age.saturating_add(RETRY_GRACE),
                false => age,
            };
            waited >= limit
        })
    }

    /// Gives up everything that is not in flight: the records are failed by the caller.
    pub fn fail_unsent(&mut self) -> Vec<GivenUp<C>> {
        self.seal_all();
        self.fail_waiting(|_| true)
    }

    /// Partitions beyond those that the topic is known to have, for which records wait.
    pub fn waiting_beyond(&self, topic: usize) -> Vec<usize> {
        let topic = &self.topics[topic];
        let waits = |&partition: &usize| topic.partitions[partition].waiting_generation().is_some();
        (topic.routed..topic.partitions.len())
            .filter(waits)
            .collect()
    }

    /// Gives up what waits for a partition: the records are failed by the caller.
    pub fn fail_partition(&mut self, topic: usize, partition: usize) -> Vec<GivenUp<C>> {
        let place = Place { topic, partition };
        if partition >= self.topics[topic].partitions.len() {
            return Vec::new();
        }
        self.seal(&place);
        let state = self.state(&place);
        let mut waiting = std::mem::take(&mut state.sealed);
        waiting.append(&mut state.later);
        let give_up = |batch| self.give_up(&place, batch);
        waiting.into_iter().map(give_up).collect()
    }

    fn give_up(&mut self, place: &Place, batch: Sealed<C>) -> GivenUp<C> {
        self.spend_on_failure(place, &batch);
        self.settled(place, &batch);
        GivenUp {
            topic: place.topic,
            partition: Some(place.partition),
            batch,
        }
    }

    /// How long all records of a batch in flight have been here.
    pub fn age(&self, batch: &Sealed<C>) -> Duration {
        batch.waited((self.settings.clock)())
    }

    /// The last so much time is not held against what is queued: nothing could be sent, since the program did not let it.
    pub fn forgive(&mut self, lost: Duration) {
        let now = (self.settings.clock)();
        for (_, batch) in self.sent.values_mut() {
            batch.origin.forgive(lost, now);
        }
        for topic in &mut self.topics {
            for state in &mut topic.partitions {
                let open = state.open.iter_mut().map(|open| &mut open.origin);
                let sealed = state.sealed.iter_mut().map(|batch| &mut batch.origin);
                open.chain(sealed)
                    .for_each(|origin| origin.forgive(lost, now));
            }
            topic
                .parked_origins()
                .for_each(|origin| origin.forgive(lost, now));
        }
    }

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
    pub fn follows_gap(&self, id: BatchId) -> bool {
        self.sent.get(&id).is_some_and(|(place, batch)| {
            self.topics[place.topic].partitions[place.partition].has_gap_before(batch)
        })
    }

    /// A batch has failed, or cannot be written under its stamp.
    fn spend(&mut self, place: &Place, batch: &Sealed<C>, why: Spent) -> bool {
        let is_news = self.state(place).spend(batch.stamp, why);
        let identity = batch.stamp.map(|stamp| stamp.identity);
        self.spent |= is_news && identity == self.terms.identity;
        is_news
    }

    fn spend_on_failure(&mut self, place: &Place, batch: &Sealed<C>) {
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

    /// The broker will never take a batch in flight under its stamp, nor any that follows it, and does not have it.
    /// False when the batch was a reason for a new identity before.
    pub fn break_sequence(&mut self, id: BatchId) -> bool {
        let Some((place, mut batch)) = self.sent.remove(&id) else {
            return false;
        };
        batch.doubtful = false;
        let is_first = !batch.renewed;
        batch.renewed |= self.spend(&place, &batch, Spent::ForGood { is_plain: true });
        self.sent.insert(id, (place, batch));
        is_first
    }

    /// The broker does not have a batch in flight, whatever became of earlier tries: it knows what it has.
    pub fn dispel_doubt(&mut self, id: BatchId) {
        if let Some((_, batch)) = self.sent.get_mut(&id) {
            batch.doubtful = false;
        }
    }

    /// Takes everything out: first what was sent and has no answer yet, then what was never sent, oldest first each.
    pub fn take_all(&mut self) -> (Vec<Sealed<C>>, Vec<Sealed<C>>) {
        let mut sent: Vec<_> = self.sent.drain().map(|(_, (_, batch))| batch).collect();
        sent.sort_by_key(|batch| batch.id);
        self.seal_all();
        let parked = self.fail_parked_if(|_| true);
        let mut unsent: Vec<_> = parked.into_iter().map(|parked| parked.batch).collect();
        for state in self.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
            unsent.extend(state.clear());
        }
        unsent.sort_by_key(|batch| batch.id);
        self.ready.clear();
        self.lingering.clear();
        self.transactions = transaction::Ledger::default();
        self.messages = 0;
        self.bytes = 0;
        (sent, unsent)
    }
}

/// Takes the unwanted batches out of a queue.
fn split_off<C>(
    queue: &mut VecDeque<Sealed<C>>,
    unwanted: impl Fn(&Sealed<C>) -> bool,
) -> VecDeque<Sealed<C>> {
    if !queue.iter().any(&unwanted) {
        return VecDeque::new();
    }
    let (out, kept) = std::mem::take(queue).into_iter().partition(unwanted);
    *queue = kept;
    out
}

/// An upper bound of what a record adds to its batch.
#[inline]
fn size_bound<'a, H>(record: &NewRecord<'a, H>) -> usize
where
    H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
{
    let headers = record
        .headers
        .clone()
        .map(|(name, value)| HEADER_OVERHEAD + name.len() + value.map_or(0, <[u8]>::len));
    BatchBuilder::max_record_len(
        record.key.map_or(0, <[u8]>::len),
        record.value.map_or(0, <[u8]>::len),
    ) + headers.sum::<usize>()
}
