//! Topics: their partitions, and which of these a record goes to.

use std::collections::VecDeque;

use bytes::Bytes;
use kafka_wire::{murmur2, TopicId, NO_TOPIC_ID};

use crate::batch::Origin;
use crate::chunk::{Chunk, Parking};
use crate::keyless::{Chance, Keyless, Stay};
use crate::partition::{Partition, NO_LEADER};

pub(crate) struct Topic<C> {
    pub name: Bytes,
    /// By which requests may name it.
    pub id: TopicId,
    /// Partitions that the cluster's metadata knows; 0 while the topic is not routed.
    pub routed: usize,
    /// Of those, the ones with a leader: null keys go round these.
    led: Vec<usize>,
    round_robin: usize,
    keyless: Keyless,
    /// Where records without a key go for now, if they do not go round.
    stay: Stay,
    chance: Chance,
    /// Records that wait for the topic to be routed, oldest first, and the chunk that takes more.
    pub parked: VecDeque<Chunk<C>>,
    pub parking: Option<Parking<C>>,
    /// Size in bytes, before compression, at which a batch takes no more: less than the client's `batch_limit` once the
    /// broker has refused a batch as too large.
    pub batch_limit: usize,
    /// May be longer than `routed`: a batch stays where it is when metadata shrinks.
    pub partitions: Vec<Partition<C>>,
}

impl<C> Topic<C> {
    pub fn new(name: Bytes, batch_limit: usize, keyless: Keyless) -> Self {
        Topic {
            name,
            id: NO_TOPIC_ID,
            routed: 0,
            led: Vec::new(),
            round_robin: 0,
            keyless,
            stay: Stay::over(),
            chance: Chance::new(),
            parked: VecDeque::new(),
            parking: None,
            batch_limit,
            partitions: Vec::new(),
        }
    }

    /// See [`crate::Settings::keyless`].
    pub fn set_keyless(&mut self, keyless: Keyless) {
        self.keyless = keyless;
        self.stay.is_over = true;
    }

    /// Sets the leaders by partition number.
    pub fn route(&mut self, leaders: &[i32]) {
        self.routed = leaders.len();
        self.led.clear();
        self.led.extend(
            leaders
                .iter()
                .enumerate()
                .filter(|(_, &leader)| leader != NO_LEADER)
                .map(|(partition, _)| partition),
        );
        self.grow(leaders.len());
        for (partition, state) in self.partitions.iter_mut().enumerate() {
            state.leader = leaders.get(partition).copied().unwrap_or(NO_LEADER);
        }
    }

    /// Whether records go straight into batches: the partitions are known, and nothing older waits for them to be.
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.routed > 0 && self.parking.is_none() && self.parked.is_empty()
    }

    pub fn parked_origins(&mut self) -> impl Iterator<Item = &mut Origin> {
        let parked = self.parked.iter_mut().map(|chunk| &mut chunk.batch.origin);
        parked.chain(self.parking.iter_mut().map(Parking::origin))
    }

    /// The generation of the oldest parked records.
    pub fn parked_generation(&self) -> Option<u64> {
        let parked = self
            .parked
            .front()
            .map(|chunk| chunk.batch.origin.generation);
        parked.or_else(|| self.parking.as_ref().map(Parking::generation))
    }

    /// See [`crate::Accumulator::partition_for`].
    #[inline]
    pub fn partition_for(&mut self, key: Option<&[u8]>, batch_size: usize) -> usize {
        match key {
            Some(key) => murmur2(key) as usize % self.routed,
            None => match self.keyless {
                Keyless::InTurn => self.next_in_turn(),
                Keyless::Sticky => self.sticky(),
                Keyless::Uniform => self.uniform(batch_size),
            },
        }
    }

    fn sticky(&mut self) -> usize {
        if self.stay.is_over || !self.is_filling(self.stay.partition) {
            self.stay = Stay::on(self.next_in_turn());
        }
        self.stay.partition
    }

    #[inline]
    fn uniform(&mut self, batch_size: usize) -> usize {
        if self.stay.is_over || !self.may_take(self.stay.partition) {
            self.stay = Stay::on(self.lighter(batch_size));
        }
        self.stay.partition
    }

    /// Each the less likely the more batches wait there, for their turn or for an answer: a slow broker gets less.
    #[cold]
    fn lighter(&mut self, batch_size: usize) -> usize {
        let partitions = &self.partitions;
        let loads = self.led.iter().filter_map(|&partition| {
            let state = partitions.get(partition)?;
            let (_, bytes) = state.waiting();
            Some((partition, state.in_flight.len() + bytes / batch_size.max(1)))
        });
        match self.chance.lighter(loads) {
            Some(partition) => partition,
            None => self.next_in_turn(),
        }
    }

    /// A batch of the partition is due: the record that it had no room for may have begun the next one.
    pub fn filled(&mut self, partition: usize) {
        self.stay.is_over |= self.keyless == Keyless::Sticky && self.stay.partition == partition;
    }

    /// A batch of the partition has got so many bytes more.
    #[inline]
    pub fn gave(&mut self, partition: usize, bytes: usize, batch_size: usize, is_due: bool) {
        if self.keyless == Keyless::Uniform && self.stay.partition == partition {
            self.stay.gives(bytes, batch_size, is_due);
        }
    }

    fn next_in_turn(&mut self) -> usize {
        let turn = self.round_robin;
        self.round_robin = turn.wrapping_add(1);
        match self.led.len() {
            0 => turn % self.routed,
            led => self.led[turn % led],
        }
    }

    /// Whether it is one that records may go to.
    fn may_take(&self, partition: usize) -> bool {
        let state = self.partitions.get(partition);
        partition < self.routed
            && state.is_some_and(|state| state.leader != NO_LEADER || self.led.is_empty())
    }

    /// Whether it has an open batch, too.
    fn is_filling(&self, partition: usize) -> bool {
        self.may_take(partition) && self.partitions[partition].open.is_some()
    }

    #[inline]
    pub fn partition(&mut self, partition: usize) -> &mut Partition<C> {
        if partition >= self.partitions.len() {
            self.grow(partition + 1);
        }
        &mut self.partitions[partition]
    }

    pub fn grow(&mut self, partitions: usize) {
        while self.partitions.len() < partitions {
            self.partitions.push(Partition::new());
        }
    }
}
