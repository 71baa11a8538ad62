//! How many records of which transaction are not settled (KIP-98).

use std::collections::HashMap;

/// Counts the transactions and their sealed records.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    begun: u64,
    /// Records in sealed batches that are not settled, by transaction.
    unsettled: HashMap<u64, usize>,
}

impl Ledger {
    /// The next transaction begins: its name.
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// The newest transaction that has begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Sealed records of a transaction that are not settled.
    pub fn unsettled(&self, transaction: u64) -> usize {
        self.unsettled.get(&transaction).copied().unwrap_or(0)
    }

    /// Whether this is a transaction that has not begun.
    pub fn is_later(&self, transaction: Option<u64>) -> bool {
        transaction.is_some_and(|transaction| transaction > self.begun)
    }

    pub fn sealed(&mut self, transaction: Option<u64>, records: usize) {
        if let Some(transaction) = transaction {
            *self.unsettled.entry(transaction).or_default() += records;
        }
    }

    pub fn settled(&mut self, transaction: Option<u64>, records: usize) {
        let Some(transaction) = transaction else {
            return;
        };
        if let Some(left) = self.unsettled.get_mut(&transaction) {
            *left = left.saturating_sub(records);
            if *left == 0 {
                self.unsettled.remove(&transaction);
            }
        }
    }
}
