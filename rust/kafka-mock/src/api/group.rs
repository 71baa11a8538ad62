//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup: what a member of a classic group asks its coordinator.

use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::coordinators::CoordinatorKey;
use crate::groups::{Answer, Caller, JoinRefused, Joining, Token};
use crate::state::State;
use bytes::Bytes;
use kafka_wire::messages::leave_group::{MemberIdentity, MemberResponse};
use kafka_wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_wire::ErrorCode;

/// From here on new members are given an id first, and join with it (KIP-394).
const MEMBER_ID_REQUIRED: i16 = 4;
/// From here on a leader can be told not to assign (KIP-814).
const SKIPS_ASSIGNMENT: i16 = 9;
/// From here on many members leave at once (KIP-345).
const LEAVES_MANY: i16 = 3;
/// From here on an answer without a protocol says null.
const NULL_PROTOCOL: i16 = 7;

/// A JoinGroup or SyncGroup whose answer depends on what other members do.
#[derive(Debug)]
pub(crate) struct WaitingMember {
    call: Call,
    pub token: Token,
}

impl WaitingMember {
    /// Answers, if the group is ready; else waits on.
    pub fn attempt(self: Box<Self>, state: &mut State) -> Outcome {
        match state.groups.answers.take(self.token) {
            Some(Answer::Join(response)) => answer_join(&self.call, response),
            Some(Answer::Sync(response)) => answer_sync(&self.call, response),
            None => Outcome::Member(self),
        }
    }
}

/// Checks whom a request about a group was sent to.
pub(super) fn check_group(state: &State, call: &Call, group_id: &[u8]) -> Result<(), i16> {
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.code());
    }
    state.check_coordinator(CoordinatorKey::Group, group_id, call.broker)
}

fn code_of(result: Result<(), i16>) -> i16 {
    result.err().unwrap_or(ErrorCode::None.code())
}

/// Whole, positive milliseconds.
fn milliseconds(value: i32) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl Serve for JoinGroupRequest {
    fn needs(&self) -> Vec<Need> {
        vec![Need::group(&self.group_id, Operation::Read)]
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let token = state.groups.new_token();
        let fault = call.faults.error();
        let refused: Result<(), JoinRefused> = match fault {
            Some(_) if !call.faults.applied_with_error() => Ok(()),
            _ => join(&self, state, &call, token),
        };
        state.changed = true;
        let refused = match (fault, refused) {
            (Some(code), _) => Some((code, self.member_id)),
            (None, refused) => refused.err(),
        };
        match refused {
            None => Box::new(WaitingMember { call, token }).attempt(state),
            Some((error_code, member_id)) => answer_join(
                &call,
                JoinGroupResponse {
                    error_code,
                    member_id,
                    ..Default::default()
                },
            ),
        }
    }
}

fn join(
    asked: &JoinGroupRequest,
    state: &mut State,
    call: &Call,
    token: Token,
) -> Result<(), JoinRefused> {
    let refused = |code: i16| (code, asked.member_id.clone());
    check_group(state, call, &asked.group_id).map_err(refused)?;
    let shortest = state.config.min_session_timeout_ms;
    if !(shortest..=MAX_SESSION_TIMEOUT_MS).contains(&asked.session_timeout_ms) {
        return Err(refused(ErrorCode::InvalidSessionTimeout.code()));
    }
    let session_timeout_ms = milliseconds(asked.session_timeout_ms);
    let protocols = asked.protocols.iter();
    let joining = Joining {
        member_id: asked.member_id.clone(),
        instance_id: asked.group_instance_id.clone(),
        session_timeout_ms,
        rebalance_timeout_ms: match asked.rebalance_timeout_ms {
            ..0 => session_timeout_ms,
            timeout => milliseconds(timeout),
        },
        protocol_type: asked.protocol_type.clone(),
        protocols: protocols
            .map(|protocol| (protocol.name.clone(), protocol.metadata.clone()))
            .collect(),
        must_know_id: call.version >= MEMBER_ID_REQUIRED,
        can_skip_assignment: call.version >= SKIPS_ASSIGNMENT,
    };
    let client_id = call.client_id.as_deref().unwrap_or_default();
    let groups = &mut state.groups;
    groups.join(&asked.group_id, joining, client_id, token, call.now_ms)
}

