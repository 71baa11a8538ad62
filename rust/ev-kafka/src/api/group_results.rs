//! What callbacks get for the answers about groups and transactions.

use kafka_wire::messages::add_offsets_to_txn::AddOffsetsToTxnResponse;
use kafka_wire::messages::add_partitions_to_txn::AddPartitionsToTxnResponse;
use kafka_wire::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use kafka_wire::messages::end_txn::EndTxnResponse;
use kafka_wire::messages::heartbeat::HeartbeatResponse;
use kafka_wire::messages::init_producer_id::InitProducerIdResponse;
use kafka_wire::messages::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use kafka_wire::messages::leave_group::LeaveGroupResponse;
use kafka_wire::messages::offset_commit::OffsetCommitResponse;
use kafka_wire::messages::offset_fetch::OffsetFetchResponse;
use kafka_wire::messages::sync_group::SyncGroupResponse;
use kafka_wire::messages::txn_offset_commit::TxnOffsetCommitResponse;
use kafka_wire::ApiKey;
use perl_xs::{Hv, Perl};

use super::consumer_group;
use super::results::{decode, finish, list, shape, store_optional, topics, Built};
use crate::conn::Answer;

/// The first OffsetFetch version with an error code of its own, beside those of partitions.
const OFFSET_FETCH_ERROR_FROM: i16 = 2;
/// The first OffsetFetch version whose answer is a list of groups (KIP-709).
const OFFSET_FETCH_LISTS_FROM: i16 = 8;

/// Builds what a callback gets.
pub(super) fn build(perl: Perl, answer: &Answer) -> Built {
    macro_rules! shaped {
        ($response:ty, $build:expr) => {
            shape(perl, answer, $build, |r: &$response| r.throttle_time_ms)
        };
    }
    macro_rules! code_only {
        ($response:ty) => {
            shaped!($response, |perl, r: &$response, _| Ok(outcome(
                perl,
                r.error_code
            )))
        };
    }
    match answer.api {
        ApiKey::JoinGroup => shaped!(JoinGroupResponse, join_group),
        ApiKey::SyncGroup => shaped!(SyncGroupResponse, sync_group),
        ApiKey::Heartbeat => code_only!(HeartbeatResponse),
        ApiKey::ConsumerGroupHeartbeat => {
            shaped!(ConsumerGroupHeartbeatResponse, consumer_group::result)
        }
        ApiKey::LeaveGroup => shaped!(LeaveGroupResponse, leave_group),
        ApiKey::OffsetCommit => shaped!(OffsetCommitResponse, offset_commit),
        ApiKey::OffsetFetch => offset_fetch(perl, answer),
        ApiKey::InitProducerId => shaped!(InitProducerIdResponse, init_producer_id),
        ApiKey::AddPartitionsToTxn => shaped!(AddPartitionsToTxnResponse, add_partitions_to_txn),
        ApiKey::AddOffsetsToTxn => code_only!(AddOffsetsToTxnResponse),
        ApiKey::EndTxn => code_only!(EndTxnResponse),
        ApiKey::TxnOffsetCommit => shaped!(TxnOffsetCommitResponse, txn_offset_commit),
        other => Built {
            result: Err(format!("no result is defined for {other}")),
            throttle_time_ms: 0,
        },
    }
}

/// The throttle time of an answer that nobody wants to see.
pub(super) fn throttle_time_ms(answer: &Answer) -> i32 {
    macro_rules! throttle {
        ($response:ty) => {
            decode::<$response>(answer).0.throttle_time_ms
        };
    }
    match answer.api {
        ApiKey::JoinGroup => throttle!(JoinGroupResponse),
        ApiKey::SyncGroup => throttle!(SyncGroupResponse),
        ApiKey::Heartbeat => throttle!(HeartbeatResponse),
        ApiKey::ConsumerGroupHeartbeat => throttle!(ConsumerGroupHeartbeatResponse),
        ApiKey::LeaveGroup => throttle!(LeaveGroupResponse),
        ApiKey::OffsetCommit => throttle!(OffsetCommitResponse),
        ApiKey::OffsetFetch => throttle!(OffsetFetchResponse),
        ApiKey::InitProducerId => throttle!(InitProducerIdResponse),
        ApiKey::AddPartitionsToTxn => throttle!(AddPartitionsToTxnResponse),
        ApiKey::AddOffsetsToTxn => throttle!(AddOffsetsToTxnResponse),
        ApiKey::EndTxn => throttle!(EndTxnResponse),
        ApiKey::TxnOffsetCommit => throttle!(TxnOffsetCommitResponse),
        _ => 0,
    }
}

/// `{ error_code }`
fn outcome(perl: Perl, error_code: i16) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "error_code", error_code.into());
    hash
}

/// Stores bytes of which brokers say by an empty value that there are none.
fn store_unless_empty(perl: Perl, hash: &mut Hv, key: &str, bytes: &[u8]) {
    store_optional(
        perl,
        hash,
        key,
        Some(bytes).filter(|bytes| !bytes.is_empty()),
    );
}

