//! The cluster's topics, seen and changed by its owner instead of by requests.

use super::Cluster;
use crate::error::ClusterError;
use crate::log::{self, IsolationLevel, StoredRecord};
use crate::topic::{self, MAX_PARTITIONS};
use bytes::Bytes;

impl Cluster {
    /// Creates a topic with the default replication factor. Its partition `p` is led by the `p`-th
    /// of the brokers that are up, counted round and round.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<(), ClusterError> {
        if !topic::is_valid_name(name.as_bytes()) {
            return Err(ClusterError::InvalidTopicName(name.into()));
        }
        if self.state.topics.contains_key(name.as_bytes()) {
            return Err(ClusterError::TopicExists(name.into()));
        }
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(ClusterError::InvalidPartitionCount(partitions));
        }
        self.state
            .add_topic(Bytes::copy_from_slice(name.as_bytes()), partitions);
        Ok(())
    }

    /// Deletes a topic and its records; false if there was none.
    pub fn delete_topic(&mut self, name: &str) -> bool {
        self.state.remove_topic(name.as_bytes()).is_some()
    }

    /// The names of all topics, in byte order.
    pub fn topic_names(&self) -> impl Iterator<Item = &Bytes> {
        self.state.topics.keys()
    }

    /// Partitions of a topic that is created without a count.
    pub fn default_partitions(&self) -> i32 {
        self.state.config.default_partitions
    }

    /// The number of a topic's partitions.
    pub fn partition_count(&self, topic: &[u8]) -> Option<i32> {
        // A topic has at most MAX_PARTITIONS.
        self.state
            .topics
            .get(topic)
            .map(|topic| topic.partitions.len() as i32)
    }

    /// Node id of a partition's leader; -1 while no replica is up.
    pub fn leader(&self, topic: &[u8], partition: i32) -> Result<i32, ClusterError> {
        Ok(self.state.partition_ref(topic, partition)?.leader)
    }

    /// The offset that the next record of a partition gets.
    pub fn high_watermark(&self, topic: &[u8], partition: i32) -> Result<i64, ClusterError> {
        Ok(self
            .state
            .partition_ref(topic, partition)?
            .log
            .high_watermark())
    }

    /// The first offset that a partition still has.
    pub fn log_start_offset(&self, topic: &[u8], partition: i32) -> Result<i64, ClusterError> {
        Ok(self
            .state
            .partition_ref(topic, partition)?
            .log
            .start_offset())
    }

    /// Drops the records of a partition before an offset, as retention does. An offset outside of
    /// the log is taken as its nearest end.
    pub fn delete_records(
        &mut self,
        topic: &[u8],
        partition: i32,
        before_offset: i64,
    ) -> Result<(), ClusterError> {
        self.state
            .partition_mut(topic, partition)?
            .log
            .delete_before(before_offset);
        self.state.changed = true;
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
        self.state
            .partition_mut(topic, partition)?
            .lose_from(from_offset);
        self.state.changed = true;
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
        Ok(self
            .state
            .partition_ref(topic, partition)?
            .log
            .records(isolation))
    }

    /// The offset that readers of committed records do not get past: where the oldest transaction
    /// began that has not ended, or the high watermark.
    pub fn last_stable_offset(&self, topic: &[u8], partition: i32) -> Result<i64, ClusterError> {
        let log = &self.state.partition_ref(topic, partition)?.log;
        Ok(log.last_stable_offset())
    }

    /// The batches of a partition as they were sent, but for base offset and leader epoch, which
    /// the broker fills in.
    pub fn batches(&self, topic: &[u8], partition: i32) -> Result<Vec<Bytes>, ClusterError> {
        Ok(self
            .state
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
        let target = self.state.partition_mut(topic, partition)?;
        let batch = log::check_batch(batch).map_err(ClusterError::InvalidBatch)?;
        let appended = target.log.append(batch, target.leader_epoch);
        self.state.changed = true;
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
            .state
            .partition_mut(topic, partition)?
            .log
            .append_unchecked(bytes, offsets);
        self.state.changed = true;
        Ok(offset)
    }
}
