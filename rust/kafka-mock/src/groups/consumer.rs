//! A group whose coordinator assigns the partitions (KIP-848): members tell what they want and have, and are told in
//! their heartbeats what to give up and what to take.

mod assignors;
mod member;
mod pattern;

pub(crate) use member::{Beat, Member};
pub(crate) use pattern::Pattern;

use super::Caller;
pub(crate) use assignors::Assignor;
use assignors::Wanting;
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};

/// Topic id and partition: a topic that is created again is another one.
pub(crate) type Assigned = BTreeSet<([u8; 16], i32)>;
/// Ids and numbers of partitions of topics, by name.
pub(crate) type TopicTable = BTreeMap<Bytes, ([u8; 16], i32)>;

/// Epochs that say something else than what a member has reached.
pub(crate) const JOIN: i32 = 0;
pub(crate) const LEAVE: i32 = -1;
/// A static member that will be back.
pub(crate) const LEAVE_FOR_NOW: i32 = -2;

/// What a heartbeat is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beaten {
    pub epoch: i32,
    /// All that the member may have now; `None` for no change.
    pub assignment: Option<Assigned>,
}

/// The members of a group.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// Grows whenever members, what they want, or the topics change.
    pub epoch: i32,
    /// In the order in which they joined.
    pub members: Vec<Member>,
    pub assignor: Assignor,
    /// Who is to have what in the end.
    target: BTreeMap<Bytes, Assigned>,
    /// The group epoch for which that was computed.
    target_epoch: i32,
    /// The topics that members want, as they were when it was.
    topics: TopicTable,
}

impl Default for Consumer {
    /// As of Kafka 4.3 the first member's epoch is 2.
    fn default() -> Self {
        Self {
            epoch: 1,
            members: Vec::new(),
            assignor: Assignor::default(),
            target: BTreeMap::new(),
            target_epoch: 1,
            topics: TopicTable::new(),
        }
    }
}

/// What members ask for.
impl Consumer {
    /// Joins, stays or leaves.
    pub fn heartbeat(
        &mut self,
        beat: Beat,
        topics: &TopicTable,
        session_timeout_ms: u64,
        now_ms: u64,
    ) -> Result<Beaten, i16> {
        if beat.epoch == LEAVE || beat.epoch == LEAVE_FOR_NOW {
            return self.leave(&beat);
        }
        let count = self.members.len();
        let index = self.member_for(&beat)?;
        let is_new = self.members.len() > count;
        let before = self.members[index].assigned.clone();
        let mut wants_other = self.members[index].take(&beat);
        for member in &mut self.members {
            wants_other |= member.resolve(topics);
        }
        let has_other_topics = self.look_at(topics);
        if is_new || wants_other || has_other_topics {
            self.epoch += 1;
        }
        self.assign();
        self.reconcile(index, beat.owned.as_ref());
        let member = &mut self.members[index];
        member.beat(session_timeout_ms, now_ms);
        let is_told = beat.is_full() || member.assigned != before;
        Ok(Beaten {
            epoch: member.epoch,
            assignment: is_told.then(|| member.assigned.clone()),
        })
    }

    /// Checks a commit or a read of positions by somebody who says to be a member.
    pub fn check_member(&self, by: &Caller<'_>) -> Result<(), i16> {
        let found = self.members.iter().find(|m| m.id[..] == *by.member_id);
        let member = found.ok_or(ErrorCode::UnknownMemberId.code())?;
        match by.generation == member.epoch {
            true => Ok(()),
            false => Err(ErrorCode::StaleMemberEpoch.code()),
        }
    }

    /// Whether everybody has what he is to have.
    pub fn is_stable(&self) -> bool {
        self.target_epoch == self.epoch
            && self
                .members
                .iter()
                .all(|member| member.is_settled(self.target_epoch))
    }
}

/// Time.
impl Consumer {
    pub fn next_deadline(&self) -> Option<u64> {
        self.members.iter().map(Member::deadline).min()
    }

    /// Removes the members that were not heard of, or that keep what they are to give up.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some(index) = self.members.iter().position(|m| m.deadline() <= now_ms) {
            self.remove(index);
        }
    }
}

