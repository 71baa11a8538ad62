//! A group whose members assign the partitions among themselves: the classic protocol, with static
//! members (KIP-345) and ids that are given before the group waits for their members (KIP-394).

mod member;
mod rebalance;

pub(crate) use member::{Joining, Member};

use super::answers::{Answers, Token};
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::BTreeMap;

/// Where a group of the classic protocol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassicState {
    /// There are no members.
    #[default]
    Empty,
    /// Members are to join again.
    PreparingRebalance,
    /// The leader is to assign.
    CompletingRebalance,
    /// Members have their assignments.
    Stable,
}

impl ClassicState {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// Why a member cannot join: the error, and the id to join with in the case of MEMBER_ID_REQUIRED.
pub(crate) type JoinRefused = (i16, Bytes);

/// The members of a group and their state.
#[derive(Debug, Default)]
pub(crate) struct Classic {
    pub state: ClassicState,
    pub generation: i32,
    pub protocol_type: Option<Bytes>,
    pub protocol: Option<Bytes>,
    pub leader: Option<Bytes>,
    /// In the order in which they joined.
    pub members: Vec<Member>,
    /// Ids that were given out and not joined with, and until when they may be.
    promised: BTreeMap<Bytes, u64>,
    /// When a rebalance goes on without those who have not joined, or not synced.
    deadline_ms: u64,
}

/// What members ask for.
impl Classic {
    /// Joins or rejoins; the answer comes under the token, when all have joined or the rebalance is given up on.
    pub fn join(
        &mut self,
        asked: Joining,
        new_id: impl FnOnce() -> Bytes,
        token: Token,
        answers: &mut Answers,
        now_ms: u64,
    ) -> Result<(), JoinRefused> {
        let refused = |code: ErrorCode| (code.code(), asked.member_id.clone());
        if !self.accepts(&asked) {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        if asked.member_id.is_empty() {
            return self.join_new(asked, new_id(), token, answers, now_ms);
        }
        if self.promised.remove(&asked.member_id).is_some() {
            let id = asked.member_id.clone();
            self.add(asked, id, token, answers, now_ms);
            return Ok(());
        }
        let index = self
            .find(&asked.member_id, asked.instance_id.as_ref())
            .map_err(refused)?;
        let is_leader = self.leader.as_ref() == Some(&asked.member_id);
        let is_same = self.members[index].protocols == asked.protocols;
        let stands = match self.state {
            ClassicState::Stable => is_same && !is_leader,
            ClassicState::CompletingRebalance => is_same,
            ClassicState::PreparingRebalance | ClassicState::Empty => false,
        };
        let member = &mut self.members[index];
        if stands {
            // Its answer may have been lost.
            member.beat(now_ms);
            let answer = self.generation_for(&self.members[index]);
            answers.join(token, answer);
            return Ok(());
        }
        member.rejoin(asked, token);
        self.rebalance(answers, now_ms);
        Ok(())
    }

    /// Hands out the leader's assignments; the member's own comes under the token once they are there.
    pub fn sync(
        &mut self,
        by: &Caller<'_>,
        assignments: impl FnOnce() -> BTreeMap<Bytes, Bytes>,
        token: Token,
        answers: &mut Answers,
        now_ms: u64,
    ) -> Result<(), i16> {
        let index = self.find_in_generation(by)?;
        let member = &mut self.members[index];
        match self.state {
            ClassicState::Empty => return Err(ErrorCode::UnknownMemberId.code()),
            ClassicState::PreparingRebalance => return Err(ErrorCode::RebalanceInProgress.code()),
            ClassicState::Stable => member.hand_out(token, answers, now_ms),
            ClassicState::CompletingRebalance => {
                member.sync(token);
                if self.leader.as_deref() == Some(by.member_id) {
                    self.assign(assignments(), answers, now_ms);
                }
            }
        }
        Ok(())
    }

    pub fn heartbeat(&mut self, by: &Caller<'_>, now_ms: u64) -> Result<(), i16> {
        let index = self.find_in_generation(by)?;
        self.members[index].beat(now_ms);
        match self.state {
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId.code()),
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress.code()),
            ClassicState::CompletingRebalance | ClassicState::Stable => Ok(()),
        }
    }

