//! What a member asks one broker for: its share session, and what it holds of the broker's partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use kafka_wire::messages::share_acknowledge as acknowledge;
use kafka_wire::messages::share_fetch as fetch;
use kafka_wire::records::{RecordCursor, Records};
use kafka_wire::{error, ErrorCode};

use super::ledger::{Counts, Ledger, Stretch};

/// A topic's id.
pub type Id = [u8; 16];
/// Topic and partition.
pub type Place = (Bytes, i32);

/// The epoch that opens a session, and the one that closes it.
const OPENS: i32 = 0;
const CLOSES: i32 = -1;

/// After these a session is opened anew. What was said in it was not heard.
const SESSION_ERRORS: [ErrorCode; 3] = [
    ErrorCode::ShareSessionNotFound,
    ErrorCode::InvalidShareSessionEpoch,
    ErrorCode::ShareSessionLimitReached,
];

/// After these the records are another's: saying it again is of no use.
const LOSES_LOCKS: [ErrorCode; 6] = [
    ErrorCode::UnknownTopicOrPartition,
    ErrorCode::LeaderNotAvailable,
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::FencedLeaderEpoch,
    ErrorCode::UnknownLeaderEpoch,
    ErrorCode::UnknownTopicId,
];

/// What a ShareFetch asks for beside its partitions.
pub struct Terms {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub max_records: i32,
    pub acquire_mode: i8,
}

/// What came of what a broker was told.
pub struct Outcome {
    pub place: Place,
    pub stretch: Stretch,
    /// 0, or the broker's error; `None` when it was not heard.
    pub code: Option<i16>,
    pub message: Option<Bytes>,
}

/// What a broker was told, and has not answered.
struct Told {
    place: Place,
    stretch: Stretch,
}

/// What a broker is told of a partition: first and last offset, and what becomes of all or each.
type Said = ((Id, i32), i64, i64, Vec<i8>);

/// A partition of the broker's.
struct Held {
    id: Id,
    ledger: Ledger,
}

/// What was acquired of a partition, and is to be handed over.
pub struct Part {
    pub place: Place,
    pub batches: std::vec::IntoIter<Records>,
    pub current: Option<Records>,
    pub cursor: RecordCursor,
}

/// A member's session with a broker.
#[derive(Default)]
pub struct Session {
    group: Bytes,
    member: Bytes,
    /// That of the next request.
    epoch: i32,
    wanted: BTreeMap<Place, Id>,
    /// What the broker remembers.
    told: BTreeSet<(Id, i32)>,
    names: HashMap<Id, Bytes>,
    held: BTreeMap<Place, Held>,
    in_flight: Vec<Told>,
    /// What is to be handed over.
    pub queue: VecDeque<Part>,
    /// Whether success is of interest.
    pub tells_all: bool,
}

impl Session {
    pub fn new(group: Bytes, member: Bytes) -> Session {
        Session {
            group,
            member,
            ..Session::default()
        }
    }

    /// Whether something can be said in it.
    pub fn is_open(&self) -> bool {
        self.epoch != OPENS
    }

    /// These are to be fetched from now on. What was acquired of others and not handed over is given back.
    pub fn want(&mut self, wanted: BTreeMap<Place, Id>) {
        for (place, id) in &wanted {
            self.names.insert(*id, place.0.clone());
        }
        for (place, held) in &mut self.held {
            if wanted.get(place) != Some(&held.id) {
                held.ledger.give_back_fresh();
            }
        }
        self.wanted = wanted;
    }

    /// Nothing is to be fetched or handed over any more.
    pub fn give_back_fresh(&mut self) {
        self.queue.clear();
        for held in self.held.values_mut() {
            held.ledger.give_back_fresh();
        }
    }

    pub fn ledger(&mut self, place: &Place) -> Option<&mut Ledger> {
        self.held.get_mut(place).map(|held| &mut held.ledger)
    }

    /// That of a partition as answers name it, and its place.
    pub fn ledger_of(&mut self, id: Id, partition: i32) -> Option<(Place, &mut Ledger)> {
        let place = (self.names.get(&id)?.clone(), partition);
        let held = self.held.entry(place.clone()).or_insert_with(|| Held {
            id,
            ledger: Ledger::default(),
        });
        if held.id != id {
            // A topic of the same name, which has none of the other one's records.
            *held = Held {
                id,
                ledger: Ledger::default(),
            };
        }
        Some((place, &mut held.ledger))
    }

