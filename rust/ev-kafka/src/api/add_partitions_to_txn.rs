//! `add_partitions_to_txn`: partitions become part of a transaction.

use std::time::Duration;

use kafka_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::{list, partition_outcome, topics};
use crate::arguments::{Arguments, TopicArgument};

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::add_partitions_to_txn",
    body: add_partitions_to_txn,
}];

/// `add_partitions_to_txn($txn_id, $producer_id, $epoch, \@topics, $cb)`
fn add_partitions_to_txn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "add_partitions_to_txn");
    let topic = |argument: TopicArgument| {
        Ok(AddPartitionsToTxnTopic {
            name: argument.topic,
            partitions: args.partitions(&argument.partitions)?,
        })
    };
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: args.string(1, "txn_id")?,
        v3_and_below_producer_id: args.int(2, "producer_id", 0)?,
        v3_and_below_producer_epoch: args.int(3, "epoch", 0)?,
        v3_and_below_topics: args
            .topics(4)?
            .into_iter()
            .map(topic)
            .collect::<Result<_, Croak>>()?,
        ..Default::default()
    };
    let callback = args.callback(5)?;
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for AddPartitionsToTxnResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ topic, partitions => [{ partition, error_code }] }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(topics(
            perl,
            &self.results_by_topic_v3_and_below,
            |topic| &topic.name,
            |topic| {
                list(perl, &topic.results_by_partition, |partition| {
                    partition_outcome(
                        perl,
                        partition.partition_index,
                        partition.partition_error_code,
                    )
                })
            },
        ))
    }
}
