//! The methods of a group's member: `join_group`, `sync_group`, `heartbeat`, `leave_group`.

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::heartbeat::HeartbeatRequest;
use kafka_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka_wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use kafka_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use kafka_wire::{ApiKey, Writer};
use perl_xs::{Croak, Frame, XsubDef};

use super::request::{check_connected, completion};
use super::requests::{server_wait, version_or_lowest};
use crate::arguments::Arguments;
use crate::conn::ConnHandle;

/// The class of protocols that consumers agree on.
const PROTOCOL_TYPE: &[u8] = b"consumer";
/// The one assignment protocol that is offered.
const PROTOCOL: &[u8] = b"sticky";
/// Kafka's ConsumerProtocolSubscription: the version whose layout is written here.
const SUBSCRIPTION_VERSION: i16 = 0;
/// How long the coordinator waits for a heartbeat unless the caller says otherwise.
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// How long the coordinator waits for members to rejoin unless the caller says otherwise.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// How long a member may wait for the leader's assignment. The coordinator gives up on a leader
/// after the rebalance timeout, which SyncGroup does not carry; Kafka's own consumers have it at
/// this (`max.poll.interval.ms`).
const SYNC_GROUP_WAIT: Duration = Duration::from_secs(5 * 60);
/// The first LeaveGroup version with a list of members (KIP-345).
const LEAVE_GROUP_LISTS_FROM: i16 = 3;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::join_group",
        body: join_group,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_join_group",
        body: join_group_with,
    },
    XsubDef {
        name: "EV::Kafka::Conn::sync_group",
        body: sync_group,
    },
    XsubDef {
        name: "EV::Kafka::Conn::heartbeat",
        body: heartbeat,
    },
    XsubDef {
        name: "EV::Kafka::Conn::leave_group",
        body: leave_group,
    },
];

/// `join_group($group_id, $member_id, \@topics, $cb, [$session_timeout_ms, $rebalance_timeout_ms,
/// $group_instance_id])`
fn join_group(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "join_group");
    let group_id = args.string(1, "group_id")?;
    let member_id = args.string(2, "member_id")?;
    let topics = args.names(3, "topic")?;
    let callback = args.callback(4)?;
    let session_timeout_ms = args.int(5, "session_timeout_ms", SESSION_TIMEOUT_MS)?;
    let rebalance_timeout_ms = args.int(6, "rebalance_timeout_ms", REBALANCE_TIMEOUT_MS)?;
    let request = JoinGroupRequest {
        group_id,
        session_timeout_ms,
        rebalance_timeout_ms,
        member_id,
        group_instance_id: args.nullable_string(7, "group_instance_id")?,
        protocol_type: Bytes::from_static(PROTOCOL_TYPE),
        protocols: vec![JoinGroupRequestProtocol {
            name: Bytes::from_static(PROTOCOL),
            metadata: subscription(&args, &topics)?,
        }],
        ..Default::default()
    };
    // Version 0 has no rebalance timeout: the session timeout is its rebalance timeout too.
    let wait = server_wait(session_timeout_ms.max(rebalance_timeout_ms));
    let handle = frame.object::<ConnHandle>()?;
    handle.request(frame.perl(), &request, wait, completion(callback))
}

/// `_join_group($group_id, $member_id, \@protocols, $cb, $session_timeout_ms, $rebalance_timeout_ms,
/// $group_instance_id)`, where protocols are `[{ name => $name, metadata => $bytes }]`, the preferred one first.
fn join_group_with(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "_join_group");
    let session_timeout_ms = args.int(5, "session_timeout_ms", SESSION_TIMEOUT_MS)?;
    let rebalance_timeout_ms = args.int(6, "rebalance_timeout_ms", REBALANCE_TIMEOUT_MS)?;
    let request = JoinGroupRequest {
        group_id: args.string(1, "group_id")?,
        session_timeout_ms,
        rebalance_timeout_ms,
        member_id: args.string(2, "member_id")?,
        group_instance_id: args.nullable_string(7, "group_instance_id")?,
        protocol_type: Bytes::from_static(PROTOCOL_TYPE),
        protocols: protocols(&args, 3)?,
        ..Default::default()
    };
    let callback = args.callback(4)?;
    let wait = server_wait(session_timeout_ms.max(rebalance_timeout_ms));
    let handle = frame.object::<ConnHandle>()?;
    handle.request(frame.perl(), &request, wait, completion(callback))
}

