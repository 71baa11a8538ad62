//! The time of day, as records carry it.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ev::Ticks;

/// No tick of the processor's counter takes longer.
const NANOS_A_TICK: u64 = 1_000_000_000 / Ticks::AT_LEAST;

fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

fn as_ms(since: Duration) -> i64 {
    since.as_millis().try_into().unwrap_or(i64::MAX)
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    as_ms(since_1970())
}

/// The same for whoever asks once a record: while the processor's counter says that the millisecond cannot be over, the
/// clock, which costs twice as much, is not read again.
#[derive(Debug)]
pub struct WallClock {
    ticks: Option<Ticks>,
    /// What was read last.
    ms: Cell<i64>,
    /// Just before that.
    read_at: Cell<u64>,
    /// So many ticks later it may be over.
    lasts: Cell<u64>,
}

impl WallClock {
    /// One that nobody has read.
    pub fn new() -> WallClock {
        WallClock {
            ticks: Ticks::find(),
            ms: Cell::new(0),
            read_at: Cell::new(0),
            lasts: Cell::new(0),
        }
    }

    /// Milliseconds since 1970.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        let Some(ticks) = self.ticks else {
            return now_ms();
        };
        let now = ticks.now();
        match now.wrapping_sub(self.read_at.get()) < self.lasts.get() {
            true => self.ms.get(),
            false => self.read(now),
        }
    }

    #[inline(never)]
    fn read(&self, now: u64) -> i64 {
        let since = since_1970();
        let left = 1_000_000 - u64::from(since.subsec_nanos()) % 1_000_000;
        self.read_at.set(now);
        self.lasts.set(left / NANOS_A_TICK);
        self.ms.set(as_ms(since));
        self.ms.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_clock_says() {
        let clock = WallClock::new();
        let until = now_ms() + 20;
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let before = now_ms();
            let says = clock.now_ms();
            let after = now_ms();
            // The machine's clock may be set meanwhile.
            assert!(before > after || (before..=after).contains(&says));
            seen.insert(says);
            if after >= until {
                break;
            }
        }
        assert!(seen.len() > 1);
    }
}
