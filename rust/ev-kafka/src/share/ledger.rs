//! What a member holds of one partition: records that it has acquired, until the broker knows what became of them.

use std::collections::BTreeMap;

/// Kafka's numbers of what becomes of a record: there is none, it was accepted, …
pub const GAP: u8 = 0;
pub const ACCEPT: u8 = 1;
pub const RELEASE: u8 = 2;
pub const RENEW: u8 = 4;

/// The broker was told so, and has not answered.
const SENT: u8 = 16;
/// It was not handed to the program.
const FRESH: u8 = 32;
/// The program has it.
const IN_HAND: u8 = 33;
/// There is nothing left to say.
const DONE: u8 = 34;

/// Records that were acquired together.
struct Run {
    /// Of each: what the broker is to be told, or one of the above.
    states: Vec<u8>,
    /// How often they were delivered by now.
    count: i16,
    /// Until when they are locked.
    until_ms: i64,
    /// How many the broker is to be told of.
    pending: usize,
    /// How many are not done with.
    open: usize,
}

/// What the broker is told of records that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The offset of the first.
    pub first: i64,
    /// What becomes of each.
    pub kinds: Vec<u8>,
}

/// What came of settling a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The broker will be told.
    Taken,
    /// It was settled before.
    Twice,
    /// Its lock has run out.
    Late,
    /// It is not held.
    Lost,
}

/// How many records stand how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// They were not handed to the program.
    pub fresh: usize,
    /// The program has them.
    pub in_hand: usize,
    /// The broker is to be told what became of them.
    pub pending: usize,
    /// Of these, their locks are to be renewed.
    pub renews: usize,
}

/// What a member holds of a partition.
#[derive(Default)]
pub struct Ledger {
    /// By the offset of the first.
    runs: BTreeMap<i64, Run>,
}

fn is_pending(state: u8) -> bool {
    state <= RENEW
}

impl Run {
    fn set(&mut self, index: usize, state: u8) {
        let Some(place) = self.states.get_mut(index) else {
            return;
        };
        let was = std::mem::replace(place, state);
        self.pending = self.pending + usize::from(is_pending(state)) - usize::from(is_pending(was));
        self.open = self.open + usize::from(state != DONE) - usize::from(was != DONE);
    }

    /// Those of it from one index on, up to another one.
    fn part(&self, from: usize, to: usize) -> Option<Run> {
        let states = self.states.get(from..to)?.to_vec();
        let pending = states.iter().filter(|&&state| is_pending(state)).count();
        let open = states.iter().filter(|&&state| state != DONE).count();
        (open > 0).then_some(Run {
            states,
            pending,
            open,
            ..*self
        })
    }
}

impl Ledger {
    /// Records were acquired. Until [`Ledger::found`] says otherwise there are none at these offsets.
    pub fn acquire(&mut self, first: i64, len: usize, count: i16, until_ms: i64) {
        self.carve(first, len);
        let run = Run {
            states: vec![GAP; len],
            count,
            until_ms,
            pending: len,
            open: len,
        };
        self.runs.insert(first, run);
    }

    /// What was held there is another's, or this member's anew.
    fn carve(&mut self, first: i64, len: usize) {
        let end = first.saturating_add(len as i64);
        let overlapping: Vec<i64> = self
            .runs
            .range(..end)
            .rev()
            .take_while(|(at, run)| at.saturating_add(run.states.len() as i64) > first)
            .map(|(at, _)| *at)
            .collect();
        for at in overlapping {
            let Some(run) = self.runs.remove(&at) else {
                continue;
            };
            let before = usize::try_from(first - at).unwrap_or(0);
            let behind = usize::try_from(end - at).unwrap_or(0);
            if let Some(left) = run.part(0, before.min(run.states.len())) {
                self.runs.insert(at, left);
            }
            if let Some(right) = run.part(behind, run.states.len()) {
                self.runs.insert(end, right);
            }
        }
    }

    /// There is a record at an offset. Whether it was acquired.
    pub fn found(&mut self, offset: i64) -> bool {
        let Some((run, index)) = self.at(offset) else {
            return false;
        };
        let is_new = run.states.get(index) == Some(&GAP);
        if is_new {
            run.set(index, FRESH);
        }
        is_new
    }

    /// From this offset on nobody knows whether there are records: they are given back.
    pub fn give_back_from(&mut self, offset: i64) {
        self.change(|at, state| (state == GAP && at >= offset).then_some(RELEASE));
    }

    /// The program gets a record: how often it was delivered by now, unless it is not to.
    pub fn hand_over(&mut self, offset: i64, now_ms: i64) -> Option<i16> {
        let (run, index) = self.at(offset)?;
        if run.states.get(index) != Some(&FRESH) || run.until_ms < now_ms {
            return None;
        }
        run.set(index, IN_HAND);
        Some(run.count)
    }

