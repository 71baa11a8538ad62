//! ApiVersions (KIP-35, KIP-511, KIP-584): which APIs a broker speaks, and which features there are.

use super::{frame, Call, Outcome, Serve};
use crate::state::State;
use bytes::Bytes;
use kafka_wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_wire::ApiKey;
use kafka_wire::ErrorCode;

/// First version that carries the client software's name and version.
const NAMES_CLIENT: i16 = 3;
/// First version that may say of a feature that its lowest level is 0.
const TELLS_LEVEL_0: i16 = 4;

impl Serve for ApiVersionsRequest {
    fn serve(self, state: &mut State, call: Call) -> Outcome {
        let is_named = is_software_name(&self.client_software_name)
            && is_software_name(&self.client_software_version);
        let error_code = match call.faults.error() {
            Some(code) => code,
            None if call.version >= NAMES_CLIENT && !is_named => ErrorCode::InvalidRequest.code(),
            None => check_broker(&self, state, call.broker).code(),
        };
        let api_keys = if error_code == ErrorCode::None.code() {
            advertised(state, call.broker).collect()
        } else {
            Vec::new()
        };
        let mut response = ApiVersionsResponse {
            error_code,
            api_keys,
            throttle_time_ms: call.faults.throttle_time_ms(),
            ..Default::default()
        };
        if error_code == ErrorCode::None.code() {
            tell_features(&mut response, state, call.version);
        }
        call.answer::<Self>(&response)
    }
}

/// Whether the client is where it means to be (KIP-1242).
fn check_broker(request: &ApiVersionsRequest, state: &State, broker: i32) -> ErrorCode {
    match (&request.cluster_id, request.node_id) {
        (None, -1) => ErrorCode::None,
        (None, _) | (_, -1) => ErrorCode::InvalidRequest,
        (Some(id), node_id) if *id == state.config.cluster_id && node_id == broker => {
            ErrorCode::None
        }
        _ => ErrorCode::RebootstrapRequired,
    }
}

fn tell_features(response: &mut ApiVersionsResponse, state: &State, version: i16) {
    let features = &state.features;
    if version >= TELLS_LEVEL_0 {
        let supported = features.supported();
        response.supported_features = supported
            .map(|(name, max_version)| SupportedFeatureKey {
                name: name.clone(),
                min_version: 0,
                max_version,
            })
            .collect();
    }
    response.finalized_features_epoch = features.epoch();
    let finalized = features.finalized();
    response.finalized_features = finalized
        .map(|(name, level)| FinalizedFeatureKey {
            name: name.clone(),
            max_version_level: level,
            min_version_level: level,
        })
        .collect();
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
