//! Where records without a key go.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// By which rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyless {
    /// To the partitions in turn.
    #[default]
    InTurn,
    /// They stay on a partition until its batch is due (KIP-480).
    Sticky,
    /// They stay on a partition for as many bytes as a batch has, the less often the more waits there (KIP-794).
    Uniform,
}

/// The partition that they stay on.
#[derive(Debug, Default)]
pub(crate) struct Stay {
    pub partition: usize,
    /// The next one goes elsewhere.
    pub is_over: bool,
    /// Bytes that it has been given.
    given: usize,
}

impl Stay {
    /// The first record goes anywhere.
    pub fn over() -> Stay {
        Stay {
            is_over: true,
            ..Stay::default()
        }
    }

    pub fn on(partition: usize) -> Stay {
        Stay {
            partition,
            ..Stay::default()
        }
    }

    /// Its batch has got so many bytes more. One that has just begun is filled further, up to twice as much in all: what
    /// would else be left behind is a small batch.
    pub fn gives(&mut self, bytes: usize, batch_size: usize, is_due: bool) {
        self.given += bytes;
        self.is_over |=
            self.given >= batch_size && (is_due || self.given >= batch_size.saturating_mul(2));
    }
}

/// splitmix64.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Other numbers each time.
    pub fn new() -> Chance {
        Chance(RandomState::new().build_hasher().finish())
    }

    /// `limit` is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    /// One of these partitions, of each of which so many batches wait: the one with the most has one share, each that has
    /// one less has one share more.
    pub fn lighter(
        &mut self,
        partitions: impl Iterator<Item = (usize, usize)> + Clone,
    ) -> Option<usize> {
        let most = partitions.clone().map(|(_, load)| load).max()?;
        let shares = partitions.map(|(partition, load)| (partition, most - load + 1));
        let mut left = self.below(shares.clone().map(|(_, shares)| shares).sum());
        for (partition, shares) in shares {
            if left < shares {
                return Some(partition);
            }
            left -= shares;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(loads: &[usize]) -> Vec<usize> {
        let mut chance = Chance(7);
        let mut counts = vec![0; loads.len()];
        for _ in 0..10_000 {
            let partition = chance.lighter(loads.iter().copied().enumerate());
            counts[partition.expect("there are some")] += 1;
        }
        counts
    }

    #[test]
    fn what_waits_alike_is_chosen_alike() {
        let counts = chosen(&[3, 3, 3, 3]);
        assert!(
            counts.iter().all(|n| (2_300..2_700).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_more_waits_the_less_comes() {
        // Shares 10, 5 and 1 of 16.
        let counts = chosen(&[0, 5, 9]);
        assert!((6_000..6_500).contains(&counts[0]), "{counts:?}");
        assert!((2_900..3_350).contains(&counts[1]), "{counts:?}");
        assert!((500..750).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn there_may_be_none() {
        assert_eq!(Chance(1).lighter(std::iter::empty()), None);
    }

    #[test]
    fn it_stays_for_the_bytes_of_a_batch() {
        let mut stay = Stay::on(2);
        stay.gives(60, 100, false);
        stay.gives(39, 100, true);
        assert!(!stay.is_over);
        stay.gives(1, 100, true);
        assert!(stay.is_over);
    }

    #[test]
    fn a_batch_that_has_begun_is_filled_up_to_a_point() {
        let mut stay = Stay::on(2);
        stay.gives(100, 100, false);
        assert!(!stay.is_over);
        stay.gives(99, 100, false);
        assert!(!stay.is_over);
        stay.gives(1, 100, false);
        assert!(stay.is_over);
    }
}
