//! What share groups have of partitions, as requests see and change it.

use super::State;
use crate::api::Call;
use crate::features::SHARE_VERSION;
use crate::shares::{Acquired, Place, Rules, Settling, SharePartition, Wish};
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::BTreeSet;

/// Of a leader that there is none of, or that need not be told.
const UNKNOWN: (i32, i32) = (-1, -1);

impl State {
    pub(crate) fn share_rules(&self) -> Rules {
        Rules {
            lock_ms: self.config.share_lock_ms,
            delivery_limit: self.config.share_delivery_limit,
        }
    }

    /// UNSUPPORTED_VERSION where the cluster has not agreed on share groups.
    pub(crate) fn check_shares(&self) -> Result<(), i16> {
        match self.features.level(SHARE_VERSION) {
            0 => Err(ErrorCode::UnsupportedVersion.code()),
            _ => Ok(()),
        }
    }

    /// Acquires records of a partition for a group.
    pub(crate) fn acquire_shared(
        &mut self,
        group: &Bytes,
        (topic, place): (&Bytes, Place),
        wish: &Wish<'_>,
    ) -> Result<(Vec<Bytes>, Vec<Acquired>), i16> {
        let rules = self.share_rules();
        let begins_late = self.config.share_begins_late;
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let partition = self
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(place.1))
            .ok_or(unknown)?;
        partition.check_leader(wish.broker, -1)?;
        let (log, epoch) = (&partition.log, partition.leader_epoch);
        let shared = self.shares.partition(group, place, || {
            let start = match begins_late {
                true => log.high_watermark(),
                false => log.start_offset(),
            };
            SharePartition::new(start, epoch)
        });
        shared.look_at(log, epoch, &rules);
        Ok(shared.acquire(log, wish, &rules))
    }

    /// Settles records of a partition.
    pub(crate) fn settle_shared(
        &mut self,
        call: &Call,
        (group, member): (&Bytes, &Bytes),
        (topic, place): (&Bytes, Place),
        settling: &[Settling],
    ) -> Result<(), i16> {
        let rules = self.share_rules();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let partition = self
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(place.1))
            .ok_or(unknown)?;
        partition.check_leader(call.broker, -1)?;
        let (log, epoch) = (&partition.log, partition.leader_epoch);
        let new = || SharePartition::new(log.start_offset(), epoch);
        let shared = self.shares.partition(group, place, new);
        shared.look_at(log, epoch, &rules);
        let offsets = || -> BTreeSet<i64> {
            let records = log.records(crate::log::IsolationLevel::ReadUncommitted);
            records.iter().map(|record| record.offset).collect()
        };
        shared.settle(
            (member, call.broker),
            settling,
            offsets,
            call.now_ms,
            &rules,
        )?;
        // What was released somebody else may wait for.
        self.changed = true;
        Ok(())
    }

    /// Ends a session, and releases what it holds.
    pub(crate) fn end_share_session(&mut self, group: &Bytes, member: &Bytes, broker: i32) {
        let rules = self.share_rules();
        if self.shares.end(group, member, broker, &rules) {
            self.changed = true;
        }
    }

    /// A fault wants the session not to be there.
    pub(crate) fn forget_share_session_for(
        &mut self,
        code: i16,
        (group, member): (&Option<Bytes>, &Option<Bytes>),
        broker: i32,
    ) {
        let is_sessions = [
            ErrorCode::ShareSessionNotFound,
            ErrorCode::InvalidShareSessionEpoch,
            ErrorCode::ShareSessionLimitReached,
        ]
        .iter()
        .any(|error| error.code() == code);
        if let (true, Some(group), Some(member)) = (is_sessions, group, member) {
            self.end_share_session(group, member, broker);
        }
    }

    /// Who leads a partition, for whom a broker that does not has to tell.
    pub(crate) fn leader_at(&self, place: Place, error_code: i16) -> (i32, i32) {
        if error_code != ErrorCode::NotLeaderOrFollower.code() {
            return UNKNOWN;
        }
        let topic = self
            .topic_name(&place.0)
            .and_then(|name| self.topics.get(name));
        let partition = topic.and_then(|topic| topic.partition(place.1));
        partition.map_or(UNKNOWN, |found| (found.leader, found.leader_epoch))
    }
}
