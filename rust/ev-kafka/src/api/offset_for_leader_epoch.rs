//! `_offset_for_leader_epoch`: whether logs that were read are still the leader's (KIP-320).

use kafka_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use perl_xs::{Croak, Frame, XsubDef};

use super::request::{check_connected, CLIENT_REPLICA_ID};
use super::rows::{send_rows, Answers, Found, Rows};
use crate::arguments::Arguments;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::_offset_for_leader_epoch",
    body: offset_for_leader_epoch,
}];

/// `$conn->_offset_for_leader_epoch([[$topic, $partition, $current_leader_epoch, $epoch], …], $cb)`; the result has
/// `rows => [[$error_code, $epoch, $end_offset] or undef, …]` in the same order: the largest epoch up to the one asked
/// for, and the offset after its last record.
fn offset_for_leader_epoch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "_offset_for_leader_epoch");
    let rows = Rows::read(&args, 1)?;
    let callback = args.callback(2)?;
    let topics = rows.topics(
        |partition, [current_leader_epoch, leader_epoch]| OffsetForLeaderPartition {
            partition,
            current_leader_epoch: current_leader_epoch as i32,
            leader_epoch: leader_epoch as i32,
        },
        |topic, partitions| OffsetForLeaderTopic { topic, partitions },
    );
    let request = OffsetForLeaderEpochRequest {
        replica_id: CLIENT_REPLICA_ID,
        topics,
    };
    send_rows(frame, rows, &request, callback)
}

impl Answers<3> for OffsetForLeaderEpochResponse {
    fn found(&self) -> Found<3> {
        Found::new(self.topics.iter().map(|topic| {
            let numbers = |found: &EpochEndOffset| {
                let (error_code, epoch) = (found.error_code.into(), found.leader_epoch.into());
                (found.partition, [error_code, epoch, found.end_offset])
            };
            (topic.topic.clone(), topic.partitions.iter().map(numbers))
        }))
    }

    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }
}
