//! Which version of transactions a request belongs to, and which versions of its own it may have for that.

use kafka_wire::ApiKey;

/// How a producer and its coordinator speak of transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransactionVersion {
    /// The coordinator is told what becomes part of one, and an epoch serves many of them (KIP-98).
    #[default]
    Told,
    /// What is written becomes part of one, and each has an epoch of its own (KIP-890).
    Implicit,
}

impl TransactionVersion {
    /// By Kafka's number of it.
    ///
    /// # Errors
    /// For one that there is not.
    pub fn of_number(number: i32) -> Result<Self, &'static str> {
        match number {
            1 => Ok(Self::Told),
            2 => Ok(Self::Implicit),
            _ => Err("transaction_version must be 1 or 2"),
        }
    }

    /// The highest version of a request that does not belong to a later version of transactions.
    pub const fn most(self, api: ApiKey) -> i16 {
        match (self, api) {
            (Self::Told, ApiKey::Produce) => 11,
            (Self::Told, ApiKey::EndTxn | ApiKey::TxnOffsetCommit) => 4,
            _ => i16::MAX,
        }
    }
}