    /// Leaves: by member id, by the static name, or by both.
    pub fn leave(
        &mut self,
        member_id: &Bytes,
        instance_id: Option<&Bytes>,
        answers: &mut Answers,
        now_ms: u64,
    ) -> Result<(), i16> {
        if self.promised.remove(member_id).is_some() {
            self.go_on(answers, now_ms);
            return Ok(());
        }
        let by_name = self.members.iter().position(|member| {
            member_id.is_empty()
                && instance_id.is_some()
                && member.instance_id.as_ref() == instance_id
        });
        let index = match by_name {
            Some(index) => index,
            None => self.find(member_id, instance_id).map_err(ErrorCode::code)?,
        };
        self.remove(index, answers, now_ms);
        Ok(())
    }

    /// Checks a commit of positions by somebody who says to be a member, or not to be one. Committing as part of a
    /// transaction is allowed in the middle of a rebalance too.
    pub fn check_commit(
        &mut self,
        by: &Caller<'_>,
        transactional: bool,
        now_ms: u64,
    ) -> Result<(), i16> {
        let is_anonymous = by.generation < 0 && by.member_id.is_empty() && by.instance_id.is_none();
        if self.members.is_empty() {
            // Positions of groups without members may be stored by anybody, but not in the name of a generation.
            return match by.generation < 0 {
                true => Ok(()),
                false => Err(ErrorCode::UnknownMemberId.code()),
            };
        }
        if is_anonymous {
            return match transactional {
                true => Ok(()),
                false => Err(ErrorCode::UnknownMemberId.code()),
            };
        }
        let index = self.find_in_generation(by)?;
        self.members[index].beat(now_ms);
        match self.state == ClassicState::CompletingRebalance && !transactional {
            true => Err(ErrorCode::RebalanceInProgress.code()),
            false => Ok(()),
        }
    }
}

/// Who asks, as the request says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub member_id: &'a [u8],
    pub instance_id: Option<&'a Bytes>,
    /// Or the member's epoch (KIP-848); -1 for none.
    pub generation: i32,
}

/// Time.
impl Classic {
    pub fn next_deadline(&self) -> Option<u64> {
        let promises = self.promised.values().copied();
        let sessions = self.members.iter().filter_map(Member::session_deadline);
        let rebalance = self.is_rebalancing().then_some(self.deadline_ms);
        promises.chain(sessions).chain(rebalance).min()
    }

    /// Does what time has brought: members that were not heard of are removed, rebalances go on without those who
    /// are late.
    pub fn expire(&mut self, answers: &mut Answers, now_ms: u64) {
        let before = self.promised.len();
        self.promised.retain(|_, until_ms| *until_ms > now_ms);
        if self.promised.len() < before {
            self.go_on(answers, now_ms);
        }
        let is_silent = |member: &Member| member.session_deadline().is_some_and(|at| at <= now_ms);
        while let Some(index) = self.members.iter().position(is_silent) {
            self.remove(index, answers, now_ms);
        }
        if self.deadline_ms > now_ms {
            return;
        }
        match self.state {
            ClassicState::PreparingRebalance => self.complete_join(answers, now_ms),
            ClassicState::CompletingRebalance => {
                self.members.retain(Member::is_syncing);
                self.rebalance(answers, now_ms);
            }
            ClassicState::Empty | ClassicState::Stable => {}
        }
    }
}

/// How it works.
impl Classic {
    fn is_rebalancing(&self) -> bool {
        matches!(
            self.state,
            ClassicState::PreparingRebalance | ClassicState::CompletingRebalance
        )
    }

