//! One connection to a Kafka broker as a state machine without I/O and without a clock.
//!
//! [`Connection`] is a value: bytes and points in time go in, bytes, events and deadlines come
//! out. It owns the handshake (TLS, ApiVersions, SASL and its renewal), the framing, the matching
//! of answers to requests, the choice of versions, deadlines, throttling (KIP-219) and the
//! back-off between attempts. A driver owns the socket, the resolver and the timer. Read [`Connection`] for the order in which it calls what.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use kafka_conn::{Config, Connection, Event, State};
//!
//! let now = Instant::now();
//! let mut connection = Connection::new(Config::default());
//! connection.connect("kafka.example", 9092, Some(Duration::from_secs(10)), now);
//! let dial = Event::Dial { host: "kafka.example".into(), port: 9092 };
//! assert_eq!(connection.poll_event(), Some(dial));
//!
//! // The driver has connected. ApiVersions, version 0, correlation id 1, waits to be written.
//! connection.handle_dialed(now);
//! let request = connection.poll_transmit().unwrap();
//! assert_eq!(request.segments().next().unwrap()[4..12], [0, 18, 0, 0, 0, 0, 0, 1]);
//! let length = request.len();
//! connection.transmitted(length, now);
//!
//! // The broker answers: id 1, no error, it speaks Metadata (3) at versions 0 to 12.
//! let answer = [0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 12];
//! connection.handle_data(&answer, now);
//! assert_eq!(connection.poll_event(), Some(Event::Ready));
//! assert_eq!(connection.state(), State::Ready);
//! assert_eq!(connection.api_versions().unwrap()[&3], (0, 12));
//! ```
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
mod oneway;
mod sasl;
mod secret;
mod session;
mod spare;
mod stats;
mod tls;
mod transmit;
mod versions;

pub use config::Config;
pub use connection::Connection;
pub use error::{DialError, SendError, VersionError};
pub use event::{Event, SaltingId, State, Token, TokenRequestId};
pub use frames::{MAX_HANDSHAKE_RESPONSE_SIZE, MAX_RESPONSE_SIZE};
pub use handshake::Introduction;
pub use sasl::{Extensions, SaltedPassword, Salting, SaslSettings, ScramCredential};
pub use secret::Secret;
pub use stats::{ApiStats, Histogram, RoundTrips, Stats};
pub use tls::{Pem, TlsError, TlsOptions, TlsSettings};
pub use transmit::Transmit;
pub use versions::{ApiVersions, Features};
