//! Connections, and the way of their requests through the cluster: one at a time, in order.

use crate::api::{self, Outcome, Peer, WaitingFetch, WaitingMember, WaitingShareFetch};
use crate::conn_id::ConnId;
use crate::groups::Token;
use crate::login::Login;
use crate::state::State;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The answer of [`Cluster::handle`](crate::Cluster::handle) to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Bytes for the connection, length prefix included.
    Answer(Bytes),
    /// The request gets no answer (Produce with `acks` 0).
    NoAnswer,
    /// [`Cluster::poll`](crate::Cluster::poll) will have the answer later, or never.
    Waiting,
    /// The broker closes the connection; it is closed in the cluster already.
    Close(String),
}

/// What [`Cluster::poll`](crate::Cluster::poll) has for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes to write, length prefix included.
    Answer(Bytes),
    /// Close it, for the reason given; it is closed in the cluster already.
    Close(String),
}

/// All that are open.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_id: BTreeMap<ConnId, Connection>,
    /// Those that were closed by something else than their own requests, and why.
    dropped: Vec<(ConnId, String)>,
}

/// A client's connection to a broker.
#[derive(Debug)]
struct Connection {
    peer: Peer,
    current: Current,
    /// Requests behind the current one.
    queue: VecDeque<Bytes>,
}

/// What the request in hand of a connection waits for.
#[derive(Debug)]
enum Current {
    Nothing,
    /// A fault: for ever.
    Hung,
    /// A quota: nothing that comes is looked at until then.
    Deaf {
        until_ms: u64,
    },
    /// A fault: the outcome is kept back until then.
    Delayed {
        until_ms: u64,
        outcome: Box<Outcome>,
    },
    Fetch(Box<WaitingFetch>),
    ShareFetch(Box<WaitingShareFetch>),
    Member(Box<WaitingMember>),
}

impl Connection {
    /// The answer of a group that the request in hand waits for, or will when a delay is over.
    fn awaits(&self) -> Option<Token> {
        match &self.current {
            Current::Member(member) => Some(member.token),
            Current::Delayed { outcome, .. } => match &**outcome {
                Outcome::Member(member) => Some(member.token),
                _ => None,
            },
            _ => None,
        }
    }
}

enum Settled {
    Output(Output),
    Silent,
    Waiting,
}

impl Connections {
    pub fn open(&mut self, conn: ConnId, broker: i32) {
        let connection = Connection {
            peer: Peer {
                conn,
                broker,
                login: Login::default(),
            },
            current: Current::Nothing,
            queue: VecDeque::new(),
        };
        self.by_id.insert(conn, connection);
    }

    pub fn close(&mut self, conn: ConnId) {
        self.by_id.remove(&conn);
    }

    /// Takes a request that has come, and carries it out unless another is in hand.
    pub fn handle(&mut self, state: &mut State, conn: ConnId, frame: Bytes, now_ms: u64) -> Reply {
        let Some(connection) = self.by_id.get_mut(&conn) else {
            return Reply::Close("connection is not open".into());
        };
        if !matches!(connection.current, Current::Nothing) {
            connection.queue.push_back(frame);
            return Reply::Waiting;
        }
        state.expire(now_ms);
        self.end_lost_share_sessions(state, now_ms);
        let Some(connection) = self.by_id.get_mut(&conn) else {
            return Reply::Close("connection is not open".into());
        };
        let outcome = api::execute(state, &mut connection.peer, frame, now_ms);
        match self.settle(conn, outcome, now_ms) {
            Settled::Output(Output::Answer(bytes)) => Reply::Answer(bytes),
            Settled::Output(Output::Close(reason)) => Reply::Close(reason),
            Settled::Silent => Reply::NoAnswer,
            Settled::Waiting => Reply::Waiting,
        }
    }

    /// What has become due.
    pub fn poll(&mut self, state: &mut State, now_ms: u64) -> Vec<(ConnId, Output)> {
        let mut outputs = Vec::new();
        state.expire(now_ms);
        self.end_lost_share_sessions(state, now_ms);
        loop {
            let dropped = std::mem::take(&mut self.dropped);
            outputs.extend(
                dropped
                    .into_iter()
                    .map(|(conn, why)| (conn, Output::Close(why))),
            );
            let changed = std::mem::take(&mut state.changed);
            for conn in self.by_id.keys().copied().collect::<Vec<_>>() {
                self.poll_connection(state, conn, changed, now_ms, &mut outputs);
            }
            // A request from some queue may have produced what another connection waits for.
            if !state.changed && self.dropped.is_empty() {
                self.forget_unawaited_answers(state);
                return outputs;
            }
        }
    }

    /// When the first of what they wait for comes by itself.
    pub fn next_deadline(&self) -> Option<u64> {
        let due = self
            .by_id
            .values()
            .filter_map(|connection| match &connection.current {
                Current::Delayed { until_ms, .. } | Current::Deaf { until_ms } => Some(*until_ms),
                Current::Fetch(fetch) => Some(fetch.deadline_ms),
                Current::ShareFetch(fetch) => Some(fetch.deadline_ms),
                Current::Nothing | Current::Hung | Current::Member(_) => None,
            });
        due.min()
    }

    /// The open ones of a broker.
    pub fn of(&self, broker: i32) -> Vec<ConnId> {
        let of_broker = self.by_id.iter().filter(|(_, c)| c.peer.broker == broker);
        of_broker.map(|(&conn, _)| conn).collect()
    }

