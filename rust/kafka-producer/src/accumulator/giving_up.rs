//! The end of what has not been sent, or has not been answered for too long.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Accumulator, GivenUp, Place};
use crate::batch::Sealed;
use crate::ledger::Ledger;
use crate::verdict::MIN_RETRIES;

/// How long after its time a batch that is owed a try waits for a leader: a few times as long as the delay between tries.
const RETRY_GRACE: Duration = Duration::from_secs(10);
impl<C> Accumulator<C> {
    /// Gives up batches that wait and all of whose records came at least `age` ago, from now on also the patience. A
    /// batch that was sent before has a few tries all the same, unless no leader takes it for some seconds more.
    ///
    /// A batch that is due and has waited for a while takes no more records: they would share its end.
    pub fn expire(&mut self, age: Duration) -> Vec<GivenUp<C>> {
        self.settings.patience = age;
        let (now, span) = ((self.settings.clock)(), self.span());
        if self.open_records > 0 {
            self.seal_if(|open| open.is_due && now.saturating_sub(open.origin.born) >= span);
        }
        self.fail_waiting(|batch| {
            let waited = batch.waited(now);
            let has_tries = (1..=MIN_RETRIES).contains(&batch.retries);
            let limit = match has_tries {
                true => age.saturating_add(RETRY_GRACE),
                false => age,
            };
            waited >= limit
        })
    }

    /// The last so much time is not held against what is queued: nothing could be sent, since the program did not let it.
    pub fn forgive(&mut self, lost: Duration) {
        let now = (self.settings.clock)();
        for (_, batch) in self.sent.values_mut() {
            batch.origin.forgive(lost, now);
        }
        for topic in &mut self.topics {
            for state in &mut topic.partitions {
                let open = state.open.iter_mut().map(|open| &mut open.origin);
                let sealed = state.sealed.iter_mut().map(|batch| &mut batch.origin);
                open.chain(sealed)
                    .for_each(|origin| origin.forgive(lost, now));
            }
            topic
                .parked_origins()
                .for_each(|origin| origin.forgive(lost, now));
        }
    }

    /// Gives up everything that is not in flight: the records are failed by the caller.
    pub fn fail_unsent(&mut self) -> Vec<GivenUp<C>> {
        self.seal_all();
        self.fail_waiting(|_| true)
    }

    /// Partitions beyond those that the topic is known to have, for which records wait.
    pub fn waiting_beyond(&self, topic: usize) -> Vec<usize> {
        let topic = &self.topics[topic];
        let waits = |&partition: &usize| topic.partitions[partition].waiting_generation().is_some();
        (topic.routed..topic.partitions.len())
            .filter(waits)
            .collect()
    }

    /// Gives up what waits for a partition: the records are failed by the caller.
    pub fn fail_partition(&mut self, topic: usize, partition: usize) -> Vec<GivenUp<C>> {
        let place = Place { topic, partition };
        if partition >= self.topics[topic].partitions.len() {
            return Vec::new();
        }
        self.seal(&place);
        let state = self.state(&place);
        let mut waiting = std::mem::take(&mut state.sealed);
        waiting.append(&mut state.later);
        let give_up = |batch| self.give_up(&place, batch);
        waiting.into_iter().map(give_up).collect()
    }

    /// Gives up what waits and is unwanted, oldest first: the records are failed by the caller.
    pub(super) fn fail_waiting(
        &mut self,
        unwanted: impl Fn(&Sealed<C>) -> bool,
    ) -> Vec<GivenUp<C>> {
        let mut failed = self.fail_parked_if(&unwanted);
        for place in self.places() {
            let state = self.state(&place);
            let mut out = split_off(&mut state.sealed, &unwanted);
            out.extend(split_off(&mut state.later, &unwanted));
            failed.extend(out.into_iter().map(|batch| self.give_up(&place, batch)));
        }
        failed.sort_by_key(|given_up| given_up.batch.id);
        failed
    }

    fn give_up(&mut self, place: &Place, batch: Sealed<C>) -> GivenUp<C> {
        self.spend_on_failure(place, &batch);
        self.count_failed(place, &batch);
        self.settled(place, &batch);
        GivenUp {
            topic: place.topic,
            partition: Some(place.partition),
            batch,
        }
    }

    /// Takes everything out: first what was sent and has no answer yet, then what was never sent, oldest first each.
    pub fn take_all(&mut self) -> (Vec<GivenUp<C>>, Vec<GivenUp<C>>) {
        let mut sent: Vec<_> = self
            .sent
            .drain()
            .map(|(_, (place, batch))| GivenUp {
                topic: place.topic,
                partition: Some(place.partition),
                batch,
            })
            .collect();
        sent.sort_by_key(|given_up| given_up.batch.id);
        self.seal_all();
        let mut unsent = self.fail_parked_if(|_| true);
        for (topic, known) in self.topics.iter_mut().enumerate() {
            for (partition, state) in known.partitions.iter_mut().enumerate() {
                unsent.extend(state.clear().map(|batch| GivenUp {
                    topic,
                    partition: Some(partition),
                    batch,
                }));
            }
        }
        unsent.sort_by_key(|given_up| given_up.batch.id);
        self.ready.clear();
        self.paused.clear();
        self.lingering.clear();
        self.transactions = Ledger::default();
        self.messages = 0;
        self.bytes = 0;
        (sent, unsent)
    }
}

/// Takes the unwanted batches out of a queue.
fn split_off<C>(
    queue: &mut VecDeque<Sealed<C>>,
    unwanted: impl Fn(&Sealed<C>) -> bool,
) -> VecDeque<Sealed<C>> {
    if !queue.iter().any(&unwanted) {
        return VecDeque::new();
    }
    let (out, kept) = std::mem::take(queue).into_iter().partition(unwanted);
    *queue = kept;
    out
}
