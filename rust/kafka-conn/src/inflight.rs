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
    /// How long its answer may take; `None` for ever.
    pub(crate) patience: Option<Duration>,
    /// Where it ends in the stream of bytes for the broker.
    pub(crate) end: u64,
}

/// A clock that runs for one request.
#[derive(Clone, Copy, Debug)]
struct Clock {
    correlation_id: i32,
    since: Instant,
    /// Where its request ends in the stream of bytes.
    end: u64,
}

/// The clocks of written requests that have the same patience: the first is the next to run out.
#[derive(Debug)]
struct Clocks {
    patience: Duration,
    running: VecDeque<Clock>,
}

/// A queue that knows when the first of its requests is late.
///
/// A request's clock starts when the broker's system has its last byte: as far as that is known,
/// and else when it is written. Until then it is late only if no byte has moved for as long as its
/// patience. What the broker says starts all clocks anew: answers come in order, so all of them
/// wait for the same thing.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    queue: VecDeque<Pending>,
    /// How many at the end of `queue` are not written as a whole.
    unwritten: usize,
    /// Of those, the ones with a patience, and when they were queued.
    waiting: VecDeque<(Clock, Duration)>,
    /// One entry for each patience; programs have a handful.
    clocks: Vec<Clocks>,
    /// When the broker last said something, or will be free to: no clock counts what was before.
    heard: Option<Instant>,
    /// When it last took something. Counts for what is not written.
    moved: Option<Instant>,
    /// How much of the stream the broker's system is known to have.
    arrived: u64,
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

    /// A request was queued at `now`.
    pub(crate) fn push(&mut self, pending: Pending, now: Instant) {
        if let Some(patience) = pending.patience {
            let clock = Clock {
                correlation_id: pending.correlation_id,
                since: now,
                end: pending.end,
            };
            self.waiting.push_back((clock, patience));
        }
        self.unwritten += 1;
        self.callers += usize::from(pending.token.is_some());
        self.queue.push_back(pending);
    }

    pub(crate) fn oldest(&self) -> Option<&Pending> {
        self.queue.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        self.callers -= usize::from(pending.token.is_some());
        // A peer may answer what was not asked yet.
        if self.unwritten > self.queue.len() {
            self.unwritten = self.queue.len();
            if pending.patience.is_some() {
                self.waiting.pop_front();
            }
        } else if let Some(patience) = pending.patience {
            self.stop(patience);
        }
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue = VecDeque::new();
            self.waiting = VecDeque::new();
        }
        Some(pending)
    }

    fn stop(&mut self, patience: Duration) {
        let Some(place) = self.clocks.iter().position(|c| c.patience == patience) else {
            return;
        };
        self.clocks[place].running.pop_front();
        if self.clocks[place].running.is_empty() {
            self.clocks.swap_remove(place);
        }
    }

    /// The stream of bytes is written up to `position`: starts the clocks of what is complete.
    pub(crate) fn written(&mut self, position: u64, now: Instant) {
        while self.unwritten > 0 {
            let next = &self.queue[self.queue.len() - self.unwritten];
            if next.end > position {
                return;
            }
            self.unwritten -= 1;
            if next.patience.is_none() {
                continue;
            }
            if let Some((mut clock, patience)) = self.waiting.pop_front() {
                clock.since = now;
                match self.clocks.iter_mut().find(|c| c.patience == patience) {
                    Some(clocks) => clocks.running.push_back(clock),
                    None => self.clocks.push(Clocks {
                        patience,
                        running: [clock].into(),
                    }),
                }
            }
        }
    }

    /// The broker says something at `then`: no request is late because of the time before.
    pub(crate) fn heard(&mut self, then: Instant) {
        self.heard = self.heard.max(Some(then));
    }

    /// The socket has taken bytes.
    pub(crate) fn moved(&mut self, now: Instant) {
        self.moved = self.moved.max(Some(now));
    }

    /// The broker's system has the bytes up to `position`: restarts the clocks of what was on its
    /// way to it until now.
    pub(crate) fn arrived(&mut self, position: u64, now: Instant) {
        if position <= self.arrived {
            return;
        }
        for clocks in &mut self.clocks {
            let on_its_way = clocks.running.iter_mut().rev();
            on_its_way
                .take_while(|clock| clock.end > self.arrived)
                .for_each(|clock| clock.since = now);
        }
        self.arrived = position;
        self.moved(now);
    }

    /// When the first request is late; `None` when none ever is.
    pub(crate) fn earliest_deadline(&self) -> Option<Instant> {
        self.deadlines().map(|(deadline, _)| deadline).min()
    }

    /// The request that is late at `now`.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&Pending> {
        let late = self.deadlines().filter(|&(deadline, _)| deadline <= now);
        let (_, id) = late.min()?;
        self.queue
            .iter()
            .find(|pending| pending.correlation_id == id)
    }

    /// The next deadline of each patience and of what is not written, with the request's id.
    fn deadlines(&self) -> impl Iterator<Item = (Instant, i32)> + '_ {
        let running = self.clocks.iter().filter_map(|clocks| {
            let clock = clocks.running.front()?;
            let since = Some(clock.since).max(self.heard)?;
            Some((since.checked_add(clocks.patience)?, clock.correlation_id))
        });
        let waiting = self.waiting.front().and_then(|(clock, patience)| {
            let since = Some(clock.since).max(self.heard).max(self.moved)?;
            Some((since.checked_add(*patience)?, clock.correlation_id))
        });
        running.chain(waiting)
    }

    /// The first of the caller's requests that ends after `position`.
    pub(crate) fn first_after(&self, position: u64) -> Option<Token> {
        let first = self.queue.len() - self.unwritten;
        self.queue
            .iter()
            .skip(first)
            .filter(|pending| pending.end > position)
            .find_map(|pending| pending.token)
    }

    /// Takes everything out, oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Pending> {
        std::mem::take(self).queue.into_iter()
    }
}
