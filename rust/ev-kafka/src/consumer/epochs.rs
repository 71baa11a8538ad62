//! `EV::Kafka::Conn::_offset_for_leader_epoch`: whether a log that was read is still the leader's (KIP-320).

use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_wire::Message;
use perl_xs::{call, Arg, Av, Croak, Flow, Frame, Perl, Sv, XsubDef};

use crate::conn::{Answer, Completion, ConnHandle, Failure};

/// Kafka's word for a client in the field where a replica names itself.
const CLIENT_REPLICA_ID: i32 = -1;

/// What the warning about a callback that died starts with.
const CALLBACK_ERROR: &str = "EV::Kafka::Conn: callback error";

pub(super) static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::_offset_for_leader_epoch",
    body: offset_for_leader_epoch,
}];

/// `$conn->_offset_for_leader_epoch($topic, $partition, $current_leader_epoch, $epoch, $cb)`; the result is
/// `[$error_code, $epoch, $end_offset]`: the largest epoch up to the one asked for, and the offset after its last record.
fn offset_for_leader_epoch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let topic = Bytes::from(frame.bytes(1)?.unwrap_or_default());
    let partition = OffsetForLeaderPartition {
        partition: frame.int(2)?.unwrap_or(0) as i32,
        current_leader_epoch: frame.int(3)?.unwrap_or(-1) as i32,
        leader_epoch: frame.int(4)?.unwrap_or(-1) as i32,
    };
    let callback = frame
        .code(5)?
        .ok_or("_offset_for_leader_epoch: expected a callback")?;
    let request = OffsetForLeaderEpochRequest {
        replica_id: CLIENT_REPLICA_ID,
        topics: vec![OffsetForLeaderTopic {
            topic,
            partitions: vec![partition],
        }],
    };
    let conn = frame.object::<ConnHandle>()?;
    let weak = Rc::downgrade(&conn);
    let completion = Completion::Native(Box::new(move |perl, outcome| {
        complete(
            perl,
            &weak,
            &callback,
            outcome.map_err(Failure::into_reason),
        )
    }));
    conn.request(perl, &request, Duration::ZERO, completion)
}

fn complete(
    perl: Perl,
    conn: &Weak<ConnHandle>,
    callback: &Sv,
    outcome: Result<Answer, String>,
) -> Flow {
    let found = outcome.and_then(|answer| {
        let (response, truncated) =
            OffsetForLeaderEpochResponse::decode_partial(answer.body, answer.version);
        if let Some(conn) = conn.upgrade() {
            conn.throttle(answer.api, answer.version, response.throttle_time_ms);
        }
        let mut partitions = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions);
        match partitions.next() {
            Some(found) if !truncated => Ok(found),
            _ => Err("malformed OffsetForLeaderEpoch response".to_owned()),
        }
    });
    let called = match found {
        Ok(found) => call(perl, callback, &[Arg::Sv(&row(perl, &found)), Arg::Undef]),
        Err(reason) => call(perl, callback, &[Arg::Undef, Arg::Bytes(reason.as_bytes())]),
    };
    called.or_warn(perl, CALLBACK_ERROR)
}

fn row(perl: Perl, found: &EpochEndOffset) -> Sv {
    let mut row = Av::with_capacity(perl, 3);
    row.push(perl, Sv::int(perl, found.error_code.into()));
    row.push(perl, Sv::int(perl, found.leader_epoch.into()));
    row.push(perl, Sv::int(perl, found.end_offset));
    row.into_ref(perl)
}
