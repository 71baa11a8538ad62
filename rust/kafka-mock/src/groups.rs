//! Consumer groups as their coordinator sees them.

mod answers;
mod classic;
mod consumer;
mod membership;
mod offsets;
mod share;
mod view;

pub(crate) use answers::{Answer, Answers, Token};
pub(crate) use classic::{Caller, Classic, JoinRefused, Joining};
pub(crate) use consumer::{
    Assigned, Assignor, Beat, Beaten, Consumer, Pattern, TopicTable, JOIN, LEAVE, LEAVE_FOR_NOW,
};
pub(crate) use membership::Members;
pub use offsets::CommittedOffset;
pub(crate) use offsets::{Offsets, TopicPartition};
pub(crate) use share::{Share, ShareBeat, ShareMember};
pub use view::{GroupView, MemberView};

use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::BTreeMap;

/// From here on OffsetCommit answers GROUP_ID_NOT_FOUND where it said ILLEGAL_GENERATION before (KIP-848).
const TELLS_GROUP_NOT_FOUND: i16 = 9;

/// All groups of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<Bytes, Group>,
    pub answers: Answers,
    member_ids: u64,
}

/// One group: its members, and the positions that outlive them.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub members: Members,
    pub offsets: Offsets,
}

impl Groups {
    pub fn get(&self, id: &[u8]) -> Option<&Group> {
        self.by_id.get(id)
    }

