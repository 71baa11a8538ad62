//! What becomes of a batch that a broker has not taken. Everything that decides over that stands here.
//!
//! A batch that was refused, or whose answer never came, is sent again when that can help and cannot write it twice; if
//! it is too large its halves are sent; else it fails, and somebody hears of it:
//!
//! - Whether a broker has a batch that it did not answer for is not known. Only idempotence (KIP-98) lets it be sent again.
//! - A refusal that may pass is waited for until `delivery_timeout`, and for a few tries in any case.
//! - `OUT_OF_ORDER_SEQUENCE_NUMBER` for a batch that is younger than an unanswered one says that that one was refused as
//!   well: both are sent again. If it is younger than one that has failed, it is that one's number which is missing.
//!   Else only a new identity helps (KIP-360), once for a batch. In a transaction that is for the transaction to decide.
//! - A batch whose transaction is over, or will be without it, is never sent again.

use std::time::Duration;

use kafka_wire::{error, ErrorCode};

/// A batch that was sent before has so many tries even after `delivery_timeout`.
pub const MIN_RETRIES: u32 = 3;

/// The delay before the second try of a batch (Java's `retry.backoff.ms`); it doubles with each one.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// The longest delay between tries, before jitter (Java's `retry.backoff.max.ms`).
const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The part of a delay by which it is shorter or longer at random, so that what failed together does not come back so.
const JITTER: f64 = 0.25;

/// What a program has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Batches carry sequence numbers.
    pub idempotent: bool,
    /// The producer has a transactional id, though not every batch is part of a transaction.
    pub transactional: bool,
    /// How long a batch may take, at most `Duration::MAX`.
    pub delivery_timeout: Duration,
}

/// What has happened to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It cannot be sent at all.
    Unsendable,
    /// The connection has ended before any of it was written.
    NeverLeft,
    /// The connection has ended, or the time for an answer has, and a broker may have it.
    Unanswered,
    /// The broker has answered, and has said nothing about this batch.
    Unmentioned,
    /// The broker has refused it with this error code.
    Refused(i16),
}

impl Cause {
    /// Whether an error code says that the broker has the batch: from an earlier try, but it no longer knows where.
    pub fn is_known_already(error_code: i16) -> bool {
        error_code == ErrorCode::DuplicateSequenceNumber.code()
    }

    /// Whether the batch may lie in the log on account of this try.
    pub fn leaves_doubt(self) -> bool {
        match self {
            Cause::Unsendable | Cause::NeverLeft => false,
            Cause::Unanswered | Cause::Unmentioned => true,
            Cause::Refused(code) => !is_never_appended(code),
        }
    }

    /// Whether the batch certainly lies in no log, whatever became of earlier tries: the broker knows what it has.
    pub fn dispels_doubt(self) -> bool {
        self.is(&[ErrorCode::OutOfOrderSequenceNumber])
    }

    /// The error code that callbacks get, where a broker has given one.
    pub fn code(self) -> Option<i16> {
        match self {
            Cause::Refused(code) => Some(code),
            _ => None,
        }
    }

    fn is(self, codes: &[ErrorCode]) -> bool {
        self.code()
            .is_some_and(|code| codes.iter().any(|is| is.code() == code))
    }

    /// A broker has said something, if not about the batch.
    fn is_answered(self) -> bool {
        matches!(self, Cause::Unmentioned | Cause::Refused(_))
    }

    /// No broker has said anything about it.
    fn is_lost(self) -> bool {
        matches!(
            self,
            Cause::NeverLeft | Cause::Unanswered | Cause::Unmentioned
        )
    }
}

/// Whether a broker gives this code only for a batch that it has not appended. Others may come after it has: when
/// replication took too long, or when the leader changed before it was complete.
fn is_never_appended(error_code: i16) -> bool {
    matches!(
        ErrorCode::from_code(error_code),
        Some(
            ErrorCode::CorruptMessage
                | ErrorCode::MessageTooLarge
                | ErrorCode::InvalidTopicException
                | ErrorCode::RecordListTooLarge
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::TopicAuthorizationFailed
                | ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::ConcurrentTransactions
                | ErrorCode::UnknownProducerId
                | ErrorCode::InvalidRecord
        )
    )
}

