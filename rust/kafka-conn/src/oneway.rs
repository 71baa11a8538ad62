//! Requests that the broker does not answer, for as long as they are not written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kafka_wire::ApiKey;

use crate::event::Token;

/// One of them.
#[derive(Debug)]
pub(crate) struct Oneway {
    pub(crate) token: Token,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    /// For how long nothing may move before it is given up; `None` for ever.
    pub(crate) patience: Option<Duration>,
    /// Where it ends in the stream of bytes for the broker.
    pub(crate) end: u64,
}

/// All of them, in the order in which they leave.
#[derive(Debug, Default)]
pub(crate) struct Oneways {
    queue: VecDeque<(Oneway, Instant)>,
    /// When the socket last took something, or will be asked to.
    moved: Option<Instant>,
}

impl Oneways {
    /// One was queued, and can leave from `then` on.
    pub(crate) fn push(&mut self, request: Oneway, then: Instant) {
        self.queue.push_back((request, then));
    }

    /// The socket takes bytes at `then`.
    pub(crate) fn moved(&mut self, then: Instant) {
        self.moved = self.moved.max(Some(then));
    }

    /// The next one that ends before `position`, up to which the stream is written.
    pub(crate) fn pop_written(&mut self, position: u64) -> Option<Token> {
        self.queue
            .front()
            .filter(|(next, _)| next.end <= position)?;
        self.queue.pop_front().map(|(next, _)| next.token)
    }

    /// The first that ends after `position`.
    pub(crate) fn first_after(&self, position: u64) -> Option<Token> {
        let after = self.queue.iter().find(|(next, _)| next.end > position)?;
        Some(after.0.token)
    }

    /// When the oldest has waited for too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (oldest, since) = self.queue.front()?;
        let since = Some(*since).max(self.moved)?;
        since.checked_add(oldest.patience?)
    }

    /// The one that has waited for too long at `now`.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&Oneway> {
        self.deadline().filter(|&deadline| deadline <= now)?;
        self.queue.front().map(|(oldest, _)| oldest)
    }

    /// Takes everything out, oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Token> + '_ {
        self.queue.drain(..).map(|(request, _)| request.token)
    }
}
