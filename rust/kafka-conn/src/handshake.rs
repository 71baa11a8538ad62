//! What happens between the TCP connection and the first request.

use bytes::Bytes;
use kafka_wire::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use kafka_wire::messages::sasl_handshake::SaslHandshakeRequest;
use kafka_wire::{ApiKey, ErrorCode, Message, Writer};
use zeroize::Zeroizing;

use crate::error::{ConnectionError, SendError};
use crate::event::State;
use crate::secret::Secret;
use crate::versions::{ApiVersions, Features};

/// ApiVersions of who does not introduce itself: every broker knows it.
const ANONYMOUS: i16 = 0;
/// ApiVersions with the client's name (KIP-511). Version 3 has that too, but leaves out those of the broker's
/// features whose lowest level is 0.
const NAMED: i16 = 4;
/// ApiVersions with the cluster and the node that are meant, which brokers check (KIP-1242).
const EXPECTING: i16 = 5;
/// The first version of ApiVersions with features, and with compact lengths (KIP-482).
const FIRST_WITH_FEATURES: i16 = 3;
/// From this version of SaslHandshake on the mechanism's messages travel in SaslAuthenticate (KIP-152).
const FIRST_WITH_AUTHENTICATE: i16 = 1;
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

/// How the messages of a mechanism travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// With their lengths and nothing else, as brokers before Kafka 1.0 have it.
    Bare,
    /// In SaslAuthenticate of this version.
    Authenticate(i16),
}

/// Whether they travel bare after SaslHandshake of this version.
pub(crate) fn is_bare_after(handshake: i16) -> bool {
    handshake < FIRST_WITH_AUTHENTICATE
}

/// A request of the handshake.
pub(crate) struct Question {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Writer,
}

/// How a client introduces itself to a broker (KIP-511). Name and version are letters and digits, with dots
/// and hyphens between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The name of the client library.
    pub software_name: Bytes,
    /// The version of the client library.
    pub software_version: Bytes,
    /// For which broker the client takes the peer; errors name it.
    pub node_id: Option<i32>,
    /// Of which cluster, as Metadata has told it. With both of them a broker says when it is another (KIP-1242).
    pub cluster_id: Option<Bytes>,
}

impl Introduction {
    /// Cluster and broker, if both are known.
    fn expects(&self) -> Option<(&Bytes, i32)> {
        self.cluster_id.as_ref().zip(self.node_id)
    }
}

impl Question {
    /// ApiVersions, as every connection asks first.
    pub(crate) fn api_versions(introduction: Option<&Introduction>) -> Result<Self, SendError> {
        let version = match introduction {
            None => ANONYMOUS,
            Some(who) if who.expects().is_none() => NAMED,
            Some(_) => EXPECTING,
        };
        Self::api_versions_at(version, introduction)
    }

    /// The same at a version that the broker knows.
    pub(crate) fn api_versions_at(
        version: i16,
        introduction: Option<&Introduction>,
    ) -> Result<Self, SendError> {
        let mut request = ApiVersionsRequest::default();
        if let Some(who) = introduction {
            request.client_software_name = who.software_name.clone();
            request.client_software_version = who.software_version.clone();
            if let Some((cluster_id, node_id)) = who.expects() {
                request.cluster_id = Some(cluster_id.clone());
                request.node_id = node_id;
            }
        }
        Self::new(ApiKey::ApiVersions, version, &request)
    }

    pub(crate) fn sasl_handshake(mechanism: &str, version: i16) -> Result<Self, SendError> {
        let request = SaslHandshakeRequest {
            mechanism: Bytes::copy_from_slice(mechanism.as_bytes()),
        };
        Self::new(ApiKey::SaslHandshake, version, &request)
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

/// What a broker has said of itself.
pub(crate) struct Offer {
    pub(crate) versions: ApiVersions,
    /// None where it was asked, or has answered, at a version without them.
    pub(crate) features: Option<Features>,
}

/// What follows from an answer to ApiVersions.
pub(crate) enum Verdict {
    Offer(Offer),
    /// It is to be asked again, at this version.
    AskAt(i16),
}

/// Reads the answer to ApiVersions, asked at that version.
pub(crate) fn api_versions_answer(body: Bytes, asked: i16) -> Result<Verdict, ConnectionError> {
    let version = if is_laid_out_as_version_0(&body, asked) {
        ANONYMOUS
    } else {
        asked
    };
    let (answer, truncated) = ApiVersionsResponse::decode_partial(body, version);
    // First the code: with one, brokers need not say anything else.
    match answer.error_code {
        0 if truncated => return Err(ConnectionError::MalformedApiVersions),
        0 => {}
        code if code == ErrorCode::UnsupportedVersion.code() && asked > ANONYMOUS => {
            return Ok(Verdict::AskAt(next_version(&answer, asked)));
        }
        code if code == ErrorCode::RebootstrapRequired.code() => {
            return Err(ConnectionError::AnotherBroker);
        }
        code => return Err(ConnectionError::ApiVersions(code)),
    }
    let features = (version >= FIRST_WITH_FEATURES).then(|| features(&answer));
    let range = |api: ApiVersion| (api.api_key, (api.min_version, api.max_version));
    Ok(Verdict::Offer(Offer {
        versions: answer.api_keys.into_iter().map(range).collect(),
        features,
    }))
}

/// Some answer every version as version 0, and all do so when they do not know the version (KIP-511). There the
/// list's length begins with a zero byte; a compact one never does, unless it is null.
fn is_laid_out_as_version_0(body: &[u8], asked: i16) -> bool {
    asked >= FIRST_WITH_FEATURES && body.get(2) == Some(&0)
}

/// From Kafka 2.4 on brokers say which versions they know; older ones say nothing. Those between 0 and the first
/// with names have nothing to tell.
fn next_version(answer: &ApiVersionsResponse, asked: i16) -> i16 {
    let own = ApiKey::ApiVersions.key();
    let known = answer.api_keys.iter().find(|api| api.api_key == own);
    let highest = known.map_or(ANONYMOUS, |api| api.max_version.min(asked - 1));
    if highest < FIRST_WITH_FEATURES {
        ANONYMOUS
    } else {
        highest
    }
}

fn features(answer: &ApiVersionsResponse) -> Features {
    Features {
        epoch: answer.finalized_features_epoch,
        finalized: answer
            .finalized_features
            .iter()
            .map(|feature| (feature.name.clone(), feature.max_version_level))
            .collect(),
        supported: answer
            .supported_features
            .iter()
            .map(|f| (f.name.clone(), (f.min_version, f.max_version)))
            .collect(),
    }
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
