//! How records get into batches: which topic, which partition, and whether there is room.

use bytes::Bytes;
use kafka_wire::records::AppendError;
use kafka_wire::{Codec, TopicId};

use super::{Accumulator, Place};
use crate::batch::{Open, Origin};
use crate::record::{size_bound, Appended, NewRecord, Refused};
use crate::topic::Topic;

impl<C> Accumulator<C> {
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

    /// Sets the id of a topic that is known.
    pub fn set_topic_id(&mut self, name: &[u8], id: TopicId) {
        if let Some(&index) = self.by_name.get(name) {
            self.topics[index].id = id;
        }
    }

    fn add_topic(&mut self, name: &[u8]) -> usize {
        let name = Bytes::copy_from_slice(name);
        let index = self.topics.len();
        self.by_name.insert(name.clone(), index);
        self.topics.push(Topic::new(
            name,
            self.settings.batch_limit,
            self.settings.keyless,
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

    /// How many partitions the topic is known to have.
    #[inline]
    pub fn partitions(&self, topic: usize) -> usize {
        self.topics[topic].routed
    }

    /// The default partitioner: murmur2 of the key over all partitions, as Java's; without a key, as
    /// [`Settings::keyless`](crate::Settings::keyless) says, one that has a leader (any while none has).
    pub fn partition_for(&mut self, topic: usize, key: Option<&[u8]>) -> usize {
        self.topics[topic].partition_for(key, self.settings.batch_size)
    }

    /// The index of a topic, made if need be, for records whose partition the caller names.
    pub fn topic_index(&mut self, name: &[u8]) -> usize {
        match self.by_name.get(name) {
            Some(&index) => index,
            None => self.add_topic(name),
        }
    }

    /// Has the records that come now acknowledged in another way than the client's: they go into batches, and requests,
    /// of their own.
    pub fn set_acks(&mut self, acks: Option<i16>) {
        self.acks = acks;
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
    pub(super) fn check_room(&self, size: usize) -> Result<(), Refused> {
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
    pub(super) fn write<'a, H>(
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
            Open::new(origin, self.acks, builder, state.usual_callbacks)
        });
        match self.unparking {
            None => open.origin.youngest = None,
            Some(older) => open.origin = open.origin.and(older),
        }
        let before = open.builder.len();
        // What is compressed is read once, and soon.
        let lend = record
            .lend
            .filter(|_| self.settings.compression.codec() == Codec::None);
        let record = NewRecord { lend, ..record };
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
        self.topics[topic].gave(partition, after - before, self.settings.batch_size, is_due);
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
}
