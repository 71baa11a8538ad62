//! What happens between the TCP connection and the first request.

use bytes::Bytes;
use kafka_wire::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use kafka_wire::messages::sasl_handshake::SaslHandshakeRequest;
use kafka_wire::{ApiKey, Message, Writer};
use zeroize::Zeroizing;

use crate::error::{ConnectionError, SendError};
use crate::event::State;
use crate::secret::Secret;
use crate::versions::ApiVersions;

/// ApiVersions is asked at version 0: every broker knows it, and later ones add nothing that
/// this client uses.
const API_VERSIONS_VERSION: i16 = 0;
/// From version 1 on the mechanism's messages travel in SaslAuthenticate; after version 0 they
/// would follow bare (KIP-152).
pub(crate) const SASL_HANDSHAKE_VERSION: i16 = 1;
/// The first version of SaslAuthenticate with compact lengths and tagged fields (KIP-482).
const FLEXIBLE_SASL_AUTHENTICATE: i16 = 2;

/// The phases of the handshake, in their order on the wire. Each has a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// Encrypting the connection.
    Tls,
    /// Asking what the broker speaks (KIP-35).
    ApiVersions,
    /// Choosing a SASL mechanism, when its credentials are at hand.
    Mechanism,
    /// Exchanging the mechanism's messages.
    Authentication,
}

impl Handshake {
    pub(crate) fn state(self) -> State {
        match self {
            Handshake::Tls => State::TlsHandshake,
            Handshake::ApiVersions => State::ApiVersions,
            Handshake::Mechanism => State::SaslHandshake,
            Handshake::Authentication => State::SaslAuthenticate,
        }
    }
}

/// A request of the handshake.
pub(crate) struct Question {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Writer,
}

impl Question {
    pub(crate) fn api_versions() -> Result<Self, SendError> {
        Self::new(
            ApiKey::ApiVersions,
            API_VERSIONS_VERSION,
            &ApiVersionsRequest::default(),
        )
    }

    pub(crate) fn sasl_handshake(mechanism: &str) -> Result<Self, SendError> {
        let request = SaslHandshakeRequest {
            mechanism: Bytes::copy_from_slice(mechanism.as_bytes()),
        };
        Self::new(ApiKey::SaslHandshake, SASL_HANDSHAKE_VERSION, &request)
    }

    fn new(api: ApiKey, version: i16, request: &impl Message) -> Result<Self, SendError> {
        let mut body = Writer::new();
        request
            .encode(&mut body, version)
            .map_err(|error| SendError::Encode(error.to_string()))?;
        Ok(Question { api, version, body })
    }
}

/// The body of a SaslAuthenticate request. It is written here because a `Writer` leaves copies
/// of what it has written in memory.
pub(crate) fn sasl_authenticate(message: &Secret, version: i16) -> Zeroizing<Vec<u8>> {
    let message = message.expose();
    let mut length = Writer::new();
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut body = Zeroizing::new(Vec::with_capacity(message.len() + 8));
    let flexible = version >= FLEXIBLE_SASL_AUTHENTICATE;
    if flexible {
        length.put_uvarint(size.saturating_add(1));
    } else {
        length.put_i32(i32::try_from(size).unwrap_or(i32::MAX));
    }
    body.extend_from_slice(&length.into_bytes());
    body.extend_from_slice(message);
    if flexible {
        body.push(0); // no tagged fields
    }
    body
}

/// What the broker speaks.
pub(crate) fn api_versions_answer(body: Bytes) -> Result<ApiVersions, ConnectionError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_wire::messages::sasl_authenticate::SaslAuthenticateRequest;
    use kafka_wire::Reader;

    #[test]
    fn sasl_authenticate_is_laid_out_as_its_declaration_says() {
        for length in [0, 1, 126, 127, 128, 5000] {
            let message = vec![7; length];
            for version in ApiKey::SaslAuthenticate.versions() {
                let body = sasl_authenticate(&message[..].into(), version);
                let mut reader = Reader::new(Bytes::copy_from_slice(&body));
                let decoded = SaslAuthenticateRequest::decode(&mut reader, version);
                assert_eq!(decoded.expect("decodes").auth_bytes, message);
                assert!(reader.is_empty());
            }
        }
    }
}