    /// The program, or its handler's end, says what becomes of a record that was delivered so often.
    pub fn settle(&mut self, offset: i64, count: i16, kind: u8, now_ms: i64) -> Settled {
        let Some((run, index)) = self.at(offset).filter(|(run, _)| run.count == count) else {
            return Settled::Lost;
        };
        match run.states.get(index) {
            Some(&IN_HAND | &RENEW) => {}
            Some(&state) if state == SENT + RENEW => {}
            Some(&FRESH) | None => return Settled::Lost,
            Some(_) => return Settled::Twice,
        }
        if run.until_ms < now_ms {
            return Settled::Late;
        }
        run.set(index, kind);
        Settled::Taken
    }

    /// Whether the program still has it and has said nothing.
    pub fn is_in_hand(&mut self, offset: i64) -> bool {
        self.at(offset)
            .is_some_and(|(run, index)| run.states.get(index) == Some(&IN_HAND))
    }

    /// What was not handed over is given back.
    pub fn give_back_fresh(&mut self) {
        self.change(|_, state| (state == FRESH).then_some(RELEASE));
    }

    /// Ends what is locked no more, and says how many of these the program has.
    pub fn expire(&mut self, now_ms: i64) -> usize {
        let mut count = 0;
        for run in self.runs.values_mut().filter(|run| run.until_ms < now_ms) {
            for index in 0..run.states.len() {
                count += usize::from(run.states[index] == IN_HAND);
                run.set(index, DONE);
            }
        }
        self.runs.retain(|_, run| run.open > 0);
        count
    }

    /// What the broker is to be told, in the order of the offsets. It counts as sent from now on.
    pub fn take_pending(&mut self, with_renews: bool) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for (first, run) in self.runs.iter_mut().filter(|(_, run)| run.pending > 0) {
            for (offset, index) in (*first..).zip(0..run.states.len()) {
                let kind = run.states[index];
                if !is_pending(kind) || (kind == RENEW && !with_renews) {
                    continue;
                }
                run.set(index, SENT + kind);
                match stretches.last_mut() {
                    Some(last) if last.end() == offset => last.kinds.push(kind),
                    _ => stretches.push(Stretch {
                        first: offset,
                        kinds: vec![kind],
                    }),
                }
            }
        }
        stretches
    }

    /// The broker knows, and has renewed locks until then.
    pub fn confirm(&mut self, stretch: &Stretch, until_ms: i64) {
        self.sent(stretch, |kind| if kind == RENEW { IN_HAND } else { DONE });
        for (offset, kind) in stretch.offsets() {
            if let (RENEW, Some((run, index))) = (kind, self.at(offset)) {
                if run.states.get(index) != Some(&DONE) {
                    run.until_ms = run.until_ms.max(until_ms);
                }
            }
        }
    }

    /// It is to be told again.
    pub fn take_back(&mut self, stretch: &Stretch) {
        self.sent(stretch, |kind| kind);
    }

    /// It does not want to know.
    pub fn give_up(&mut self, stretch: &Stretch) {
        self.sent(stretch, |_| DONE);
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for run in self.runs.values() {
            counts.pending += run.pending;
            for &state in &run.states {
                counts.fresh += usize::from(state == FRESH);
                counts.renews += usize::from(state == RENEW);
                counts.in_hand +=
                    usize::from(matches!(state, IN_HAND | RENEW) || state == SENT + RENEW);
            }
        }
        counts
    }

    /// When the first lock runs out.
    pub fn next_expiry(&self) -> Option<i64> {
        self.runs.values().map(|run| run.until_ms).min()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    fn sent(&mut self, stretch: &Stretch, becomes: impl Fn(u8) -> u8) {
        for (offset, kind) in stretch.offsets() {
            if let Some((run, index)) = self.at(offset) {
                // The program may have said more meanwhile, of a record whose lock was to be renewed.
                if run.states.get(index) == Some(&(SENT + kind)) {
                    run.set(index, becomes(kind));
                }
            }
        }
        self.runs.retain(|_, run| run.open > 0);
    }

    fn change(&mut self, becomes: impl Fn(i64, u8) -> Option<u8>) {
        for (first, run) in &mut self.runs {
            for (offset, index) in (*first..).zip(0..run.states.len()) {
                if let Some(state) = becomes(offset, run.states[index]) {
                    run.set(index, state);
                }
            }
        }
    }

    #[inline]
    fn at(&mut self, offset: i64) -> Option<(&mut Run, usize)> {
        let (first, run) = self.runs.range_mut(..=offset).next_back()?;
        let index = usize::try_from(offset - first).ok()?;
        (index < run.states.len()).then_some((run, index))
    }
}

impl Stretch {
    fn end(&self) -> i64 {
        self.first.saturating_add(self.kinds.len() as i64)
    }

