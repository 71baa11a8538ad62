//! The members of a group, under whichever protocol.

use super::answers::Answers;
use super::consumer::JOIN;
use super::{Caller, Classic, Consumer};
use kafka_wire::ErrorCode;

/// A group without members can become one of the other protocol.
#[derive(Debug)]
pub(crate) enum Members {
    Classic(Classic),
    Consumer(Consumer),
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
            Self::Consumer(_) => None,
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
            Self::Classic(_) => None,
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
        }
    }

    /// Does what time has brought.
    pub fn expire(&mut self, answers: &mut Answers, now_ms: u64) {
        match self {
            Self::Classic(members) => members.expire(answers, now_ms),
            Self::Consumer(members) => members.expire(now_ms),
        }
    }
}
