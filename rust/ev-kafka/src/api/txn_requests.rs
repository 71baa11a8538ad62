//! The producer's methods for transactions: `init_producer_id`, `add_partitions_to_txn`,
//! `add_offsets_to_txn`, `txn_offset_commit`, `end_txn`.

use std::time::Duration;

use kafka_wire::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use kafka_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use kafka_wire::messages::end_txn::EndTxnRequest;
use kafka_wire::messages::init_producer_id::InitProducerIdRequest;
use kafka_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_wire::records::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use kafka_wire::{ApiKey, Request};
use perl_xs::{Croak, Frame, Sv, XsubDef};

use super::offset_requests::NO_GENERATION;
use super::request::{check_connected, completion};
use super::requests::version_or_lowest;
use crate::arguments::{Arguments, TopicArgument};
use crate::conn::ConnHandle;

/// The first TxnOffsetCommit version that names the member (KIP-447).
const TXN_OFFSET_COMMIT_MEMBER_FROM: i16 = 3;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::init_producer_id",
        body: init_producer_id,
    },
    XsubDef {
        name: "EV::Kafka::Conn::add_partitions_to_txn",
        body: add_partitions_to_txn,
    },
    XsubDef {
        name: "EV::Kafka::Conn::add_offsets_to_txn",
        body: add_offsets_to_txn,
    },
    XsubDef {
        name: "EV::Kafka::Conn::end_txn",
        body: end_txn,
    },
    XsubDef {
        name: "EV::Kafka::Conn::txn_offset_commit",
        body: txn_offset_commit,
    },
];

fn send<R: Request>(frame: &Frame<'_>, request: &R, callback: Option<Sv>) -> Result<(), Croak> {
    let handle = frame.object::<ConnHandle>()?;
    handle.request(frame.perl(), request, Duration::ZERO, completion(callback))
}

/// `init_producer_id($transactional_id, $txn_timeout_ms, $cb, [$producer_id, $epoch])`
fn init_producer_id(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "init_producer_id");
    let request = InitProducerIdRequest {
        transactional_id: args.nullable_string(1, "transactional_id")?,
        transaction_timeout_ms: args.int(2, "txn_timeout_ms", 0)?,
        producer_id: args.int(4, "producer_id", NO_PRODUCER_ID)?,
        producer_epoch: args.int(5, "epoch", NO_PRODUCER_EPOCH)?,
        ..Default::default()
    };
    let callback = args.callback(3)?;
    send(frame, &request, callback)
}

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
    send(frame, &request, callback)
}

/// `add_offsets_to_txn($txn_id, $producer_id, $epoch, $group_id, $cb)`
fn add_offsets_to_txn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "add_offsets_to_txn");
    let request = AddOffsetsToTxnRequest {
        transactional_id: args.string(1, "txn_id")?,
        producer_id: args.int(2, "producer_id", 0)?,
        producer_epoch: args.int(3, "epoch", 0)?,
        group_id: args.string(4, "group_id")?,
    };
    let callback = args.callback(5)?;
    send(frame, &request, callback)
}

/// `end_txn($txn_id, $producer_id, $epoch, $committed, $cb)`
fn end_txn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "end_txn");
    let request = EndTxnRequest {
        transactional_id: args.string(1, "txn_id")?,
        producer_id: args.int(2, "producer_id", 0)?,
        producer_epoch: args.int(3, "epoch", 0)?,
        committed: args.bool(4)?,
    };
    let callback = args.callback(5)?;
    send(frame, &request, callback)
}

/// `txn_offset_commit($txn_id, $group_id, $producer_id, $epoch, $generation, $member_id, \@offsets,
/// $cb, [$group_instance_id])`
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
    let handle = frame.object::<ConnHandle>()?;
    // Older brokers do not look whether the member may still commit: there is nothing to tell them.
    if version_or_lowest(&handle, ApiKey::TxnOffsetCommit) >= TXN_OFFSET_COMMIT_MEMBER_FROM {
        request.generation_id = generation_id;
        request.member_id = member_id;
        request.group_instance_id = group_instance_id;
    }
    handle.request(frame.perl(), &request, Duration::ZERO, completion(callback))
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
