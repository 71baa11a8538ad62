//! Which transactional batches of a Fetch answer are not to be read under read_committed (KIP-98).

use std::collections::HashSet;

use kafka_wire::messages::fetch::AbortedTransaction;
use kafka_wire::records::{BatchHeader, ControlType, Records};

/// Goes along with the batches of a partition, in order.
pub struct AbortedTransactions {
    /// Those that begin behind the batches seen so far; the first one last.
    to_come: Vec<AbortedTransaction>,
    /// Producers whose records belong to an aborted transaction until its marker comes.
    open: HashSet<i64>,
}

impl AbortedTransactions {
    /// From the list of the answer.
    pub fn new(mut list: Vec<AbortedTransaction>) -> AbortedTransactions {
        list.sort_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        AbortedTransactions {
            to_come: list,
            open: HashSet::new(),
        }
    }

    /// Whether the next batch's records must be withheld. Of a control batch they are needed to tell.
    pub fn withholds(&mut self, batch: &BatchHeader, marker: Option<&Records>) -> bool {
        if self.open.is_empty() && self.to_come.is_empty() {
            return false;
        }
        while let Some(aborted) = self.to_come.last() {
            if aborted.first_offset > batch.last_offset() {
                break;
            }
            self.open.insert(aborted.producer_id);
            self.to_come.pop();
        }
        if batch.is_control() {
            let record = marker.and_then(|records| records.iter().next());
            if record.and_then(|record| record.control_type()) == Some(ControlType::Abort) {
                self.open.remove(&batch.producer_id);
            }
            return true;
        }
        batch.is_transactional() && self.open.contains(&batch.producer_id)
    }
}
