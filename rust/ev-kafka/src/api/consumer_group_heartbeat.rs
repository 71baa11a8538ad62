//! `_consumer_group_heartbeat`, with which a member of the new group protocol (KIP-848) joins, stays and leaves.

use std::time::Duration;

use kafka_wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatTopicPartitions,
};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::{list, outcome, store_optional, topic_partitions};
use crate::arguments::Arguments;

/// Kafka's word for a rebalance timeout that has not changed.
const NO_CHANGE: i32 = -1;
/// The bytes of a topic's id.
const UUID_LEN: usize = 16;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::_consumer_group_heartbeat",
    body: consumer_group_heartbeat,
}];

/// `_consumer_group_heartbeat($group_id, $member_id, $member_epoch, \@topics, \@owned, $cb, $rebalance_timeout_ms,
/// $instance_id, $assignor, $regex, $rack)`, where owned are `[{ topic => $id, partitions => [$number, …] }]`. What is undef has not
/// changed since the last time.
fn consumer_group_heartbeat(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "_consumer_group_heartbeat");
    let tells_owned = frame.value(5)?.is_some_and(|owned| owned.is_defined());
    let request = ConsumerGroupHeartbeatRequest {
        group_id: args.string(1, "group_id")?,
        member_id: args.string(2, "member_id")?,
        member_epoch: args.int(3, "member_epoch", 0)?,
        subscribed_topic_names: args.nullable_names(4, "topic")?,
        topic_partitions: tells_owned.then(|| owned(&args, 5)).transpose()?,
        rebalance_timeout_ms: args.int(7, "rebalance_timeout_ms", NO_CHANGE)?,
        instance_id: args.nullable_string(8, "instance_id")?,
        server_assignor: args.nullable_string(9, "assignor")?,
        subscribed_topic_regex: args.nullable_string(10, "regex")?,
        rack_id: args.nullable_string(11, "rack")?,
    };
    let callback = args.callback(6)?;
    send(frame, &request, Duration::ZERO, callback)
}

fn owned(args: &Arguments<'_, '_>, index: usize) -> Result<Vec<HeartbeatTopicPartitions>, Croak> {
    args.topics(index)?
        .into_iter()
        .map(|topic| {
            let id: Result<[u8; UUID_LEN], _> = topic.topic.as_ref().try_into();
            Ok(HeartbeatTopicPartitions {
                topic_id: id.map_err(|_| args.error("a topic's id has 16 bytes"))?,
                partitions: args.partitions(&topic.partitions)?,
            })
        })
        .collect()
}

impl Shaped for ConsumerGroupHeartbeatResponse {
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
