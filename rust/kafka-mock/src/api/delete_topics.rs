//! DeleteTopics.

use super::{Call, Outcome, Serve};
use crate::access::Operation;
use crate::fault::Target;
use crate::state::State;
use bytes::Bytes;
use kafka_wire::error;
use kafka_wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_wire::ErrorCode;

/// From here on topics may be named by id (KIP-516).
const NAMES_BY_ID: i16 = 6;

/// A topic as the request names it.
struct Asked {
    name: Option<Bytes>,
    id: [u8; 16],
}

impl Serve for DeleteTopicsRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Delete);

    fn targets(&self, state: &State) -> Vec<Target> {
        let by_state = self.topics.iter().filter_map(|topic| match &topic.name {
            Some(name) => Some(name.clone()),
            None => state.topic_name(&topic.topic_id).cloned(),
        });
        let names = self.topic_names.iter().cloned().chain(by_state);
        names
            .map(|topic| Target {
                topic,
                partition: None,
            })
            .collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let asked: Vec<Asked> = if call.version >= NAMES_BY_ID {
            self.topics
                .into_iter()
                .map(|t| Asked {
                    name: t.name,
                    id: t.topic_id,
                })
                .collect()
        } else {
            let by_name = |name| Asked {
                name: Some(name),
                id: [0; 16],
            };
            self.topic_names.into_iter().map(by_name).collect()
        };
        let responses = asked
            .into_iter()
            .map(|asked| delete(state, &call, asked))
            .collect();
        call.answer::<Self>(&DeleteTopicsResponse {
            responses,
            throttle_time_ms: call.faults.throttle_time_ms(),
        })
    }
}

fn delete(state: &mut State, call: &Call, asked: Asked) -> DeletableTopicResult {
    let result = |name, topic_id, error_code: i16| DeletableTopicResult {
        name,
        topic_id,
        error_code,
        error_message: (error_code != ErrorCode::None.code())
            .then(|| Bytes::from_static(error::name(error_code).as_bytes())),
    };
    let Some(name) = asked.name.or_else(|| state.topic_name(&asked.id).cloned()) else {
        return result(None, asked.id, ErrorCode::UnknownTopicId.code());
    };
    let fault = call.faults.error_for(&name, None);
    let removed = match fault.is_none() || call.faults.applies_to(&name, None) {
        true => state.remove_topic(&name),
        false => None,
    };
    let missing = ErrorCode::UnknownTopicOrPartition.code();
    let error_code = fault.unwrap_or(if removed.is_some() {
        ErrorCode::None.code()
    } else {
        missing
    });
    result(
        Some(name),
        removed.map_or(asked.id, |topic| topic.id),
        error_code,
    )
}
