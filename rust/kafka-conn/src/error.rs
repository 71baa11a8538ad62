//! What can go wrong, and the texts that programs match on.

use std::fmt;

use kafka_wire::ApiKey;

use crate::sasl::SaslError;

/// Why a connection was given up. `Display` is the text that reaches the error handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionError {
    /// No TCP connection within the connect timeout, which covers the name's resolution.
    ConnectTimeout,
    /// A phase of the handshake took longer than the connect timeout.
    HandshakeTimeout,
    /// A request was not answered before its deadline. Answers come in order, so nothing that
    /// was sent after it can be answered either.
    RequestTimeout {
        /// The request's API.
        api: ApiKey,
        /// The request's version.
        version: i16,
    },
    /// A response's size is negative or above `MAX_RESPONSE_SIZE`: whoever sent it may speak
    /// something else.
    InvalidResponseSize(Peer),
    /// A response ends inside its header.
    ResponseTooShort,
    /// A response does not belong to the oldest unanswered request.
    CorrelationIdMismatch {
        /// The oldest unanswered request's id; `None` when nothing was asked.
        expected: Option<i32>,
        /// The id that came.
        got: i32,
    },
    /// The answer to ApiVersions does not decode.
    MalformedApiVersions,
    /// The broker refused ApiVersions with this error code.
    ApiVersions(i16),
    /// The peer is another broker than the one that was meant, or one of another cluster.
    AnotherBroker,
    /// The encrypted connection failed, in words that say how.
    Tls(String),
    /// Authentication failed.
    Sasl(SaslError),
    /// A request of the handshake cannot be made from what the caller configured.
    Handshake(SendError),
    /// Resolving, connecting, reading or writing failed, in the driver's words.
    Driver(String),
}

impl ConnectionError {
    /// Whether another attempt may end otherwise, with what the caller has configured.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(
            self,
            Self::Tls(_) | Self::Sasl(_) | Self::Handshake(_) | Self::InvalidResponseSize(_)
        )
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectTimeout => f.write_str("connect timeout"),
            Self::HandshakeTimeout => f.write_str("handshake timeout"),
            Self::RequestTimeout { api, version } => {
                write!(f, "request timed out: {} v{version}", api.name())
            }
            Self::InvalidResponseSize(peer) => write!(f, "invalid response size{}", peer.hint()),
            Self::ResponseTooShort => f.write_str("response too short"),
            Self::CorrelationIdMismatch {
                expected: Some(expected),
                got,
            } => {
                write!(f, "correlation ID mismatch: expected {expected}, got {got}")
            }
            Self::CorrelationIdMismatch {
                expected: None,
                got,
            } => {
                write!(f, "correlation ID mismatch: expected none, got {got}")
            }
            Self::MalformedApiVersions => f.write_str("malformed ApiVersions response"),
            Self::ApiVersions(code) => write!(f, "ApiVersions error: {code}"),
            Self::AnotherBroker => f.write_str(
                "ApiVersions error: 129: another broker or cluster answers at this address",
            ),
            Self::Tls(reason) => write!(f, "TLS: {reason}"),
            Self::Sasl(error) => error.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Driver(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ConnectionError {}

/// What speaks on the other side, as far as four bytes tell that are no response's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Nothing that is known here.
    Unknown,
    /// A TLS record (RFC 8446, section 5.1): an alert, as an answer to what is not encrypted.
    Tls,
    /// A status line (RFC 9112, section 4).
    Http,
}

impl Peer {
    pub(crate) fn of(bytes: [u8; 4]) -> Self {
        match &bytes {
            [0x14..=0x17, 3, 0..=4, _] => Self::Tls,
            b"HTTP" => Self::Http,
            _ => Self::Unknown,
        }
    }

    /// What follows in the text of an error.
    fn hint(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Tls => ": the peer speaks TLS; is this a TLS listener (tls => 1)?",
            Self::Http => ": the peer speaks HTTP, it is no Kafka broker",
        }
    }
}

/// Why a driver could not make the TCP connection that [`Event::Dial`](crate::Event::Dial) asked
/// for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The name did not resolve: the resolver's reason.
    Resolve(String),
    /// The only address refused: the system's text for the error.
    Connect(String),
    /// The name has several addresses and none accepted.
    AllAddressesFailed,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(reason) => write!(f, "resolve: {reason}"),
            Self::Connect(reason) => write!(f, "connect: {reason}"),
            Self::AllAddressesFailed => f.write_str("connect: all addresses failed"),
        }
    }
}

impl std::error::Error for DialError {}

/// Why a request was not accepted. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The connection is not in [`State::Ready`](crate::State::Ready).
    NotConnected,
    /// The broker advertised the API, but not at this version.
    Version(VersionError),
    /// The request does not encode at this version; the encoder's text.
    Encode(String),
    /// The request is longer than its 32-bit size field can say.
    TooLarge,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("not connected"),
            Self::Version(error) => error.fmt(f),
            Self::Encode(text) => f.write_str(text),
            Self::TooLarge => f.write_str("request too large"),
        }
    }
}

impl std::error::Error for SendError {}

/// Client and broker share no version of an API, or the one asked for is not the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionError {
    /// The API.
    pub api: ApiKey,
    /// Lowest and highest version that was wanted.
    pub wanted: (i16, i16),
    /// Lowest and highest version that the broker advertised; none when it did not advertise the API.
    pub broker: Option<(i16, i16)>,
    /// Which broker it is, if that is known.
    pub node_id: Option<i32>,
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            api,
            wanted,
            broker,
            node_id,
        } = self;
        let range = |f: &mut fmt::Formatter<'_>, (low, high): (i16, i16)| match low == high {
            true => write!(f, "version {low}"),
            false => write!(f, "versions {low} to {high}"),
        };
        let Some(broker) = broker else {
            match node_id {
                Some(node_id) => write!(f, "broker {node_id}")?,
                None => f.write_str("the broker")?,
            }
            return write!(f, " does not offer {}", api.name());
        };
        write!(f, "{}: unsupported version: the broker speaks ", api.name())?;
        range(f, *broker)?;
        f.write_str(", this client ")?;
        range(f, *wanted)
    }
}

impl std::error::Error for VersionError {}
