//! One connection to a Kafka broker as a state machine without I/O and without a clock.
//!
//! [`Connection`] is a value: bytes and points in time go in, bytes, events and deadlines come
//! out. It owns the handshake, the framing, the matching of answers to requests, the choice of
//! versions, deadlines, throttling (KIP-219) and the back-off between attempts. A driver owns the
//! socket, the resolver and the timer. Read [`Connection`] for the order in which it calls what.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backoff;
mod config;
mod connection;
mod error;
mod event;
mod frames;
mod handshake;
mod inflight;
mod link;
mod transmit;
mod versions;

pub use config::Config;
pub use connection::Connection;
pub use error::{DialError, SendError, VersionError};
pub use event::{Event, State, Token};
pub use frames::MAX_RESPONSE_SIZE;
pub use transmit::Transmit;
pub use versions::ApiVersions;
