//! From answers to the hashes that callbacks see.
//!
//! Keys that the documentation names are always there, except those that it calls optional.
//! `truncated => 1` marks an answer that broke off; it holds what was whole before the break.

use kafka_wire::messages::create_topics::CreateTopicsResponse;
use kafka_wire::messages::delete_topics::DeleteTopicsResponse;
use kafka_wire::messages::find_coordinator::FindCoordinatorResponse;
use kafka_wire::messages::list_offsets::ListOffsetsResponse;
use kafka_wire::messages::metadata::{
    MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_wire::messages::produce::{PartitionProduceResponse, ProduceResponse};
use kafka_wire::messages::FetchResponse;
use kafka_wire::{ApiKey, Message};
use perl_xs::{Av, Hv, Perl, Sv};

use super::fetched;
use super::group_results;
use crate::conn::Answer;
use crate::strings::Strings;

/// A decoded answer.
pub struct Built {
    /// The reference to a hash for the callback, or why there is none.
    pub result: Result<Sv, String>,
    /// For how long the broker wants nothing sent to it (KIP-219), in milliseconds.
    pub throttle_time_ms: i32,
}

/// Builds what a callback gets for an answer.
pub fn build(perl: Perl, answer: &Answer) -> Built {
    match answer.api {
        ApiKey::Produce => shape(perl, answer, produce, |r: &ProduceResponse| {
            r.throttle_time_ms
        }),
        ApiKey::Fetch => shape(
            perl,
            answer,
            |perl, response, _| Ok(fetched::result(perl, response, &[], Strings::AsStored)),
            |r: &FetchResponse| r.throttle_time_ms,
        ),
        ApiKey::ListOffsets => shape(perl, answer, list_offsets, |r: &ListOffsetsResponse| {
            r.throttle_time_ms
        }),
        ApiKey::Metadata => shape(perl, answer, metadata, |r: &MetadataResponse| {
            r.throttle_time_ms
        }),
        ApiKey::FindCoordinator => shape(
            perl,
            answer,
            find_coordinator,
            |r: &FindCoordinatorResponse| r.throttle_time_ms,
        ),
        ApiKey::CreateTopics => shape(perl, answer, create_topics, |r: &CreateTopicsResponse| {
            r.throttle_time_ms
        }),
        ApiKey::DeleteTopics => shape(perl, answer, delete_topics, |r: &DeleteTopicsResponse| {
            r.throttle_time_ms
        }),
        _ => group_results::build(perl, answer),
    }
}

/// The throttle time of an answer that nobody wants to see.
pub fn throttle_time_ms(answer: &Answer) -> i32 {
    match answer.api {
        ApiKey::Produce => decode::<ProduceResponse>(answer).0.throttle_time_ms,
        ApiKey::Fetch => decode::<FetchResponse>(answer).0.throttle_time_ms,
        ApiKey::ListOffsets => decode::<ListOffsetsResponse>(answer).0.throttle_time_ms,
        ApiKey::Metadata => decode::<MetadataResponse>(answer).0.throttle_time_ms,
        ApiKey::FindCoordinator => decode::<FindCoordinatorResponse>(answer).0.throttle_time_ms,
        ApiKey::CreateTopics => decode::<CreateTopicsResponse>(answer).0.throttle_time_ms,
        ApiKey::DeleteTopics => decode::<DeleteTopicsResponse>(answer).0.throttle_time_ms,
        _ => group_results::throttle_time_ms(answer),
    }
}

/// What is there of an answer, and whether it broke off.
pub fn decode<M: Message>(answer: &Answer) -> (M, bool) {
    M::decode_partial(answer.body.clone(), answer.version)
}

/// Decodes an answer and builds its hash.
pub(super) fn shape<M: Message>(
    perl: Perl,
    answer: &Answer,
    build: fn(Perl, &M, i16) -> Result<Hv, String>,
    throttle: fn(&M) -> i32,
) -> Built {
    let (response, truncated) = decode::<M>(answer);
    let throttle_time_ms = throttle(&response);
    let result = build(perl, &response, answer.version)
        .map(|hash| finish(perl, hash, throttle_time_ms, truncated));
    Built {
        result,
        throttle_time_ms,
    }
}

/// The finished hash as a reference.
pub fn finish(perl: Perl, mut hash: Hv, throttle_time_ms: i32, truncated: bool) -> Sv {
    hash.store_int(perl, "throttle_time_ms", throttle_time_ms.into());
    if truncated {
        hash.store_int(perl, "truncated", 1);
    }
    hash.into_ref(perl)
}

/// An array reference with one element for each value.
pub fn list<'a, T: 'a>(
    perl: Perl,
    values: impl IntoIterator<Item = &'a T>,
    mut build: impl FnMut(&'a T) -> Hv,
) -> Sv {
    let mut array = Av::new(perl);
    for value in values {
        array.push(perl, build(value).into_ref(perl));
    }
    array.into_ref(perl)
}

fn ints(perl: Perl, values: &[i32]) -> Sv {
    let mut array = Av::with_capacity(perl, values.len());
    for &value in values {
        array.push(perl, Sv::int(perl, value.into()));
    }
    array.into_ref(perl)
}

/// Stores a text that a broker may leave out.
pub(super) fn store_optional(perl: Perl, hash: &mut Hv, key: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        hash.store_bytes(perl, key, value);
    }
}

/// Stores what went wrong in words, if the broker says so. Where a version has no such field, or a
/// broker has nothing to say, it is null or empty.
fn store_message(perl: Perl, hash: &mut Hv, message: Option<&[u8]>) {
    let message = message.filter(|message| !message.is_empty());
    store_optional(perl, hash, "error_message", message);
}

/// `{ topics => [...] }`, one hash for each topic: its name under `key`, and its partitions.
pub(super) fn topics<'a, T: 'a>(
    perl: Perl,
    topics: impl IntoIterator<Item = &'a T>,
    name: fn(&T) -> &[u8],
    partitions: impl Fn(&'a T) -> Sv,
) -> Hv {
    let mut hash = Hv::new(perl);
    let list = list(perl, topics, |topic| {
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "topic", name(topic));
        hash.store(perl, "partitions", partitions(topic));
        hash
    });
    hash.store(perl, "topics", list);
    hash
}

fn produce(perl: Perl, response: &ProduceResponse, _: i16) -> Result<Hv, String> {
    let partition = |partition: &PartitionProduceResponse| {
        let mut hash = Hv::new(perl);
        hash.store_int(perl, "partition", partition.index.into());
        hash.store_int(perl, "error_code", partition.error_code.into());
        hash.store_int(perl, "base_offset", partition.base_offset);
        store_message(perl, &mut hash, partition.error_message.as_deref());
        hash
    };
    Ok(topics(
        perl,
        &response.responses,
        |topic| &topic.name,
        |topic| list(perl, &topic.partition_responses, partition),
    ))
}

fn list_offsets(perl: Perl, response: &ListOffsetsResponse, _: i16) -> Result<Hv, String> {
    Ok(topics(
        perl,
        &response.topics,
        |topic| &topic.name,
        |topic| {
            list(perl, &topic.partitions, |partition| {
                let mut hash = Hv::new(perl);
                hash.store_int(perl, "partition", partition.partition_index.into());
                hash.store_int(perl, "error_code", partition.error_code.into());
                hash.store_int(perl, "timestamp", partition.timestamp);
                hash.store_int(perl, "offset", partition.offset);
                if partition.leader_epoch >= 0 {
                    hash.store_int(perl, "leader_epoch", partition.leader_epoch.into());
                }
                hash
            })
        },
    ))
}

fn metadata(perl: Perl, response: &MetadataResponse, _: i16) -> Result<Hv, String> {
    let mut hash = metadata_head(perl, response);
    hash.store(
        perl,
        "topics",
        list(perl, &response.topics, |topic| metadata_topic(perl, topic)),
    );
    Ok(hash)
}

/// What it says of the cluster and its brokers.
pub fn metadata_head(perl: Perl, response: &MetadataResponse) -> Hv {
    let brokers = list(perl, &response.brokers, |broker| {
        let mut hash = Hv::new(perl);
        hash.store_int(perl, "node_id", broker.node_id.into());
        hash.store_bytes(perl, "host", &broker.host);
        hash.store_int(perl, "port", broker.port.into());
        store_optional(perl, &mut hash, "rack", broker.rack.as_deref());
        hash
    });
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "error_code", response.error_code.into());
    hash.store_int(perl, "controller_id", response.controller_id.into());
    store_optional(
        perl,
        &mut hash,
        "cluster_id",
        response.cluster_id.as_deref(),
    );
    hash.store(perl, "brokers", brokers);
    hash
}

