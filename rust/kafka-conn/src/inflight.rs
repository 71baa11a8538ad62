//! Requests that await their answer, in the order in which they were sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kafka_wire::ApiKey;

use crate::event::Token;

/// One unanswered request.
#[derive(Debug)]
pub(crate) struct Pending {
    /// `None` for the handshake's own requests.
    pub(crate) token: Option<Token>,
    pub(crate) correlation_id: i32,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) deadline: Option<Instant>,
}

/// A queue that knows its earliest deadline.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    queue: VecDeque<Pending>,
    /// The deadlines that can become the earliest one while the queue shrinks from the front,
    /// with their requests' ids, ascending. A request's deadline is left out when a later
    /// request has an earlier one.
    deadlines: VecDeque<(i32, Instant)>,
    /// How many have a token.
    callers: usize,
}

impl InFlight {
    /// How many of the caller's requests await an answer.
    pub(crate) fn len(&self) -> usize {
        self.callers
    }

    /// Whether nothing awaits an answer, the handshake's own requests included.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn push(&mut self, pending: Pending) {
        if let Some(deadline) = pending.deadline {
            while self
                .deadlines
                .back()
                .is_some_and(|&(_, last)| last > deadline)
            {
                self.deadlines.pop_back();
            }
            self.deadlines.push_back((pending.correlation_id, deadline));
        }
        self.callers += usize::from(pending.token.is_some());
        self.queue.push_back(pending);
    }

    pub(crate) fn oldest(&self) -> Option<&Pending> {
        self.queue.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        self.callers -= usize::from(pending.token.is_some());
        if self
            .deadlines
            .front()
            .is_some_and(|&(id, _)| id == pending.correlation_id)
        {
            self.deadlines.pop_front();
        }
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            *self = Self::default();
        }
        Some(pending)
    }

    pub(crate) fn earliest_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|&(_, deadline)| deadline)
    }

    /// The oldest request whose deadline is not after `now`.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&Pending> {
        self.earliest_deadline()
            .filter(|&deadline| deadline <= now)?;
        self.queue
            .iter()
            .find(|pending| pending.deadline.is_some_and(|deadline| deadline <= now))
    }

    /// Puts every deadline off.
    pub(crate) fn postpone(&mut self, by: Duration) {
        for pending in &mut self.queue {
            pending.deadline = pending
                .deadline
                .and_then(|deadline| deadline.checked_add(by));
        }
        for (_, deadline) in &mut self.deadlines {
            *deadline = deadline.checked_add(by).unwrap_or(*deadline);
        }
    }

    /// Takes everything out, oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Pending> {
        std::mem::take(self).queue.into_iter()
    }
}
