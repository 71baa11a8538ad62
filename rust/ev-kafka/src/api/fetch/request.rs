//! Fetch requests, whoever sends them.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_conn::VersionError;
use kafka_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka_wire::{ApiKey, TopicId, NO_TOPIC_ID};

use crate::api::request::{by_topic, version_by_ids, TopicName};
use crate::arguments::NO_LEADER_EPOCH;
use crate::conn::ConnHandle;

/// The first version that asks whether the reader's log is still the leader's (KIP-595).
const LAST_EPOCH_FROM: i16 = 12;

/// The version of a request.
///
/// # Errors
/// The broker speaks no such version.
pub fn version(handle: &ConnHandle, has_ids: bool) -> Result<i16, VersionError> {
    version_by_ids(handle, ApiKey::Fetch, has_ids)
}

/// Whether a request at this version has the ids of its topics, not their names.
pub fn names_by_id(version: i16) -> bool {
    version > ApiKey::Fetch.names_topics_up_to()
}

/// What a request asks for beside its partitions.
pub struct Terms {
    /// Bytes of the answer, and of each partition in it.
    pub max_bytes: i32,
    /// How long the broker waits for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// The broker answers as soon as it has this many bytes.
    pub min_bytes: i32,
    /// 0 read_uncommitted, 1 read_committed.
    pub isolation_level: i8,
}

/// What counts unless the program says otherwise.
impl Default for Terms {
    fn default() -> Terms {
        Terms {
            max_bytes: 1 << 20,
            max_wait_ms: 500,
            min_bytes: 1,
            isolation_level: 0,
        }
    }
}

/// A partition to read from.
pub struct Part {
    pub topic: Bytes,
    pub topic_id: TopicId,
    pub partition: i32,
    pub offset: i64,
    /// The epoch of the leader that is asked (KIP-320); -1 when it is not known.
    pub leader_epoch: i32,
    /// The epoch of the last record that was read (KIP-595); -1 when it is not known.
    pub last_epoch: i32,
    /// Bytes of this partition, if not those of the terms.
    pub max_bytes: Option<i32>,
}

impl Part {
    /// From an offset on, with no id and no epochs known.
    pub fn new(topic: Bytes, partition: i32, offset: i64) -> Part {
        Part {
            topic,
            topic_id: NO_TOPIC_ID,
            partition,
            offset,
            leader_epoch: NO_LEADER_EPOCH,
            last_epoch: NO_LEADER_EPOCH,
            max_bytes: None,
        }
    }
}

/// The offset that was asked for of each topic and partition: brokers send whole batches, which
/// may begin before it.
#[derive(Default)]
pub struct Asked(HashMap<(Bytes, i32), i64>);

impl Asked {
    /// What these ask for. Of a partition that is named twice the first offset counts.
    pub fn new(parts: &[Part]) -> Asked {
        let mut offsets = HashMap::with_capacity(parts.len());
        for part in parts {
            let place = (part.topic.clone(), part.partition);
            offsets.entry(place).or_insert(part.offset);
        }
        Asked(offsets)
    }

    /// The offset; none for a partition that was not asked for.
    pub fn offset(&self, topic: &Bytes, partition: i32) -> Option<i64> {
        self.0.get(&(topic.clone(), partition)).copied()
    }
}

/// The request at the version to speak.
pub fn request(parts: Vec<Part>, terms: &Terms, version: i16) -> FetchRequest {
    let entries = parts.into_iter().map(|part| {
        let last_fetched_epoch = match version >= LAST_EPOCH_FROM {
            true => part.last_epoch,
            false => NO_LEADER_EPOCH,
        };
        let entry = FetchPartition {
            partition: part.partition,
            fetch_offset: part.offset,
            current_leader_epoch: part.leader_epoch,
            last_fetched_epoch,
            partition_max_bytes: part.max_bytes.unwrap_or(terms.max_bytes),
            ..Default::default()
        };
        let name = TopicName {
            id: part.topic_id,
            topic: part.topic,
        };
        (name, entry)
    });
    let topic = |(name, partitions): (TopicName, _)| FetchTopic {
        topic: name.topic,
        topic_id: name.id,
        partitions,
    };
    FetchRequest {
        max_wait_ms: terms.max_wait_ms,
        min_bytes: terms.min_bytes,
        max_bytes: terms.max_bytes,
        isolation_level: terms.isolation_level,
        topics: by_topic(entries).into_iter().map(topic).collect(),
        ..Default::default()
    }
}
