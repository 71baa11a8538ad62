//! Answers, and who is told about the outcome of a request.

use bytes::Bytes;
use kafka_wire::ApiKey;
use perl_xs::{Flow, Perl, Sv};

use super::kept::Kept;

/// The body of an answer, still encoded.
#[derive(Debug)]
pub struct Answer {
    /// The API of the request.
    pub api: ApiKey,
    /// The version of request and answer.
    pub version: i16,
    /// The answer after its header; decode it with `Message::decode_partial`.
    pub body: Bytes,
}

/// Why a request has no answer.
#[derive(Debug)]
pub struct Failure {
    /// Text for the request's callback.
    pub reason: String,
    /// No broker can have read it: it was not written as a whole.
    pub is_unsent: bool,
}

impl Failure {
    /// Nothing was sent at all.
    pub fn unsent(reason: String) -> Failure {
        Failure {
            reason,
            is_unsent: true,
        }
    }
}

/// What is made of an answer.
pub struct Built {
    /// What the callback gets, or why there is nothing.
    pub result: Result<Sv, String>,
    /// For how long the broker wants nothing sent to it (KIP-219), in milliseconds.
    pub throttle_time_ms: i32,
}

/// Makes of an answer what the callback gets, with what the API keeps with the connection.
pub type Build = fn(Perl, &Answer, &Kept) -> Built;

/// A native completion: called exactly once, with the answer or the reason why none comes.
pub type NativeCompletion = Box<dyn FnOnce(Perl, Result<Answer, Failure>) -> Flow>;

/// Called exactly once, when the request has been written or cannot be any more.
pub type WrittenCompletion = Box<dyn FnOnce(Perl, Result<(), Failure>) -> Flow>;

/// Who is told about the outcome of a request.
pub enum Completion {
    /// Nobody. What tells the answer's `throttle_time_ms` is here, for that is obeyed all the same.
    Silent(fn(&Answer) -> i32),
    /// A Perl callback (its code value): `($result, undef)` or `(undef, $error)`, of a request of that API.
    Callback(Sv, Build, ApiKey),
    /// Rust code. It obeys `throttle_time_ms` itself, by `ConnHandle::throttle`.
    Native(NativeCompletion),
    /// Rust code that wants to know whether a request without an answer was written.
    Written(WrittenCompletion),
}