    pub fn place(&self, id: &Id, partition: i32) -> Option<Place> {
        Some((self.names.get(id)?.clone(), partition))
    }

    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for held in self.held.values() {
            let counts = held.ledger.counts();
            all.fresh += counts.fresh;
            all.in_hand += counts.in_hand;
            all.pending += counts.pending;
            all.renews += counts.renews;
        }
        all
    }

    /// Ends what is locked no more, and says how many of these the program has.
    pub fn expire(&mut self, now_ms: i64) -> usize {
        let held = self.held.values_mut();
        held.map(|held| held.ledger.expire(now_ms)).sum()
    }

    pub fn next_expiry(&self) -> Option<i64> {
        let held = self.held.values();
        held.filter_map(|held| held.ledger.next_expiry()).min()
    }

    /// The next ShareFetch. One that opens the session says nothing of records.
    pub fn next_fetch(&mut self, terms: &Terms) -> fetch::ShareFetchRequest {
        let wanted: BTreeSet<(Id, i32)> = self
            .wanted
            .iter()
            .map(|((_, partition), id)| (*id, *partition))
            .collect();
        let said = match self.is_open() {
            true => self.take_pending(false),
            false => Vec::new(),
        };
        let mut named: BTreeMap<(Id, i32), Vec<fetch::AcknowledgementBatch>> = BTreeMap::new();
        for place in wanted.difference(&self.told) {
            named.entry(*place).or_default();
        }
        for (place, first_offset, last_offset, acknowledge_types) in said {
            let batch = fetch::AcknowledgementBatch {
                first_offset,
                last_offset,
                acknowledge_types,
            };
            named.entry(place).or_default().push(batch);
        }
        let told = self.told.iter().chain(named.keys());
        let forgotten: BTreeSet<(Id, i32)> = told
            .filter(|place| !wanted.contains(*place))
            .copied()
            .collect();
        let topics = by_id(named.into_iter().map(|((id, partition_index), batches)| {
            let partition = fetch::FetchPartition {
                partition_index,
                acknowledgement_batches: batches,
            };
            (id, partition)
        }));
        self.told = wanted;
        fetch::ShareFetchRequest {
            group_id: Some(self.group.clone()),
            member_id: Some(self.member.clone()),
            share_session_epoch: self.epoch,
            max_wait_ms: terms.max_wait_ms,
            min_bytes: terms.min_bytes,
            max_bytes: terms.max_bytes,
            max_records: terms.max_records,
            batch_size: terms.max_records,
            share_acquire_mode: terms.acquire_mode,
            topics: topics
                .map(|(topic_id, partitions)| fetch::FetchTopic {
                    topic_id,
                    partitions,
                })
                .collect(),
            forgotten_topics_data: by_id(forgotten.into_iter())
                .map(|(topic_id, partitions)| fetch::ForgottenTopic {
                    topic_id,
                    partitions,
                })
                .collect(),
            ..Default::default()
        }
    }

    /// The next ShareAcknowledge, with which the session ends perhaps.
    pub fn next_acknowledge(&mut self, is_last: bool) -> acknowledge::ShareAcknowledgeRequest {
        let said = self.take_pending(true);
        let renews = said.iter().any(|(_, _, _, kinds)| kinds.contains(&4));
        let mut named: BTreeMap<(Id, i32), Vec<acknowledge::AcknowledgementBatch>> =
            BTreeMap::new();
        for (place, first_offset, last_offset, acknowledge_types) in said {
            let batch = acknowledge::AcknowledgementBatch {
                first_offset,
                last_offset,
                acknowledge_types,
            };
            named.entry(place).or_default().push(batch);
        }
        let topics = by_id(named.into_iter().map(|((id, partition_index), batches)| {
            let partition = acknowledge::AcknowledgePartition {
                partition_index,
                acknowledgement_batches: batches,
            };
            (id, partition)
        }));
        acknowledge::ShareAcknowledgeRequest {
            group_id: Some(self.group.clone()),
            member_id: Some(self.member.clone()),
            share_session_epoch: if is_last { CLOSES } else { self.epoch },
            is_renew_ack: renews,
            topics: topics
                .map(|(topic_id, partitions)| acknowledge::AcknowledgeTopic {
                    topic_id,
                    partitions,
                })
                .collect(),
        }
    }

    fn take_pending(&mut self, with_renews: bool) -> Vec<Said> {
        let mut said = Vec::new();
        for (place, held) in &mut self.held {
            for stretch in held.ledger.take_pending(with_renews) {
                let (first, last, kinds) = stretch.batch();
                said.push(((held.id, place.1), first, last, kinds));
                let place = place.clone();
                self.in_flight.push(Told { place, stretch });
            }
        }
        said
    }

    /// The whole request was answered with an error, or with none: what came of what was said, if that is known now.
    pub fn answered(&mut self, code: i16) -> Vec<Outcome> {
        if SESSION_ERRORS.iter().any(|error| error.code() == code) {
            self.epoch = OPENS;
            self.told.clear();
            self.each_in_flight(|ledger, stretch| ledger.take_back(stretch));
            return Vec::new();
        }
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        match code {
            0 => Vec::new(),
            code => self.refuse_all(Some(code)),
        }
    }

    /// What came of what was said of a partition. Locks that were renewed last until then.
    pub fn settled(
        &mut self,
        place: &Place,
        (code, message): (i16, Option<Bytes>),
        until_ms: i64,
        outcomes: &mut Vec<Outcome>,
    ) {
        let (of_place, others) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition(|told: &Told| told.place == *place);
        self.in_flight = others;
        let is_heard_later =
            error::is_retriable(code) && !LOSES_LOCKS.iter().any(|error| error.code() == code);
        for Told { stretch, .. } in of_place {
            let Some(ledger) = self.ledger(place) else {
                continue;
            };
            match code {
                0 => ledger.confirm(&stretch, until_ms),
                _ if is_heard_later => {
                    ledger.take_back(&stretch);
                    continue;
                }
                _ => ledger.give_up(&stretch),
            }
            if code != 0 || self.tells_all {
                outcomes.push(Outcome {
                    place: place.clone(),
                    stretch,
                    code: Some(code),
                    message: message.clone(),
                });
            }
        }
    }

    /// What the answer does not speak of, although it was said.
    pub fn unanswered(&mut self, outcomes: &mut Vec<Outcome>) {
        outcomes.extend(self.refuse_all(Some(ErrorCode::InvalidRecordState.code())));
    }

    fn refuse_all(&mut self, code: Option<i16>) -> Vec<Outcome> {
        let refused = self.each_in_flight(|ledger, stretch| ledger.give_up(stretch));
        let outcome = |Told { place, stretch }| Outcome {
            place,
            stretch,
            code,
            message: None,
        };
        refused.into_iter().map(outcome).collect()
    }

    fn each_in_flight(&mut self, what: impl Fn(&mut Ledger, &Stretch)) -> Vec<Told> {
        let in_flight = std::mem::take(&mut self.in_flight);
        for told in &in_flight {
            if let Some(ledger) = self.ledger(&told.place) {
                what(ledger, &told.stretch);
            }
        }
        in_flight
    }

    /// The connection is lost, and the session with it: the broker gives to others what was held.
    pub fn lost(&mut self) -> Vec<Outcome> {
        self.epoch = OPENS;
        self.told.clear();
        self.queue.clear();
        self.take_pending(true);
        let outcomes = self.refuse_all(None);
        self.held.clear();
        outcomes
    }

    /// Another broker leads a partition: what was held of it is held no more.
    pub fn moved(&mut self, place: &Place) -> Vec<Outcome> {
        let Some(held) = self.held.get_mut(place) else {
            return Vec::new();
        };
        let pending = held.ledger.take_pending(true);
        self.held.remove(place);
        self.queue.retain(|part| part.place != *place);
        let outcome = |stretch| Outcome {
            place: place.clone(),
            stretch,
            code: Some(ErrorCode::NotLeaderOrFollower.code()),
            message: None,
        };
        pending.into_iter().map(outcome).collect()
    }

    /// The places of which something is held.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        let held = self.held.iter();
        held.filter(|(_, held)| !held.ledger.is_empty())
            .map(|(place, _)| place)
    }
}

