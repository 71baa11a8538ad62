//! TxnOffsetCommit: a group's positions as part of a transaction.

use super::group::check_group;
use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::fault::Target;
use crate::groups::{Caller, CommittedOffset, TopicPartition};
use crate::state::State;
use crate::transactions::Protocol;
use kafka_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};
use kafka_wire::ErrorCode;
use std::collections::BTreeSet;

/// From here on a client is told that it can abort and go on (KIP-890).
const TELLS_ABORTABLE: i16 = 4;
/// From here on the group becomes part of the transaction.
const ADDS_GROUP: i16 = 5;

impl Serve for TxnOffsetCommitRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Read);

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::transactional_id(&self.transactional_id, Operation::Write),
            Need::group(&self.group_id, Operation::Read),
        ]
    }

    fn targets(&self, _cluster: &State) -> Vec<Target> {
        let mut targets = Vec::new();
        for topic in &self.topics {
            targets.extend(topic.partitions.iter().map(|partition| Target {
                topic: topic.name.clone(),
                partition: Some(partition.partition_index),
            }));
        }
        targets
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let allowed = check(state, &call, &self);
        let mut topics = Vec::with_capacity(self.topics.len());
        for topic in self.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let of = (topic.name.clone(), asked.partition_index);
                let offset = CommittedOffset {
                    offset: asked.committed_offset,
                    leader_epoch: asked.committed_leader_epoch,
                    metadata: asked.committed_metadata.unwrap_or_default(),
                };
                let stored = call.partition(&of.0, of.1, || {
                    allowed?;
                    check_offset(state, &of, &offset)?;
                    let group = state.groups.entry(&self.group_id);
                    group
                        .offsets
                        .commit_pending(self.producer_id, of.clone(), offset);
                    Ok(())
                });
                partitions.push(TxnOffsetCommitResponsePartition {
                    partition_index: asked.partition_index,
                    error_code: stored.err().unwrap_or(ErrorCode::None.code()),
                });
            }
            topics.push(TxnOffsetCommitResponseTopic {
                name: topic.name,
                partitions,
            });
        }
        state.changed = true;
        call.answer::<Self>(&TxnOffsetCommitResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            topics,
        })
    }
}

fn check(state: &mut State, call: &Call, asked: &TxnOffsetCommitRequest) -> Result<(), i16> {
    check_group(state, call, &asked.group_id)?;
    let identity = (asked.producer_id, asked.producer_epoch);
    state.write_in_transaction(
        &asked.transactional_id,
        identity,
        Protocol::of_request(call.version, TELLS_ABORTABLE, ADDS_GROUP),
        BTreeSet::new(),
        BTreeSet::from([asked.group_id.clone()]),
        call.now_ms,
    )?;
    let by = Caller {
        member_id: &asked.member_id,
        instance_id: asked.group_instance_id.as_ref(),
        generation: asked.generation_id,
    };
    let groups = &mut state.groups;
    groups.check_commit(&asked.group_id, &by, None, call.now_ms)
}

/// Largest `metadata` that is stored: broker default of `offset.metadata.max.bytes`.
const MAX_METADATA_BYTES: usize = 4096;

/// Whether a position may be stored: its partition must be known, and its metadata short.
pub(super) fn check_offset(
    state: &State,
    (topic, partition): &TopicPartition,
    offset: &CommittedOffset,
) -> Result<(), i16> {
    if state.partition_ref(topic, *partition).is_err() {
        return Err(ErrorCode::UnknownTopicOrPartition.code());
    }
    if offset.metadata.len() > MAX_METADATA_BYTES {
        return Err(ErrorCode::OffsetMetadataTooLarge.code());
    }
    Ok(())
}