/// The id of a topic that has none, or of which the version says none (KIP-516).
const NO_TOPIC_ID: [u8; 16] = [0; 16];

/// A topic and its partitions.
pub fn metadata_topic(perl: Perl, topic: &MetadataResponseTopic) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store(
        perl,
        "name",
        Sv::bytes_or_undef(perl, topic.name.as_deref()),
    );
    hash.store_int(perl, "error_code", topic.error_code.into());
    hash.store_int(perl, "is_internal", topic.is_internal.into());
    if topic.topic_id != NO_TOPIC_ID {
        hash.store_bytes(perl, "topic_id", &topic.topic_id);
    }
    let partitions = list(
        perl,
        &topic.partitions,
        |partition: &MetadataResponsePartition| {
            let mut hash = Hv::new(perl);
            hash.store_int(perl, "partition", partition.partition_index.into());
            hash.store_int(perl, "leader", partition.leader_id.into());
            hash.store_int(perl, "leader_epoch", partition.leader_epoch.into());
            hash.store_int(perl, "error_code", partition.error_code.into());
            hash.store(perl, "replicas", ints(perl, &partition.replica_nodes));
            hash.store(perl, "isr", ints(perl, &partition.isr_nodes));
            hash
        },
    );
    hash.store(perl, "partitions", partitions);
    hash
}

