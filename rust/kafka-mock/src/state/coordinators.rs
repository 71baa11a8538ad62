//! Where coordinators are.

use super::State;
use crate::coordinators::CoordinatorKey;
use crate::topic::NO_LEADER;
use bytes::Bytes;
use kafka_wire::{murmur2, ErrorCode};

impl State {
    /// Node id of the coordinator; -1 while no broker is up. What it coordinates is replicated: it
    /// moves with all its state when its broker is stopped, and back when that is up again.
    pub(crate) fn coordinator(&self, of: CoordinatorKey, key: &[u8]) -> i32 {
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
