//! Produce: appending record batches to partitions.

use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::fault::Target;
use crate::log::{self, Appended, Stamp};
use crate::state::State;
use crate::topic::Partition;
use crate::transactions::Protocol;
use bytes::Bytes;
use kafka_wire::error;
use kafka_wire::messages::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use kafka_wire::{ApiKey, ErrorCode};
use std::collections::BTreeSet;

/// `acks` of a client that wants no answer.
const NO_ACKS: i16 = 0;
/// From here on an answer names the leader that should have been asked (KIP-951).
const NAMES_LEADER: i16 = 10;
/// From here on topics are named by id (KIP-516).
const NAMES_BY_ID: i16 = ApiKey::Produce.names_topics_up_to() + 1;
/// From here on a client is told that it can abort and go on (KIP-890).
const TELLS_ABORTABLE: i16 = 11;
/// From here on the partition becomes part of the transaction.
const ADDS_PARTITION: i16 = 12;
/// Values of `acks` that exist: all replicas, none, the leader.
const KNOWN_ACKS: std::ops::RangeInclusive<i16> = -1..=1;

impl Serve for ProduceRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Write);

    fn needs(&self) -> Vec<Need> {
        let id = self.transactional_id.iter();
        id.map(|id| Need::transactional_id(id, Operation::Write))
            .collect()
    }

    fn targets(&self, cluster: &State) -> Vec<Target> {
        let of_topic = |topic: &TopicProduceData| {
            let known = cluster.topic_name(&topic.topic_id);
            let name = known.unwrap_or(&topic.name).clone();
            let partitions = topic.partition_data.iter().map(|data| data.index);
            partitions
                .map(move |index| Target {
                    topic: name.clone(),
                    partition: Some(index),
                })
                .collect::<Vec<_>>()
        };
        self.topic_data.iter().flat_map(of_topic).collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let acks = self.acks;
        let sent = Sent {
            acks,
            transactional_id: self.transactional_id,
        };
        let responses: Vec<_> = self
            .topic_data
            .into_iter()
            .map(|topic| append_to_topic(state, &call, &sent, topic))
            .collect();
        if acks != NO_ACKS {
            return call.answer::<Self>(&ProduceResponse {
                node_endpoints: leader_endpoints(state, &responses),
                responses,
                throttle_time_ms: call.faults.throttle_time_ms(),
            });
        }
        // With no answer to carry an error, closing the connection is how a broker tells of it.
        let mut partitions = responses
            .iter()
            .flat_map(|topic| &topic.partition_responses);
        match partitions.find(|partition| partition.error_code != ErrorCode::None.code()) {
            Some(failed) => Outcome::Close(format!(
                "Produce with acks 0 failed: {}",
                error::name(failed.error_code)
            )),
            None => call.unanswered(),
        }
    }
}

/// What a Produce says about all of its batches.
struct Sent {
    acks: i16,
    transactional_id: Option<Bytes>,
}

fn append_to_topic(
    state: &mut State,
    call: &Call,
    sent: &Sent,
    topic: TopicProduceData,
) -> TopicProduceResponse {
    let by_id = call.version >= NAMES_BY_ID;
    let name = match by_id {
        true => state.topic_name(&topic.topic_id).cloned(),
        false => Some(topic.name),
    };
    let partition_responses = topic.partition_data.into_iter().map(|data| match &name {
        Some(name) => append_to_partition(state, call, sent, name, data),
        None => PartitionProduceResponse {
            index: data.index,
            error_code: ErrorCode::UnknownTopicId.code(),
            base_offset: -1,
            ..Default::default()
        },
    });
    TopicProduceResponse {
        partition_responses: partition_responses.collect(),
        name: name.filter(|_| !by_id).unwrap_or_default(),
        topic_id: topic.topic_id,
    }
}

fn append_to_partition(
    state: &mut State,
    call: &Call,
    sent: &Sent,
    topic: &Bytes,
    data: PartitionProduceData,
) -> PartitionProduceResponse {
    let index = data.index;
    let fault = call.faults.error_for(topic, Some(index));
    let outcome = if fault.is_none() || call.faults.applies_to(topic, Some(index)) {
        append(state, call, sent, topic, data)
    } else {
        Ok(Appended::default())
    };
    let error_code = match (fault, outcome) {
        (None, Ok(appended)) => {
            return PartitionProduceResponse {
                index,
                base_offset: appended.base_offset,
                log_start_offset: appended.log_start_offset,
                ..Default::default()
            }
        }
        (Some(error_code), _) | (None, Err(error_code)) => error_code,
    };
    PartitionProduceResponse {
        index,
        error_code,
        base_offset: -1,
        current_leader: current_leader(state, call, error_code, topic, index),
        ..Default::default()
    }
}

