//! The cluster's topics, seen and changed by its owner instead of by requests.

use crate::api::MAX_PARTITIONS;
use crate::cluster::{Cluster, ClusterError};
use crate::groups::TopicTable;
use crate::log::{self, IsolationLevel};
use crate::topic::{self, Partition, Topic};
use bytes::Bytes;

/// A record as it lies in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// `None` is a null key.
    pub key: Option<Bytes>,
    /// `None` is a null value: a tombstone.
    pub value: Option<Bytes>,
    /// In order, repeats kept.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Cluster {
    /// Creates a topic with the default replication factor. Its partition `p` is led by the `p`-th
    /// of the brokers that are up, counted round and round.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<(), ClusterError> {
        if !topic::is_valid_name(name.as_bytes()) {
            return Err(ClusterError::InvalidTopicName(name.into()));
        }
        if self.topics.contains_key(name.as_bytes()) {
            return Err(ClusterError::TopicExists(name.into()));
        }
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(ClusterError::InvalidPartitionCount(partitions));
        }
        self.add_topic(Bytes::copy_from_slice(name.as_bytes()), partitions);
        Ok(())
    }

    /// Deletes a topic and its records; false if there was none.
    pub fn delete_topic(&mut self, name: &str) -> bool {
        self.remove_topic(name.as_bytes()).is_some()
    }

    /// The names of all topics, in byte order.
    pub fn topic_names(&self) -> impl Iterator<Item = &Bytes> {
        self.topics.keys()
    }

    /// Partitions of a topic that is created without a count.
    pub fn default_partitions(&self) -> i32 {
        self.config.default_partitions
    }

    /// The number of a topic's partitions.
    pub fn partition_count(&self, topic: &[u8]) -> Option<i32> {
        // A topic has at most MAX_PARTITIONS.
        self.topics
            .get(topic)
            .map(|topic| topic.partitions.len() as i32)
    }

    /// Node id of a partition's leader; -1 while no replica is up.
    pub fn leader(&self, topic: &[u8], partition: i32) -> Result<i32, ClusterError> {
        Ok(self.partition_ref(topic, partition)?.leader)
    }

    /// The offset that the next record of a partition gets.
    pub fn high_watermark(&self, topic: &[u8], partition: i32) -> Result<i64, ClusterError> {
        Ok(self.partition_ref(topic, partition)?.log.high_watermark())
    }

    /// The first offset that a partition still has.
    pub fn log_start_offset(&self, topic: &[u8], partition: i32) -> Result<i64, ClusterError> {
        Ok(self.partition_ref(topic, partition)?.log.start_offset())
    }

    /// Drops the records of a partition before an offset, as retention does. An offset outside of
    /// the log is taken as its nearest end.
    pub fn delete_records(
        &mut self,
        topic: &[u8],
        partition: i32,
        before_offset: i64,
    ) -> Result<(), ClusterError> {
        self.partition_mut(topic, partition)?
            .log
            .delete_before(before_offset);
        self.changed = true;
        Ok(())
    }

    /// Makes a partition lose its batches that reach to an offset or behind it, under a new leader epoch: what an
    /// unclean election does.
    pub fn lose_records(
        &mut self,
        topic: &[u8],
        partition: i32,
        from_offset: i64,
    ) -> Result<(), ClusterError> {
        self.partition_mut(topic, partition)?.lose_from(from_offset);
        self.changed = true;
        Ok(())
    }

    /// The records of a partition, control batches and batches that do not decode left out.
    pub fn records(&self, topic: &[u8], partition: i32) -> Result<Vec<StoredRecord>, ClusterError> {
        self.records_for(topic, partition, IsolationLevel::ReadUncommitted)
    }

    /// The records of a partition that such a reader sees.
    pub fn records_for(
        &self,
        topic: &[u8],
        partition: i32,
        isolation: IsolationLevel,
    ) -> Result<Vec<StoredRecord>, ClusterError> {
        Ok(self.partition_ref(topic, partition)?.log.records(isolation))
    }

    /// The offset that readers of committed records do not get past: where the oldest transaction
    /// began that has not ended, or the high watermark.
    pub fn last_stable_offset(&self, topic: &[u8], partition: i32) -> Result<i64, ClusterError> {
        let log = &self.partition_ref(topic, partition)?.log;
        Ok(log.last_stable_offset())
    }

    /// The batches of a partition as they were sent, but for base offset and leader epoch, which
    /// the broker fills in.
    pub fn batches(&self, topic: &[u8], partition: i32) -> Result<Vec<Bytes>, ClusterError> {
        Ok(self
            .partition_ref(topic, partition)?
            .log
            .batches()
            .cloned()
            .collect())
    }

    /// Appends one record batch to a partition, whoever leads it, and gives its base offset. It is
    /// checked like a produced one.
    pub fn append(
        &mut self,
        topic: &[u8],
        partition: i32,
        batch: Bytes,
    ) -> Result<i64, ClusterError> {
        let target = self.partition_mut(topic, partition)?;
        let batch = log::check_batch(batch).map_err(ClusterError::InvalidBatch)?;
        let appended = target.log.append(batch, target.leader_epoch);
        self.changed = true;
        Ok(appended.base_offset)
    }

    /// Appends bytes that a client is to get as they are, valid or not, and that take up `offsets`
    /// offsets: a damaged batch, one of an old format, or a control batch. Gives the first offset;
    /// the bytes are not touched, their own base offset included.
    pub fn append_unchecked(
        &mut self,
        topic: &[u8],
        partition: i32,
        bytes: Bytes,
        offsets: u32,
    ) -> Result<i64, ClusterError> {
        let offset = self
            .partition_mut(topic, partition)?
            .log
            .append_unchecked(bytes, offsets);
        self.changed = true;
        Ok(offset)
    }

    pub(crate) fn add_topic(&mut self, name: Bytes, partitions: i32) {
        let live = self.broker_ids().filter(|&id| self.is_up(id)).count();
        let factor = usize::try_from(self.config.default_replication_factor).unwrap_or(1);
        self.insert_topic(name, self.spread(partitions, factor.min(live)));
    }

    /// Replicas for each partition: a run of the brokers that are up, each partition's starting
    /// one further on. None of them up: the run is over all, and nobody leads.
    pub(crate) fn spread(&self, partitions: i32, replication: usize) -> Vec<Vec<i32>> {
        let live: Vec<i32> = self.broker_ids().filter(|&id| self.is_up(id)).collect();
        let all: Vec<i32> = if live.is_empty() {
            self.broker_ids().collect()
        } else {
            live
        };
        let starts = 0..usize::try_from(partitions).unwrap_or(0);
        let run = |start| {
            all.iter()
                .cycle()
                .skip(start % all.len())
                .take(replication.max(1))
        };
        starts.map(|start| run(start).copied().collect()).collect()
    }

    pub(crate) fn insert_topic(&mut self, name: Bytes, replicas: Vec<Vec<i32>>) {
        let id = topic::topic_id(self.topics_created);
        self.topics_created += 1;
        let mut partitions: Vec<Partition> = replicas.into_iter().map(Partition::new).collect();
        for partition in &mut partitions {
            partition.elect(|id| self.is_up(id));
        }
        self.topics.insert(name, Topic { id, partitions });
        self.changed = true;
    }

    pub(crate) fn remove_topic(&mut self, name: &[u8]) -> Option<Topic> {
        self.changed = true;
        self.groups.forget_topic(name);
        self.topics.remove(name)
    }

    /// Ids and numbers of partitions of all topics.
    pub(crate) fn topic_table(&self) -> TopicTable {
        let topics = self.topics.iter();
        // A topic has at most MAX_PARTITIONS.
        topics
            .map(|(name, topic)| (name.clone(), (topic.id, topic.partitions.len() as i32)))
            .collect()
    }

    pub(crate) fn topic_name(&self, id: &[u8; 16]) -> Option<&Bytes> {
        self.topics
            .iter()
            .find(|(_, topic)| topic.id == *id)
            .map(|(name, _)| name)
    }
}
