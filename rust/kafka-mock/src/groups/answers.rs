//! Answers to requests that wait until the rest of their group has done something.

use kafka_wire::messages::{JoinGroupResponse, SyncGroupResponse};
use std::collections::{BTreeMap, BTreeSet};

/// Names a JoinGroup or SyncGroup that waits.
pub(crate) type Token = u64;

/// What one of them gets.
#[derive(Debug)]
pub(crate) enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
}

/// The answers that have not been fetched yet.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    last_token: Token,
    ready: BTreeMap<Token, Answer>,
}

impl Answers {
    pub fn new_token(&mut self) -> Token {
        self.last_token += 1;
        self.last_token
    }

    pub fn join(&mut self, token: Token, response: JoinGroupResponse) {
        self.ready.insert(token, Answer::Join(response));
    }

    pub fn refuse_join(&mut self, token: Token, error_code: i16, member_id: bytes::Bytes) {
        self.join(
            token,
            JoinGroupResponse {
                error_code,
                member_id,
                ..Default::default()
            },
        );
    }

    pub fn sync(&mut self, token: Token, error_code: i16, assignment: bytes::Bytes) {
        self.ready.insert(
            token,
            Answer::Sync(SyncGroupResponse {
                error_code,
                assignment,
                ..Default::default()
            }),
        );
    }

    pub fn take(&mut self, token: Token) -> Option<Answer> {
        self.ready.remove(&token)
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Drops the answers that nobody waits for any more.
    pub fn keep(&mut self, awaited: &BTreeSet<Token>) {
        self.ready.retain(|token, _| awaited.contains(token));
    }
}