/// Gathered by topic, in order.
fn by_id<T>(parts: impl Iterator<Item = (Id, T)>) -> impl Iterator<Item = (Id, Vec<T>)> {
    let mut topics: Vec<(Id, Vec<T>)> = Vec::new();
    for (id, part) in parts {
        match topics.last_mut() {
            Some((last, parts)) if *last == id => parts.push(part),
            _ => topics.push((id, vec![part])),
        }
    }
    topics.into_iter()
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{Settled, ACCEPT, RENEW};
    use super::*;

    const ID: Id = [7; 16];
    const SOON: i64 = 100;
    const TERMS: Terms = Terms {
        max_wait_ms: 1,
        min_bytes: 1,
        max_bytes: 1,
        max_records: 1,
        acquire_mode: 0,
    };

    fn place(partition: i32) -> Place {
        (Bytes::from_static(b"t"), partition)
    }

    fn session() -> Session {
        let mut session = Session::new(Bytes::from_static(b"g"), Bytes::from_static(b"m"));
        session.want(BTreeMap::from([(place(0), ID)]));
        session
    }

    /// With a record in hand, in an open session.
    fn with_record() -> Session {
        let mut session = session();
        session.next_fetch(&TERMS);
        session.answered(0);
        let (_, ledger) = session.ledger_of(ID, 0).expect("it is wanted");
        ledger.acquire(5, 1, 1, SOON);
        ledger.found(5);
        ledger.hand_over(5, 0);
        session
    }

    fn settle(session: &mut Session, kind: u8) -> Settled {
        session
            .ledger(&place(0))
            .map_or(Settled::Lost, |ledger| ledger.settle(5, 1, kind, 0))
    }

    #[test]
    fn a_session_is_opened_and_told_what_changes() {
        let mut session = session();
        let first = session.next_fetch(&TERMS);
        assert_eq!((first.share_session_epoch, first.topics.len()), (0, 1));
        session.answered(0);
        let second = session.next_fetch(&TERMS);
        assert_eq!((second.share_session_epoch, second.topics.len()), (1, 0));
        session.answered(0);
        session.want(BTreeMap::from([(place(1), ID)]));
        let third = session.next_fetch(&TERMS);
        assert_eq!(third.topics[0].partitions[0].partition_index, 1);
        assert_eq!(third.forgotten_topics_data[0].partitions, [0]);
    }

    #[test]
    fn both_requests_count_the_same_epoch() {
        let mut session = with_record();
        settle(&mut session, RENEW);
        let renewal = session.next_acknowledge(false);
        assert_eq!(
            (renewal.share_session_epoch, renewal.is_renew_ack),
            (1, true)
        );
        session.answered(0);
        session.settled(&place(0), (0, None), 2 * SOON, &mut Vec::new());
        settle(&mut session, ACCEPT);
        let fetch = session.next_fetch(&TERMS);
        assert_eq!(fetch.share_session_epoch, 2);
        let batches = &fetch.topics[0].partitions[0].acknowledgement_batches;
        assert_eq!(
            (batches[0].first_offset, &batches[0].acknowledge_types[..]),
            (5, &[1][..])
        );
        session.answered(0);
        assert_eq!(session.next_acknowledge(true).share_session_epoch, -1);
    }

    #[test]
    fn what_a_session_that_is_gone_did_not_hear_is_said_in_the_next() {
        let mut session = with_record();
        settle(&mut session, ACCEPT);
        session.next_fetch(&TERMS);
        assert!(session
            .answered(ErrorCode::ShareSessionNotFound.code())
            .is_empty());
        let opening = session.next_fetch(&TERMS);
        assert_eq!(opening.share_session_epoch, 0);
        assert!(opening.topics[0].partitions[0]
            .acknowledgement_batches
            .is_empty());
        session.answered(0);
        assert_eq!(session.next_fetch(&TERMS).topics.len(), 1);
    }

    #[test]
    fn a_lost_connection_loses_what_was_held() {
        let mut session = with_record();
        settle(&mut session, ACCEPT);
        session.next_fetch(&TERMS);
        let outcomes = session.lost();
        assert_eq!((outcomes.len(), outcomes[0].code), (1, None));
        assert_eq!(settle(&mut session, ACCEPT), Settled::Lost);
        assert!(!session.is_open());
    }

    #[test]
    fn what_may_be_heard_later_is_said_again() {
        let mut session = with_record();
        settle(&mut session, ACCEPT);
        for (code, again) in [
            (ErrorCode::CoordinatorLoadInProgress, 1),
            (ErrorCode::InvalidRecordState, 0),
        ] {
            session.next_acknowledge(false);
            session.answered(0);
            session.settled(&place(0), (code.code(), None), SOON, &mut Vec::new());
            assert_eq!(session.counts().pending, again);
        }
    }

    #[test]
    fn a_partition_that_is_not_fetched_any_more_is_still_told_about() {
        let mut session = with_record();
        settle(&mut session, ACCEPT);
        session.want(BTreeMap::new());
        let fetch = session.next_fetch(&TERMS);
        assert_eq!(fetch.topics.len(), 1);
        assert_eq!(fetch.forgotten_topics_data[0].partitions, [0]);
    }
}
