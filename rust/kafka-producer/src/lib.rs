//! A Kafka producer's batches as a value without I/O, without Perl and without a clock of its own.
//!
//! [`Accumulator`] takes records, lets batches become due, says what may leave for which broker, numbers batches for
//! idempotence (KIP-98), and takes the outcome of each. A driver owns sockets and timers, and hands a clock in. Read
//! [`Accumulator`]'s module for the life of a record.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accumulator;

pub use accumulator::{
    Accumulator, Answered, Appended, BatchId, Destination, GivenUp, Identity, NewRecord, Outgoing,
    Place, Question, Refused, Sealed, Settings, Stamp, NO_LEADER,
};
