//! How long an authentication holds, and what waits while it is renewed (KIP-368).

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::{ApiKey, Writer};

use crate::event::Token;

/// Brokers refuse a client that authenticates again within a second. The rest is for delays on
/// the way that differ from one time to the next.
const MIN_INTERVAL: Duration = Duration::from_millis(1100);
/// The most time that is left for what the broker has to answer before it comes to the
/// renewal: it works off a connection's requests one by one.
const MAX_SLACK: Duration = Duration::from_secs(10);

/// When an authentication is to be renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// The next authentication is to begin then; `None` once it has.
    pub(crate) renew_at: Option<Instant>,
    /// A broker closes the connection when a request comes after the session's end, other than
    /// the one that renews it: from here on requests wait, should the renewal be late.
    pub(crate) hold_at: Instant,
    pub(crate) ends_at: Instant,
}

impl Session {
    /// A session that the broker granted at `now`; `None` when it lasts for ever.
    pub(crate) fn granted(lifetime_ms: i64, now: Instant) -> Option<Self> {
        let lifetime = Duration::from_millis(u64::try_from(lifetime_ms).ok()?);
        if lifetime.is_zero() {
            return None;
        }
        let slack = (lifetime * 3 / 20).max(MAX_SLACK.min(lifetime / 2));
        let renew_after = (lifetime - slack).max(MIN_INTERVAL);
        Some(Session {
            renew_at: Some(now.checked_add(renew_after)?),
            hold_at: now.checked_add(lifetime * 19 / 20)?,
            ends_at: now.checked_add(lifetime)?,
        })
    }

    /// Whether at `then` the renewal is to be under way.
    pub(crate) fn is_due(&self, then: Instant) -> bool {
        self.renew_at.unwrap_or(self.hold_at) <= then
    }
}

/// A request on its way to the broker.
pub(crate) struct Outgoing {
    pub(crate) client_id: Bytes,
    /// `None` when nobody wants to hear of it.
    pub(crate) token: Option<Token>,
    /// The broker does not answer it.
    pub(crate) is_oneway: bool,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Writer,
    /// How long its answer may take.
    pub(crate) patience: Option<Duration>,
}

impl fmt::Debug for Outgoing {
    /// Without the body, which is the caller's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("token", &self.token)
            .field("api", &self.api)
            .field("version", &self.version)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Held requests in the order in which they are to leave.
#[derive(Debug, Default)]
pub(crate) struct HeldRequests {
    /// Each with its deadline.
    queue: VecDeque<(Outgoing, Option<Instant>)>,
    /// How many somebody wants to hear of.
    callers: usize,
    bytes: usize,
    earliest_deadline: Option<Instant>,
}

impl HeldRequests {
    /// Holds a request whose clock starts at `from`.
    pub(crate) fn push(&mut self, request: Outgoing, from: Instant) {
        self.callers += usize::from(request.token.is_some());
        self.bytes += request.body.len();
        let deadline = request.patience.and_then(|time| from.checked_add(time));
        self.earliest_deadline = [self.earliest_deadline, deadline]
            .into_iter()
            .flatten()
            .min();
        self.queue.push_back((request, deadline));
    }

    /// The first that somebody wants to hear of.
    pub(crate) fn first(&self) -> Option<Token> {
        self.queue.iter().find_map(|(request, _)| request.token)
    }

    /// How many somebody wants to hear of.
    pub(crate) fn callers(&self) -> usize {
        self.callers
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn earliest_deadline(&self) -> Option<Instant> {
        self.earliest_deadline
    }

    /// A request whose deadline is not after `now`.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&Outgoing> {
        self.earliest_deadline.filter(|&deadline| deadline <= now)?;
        self.queue
            .iter()
            .find(|(_, deadline)| deadline.is_some_and(|deadline| deadline <= now))
            .map(|(request, _)| request)
    }

    /// Takes everything out, oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Outgoing> {
        let held = std::mem::take(self).queue.into_iter();
        held.map(|(request, _)| request)
    }
}
