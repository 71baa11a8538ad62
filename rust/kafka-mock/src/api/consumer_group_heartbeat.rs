//! ConsumerGroupHeartbeat (KIP-848): all that a member of the new protocol asks its coordinator.

use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::coordinators::CoordinatorKey;
use crate::features::GROUP_VERSION;
use crate::groups::{Assigned, Assignor, Beat, Beaten, Pattern, JOIN, LEAVE_FOR_NOW};
use crate::state::State;
use bytes::Bytes;
use kafka_wire::error;
use kafka_wire::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    HeartbeatTopicPartitions,
};
use kafka_wire::ErrorCode;
use std::collections::BTreeMap;

/// From here on members make their ids themselves (KIP-1082).
const MAKES_ITS_ID: i16 = 1;

/// An error and what is said about it.
type Refusal = (i16, &'static str);

impl Serve for ConsumerGroupHeartbeatRequest {
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
            let (code, said) = match heartbeat(&self, state, &call) {
                Ok(beaten) => return Ok(beaten),
                Err(refusal) => refusal,
            };
            text = Some(said);
            Err(code)
        });
        let throttle_time_ms = call.faults.throttle_time_ms();
        let response = match beaten {
            Ok((member_id, beaten)) => ConsumerGroupHeartbeatResponse {
                throttle_time_ms,
                member_id: Some(member_id),
                member_epoch: beaten.epoch,
                heartbeat_interval_ms: state.config.consumer_heartbeat_interval_ms,
                assignment: beaten.assignment.as_ref().map(assignment),
                ..Default::default()
            },
            Err(error_code) => ConsumerGroupHeartbeatResponse {
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
    asked: &ConsumerGroupHeartbeatRequest,
    state: &mut State,
    call: &Call,
) -> Result<(Bytes, Beaten), Refusal> {
    let named = |code: i16| (code, error::name(code));
    if state.features.level(GROUP_VERSION) == 0 {
        return Err(named(ErrorCode::UnsupportedVersion.code()));
    }
    check(asked, call.version)?;
    state
        .check_coordinator(CoordinatorKey::Group, &asked.group_id, call.broker)
        .map_err(named)?;
    let assignor = match asked.server_assignor.as_deref() {
        None => None,
        Some(name) => Some(Assignor::from_name(name).ok_or((
            ErrorCode::UnsupportedAssignor.code(),
            "ServerAssignor is not supported. Supported assignors: uniform, range.",
        ))?),
    };
    let beat = Beat {
        member_id: asked.member_id.clone(),
        epoch: asked.member_epoch,
        instance_id: asked.instance_id.clone(),
        rebalance_timeout_ms: u64::try_from(asked.rebalance_timeout_ms).ok(),
        named: asked
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().cloned().collect()),
        pattern: asked
            .subscribed_topic_regex
            .as_deref()
            .map(pattern)
            .transpose()?,
        assignor,
        owned: asked.topic_partitions.as_deref().map(owned),
    };
    let topics = state.topic_table();
    let session_timeout_ms = state.config.consumer_session_timeout_ms;
    let groups = &mut state.groups;
    groups
        .consumer_heartbeat(
            &asked.group_id,
            beat,
            &topics,
            session_timeout_ms,
            call.now_ms,
        )
        .map_err(named)
}

/// What a broker checks before it looks at the group.
fn check(asked: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), Refusal> {
    let epoch = asked.member_epoch;
    let is_absent = |text: &Bytes| text.is_empty();
    let has_regex = asked
        .subscribed_topic_regex
        .as_ref()
        .is_some_and(|r| !r.is_empty());
    let makes_its_id = version >= MAKES_ITS_ID || epoch != JOIN;
    let owns_something = asked
        .topic_partitions
        .as_ref()
        .is_none_or(|all| !all.is_empty());
    let wrong = [
        (is_absent(&asked.group_id), "GroupId can't be empty."),
        (makes_its_id && is_absent(&asked.member_id), "MemberId can't be empty."),
        (
            asked.instance_id.as_ref().is_some_and(is_absent),
            "InstanceId can't be empty.",
        ),
        (asked.rack_id.as_ref().is_some_and(is_absent), "RackId can't be empty."),
        (epoch < LEAVE_FOR_NOW, "MemberEpoch is invalid."),
        (
            epoch == LEAVE_FOR_NOW && asked.instance_id.is_none(),
            "InstanceId can't be null.",
        ),
        (
            epoch == JOIN && asked.rebalance_timeout_ms < 0,
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (
            epoch == JOIN && owns_something,
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            epoch == JOIN && asked.subscribed_topic_names.is_none() && !has_regex,
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
    ];
    if let Some((_, text)) = wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        return Err((ErrorCode::InvalidRequest.code(), text));
    }
    Ok(())
}

/// An empty one ends what was there.
fn pattern(text: &[u8]) -> Result<Option<Pattern>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    Pattern::new(text).map(Some).ok_or((
        ErrorCode::InvalidRegularExpression.code(),
        "SubscribedTopicRegex is not a valid regular expression.",
    ))
}

fn owned(topics: &[HeartbeatTopicPartitions]) -> Assigned {
    let mut all = Assigned::new();
    for topic in topics {
        let partitions = topic.partitions.iter();
        all.extend(partitions.map(|&partition| (topic.topic_id, partition)));
    }
    all
}

/// The numbers of partitions by topic.
pub(super) fn by_topic(assigned: &Assigned) -> BTreeMap<[u8; 16], Vec<i32>> {
    let mut by_topic: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
    for &(topic, partition) in assigned {
        by_topic.entry(topic).or_default().push(partition);
    }
    by_topic
}

fn assignment(assigned: &Assigned) -> Assignment {
    let topic_partitions = by_topic(assigned)
        .into_iter()
        .map(|(topic_id, partitions)| HeartbeatTopicPartitions {
            topic_id,
            partitions,
        })
        .collect();
    Assignment { topic_partitions }
}
