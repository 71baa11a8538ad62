//! Metadata: brokers, topics, partitions and their leaders.

use super::{Call, Outcome, Serve};
use crate::cluster::Cluster;
use crate::fault::{ActiveFaults, Target};
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
    fn targets(&self, cluster: &Cluster) -> Vec<Target> {
        let whole = |topic: &Bytes| Target {
            topic: topic.clone(),
            partition: None,
        };
        match &self.topics {
            Some(topics) if !topics.is_empty() => {
                let named = topics.iter().filter_map(|topic| match &topic.name {
                    Some(name) => Some(name),
                    None => cluster.topic_name(&topic.topic_id),
                });
                named.map(whole).collect()
            }
            _ => cluster.topics.keys().map(whole).collect(),
        }
    }

    fn serve(self, cluster: &mut Cluster, call: Call) -> Outcome {
        let topics = match self.topics {
            Some(topics) if !topics.is_empty() || call.version >= EMPTY_MEANS_NONE => {
                let create = self.allow_auto_topic_creation && cluster.config.auto_create_topics;
                topics
                    .into_iter()
                    .map(|topic| asked_topic(cluster, &call, topic, create))
                    .collect()
            }
            _ => {
                let all = cluster.topics.iter();
                all.map(|(name, topic)| known_topic(cluster, &call.faults, name, topic))
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
            brokers: live_brokers(cluster),
            cluster_id: Some(cluster.config.cluster_id.clone()),
            controller_id: cluster.controller(),
            topics,
            ..Default::default()
        })
    }
}

fn live_brokers(cluster: &Cluster) -> Vec<MetadataResponseBroker> {
    let live = cluster.broker_ids().filter(|&id| cluster.is_up(id));
    live.filter_map(|node_id| {
        let broker = cluster.broker(node_id)?;
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
    cluster: &mut Cluster,
    call: &Call,
    asked: MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    if asked.name.is_none() && call.version < TAKES_IDS {
        return failed_topic(Bytes::new(), ErrorCode::InvalidRequest.code());
    }
    let Some(name) = asked
        .name
        .or_else(|| cluster.topic_name(&asked.topic_id).cloned())
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
    if create && !cluster.topics.contains_key(&name) {
        cluster.add_topic(name.clone(), cluster.config.default_partitions);
    }
    match cluster.topics.get(&name) {
        Some(topic) => known_topic(cluster, &call.faults, &name, topic),
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
    cluster: &Cluster,
    faults: &ActiveFaults,
    name: &Bytes,
    topic: &Topic,
) -> MetadataResponseTopic {
    if let Some(code) = faults.error_for(name, None) {
        return failed_topic(name.clone(), code);
    }
    let described = (0..).zip(&topic.partitions).map(|(index, partition)| {
        let fault = faults.error_for(name, Some(index));
        describe(cluster, index, partition, fault)
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
    cluster: &Cluster,
    partition_index: i32,
    partition: &Partition,
    fault: Option<i16>,
) -> MetadataResponsePartition {
    let (live, offline): (Vec<i32>, Vec<i32>) = partition
        .replicas
        .iter()
        .partition(|&&id| cluster.is_up(id));
    let state = if partition.leader == NO_LEADER {
        ErrorCode::LeaderNotAvailable.code()
    } else {
        ErrorCode::None.code()
    };
    MetadataResponsePartition {
        error_code: fault.unwrap_or(state),
        partition_index,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: live,
        offline_replicas: offline,
    }
}
