//! Share groups as the leaders of partitions see them (KIP-932): what was acquired by whom, and the sessions in which
//! members ask.

mod partition;
mod session;

pub(crate) use partition::{Acquired, Rules, Settling, Wish, RENEW};
pub use partition::{SharePartition, ShareState, SharedRecord};
pub use session::ShareSession;
pub(crate) use session::{Opened, CLOSES, OPENS};

use crate::conn_id::ConnId;
use bytes::Bytes;
use partition::Holder;
use session::Sessions;
use std::collections::BTreeMap;

/// A broker notices the end of a connection later than what others have brought meanwhile, by so many milliseconds.
const NOTICES_AFTER_MS: u64 = 10;

/// Topic id and partition.
pub(crate) type Place = ([u8; 16], i32);

/// Those of all groups.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    partitions: BTreeMap<(Bytes, Place), SharePartition>,
    pub sessions: Sessions,
}

impl Shares {
    /// A group's state of a partition, made by `new` where there is none.
    pub fn partition(
        &mut self,
        group: &Bytes,
        place: Place,
        new: impl FnOnce() -> SharePartition,
    ) -> &mut SharePartition {
        let key = (group.clone(), place);
        self.partitions.entry(key).or_insert_with(new)
    }

    /// The partitions of a group.
    pub fn of<'a>(
        &'a self,
        group: &'a [u8],
    ) -> impl Iterator<Item = (&'a Place, &'a SharePartition)> {
        let all = self.partitions.iter();
        all.filter(move |((id, _), _)| id[..] == *group)
            .map(|((_, place), partition)| (place, partition))
    }

    pub fn next_deadline(&self) -> Option<u64> {
        let partitions = self.partitions.values();
        let locks = partitions.filter_map(SharePartition::next_deadline);
        let lost = self.sessions.all().filter_map(|session| session.ends_ms);
        locks.chain(lost).min()
    }

    /// Ends the locks whose time is over; whether there were any.
    pub fn expire(&mut self, now_ms: u64, rules: &Rules) -> bool {
        let mut any = false;
        for partition in self.partitions.values_mut() {
            any |= partition.expire(now_ms, rules);
        }
        any
    }

    /// Ends the sessions of connections that are gone; whether there were any.
    pub fn keep(&mut self, is_open: impl Fn(ConnId) -> bool, rules: &Rules, now_ms: u64) -> bool {
        let ends_ms = now_ms.saturating_add(NOTICES_AFTER_MS);
        self.sessions.mark_lost(is_open, ends_ms);
        let ended = self
            .sessions
            .end_where(|session| session.ends_ms.is_some_and(|at| at <= now_ms));
        for session in &ended {
            self.release(session, rules);
        }
        !ended.is_empty()
    }

    /// Ends a session; what its member holds of the broker's partitions is released.
    pub fn end(&mut self, group: &Bytes, member: &Bytes, broker: i32, rules: &Rules) -> bool {
        match self.sessions.take(group, member, broker) {
            Some(session) => {
                self.release(&session, rules);
                true
            }
            None => false,
        }
    }

    fn release(&mut self, session: &ShareSession, rules: &Rules) {
        let holder = Holder {
            member: session.member.clone(),
            broker: session.broker,
        };
        for ((group, _), partition) in &mut self.partitions {
            if *group == session.group {
                partition.release_all(&holder, rules);
            }
        }
    }
}
