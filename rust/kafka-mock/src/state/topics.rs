//! Topics, as requests and their owner make and remove them.

use super::State;
use crate::groups::TopicTable;
use crate::topic::{self, Partition, Topic};
use bytes::Bytes;

impl State {
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
