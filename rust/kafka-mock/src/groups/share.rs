//! A share group (KIP-932): its members share partitions, and each is told in its heartbeats of which it fetches.

use super::consumer::{Assigned, TopicTable, JOIN, LEAVE};
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::BTreeSet;

/// What a heartbeat says.
#[derive(Debug)]
pub(crate) struct ShareBeat {
    pub member_id: Bytes,
    pub epoch: i32,
    /// `None` for no change.
    pub subscribed: Option<BTreeSet<Bytes>>,
}

/// A member.
#[derive(Debug)]
pub(crate) struct ShareMember {
    pub id: Bytes,
    pub epoch: i32,
    pub assigned: Assigned,
    subscribed: BTreeSet<Bytes>,
    previous_epoch: i32,
    deadline_ms: u64,
    /// It has not been told of what it has.
    is_untold: bool,
}

/// The members of a share group.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// Grows whenever members, what they want, or the topics change.
    pub epoch: i32,
    /// In the order in which they joined.
    pub members: Vec<ShareMember>,
}

impl Share {
    /// Joins, stays or leaves: the member's epoch, and what it fetches if that is news.
    pub fn heartbeat(
        &mut self,
        beat: ShareBeat,
        topics: &TopicTable,
        session_timeout_ms: u64,
        now_ms: u64,
    ) -> Result<(i32, Option<Assigned>), i16> {
        let found = self.members.iter().position(|m| m.id == beat.member_id);
        if beat.epoch == LEAVE {
            let index = found.ok_or(ErrorCode::UnknownMemberId.code())?;
            self.members.remove(index);
            self.assign(topics);
            return Ok((LEAVE, None));
        }
        let index = match found {
            Some(index) => index,
            None if beat.epoch == JOIN => {
                self.members.push(ShareMember::new(beat.member_id.clone()));
                self.members.len() - 1
            }
            None => return Err(ErrorCode::UnknownMemberId.code()),
        };
        self.members[index].take(&beat)?;
        self.assign(topics);
        let (epoch, member) = (self.epoch, &mut self.members[index]);
        if member.epoch != epoch {
            (member.previous_epoch, member.epoch) = (member.epoch, epoch);
        }
        member.deadline_ms = now_ms.saturating_add(session_timeout_ms);
        let is_untold = std::mem::take(&mut member.is_untold);
        Ok((epoch, is_untold.then(|| member.assigned.clone())))
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.members.iter().map(|member| member.deadline_ms).min()
    }

    /// Removes the members that were not heard of. What they have gives their heartbeats a new owner when those come.
    pub fn expire(&mut self, now_ms: u64) {
        let count = self.members.len();
        self.members.retain(|member| member.deadline_ms > now_ms);
        if self.members.len() < count {
            self.epoch += 1;
        }
    }

    /// Gives every partition to somebody, and nobody more than his share; when there are more members than partitions,
    /// several have the same.
    fn assign(&mut self, topics: &TopicTable) {
        let mut targets = vec![Assigned::new(); self.members.len()];
        for (name, &(id, count)) in topics {
            let wanting: Vec<usize> = (0..self.members.len())
                .filter(|&member| self.members[member].subscribed.contains(name))
                .collect();
            let (many, count) = (wanting.len(), usize::try_from(count).unwrap_or(0));
            for step in 0..if many == 0 || count == 0 {
                0
            } else {
                many.max(count)
            } {
                targets[wanting[step % many]].insert((id, (step % count) as i32));
            }
        }
        let mut is_news = false;
        for (member, target) in self.members.iter_mut().zip(targets) {
            if member.assigned != target {
                member.assigned = target;
                member.is_untold = true;
                is_news = true;
            }
        }
        if is_news || self.epoch == 0 {
            self.epoch += 1;
        }
    }
}

impl ShareMember {
    fn new(id: Bytes) -> Self {
        Self {
            id,
            epoch: JOIN,
            assigned: Assigned::new(),
            subscribed: BTreeSet::new(),
            previous_epoch: JOIN,
            deadline_ms: 0,
            is_untold: true,
        }
    }

    fn take(&mut self, beat: &ShareBeat) -> Result<(), i16> {
        let is_known = beat.epoch == self.epoch || beat.epoch == self.previous_epoch;
        if beat.epoch != JOIN && !is_known {
            return Err(ErrorCode::FencedMemberEpoch.code());
        }
        // A member that joins again, or has not got the last answer, is told all.
        self.is_untold |= beat.epoch == JOIN || beat.epoch != self.epoch;
        if let Some(subscribed) = &beat.subscribed {
            self.subscribed.clone_from(subscribed);
        }
        Ok(())
    }
}
