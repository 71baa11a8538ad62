//! How often something took how long.

use std::fmt;
use std::time::Duration;

/// Steps in each doubling: a step is a sixteenth wide at most, so that its middle is off by 3 %.
const STEPS: u64 = 16;
/// Of the largest time that is told from larger ones, the power of two in microseconds: 71 minutes.
const LARGEST_POWER: u32 = 32;
/// The times below one doubling of `STEPS` have a place each.
const PLACES: usize = STEPS as usize * (LARGEST_POWER - STEPS.ilog2() + 1) as usize;

/// Times in microseconds, counted in steps that grow with them. It takes two kilobytes, whatever comes.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u32; PLACES]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: Box::new([0; PLACES]),
        }
    }
}

impl fmt::Debug for Histogram {
    /// What is there, not the hundreds of places where nothing is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.iter().enumerate();
        let counted = counts.filter(|(_, count)| **count > 0);
        f.debug_map()
            .entries(counted.map(|(place, count)| (middle(place), count)))
            .finish()
    }
}

fn place(micros: u64) -> usize {
    let micros = micros.min((1 << LARGEST_POWER) - 1);
    if micros < STEPS {
        return micros as usize;
    }
    let shift = micros.ilog2() - STEPS.ilog2();
    let step = micros >> shift;
    (u64::from(shift) * STEPS + step) as usize
}

/// The middle of what is counted at a place.
fn middle(place: usize) -> Duration {
    let place = place as u64;
    if place < STEPS {
        return Duration::from_micros(place);
    }
    let shift = place / STEPS - 1;
    let step = place % STEPS + STEPS;
    Duration::from_micros((step << shift) + (1 << shift) / 2)
}

impl Histogram {
    /// It took so long once.
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let count = &mut self.counts[place(micros)];
        *count = count.saturating_add(1);
    }

    /// What another one has counted.
    pub fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
    }

    /// How long the given share of them took at most, 0.5 for half; `None` when there are none.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut counted = 0;
        let reached = self.counts.iter().position(|count| {
            counted += u64::from(*count);
            counted >= wanted
        });
        reached.map(middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u64 = (1 << LARGEST_POWER) - 1;

    #[test]
    fn every_time_has_a_place_whose_middle_is_near() {
        let mut before = 0;
        for power in 0..LARGEST_POWER {
            for step in 0..32 {
                let micros = (1_u64 << power) + (step << power) / 32;
                let place = place(micros);
                assert!(place < PLACES && place >= before, "{micros}");
                before = place;
                let off = middle(place).as_micros().abs_diff(micros.into());
                assert!(off * 32 <= u128::from(micros), "{micros} is off by {off}");
            }
        }
        assert_eq!(place(LAST), PLACES - 1);
        assert_eq!(place(u64::MAX), PLACES - 1);
    }

    #[test]
    fn a_share_of_them_took_so_long_at_most() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for millis in 1..=100 {
            histogram.record(Duration::from_millis(millis));
        }
        for (share, millis) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            let found = histogram.percentile(share).unwrap_or_default();
            let off = found.abs_diff(Duration::from_millis(millis));
            assert!(
                off * 32 <= Duration::from_millis(millis),
                "{share}: {found:?}"
            );
        }
    }

    #[test]
    fn two_of_them_add_up() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(3));
        other.record(Duration::from_micros(9));
        one.add(&other);
        assert_eq!(one.percentile(0.5), Some(Duration::from_micros(3)));
        assert_eq!(one.percentile(1.0), Some(Duration::from_micros(9)));
        assert_eq!(format!("{one:?}"), "{3µs: 1, 9µs: 1}");
    }
}
