//! What leaves: batches that are due, in requests.

use super::{Accumulator, Outgoing, Place};
use crate::partition::NO_LEADER;

/// The most that batches share a Produce request up to: well below the broker's `socket.request.max.bytes` (100 MiB),
/// which would drop the connection, yet enough that 1 MB batches of several partitions travel together.
const MAX_SHARED_BYTES: usize = 8 << 20;
impl<C> Accumulator<C> {
    /// The linger time is over: every open batch leaves as soon as it can.
    pub fn all_due(&mut self) {
        for place in std::mem::take(&mut self.lingering) {
            let state = self.state(&place);
            state.lingers = false;
            if let Some(open) = &mut state.open {
                open.is_due = true;
                self.topics[place.topic].filled(place.partition);
                self.list(&place);
            }
        }
    }

    /// The leaders that batches wait for which are due, each once; [`NO_LEADER`] among them when some partition has none.
    pub fn ready_nodes(&self) -> Vec<i32> {
        let mut nodes = Vec::new();
        for place in &self.ready {
            let state = &self.topics[place.topic].partitions[place.partition];
            if !nodes.contains(&state.leader) && state.next_to_leave(&self.terms).is_some() {
                nodes.push(state.leader);
            }
        }
        nodes
    }

    /// Partitions without a leader for which batches wait that are due.
    pub fn leaderless(&self) -> Vec<Place> {
        let waits = |place: &&Place| {
            let state = &self.topics[place.topic].partitions[place.partition];
            state.leader == NO_LEADER && state.next_to_leave(&self.terms).is_some()
        };
        self.ready.iter().filter(waits).cloned().collect()
    }

    /// Takes the next batch of each partition led by `node`, up to a few megabytes, for one Produce request, all
    /// of them with the same [`acks`](crate::Sealed::acks). They count as in flight until they are acknowledged, failed, held or requeued.
    pub fn take_request(&mut self, node: i32) -> Vec<Outgoing> {
        let mut outgoing: Vec<Outgoing> = Vec::new();
        let most = MAX_SHARED_BYTES.min(self.settings.max_request_size);
        let mut size = 0;
        for _ in 0..self.ready.len() {
            let Some(place) = self.ready.pop_front() else {
                break;
            };
            let state = &mut self.topics[place.topic].partitions[place.partition];
            let Some(index) = state.next_to_leave(&self.terms) else {
                state.listed = false;
                continue;
            };
            let (batch_size, acks) = state.size_and_acks_of(index);
            let fits = outgoing.is_empty() || size + batch_size <= most;
            let is_alike = outgoing.first().is_none_or(|first| first.acks == acks);
            if state.leader != node || !fits || !is_alike {
                self.ready.push_back(place);
                continue;
            }
            state.listed = false;
            if state.sealed.is_empty() {
                self.seal(&place);
            }
            let state = &mut self.topics[place.topic].partitions[place.partition];
            if let Some(mut batch) = state.take(index, &self.terms) {
                size += batch_size;
                outgoing.push(Outgoing {
                    id: batch.id,
                    place: place.clone(),
                    bytes: batch.bytes.pieces().clone(),
                    acks: batch.acks,
                });
                self.sent.insert(batch.id, (place.clone(), batch));
            }
            self.list(&place);
        }
        outgoing
    }
}
