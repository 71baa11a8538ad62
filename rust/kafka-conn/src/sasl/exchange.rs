//! One run of a mechanism.

use kafka_wire::messages::sasl_authenticate::SaslAuthenticateResponse;
use kafka_wire::messages::sasl_handshake::SaslHandshakeResponse;
use kafka_wire::{error, Message};

use bytes::Bytes;

use super::error::quoted;
use super::extensions::Extensions;
use super::salting::{SaltedPassword, Salting};
use super::scram::{self, Next};
use super::settings::Credentials;
use super::{SaslError, SaslSettings};
use crate::handshake::Carrier;
use crate::secret::Secret;

/// The error code UNSUPPORTED_SASL_MECHANISM.
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;

/// What a listener without SASL answers to SaslHandshake.
const ILLEGAL_SASL_STATE: i16 = 34;

/// What a client answers to an OAUTHBEARER failure, so that the server can end the exchange
/// (RFC 7628, section 3.2.3).
const OAUTHBEARER_ABORT: &[u8] = &[1];
/// The names of a broker's mechanisms that an error lists, at most.
const MAX_MECHANISMS: usize = 16;

/// Where the broker's answer to SaslAuthenticate leads.
pub(crate) enum Reply {
    /// Another message for the broker.
    Continue(Secret),
    /// A password to salt, for [`Exchange::salted`].
    Salt(Salting),
    /// Authenticated, for so many milliseconds; 0 for ever (KIP-368).
    Done { lifetime_ms: i64 },
}

/// The client's side of one authentication.
#[derive(Debug)]
pub(crate) struct Exchange {
    settings: SaslSettings,
    run: Run,
}

#[derive(Debug)]
enum Run {
    /// PLAIN, or OAUTHBEARER whose token is not known to be refused: one message, one answer.
    OneMessage,
    Scram(scram::Exchange),
    /// OAUTHBEARER after a failure, in the broker's words.
    Refused(SaslError),
}

impl Exchange {
    /// Starts the exchange; gives its first message beside it. `token` is used by OAUTHBEARER on
    /// demand only.
    ///
    /// # Errors
    /// The credentials cannot be used with the mechanism.
    pub(crate) fn start(
        settings: &SaslSettings,
        token: Option<Secret>,
    ) -> Result<(Self, Secret), SaslError> {
        let (run, message) = match &*settings.credentials {
            Credentials::Plain { username, password } => {
                (Run::OneMessage, plain(username, password)?)
            }
            Credentials::Scram { hash, username, .. } => {
                let exchange = scram::Exchange::new(*hash, username)?;
                let first = exchange.first();
                (Run::Scram(exchange), first)
            }
            Credentials::Bearer {
                token: fixed,
                extensions,
            } => {
                let token = fixed.as_ref().or(token.as_ref());
                (Run::OneMessage, oauthbearer(token, extensions)?)
            }
            Credentials::Unsupported => return Err(SaslError::UnsupportedMechanism),
        };
        let settings = settings.clone();
        Ok((Exchange { settings, run }, message))
    }

    /// Takes the broker's answer to the last message.
    ///
    /// # Errors
    /// The broker refused, or its answer is not one to this exchange.
    pub(crate) fn answer(&mut self, body: Bytes, carrier: Carrier) -> Result<Reply, SaslError> {
        let answer = match carrier {
            Carrier::Authenticate(version) => authenticate_answer(body, version)?,
            Carrier::Bare => SaslAuthenticateResponse {
                auth_bytes: body,
                ..Default::default()
            },
        };
        let lifetime_ms = answer.session_lifetime_ms;
        let done = Reply::Done { lifetime_ms };
        match (&mut self.run, &*self.settings.credentials) {
            (Run::Scram(exchange), Credentials::Scram { salted, .. }) => {
                Ok(match exchange.answer(&answer.auth_bytes, salted)? {
                    Next::Say(message) => Reply::Continue(message),
                    Next::Salt(salt) => Reply::Salt(Salting::new(self.settings.clone(), salt)),
                    Next::Done => done,
                })
            }
            (Run::Refused(error), _) => Err(error.clone()),
            (run, Credentials::Bearer { .. }) if !answer.auth_bytes.is_empty() => {
                *run = Run::Refused(SaslError::refused(&answer.auth_bytes));
                Ok(Reply::Continue(OAUTHBEARER_ABORT.into()))
            }
            _ => Ok(done),
        }
    }

    /// Goes on when a password has been salted; gives the message that it was needed for.
    pub(crate) fn salted(&mut self, salted: &SaltedPassword) -> Secret {
        match &mut self.run {
            Run::Scram(exchange) => exchange.client_final(&salted.0),
            Run::OneMessage | Run::Refused(_) => Secret::default(),
        }
    }
}

/// RFC 4616, without an authorization identity.
fn plain(username: &Secret, password: &Secret) -> Result<Secret, SaslError> {
    let (username, password) = (username.expose(), password.expose());
    if username.contains(&0) || password.contains(&0) {
        return Err(SaslError::NulInPlain);
    }
    Ok([&[0], username, &[0], password].concat().into())
}

/// RFC 7628, section 3.1, without host, port and an authorization identity, as KIP-255 has it.
fn oauthbearer(token: Option<&Secret>, extensions: &Extensions) -> Result<Secret, SaslError> {
    let token = token
        .filter(|token| !token.is_empty())
        .ok_or(SaslError::TokenRequired)?;
    if token.expose().iter().any(u8::is_ascii_control) {
        return Err(SaslError::MalformedToken);
    }
    let parts = [
        b"n,,\x01auth=Bearer ",
        token.expose(),
        b"\x01",
        extensions.encoded(),
        b"\x01",
    ];
    Ok(parts.concat().into())
}

/// Checks the answer to SaslHandshake.
///
/// # Errors
/// It does not decode, or the broker does not have the mechanism.
pub(crate) fn handshake_answer(body: Bytes, version: i16) -> Result<(), SaslError> {
    let (answer, truncated) = SaslHandshakeResponse::decode_partial(body, version);
    match answer.error_code {
        0 if truncated => Err(SaslError::MalformedHandshake),
        0 => Ok(()),
        UNSUPPORTED_SASL_MECHANISM => {
            let offered = answer.mechanisms.iter().take(MAX_MECHANISMS);
            Err(SaslError::MechanismNotSupported(
                offered.map(|mechanism| quoted(mechanism)).collect(),
            ))
        }
        ILLEGAL_SASL_STATE => Err(SaslError::NotWanted(code_text(ILLEGAL_SASL_STATE))),
        code => Err(SaslError::HandshakeRefused(code_text(code))),
    }
}

fn authenticate_answer(body: Bytes, version: i16) -> Result<SaslAuthenticateResponse, SaslError> {
    let (answer, truncated) = SaslAuthenticateResponse::decode_partial(body, version);
    match (answer.error_code, &answer.error_message) {
        (0, _) if truncated => Err(SaslError::MalformedAuthenticate),
        (0, _) => Ok(answer),
        (_, Some(message)) if !message.is_empty() => Err(SaslError::refused(message)),
        (code, _) => Err(SaslError::Refused(code_text(code))),
    }
}

fn code_text(code: i16) -> String {
    format!("{} (code {code})", error::name(code))
}