    /// Whether a member of these protocols can be in the group: there must be one that all offer.
    fn accepts(&self, asked: &Joining) -> bool {
        if self.members.is_empty() {
            return !asked.protocol_type.is_empty() && !asked.protocols.is_empty();
        }
        let is_common = |name: &Bytes| self.members.iter().all(|member| member.offers(name));
        self.protocol_type.as_ref() == Some(&asked.protocol_type)
            && asked.protocols.iter().any(|(name, _)| is_common(name))
    }

    fn join_new(
        &mut self,
        asked: Joining,
        new_id: Bytes,
        token: Token,
        answers: &mut Answers,
        now_ms: u64,
    ) -> Result<(), JoinRefused> {
        if let Some(instance_id) = &asked.instance_id {
            let holder = |member: &Member| member.instance_id.as_ref() == Some(instance_id);
            if let Some(index) = self.members.iter().position(holder) {
                self.replace(index, asked, new_id, token, answers, now_ms);
                return Ok(());
            }
        } else if asked.must_know_id {
            let until_ms = now_ms.saturating_add(asked.session_timeout_ms);
            self.promised.insert(new_id.clone(), until_ms);
            return Err((ErrorCode::MemberIdRequired.code(), new_id));
        }
        self.add(asked, new_id, token, answers, now_ms);
        Ok(())
    }

    fn add(&mut self, asked: Joining, id: Bytes, token: Token, answers: &mut Answers, now_ms: u64) {
        self.protocol_type = Some(asked.protocol_type.clone());
        self.members.push(Member::new(asked, id, token));
        self.rebalance(answers, now_ms);
    }

    /// A static member is back under a new id: whoever had the old one is fenced. If nothing changes for the others
    /// they are not disturbed.
    fn replace(
        &mut self,
        index: usize,
        asked: Joining,
        new_id: Bytes,
        token: Token,
        answers: &mut Answers,
        now_ms: u64,
    ) {
        let can_skip_assignment = asked.can_skip_assignment;
        let member = &mut self.members[index];
        let old_id = member.id.clone();
        member.dismiss(ErrorCode::FencedInstanceId, answers);
        member.id = new_id.clone();
        member.rejoin(asked, token);
        let was_leader = self.leader.as_ref() == Some(&old_id);
        if was_leader {
            self.leader = Some(new_id);
        }
        if self.state != ClassicState::Stable || self.choose_protocol() != self.protocol {
            self.rebalance(answers, now_ms);
            return;
        }
        let member = &mut self.members[index];
        member.joined();
        member.beat(now_ms);
        let mut answer = self.generation_for(&self.members[index]);
        if was_leader && can_skip_assignment {
            answer.skip_assignment = true;
        } else if was_leader {
            // A leader of a version that cannot skip must not think that it is one (KIP-814).
            answer.leader = old_id;
            answer.members.clear();
        }
        answers.join(token, answer);
    }

    fn find(&self, id: &[u8], instance_id: Option<&Bytes>) -> Result<usize, ErrorCode> {
        if let Some(name) = instance_id {
            let holder = self
                .members
                .iter()
                .find(|member| member.instance_id.as_ref() == Some(name));
            match holder {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(member) if member.id[..] != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        let found = self.members.iter().position(|member| member.id[..] == *id);
        found.ok_or(ErrorCode::UnknownMemberId)
    }

    fn find_in_generation(&self, by: &Caller<'_>) -> Result<usize, i16> {
        let index = self
            .find(by.member_id, by.instance_id)
            .map_err(ErrorCode::code)?;
        match by.generation == self.generation {
            true => Ok(index),
            false => Err(ErrorCode::IllegalGeneration.code()),
        }
    }

    fn remove(&mut self, index: usize, answers: &mut Answers, now_ms: u64) {
        let mut member = self.members.remove(index);
        member.dismiss(ErrorCode::UnknownMemberId, answers);
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => {
                self.rebalance(answers, now_ms);
            }
            ClassicState::PreparingRebalance | ClassicState::Empty => self.go_on(answers, now_ms),
        }
    }
}
