//! `join_group` and `_join_group`: becoming or staying a member of a group.

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use kafka_wire::Writer;
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send, server_wait};
use super::result::{Read, Shaped};
use super::shapes::{list, outcome, store_optional, store_unless_empty};
use crate::arguments::Arguments;

/// The class of protocols that consumers agree on.
const PROTOCOL_TYPE: &[u8] = b"consumer";
/// The one assignment protocol that `join_group` offers.
const PROTOCOL: &[u8] = b"sticky";
/// Kafka's ConsumerProtocolSubscription: the version whose layout is written here.
const SUBSCRIPTION_VERSION: i16 = 0;
/// How long the coordinator waits for a heartbeat unless the caller says otherwise.
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// How long the coordinator waits for members to rejoin unless the caller says otherwise.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::join_group",
        body: join_group,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_join_group",
        body: join_group_with,
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
    send(frame, &request, wait_for_members(&request), callback)
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
    send(frame, &request, wait_for_members(&request), callback)
}

/// The coordinator answers when all members have joined. Version 0 has no rebalance timeout: the
/// session timeout is its rebalance timeout too.
fn wait_for_members(request: &JoinGroupRequest) -> Duration {
    server_wait(request.session_timeout_ms.max(request.rebalance_timeout_ms))
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

impl Shaped for JoinGroupResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ error_code, generation_id, protocol_name, leader, skip_assignment, member_id, members => [...] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let members = list(perl, &self.members, |member| member_hash(perl, member));
        let mut hash = outcome(perl, self.error_code);
        hash.store_int(perl, "generation_id", self.generation_id.into());
        // Null from version 7 on where older versions have an empty name.
        let protocol_name = self.protocol_name.as_deref().unwrap_or_default();
        hash.store_bytes(perl, "protocol_name", protocol_name);
        hash.store_bytes(perl, "leader", &self.leader);
        hash.store_int(perl, "skip_assignment", self.skip_assignment.into());
        hash.store_bytes(perl, "member_id", &self.member_id);
        hash.store(perl, "members", members);
        Ok(hash)
    }
}

/// `{ member_id, group_instance_id?, metadata? }`
fn member_hash(perl: Perl, member: &JoinGroupResponseMember) -> Hv {
    let mut hash = Hv::new(perl);
    let instance = member.group_instance_id.as_deref();
    hash.store_bytes(perl, "member_id", &member.member_id);
    store_optional(perl, &mut hash, "group_instance_id", instance);
    store_unless_empty(perl, &mut hash, "metadata", &member.metadata);
    hash
}
