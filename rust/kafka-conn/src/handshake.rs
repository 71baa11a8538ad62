//! What happens between the TCP connection and the first request.

use bytes::Bytes;
use kafka_wire::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use kafka_wire::{ApiKey, Message, Writer};

use crate::error::{ConnectionError, SendError};
use crate::event::State;
use crate::versions::ApiVersions;

/// ApiVersions is asked at version 0: every broker knows it, and later ones add nothing that
/// this client uses.
const API_VERSIONS_VERSION: i16 = 0;

/// The phases of the handshake, in their order on the wire. Each has a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// Asking what the broker speaks (KIP-35).
    ApiVersions,
}

/// A request of the handshake.
pub(crate) struct Question {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Writer,
}

/// What an answer of the handshake leads to.
pub(crate) enum Step {
    /// The broker's versions; the handshake is over.
    Ready(ApiVersions),
}

impl Handshake {
    /// The phase that a new TCP connection starts with.
    pub(crate) fn first() -> Self {
        Handshake::ApiVersions
    }

    pub(crate) fn state(self) -> State {
        match self {
            Handshake::ApiVersions => State::ApiVersions,
        }
    }

    /// What the phase sends when it begins.
    pub(crate) fn question(self) -> Result<Question, SendError> {
        match self {
            Handshake::ApiVersions => {
                let (api, version) = (ApiKey::ApiVersions, API_VERSIONS_VERSION);
                let mut body = Writer::new();
                ApiVersionsRequest::default()
                    .encode(&mut body, version)
                    .map_err(|error| SendError::Encode(error.to_string()))?;
                Ok(Question { api, version, body })
            }
        }
    }

    /// Where the answer to the phase's question leads.
    pub(crate) fn answer(self, body: Bytes) -> Result<Step, ConnectionError> {
        match self {
            Handshake::ApiVersions => api_versions(body).map(Step::Ready),
        }
    }
}

fn api_versions(body: Bytes) -> Result<ApiVersions, ConnectionError> {
    let (answer, truncated) = ApiVersionsResponse::decode_partial(body, API_VERSIONS_VERSION);
    // First the code: with one, brokers need not say anything else.
    if answer.error_code != 0 {
        return Err(ConnectionError::ApiVersions(answer.error_code));
    }
    if truncated {
        return Err(ConnectionError::MalformedApiVersions);
    }
    let range = |api: ApiVersion| (api.api_key, (api.min_version, api.max_version));
    Ok(answer.api_keys.into_iter().map(range).collect())
}