/// Broker default of `group.max.session.timeout.ms`: half an hour.
const MAX_SESSION_TIMEOUT_MS: i32 = 30 * 60 * 1000;

fn answer_join(call: &Call, mut response: JoinGroupResponse) -> Outcome {
    response.throttle_time_ms = call.faults.throttle_time_ms();
    if response.protocol_name.as_ref().is_none_or(Bytes::is_empty) {
        response.protocol_name = (call.version < NULL_PROTOCOL).then(Bytes::new);
    }
    // Names came with version 5.
    if call.version < 5 {
        for member in &mut response.members {
            member.group_instance_id = None;
        }
    }
    call.answer::<JoinGroupRequest>(&response)
}

impl Serve for SyncGroupRequest {
    fn needs(&self) -> Vec<Need> {
        vec![Need::group(&self.group_id, Operation::Read)]
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let token = state.groups.new_token();
        let synced = call.whole(|| {
            check_group(state, &call, &self.group_id)?;
            let by = Caller {
                member_id: &self.member_id,
                instance_id: self.group_instance_id.as_ref(),
                generation: self.generation_id,
            };
            let assignments = || {
                let all = self.assignments.iter();
                all.map(|a| (a.member_id.clone(), a.assignment.clone()))
                    .collect()
            };
            let groups = &mut state.groups;
            groups.sync(&self.group_id, &by, assignments, token, call.now_ms)
        });
        state.changed = true;
        match synced {
            Ok(()) => Box::new(WaitingMember { call, token }).attempt(state),
            Err(error_code) => answer_sync(
                &call,
                SyncGroupResponse {
                    error_code,
                    ..Default::default()
                },
            ),
        }
    }
}

fn answer_sync(call: &Call, mut response: SyncGroupResponse) -> Outcome {
    response.throttle_time_ms = call.faults.throttle_time_ms();
    call.answer::<SyncGroupRequest>(&response)
}

impl Serve for HeartbeatRequest {
    fn needs(&self) -> Vec<Need> {
        vec![Need::group(&self.group_id, Operation::Read)]
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let beaten = call.whole(|| {
            check_group(state, &call, &self.group_id)?;
            let by = Caller {
                member_id: &self.member_id,
                instance_id: self.group_instance_id.as_ref(),
                generation: self.generation_id,
            };
            let groups = &mut state.groups;
            groups.heartbeat(&self.group_id, &by, call.now_ms)
        });
        call.answer::<Self>(&HeartbeatResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            error_code: code_of(beaten),
        })
    }
}

impl Serve for LeaveGroupRequest {
    fn needs(&self) -> Vec<Need> {
        vec![Need::group(&self.group_id, Operation::Read)]
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let left = call.whole(|| {
            check_group(state, &call, &self.group_id)?;
            let leaving = match call.version >= LEAVES_MANY {
                true => self.members,
                false => vec![MemberIdentity {
                    member_id: self.member_id,
                    ..Default::default()
                }],
            };
            let results = leaving.into_iter().map(|member| {
                let name = member.group_instance_id;
                let groups = &mut state.groups;
                let left = groups.leave(
                    &self.group_id,
                    &member.member_id,
                    name.as_ref(),
                    call.now_ms,
                );
                MemberResponse {
                    member_id: member.member_id,
                    group_instance_id: name,
                    error_code: code_of(left),
                }
            });
            Ok(results.collect::<Vec<_>>())
        });
        state.changed = true;
        let (error_code, members) = match left {
            Err(code) => (code, Vec::new()),
            Ok(members) if call.version >= LEAVES_MANY => (ErrorCode::None.code(), members),
            Ok(members) => (
                members.first().map_or(0, |only| only.error_code),
                Vec::new(),
            ),
        };
        call.answer::<Self>(&LeaveGroupResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            error_code,
            members,
        })
    }
}