/// How a batch belongs to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is part of none.
    Plain,
    /// It is part of the one that is open.
    Open,
    /// It is part of the one that is being aborted.
    Aborting,
    /// It is part of one that is over.
    Past,
}

impl Membership {
    /// Nothing of the transaction is sent any more.
    fn is_given_up(self) -> bool {
        matches!(self, Membership::Aborting | Membership::Past)
    }
}

/// A batch that has failed, after [`Cause::leaves_doubt`] and [`Cause::dispels_doubt`] have been taken into account.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// What has happened.
    pub cause: Cause,
    /// In whatever words the broker, or whoever found out, puts it.
    pub message: &'a str,
    /// The topic's name.
    pub topic: &'a [u8],
    /// Partition number.
    pub partition: usize,
    /// How often it was put back to be sent again.
    pub retries: u32,
    /// How long all of its records have been here.
    pub age: Duration,
    /// It cannot be halved.
    pub is_indivisible: bool,
    /// No unsettled batch of its partition is older.
    pub is_oldest: bool,
    /// An older batch has failed under the same identity, and left a gap.
    pub follows_gap: bool,
    /// Its partition took a new identity on its account.
    pub is_renewed: bool,
    /// Its transaction, if it has one.
    pub membership: Membership,
}

/// What is to be done with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing of its partition is written under its identity any more.
    pub breaks_sequence: bool,
    /// And then.
    pub outcome: Outcome,
}

/// The end of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Back to those that wait, as if it had never left.
    Requeue,
    /// Its halves are sent in its place.
    Split,
    /// It is sent again after [`retry_delay`].
    Retry {
        /// Its topic may have another leader by now.
        refresh: bool,
    },
    /// It has failed.
    Fail {
        /// What callbacks are told, with [`Cause::code`].
        text: String,
        /// Who hears of it beside the callbacks.
        hearer: Hearer,
    },
}

/// Who hears of a batch that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearer {
    /// Nobody: the end of the connection is told by itself, and a transaction that is over has had its end.
    Nobody,
    /// The client's handler, for records without a callback.
    Handler,
    /// The transaction, which can only be aborted now.
    Transaction(Harm),
}

/// What a failed batch does to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// It has to be aborted.
    Abort,
    /// It has to be aborted, and the producer takes another epoch after that: the broker and this producer do not agree on
    /// the sequence numbers, or a batch of it may still come to be written (KIP-360).
    NewEpoch,
    /// There is no other one after it: another producer has taken the transactional id over (KIP-98), or this one may not
    /// use it.
    Fatal,
}

impl Harm {
    /// That of a batch which has failed so; without a code when no broker gave one.
    pub fn of(error_code: Option<i16>) -> Harm {
        let code = error_code.unwrap_or(ErrorCode::UnknownServerError.code());
        match ErrorCode::from_code(code) {
            Some(ErrorCode::ProducerFenced | ErrorCode::TransactionalIdAuthorizationFailed) => {
                Harm::Fatal
            }
            Some(
                ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::InvalidProducerIdMapping
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::UnknownProducerId
                | ErrorCode::UnknownServerError,
            ) => Harm::NewEpoch,
            _ => Harm::Abort,
        }
    }
}

/// Decides over a batch that has failed.
pub fn judge(batch: &Failed<'_>, policy: &Policy) -> Verdict {
    let breaks_sequence = batch.breaks_sequence(policy);
    Verdict {
        breaks_sequence,
        outcome: batch.outcome(policy, breaks_sequence),
    }
}

