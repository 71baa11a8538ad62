//! OffsetFetch: reading a group's stored positions.

use super::group::check_group;
use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::fault::Target;
use crate::groups::{Caller, TopicPartition};
use crate::state::State;
use bytes::Bytes;
use kafka_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_wire::{ApiKey, ErrorCode, TopicId, NO_TOPIC_ID};

/// From here on an answer has an error code of its own.
const HAS_TOP_LEVEL_ERROR: i16 = 2;
/// From here on a request asks for many groups (KIP-709).
const MANY_GROUPS: i16 = 8;
/// From here on topics are named by id (KIP-848).
const NAMES_BY_ID: i16 = ApiKey::OffsetFetch.names_topics_up_to() + 1;

/// Offset and leader epoch when there are none.
const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

/// What is asked of one group, in whatever version.
struct Asked {
    group_id: Bytes,
    member_id: Bytes,
    member_epoch: i32,
    /// Null for all that are stored.
    topics: Option<Vec<AskedTopic>>,
}

/// A topic as it was asked for, and partitions of it.
#[derive(Clone)]
struct AskedTopic {
    name: Bytes,
    id: TopicId,
    partitions: Vec<i32>,
}

/// What one partition is answered with.
struct Stored {
    index: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Bytes,
    error_code: i16,
}

/// The topic, as it was asked for or is known.
type Found = Vec<(AskedTopic, Vec<Stored>)>;

impl Serve for OffsetFetchRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Describe);

    fn targets(&self, cluster: &State) -> Vec<Target> {
        let mut targets = Vec::new();
        for topic in self.asked().into_iter().flat_map(|a| a.topics).flatten() {
            let name = cluster.topic_name(&topic.id).unwrap_or(&topic.name);
            targets.extend(topic.partitions.into_iter().map(|index| Target {
                topic: name.clone(),
                partition: Some(index),
            }));
        }
        targets
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let throttle_time_ms = call.faults.throttle_time_ms();
        let asked = self.asked();
        let stable = self.require_stable;
        if call.version >= MANY_GROUPS {
            let of_group = |asked: Asked| {
                let (error_code, topics) = look_up(state, &call, &asked, stable);
                OffsetFetchResponseGroup {
                    group_id: asked.group_id,
                    topics: topics.into_iter().map(many_topic).collect(),
                    error_code,
                }
            };
            return call.answer::<Self>(&OffsetFetchResponse {
                throttle_time_ms,
                groups: asked.into_iter().map(of_group).collect(),
                ..Default::default()
            });
        }
        let mut error_code = ErrorCode::None.code();
        let mut topics = Vec::new();
        for asked in asked {
            let (code, found) = look_up(state, &call, &asked, stable);
            error_code = code;
            topics.extend(found.into_iter().map(one_topic));
        }
        call.answer::<Self>(&OffsetFetchResponse {
            throttle_time_ms,
            topics,
            error_code,
            ..Default::default()
        })
    }
}

/// The groups that are asked about.
trait AskedGroups {
    fn asked(&self) -> Vec<Asked>;
}

impl AskedGroups for OffsetFetchRequest {
    fn asked(&self) -> Vec<Asked> {
        if !self.groups.is_empty() {
            let of_group = self.groups.iter().map(|group| Asked {
                group_id: group.group_id.clone(),
                member_id: group.member_id.clone().unwrap_or_default(),
                member_epoch: group.member_epoch,
                topics: group.topics.as_ref().map(|topics| {
                    let named = topics.iter();
                    named
                        .map(|t| AskedTopic {
                            name: t.name.clone(),
                            id: t.topic_id,
                            partitions: t.partition_indexes.clone(),
                        })
                        .collect()
                }),
            });
            return of_group.collect();
        }
        let topics = self.topics.as_ref().map(|topics| {
            let named = topics.iter();
            named
                .map(|t| AskedTopic {
                    name: t.name.clone(),
                    id: NO_TOPIC_ID,
                    partitions: t.partition_indexes.clone(),
                })
                .collect()
        });
        vec![Asked {
            group_id: self.group_id.clone(),
            member_id: Bytes::new(),
            member_epoch: NO_EPOCH,
            topics,
        }]
    }
}

