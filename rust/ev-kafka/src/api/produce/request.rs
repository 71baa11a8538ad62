//! Produce requests, whoever sends them.

use bytes::Bytes;
use kafka_conn::VersionError;
use kafka_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_wire::{ApiKey, Codec, Pieces};

use crate::api::request::{by_topic, version_by_ids, TopicName};
use crate::api::transaction_version::TransactionVersion;
use crate::conn::ConnHandle;

/// Acks when a program does not say.
pub const DEFAULT_ACKS: i16 = 1;
/// How long a broker may wait for its replicas before it answers a connection's requests, in milliseconds.
pub const TIMEOUT_MS: i32 = 30_000;
/// The first version that may carry zstd (KIP-110).
pub const ZSTD_FROM: i16 = 7;
/// The first version whose batches become part of a transaction by being written (KIP-890).
pub const IMPLICIT_FROM: i16 = 12;

/// The version of a request, which may be part of a transaction: a later one would put its partitions into a transaction
/// whose coordinator is told of them.
///
/// # Errors
/// The broker speaks no such version.
pub fn version(
    handle: &ConnHandle,
    part_of: Option<TransactionVersion>,
    has_ids: bool,
) -> Result<i16, VersionError> {
    match part_of {
        Some(TransactionVersion::Told) => {
            let most = TransactionVersion::Told.most(ApiKey::Produce);
            handle.version_up_to(ApiKey::Produce, most)
        }
        _ => version_by_ids(handle, ApiKey::Produce, has_ids),
    }
}

/// Whether what a request of this version brings becomes part of its transaction: before, the coordinator has to be told of it
/// (KIP-890).
pub fn takes_part(version: i16, part_of: Option<TransactionVersion>) -> bool {
    part_of != Some(TransactionVersion::Implicit) || version >= IMPLICIT_FROM
}

/// Whether a request at this version has the ids of its topics, not their names.
pub fn names_by_id(version: i16) -> bool {
    version > ApiKey::Produce.names_topics_up_to()
}

/// Whether a request at this version may carry batches that are compressed so.
pub fn carries(version: i16, codec: Codec) -> bool {
    codec != Codec::Zstd || version >= ZSTD_FROM
}

/// What a request says beside its batches.
pub struct Terms {
    /// Brokers look at it for transactional batches only.
    pub transactional_id: Option<Bytes>,
    /// -1, 0 or 1.
    pub acks: i16,
    /// How long the broker may wait for its replicas, in milliseconds.
    pub timeout_ms: i32,
}

/// The request with these batches, each of a topic and a partition.
pub fn request(
    terms: Terms,
    batches: impl IntoIterator<Item = (TopicName, i32, Pieces)>,
) -> ProduceRequest {
    let entries = batches.into_iter().map(|(topic, index, batch)| {
        let records = Some(batch);
        (topic, PartitionProduceData { index, records })
    });
    let topic = |(name, partition_data): (TopicName, _)| TopicProduceData {
        name: name.topic,
        topic_id: name.id,
        partition_data,
    };
    ProduceRequest {
        transactional_id: terms.transactional_id,
        acks: terms.acks,
        timeout_ms: terms.timeout_ms,
        topic_data: by_topic(entries).into_iter().map(topic).collect(),
    }
}
