//! Batches that a broker has not taken: what [`verdict`](crate::verdict) says of them is done here.

use std::time::Duration;

use super::{Accumulator, Fate, Place};
use crate::batch::{BatchId, Sealed};
use crate::verdict::{judge, retry_delay, Cause, Failed, Membership, Outcome, Policy};

impl<C> Accumulator<C> {
    /// A batch in flight was not taken, for this reason and in these words. Gives its place and what has become of it;
    /// nothing when it was settled meanwhile. For `random` see [`retry_delay`].
    pub fn failed(
        &mut self,
        id: BatchId,
        cause: Cause,
        message: &str,
        random: f64,
    ) -> Option<(Place, Fate<C>)> {
        let (place, batch) = self.sent.get_mut(&id)?;
        let place = place.clone();
        batch.doubtful |= cause.leaves_doubt();
        batch.doubtful &= !cause.dispels_doubt();
        let fate = self.end_try(&place, id, cause, message, random, false)?;
        Some((place, fate))
    }

    fn end_try(
        &mut self,
        place: &Place,
        id: BatchId,
        cause: Cause,
        message: &str,
        random: f64,
        is_indivisible: bool,
    ) -> Option<Fate<C>> {
        let (_, batch) = self.sent.get(&id)?;
        let retries = batch.retries;
        let verdict = judge(
            &Failed {
                cause,
                message,
                topic: self.topic_name(place.topic),
                partition: place.partition,
                retries,
                age: self.age(batch),
                is_indivisible,
                is_oldest: self.is_oldest(id),
                follows_gap: self.follows_gap(id),
                is_renewed: batch.renewed,
                membership: self.membership(batch),
            },
            &self.policy(),
        );
        if verdict.breaks_sequence {
            self.break_sequence(id);
        }
        match verdict.outcome {
            Outcome::Requeue => {
                self.requeue(id);
                return Some(Fate::Requeued);
            }
            Outcome::Split if !self.split(id) => {
                return self.end_try(place, id, cause, message, random, true)
            }
            Outcome::Split => {}
            Outcome::Retry { refresh } => {
                self.hold(id, cause, retry_delay(retries, random));
                return Some(Fate::Waits { refresh });
            }
            Outcome::Fail { text, hearer } => {
                let (_, batch) = self.fail(id)?;
                return Some(Fate::Failed {
                    batch: Box::new(batch),
                    code: cause.code(),
                    text,
                    hearer,
                });
            }
        }
        Some(Fate::Waits { refresh: false })
    }

    fn policy(&self) -> Policy {
        Policy {
            idempotent: self.settings.idempotent,
            transactional: self.settings.transactional,
            delivery_timeout: self.settings.patience,
        }
    }

    fn membership(&self, batch: &Sealed<C>) -> Membership {
        match batch.transaction {
            None => Membership::Plain,
            Some(_) if self.is_past(batch) => Membership::Past,
            Some(_) if self.is_aborting => Membership::Aborting,
            Some(_) => Membership::Open,
        }
    }

    /// Puts a batch in flight back to be sent again; nothing of its partition leaves until then, nor does a younger batch
    /// pass it then.
    fn hold(&mut self, id: BatchId, cause: Cause, delay: Duration) {
        let until = (self.settings.clock)().saturating_add(delay);
        if let Some((place, mut batch)) = self.sent.remove(&id) {
            batch.retries += 1;
            batch.refusal = cause.code().unwrap_or(0);
            let state = self.state(&place);
            state.put_back(batch);
            state.in_turn = true;
            if state.paused_until.is_none() {
                state.paused_until = Some(until);
                self.paused.push(place);
            }
        }
    }

    /// Lets the batches of partitions leave again whose time has come.
    pub fn resume(&mut self) {
        let now = (self.settings.clock)();
        for place in std::mem::take(&mut self.paused) {
            let state = self.state(&place);
            match state.paused_until {
                Some(until) if until > now => self.paused.push(place),
                _ => {
                    state.paused_until = None;
                    self.list(&place);
                }
            }
        }
    }

    /// How long it takes until [`resume`](Self::resume) finds the next partition whose time has come.
    pub fn next_try(&self) -> Option<Duration> {
        let state = |place: &Place| &self.topics[place.topic].partitions[place.partition];
        let times = self
            .paused
            .iter()
            .filter_map(|place| state(place).paused_until);
        Some(times.min()?.saturating_sub((self.settings.clock)()))
    }
}
