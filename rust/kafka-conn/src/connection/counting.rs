//! What is counted of a connection, and told of throttling: nothing unless somebody has asked for it.

use std::time::{Duration, Instant};

use kafka_wire::ApiKey;

use super::Connection;
use crate::event::{Event, Token};
use crate::link::Link;
use crate::stats::Stats;

impl Connection {
    /// Counts from now on, across reconnects.
    pub fn count(&mut self) {
        self.stats.get_or_insert_default();
    }

    /// Counts on from where another connection stands, which counts no more.
    pub fn go_on_counting(&mut self, before: &mut Connection) {
        self.stats = before.stats.take();
        self.count_loss();
    }

    /// What was counted; `None` unless [`count`](Self::count) was called.
    pub fn stats(&self) -> Option<&Stats> {
        self.stats.as_deref()
    }

    /// Whether [`Event::Throttled`] is wanted.
    pub fn tell_of_throttling(&mut self, is_wanted: bool) {
        self.tells_of_throttling = is_wanted;
    }

    /// An answer had this `throttle_time_ms`, whoever waits because of it: see [`throttle`](Self::throttle).
    pub fn throttled(&mut self, api: ApiKey, throttle_time_ms: i32) {
        let Ok(millis @ 1..) = u64::try_from(throttle_time_ms) else {
            return;
        };
        if let Some(stats) = &mut self.stats {
            stats.throttled(Duration::from_millis(millis));
        }
        if self.tells_of_throttling {
            self.events.push_back(Event::Throttled {
                api,
                throttle_time_ms,
            });
        }
    }

    pub(super) fn count_sent(&mut self, api: ApiKey, token: Option<Token>, now: Instant) {
        if self.stats.is_none() {
            return;
        }
        let end = self.link().map_or(0, Link::end);
        if let Some(stats) = &mut self.stats {
            stats.sent(api, token.map(|token| (token, end)), now);
        }
    }

    pub(super) fn count_read(&mut self, bytes: usize) {
        if let Some(stats) = &mut self.stats {
            stats.bytes_in += bytes as u64;
        }
    }

    pub(super) fn count_answered(&mut self, token: Token, api: ApiKey, now: Instant) {
        if let Some(stats) = &mut self.stats {
            stats.answered(token, api, now);
        }
    }

    pub(super) fn count_ready(&mut self) {
        if let Some(stats) = &mut self.stats {
            stats.connects += 1;
        }
    }

    /// What was asked on the connection that was lost is not answered on the next.
    pub(super) fn count_loss(&mut self) {
        if let Some(stats) = &mut self.stats {
            stats.forget_asked();
        }
    }
}