    fn offsets(&self) -> impl Iterator<Item = (i64, u8)> + '_ {
        (self.first..).zip(self.kinds.iter().copied())
    }

    /// For the wire: the first and the last offset, and what becomes of all or of each.
    pub fn batch(&self) -> (i64, i64, Vec<i8>) {
        let mut kinds: Vec<i8> = self.kinds.iter().map(|&kind| kind as i8).collect();
        if kinds.iter().all(|kind| *kind == kinds[0]) {
            kinds.truncate(1);
        }
        (self.first, self.end() - 1, kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REJECT: u8 = 3;
    const SOON: i64 = 100;

    fn ledger(len: usize) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.acquire(10, len, 1, SOON);
        for offset in 10..10 + len as i64 {
            ledger.found(offset);
        }
        ledger
    }

    fn stretch(first: i64, kinds: &[u8]) -> Stretch {
        Stretch {
            first,
            kinds: kinds.to_vec(),
        }
    }

    #[test]
    fn what_no_record_was_found_for_is_a_gap() {
        let mut ledger = Ledger::default();
        ledger.acquire(10, 3, 1, SOON);
        assert!(ledger.found(11));
        assert!(!ledger.found(11) && !ledger.found(13));
        assert_eq!(
            ledger.take_pending(true),
            [stretch(10, &[GAP]), stretch(12, &[GAP])]
        );
    }

    #[test]
    fn a_record_is_handed_over_and_settled_once() {
        let mut ledger = ledger(2);
        assert_eq!(ledger.hand_over(10, 0), Some(1));
        assert_eq!(ledger.hand_over(10, 0), None);
        assert_eq!(ledger.settle(11, 1, ACCEPT, 0), Settled::Lost);
        assert_eq!(ledger.settle(10, 1, ACCEPT, 0), Settled::Taken);
        assert_eq!(ledger.settle(10, 1, REJECT, 0), Settled::Twice);
        let told = ledger.take_pending(true);
        assert_eq!(told, [stretch(10, &[ACCEPT])]);
        assert_eq!(ledger.settle(10, 1, REJECT, 0), Settled::Twice);
        ledger.confirm(&told[0], SOON);
        assert_eq!(ledger.counts().fresh, 1);
    }

    #[test]
    fn a_lock_that_ran_out_is_lost() {
        let mut ledger = ledger(2);
        ledger.hand_over(10, 0);
        assert_eq!(ledger.hand_over(11, SOON + 1), None);
        assert_eq!(ledger.settle(10, 1, ACCEPT, SOON + 1), Settled::Late);
        assert_eq!(ledger.expire(SOON + 1), 1);
        assert!(ledger.is_empty());
        assert_eq!(ledger.settle(10, 1, ACCEPT, 0), Settled::Lost);
    }

    #[test]
    fn a_renewed_record_can_be_settled_before_and_after_the_answer() {
        let mut ledger = ledger(2);
        for offset in [10, 11] {
            ledger.hand_over(offset, 0);
            assert_eq!(ledger.settle(offset, 1, RENEW, 0), Settled::Taken);
        }
        assert_eq!(ledger.take_pending(false), []);
        let told = ledger.take_pending(true);
        assert_eq!(told, [stretch(10, &[RENEW, RENEW])]);
        assert_eq!(ledger.settle(10, 1, ACCEPT, 0), Settled::Taken);
        ledger.confirm(&told[0], 2 * SOON);
        assert_eq!(ledger.settle(11, 1, REJECT, SOON + 1), Settled::Taken);
        assert_eq!(ledger.take_pending(true), [stretch(10, &[ACCEPT, REJECT])]);
    }

    #[test]
    fn what_comes_again_takes_the_place_of_what_was_held() {
        let mut ledger = ledger(4);
        ledger.hand_over(11, 0);
        ledger.acquire(11, 2, 2, SOON);
        ledger.found(11);
        ledger.found(12);
        assert_eq!(ledger.settle(11, 1, ACCEPT, 0), Settled::Lost);
        assert_eq!(ledger.hand_over(11, 0), Some(2));
        assert_eq!(ledger.hand_over(10, 0), Some(1));
        assert_eq!(ledger.hand_over(13, 0), Some(1));
    }

    #[test]
    fn one_kind_is_said_once() {
        assert_eq!(stretch(5, &[1, 1, 1]).batch(), (5, 7, vec![1]));
        assert_eq!(stretch(5, &[1, 2]).batch(), (5, 6, vec![1, 2]));
    }

    #[test]
    fn what_is_refused_for_now_is_said_again() {
        let mut ledger = ledger(1);
        ledger.hand_over(10, 0);
        ledger.settle(10, 1, REJECT, 0);
        let told = ledger.take_pending(true);
        assert_eq!(ledger.counts().pending, 0);
        ledger.take_back(&told[0]);
        assert_eq!(ledger.take_pending(true), told);
        ledger.give_up(&told[0]);
        assert!(ledger.is_empty());
    }
}
