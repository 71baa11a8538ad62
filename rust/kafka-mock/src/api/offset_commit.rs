//! OffsetCommit: storing a group's positions.

use super::group::check_group;
use super::txn_offset_commit::check_offset;
use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::fault::Target;
use crate::groups::{Caller, CommittedOffset};
use crate::state::State;
use kafka_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use kafka_wire::{ApiKey, ErrorCode};

/// From here on topics are named by id (KIP-848).
const NAMES_BY_ID: i16 = ApiKey::OffsetCommit.names_topics_up_to() + 1;

impl Serve for OffsetCommitRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Read);

    fn needs(&self) -> Vec<Need> {
        vec![Need::group(&self.group_id, Operation::Read)]
    }

    fn targets(&self, cluster: &State) -> Vec<Target> {
        let mut targets = Vec::new();
        for topic in &self.topics {
            let name = cluster.topic_name(&topic.topic_id).unwrap_or(&topic.name);
            targets.extend(topic.partitions.iter().map(|partition| Target {
                topic: name.clone(),
                partition: Some(partition.partition_index),
            }));
        }
        targets
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let allowed = check(&self, state, &call);
        let mut topics = Vec::with_capacity(self.topics.len());
        for mut topic in self.topics {
            let by_id = call.version >= NAMES_BY_ID;
            let known = state.topic_name(&topic.topic_id).cloned();
            let is_unknown = by_id && known.is_none();
            if by_id {
                topic.name = known.unwrap_or_default();
            }
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let of = (topic.name.clone(), asked.partition_index);
                let offset = CommittedOffset {
                    offset: asked.committed_offset,
                    leader_epoch: asked.committed_leader_epoch,
                    metadata: asked.committed_metadata.unwrap_or_default(),
                };
                let stored = call.partition(&topic.name, asked.partition_index, || {
                    allowed?;
                    if is_unknown {
                        return Err(ErrorCode::UnknownTopicId.code());
                    }
                    check_offset(state, &of, &offset)?;
                    let group = state.groups.entry(&self.group_id);
                    group.offsets.commit(of, offset);
                    Ok(())
                });
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: asked.partition_index,
                    error_code: stored.err().unwrap_or(ErrorCode::None.code()),
                });
            }
            topics.push(OffsetCommitResponseTopic {
                name: topic.name,
                topic_id: topic.topic_id,
                partitions,
            });
        }
        call.answer::<Self>(&OffsetCommitResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            topics,
        })
    }
}

fn check(asked: &OffsetCommitRequest, state: &mut State, call: &Call) -> Result<(), i16> {
    check_group(state, call, &asked.group_id)?;
    let by = Caller {
        member_id: &asked.member_id,
        instance_id: asked.group_instance_id.as_ref(),
        generation: asked.generation_id_or_member_epoch,
    };
    let groups = &mut state.groups;
    groups.check_commit(&asked.group_id, &by, Some(call.version), call.now_ms)
}
