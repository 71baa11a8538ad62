//! What a connection tells its driver.

use bytes::Bytes;
use kafka_wire::ApiKey;

use crate::sasl::Salting;

/// Names one request of one [`Connection`](crate::Connection); never reused, also not after a
/// reconnect.
pub type Token = u64;

/// Names one [`Event::TokenNeeded`] of one [`Connection`](crate::Connection); never reused.
pub type TokenRequestId = u64;

/// Names one [`Event::SaltingNeeded`] of one [`Connection`](crate::Connection); never reused.
pub type SaltingId = u64;

/// Where a connection stands. The numbers are the ones that Perl programs see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// No socket, none being made; perhaps waiting for the next attempt.
    Disconnected = 0,
    /// Resolving the name or connecting.
    Connecting = 1,
    /// In the TLS handshake.
    TlsHandshake = 2,
    /// SaslHandshake is unanswered.
    SaslHandshake = 3,
    /// SaslAuthenticate is unanswered.
    SaslAuthenticate = 4,
    /// ApiVersions is unanswered.
    ApiVersions = 5,
    /// Requests can be sent.
    Ready = 6,
}

impl State {
    /// The state's number, 0 to 6.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// One thing for the driver to do or to pass on, in order.
///
/// A loss reads `Close`, `Error` (not when the peer closed or the caller asked for it), one
/// `Failed` for every unanswered request, oldest first, then `Disconnected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Resolve `host` and connect to one of its addresses, then call
    /// [`handle_dialed`](crate::Connection::handle_dialed) or
    /// [`handle_dial_failed`](crate::Connection::handle_dial_failed).
    Dial {
        /// A name or an address literal, as given to `connect`.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// Drop the socket, or the resolution or connect that is under way: whatever it still
    /// yields belongs to nobody.
    Close,
    /// The handshake is over: requests can be sent.
    Ready,
    /// OAUTHBEARER needs a token, for the first authentication or a later one. Answer by
    /// [`provide_token`](crate::Connection::provide_token), now or later.
    TokenNeeded {
        /// To be given back with the token.
        id: TokenRequestId,
    },
    /// SCRAM needs a salted password, which is slow to compute: run `salting` beside the loop, and
    /// give what it comes to to [`provide_salted`](crate::Connection::provide_salted).
    SaltingNeeded {
        /// To be given back with the result.
        id: SaltingId,
        /// The work.
        salting: Salting,
    },
    /// A request was answered.
    Answer {
        /// What `send` returned.
        token: Token,
        /// The API of the request.
        api: ApiKey,
        /// The version of the request, hence of the answer.
        version: i16,
        /// The answer after its header; a slice of the read buffer, not a copy.
        body: Bytes,
    },
    /// A request that expects no answer has been given to the socket as a whole.
    Written {
        /// What `send_unanswered` returned.
        token: Token,
    },
    /// A request will not be answered.
    Failed {
        /// What `send` returned.
        token: Token,
        /// Why, as text for the request's callback.
        reason: String,
    },
    /// An answer said that the broker throttles the client; comes when
    /// [`tell_of_throttling`](crate::Connection::tell_of_throttling) has asked for it.
    Throttled {
        /// The API of the answer.
        api: ApiKey,
        /// For how long.
        throttle_time_ms: i32,
    },
    /// The connection failed; text for the connection's error handler.
    Error(String),
    /// Something that ends nothing and that somebody should know.
    Notice(String),
    /// The connection is gone; comes once, after the failures.
    Disconnected,
}
