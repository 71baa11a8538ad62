//! ShareGroupHeartbeat (KIP-932): all that a member of a share group asks its coordinator.

use super::consumer_group_heartbeat::by_topic;
use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::coordinators::CoordinatorKey;
use crate::groups::{Assigned, ShareBeat, JOIN, LEAVE};
use crate::state::State;
use bytes::Bytes;
use kafka_wire::error;
use kafka_wire::messages::share_group_heartbeat::{
    Assignment, ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse, TopicPartitions,
};
use kafka_wire::ErrorCode;

/// The characters of a UUID in base64url.
const MEMBER_ID_LEN: usize = 22;

/// An error and what is said about it.
type Refusal = (i16, &'static str);

impl Serve for ShareGroupHeartbeatRequest {
    fn needs(&self) -> Vec<Need> {
        let names = self.subscribed_topic_names.iter().flatten();
        let of_topics = names.map(|name| Need::topic(name, Operation::Describe));
        std::iter::once(Need::group(&self.group_id, Operation::Read))
            .chain(of_topics)
            .collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let mut text = None;
        let beaten = call.whole(|| {
            heartbeat(&self, state, &call).map_err(|(code, said)| {
                text = Some(said);
                code
            })
        });
        let throttle_time_ms = call.faults.throttle_time_ms();
        let response = match beaten {
            Ok((member_epoch, assigned)) => ShareGroupHeartbeatResponse {
                throttle_time_ms,
                member_id: Some(self.member_id.clone()),
                member_epoch,
                heartbeat_interval_ms: state.config.consumer_heartbeat_interval_ms,
                assignment: assigned.as_ref().map(assignment),
                ..Default::default()
            },
            Err(error_code) => ShareGroupHeartbeatResponse {
                throttle_time_ms,
                error_code,
                error_message: Some(text.unwrap_or(error::name(error_code)).into()),
                ..Default::default()
            },
        };
        call.answer::<Self>(&response)
    }
}

fn heartbeat(
    asked: &ShareGroupHeartbeatRequest,
    state: &mut State,
    call: &Call,
) -> Result<(i32, Option<Assigned>), Refusal> {
    let named = |code: i16| (code, error::name(code));
    state.check_shares().map_err(named)?;
    check(asked)?;
    state
        .check_coordinator(CoordinatorKey::Group, &asked.group_id, call.broker)
        .map_err(named)?;
    let names = asked.subscribed_topic_names.as_ref();
    let beat = ShareBeat {
        member_id: asked.member_id.clone(),
        epoch: asked.member_epoch,
        subscribed: names.map(|names| names.iter().cloned().collect()),
    };
    let topics = state.topic_table();
    let timeout_ms = state.config.consumer_session_timeout_ms;
    let groups = &mut state.groups;
    groups
        .share_heartbeat(&asked.group_id, beat, &topics, timeout_ms, call.now_ms)
        .map_err(named)
}

/// What a broker checks before it looks at the group.
fn check(asked: &ShareGroupHeartbeatRequest) -> Result<(), Refusal> {
    let epoch = asked.member_epoch;
    let has_empty_rack = asked.rack_id.as_ref().is_some_and(Bytes::is_empty);
    let wrong = [
        (asked.group_id.is_empty(), "GroupId can't be empty."),
        (
            !is_member_id(&asked.member_id),
            "MemberId must be a UUID in base64url.",
        ),
        (epoch < LEAVE, "MemberEpoch is invalid."),
        (has_empty_rack, "RackId can't be empty."),
        (
            epoch == JOIN
                && asked
                    .subscribed_topic_names
                    .as_ref()
                    .is_none_or(Vec::is_empty),
            "SubscribedTopicNames must be set in first request.",
        ),
    ];
    match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, text)) => Err((ErrorCode::InvalidRequest.code(), text)),
        None => Ok(()),
    }
}

/// Whether it is a UUID as Kafka writes it.
pub(super) fn is_member_id(id: &[u8]) -> bool {
    let is_of_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    id.len() == MEMBER_ID_LEN && id.iter().all(is_of_base64)
}

fn assignment(assigned: &Assigned) -> Assignment {
    let topics = by_topic(assigned).into_iter();
    Assignment {
        topic_partitions: topics
            .map(|(topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions,
            })
            .collect(),
    }
}
