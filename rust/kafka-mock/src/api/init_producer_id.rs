//! InitProducerId: an identity for a producer's batches.

use super::txn::told;
use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::coordinators::CoordinatorKey;
use crate::state::State;
use crate::transactions::Identity;
use kafka_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_wire::ErrorCode;

/// Stand for none in an answer that is an error.
const NO_PRODUCER_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

/// From here on PRODUCER_FENCED is an answer.
const TELLS_FENCED: i16 = 4;

impl Serve for InitProducerIdRequest {
    fn needs(&self) -> Vec<Need> {
        vec![match &self.transactional_id {
            Some(id) => Need::transactional_id(id, Operation::Write),
            None => Need::cluster(Operation::IdempotentWrite),
        }]
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let identity = call.whole(|| identify(state, &call, &self));
        let (error_code, (producer_id, producer_epoch)) = match identity {
            Ok(identity) => (ErrorCode::None.code(), identity),
            Err(code) => (code, (NO_PRODUCER_ID, NO_EPOCH)),
        };
        call.answer::<Self>(&InitProducerIdResponse {
            throttle_time_ms: call.faults.throttle_time_ms(),
            error_code,
            producer_id,
            producer_epoch,
            ..Default::default()
        })
    }
}

fn identify(
    state: &mut State,
    call: &Call,
    asked: &InitProducerIdRequest,
) -> Result<Identity, i16> {
    let Some(id) = &asked.transactional_id else {
        // Any broker has ids to give, and whatever identity the producer had before is of no interest.
        return Ok((state.producer_ids.take(), 0));
    };
    state.check_coordinator(CoordinatorKey::Transaction, id, call.broker)?;
    let before = match (asked.producer_id, asked.producer_epoch) {
        (NO_PRODUCER_ID, NO_EPOCH) => None,
        (NO_PRODUCER_ID, _) | (_, NO_EPOCH) => return Err(ErrorCode::InvalidRequest.code()),
        identity => Some(identity),
    };
    let timeout_ms = asked.transaction_timeout_ms;
    let identity = state.init_transactional(id, timeout_ms, before);
    identity.map_err(|code| told(code, call.version, TELLS_FENCED))
}
