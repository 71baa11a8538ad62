//! With which mechanism and as whom to authenticate.

use std::sync::Arc;

use super::extensions::Extensions;
use super::scram::{Hash, KnownSalted};
use crate::secret::Secret;

/// A SASL mechanism and its credentials, for
/// [`Connection::set_sasl`](crate::Connection::set_sasl). Cheap to clone; connections that share
/// one value also share the salted password that SCRAM is slow to compute.
///
/// Whatever is wrong with it shows when the connection authenticates: a mechanism that this
/// client does not know is offered to the broker first, whose refusal tells more.
#[derive(Clone, Debug)]
pub struct SaslSettings {
    mechanism: Arc<str>,
    pub(super) credentials: Arc<Credentials>,
}

#[derive(Debug)]
pub(super) enum Credentials {
    Plain {
        username: Secret,
        password: Secret,
    },
    Scram {
        hash: Hash,
        username: Secret,
        password: Secret,
        salted: KnownSalted,
    },
    /// OAUTHBEARER.
    Bearer {
        /// The token, unless one is asked for at every authentication.
        token: Option<Secret>,
        extensions: Extensions,
    },
    Unsupported,
}

impl SaslSettings {
    /// `mechanism` is one of `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` and `OAUTHBEARER`; the
    /// last takes `password` as its token and ignores `username`.
    pub fn new(mechanism: &str, username: impl Into<Secret>, password: impl Into<Secret>) -> Self {
        let (username, password) = (username.into(), password.into());
        let credentials = match (mechanism, Hash::of_mechanism(mechanism)) {
            ("PLAIN", _) => Credentials::Plain { username, password },
            ("OAUTHBEARER", _) => Credentials::Bearer {
                token: Some(password),
                extensions: Extensions::default(),
            },
            (_, Some(hash)) => Credentials::Scram {
                hash,
                username,
                password,
                salted: KnownSalted::default(),
            },
            (_, None) => Credentials::Unsupported,
        };
        Self::with(mechanism, credentials)
    }

    /// OAUTHBEARER (RFC 7628, KIP-255) with this token; with none,
    /// [`Event::TokenNeeded`](crate::Event::TokenNeeded) asks for one at every authentication and
    /// re-authentication.
    pub fn oauthbearer(token: Option<Secret>, extensions: Extensions) -> Self {
        Self::with("OAUTHBEARER", Credentials::Bearer { token, extensions })
    }

    /// The same with tokens on demand, and no extensions.
    pub fn oauthbearer_on_demand() -> Self {
        Self::oauthbearer(None, Extensions::default())
    }

    fn with(mechanism: &str, credentials: Credentials) -> Self {
        SaslSettings {
            mechanism: mechanism.into(),
            credentials: Arc::new(credentials),
        }
    }

    /// Whether every authentication needs a token of its own.
    pub(crate) fn asks_for_token(&self) -> bool {
        matches!(*self.credentials, Credentials::Bearer { token: None, .. })
    }

    /// The mechanism's name, as it goes to the broker.
    pub fn mechanism(&self) -> &str {
        &self.mechanism
    }
}