/// The first version whose answer is a list, one coordinator for each key (KIP-699).
const FIND_COORDINATOR_LISTS_FROM: i16 = 4;

fn find_coordinator(
    perl: Perl,
    response: &FindCoordinatorResponse,
    version: i16,
) -> Result<Hv, String> {
    let mut hash = Hv::new(perl);
    let (error_code, error_message, node_id, host, port) = if version < FIND_COORDINATOR_LISTS_FROM
    {
        (
            response.error_code,
            &response.error_message,
            response.node_id,
            &response.host,
            response.port,
        )
    } else {
        let only = response
            .coordinators
            .first()
            .ok_or("FindCoordinator: the answer names no coordinator")?;
        (
            only.error_code,
            &only.error_message,
            only.node_id,
            &only.host,
            only.port,
        )
    };
    hash.store_int(perl, "error_code", error_code.into());
    store_message(perl, &mut hash, error_message.as_deref());
    hash.store_int(perl, "node_id", node_id.into());
    hash.store_bytes(perl, "host", host);
    hash.store_int(perl, "port", port.into());
    Ok(hash)
}

fn create_topics(perl: Perl, response: &CreateTopicsResponse, _: i16) -> Result<Hv, String> {
    let topics = list(perl, &response.topics, |topic| {
        topic_outcome(
            perl,
            Some(&topic.name),
            topic.error_code,
            topic.error_message.as_deref(),
        )
    });
    let mut hash = Hv::new(perl);
    hash.store(perl, "topics", topics);
    Ok(hash)
}

fn delete_topics(perl: Perl, response: &DeleteTopicsResponse, _: i16) -> Result<Hv, String> {
    let topics = list(perl, &response.responses, |topic| {
        topic_outcome(
            perl,
            topic.name.as_deref(),
            topic.error_code,
            topic.error_message.as_deref(),
        )
    });
    let mut hash = Hv::new(perl);
    hash.store(perl, "topics", topics);
    Ok(hash)
}

fn topic_outcome(
    perl: Perl,
    name: Option<&[u8]>,
    error_code: i16,
    error_message: Option<&[u8]>,
) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store(perl, "name", Sv::bytes_or_undef(perl, name));
    hash.store_int(perl, "error_code", error_code.into());
    store_message(perl, &mut hash, error_message);
    hash
}
