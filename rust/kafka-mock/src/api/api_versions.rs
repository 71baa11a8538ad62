//! ApiVersions (KIP-35, KIP-511): which APIs a broker speaks.

use super::{frame, Call, Outcome, Serve};
use crate::state::State;
use bytes::Bytes;
use kafka_wire::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use kafka_wire::ApiKey;
use kafka_wire::ErrorCode;

/// First version that carries the client software's name and version.
const NAMES_CLIENT: i16 = 3;

impl Serve for ApiVersionsRequest {
    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let is_named = is_software_name(&self.client_software_name)
            && is_software_name(&self.client_software_version);
        let error_code = match call.faults.error() {
            Some(code) => code,
            None if call.version >= NAMES_CLIENT && !is_named => ErrorCode::InvalidRequest.code(),
            None => ErrorCode::None.code(),
        };
        let api_keys = if error_code == ErrorCode::None.code() {
            advertised(state, call.broker).collect()
        } else {
            Vec::new()
        };
        call.answer::<Self>(&ApiVersionsResponse {
            error_code,
            api_keys,
            throttle_time_ms: call.faults.throttle_time_ms(),
            ..Default::default()
        })
    }
}

/// The answer to a version the broker does not know: version 0, error 35, and the versions of
/// ApiVersions itself to choose from (KIP-511).
pub(super) fn unsupported_version(state: &State, broker: i32, correlation_id: i32) -> Outcome {
    let own = ApiKey::ApiVersions.key();
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: advertised(state, broker)
            .filter(|entry| entry.api_key == own)
            .collect(),
        ..Default::default()
    };
    match frame::<ApiVersionsRequest>(&response, 0, correlation_id) {
        Ok(frame) => Outcome::Answer(frame),
        Err(why) => Outcome::Close(why),
    }
}

fn advertised(state: &State, broker: i32) -> impl Iterator<Item = ApiVersion> + '_ {
    let versions = state
        .broker(broker)
        .into_iter()
        .flat_map(|broker| &broker.versions);
    versions.map(|(&api_key, &(min_version, max_version))| ApiVersion {
        api_key,
        min_version,
        max_version,
    })
}

/// KIP-511: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_name(name: &Bytes) -> bool {
    let is_inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.last().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(is_inner)
}
