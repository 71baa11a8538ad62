//! What holds for how the connections of a handle are encrypted and authenticated.

use std::cell::RefCell;
use std::rc::Rc;

use kafka_conn::SaslSettings;
use perl_xs::{ObjectHandle, Sv};

use crate::conn::tls_source::TlsSource;

/// How to authenticate; the default is not at all.
#[derive(Clone, Default)]
pub struct Sasl {
    /// The mechanism and its credentials.
    pub settings: Option<SaslSettings>,
    /// Whom to ask, when the settings ask for a token at every authentication.
    pub token: Option<TokenSource>,
}

/// A Perl function that knows tokens.
#[derive(Clone)]
pub struct TokenSource {
    /// The connection that the token is for.
    pub conn: ObjectHandle,
    /// The function, a code value.
    pub code: Sv,
}

/// What connections are encrypted with; those that are made alike share it.
pub type SharedTls = Rc<RefCell<TlsSource>>;

/// What holds for connections to come, and what the one that exists needs again.
#[derive(Default)]
pub struct Security {
    pub tls: Option<SharedTls>,
    pub sasl: Sasl,
    /// What was last told of a certificate that was accepted.
    pub told: String,
    /// Whom the connection that exists asks when it authenticates again (KIP-368).
    pub token_in_use: Option<TokenSource>,
}