/// Who leads instead, for a client that asked the wrong broker (KIP-951).
fn current_leader(
    state: &State,
    call: &Call,
    error_code: i16,
    topic: &[u8],
    partition: i32,
) -> LeaderIdAndEpoch {
    match state.partition_ref(topic, partition) {
        Ok(partition)
            if call.version >= NAMES_LEADER
                && error_code == ErrorCode::NotLeaderOrFollower.code() =>
        {
            let Partition {
                leader: leader_id,
                leader_epoch,
                ..
            } = *partition;
            LeaderIdAndEpoch {
                leader_id,
                leader_epoch,
            }
        }
        _ => LeaderIdAndEpoch::default(),
    }
}

/// Where the leaders listen that an answer points to (KIP-951).
fn leader_endpoints(state: &State, responses: &[TopicProduceResponse]) -> Vec<NodeEndpoint> {
    let partitions = responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    let leaders: BTreeSet<i32> = partitions.map(|p| p.current_leader.leader_id).collect();
    let known = leaders.into_iter().filter_map(|node_id| {
        let broker = state.broker(node_id)?;
        Some(NodeEndpoint {
            node_id,
            host: broker.host.clone(),
            port: broker.port,
            rack: None,
        })
    });
    known.collect()
}

/// Appends the one batch that a Produce carries for a partition, or says with which error not.
fn append(
    state: &mut State,
    call: &Call,
    sent: &Sent,
    topic: &Bytes,
    data: PartitionProduceData,
) -> Result<Appended, i16> {
    if !KNOWN_ACKS.contains(&sent.acks) {
        return Err(ErrorCode::InvalidRequiredAcks.code());
    }
    let max_message_bytes = state.config.max_message_bytes;
    let partition = state
        .partition_ref(topic, data.index)
        .map_err(|_| ErrorCode::UnknownTopicOrPartition.code())?;
    if partition.leader != call.broker {
        return Err(ErrorCode::NotLeaderOrFollower.code());
    }
    let records = data.records.unwrap_or_default().into_bytes();
    let batch = log::check_produced(records, call.version)?;
    if batch.bytes.len() > max_message_bytes {
        return Err(ErrorCode::MessageTooLarge.code());
    }
    let protocol = Protocol::of_request(call.version, TELLS_ABORTABLE, ADDS_PARTITION);
    let mut must_begin = false;
    if let Some(stamp) = batch.stamp.filter(|stamp| stamp.transactional) {
        let place = (topic, data.index);
        must_begin = begin_in_transaction(state, call, sent, place, (&stamp, protocol))?
            && protocol == Protocol::Implicit;
    }
    let partition = state
        .partition_mut(topic, data.index)
        .map_err(|_| ErrorCode::UnknownTopicOrPartition.code())?;
    let appended = partition
        .log
        .append_produced(batch, partition.leader_epoch, must_begin)?;
    state.changed = true;
    Ok(appended)
}

/// A partition to which a transaction has not written yet asks the coordinator whether it may, or to become part of it
/// (KIP-890). Whether it was such a one.
fn begin_in_transaction(
    state: &mut State,
    call: &Call,
    sent: &Sent,
    (topic, index): (&Bytes, i32),
    (stamp, protocol): (&Stamp, Protocol),
) -> Result<bool, i16> {
    let Some(id) = &sent.transactional_id else {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed.code());
    };
    let is_open = state.partition_ref(topic, index).is_ok_and(|partition| {
        partition
            .log
            .has_open_transaction(stamp.producer_id, stamp.epoch)
    });
    if is_open {
        return Ok(false);
    }
    let identity = (stamp.producer_id, stamp.epoch);
    let partitions = BTreeSet::from([(topic.clone(), index)]);
    let groups = BTreeSet::new();
    state.write_in_transaction(id, identity, protocol, partitions, groups, call.now_ms)?;
    Ok(true)
}
