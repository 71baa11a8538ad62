//! A Kafka producer's batches as a value without I/O, without Perl and without a clock of its own.
//!
//! [`Accumulator`] takes records, lets batches become due, says what may leave for which broker, numbers batches for
//! idempotence (KIP-98), and takes the outcome of each. A driver owns sockets and timers, and hands a clock in.
//!
//! * `record`: records as they come. `batch`: open and sealed ones. `chunk`: records that have no partition yet.
//! * `partition`: when a batch may leave. `topic`: which partition a record goes to;
//!   `keyless`: one that has no key.
//! * [`verdict`]: what becomes of a batch that a broker has not taken.
//! * `buffers`: memory. `ledger`: records of transactions.
//! * `accumulator` holds it all together; its parts are sorted by what happens to records: `append`, `parked`, `request`,
//!   `outcome`, `failure`, `giving_up`, `counting`; and by what they go by: `options`, `identity`, `transaction`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accumulator;
mod batch;
mod buffers;
mod chunk;
mod keyless;
mod ledger;
mod partition;
mod record;
mod settings;
mod topic;
pub mod verdict;

pub use accumulator::{Accumulator, Counts, Fate, GivenUp, Outgoing, PartitionStats, Place};
pub use batch::{BatchId, Identity, Sealed, Stamp, LEND_FROM};
pub use chunk::{Answered, Destination, Question};
pub use keyless::Keyless;
pub use partition::NO_LEADER;
pub use record::{Appended, NewRecord, Refused};
pub use settings::Settings;
