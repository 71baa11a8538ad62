//! One member of a classic group.

use crate::groups::answers::{Answers, Token};
use bytes::Bytes;
use kafka_wire::ErrorCode;

/// What a JoinGroup says.
#[derive(Debug)]
pub(crate) struct Joining {
    /// Empty for one that is new.
    pub member_id: Bytes,
    pub instance_id: Option<Bytes>,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    pub protocol_type: Bytes,
    /// Names and what the member says to the leader, best first.
    pub protocols: Vec<(Bytes, Bytes)>,
    /// The version makes new members ask twice (KIP-394).
    pub must_know_id: bool,
    /// The version can tell a leader not to assign (KIP-814).
    pub can_skip_assignment: bool,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub id: Bytes,
    pub instance_id: Option<Bytes>,
    pub protocols: Vec<(Bytes, Bytes)>,
    pub rebalance_timeout_ms: u64,
    pub assignment: Bytes,
    session_timeout_ms: u64,
    session_deadline_ms: u64,
    /// The JoinGroup that waits.
    joining: Option<Token>,
    /// The SyncGroup that waits.
    syncing: Option<Token>,
}

impl Member {
    pub fn new(asked: Joining, id: Bytes, token: Token) -> Self {
        Self {
            id,
            instance_id: asked.instance_id,
            protocols: asked.protocols,
            rebalance_timeout_ms: asked.rebalance_timeout_ms,
            assignment: Bytes::new(),
            session_timeout_ms: asked.session_timeout_ms,
            session_deadline_ms: 0,
            joining: Some(token),
            syncing: None,
        }
    }

    /// Takes what a later JoinGroup says, which waits now.
    pub fn rejoin(&mut self, asked: Joining, token: Token) {
        self.protocols = asked.protocols;
        self.rebalance_timeout_ms = asked.rebalance_timeout_ms;
        self.session_timeout_ms = asked.session_timeout_ms;
        self.joining = Some(token);
    }

    pub fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// The JoinGroup that waited; it waits no more.
    pub fn joined(&mut self) -> Option<Token> {
        self.joining.take()
    }

    pub fn sync(&mut self, token: Token) {
        self.syncing = Some(token);
    }

    /// The member was heard of.
    pub fn beat(&mut self, now_ms: u64) {
        self.session_deadline_ms = now_ms.saturating_add(self.session_timeout_ms);
    }

    /// When the member counts as lost; never while it is the broker that owes it an answer.
    pub fn session_deadline(&self) -> Option<u64> {
        let is_waiting = self.is_joining() || self.is_syncing();
        (!is_waiting).then_some(self.session_deadline_ms)
    }

    pub fn hand_out(&mut self, token: Token, answers: &mut Answers, now_ms: u64) {
        self.beat(now_ms);
        answers.sync(token, ErrorCode::None.code(), self.assignment.clone());
    }

    pub fn hand_out_if_synced(&mut self, answers: &mut Answers, now_ms: u64) {
        if let Some(token) = self.syncing.take() {
            self.hand_out(token, answers, now_ms);
        }
    }

    pub fn refuse_sync(&mut self, error: ErrorCode, answers: &mut Answers) {
        if let Some(token) = self.syncing.take() {
            answers.sync(token, error.code(), Bytes::new());
        }
    }

    /// Answers with an error whatever waits.
    pub fn dismiss(&mut self, error: ErrorCode, answers: &mut Answers) {
        if let Some(token) = self.joining.take() {
            answers.refuse_join(token, error.code(), self.id.clone());
        }
        self.refuse_sync(error, answers);
    }

    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.protocols.iter().any(|(name, _)| name[..] == *protocol)
    }

    /// What the member says to the leader under this protocol.
    pub fn metadata_of(&self, protocol: &[u8]) -> Bytes {
        let offered = self
            .protocols
            .iter()
            .find(|(name, _)| name[..] == *protocol);
        offered
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }
}
