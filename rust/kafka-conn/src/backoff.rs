//! How long to wait before connecting again.

use std::time::Duration;

/// The longest delay that doubling reaches, before jitter.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Doubling starts here when the configured delay is shorter: a delay of zero means "at once",
/// not "in a tight loop for ever".
const MIN_DOUBLED: Duration = Duration::from_millis(10);

/// The delays between failed attempts: the first exactly as configured, then doubling up to
/// 30 s with 25 % jitter either way, so that clients that lost the same broker do not come back
/// in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    delay: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(delay: Duration, seed: u64) -> Self {
        Backoff {
            delay,
            failures: 0,
            random: seed,
        }
    }

    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// A TCP connection was made, or the caller starts afresh.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The time to wait after one more loss.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let doublings = self.failures;
        self.failures = self.failures.saturating_add(1);
        if doublings == 0 {
            return self.delay;
        }
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let cap = MAX_DELAY.max(self.delay);
        let doubled = self.delay.max(MIN_DOUBLED).saturating_mul(factor).min(cap);
        doubled.mul_f64(0.75 + 0.5 * self.unit())
    }

    /// Uniform in [0, 1): SplitMix64 (Steele, Lea, Flood, 2014), which accepts any seed.
    fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}