    /// Closes those of a broker; the next poll tells of it.
    pub fn drop_all_of(&mut self, broker: i32, why: &str) {
        for conn in self.of(broker) {
            self.by_id.remove(&conn);
            self.dropped.push((conn, why.into()));
        }
    }
}

impl Connections {
    /// A share session ends with its connection.
    fn end_lost_share_sessions(&self, state: &mut State, now_ms: u64) {
        let rules = state.share_rules();
        let is_open = |conn| self.by_id.contains_key(&conn);
        if state.shares.keep(is_open, &rules, now_ms) {
            state.changed = true;
        }
    }

    /// Members that wait for an answer may go away before it comes.
    fn forget_unawaited_answers(&self, state: &mut State) {
        if !state.groups.answers.is_empty() {
            let connections = self.by_id.values();
            let awaited: BTreeSet<Token> = connections.filter_map(Connection::awaits).collect();
            state.groups.answers.keep(&awaited);
        }
    }

    fn poll_connection(
        &mut self,
        state: &mut State,
        conn: ConnId,
        changed: bool,
        now_ms: u64,
        outputs: &mut Vec<(ConnId, Output)>,
    ) {
        if let Some(outcome) = self.due_outcome(state, conn, changed, now_ms) {
            self.settle_into(conn, outcome, now_ms, outputs);
        }
        while let Some((peer, frame)) = self.next_queued(conn) {
            let outcome = api::execute(state, peer, frame, now_ms);
            self.settle_into(conn, outcome, now_ms, outputs);
        }
    }

    /// The outcome that a connection waited for, if its time has come.
    fn due_outcome(
        &mut self,
        state: &mut State,
        conn: ConnId,
        changed: bool,
        now_ms: u64,
    ) -> Option<Outcome> {
        let connection = self.by_id.get_mut(&conn)?;
        let is_due = match &connection.current {
            Current::Nothing | Current::Hung => false,
            Current::Delayed { until_ms, .. } | Current::Deaf { until_ms } => *until_ms <= now_ms,
            Current::Fetch(fetch) => changed || fetch.deadline_ms <= now_ms,
            Current::ShareFetch(fetch) => changed || fetch.deadline_ms <= now_ms,
            Current::Member(_) => changed,
        };
        if !is_due {
            return None;
        }
        match std::mem::replace(&mut connection.current, Current::Nothing) {
            Current::Nothing | Current::Hung | Current::Deaf { .. } => None,
            Current::Delayed { outcome, .. } => Some(reattempt(state, *outcome)),
            Current::Member(member) => Some(member.attempt(state)),
            Current::Fetch(fetch) => Some(fetch.attempt(state, now_ms)),
            Current::ShareFetch(fetch) => Some(fetch.attempt(state, now_ms)),
        }
    }

    /// The next request of a connection that waits for nothing.
    fn next_queued(&mut self, conn: ConnId) -> Option<(&mut Peer, Bytes)> {
        let connection = self.by_id.get_mut(&conn)?;
        if !matches!(connection.current, Current::Nothing) {
            return None;
        }
        let frame = connection.queue.pop_front()?;
        Some((&mut connection.peer, frame))
    }

    fn settle_into(
        &mut self,
        conn: ConnId,
        outcome: Outcome,
        now_ms: u64,
        outputs: &mut Vec<(ConnId, Output)>,
    ) {
        if let Settled::Output(output) = self.settle(conn, outcome, now_ms) {
            outputs.push((conn, output));
        }
    }

    /// Turns the outcome of a request into what its connection gets now, or waits for.
    fn settle(&mut self, conn: ConnId, outcome: Outcome, now_ms: u64) -> Settled {
        let waiting = match outcome {
            Outcome::Answer(bytes) => return Settled::Output(Output::Answer(bytes)),
            Outcome::NoAnswer => return Settled::Silent,
            Outcome::Close(reason) => {
                self.by_id.remove(&conn);
                return Settled::Output(Output::Close(reason));
            }
            Outcome::LastAnswer(bytes, why) => {
                self.by_id.remove(&conn);
                self.dropped.push((conn, why));
                return Settled::Output(Output::Answer(bytes));
            }
            Outcome::Deaf { ms, outcome } => {
                let settled = self.settle(conn, *outcome, now_ms);
                if let Some(connection) = self.by_id.get_mut(&conn) {
                    let until_ms = now_ms.saturating_add(ms);
                    connection.current = Current::Deaf { until_ms };
                }
                return settled;
            }
            Outcome::Delayed { until_ms, outcome } if until_ms <= now_ms => {
                return self.settle(conn, *outcome, now_ms);
            }
            Outcome::Delayed { until_ms, outcome } => Current::Delayed { until_ms, outcome },
            Outcome::Hang => Current::Hung,
            Outcome::Fetch(fetch) => Current::Fetch(fetch),
            Outcome::ShareFetch(fetch) => Current::ShareFetch(fetch),
            Outcome::Member(member) => Current::Member(member),
        };
        if let Some(connection) = self.by_id.get_mut(&conn) {
            connection.current = waiting;
        }
        Settled::Waiting
    }
}

/// What was kept back may be the wait for something that has happened meanwhile.
fn reattempt(state: &mut State, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Member(member) => member.attempt(state),
        outcome => outcome,
    }
}
