//! The producer's accumulator: open batches that records are written straight into, sealed batches that wait for
//! their leader, and sent batches that wait for their answer.
//!
//! It is a value without Perl, sockets or clock: `C` is whatever the caller keeps beside a record (a delivery
//! callback). A batch keeps its encoded bytes until it is settled, so sending it again encodes and copies nothing.
//!
//! The life of a record: [`Accumulator::append`] → open batch → (`batch_size` reached or [`Accumulator::seal_all`])
//! → sealed → [`Accumulator::take_request`] → sent → [`Accumulator::settle`], or [`Accumulator::requeue`] back to sealed.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use kafka_wire::records::{AppendError, BatchBuilder, SealOptions};
use kafka_wire::{murmur2, Codec};

/// Names a sealed batch for as long as it is not settled. Ids grow in the order in which batches were sealed.
pub type BatchId = u64;

/// Leader of a partition that has none at the moment.
pub const NO_LEADER: i32 = -1;

/// The most that one Produce request carries: well below the broker's `socket.request.max.bytes` (100 MiB), which
/// would drop the connection, yet enough that 1 MB batches of several partitions share a request.
const MAX_REQUEST_BYTES: usize = 8 << 20;

/// What a header costs beside its name and value, at the most: their two lengths.
const HEADER_OVERHEAD: usize = 10;

/// How the accumulator batches and encodes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A batch is sealed when its encoded size in bytes (before compression) reaches this.
    pub batch_size: usize,
    /// Compression of sealed batches.
    pub codec: Codec,
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
    /// The accumulator had no open batch before: the linger time begins.
    pub first: bool,
    /// A batch was sealed: something may be sent.
    pub sealed: bool,
}

struct Open<C> {
    builder: BatchBuilder,
    callbacks: Vec<Option<C>>,
}

impl<C> Default for Open<C> {
    fn default() -> Self {
        Open {
            builder: BatchBuilder::new(),
            callbacks: Vec::new(),
        }
    }
}

/// A closed batch, encoded and ready for the wire.
#[derive(Debug)]
pub struct Sealed<C> {
    /// The batch's name.
    pub id: BatchId,
    /// The encoded record batch.
    pub bytes: Bytes,
    /// Records in it.
    pub count: usize,
    /// One entry a record up to the last record that has one; empty when no record has a callback.
    pub callbacks: Vec<Option<C>>,
}

/// Where a batch belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index for [`Accumulator::topic_name`].
    pub topic: usize,
    /// Partition number.
    pub partition: usize,
}

struct Partition<C> {
    leader: i32,
    open: Option<Open<C>>,
    sealed: VecDeque<Sealed<C>>,
    /// Stands in the accumulator's `ready` list.
    listed: bool,
    /// Batches taken for a request and not settled or requeued yet.
    in_flight: usize,
    /// One batch at a time, until nothing refused is left: younger batches must not pass one that is sent again.
    in_turn: bool,
}

impl<C> Partition<C> {
    fn is_blocked(&self) -> bool {
        self.in_turn && self.in_flight > 0
    }
}

struct Topic<C> {
    name: Bytes,
    /// Partitions that the cluster's metadata knows; 0 while the topic is not routed.
    routed: usize,
    /// Of those, the ones with a leader: null keys go round these.
    led: Vec<usize>,
    round_robin: usize,
    /// May be longer than `routed`: a batch stays where it is when metadata shrinks.
    partitions: Vec<Partition<C>>,
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
}

/// See the module's description.
pub struct Accumulator<C> {
    settings: Settings,
    topics: Vec<Topic<C>>,
    by_name: HashMap<Bytes, usize>,
    /// The topic of the last append: programs mostly write to one topic for a while.
    last: usize,
    open: Vec<Place>,
    ready: VecDeque<Place>,
    sent: HashMap<BatchId, (Place, Sealed<C>)>,
    next_id: BatchId,
    messages: usize,
    bytes: usize,
}

impl<C> Accumulator<C> {
    /// An empty accumulator.
    pub fn new(settings: Settings) -> Self {
        Accumulator {
            settings,
            topics: Vec::new(),
            by_name: HashMap::new(),
            last: 0,
            open: Vec::new(),
            ready: VecDeque::new(),
            sent: HashMap::new(),
            next_id: 1,
            messages: 0,
            bytes: 0,
        }
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
        let topic = &mut self.topics[index];
        topic.routed = leaders.len();
        topic.led.clear();
        topic.led.extend(
            leaders
                .iter()
                .enumerate()
                .filter(|(_, &leader)| leader != NO_LEADER)
                .map(|(partition, _)| partition),
        );
        topic.grow(leaders.len());
        for (partition, state) in topic.partitions.iter_mut().enumerate() {
            state.leader = leaders.get(partition).copied().unwrap_or(NO_LEADER);
        }
    }

