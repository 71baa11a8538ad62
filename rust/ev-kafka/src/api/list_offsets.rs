//! `list_offsets`: the offset for a timestamp, the first and the last one.

use std::time::Duration;

use kafka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send, CLIENT_REPLICA_ID};
use super::result::{Read, Shaped};
use super::shapes::{list, partition_outcome, topics};
use crate::arguments::{options_and_callback, Arguments, NO_LEADER_EPOCH};

/// How long a broker may take to look offsets up in remote storage (KIP-1075), in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::list_offsets",
    body: list_offsets,
}];

/// `list_offsets($topic, $partition, $timestamp, $cb, [\%opts])`
fn list_offsets(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "list_offsets");
    let name = args.string(1, "topic")?;
    let partition_index = args.int(2, "partition", 0)?;
    let timestamp = args.int(3, "timestamp", 0)?;
    let callback = args.callback(4)?;
    let (options, _) = options_and_callback(frame, 5, "list_offsets")?;
    let partition = ListOffsetsPartition {
        partition_index,
        timestamp,
        current_leader_epoch: options.int("leader_epoch", NO_LEADER_EPOCH)?,
    };
    let request = ListOffsetsRequest {
        replica_id: CLIENT_REPLICA_ID,
        isolation_level: i8::from(options.int("isolation_level", 0_i64)? != 0),
        topics: vec![ListOffsetsTopic {
            name,
            partitions: vec![partition],
        }],
        timeout_ms: TIMEOUT_MS,
    };
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for ListOffsetsResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ topic, partitions => [{ partition, error_code, timestamp, offset, leader_epoch? }] }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(topics(
            perl,
            &self.topics,
            |topic| &topic.name,
            |topic| {
                list(perl, &topic.partitions, |partition| {
                    let mut hash =
                        partition_outcome(perl, partition.partition_index, partition.error_code);
                    hash.store_int(perl, "timestamp", partition.timestamp);
                    hash.store_int(perl, "offset", partition.offset);
                    if partition.leader_epoch >= 0 {
                        hash.store_int(perl, "leader_epoch", partition.leader_epoch.into());
                    }
                    hash
                })
            },
        ))
    }
}
