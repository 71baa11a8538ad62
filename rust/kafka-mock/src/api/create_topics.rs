//! CreateTopics.

use super::{Call, Outcome, Serve};
use crate::access::Operation;
use crate::fault::Target;
use crate::state::State;
use crate::topic::{self, MAX_PARTITIONS};
use bytes::Bytes;
use kafka_wire::error;
use kafka_wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use kafka_wire::ErrorCode;

/// Count that asks for the broker's default (KIP-464), and must stand beside assignments.
const DEFAULT_COUNT: i32 = -1;

/// Error code and text.
type Refusal = (i16, String);

/// A topic that may be created: the replicas of each partition, the first of them to lead it.
type Plan = Vec<Vec<i32>>;

impl Serve for CreateTopicsRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Create);

    fn targets(&self, _cluster: &State) -> Vec<Target> {
        let whole = |topic: &CreatableTopic| Target {
            topic: topic.name.clone(),
            partition: None,
        };
        self.topics.iter().map(whole).collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let names: Vec<Bytes> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut topics: Vec<CreatableTopicResult> = Vec::new();
        for topic in self.topics {
            let times = names.iter().filter(|&name| *name == topic.name).count();
            let result = match times {
                1 => create(state, &call, &topic, self.validate_only),
                _ => Err((
                    ErrorCode::InvalidRequest.code(),
                    "Duplicate topic name.".into(),
                )),
            };
            // Kafka tells of a repeated name once.
            if times == 1 || !topics.iter().any(|told| told.name == topic.name) {
                topics.push(result.unwrap_or_else(|refusal| refused(topic.name, refusal)));
            }
        }
        call.answer::<Self>(&CreateTopicsResponse {
            topics,
            throttle_time_ms: call.faults.throttle_time_ms(),
        })
    }
}

fn create(
    state: &mut State,
    call: &Call,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let fault = call.faults.error_for(&topic.name, None);
    let is_applied = fault.is_none() || call.faults.applies_to(&topic.name, None);
    let created = if is_applied {
        plan(state, topic).map(|plan| {
            let partitions = plan.len() as i32;
            let replicas = plan.first().map_or(0, Vec::len) as i16;
            if !validate_only {
                state.insert_topic(topic.name.clone(), plan);
            }
            (partitions, replicas)
        })
    } else {
        Ok((0, 0))
    };
    if let Some(code) = fault {
        return Err((code, error::name(code).into()));
    }
    let (num_partitions, replication_factor) = created?;
    Ok(CreatableTopicResult {
        name: topic.name.clone(),
        topic_id: state
            .topics
            .get(&topic.name)
            .map_or([0; 16], |topic| topic.id),
        num_partitions,
        replication_factor,
        configs: Some(Vec::new()),
        ..Default::default()
    })
}

/// Checks a topic as the controller does, in its order.
fn plan(state: &State, topic: &CreatableTopic) -> Result<Plan, Refusal> {
    let name = String::from_utf8_lossy(&topic.name);
    if !topic::is_valid_name(&topic.name) {
        let text = format!("Topic name '{name}' is invalid");
        return Err((ErrorCode::InvalidTopicException.code(), text));
    }
    if state.topics.contains_key(&topic.name) {
        return Err((
            ErrorCode::TopicAlreadyExists.code(),
            format!("Topic '{name}' already exists."),
        ));
    }
    if !topic.assignments.is_empty() {
        return assigned(state, topic);
    }
    let live = state.broker_ids().filter(|&id| state.is_up(id)).count();
    let replication = match i32::from(topic.replication_factor) {
        DEFAULT_COUNT => i32::from(state.config.default_replication_factor).min(live as i32),
        factor => factor,
    };
    if replication < 1 || replication as usize > live {
        let text = format!("Replication factor {replication} with {live} broker(s) available.");
        return Err((ErrorCode::InvalidReplicationFactor.code(), text));
    }
    let partitions = match topic.num_partitions {
        DEFAULT_COUNT => state.config.default_partitions,
        count => count,
    };
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        let text = format!("Number of partitions must be from 1 to {MAX_PARTITIONS}.");
        return Err((ErrorCode::InvalidPartitions.code(), text));
    }
    Ok(state.spread(partitions, replication as usize))
}

/// The plan of a topic whose partitions name their replicas.
fn assigned(state: &State, topic: &CreatableTopic) -> Result<Plan, Refusal> {
    let is_default = |count: i32| count == DEFAULT_COUNT;
    if !is_default(topic.num_partitions) || !is_default(topic.replication_factor.into()) {
        let text = "Counts must be -1 beside a replica assignment.";
        return Err((ErrorCode::InvalidRequest.code(), text.into()));
    }
    let mut assignments: Vec<&CreatableReplicaAssignment> = topic.assignments.iter().collect();
    assignments.sort_by_key(|assignment| assignment.partition_index);
    let is_consecutive = (0..).zip(&assignments).all(|(i, a)| a.partition_index == i);
    let is_known = |ids: &[i32]| !ids.is_empty() && ids.iter().all(|&id| state.is_up(id));
    if !is_consecutive || !assignments.iter().all(|a| is_known(&a.broker_ids)) {
        let text = "Partitions must be numbered from 0 and name brokers that are up.";
        return Err((ErrorCode::InvalidReplicaAssignment.code(), text.into()));
    }
    Ok(assignments
        .into_iter()
        .map(|a| a.broker_ids.clone())
        .collect())
}

fn refused(name: Bytes, (error_code, text): Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code,
        error_message: Some(text.into()),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
