//! The positions that a group has stored.

use bytes::Bytes;
use std::collections::BTreeMap;

/// Topic and partition.
pub(crate) type TopicPartition = (Bytes, i32);

/// A stored position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset to go on from.
    pub offset: i64,
    /// The leader epoch of the record before it (KIP-320); -1 when unknown.
    pub leader_epoch: i32,
    /// What the member wrote beside it.
    pub metadata: Bytes,
}

type ByPartition = BTreeMap<TopicPartition, CommittedOffset>;

/// The positions of a group: those that count, and those of transactions that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    committed: ByPartition,
    /// By producer id.
    pending: BTreeMap<i64, ByPartition>,
}

impl Offsets {
    pub fn commit(&mut self, of: TopicPartition, offset: CommittedOffset) {
        self.committed.insert(of, offset);
    }

    pub fn commit_pending(&mut self, by: i64, of: TopicPartition, offset: CommittedOffset) {
        self.pending.entry(by).or_default().insert(of, offset);
    }

    /// A producer's transaction has ended.
    pub fn end_transaction(&mut self, by: i64, committed: bool) {
        let pending = self.pending.remove(&by).unwrap_or_default();
        if committed {
            self.committed.extend(pending);
        }
    }

    pub fn get(&self, of: &TopicPartition) -> Option<&CommittedOffset> {
        self.committed.get(of)
    }

    /// Whether a transaction that has not ended is about to change this position.
    pub fn is_pending(&self, of: &TopicPartition) -> bool {
        self.pending
            .values()
            .any(|pending| pending.contains_key(of))
    }

    pub fn committed(&self) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        self.committed.iter()
    }

    /// A topic was deleted.
    pub fn forget_topic(&mut self, name: &[u8]) {
        self.committed.retain(|(topic, _), _| topic[..] != *name);
        for pending in self.pending.values_mut() {
            pending.retain(|(topic, _), _| topic[..] != *name);
        }
    }
}
