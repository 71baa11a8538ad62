//! Which broker coordinates a group or a transactional id.

use bytes::Bytes;
use std::collections::BTreeMap;

/// What has a coordinator: the key types of FindCoordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoordinatorKey {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

impl CoordinatorKey {
    pub(crate) fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Group),
            1 => Some(Self::Transaction),
            _ => None,
        }
    }
}

/// Coordinators that were chosen by hand.
pub(crate) type ChosenCoordinators = BTreeMap<(CoordinatorKey, Bytes), i32>;