/// How long a batch waits for its try after this many; `random` is uniform in [0, 1).
pub fn retry_delay(retries: u32, random: f64) -> Duration {
    let factor = 1u32.checked_shl(retries).unwrap_or(u32::MAX);
    let delay = RETRY_BACKOFF.saturating_mul(factor).min(RETRY_BACKOFF_MAX);
    delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0))
}

impl Failed<'_> {
    fn outcome(&self, policy: &Policy, breaks_sequence: bool) -> Outcome {
        if self.cause == Cause::NeverLeft && self.membership == Membership::Plain {
            return Outcome::Requeue;
        }
        if self.must_split() {
            return Outcome::Split;
        }
        let may_help = match breaks_sequence {
            true => !self.is_renewed,
            false => self.may_pass(policy),
        };
        match may_help && self.has_tries(policy) {
            true => Outcome::Retry {
                refresh: self.is_retriable() && !self.precedes_end(),
            },
            false => Outcome::Fail {
                text: self.text(),
                hearer: self.hearer(),
            },
        }
    }

    /// Half of the batch may pass.
    fn must_split(&self) -> bool {
        let too_large = [ErrorCode::MessageTooLarge, ErrorCode::RecordListTooLarge];
        self.cause.is(&too_large) && !self.is_indivisible && !self.membership.is_given_up()
    }

    fn breaks_sequence(&self, policy: &Policy) -> bool {
        let is_out_of_sequence = self.cause.is(&[
            ErrorCode::OutOfOrderSequenceNumber,
            ErrorCode::InvalidProducerEpoch,
            ErrorCode::UnknownProducerId,
        ]);
        policy.idempotent
            && is_out_of_sequence
            && self.membership == Membership::Plain
            && !self.follows_another()
    }

    /// Its number is right, and one before it is missing.
    fn follows_another(&self) -> bool {
        self.cause.is(&[ErrorCode::OutOfOrderSequenceNumber])
            && (!self.is_oldest || self.follows_gap)
    }

    /// Whether the same batch may be taken later, and is not written twice.
    fn may_pass(&self, policy: &Policy) -> bool {
        if self.cause.is_lost() {
            return policy.idempotent;
        }
        // The end of the last transaction was promised, but is not written to this partition yet.
        let precedes_marker = policy.transactional
            && self.membership == Membership::Plain
            && self.cause.is(&[ErrorCode::InvalidTxnState]);
        self.is_retriable() || precedes_marker || policy.idempotent && self.follows_another()
    }

    /// The end of the transaction before this one is still being written (KIP-890): that is not the leader's matter.
    fn precedes_end(&self) -> bool {
        self.cause.is(&[ErrorCode::ConcurrentTransactions])
    }

    fn is_retriable(&self) -> bool {
        self.cause.code().is_some_and(error::is_retriable)
    }

    fn has_tries(&self, policy: &Policy) -> bool {
        let is_late = self.age >= policy.delivery_timeout && self.retries >= MIN_RETRIES;
        !is_late && !self.membership.is_given_up()
    }

    fn hearer(&self) -> Hearer {
        match self.membership {
            Membership::Past => Hearer::Nobody,
            Membership::Open | Membership::Aborting => {
                Hearer::Transaction(Harm::of(self.cause.code()))
            }
            Membership::Plain if self.cause == Cause::Unanswered => Hearer::Nobody,
            Membership::Plain => Hearer::Handler,
        }
    }

    fn text(&self) -> String {
        if !self.cause.is_answered() {
            return self.message.to_owned();
        }
        let unknown = ErrorCode::UnknownServerError.code();
        let code = self.cause.code().unwrap_or(unknown);
        let (name, partition) = (error::name(code), self.partition);
        let topic = String::from_utf8_lossy(self.topic);
        let mut text = format!("{name} (code {code}) from {topic}:{partition}");
        if !self.message.is_empty() {
            text += &format!(": {}", self.message);
        }
        if self.retries > 0 {
            text += &format!(" after {} retries", self.retries);
        }
        text
    }
}