    fn add_topic(&mut self, name: &[u8]) -> usize {
        let name = Bytes::copy_from_slice(name);
        let index = self.topics.len();
        self.by_name.insert(name.clone(), index);
        self.topics.push(Topic {
            name,
            routed: 0,
            led: Vec::new(),
            round_robin: 0,
            partitions: Vec::new(),
        });
        index
    }

    /// The index of a topic that [`route`](Self::route) made known.
    pub fn routed_topic(&mut self, name: &[u8]) -> Option<usize> {
        if let Some(topic) = self.topics.get(self.last) {
            if topic.name == name && topic.routed > 0 {
                return Some(self.last);
            }
        }
        let index = *self.by_name.get(name)?;
        if self.topics[index].routed == 0 {
            return None;
        }
        self.last = index;
        Some(index)
    }

    /// The default partitioner: murmur2 of the key over all partitions, as Java's; without a key round-robin over the
    /// partitions that have a leader (over all while none has).
    pub fn partition_for(&mut self, topic: usize, key: Option<&[u8]>) -> usize {
        let topic = &mut self.topics[topic];
        match key {
            Some(key) => murmur2(key) as usize % topic.routed,
            None => {
                let turn = topic.round_robin;
                topic.round_robin = turn.wrapping_add(1);
                match topic.led.len() {
                    0 => turn % topic.routed,
                    led => topic.led[turn % led],
                }
            }
        }
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
    /// A record that would take a non-empty batch past `batch_size` seals that batch first, so that only a batch of a
    /// single record can be larger.
    ///
    /// # Errors
    /// The record has more than 2 GiB, which no batch can carry: nothing was taken.
    #[inline]
    pub fn append<'a, H>(
        &mut self,
        topic: usize,
        partition: usize,
        record: NewRecord<'a, H>,
        callback: Option<C>,
    ) -> Result<Appended, AppendError>
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        let size = size_bound(&record);
        let state = self.topics[topic].partition(partition);
        let mut sealed = false;
        if let Some(open) = &state.open {
            if open.builder.len() + size > self.settings.batch_size {
                sealed = true;
                self.seal(&Place { topic, partition });
            }
        }
        let state = &mut self.topics[topic].partitions[partition];
        let first = match state.open {
            Some(_) => false,
            None => self.open.is_empty(),
        };
        let open = match &mut state.open {
            Some(open) => open,
            none => {
                self.open.push(Place { topic, partition });
                none.insert(Open::default())
            }
        };
        let before = open.builder.len();
        let index =
            open.builder
                .append(record.timestamp, record.key, record.value, record.headers)?;
        if let Some(callback) = callback {
            if open.callbacks.len() < index {
                open.callbacks.resize_with(index, || None);
            }
            open.callbacks.push(Some(callback));
        }
        let after = open.builder.len();
        self.messages += 1;
        self.bytes += after - before;
        if after >= self.settings.batch_size {
            sealed = true;
            self.seal(&Place { topic, partition });
        }
        Ok(Appended { first, sealed })
    }

    /// Seals every open batch.
    pub fn seal_all(&mut self) {
        for place in std::mem::take(&mut self.open) {
            self.seal(&place);
        }
    }

    fn seal(&mut self, place: &Place) {
        if let Some(index) = self.open.iter().position(|open| open == place) {
            self.open.swap_remove(index);
        }
        let state = &mut self.topics[place.topic].partitions[place.partition];
        let Some(mut open) = state.open.take() else {
            return;
        };
        let (count, size) = (open.builder.count(), open.builder.len());
        if count == 0 {
            return;
        }
        let bytes = open.builder.seal(SealOptions {
            codec: self.settings.codec,
            ..SealOptions::default()
        });
        self.bytes = self.bytes + bytes.len() - size;
        let id = self.next_id;
        self.next_id += 1;
        state.sealed.push_back(Sealed {
            id,
            bytes,
            count,
            callbacks: open.callbacks,
        });
        self.list(place);
    }

    fn list(&mut self, place: &Place) {
        let state = &mut self.topics[place.topic].partitions[place.partition];
        if !state.listed && !state.is_blocked() && !state.sealed.is_empty() {
            state.listed = true;
            self.ready.push_back(place.clone());
        }
    }

    /// The leaders that sealed batches wait for, each once; [`NO_LEADER`] among them when some partition has none.
    pub fn ready_nodes(&self) -> Vec<i32> {
        let mut nodes = Vec::new();
        for place in &self.ready {
            let state = &self.topics[place.topic].partitions[place.partition];
            if !state.is_blocked() && !nodes.contains(&state.leader) {
                nodes.push(state.leader);
            }
        }
        nodes
    }

    /// Takes the oldest sealed batch of each partition led by `node`, up to [`MAX_REQUEST_BYTES`], for one Produce
    /// request. They count as sent until they are settled or requeued.
    pub fn take_request(&mut self, node: i32) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        let mut size = 0;
        for _ in 0..self.ready.len() {
            let Some(place) = self.ready.pop_front() else {
                break;
            };
            let state = &mut self.topics[place.topic].partitions[place.partition];
            if state.is_blocked() {
                state.listed = false;
                continue;
            }
            let fits = match state.sealed.front() {
                Some(batch) => outgoing.is_empty() || size + batch.bytes.len() <= MAX_REQUEST_BYTES,
                None => false,
            };
            if state.leader != node || !fits {
                self.ready.push_back(place);
                continue;
            }
            state.listed = false;
            if let Some(batch) = state.sealed.pop_front() {
                state.in_flight += 1;
                size += batch.bytes.len();
                outgoing.push(Outgoing {
                    id: batch.id,
                    place: place.clone(),
                    bytes: batch.bytes.clone(),
                });
                self.sent.insert(batch.id, (place.clone(), batch));
            }
            self.list(&place);
        }
        outgoing
    }

    /// From now on a partition's batches go one at a time, and none while one that was sent is neither settled nor
    /// requeued; as before once the last of those is settled.
    pub fn keep_order(&mut self, topic: &[u8], partition: usize) {
        let Some(&topic) = self.by_name.get(topic) else {
            return;
        };
        if let Some(state) = self.topics[topic].partitions.get_mut(partition) {
            state.in_turn = true;
        }
    }

    /// Where a sent batch belongs and how many records it has.
    pub fn sent_batch(&self, id: BatchId) -> Option<(&Place, usize)> {
        self.sent
            .get(&id)
            .map(|(place, batch)| (place, batch.count))
    }

    /// Puts a sent batch back in front of the younger batches of its partition.
    pub fn requeue(&mut self, id: BatchId) {
        let Some((place, batch)) = self.sent.remove(&id) else {
            return;
        };
        let state = &mut self.topics[place.topic].partitions[place.partition];
        state.in_flight -= 1;
        let index = state.sealed.partition_point(|other| other.id < id);
        state.sealed.insert(index, batch);
        self.list(&place);
    }

    /// Takes a sent batch out for good: its records are delivered or failed by the caller.
    pub fn settle(&mut self, id: BatchId) -> Option<(Place, Sealed<C>)> {
        let (place, batch) = self.sent.remove(&id)?;
        self.messages -= batch.count;
        self.bytes -= batch.bytes.len();
        let state = &mut self.topics[place.topic].partitions[place.partition];
        state.in_flight -= 1;
        if state.in_turn && state.in_flight == 0 {
            state.in_turn = false;
            self.list(&place);
        }
        Some((place, batch))
    }

    /// Takes everything out: first what was sent and has no answer yet, then what was never sent, oldest first each.
    pub fn take_all(&mut self) -> (Vec<Sealed<C>>, Vec<Sealed<C>>) {
        let mut sent: Vec<_> = self.sent.drain().map(|(_, (_, batch))| batch).collect();
        sent.sort_by_key(|batch| batch.id);
        let mut unsent = Vec::new();
        for state in self.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
            unsent.extend(state.sealed.drain(..));
            state.listed = false;
            state.in_flight = 0;
            state.in_turn = false;
        }
        unsent.sort_by_key(|batch| batch.id);
        for state in self.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
            if let Some(open) = state.open.take() {
                unsent.push(Sealed {
                    id: 0,
                    bytes: Bytes::new(),
                    count: open.builder.count(),
                    callbacks: open.callbacks,
                });
            }
        }
        self.ready.clear();
        self.open.clear();
        self.messages = 0;
        self.bytes = 0;
        (sent, unsent)
    }
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

impl<C> Topic<C> {
    #[inline]
    fn partition(&mut self, partition: usize) -> &mut Partition<C> {
        if partition >= self.partitions.len() {
            self.grow(partition + 1);
        }
        &mut self.partitions[partition]
    }

    fn grow(&mut self, partitions: usize) {
        while self.partitions.len() < partitions {
            self.partitions.push(Partition {
                leader: NO_LEADER,
                open: None,
                sealed: VecDeque::new(),
                listed: false,
                in_flight: 0,
                in_turn: false,
            });
        }
    }
}
