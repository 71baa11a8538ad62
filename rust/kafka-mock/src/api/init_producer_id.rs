//! InitProducerId: an identity for a producer's batches.

use super::{Call, Outcome, Serve};
use crate::cluster::Cluster;
use kafka_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_wire::ErrorCode;

/// Stand for none in an answer that is an error.
const NO_PRODUCER_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

impl Serve for InitProducerIdRequest {
    fn serve(self, cluster: &mut Cluster, call: Call) -> Outcome {
        let identity = call.whole(|| identify(cluster, &self));
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

/// Producer id and epoch.
fn identify(cluster: &mut Cluster, asked: &InitProducerIdRequest) -> Result<(i64, i16), i16> {
    if asked.transactional_id.is_some() {
        return Err(ErrorCode::CoordinatorNotAvailable.code());
    }
    // Any broker has ids to give, and whatever identity the producer had before is of no interest.
    Ok((cluster.producer_ids.take(), 0))
}
