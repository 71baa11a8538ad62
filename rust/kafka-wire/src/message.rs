//! What every message can do.

use bytes::Bytes;

use crate::api::ApiKey;
use crate::plain::{Sink, Source};
use crate::primitives::{Reader, Writer};

pub use crate::malformed::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};

/// A request or an answer: both directions, every version.
pub trait Message: Sized {
    /// Appends the body (without any header) as `version` lays it out.
    ///
    /// # Errors
    /// When a field is set that this version lacks and that is not ignorable, when a field is null that may not
    /// be at this version, or when something is longer than its length field can say.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Reads a body. Fields that `version` lacks get their default; tagged fields nobody knows are skipped.
    ///
    /// # Errors
    /// When the input ends early or contradicts itself.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Reads as much of an answer as is there: whole brokers, topics and partitions before the place where it
    /// breaks off, and of a topic that breaks off its whole partitions. True when it did break off.
    fn decode_partial(body: Bytes, version: i16) -> (Self, bool);

    /// The fields that `version` has as a value of another language, by their names; those that are null are left out.
    fn show<S: Sink>(&self, sink: &S, version: i16) -> S::Value;

    /// The message that a value of another language describes. Fields that it leaves out have their default.
    ///
    /// # Errors
    /// The source's, for what is no value of its field, and for a name that no field has.
    fn read<S: Source>(source: &S) -> Result<Self, S::Error>;
}

/// A message that asks for an answer.
pub trait Request: Message {
    /// The API that it belongs to.
    const API: ApiKey;
    /// What the broker answers.
    type Response: Message + Default;
}
