//! What speaks for and against entrusting something to the connection.

use std::time::{Duration, Instant};

use super::ConnHandle;

impl ConnHandle {
    /// Whether requests can be sent, and the peer has not closed the connection as far as is known by now.
    pub fn is_usable(&self) -> bool {
        self.is_ready() && !self.has_ended()
    }

    /// Somebody waits for a sign of life, or has got it.
    pub fn set_doubted(&self, is_so: bool) {
        self.is_doubted.set(is_so);
    }

    /// Whether the next request has every chance: nothing has been quiet for so long that it may have been forgotten by
    /// whatever lies between, and nobody waits for a sign of life.
    pub fn is_trusted(&self, longest_quiet: Duration) -> bool {
        self.is_usable() && !self.is_doubted.get() && self.idle_for() < longest_quiet
    }

    /// A request that nobody answers is leaving.
    pub fn leaves_unanswered(&self) {
        self.unanswered_at.set(Some(Instant::now()));
    }

    /// How long ago the last one did.
    pub fn unanswered_for(&self) -> Option<Duration> {
        self.unanswered_at.get().map(|at| at.elapsed())
    }
}