fn protocols(
    args: &Arguments<'_, '_>,
    index: usize,
) -> Result<Vec<JoinGroupRequestProtocol>, Croak> {
    args.array(index)?
        .iter()
        .map(|element| {
            let element = args.hash(element, "bad element")?;
            Ok(JoinGroupRequestProtocol {
                name: element.string("name")?.unwrap_or_default(),
                metadata: element.bytes("metadata")?.unwrap_or_default().into(),
            })
        })
        .collect()
}

/// What a member tells the leader: the topics that it wants, and no user data.
fn subscription(args: &Arguments<'_, '_>, topics: &[Bytes]) -> Result<Bytes, Croak> {
    let mut writer = Writer::new();
    writer.put_i16(SUBSCRIPTION_VERSION);
    writer.put_i32(i32::try_from(topics.len()).map_err(|_| args.error("too many topics"))?);
    for topic in topics {
        writer
            .put_nullable_string(Some(topic))
            .map_err(|_| args.error("topic is too long"))?;
    }
    const NO_USER_DATA: i32 = -1;
    writer.put_i32(NO_USER_DATA);
    Ok(writer.into_segments().concat().into())
}

/// `sync_group($group_id, $generation_id, $member_id, \@assignments, $cb, [$group_instance_id])`
fn sync_group(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "sync_group");
    let request = SyncGroupRequest {
        group_id: args.string(1, "group_id")?,
        generation_id: args.int(2, "generation_id", 0)?,
        member_id: args.string(3, "member_id")?,
        assignments: assignments(&args, 4)?,
        group_instance_id: args.nullable_string(6, "group_instance_id")?,
        ..Default::default()
    };
    let callback = args.callback(5)?;
    let handle = frame.object::<ConnHandle>()?;
    let completion = completion(callback);
    handle.request(frame.perl(), &request, SYNC_GROUP_WAIT, completion)
}

/// `[{ member_id => $id, assignment => $bytes }]`; undef is the empty list of those that do not
/// lead.
fn assignments(
    args: &Arguments<'_, '_>,
    index: usize,
) -> Result<Vec<SyncGroupRequestAssignment>, Croak> {
    args.nullable_array(index)?
        .unwrap_or_default()
        .iter()
        .map(|element| {
            let element = args.hash(element, "bad element")?;
            Ok(SyncGroupRequestAssignment {
                member_id: element.string("member_id")?.unwrap_or_default(),
                assignment: element.bytes("assignment")?.unwrap_or_default().into(),
            })
        })
        .collect()
}

/// `heartbeat($group_id, $generation_id, $member_id, $cb, [$group_instance_id])`
fn heartbeat(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "heartbeat");
    let request = HeartbeatRequest {
        group_id: args.string(1, "group_id")?,
        generation_id: args.int(2, "generation_id", 0)?,
        member_id: args.string(3, "member_id")?,
        group_instance_id: args.nullable_string(5, "group_instance_id")?,
    };
    let callback = args.callback(4)?;
    let handle = frame.object::<ConnHandle>()?;
    handle.request(frame.perl(), &request, Duration::ZERO, completion(callback))
}

/// `leave_group($group_id, $member_id, $cb)`
fn leave_group(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "leave_group");
    let group_id = args.string(1, "group_id")?;
    let member_id = args.string(2, "member_id")?;
    let callback = args.callback(3)?;
    let handle = frame.object::<ConnHandle>()?;
    let mut request = LeaveGroupRequest {
        group_id,
        ..Default::default()
    };
    if version_or_lowest(&handle, ApiKey::LeaveGroup) >= LEAVE_GROUP_LISTS_FROM {
        request.members.push(MemberIdentity {
            member_id,
            ..Default::default()
        });
    } else {
        request.member_id = member_id;
    }
    handle.request(frame.perl(), &request, Duration::ZERO, completion(callback))
}
