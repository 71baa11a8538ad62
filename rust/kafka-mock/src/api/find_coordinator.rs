//! FindCoordinator: which broker looks after a group or a transactional id.

use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::coordinators::CoordinatorKey;
use crate::state::State;
use crate::topic::NO_LEADER;
use bytes::Bytes;
use kafka_wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use kafka_wire::{error, ErrorCode};

/// From here on one request asks for many keys (KIP-699).
const MANY_KEYS: i16 = 4;

impl Serve for FindCoordinatorRequest {
    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let find = |key: &Bytes| find(state, &call, self.key_type, key);
        let throttle_time_ms = call.faults.throttle_time_ms();
        let response = if call.version >= MANY_KEYS {
            let coordinators = self.coordinator_keys.iter().map(find).collect();
            FindCoordinatorResponse {
                throttle_time_ms,
                coordinators,
                ..Default::default()
            }
        } else {
            let found = find(&self.key);
            FindCoordinatorResponse {
                throttle_time_ms,
                error_code: found.error_code,
                error_message: found.error_message,
                node_id: found.node_id,
                host: found.host,
                port: found.port,
                ..Default::default()
            }
        };
        call.answer::<Self>(&response)
    }
}

fn find(state: &State, call: &Call, key_type: i8, key: &Bytes) -> Coordinator {
    let failed = |error_code| Coordinator {
        key: key.clone(),
        node_id: NO_LEADER,
        port: -1,
        error_code,
        error_message: Some(Bytes::from_static(error::name(error_code).as_bytes())),
        ..Default::default()
    };
    if let Some(code) = call.faults.error() {
        return failed(code);
    }
    let Some(of) = CoordinatorKey::from_code(key_type) else {
        return failed(ErrorCode::InvalidRequest.code());
    };
    let need = match of {
        CoordinatorKey::Group => Need::group(key, Operation::Describe),
        CoordinatorKey::Transaction => Need::transactional_id(key, Operation::Describe),
    };
    if let Some(code) = state.access.refusal(&call.user, &need) {
        return failed(code);
    }
    let node_id = state.coordinator(of, key);
    let Some(broker) = state.broker(node_id) else {
        return failed(ErrorCode::CoordinatorNotAvailable.code());
    };
    Coordinator {
        key: key.clone(),
        node_id,
        host: broker.host.clone(),
        port: broker.port,
        error_code: ErrorCode::None.code(),
        ..Default::default()
    }
}