    /// The positions that a group has stored; none for an unknown group.
    pub fn committed(
        &self,
        id: &[u8],
    ) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        self.get(id)
            .into_iter()
            .flat_map(|group| group.offsets.committed())
    }

    /// The group of that id, made if there is none.
    pub fn entry(&mut self, id: &Bytes) -> &mut Group {
        self.by_id.entry(id.clone()).or_default()
    }

    /// A token for a request whose answer may have to wait.
    pub fn new_token(&mut self) -> Token {
        self.answers.new_token()
    }

    /// Joins a group; the answer comes under the token.
    pub fn join(
        &mut self,
        id: &Bytes,
        asked: Joining,
        client_id: &[u8],
        token: Token,
        now_ms: u64,
    ) -> Result<(), JoinRefused> {
        if !asked.member_id.is_empty() && !self.by_id.contains_key(id) {
            return Err((ErrorCode::UnknownMemberId.code(), asked.member_id));
        }
        self.member_ids += 1;
        // Kafka ends it with a UUID, which would be another one in every run.
        let stem = asked.instance_id.as_deref().unwrap_or(client_id);
        let new_id = Bytes::from([stem, format!("-{:012}", self.member_ids).as_bytes()].concat());
        let group = self.by_id.entry(id.clone()).or_default();
        let Some(members) = group.members.classic_to_join() else {
            let code = ErrorCode::InconsistentGroupProtocol.code();
            return Err((code, asked.member_id));
        };
        members.join(asked, || new_id, token, &mut self.answers, now_ms)
    }

    /// Hands out or fetches assignments; the answer comes under the token.
    pub fn sync(
        &mut self,
        id: &Bytes,
        by: &Caller<'_>,
        assignments: impl FnOnce() -> BTreeMap<Bytes, Bytes>,
        token: Token,
        now_ms: u64,
    ) -> Result<(), i16> {
        let answers = &mut self.answers;
        classic(&mut self.by_id, id)?.sync(by, assignments, token, answers, now_ms)
    }

    pub fn heartbeat(&mut self, id: &Bytes, by: &Caller<'_>, now_ms: u64) -> Result<(), i16> {
        classic(&mut self.by_id, id)?.heartbeat(by, now_ms)
    }

    pub fn leave(
        &mut self,
        id: &Bytes,
        member_id: &Bytes,
        instance_id: Option<&Bytes>,
        now_ms: u64,
    ) -> Result<(), i16> {
        let answers = &mut self.answers;
        classic(&mut self.by_id, id)?.leave(member_id, instance_id, answers, now_ms)
    }

    /// Whether somebody may store positions of a group. `version` is that of OffsetCommit; `None` stands for
    /// TxnOffsetCommit.
    pub fn check_commit(
        &mut self,
        id: &Bytes,
        by: &Caller<'_>,
        version: Option<i16>,
        now_ms: u64,
    ) -> Result<(), i16> {
        if by.generation >= 0 && !self.by_id.contains_key(id) {
            // Members of a group that never was.
            let knows_groups = version.is_some_and(|version| version >= TELLS_GROUP_NOT_FOUND);
            return Err(match knows_groups {
                true => ErrorCode::GroupIdNotFound.code(),
                false => ErrorCode::IllegalGeneration.code(),
            });
        }
        let group = self.by_id.entry(id.clone()).or_default();
        group.members.check_commit(by, version.is_none(), now_ms)
    }

    /// A heartbeat of the new protocol.
    pub fn consumer_heartbeat(
        &mut self,
        id: &Bytes,
        mut beat: Beat,
        topics: &TopicTable,
        session_timeout_ms: u64,
        now_ms: u64,
    ) -> Result<(Bytes, Beaten), i16> {
        if beat.epoch == JOIN {
            self.by_id.entry(id.clone()).or_default();
        }
        if beat.member_id.is_empty() {
            self.member_ids += 1;
            beat.member_id = format!("member-{:012}", self.member_ids).into();
        }
        let group = self.by_id.get_mut(id);
        let members = group.and_then(|group| group.members.consumer_to(beat.epoch));
        // What a broker says of groups of the other protocol too, when they are not to be converted.
        let members = members.ok_or(ErrorCode::GroupIdNotFound.code())?;
        let member_id = beat.member_id.clone();
        let beaten = members.heartbeat(beat, topics, session_timeout_ms, now_ms)?;
        Ok((member_id, beaten))
    }

    /// A heartbeat of a share group's member: its epoch, and what it fetches if that is news.
    pub fn share_heartbeat(
        &mut self,
        id: &Bytes,
        beat: ShareBeat,
        topics: &TopicTable,
        session_timeout_ms: u64,
        now_ms: u64,
    ) -> Result<(i32, Option<Assigned>), i16> {
        if beat.epoch == JOIN {
            self.by_id.entry(id.clone()).or_default();
        }
        let group = self.by_id.get_mut(id);
        let members = group.and_then(|group| group.members.share_to(beat.epoch));
        let members = members.ok_or(ErrorCode::GroupIdNotFound.code())?;
        members.heartbeat(beat, topics, session_timeout_ms, now_ms)
    }

    /// Whether somebody may read positions of a group: members of the new protocol only in their epoch.
    pub fn check_read(&self, id: &[u8], by: &Caller<'_>) -> Result<(), i16> {
        let is_anonymous = by.member_id.is_empty() && by.generation < 0;
        match self.by_id.get(id).map(|group| &group.members) {
            Some(Members::Consumer(members)) if !is_anonymous => members.check_member(by),
            _ => Ok(()),
        }
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

    pub fn next_deadline(&self) -> Option<u64> {
        let groups = self.by_id.values();
        groups
            .filter_map(|group| group.members.next_deadline())
            .min()
    }

    /// Does what time has brought; whether there was anything.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let mut any = false;
        for group in self.by_id.values_mut() {
            // One thing may bring about the next.
            while group.members.next_deadline().is_some_and(|at| at <= now_ms) {
                group.members.expire(&mut self.answers, now_ms);
                any = true;
            }
        }
        any
    }
}

fn classic<'a>(by_id: &'a mut BTreeMap<Bytes, Group>, id: &Bytes) -> Result<&'a mut Classic, i16> {
    let group = by_id.get_mut(id);
    group
        .and_then(|group| group.members.classic())
        .ok_or(ErrorCode::UnknownMemberId.code())
}
