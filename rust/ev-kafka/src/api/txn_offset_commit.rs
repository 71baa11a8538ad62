//! `txn_offset_commit`: stores a group's positions with a transaction.

use std::time::Duration;

use kafka_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use kafka_wire::ApiKey;
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::offset_commit::NO_GENERATION;
use super::request::{check_connected, completion, encode_up_to, send_encoded, version_or_lowest};
use super::result::{Read, Shaped};
use super::shapes::partition_outcomes;
use super::transaction_version::TransactionVersion;
use crate::arguments::{Arguments, TopicArgument};
use crate::conn::ConnHandle;

/// The first version that names the member (KIP-447).
const MEMBER_FROM: i16 = 3;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::txn_offset_commit",
    body: txn_offset_commit,
}];

/// `txn_offset_commit($txn_id, $group_id, $producer_id, $epoch, $generation, $member_id, \@offsets,
/// $cb, [$group_instance_id, $transaction_version])`
fn txn_offset_commit(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "txn_offset_commit");
    let mut request = TxnOffsetCommitRequest {
        transactional_id: args.string(1, "txn_id")?,
        group_id: args.string(2, "group_id")?,
        producer_id: args.int(3, "producer_id", 0)?,
        producer_epoch: args.int(4, "epoch", 0)?,
        topics: args
            .topics(7)?
            .into_iter()
            .map(|topic| commit_topic(&args, topic))
            .collect::<Result<_, _>>()?,
        ..Default::default()
    };
    let generation_id = args.int(5, "generation", NO_GENERATION)?;
    let member_id = args.string(6, "member_id")?;
    let group_instance_id = args.nullable_string(9, "group_instance_id")?;
    let callback = args.callback(8)?;
    let of = TransactionVersion::of_number(args.int(10, "transaction_version", 1)?)
        .map_err(|why| args.error(why))?;
    let handle = frame.object::<ConnHandle>()?;
    // Older brokers do not look whether the member may still commit: there is nothing to tell them.
    if version_or_lowest(&handle, ApiKey::TxnOffsetCommit) >= MEMBER_FROM {
        request.generation_id = generation_id;
        request.member_id = member_id;
        request.group_instance_id = group_instance_id;
    }
    let encoded = encode_up_to(&handle, of.most(ApiKey::TxnOffsetCommit), &request);
    let completion = completion::<TxnOffsetCommitRequest>(callback);
    send_encoded(
        frame.perl(),
        &handle,
        ApiKey::TxnOffsetCommit,
        encoded,
        Duration::ZERO,
        completion,
    )
}

fn commit_topic(
    args: &Arguments<'_, '_>,
    argument: TopicArgument,
) -> Result<TxnOffsetCommitRequestTopic, Croak> {
    let partitions = args
        .offsets(&argument.partitions)?
        .into_iter()
        .map(|entry| TxnOffsetCommitRequestPartition {
            partition_index: entry.partition,
            committed_offset: entry.offset,
            committed_leader_epoch: entry.leader_epoch,
            committed_metadata: Some(entry.metadata),
        })
        .collect();
    Ok(TxnOffsetCommitRequestTopic {
        name: argument.topic,
        partitions,
    })
}

impl Shaped for TxnOffsetCommitResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ topic, partitions => [{ partition, error_code }] }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(partition_outcomes(
            perl,
            &self.topics,
            |topic| (&topic.name, &topic.partitions),
            |partition| (partition.partition_index, partition.error_code),
            |_, _| (),
        ))
    }
}
