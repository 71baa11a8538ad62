//! Kafka's bytes: primitives, one file per API, record batches, codecs and error codes.
//!
//! Everything here is a function of its input: no sockets, no clock, no state but what the caller keeps.
//!
//! * [`messages`] declares every request and answer, in both directions and at every version we speak.
//! * [`api`] names the APIs, says which versions we speak, and frames requests and answers.
//! * [`records`] builds and reads record batches (magic 2).
//! * [`error`] knows the error codes of the protocol.
//!
//! Input from the network never makes these functions panic, and no length is trusted before it was checked
//! against the bytes that are really there.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[macro_use]
mod declare;
pub mod api;
#[cfg(feature = "arbitrary")]
pub mod arbitrary;
pub mod codec;
pub mod error;
mod hash;
mod malformed;
pub mod message;
pub mod messages;
mod pieces;
pub mod plain;
pub mod primitives;
pub mod records;
mod topic_id;
mod wire;

pub use api::{ApiKey, RequestHeader};
pub use codec::Codec;
pub use error::ErrorCode;
pub use hash::{crc32c, murmur2};
pub use message::{DecodeError, EncodeError, Message, Request};
pub use pieces::Pieces;
pub use primitives::{Reader, Writer};
pub use topic_id::{TopicId, NO_TOPIC_ID};
