//! Consumer groups as their coordinator sees them.

mod offsets;

pub use offsets::CommittedOffset;
pub(crate) use offsets::{Offsets, TopicPartition};

use crate::cluster::Cluster;
use bytes::Bytes;
use std::collections::BTreeMap;

/// All groups of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<Bytes, Group>,
}

/// One group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub offsets: Offsets,
}

impl Groups {
    /// The group of that id, made if there is none.
    pub fn entry(&mut self, id: &Bytes) -> &mut Group {
        self.by_id.entry(id.clone()).or_default()
    }

    /// A producer's transaction that had positions of this group has ended.
    pub fn end_transaction(&mut self, id: &Bytes, producer_id: i64, committed: bool) {
        if let Some(group) = self.by_id.get_mut(id) {
            group.offsets.end_transaction(producer_id, committed);
        }
    }

    /// A topic was deleted.
    pub fn forget_topic(&mut self, name: &[u8]) {
        for group in self.by_id.values_mut() {
            group.offsets.forget_topic(name);
        }
    }
}

/// Looking at groups.
impl Cluster {
    /// The positions that a group has stored, by topic and partition; none for an unknown group.
    pub fn committed_offsets(
        &self,
        group: &[u8],
    ) -> impl Iterator<Item = (&(Bytes, i32), &CommittedOffset)> {
        let group = self.groups.by_id.get(group);
        group
            .into_iter()
            .flat_map(|group| group.offsets.committed())
    }
}
