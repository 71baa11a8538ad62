//! `_share_group_heartbeat`, with which a member of a share group (KIP-932) joins, stays and leaves.

use std::time::Duration;

use kafka_wire::messages::share_group_heartbeat::{
    ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse,
};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::{list, outcome, store_optional, topic_partitions};
use crate::arguments::Arguments;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::_share_group_heartbeat",
    body: share_group_heartbeat,
}];

/// `_share_group_heartbeat($group_id, $member_id, $member_epoch, \@topics, $rack, $cb)`. What is undef has not changed since
/// the last time.
fn share_group_heartbeat(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "_share_group_heartbeat");
    let request = ShareGroupHeartbeatRequest {
        group_id: args.string(1, "group_id")?,
        member_id: args.string(2, "member_id")?,
        member_epoch: args.int(3, "member_epoch", 0)?,
        subscribed_topic_names: args.nullable_names(4, "topic")?,
        rack_id: args.nullable_string(5, "rack")?,
    };
    let callback = args.callback(6)?;
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for ShareGroupHeartbeatResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ error_code, error_message?, member_id?, member_epoch, heartbeat_interval_ms, assignment? }`, the assignment
    /// as `[{ topic => $id, partitions => [$number] }]`.
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let mut hash = outcome(perl, self.error_code);
        hash.store_int(perl, "member_epoch", self.member_epoch.into());
        let interval = self.heartbeat_interval_ms.into();
        hash.store_int(perl, "heartbeat_interval_ms", interval);
        let message = self.error_message.as_deref();
        store_optional(perl, &mut hash, "error_message", message);
        store_optional(perl, &mut hash, "member_id", self.member_id.as_deref());
        if let Some(assignment) = &self.assignment {
            let topics = list(perl, &assignment.topic_partitions, |topic| {
                topic_partitions(perl, &topic.topic_id, &topic.partitions)
            });
            hash.store(perl, "assignment", topics);
        }
        Ok(hash)
    }
}
