//! The members of a group, under whichever protocol.

use super::answers::Answers;
use super::consumer::JOIN;
use super::{Caller, Classic, Consumer, Share};
use kafka_wire::ErrorCode;

/// A group without members can become one of the other protocol.
#[derive(Debug)]
pub(crate) enum Members {
    Classic(Classic),
    Consumer(Consumer),
    Share(Share),
}

impl Default for Members {
    fn default() -> Self {
        Self::Classic(Classic::default())
    }
}

impl Members {
    pub fn classic(&mut self) -> Option<&mut Classic> {
        match self {
            Self::Classic(members) => Some(members),
            Self::Consumer(_) | Self::Share(_) => None,
        }
    }

    /// For a member of the classic protocol that joins.
    pub fn classic_to_join(&mut self) -> Option<&mut Classic> {
        if matches!(self, Self::Consumer(members) if members.members.is_empty()) {
            *self = Self::Classic(Classic::default());
        }
        self.classic()
    }

    /// For a member of the new protocol with this epoch.
    pub fn consumer_to(&mut self, epoch: i32) -> Option<&mut Consumer> {
        if epoch == JOIN && matches!(self, Self::Classic(members) if members.members.is_empty()) {
            *self = Self::Consumer(Consumer::default());
        }
        match self {
            Self::Consumer(members) => Some(members),
            Self::Classic(_) | Self::Share(_) => None,
        }
    }

    /// For a member of a share group with this epoch. A share group stays one.
    pub fn share_to(&mut self, epoch: i32) -> Option<&mut Share> {
        if epoch == JOIN && matches!(self, Self::Classic(members) if members.members.is_empty()) {
            *self = Self::Share(Share::default());
        }
        match self {
            Self::Share(members) => Some(members),
            Self::Classic(_) | Self::Consumer(_) => None,
        }
    }

    /// Whether somebody may store positions of the group.
    pub fn check_commit(
        &mut self,
        by: &Caller<'_>,
        transactional: bool,
        now_ms: u64,
    ) -> Result<(), i16> {
        let members = match self {
            Self::Classic(members) => return members.check_commit(by, transactional, now_ms),
            Self::Consumer(members) => members,
            // It has no positions.
            Self::Share(_) => return Err(ErrorCode::GroupIdNotFound.code()),
        };
        if by.generation < 0 && members.members.is_empty() {
            return Ok(());
        }
        members.check_member(by).map_err(|code| {
            // Producers know generations only.
            match transactional && code == ErrorCode::StaleMemberEpoch.code() {
                true => ErrorCode::IllegalGeneration.code(),
                false => code,
            }
        })
    }

    pub fn next_deadline(&self) -> Option<u64> {
        match self {
            Self::Classic(members) => members.next_deadline(),
            Self::Consumer(members) => members.next_deadline(),
            Self::Share(members) => members.next_deadline(),
        }
    }

    /// Does what time has brought.
    pub fn expire(&mut self, answers: &mut Answers, now_ms: u64) {
        match self {
            Self::Classic(members) => members.expire(answers, now_ms),
            Self::Consumer(members) => members.expire(now_ms),
            Self::Share(members) => members.expire(now_ms),
        }
    }
}
