//! `list_offsets`: the offset for a timestamp, the first and the last one.

use std::time::Duration;

use kafka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic,
};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send, CLIENT_REPLICA_ID};
use super::result::{Read, Shaped};
use super::rows::{send_rows, Answers, Found, Rows};
use super::shapes::partition_outcomes;
use crate::arguments::{options_and_callback, Arguments, NO_LEADER_EPOCH};

/// How long a broker may take to look offsets up in remote storage (KIP-1075), in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::list_offsets",
        body: list_offsets,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_list_offsets",
        body: list_many,
    },
];

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
    let topic = ListOffsetsTopic {
        name,
        partitions: vec![partition],
    };
    let request = request(vec![topic], options.int("isolation_level", 0_i64)?);
    send(frame, &request, Duration::ZERO, callback)
}

fn request(topics: Vec<ListOffsetsTopic>, isolation_level: i64) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: CLIENT_REPLICA_ID,
        isolation_level: i8::from(isolation_level != 0),
        topics,
        timeout_ms: TIMEOUT_MS,
    }
}

/// `$conn->_list_offsets([[$topic, $partition, $timestamp, $leader_epoch], …], $isolation_level, $cb)`; the result
/// has `rows => [[$error_code, $offset, $timestamp] or undef, …]` in the same order.
fn list_many(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "_list_offsets");
    let rows = Rows::read(&args, 1)?;
    let isolation_level = args.int(2, "isolation_level", 0)?;
    let callback = args.callback(3)?;
    let topics = rows.topics(
        |partition_index, [timestamp, leader_epoch]| ListOffsetsPartition {
            partition_index,
            timestamp,
            current_leader_epoch: leader_epoch as i32,
        },
        |name, partitions| ListOffsetsTopic { name, partitions },
    );
    send_rows(frame, rows, &request(topics, isolation_level), callback)
}

impl Answers<3> for ListOffsetsResponse {
    fn found(&self) -> Found<3> {
        Found::new(self.topics.iter().map(|topic| {
            let numbers = |found: &ListOffsetsPartitionResponse| {
                let numbers = [found.error_code.into(), found.offset, found.timestamp];
                (found.partition_index, numbers)
            };
            (topic.name.clone(), topic.partitions.iter().map(numbers))
        }))
    }

    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }
}

impl Shaped for ListOffsetsResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ topic, partitions => [{ partition, error_code, timestamp, offset, leader_epoch? }] }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(partition_outcomes(
            perl,
            &self.topics,
            |topic| (&topic.name, &topic.partitions),
            |partition| (partition.partition_index, partition.error_code),
            |partition, hash| {
                hash.store_int(perl, "timestamp", partition.timestamp);
                hash.store_int(perl, "offset", partition.offset);
                if partition.leader_epoch >= 0 {
                    hash.store_int(perl, "leader_epoch", partition.leader_epoch.into());
                }
            },
        ))
    }
}
