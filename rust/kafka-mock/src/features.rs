//! Features (KIP-584): what brokers have to offer, and the level that the cluster has agreed on.

use bytes::Bytes;
use std::collections::BTreeMap;

/// The feature that lets coordinators share out partitions (KIP-848).
pub(crate) const GROUP_VERSION: &[u8] = b"group.version";

/// The feature that lets members share partitions (KIP-932).
pub(crate) const SHARE_VERSION: &[u8] = b"share.version";

/// Each feature with the highest level that the mock can have, and the one that a new cluster has.
const OFFERED: [(&[u8], i16, i16); 3] = [
    (GROUP_VERSION, 1, 1),
    (SHARE_VERSION, 1, 1),
    (b"transaction.version", 2, 2),
];

/// What the cluster has agreed on.
#[derive(Debug)]
pub(crate) struct Features {
    /// Grows with every change.
    epoch: i64,
    /// By name; level 0 is none.
    levels: BTreeMap<Bytes, i16>,
    highest: BTreeMap<Bytes, i16>,
}

impl Features {
    pub fn new() -> Self {
        let offered = OFFERED.map(|(name, ..)| Bytes::from_static(name));
        let highest = offered
            .iter()
            .cloned()
            .zip(OFFERED.map(|(_, most, _)| most));
        let levels = offered
            .iter()
            .cloned()
            .zip(OFFERED.map(|(.., level)| level));
        Self {
            epoch: 0,
            highest: highest.collect(),
            levels: levels.collect(),
        }
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// 0 for one that the cluster has not agreed on.
    pub fn level(&self, name: &[u8]) -> i16 {
        self.levels.get(name).copied().unwrap_or(0)
    }

    /// Also of one that is not known here: brokers then say that they have it.
    pub fn set(&mut self, name: &[u8], level: i16) {
        let name = Bytes::copy_from_slice(name);
        self.epoch += 1;
        let highest = self.highest.entry(name.clone()).or_default();
        *highest = level.max(*highest);
        self.levels.insert(name, level);
    }

    /// Name and level of those that the cluster has agreed on.
    pub fn finalized(&self) -> impl Iterator<Item = (&Bytes, i16)> {
        let levels = self.levels.iter().map(|(name, &level)| (name, level));
        levels.filter(|&(_, level)| level > 0)
    }

    /// Name and highest level of those that brokers have; the lowest is 0.
    pub fn supported(&self) -> impl Iterator<Item = (&Bytes, i16)> {
        self.highest.iter().map(|(name, &highest)| (name, highest))
    }
}
