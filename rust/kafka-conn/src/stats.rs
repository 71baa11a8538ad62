//! What a connection has sent and received, for whoever wants to know.
//!
//! A [`Connection`](crate::Connection) counts from [`count`](crate::Connection::count) on, across reconnects; before that it
//! has none of this.

mod histogram;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kafka_wire::ApiKey;

use crate::event::Token;
pub use histogram::Histogram;

/// Round trips are forgotten after so long, or up to twice as long: what they were an hour ago says nothing of now.
const WINDOW: Duration = Duration::from_secs(60);

/// How long the answers to requests of one API took.
#[derive(Clone, Debug)]
pub struct RoundTrips {
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub total: Duration,
    /// Those of this window and of the one before.
    windows: [Histogram; 2],
    /// When this window began.
    since: Instant,
}

impl RoundTrips {
    fn new(now: Instant) -> Self {
        RoundTrips {
            count: 0,
            total: Duration::ZERO,
            windows: Default::default(),
            since: now,
        }
    }

    fn record(&mut self, time: Duration, now: Instant) {
        self.turn(now);
        self.count += 1;
        self.total += time;
        self.windows[0].record(time);
    }

    /// Begins another window if it is time.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age < WINDOW {
            return;
        }
        let last = std::mem::take(&mut self.windows[0]);
        self.windows[1] = match age < WINDOW * 2 {
            true => last,
            false => Histogram::default(),
        };
        self.since = now;
    }

    /// Those of the last one to two minutes.
    pub fn recent(&self, now: Instant) -> Histogram {
        let mut turned = self.clone();
        turned.turn(now);
        let [mut recent, before] = turned.windows;
        recent.add(&before);
        recent
    }

    fn add(&mut self, other: &RoundTrips, now: Instant) {
        self.count += other.count;
        self.total += other.total;
        self.windows[0].add(&other.recent(now));
    }
}

/// The requests of one API.
#[derive(Clone, Debug)]
pub struct ApiStats {
    /// Which.
    pub api: ApiKey,
    /// How many were sent, those without an answer included.
    pub requests: u64,
    /// Of those that were answered, from the moment that they were written as a whole.
    pub round_trips: RoundTrips,
}

/// What a connection has sent and received.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// By API, in no particular order; those of the handshake are left out.
    pub apis: Vec<ApiStats>,
    /// Bytes that the socket gave, encrypted where they are.
    pub bytes_in: u64,
    /// Bytes that it took.
    pub bytes_out: u64,
    /// How often the connection became ready.
    pub connects: u64,
    /// Answers that told of throttling, and for how long they did so together.
    pub throttled: (u64, Duration),
    /// Requests that are not written as a whole, and where they end in the stream of bytes.
    unwritten: VecDeque<(Token, u64)>,
    /// Those that are, and since when.
    written: VecDeque<(Token, Instant)>,
}

impl Stats {
    /// What several connections have counted.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Stats>, now: Instant) -> Stats {
        let mut sum = Stats::default();
        for stats in all {
            sum.bytes_in += stats.bytes_in;
            sum.bytes_out += stats.bytes_out;
            sum.connects += stats.connects;
            sum.throttled.0 += stats.throttled.0;
            sum.throttled.1 += stats.throttled.1;
            for other in &stats.apis {
                let own = sum.api(other.api, now);
                own.requests += other.requests;
                own.round_trips.add(&other.round_trips, now);
            }
        }
        sum
    }

    fn api(&mut self, api: ApiKey, now: Instant) -> &mut ApiStats {
        let place = self.apis.iter().position(|stats| stats.api == api);
        let place = place.unwrap_or_else(|| {
            self.apis.push(ApiStats {
                api,
                requests: 0,
                round_trips: RoundTrips::new(now),
            });
            self.apis.len() - 1
        });
        &mut self.apis[place]
    }

    /// A request was queued; with a token it is going to be answered, and ends there in the stream of bytes.
    pub(crate) fn sent(&mut self, api: ApiKey, answered: Option<(Token, u64)>, now: Instant) {
        self.api(api, now).requests += 1;
        self.unwritten.extend(answered);
    }

    /// The socket took bytes; the stream is written up to `position`.
    pub(crate) fn transmitted(&mut self, bytes: usize, position: u64, now: Instant) {
        self.bytes_out += bytes as u64;
        while let Some((token, _)) = pop_if(&mut self.unwritten, |(_, end)| *end <= position) {
            self.written.push_back((token, now));
        }
    }

    /// Answers come in order.
    pub(crate) fn answered(&mut self, token: Token, api: ApiKey, now: Instant) {
        // A peer may answer what was not asked yet.
        while pop_if(&mut self.unwritten, |(asked, _)| *asked <= token).is_some() {}
        while let Some((asked, at)) = pop_if(&mut self.written, |(asked, _)| *asked <= token) {
            if asked == token {
                let time = now.saturating_duration_since(at);
                self.api(api, now).round_trips.record(time, now);
            }
        }
    }

    /// An answer tells that the broker throttles the client.
    pub(crate) fn throttled(&mut self, time: Duration) {
        self.throttled.0 += 1;
        self.throttled.1 += time;
    }

    /// What was asked will not be answered any more.
    pub(crate) fn forget_asked(&mut self) {
        self.unwritten.clear();
        self.written.clear();
    }
}

fn pop_if<T>(queue: &mut VecDeque<T>, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
    queue.front().filter(|first| wanted(first))?;
    queue.pop_front()
}
