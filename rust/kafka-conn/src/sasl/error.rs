//! Why an authentication failed.

use std::fmt;

/// The most of a broker's explanation that is passed on, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Why an authentication failed. `Display` is the whole text for the error handler; it never
/// holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SaslError {
    /// A mechanism that this client does not have.
    UnsupportedMechanism,
    /// PLAIN separates the user name and the password by a NUL byte (RFC 4616).
    NulInPlain,
    /// SCRAM without a user name.
    ScramUsernameRequired,
    /// Not `r=…,s=…,i=…`, or a number of iterations that is not 4,096 to 1,048,576.
    ScramMalformedServerFirst,
    /// The server's nonce does not continue the client's.
    ScramNonceMismatch,
    /// The salt is empty or not Base64.
    ScramBadSalt,
    /// The server-final-message has no signature.
    ScramMissingServerSignature,
    /// The server does not know the password.
    ScramServerSignatureMismatch,
    /// The broker accepts before it has proved anything.
    IncompleteScram,
    /// The system has no random numbers for a nonce.
    NoRandomNumbers,
    /// An empty OAUTHBEARER token.
    TokenRequired,
    /// Control characters in an OAUTHBEARER token would end it early (RFC 7628, section 3.1).
    MalformedToken,
    /// Whoever was asked for a token has none, and says why.
    NoToken(String),
    /// The broker does not have the mechanism; those that it has.
    MechanismNotSupported(Vec<String>),
    /// The broker refused SaslHandshake with another code, as text.
    HandshakeRefused(String),
    /// The listener is one without SASL; the code that says so, as text.
    NotWanted(String),
    /// The answer to SaslHandshake does not decode.
    MalformedHandshake,
    /// The answer to SaslAuthenticate does not decode.
    MalformedAuthenticate,
    /// Brokers that exchange bare messages refuse by closing the connection.
    Closed,
    /// The broker refused, and says why.
    Refused(String),
}

impl SaslError {
    /// A refusal in the broker's words, of which nothing is assumed.
    pub(crate) fn refused(message: &[u8]) -> Self {
        SaslError::Refused(quoted(message))
    }
}

/// Text of the peer's with all control characters replaced, and not too much of it.
pub(super) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(MAX_MESSAGE)]);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnsupportedMechanism => "unsupported SASL mechanism",
            Self::NulInPlain => "PLAIN: NUL byte in username or password",
            Self::ScramUsernameRequired => "SCRAM: username required",
            Self::ScramMalformedServerFirst => "SCRAM: malformed server-first-message",
            Self::ScramNonceMismatch => "SCRAM: server nonce mismatch",
            Self::ScramBadSalt => "SCRAM: bad salt",
            Self::ScramMissingServerSignature => "SCRAM: missing server signature",
            Self::ScramServerSignatureMismatch => "SCRAM: server signature mismatch",
            Self::IncompleteScram => "SASL: incomplete SCRAM exchange",
            Self::NoRandomNumbers => "SCRAM: no random numbers",
            Self::TokenRequired => "OAUTHBEARER: token required",
            Self::MalformedToken => "OAUTHBEARER: control character in token",
            Self::NoToken(reason) => return write!(f, "SASL auth failed: no token: {reason}"),
            Self::MechanismNotSupported(offered) => {
                f.write_str("SASL handshake failed: mechanism not supported")?;
                return match &offered[..] {
                    [] => Ok(()),
                    offered => write!(f, " (the broker has {})", offered.join(", ")),
                };
            }
            Self::HandshakeRefused(code) => return write!(f, "SASL handshake failed: {code}"),
            Self::NotWanted(code) => {
                return write!(
                    f,
                    "SASL handshake failed: {code}: this listener takes no SASL; leave out sasl, or use \
                     the port of one that does"
                )
            }
            Self::MalformedHandshake => "malformed SaslHandshake response",
            Self::MalformedAuthenticate => "malformed SaslAuthenticate response",
            Self::Closed => {
                "SASL auth failed: the broker closed the connection, as those before Kafka 1.0 do \
                 when user name or password are wrong"
            }
            Self::Refused(message) => return write!(f, "SASL auth failed: {message}"),
        })
    }
}

impl std::error::Error for SaslError {}