fn join_group(perl: Perl, response: &JoinGroupResponse, _: i16) -> Result<Hv, String> {
    let members = list(perl, &response.members, |member| {
        join_group_member(perl, member)
    });
    let mut hash = outcome(perl, response.error_code);
    hash.store_int(perl, "generation_id", response.generation_id.into());
    // Null from version 7 on where older versions have an empty name.
    let protocol_name = response.protocol_name.as_deref().unwrap_or_default();
    hash.store_bytes(perl, "protocol_name", protocol_name);
    hash.store_bytes(perl, "leader", &response.leader);
    hash.store_int(perl, "skip_assignment", response.skip_assignment.into());
    hash.store_bytes(perl, "member_id", &response.member_id);
    hash.store(perl, "members", members);
    Ok(hash)
}

fn join_group_member(perl: Perl, member: &JoinGroupResponseMember) -> Hv {
    let mut hash = Hv::new(perl);
    let instance = member.group_instance_id.as_deref();
    hash.store_bytes(perl, "member_id", &member.member_id);
    store_optional(perl, &mut hash, "group_instance_id", instance);
    store_unless_empty(perl, &mut hash, "metadata", &member.metadata);
    hash
}

fn sync_group(perl: Perl, response: &SyncGroupResponse, _: i16) -> Result<Hv, String> {
    let mut hash = outcome(perl, response.error_code);
    store_unless_empty(perl, &mut hash, "assignment", &response.assignment);
    Ok(hash)
}

/// From version 3 on the answer is about the request, and about each member in it.
fn leave_group(perl: Perl, response: &LeaveGroupResponse, _: i16) -> Result<Hv, String> {
    let codes = response.members.iter().map(|member| member.error_code);
    let error_code = std::iter::once(response.error_code)
        .chain(codes)
        .find(|&code| code != 0);
    Ok(outcome(perl, error_code.unwrap_or(0)))
}

/// `{ partition, error_code }`
fn partition_outcome(perl: Perl, partition: i32, error_code: i16) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "partition", partition.into());
    hash.store_int(perl, "error_code", error_code.into());
    hash
}

/// `{ topics => [{ topic, partitions => [{ partition, error_code }] }] }`, of types that differ in the
/// names of their fields.
macro_rules! partition_outcomes {
    ($perl:expr, $topics:expr, $partitions:ident, $error_code:ident) => {
        topics(
            $perl,
            $topics,
            |topic| &topic.name,
            |topic| {
                list($perl, &topic.$partitions, |partition| {
                    partition_outcome($perl, partition.partition_index, partition.$error_code)
                })
            },
        )
    };
}

fn offset_commit(perl: Perl, response: &OffsetCommitResponse, _: i16) -> Result<Hv, String> {
    let topics = &response.topics;
    Ok(partition_outcomes!(perl, topics, partitions, error_code))
}

fn txn_offset_commit(perl: Perl, response: &TxnOffsetCommitResponse, _: i16) -> Result<Hv, String> {
    let topics = &response.topics;
    Ok(partition_outcomes!(perl, topics, partitions, error_code))
}

fn add_partitions_to_txn(
    perl: Perl,
    response: &AddPartitionsToTxnResponse,
    _: i16,
) -> Result<Hv, String> {
    Ok(partition_outcomes!(
        perl,
        &response.results_by_topic_v3_and_below,
        results_by_partition,
        partition_error_code
    ))
}

fn init_producer_id(perl: Perl, response: &InitProducerIdResponse, _: i16) -> Result<Hv, String> {
    let mut hash = outcome(perl, response.error_code);
    hash.store_int(perl, "producer_id", response.producer_id);
    hash.store_int(perl, "producer_epoch", response.producer_epoch.into());
    Ok(hash)
}

/// What newer versions say of the one group that was asked for has the shape of older ones.
fn offset_fetch(perl: Perl, answer: &Answer) -> Built {
    let (response, truncated) = decode::<OffsetFetchResponse>(answer);
    let throttle_time_ms = response.throttle_time_ms;
    // The topics of both are of different types with the same fields.
    macro_rules! offsets {
        ($topics:expr) => {
            topics(
                perl,
                $topics,
                |topic| &topic.name,
                |topic| {
                    list(perl, &topic.partitions, |partition| {
                        fetched_offset(
                            perl,
                            partition.partition_index,
                            partition.committed_offset,
                            partition.committed_leader_epoch,
                            partition.metadata.as_deref(),
                            partition.error_code,
                        )
                    })
                },
            )
        };
    }
    let group = response.groups.first();
    let result = if answer.version < OFFSET_FETCH_LISTS_FROM {
        let told = answer.version >= OFFSET_FETCH_ERROR_FROM;
        let error_code = told.then_some(response.error_code);
        Ok((offsets!(&response.topics), error_code))
    } else if group.is_some() || truncated {
        let topics = group.into_iter().flat_map(|group| &group.topics);
        let error_code = group.map_or(0, |group| group.error_code);
        Ok((offsets!(topics), Some(error_code)))
    } else {
        Err("OffsetFetch: the answer names no group".into())
    };
    let finished = |(mut hash, error_code): (Hv, Option<i16>)| {
        if let Some(error_code) = error_code {
            hash.store_int(perl, "error_code", error_code.into());
        }
        finish(perl, hash, throttle_time_ms, truncated)
    };
    Built {
        result: result.map(finished),
        throttle_time_ms,
    }
}

fn fetched_offset(
    perl: Perl,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&[u8]>,
    error_code: i16,
) -> Hv {
    let mut hash = partition_outcome(perl, partition, error_code);
    hash.store_int(perl, "offset", offset);
    hash.store_int(perl, "leader_epoch", leader_epoch.into());
    store_optional(perl, &mut hash, "metadata", metadata);
    hash
}
