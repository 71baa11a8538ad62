//! One member of a group of the new protocol.

use super::{Assigned, Assignor, Pattern, TopicTable, JOIN};
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::BTreeSet;

/// What a heartbeat says; `None` for what has not changed.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    pub member_id: Bytes,
    pub epoch: i32,
    pub instance_id: Option<Bytes>,
    pub rebalance_timeout_ms: Option<u64>,
    pub named: Option<BTreeSet<Bytes>>,
    /// `Some(None)` ends what was there.
    pub pattern: Option<Option<Pattern>>,
    pub assignor: Option<Assignor>,
    pub owned: Option<Assigned>,
}

impl Beat {
    /// Whether it tells everything, and so wants to be told everything.
    pub fn is_full(&self) -> bool {
        self.epoch == JOIN
            || (self.rebalance_timeout_ms.is_some()
                && (self.named.is_some() || self.pattern.is_some())
                && self.owned.is_some())
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    pub id: Bytes,
    pub instance_id: Option<Bytes>,
    /// The group epoch that its assignment belongs to.
    pub epoch: i32,
    /// All the topics that it wants.
    pub subscribed: BTreeSet<Bytes>,
    named: BTreeSet<Bytes>,
    pattern: Option<Pattern>,
    pub assignor: Option<Assignor>,
    /// What it may have.
    pub assigned: Assigned,
    /// What it had, is to give up, and has not said that it did.
    pub revoking: Assigned,
    /// Some of what it is to have belongs to others yet.
    has_unreleased: bool,
    /// The epoch before the last answer: a member that did not get that says this one again.
    previous_epoch: i32,
    rebalance_timeout_ms: u64,
    session_deadline_ms: u64,
    /// Until when it may keep what it is to give up.
    revoke_deadline_ms: Option<u64>,
}

impl Member {
    pub fn new(beat: &Beat) -> Self {
        Self {
            id: beat.member_id.clone(),
            instance_id: beat.instance_id.clone(),
            epoch: JOIN,
            subscribed: BTreeSet::new(),
            named: BTreeSet::new(),
            pattern: None,
            assignor: None,
            assigned: Assigned::new(),
            revoking: Assigned::new(),
            has_unreleased: false,
            previous_epoch: JOIN,
            rebalance_timeout_ms: 0,
            session_deadline_ms: 0,
            revoke_deadline_ms: None,
        }
    }

    /// A member that lags behind by the last answer and has nothing but its own is forgiven.
    pub fn check_epoch(&self, beat: &Beat) -> Result<(), i16> {
        let owns_only_its_own = beat
            .owned
            .as_ref()
            .is_some_and(|owned| owned.is_subset(&self.assigned));
        let is_retry = beat.epoch == self.previous_epoch && owns_only_its_own;
        match beat.epoch == JOIN || beat.epoch == self.epoch || is_retry {
            true => Ok(()),
            false => Err(ErrorCode::FencedMemberEpoch.code()),
        }
    }

    /// Takes over what a heartbeat says; whether it changes who is to have what.
    pub fn take(&mut self, beat: &Beat) -> bool {
        if let Some(timeout) = beat.rebalance_timeout_ms {
            self.rebalance_timeout_ms = timeout;
        }
        let mut is_other = false;
        if let Some(named) = &beat.named {
            self.named.clone_from(named);
        }
        if let Some(pattern) = &beat.pattern {
            self.pattern.clone_from(pattern);
        }
        if beat.assignor.is_some() {
            is_other |= self.assignor != beat.assignor;
            self.assignor = beat.assignor;
        }
        is_other
    }

    /// Which topics it wants of those that there are; whether that has changed.
    pub fn resolve(&mut self, topics: &TopicTable) -> bool {
        let mut subscribed = self.named.clone();
        if let Some(pattern) = &self.pattern {
            let names = topics.keys().filter(|name| pattern.matches(name));
            subscribed.extend(names.cloned());
        }
        let is_other = self.subscribed != subscribed;
        self.subscribed = subscribed;
        is_other
    }

    /// The member was heard of.
    pub fn beat(&mut self, session_timeout_ms: u64, now_ms: u64) {
        self.session_deadline_ms = now_ms.saturating_add(session_timeout_ms);
        let until_ms = now_ms.saturating_add(self.rebalance_timeout_ms);
        self.revoke_deadline_ms = match self.revoking.is_empty() {
            true => None,
            false => Some(self.revoke_deadline_ms.unwrap_or(until_ms)),
        };
    }

    pub fn deadline(&self) -> u64 {
        let revoke = self.revoke_deadline_ms.unwrap_or(u64::MAX);
        self.session_deadline_ms.min(revoke)
    }

    pub fn is_settled(&self, target_epoch: i32) -> bool {
        self.epoch == target_epoch && self.revoking.is_empty() && !self.has_unreleased
    }

    /// One step towards the target; `held` is what others have, `owned` what the member says that it has.
    pub fn reconcile(
        &mut self,
        target: &Assigned,
        target_epoch: i32,
        held: &Assigned,
        owned: Option<&Assigned>,
    ) {
        // A member that says nothing still has all that it had.
        let has_any = |of: &Assigned| owned.is_none_or(|owned| !owned.is_disjoint(of));
        if !self.revoking.is_empty() {
            if has_any(&self.revoking) {
                return;
            }
            self.revoking.clear();
        } else if self.is_settled(target_epoch) {
            return;
        }
        self.previous_epoch = self.epoch;
        let kept: Assigned = self.assigned.intersection(target).copied().collect();
        let given_up: Assigned = self.assigned.difference(target).copied().collect();
        if !given_up.is_empty() && has_any(&given_up) {
            self.assigned = kept;
            self.revoking = given_up;
            return;
        }
        let wanted: Assigned = target.difference(&kept).copied().collect();
        self.has_unreleased = !wanted.is_disjoint(held);
        self.assigned = &kept | &(&wanted - held);
        self.epoch = target_epoch;
    }
}
