//! Metadata: brokers, topics, partitions and their leaders.

use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::fault::{ActiveFaults, Target};
use crate::state::State;
use crate::topic::{self, Partition, Topic, NO_LEADER};
use bytes::Bytes;
use kafka_wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_wire::ErrorCode;

/// From here on an empty list of topics means none; before, it meant all.
const EMPTY_MEANS_NONE: i16 = 1;
/// Topics can be asked for by id from here on (KIP-516). The field is older, but brokers refuse it.
const TAKES_IDS: i16 = 12;

impl Serve for MetadataRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Describe);

    fn targets(&self, state: &State) -> Vec<Target> {
        let whole = |topic: &Bytes| Target {
            topic: topic.clone(),
            partition: None,
        };
        match &self.topics {
            Some(topics) if !topics.is_empty() => {
                let named = topics.iter().filter_map(|topic| match &topic.name {
                    Some(name) => Some(name),
                    None => state.topic_name(&topic.topic_id),
                });
                named.map(whole).collect()
            }
            _ => state.topics.keys().map(whole).collect(),
        }
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let topics = match self.topics {
            Some(topics) if !topics.is_empty() || call.version >= EMPTY_MEANS_NONE => {
                let create = self.allow_auto_topic_creation && state.config.auto_create_topics;
                topics
                    .into_iter()
                    .map(|topic| asked_topic(state, &call, topic, create))
                    .collect()
            }
            _ => {
                // Whoever asks for all is told of those it may see.
                let is_seen = |name: &Bytes| {
                    let need = Need::topic(name, Operation::Describe);
                    state.access.refusal(&call.user, &need).is_none()
                };
                let all = state.topics.iter().filter(|(name, _)| is_seen(name));
                all.map(|(name, topic)| known_topic(state, &call.faults, name, topic))
                    .collect()
            }
        };
        let rebootstrap = ErrorCode::RebootstrapRequired.code();
        let is_rebootstrap = call.faults.error() == Some(rebootstrap);
        call.answer::<Self>(&MetadataResponse {
            error_code: if is_rebootstrap {
                rebootstrap
            } else {
                ErrorCode::None.code()
            },
            throttle_time_ms: call.faults.throttle_time_ms(),
            brokers: live_brokers(state),
            cluster_id: Some(state.config.cluster_id.clone()),
            controller_id: state.controller(),
            topics,
            ..Default::default()
        })
    }
}

fn live_brokers(state: &State) -> Vec<MetadataResponseBroker> {
    let live = state.broker_ids().filter(|&id| state.is_up(id));
    live.filter_map(|node_id| {
        let broker = state.broker(node_id)?;
        Some(MetadataResponseBroker {
            node_id,
            host: broker.host.clone(),
            port: broker.port,
            ..Default::default()
        })
    })
    .collect()
}

fn asked_topic(
    state: &mut State,
    call: &Call,
    asked: MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    if asked.name.is_none() && call.version < TAKES_IDS {
        return failed_topic(Bytes::new(), ErrorCode::InvalidRequest.code());
    }
    let Some(name) = asked
        .name
        .or_else(|| state.topic_name(&asked.topic_id).cloned())
    else {
        return MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId.code(),
            name: None,
            topic_id: asked.topic_id,
            ..Default::default()
        };
    };
    if !topic::is_valid_name(&name) {
        return failed_topic(name, ErrorCode::InvalidTopicException.code());
    }
    if let Some(code) = call.faults.error_for(&name, None) {
        return failed_topic(name, code);
    }
    if create && !state.topics.contains_key(&name) {
        let need = Need::topic(&name, Operation::Create);
        if let Some(code) = state.access.refusal(&call.user, &need) {
            return failed_topic(name, code);
        }
        state.add_topic(name.clone(), state.config.default_partitions);
    }
    match state.topics.get(&name) {
        Some(topic) => known_topic(state, &call.faults, &name, topic),
        None => failed_topic(name, ErrorCode::UnknownTopicOrPartition.code()),
    }
}

fn failed_topic(name: Bytes, error_code: i16) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code,
        name: Some(name),
        ..Default::default()
    }
}

fn known_topic(
    state: &State,
    faults: &ActiveFaults,
    name: &Bytes,
    topic: &Topic,
) -> MetadataResponseTopic {
    if let Some(code) = faults.error_for(name, None) {
        return failed_topic(name.clone(), code);
    }
    let described = (0..).zip(&topic.partitions).map(|(index, partition)| {
        let fault = faults.error_for(name, Some(index));
        describe(state, index, partition, fault)
    });
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(name.clone()),
        topic_id: topic.id,
        partitions: described.collect(),
        ..Default::default()
    }
}

fn describe(
    state: &State,
    partition_index: i32,
    partition: &Partition,
    fault: Option<i16>,
) -> MetadataResponsePartition {
    let (live, offline): (Vec<i32>, Vec<i32>) =
        partition.replicas.iter().partition(|&&id| state.is_up(id));
    let of_leader = if partition.leader == NO_LEADER {
        ErrorCode::LeaderNotAvailable.code()
    } else {
        ErrorCode::None.code()
    };
    MetadataResponsePartition {
        error_code: fault.unwrap_or(of_leader),
        partition_index,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: live,
        offline_replicas: offline,
    }
}
