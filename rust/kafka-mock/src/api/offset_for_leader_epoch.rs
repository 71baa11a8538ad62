//! OffsetForLeaderEpoch: where an epoch ends in the leader's log.

use super::{Call, Outcome, Serve};
use crate::access::Operation;
use crate::fault::Target;
use crate::state::State;
use bytes::Bytes;
use kafka_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use kafka_wire::ErrorCode;

impl Serve for OffsetForLeaderEpochRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Describe);

    fn targets(&self, _cluster: &State) -> Vec<Target> {
        let partitions = self.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|asked| Target {
                topic: topic.topic.clone(),
                partition: Some(asked.partition),
            })
        });
        partitions.collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let topics = self
            .topics
            .into_iter()
            .map(|topic| OffsetForLeaderTopicResult {
                partitions: topic
                    .partitions
                    .iter()
                    .map(|asked| look_up(state, &call, &topic.topic, asked))
                    .collect(),
                topic: topic.topic,
            });
        call.answer::<Self>(&OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            throttle_time_ms: call.faults.throttle_time_ms(),
        })
    }
}

fn look_up(
    state: &State,
    call: &Call,
    topic: &Bytes,
    asked: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    let found = call.partition(topic, asked.partition, || {
        let partition = state
            .partition_ref(topic, asked.partition)
            .map_err(|_| ErrorCode::UnknownTopicOrPartition.code())?;
        partition.check_leader(call.broker, asked.current_leader_epoch)?;
        Ok(partition
            .log
            .end_of_epoch(asked.leader_epoch, partition.leader_epoch))
    });
    let (error_code, (leader_epoch, end_offset)) = match found {
        Ok(found) => (ErrorCode::None.code(), found),
        Err(code) => (code, (-1, -1)),
    };
    EpochEndOffset {
        error_code,
        partition: asked.partition,
        leader_epoch,
        end_offset,
    }
}
