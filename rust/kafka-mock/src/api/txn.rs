//! AddPartitionsToTxn, AddOffsetsToTxn and EndTxn: what a producer tells its transaction coordinator.

use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::coordinators::CoordinatorKey;
use crate::fault::Target;
use crate::state::State;
use crate::transactions::{Identity, NO_EPOCH};
use bytes::Bytes;
use kafka_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
};
use kafka_wire::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, EndTxnRequest, EndTxnResponse,
};
use kafka_wire::ErrorCode;
use std::collections::BTreeSet;

/// From here on PRODUCER_FENCED is an answer to these three.
const TELLS_FENCED: i16 = 2;

/// From here on EndTxn hands out the identity of the next transaction (KIP-890).
const GIVES_IDENTITY: i16 = 5;
/// What stands for none.
const NO_IDENTITY: Identity = (-1, NO_EPOCH);

/// An error in the words that a version knows: fenced producers were first told of an invalid epoch.
pub(super) fn told(code: i16, version: i16, tells_fenced: i16) -> i16 {
    match code == ErrorCode::ProducerFenced.code() && version < tells_fenced {
        true => ErrorCode::InvalidProducerEpoch.code(),
        false => code,
    }
}

fn code_of(result: Result<(), i16>) -> i16 {
    result.err().unwrap_or(ErrorCode::None.code())
}

impl Serve for AddPartitionsToTxnRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Write);

    fn needs(&self) -> Vec<Need> {
        let id = &self.v3_and_below_transactional_id;
        vec![Need::transactional_id(id, Operation::Write)]
    }

    fn targets(&self, _cluster: &State) -> Vec<Target> {
        let named = self.partitions().into_iter();
        named
            .map(|(topic, partition)| Target {
                topic,
                partition: Some(partition),
            })
            .collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let asked = self.partitions();
        let fault = |(topic, index): &(Bytes, i32)| call.faults.error_for(topic, Some(*index));
        let unknown = |(topic, index): &(Bytes, i32)| {
            let is_unknown = state.partition_ref(topic, *index).is_err();
            is_unknown.then(|| ErrorCode::UnknownTopicOrPartition.code())
        };
        let refused: Vec<Option<i16>> = asked
            .iter()
            .map(|partition| fault(partition).or_else(|| unknown(partition)))
            .collect();
        let is_applied = asked
            .iter()
            .all(|(topic, index)| call.faults.applies_to(topic, Some(*index)));
        let is_sound = asked.iter().all(|partition| unknown(partition).is_none());
        let is_refused = refused.iter().any(Option::is_some);
        // One that cannot be added keeps all others out.
        let code = match is_sound && (is_applied || !is_refused) {
            true => code_of(self.add(state, &call)),
            false => ErrorCode::OperationNotAttempted.code(),
        };
        let codes = refused.into_iter().map(|refused| refused.unwrap_or(code));
        call.answer::<Self>(&AddPartitionsToTxnResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            results_by_topic_v3_and_below: self.results(codes),
            ..Default::default()
        })
    }
}

/// What a client's request, of version 3 and below, is about.
trait Partitions {
    fn partitions(&self) -> Vec<(Bytes, i32)>;
    fn add(&self, state: &mut State, call: &Call) -> Result<(), i16>;
    fn results(&self, codes: impl Iterator<Item = i16>) -> Vec<AddPartitionsToTxnTopicResult>;
}

impl Partitions for AddPartitionsToTxnRequest {
    fn partitions(&self) -> Vec<(Bytes, i32)> {
        let of_topic = |name: &Bytes, indexes: &[i32]| -> Vec<(Bytes, i32)> {
            indexes.iter().map(|&index| (name.clone(), index)).collect()
        };
        self.v3_and_below_topics
            .iter()
            .flat_map(|topic| of_topic(&topic.name, &topic.partitions))
            .collect()
    }

    fn add(&self, state: &mut State, call: &Call) -> Result<(), i16> {
        let id = &self.v3_and_below_transactional_id;
        state.check_coordinator(CoordinatorKey::Transaction, id, call.broker)?;
        let identity = (
            self.v3_and_below_producer_id,
            self.v3_and_below_producer_epoch,
        );
        let partitions = self.partitions().into_iter().collect();
        state
            .add_to_transaction(id, identity, partitions, BTreeSet::new(), call.now_ms)
            .map_err(|code| told(code, call.version, TELLS_FENCED))
    }

    /// One result a partition, in the order of the request.
    fn results(&self, mut codes: impl Iterator<Item = i16>) -> Vec<AddPartitionsToTxnTopicResult> {
        let mut result = |partition_index| AddPartitionsToTxnPartitionResult {
            partition_index,
            partition_error_code: codes.next().unwrap_or(ErrorCode::None.code()),
        };
        let topics = self.v3_and_below_topics.iter();
        topics
            .map(|topic| AddPartitionsToTxnTopicResult {
                name: topic.name.clone(),
                results_by_partition: topic.partitions.iter().map(|&i| result(i)).collect(),
            })
            .collect()
    }
}

impl Serve for AddOffsetsToTxnRequest {
    fn needs(&self) -> Vec<Need> {
        vec![
            Need::transactional_id(&self.transactional_id, Operation::Write),
            Need::group(&self.group_id, Operation::Read),
        ]
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let added = call.whole(|| {
            let id = &self.transactional_id;
            state.check_coordinator(CoordinatorKey::Transaction, id, call.broker)?;
            let identity = (self.producer_id, self.producer_epoch);
            let groups = BTreeSet::from([self.group_id.clone()]);
            state.add_to_transaction(id, identity, BTreeSet::new(), groups, call.now_ms)
        });
        call.answer::<Self>(&AddOffsetsToTxnResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            error_code: told(code_of(added), call.version, TELLS_FENCED),
        })
    }
}

impl Serve for EndTxnRequest {
    fn needs(&self) -> Vec<Need> {
        let id = &self.transactional_id;
        vec![Need::transactional_id(id, Operation::Write)]
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let ended = call.whole(|| {
            let id = &self.transactional_id;
            state.check_coordinator(CoordinatorKey::Transaction, id, call.broker)?;
            let identity = (self.producer_id, self.producer_epoch);
            match call.version >= GIVES_IDENTITY {
                true => state.end_with_epoch(id, identity, self.committed),
                false => state
                    .end_transaction(id, identity, self.committed)
                    .map(|()| NO_IDENTITY),
            }
        });
        let (producer_id, producer_epoch) = ended.unwrap_or(NO_IDENTITY);
        call.answer::<Self>(&EndTxnResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            error_code: told(code_of(ended.map(drop)), call.version, TELLS_FENCED),
            producer_id,
            producer_epoch,
        })
    }
}
