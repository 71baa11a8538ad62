//! `heartbeat`: a member tells that it lives.

use std::time::Duration;

use kafka_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::outcome;
use crate::arguments::Arguments;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::heartbeat",
    body: heartbeat,
}];

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
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for HeartbeatResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(outcome(perl, self.error_code))
    }
}
