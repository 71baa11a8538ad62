//! `sync_group`: the leader's assignment on its way to the members.

use std::time::Duration;

use kafka_wire::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::{outcome, store_unless_empty};
use crate::arguments::Arguments;

/// How long a member may wait for the leader's assignment. The coordinator gives up on a leader
/// after the rebalance timeout, which SyncGroup does not carry; Kafka's own consumers have it at
/// this (`max.poll.interval.ms`).
const WAIT: Duration = Duration::from_secs(5 * 60);

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::sync_group",
    body: sync_group,
}];

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
    send(frame, &request, WAIT, callback)
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

impl Shaped for SyncGroupResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ error_code, assignment? }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let mut hash = outcome(perl, self.error_code);
        store_unless_empty(perl, &mut hash, "assignment", &self.assignment);
        Ok(hash)
    }
}