/// The error of the group as a whole, and what was found.
fn look_up(state: &State, call: &Call, asked: &Asked, stable: bool) -> (i16, Found) {
    let group = match call.faults.error_of_all() {
        Some(code) => Err(code),
        None => check(state, call, asked),
    };
    let none = ErrorCode::None.code();
    let by_id = call.version >= NAMES_BY_ID;
    let read = |topic: &Bytes, is_unknown: bool, index: i32| -> Stored {
        let of = (topic.clone(), index);
        let fault = call.faults.error_for(topic, Some(index));
        match (group, fault) {
            (Err(code), _) | (Ok(()), Some(code)) => nothing(index, code),
            (Ok(()), None) if is_unknown => nothing(index, ErrorCode::UnknownTopicId.code()),
            (Ok(()), None) => stored(state, &asked.group_id, &of, stable),
        }
    };
    let read_all = |topic: &AskedTopic| -> (AskedTopic, Vec<Stored>) {
        let known = state.topic_name(&topic.id);
        let is_unknown = by_id && known.is_none();
        let name = known.unwrap_or(&topic.name);
        let partitions = topic.partitions.iter();
        let stored = partitions.map(|&index| read(name, is_unknown, index));
        (topic.clone(), stored.collect())
    };
    let found = |topics: &[AskedTopic]| -> Found { topics.iter().map(read_all).collect() };
    match (group, &asked.topics) {
        (Err(code), _) if call.version >= HAS_TOP_LEVEL_ERROR => (code, Vec::new()),
        (_, Some(topics)) => (none, found(topics)),
        (_, None) => (none, found(&all_stored(state, &asked.group_id))),
    }
}

fn check(state: &State, call: &Call, asked: &Asked) -> Result<(), i16> {
    let need = Need::group(&asked.group_id, Operation::Describe);
    if let Some(code) = state.access.refusal(&call.user, &need) {
        return Err(code);
    }
    check_group(state, call, &asked.group_id)?;
    let by = Caller {
        member_id: &asked.member_id,
        instance_id: None,
        generation: asked.member_epoch,
    };
    state.groups.check_read(&asked.group_id, &by)
}

fn all_stored(state: &State, group_id: &[u8]) -> Vec<AskedTopic> {
    let mut topics: Vec<AskedTopic> = Vec::new();
    for ((topic, index), _) in state.groups.committed(group_id) {
        match topics.last_mut() {
            Some(last) if last.name == *topic => last.partitions.push(*index),
            _ => topics.push(AskedTopic {
                name: topic.clone(),
                id: state
                    .topics
                    .get(topic)
                    .map_or(NO_TOPIC_ID, |topic| topic.id),
                partitions: vec![*index],
            }),
        }
    }
    topics
}

/// A position that is about to change is not told to those who want it stable (KIP-447).
fn stored(state: &State, group_id: &[u8], of: &TopicPartition, stable: bool) -> Stored {
    let offsets = state.groups.get(group_id).map(|group| &group.offsets);
    if stable && offsets.is_some_and(|offsets| offsets.is_pending(of)) {
        return nothing(of.1, ErrorCode::UnstableOffsetCommit.code());
    }
    let none = ErrorCode::None.code();
    match offsets.and_then(|offsets| offsets.get(of)) {
        None => nothing(of.1, none),
        Some(found) => Stored {
            index: of.1,
            offset: found.offset,
            leader_epoch: found.leader_epoch,
            metadata: found.metadata.clone(),
            error_code: none,
        },
    }
}

fn nothing(index: i32, error_code: i16) -> Stored {
    Stored {
        index,
        offset: NO_OFFSET,
        leader_epoch: NO_EPOCH,
        metadata: Bytes::new(),
        error_code,
    }
}

fn one_topic((topic, partitions): (AskedTopic, Vec<Stored>)) -> OffsetFetchResponseTopic {
    let told = |stored: Stored| OffsetFetchResponsePartition {
        partition_index: stored.index,
        committed_offset: stored.offset,
        committed_leader_epoch: stored.leader_epoch,
        metadata: Some(stored.metadata),
        error_code: stored.error_code,
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: partitions.into_iter().map(told).collect(),
    }
}

fn many_topic((topic, partitions): (AskedTopic, Vec<Stored>)) -> OffsetFetchResponseTopics {
    let told = |stored: Stored| OffsetFetchResponsePartitions {
        partition_index: stored.index,
        committed_offset: stored.offset,
        committed_leader_epoch: stored.leader_epoch,
        metadata: Some(stored.metadata),
        error_code: stored.error_code,
    };
    OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.id,
        partitions: partitions.into_iter().map(told).collect(),
    }
}
