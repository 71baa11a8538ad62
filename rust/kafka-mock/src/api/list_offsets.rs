//! ListOffsets: the first and last offset of a partition, and offsets by time.

use super::{Call, Outcome, Serve};
use crate::access::Operation;
use crate::fault::Target;
use crate::log::IsolationLevel;
use crate::state::State;
use bytes::Bytes;
use kafka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use kafka_wire::ErrorCode;

/// Timestamps that stand for something else than a time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The offset of the record with the highest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// The earliest offset on the broker's own disk (KIP-405): the log start, without tiered storage.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in tiered storage (KIP-1005): never any.
const LATEST_TIERED: i64 = -5;
/// The first offset that is to go there and has not yet (KIP-1023): never any.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Offset and timestamp when there is none.
const NOT_FOUND: (i64, i64) = (-1, -1);
/// The epoch of an answer without one.
const NO_EPOCH: i32 = -1;

/// From here on answers carry the leader epoch (KIP-320).
const TELLS_EPOCH: i16 = 4;

impl Serve for ListOffsetsRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Describe);

    fn targets(&self, _cluster: &State) -> Vec<Target> {
        let of_topic = |topic: &ListOffsetsTopic| {
            let name = topic.name.clone();
            let indexes: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
            indexes.into_iter().map(move |index| Target {
                topic: name.clone(),
                partition: Some(index),
            })
        };
        self.topics.iter().flat_map(of_topic).collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let isolation = IsolationLevel::from_code(self.isolation_level);
        let topics = self.topics.into_iter().map(|topic| {
            let look_up = |asked| look_up(state, &call, isolation, &topic.name, asked);
            let partitions = topic.partitions.iter().map(look_up).collect();
            ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions,
            }
        });
        call.answer::<Self>(&ListOffsetsResponse {
            topics: topics.collect(),
            throttle_time_ms: call.faults.throttle_time_ms(),
        })
    }
}

fn look_up(
    state: &State,
    call: &Call,
    isolation: IsolationLevel,
    topic: &Bytes,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let partition_index = asked.partition_index;
    match find(state, call, isolation, topic, asked) {
        Ok(((offset, timestamp), leader_epoch)) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: ErrorCode::None.code(),
            timestamp,
            offset,
            leader_epoch,
        },
        Err(error_code) => ListOffsetsPartitionResponse {
            partition_index,
            error_code,
            timestamp: -1,
            offset: -1,
            leader_epoch: NO_EPOCH,
        },
    }
}

/// Offset and timestamp, and the leader epoch.
fn find(
    state: &State,
    call: &Call,
    isolation: IsolationLevel,
    topic: &Bytes,
    asked: &ListOffsetsPartition,
) -> Result<((i64, i64), i32), i16> {
    if let Some(code) = call.faults.error_for(topic, Some(asked.partition_index)) {
        return Err(code);
    }
    let partition = state
        .partition_ref(topic, asked.partition_index)
        .map_err(|_| ErrorCode::UnknownTopicOrPartition.code())?;
    partition.check_leader(call.broker, asked.current_leader_epoch)?;
    let log = &partition.log;
    let end = log.end_for(isolation);
    let within = |found: Option<(i64, i64)>| found.filter(|&(offset, _)| offset < end);
    let found = match asked.timestamp {
        LATEST => (end, -1),
        EARLIEST | EARLIEST_LOCAL => (log.start_offset(), -1),
        MAX_TIMESTAMP => within(log.offset_of_max_timestamp()).unwrap_or(NOT_FOUND),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => NOT_FOUND,
        time if time < 0 => return Err(ErrorCode::UnsupportedVersion.code()),
        time => within(log.offset_at(time)).unwrap_or(NOT_FOUND),
    };
    let tells_epoch = call.version >= TELLS_EPOCH && found != NOT_FOUND;
    let epoch = if tells_epoch {
        partition.leader_epoch
    } else {
        NO_EPOCH
    };
    Ok((found, epoch))
}
