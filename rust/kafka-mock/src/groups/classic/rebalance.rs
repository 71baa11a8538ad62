//! How a classic group comes from one generation to the next.

use super::{Classic, ClassicState, Member};
use crate::groups::answers::Answers;
use bytes::Bytes;
use kafka_wire::messages::join_group::JoinGroupResponseMember;
use kafka_wire::messages::JoinGroupResponse;
use kafka_wire::ErrorCode;
use std::collections::BTreeMap;

impl Classic {
    /// Wants all members to join again, and goes on at once if they have.
    pub(super) fn rebalance(&mut self, answers: &mut Answers, now_ms: u64) {
        for member in &mut self.members {
            if member.is_syncing() {
                member.refuse_sync(ErrorCode::RebalanceInProgress, answers);
                member.beat(now_ms);
            }
        }
        if self.state != ClassicState::PreparingRebalance {
            // The first member of a group waits for nobody: group.initial.rebalance.delay.ms is 0 here.
            let patience = match self.state {
                ClassicState::Empty => 0,
                _ => self.longest_rebalance_ms(),
            };
            self.state = ClassicState::PreparingRebalance;
            self.deadline_ms = now_ms.saturating_add(patience);
        }
        self.go_on(answers, now_ms);
    }

    /// Completes a rebalance that has nobody left to wait for.
    pub(super) fn go_on(&mut self, answers: &mut Answers, now_ms: u64) {
        let all_are_here = self.promised.is_empty() && self.members.iter().all(Member::is_joining);
        if self.state == ClassicState::PreparingRebalance
            && (all_are_here || self.deadline_ms <= now_ms)
        {
            self.complete_join(answers, now_ms);
        }
    }

    /// Begins the next generation with those who have joined. Static members that have not are kept until their
    /// sessions end.
    pub(super) fn complete_join(&mut self, answers: &mut Answers, now_ms: u64) {
        self.members
            .retain(|member| member.is_joining() || member.instance_id.is_some());
        let first = self.members.iter().find(|member| member.is_joining());
        let first = first.map(|member| member.id.clone());
        if first.is_none() && !self.members.is_empty() {
            // There must be somebody to lead.
            self.deadline_ms = now_ms.saturating_add(self.longest_rebalance_ms());
            return;
        }
        self.generation += 1;
        let is_here = |id: &Bytes| {
            let mut members = self.members.iter();
            members.any(|member| member.id == *id && member.is_joining())
        };
        self.leader = self.leader.take().filter(|id| is_here(id)).or(first);
        self.protocol = self.choose_protocol();
        if self.members.is_empty() {
            self.state = ClassicState::Empty;
            self.protocol_type = None;
            return;
        }
        self.state = ClassicState::CompletingRebalance;
        self.deadline_ms = now_ms.saturating_add(self.longest_rebalance_ms());
        for index in 0..self.members.len() {
            let answer = self.generation_for(&self.members[index]);
            let member = &mut self.members[index];
            member.assignment = Bytes::new();
            if let Some(token) = member.joined() {
                member.beat(now_ms);
                answers.join(token, answer);
            }
        }
    }

    pub(super) fn assign(
        &mut self,
        mut assignments: BTreeMap<Bytes, Bytes>,
        answers: &mut Answers,
        now_ms: u64,
    ) {
        self.state = ClassicState::Stable;
        for member in &mut self.members {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
            member.hand_out_if_synced(answers, now_ms);
        }
    }

    /// What a member is told about the generation it is in.
    pub(super) fn generation_for(&self, member: &Member) -> JoinGroupResponse {
        let protocol = self.protocol.clone().unwrap_or_default();
        let told = |other: &Member| JoinGroupResponseMember {
            member_id: other.id.clone(),
            group_instance_id: other.instance_id.clone(),
            metadata: other.metadata_of(&protocol),
        };
        let members = match self.leader.as_ref() == Some(&member.id) {
            true => self.members.iter().map(told).collect(),
            false => Vec::new(),
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: Some(protocol),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member.id.clone(),
            members,
            ..Default::default()
        }
    }

    /// Of the protocols that all offer the one that most prefer; the first of these by the oldest member's taste.
    pub(super) fn choose_protocol(&self) -> Option<Bytes> {
        let oldest = self.members.first()?;
        let common: Vec<&Bytes> = oldest
            .protocols
            .iter()
            .map(|(name, _)| name)
            .filter(|name| self.members.iter().all(|member| member.offers(name)))
            .collect();
        let votes = |name: &Bytes| {
            let favourite = |member: &&Member| {
                let mut offered = member.protocols.iter().map(|(name, _)| name);
                offered.find(|offer| common.contains(offer)) == Some(name)
            };
            self.members.iter().filter(favourite).count()
        };
        // max_by_key takes the last of equals.
        let chosen = common.iter().rev().max_by_key(|name| votes(name));
        chosen.map(|name| (*name).clone())
    }

    pub(super) fn longest_rebalance_ms(&self) -> u64 {
        let timeouts = self
            .members
            .iter()
            .map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0)
    }
}
