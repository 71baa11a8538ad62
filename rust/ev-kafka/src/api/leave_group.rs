//! `leave_group`

use std::time::Duration;

use kafka_wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use kafka_wire::ApiKey;
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send, version_or_lowest};
use super::result::{Read, Shaped};
use super::shapes::outcome;
use crate::arguments::Arguments;
use crate::conn::ConnHandle;

/// The first version with a list of members (KIP-345).
const LISTS_FROM: i16 = 3;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::leave_group",
    body: leave_group,
}];

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
    if version_or_lowest(&handle, ApiKey::LeaveGroup) >= LISTS_FROM {
        request.members.push(MemberIdentity {
            member_id,
            ..Default::default()
        });
    } else {
        request.member_id = member_id;
    }
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for LeaveGroupResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// From version 3 on the answer is about the request, and about each member in it.
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let codes = self.members.iter().map(|member| member.error_code);
        let error_code = std::iter::once(self.error_code)
            .chain(codes)
            .find(|&code| code != 0);
        Ok(outcome(perl, error_code.unwrap_or(0)))
    }
}
