//! Which broker coordinates a group or a transactional id.

use crate::cluster::{Cluster, ClusterError};
use crate::topic::NO_LEADER;
use bytes::Bytes;
use kafka_wire::{murmur2, ErrorCode};
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

impl Cluster {
    /// Node id of the coordinator; -1 while no broker is up. What it coordinates is replicated: it
    /// moves with all its state when its broker is stopped, and back when that is up again.
    pub fn coordinator(&self, of: CoordinatorKey, key: &[u8]) -> i32 {
        let chosen = self
            .coordinators
            .get(&(of, Bytes::copy_from_slice(key)))
            .copied();
        // Kafka hashes the key to a partition of an internal topic; its leader is the coordinator.
        let brokers = self.config.brokers;
        let first = chosen.unwrap_or((murmur2(key) % brokers.unsigned_abs()) as i32);
        (0..brokers)
            .map(|step| (first + step) % brokers)
            .find(|&id| self.is_up(id))
            .unwrap_or(NO_LEADER)
    }

    /// Moves a coordinator to another broker, where it stays while that is up.
    pub fn set_coordinator(
        &mut self,
        of: CoordinatorKey,
        key: &[u8],
        broker: i32,
    ) -> Result<(), ClusterError> {
        self.broker_mut(broker)?;
        self.coordinators
            .insert((of, Bytes::copy_from_slice(key)), broker);
        self.changed = true;
        Ok(())
    }

    /// NOT_COORDINATOR unless the broker is the one to ask.
    pub(crate) fn check_coordinator(
        &self,
        of: CoordinatorKey,
        key: &[u8],
        broker: i32,
    ) -> Result<(), i16> {
        match self.coordinator(of, key) == broker {
            true => Ok(()),
            false => Err(ErrorCode::NotCoordinator.code()),
        }
    }
}
