//! `_offset_for_leader_epoch`: whether a log that was read is still the leader's (KIP-320).

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use perl_xs::{Av, Croak, Frame, Perl, Sv, XsubDef};

use super::request::{send_on, CLIENT_REPLICA_ID};
use super::result::decode;
use crate::arguments::NO_LEADER_EPOCH;
use crate::conn::{Answer, Built, Completion, ConnHandle, Kept};

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::_offset_for_leader_epoch",
    body: offset_for_leader_epoch,
}];

/// `$conn->_offset_for_leader_epoch($topic, $partition, $current_leader_epoch, $epoch, $cb)`; the result is
/// `[$error_code, $epoch, $end_offset]`: the largest epoch up to the one asked for, and the offset after its last record.
fn offset_for_leader_epoch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = Bytes::from(frame.bytes(1)?.unwrap_or_default());
    let epoch = |index| -> Result<i32, Croak> {
        Ok(frame
            .int(index)?
            .map_or(NO_LEADER_EPOCH, |epoch| epoch as i32))
    };
    let partition = OffsetForLeaderPartition {
        partition: frame.int(2)?.unwrap_or(0) as i32,
        current_leader_epoch: epoch(3)?,
        leader_epoch: epoch(4)?,
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
    let handle = frame.object::<ConnHandle>()?;
    let completion = Completion::Callback(callback, result);
    send_on(frame.perl(), &handle, &request, Duration::ZERO, completion)
}

fn result(perl: Perl, answer: &Answer, _: &Kept) -> Built {
    let (response, read) = decode::<OffsetForLeaderEpochResponse>(answer);
    let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let found = partitions.next().filter(|_| !read.truncated);
    Built {
        result: found
            .map(|found| row(perl, found))
            .ok_or_else(|| "malformed OffsetForLeaderEpoch response".into()),
        throttle_time_ms: response.throttle_time_ms,
    }
}

fn row(perl: Perl, found: &EpochEndOffset) -> Sv {
    let mut row = Av::with_capacity(perl, 3);
    row.push(perl, Sv::int(perl, found.error_code.into()));
    row.push(perl, Sv::int(perl, found.leader_epoch.into()));
    row.push(perl, Sv::int(perl, found.end_offset));
    row.into_ref(perl)
}
