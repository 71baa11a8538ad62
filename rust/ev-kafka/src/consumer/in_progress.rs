//! The records of a partition that were handed to the program and that it is not done with.

use std::collections::BTreeMap;

/// By their offsets. A position that may be committed is below all of them.
#[derive(Debug, Default)]
pub struct InProgress {
    /// Each with the epoch of the leader that appended the record before it; -1 when that is not known.
    records: BTreeMap<i64, i32>,
    /// The epoch of the last record that was begun.
    epoch: i32,
    /// How many there may be.
    limit: usize,
}

impl InProgress {
    /// None, and at most so many at a time.
    pub fn new(limit: usize) -> InProgress {
        InProgress {
            epoch: -1,
            limit,
            ..InProgress::default()
        }
    }

    /// The record is handed to the program. Records come in the order of their offsets: what was begun at or behind this
    /// one before was read before the position went back.
    pub fn begin(&mut self, offset: i64, epoch: i32) {
        if self
            .records
            .last_key_value()
            .is_some_and(|(last, _)| *last >= offset)
        {
            self.forget_from(offset);
        }
        self.records.insert(offset, self.epoch);
        self.epoch = epoch;
    }

    /// The program is done with the record. False if it was not in progress.
    pub fn done(&mut self, offset: i64) -> bool {
        self.records.remove(&offset).is_some()
    }

    /// What is at the offset, or behind it, will be handed over again.
    pub fn forget_from(&mut self, offset: i64) {
        let forgotten = self.records.split_off(&offset);
        if let Some((_, before)) = forgotten.first_key_value() {
            self.epoch = *before;
        }
    }

    /// The first of them, with the epoch of what is before it.
    pub fn first(&self) -> Option<(i64, i32)> {
        let (offset, epoch) = self.records.first_key_value()?;
        Some((*offset, *epoch))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// How many more there may be.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.records.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(offsets: &[i64]) -> InProgress {
        let mut records = InProgress::new(10);
        for &offset in offsets {
            records.begin(offset, offset as i32 / 10);
        }
        records
    }

    #[test]
    fn the_first_that_is_not_done_counts() {
        let mut records = begun(&[5, 6, 9, 12]);
        assert_eq!(records.first(), Some((5, -1)));
        assert!(records.done(6));
        assert!(records.done(12));
        assert_eq!(records.first(), Some((5, -1)));
        assert!(records.done(5));
        assert_eq!(records.first(), Some((9, 0)));
        assert!(records.done(9));
        assert_eq!(records.first(), None);
    }

    #[test]
    fn only_what_is_in_progress_can_be_done() {
        let mut records = begun(&[5, 9]);
        assert!(!records.done(7));
        assert!(records.done(9));
        assert!(!records.done(9));
        assert!(!records.done(i64::MAX));
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn there_is_a_limit() {
        let mut records = InProgress::new(2);
        assert_eq!(records.room(), 2);
        records.begin(1, 0);
        records.begin(2, 0);
        assert_eq!(records.room(), 0);
        records.done(1);
        assert_eq!(records.room(), 1);
    }

    #[test]
    fn what_comes_again_begins_anew() {
        let mut records = begun(&[5, 15, 25, 35]);
        records.begin(15, 1);
        assert_eq!(records.len(), 2);
        assert!(!records.done(25));
        assert_eq!(records.first(), Some((5, -1)));
        assert!(records.done(5));
        assert_eq!(records.first(), Some((15, 0)));
    }

    #[test]
    fn what_will_come_again_is_forgotten() {
        let mut records = begun(&[5, 15, 25]);
        records.forget_from(15);
        assert_eq!((records.len(), records.first()), (1, Some((5, -1))));
        records.begin(16, 7);
        records.done(5);
        assert_eq!(records.first(), Some((16, 0)));
        records.forget_from(0);
        assert_eq!(records.first(), None);
    }
}