/// How it works.
impl Consumer {
    /// The member that a heartbeat is of, made if it joins.
    fn member_for(&mut self, beat: &Beat) -> Result<usize, i16> {
        let by_id = self.members.iter().position(|m| m.id == beat.member_id);
        if let Some(name) = &beat.instance_id {
            let holder = self
                .members
                .iter()
                .position(|m| m.instance_id.as_ref() == Some(name));
            match holder {
                Some(index) if self.members[index].id == beat.member_id => {}
                Some(index) if beat.epoch == JOIN => return self.replace(index, beat),
                Some(_) => return Err(ErrorCode::FencedInstanceId.code()),
                None if beat.epoch == JOIN => {}
                None => return Err(ErrorCode::UnknownMemberId.code()),
            }
        }
        match by_id {
            Some(index) => {
                self.members[index].check_epoch(beat)?;
                Ok(index)
            }
            None if beat.epoch == JOIN => {
                self.members.push(Member::new(beat));
                Ok(self.members.len() - 1)
            }
            None => Err(ErrorCode::UnknownMemberId.code()),
        }
    }

    /// A static member that said it would be back is, under another id; one that said nothing still has its place.
    fn replace(&mut self, index: usize, beat: &Beat) -> Result<usize, i16> {
        let member = &mut self.members[index];
        if member.epoch != LEAVE_FOR_NOW {
            return Err(ErrorCode::UnreleasedInstanceId.code());
        }
        let old_id = std::mem::replace(&mut member.id, beat.member_id.clone());
        member.epoch = JOIN;
        if let Some(target) = self.target.remove(&old_id) {
            self.target.insert(beat.member_id.clone(), target);
        }
        Ok(index)
    }

    fn leave(&mut self, beat: &Beat) -> Result<Beaten, i16> {
        let found = self.members.iter().position(|m| m.id == beat.member_id);
        let holder = self
            .members
            .iter()
            .find(|m| beat.instance_id.is_some() && m.instance_id == beat.instance_id);
        let is_taken = holder.is_some_and(|holder| holder.id != beat.member_id);
        let index = match found {
            _ if is_taken => return Err(ErrorCode::FencedInstanceId.code()),
            Some(index) => index,
            None => return Err(ErrorCode::UnknownMemberId.code()),
        };
        if beat.epoch == LEAVE_FOR_NOW {
            self.members[index].epoch = LEAVE_FOR_NOW;
        } else {
            self.remove(index);
        }
        Ok(Beaten {
            epoch: beat.epoch,
            assignment: None,
        })
    }

    fn remove(&mut self, index: usize) {
        let member = self.members.remove(index);
        self.target.remove(&member.id);
        self.epoch += 1;
    }

    /// Whether the topics that members want are others than they were.
    fn look_at(&mut self, topics: &TopicTable) -> bool {
        let wanted: TopicTable = topics
            .iter()
            .filter(|(name, _)| self.members.iter().any(|m| m.subscribed.contains(*name)))
            .map(|(name, &topic)| (name.clone(), topic))
            .collect();
        let is_other = wanted != self.topics;
        self.topics = wanted;
        is_other
    }

    /// Computes who is to have what, if anything has changed.
    fn assign(&mut self) {
        if self.target_epoch == self.epoch {
            return;
        }
        self.assignor = self.chosen_assignor();
        let members: Vec<Wanting<'_>> = self
            .members
            .iter()
            .map(|member| Wanting {
                id: &member.id,
                topics: &member.subscribed,
                had: self.target.get(&member.id),
            })
            .collect();
        let target = self.assignor.assign(&members, &self.topics);
        self.target = target;
        self.target_epoch = self.epoch;
    }

    /// The one that most members want, of those who want one.
    fn chosen_assignor(&self) -> Assignor {
        let votes = |assignor: Assignor| {
            let of = self.members.iter();
            of.filter(|member| member.assignor == Some(assignor))
                .count()
        };
        match votes(Assignor::Range) > votes(Assignor::Uniform) {
            true => Assignor::Range,
            false => Assignor::Uniform,
        }
    }

    /// Brings a member one step nearer to what it is to have: it first gives up what others are to have, says so in
    /// a later heartbeat, and then gets what nobody has any more.
    fn reconcile(&mut self, index: usize, owned: Option<&Assigned>) {
        let target = self.target.get(&self.members[index].id).cloned();
        let target = target.unwrap_or_default();
        let held: Assigned = self
            .members
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .flat_map(|(_, member)| member.assigned.union(&member.revoking))
            .copied()
            .collect();
        let target_epoch = self.target_epoch;
        self.members[index].reconcile(&target, target_epoch, &held, owned);
    }
}
