//! ShareAcknowledge (KIP-932): settling records, and what that has in common with ShareFetch.

use super::share_group_heartbeat::is_member_id;
use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::fault::Target;
use crate::shares::{Opened, Place, Settling, CLOSES, OPENS, RENEW};
use crate::state::State;
use bytes::Bytes;
use kafka_wire::messages::share_acknowledge::{
    LeaderIdAndEpoch, PartitionData, ShareAcknowledgeRequest, ShareAcknowledgeResponse,
    ShareAcknowledgeTopicResponse,
};
use kafka_wire::ErrorCode;

/// What a request says of the records of partitions.
pub(super) type Said = Vec<(Place, Vec<Settling>)>;

impl Serve for ShareAcknowledgeRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Read);

    fn needs(&self) -> Vec<Need> {
        let group = self.group_id.iter();
        group.map(|id| Need::group(id, Operation::Read)).collect()
    }

    fn targets(&self, cluster: &State) -> Vec<Target> {
        targets(cluster, self.said().iter().map(|(place, _)| *place))
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let throttle_time_ms = call.faults.throttle_time_ms();
        let settled = match call.faults.error_of_all() {
            None => self.settle(state, &call),
            Some(code) => {
                if call.faults.applied_with_error() {
                    let _ = self.settle(state, &call);
                }
                state.forget_share_session_for(
                    code,
                    (&self.group_id, &self.member_id),
                    call.broker,
                );
                Err(code)
            }
        };
        let lock_ms = i32::try_from(state.config.share_lock_ms).unwrap_or(i32::MAX);
        call.answer::<Self>(&match settled {
            Ok(settled) => ShareAcknowledgeResponse {
                throttle_time_ms,
                acquisition_lock_timeout_ms: lock_ms,
                responses: settled
                    .into_iter()
                    .map(|(place, code)| answer(state, place, code))
                    .collect(),
                ..Default::default()
            },
            Err(error_code) => ShareAcknowledgeResponse {
                throttle_time_ms,
                error_code,
                ..Default::default()
            },
        })
    }
}

trait Says {
    fn said(&self) -> Said;
}

impl Says for ShareAcknowledgeRequest {
    fn said(&self) -> Said {
        let topics = self.topics.iter();
        topics
            .flat_map(|topic| {
                let partitions = topic.partitions.iter();
                partitions.map(|partition| {
                    let batches = partition.acknowledgement_batches.iter();
                    let settling = batches
                        .map(|b| (b.first_offset, b.last_offset, b.acknowledge_types.clone()));
                    (
                        (topic.topic_id, partition.partition_index),
                        settling.collect(),
                    )
                })
            })
            .collect()
    }
}

trait Settles {
    fn settle(&self, state: &mut State, call: &Call) -> Result<Vec<(Place, i16)>, i16>;
}

impl Settles for ShareAcknowledgeRequest {
    fn settle(&self, state: &mut State, call: &Call) -> Result<Vec<(Place, i16)>, i16> {
        let (group, member) = check_member(state, (&self.group_id, &self.member_id))?;
        if self.share_session_epoch == OPENS {
            return Err(ErrorCode::InvalidShareSessionEpoch.code());
        }
        let epoch = self.share_session_epoch;
        let said = self.said();
        check_said(&said, self.is_renew_ack)?;
        let sessions = &mut state.shares.sessions;
        let opened = sessions.go_on(&group, &member, call.broker, epoch)?;
        let settled = settle(state, call, (&group, &member), said);
        if opened == Opened::Closing {
            debug_assert_eq!(epoch, CLOSES);
            state.end_share_session(&group, &member, call.broker);
        }
        Ok(settled)
    }
}

fn answer(state: &State, place: Place, error_code: i16) -> ShareAcknowledgeTopicResponse {
    let (leader_id, leader_epoch) = state.leader_at(place, error_code);
    ShareAcknowledgeTopicResponse {
        topic_id: place.0,
        partitions: vec![PartitionData {
            partition_index: place.1,
            error_code,
            current_leader: LeaderIdAndEpoch {
                leader_id,
                leader_epoch,
            },
            ..Default::default()
        }],
    }
}

/// Topics and partitions, for fault rules.
pub(super) fn targets(cluster: &State, places: impl Iterator<Item = Place>) -> Vec<Target> {
    let target = |(id, partition): Place| {
        let topic = cluster.topic_name(&id)?.clone();
        let partition = Some(partition);
        Some(Target { topic, partition })
    };
    places.filter_map(target).collect()
}

/// Group and member, if there can be such.
pub(super) fn check_member(
    state: &State,
    (group, member): (&Option<Bytes>, &Option<Bytes>),
) -> Result<(Bytes, Bytes), i16> {
    state.check_shares()?;
    let invalid = ErrorCode::InvalidRequest.code();
    let group = group.clone().filter(|id| !id.is_empty()).ok_or(invalid)?;
    let member = member
        .clone()
        .filter(|id| is_member_id(id))
        .ok_or(invalid)?;
    Ok((group, member))
}

/// What a client renews it has to announce, and nothing else (KIP-1222).
pub(super) fn check_said(said: &Said, announced: bool) -> Result<(), i16> {
    let mut settling = said.iter().flat_map(|(_, settling)| settling);
    let renews = settling.any(|(_, _, kinds)| kinds.contains(&RENEW));
    match renews == announced {
        true => Ok(()),
        false => Err(ErrorCode::InvalidRequest.code()),
    }
}

/// Settles what is said of each partition; what there was to say nothing of is left out.
pub(super) fn settle(
    state: &mut State,
    call: &Call,
    (group, member): (&Bytes, &Bytes),
    said: Said,
) -> Vec<(Place, i16)> {
    let said = said
        .into_iter()
        .filter(|(_, settling)| !settling.is_empty());
    said.map(|(place, settling)| {
        let settled = state.topic_name(&place.0).cloned().map_or(
            Err(ErrorCode::UnknownTopicId.code()),
            |topic| {
                call.partition(&topic, place.1, || {
                    state.settle_shared(call, (group, member), (&topic, place), &settling)
                })
            },
        );
        (place, settled.err().unwrap_or(0))
    })
    .collect()
}
