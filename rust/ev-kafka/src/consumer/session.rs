//! A fetch session (KIP-227): what a broker was told of the partitions that it is asked for, and what it is to be told next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use kafka_wire::messages::fetch::FetchResponse;
use kafka_wire::{ErrorCode, TopicId, NO_TOPIC_ID};

/// The first version that has sessions.
const SESSIONS_FROM: i16 = 7;

/// The id of no session: what a broker gives that has no room for one.
const NO_SESSION: i32 = 0;

/// The epoch of a request that names all partitions, and opens a session.
const OPENS: i32 = 0;

/// The epoch of a request that ends its session, or is of none.
pub const ENDS: i32 = -1;

/// A topic's name and a partition's number.
pub type Place = (Bytes, i32);

/// So many ids of topics that are not asked for any more may be remembered.
const MAX_STALE_NAMES: usize = 64;

/// What is wanted of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its topic's.
    pub topic_id: TopicId,
    /// Where to start.
    pub offset: i64,
    /// The epoch of its leader (KIP-320); -1 when it is not known.
    pub leader_epoch: i32,
    /// The epoch of what was read last (KIP-595); -1 when it is not known.
    pub last_epoch: i32,
    /// How many bytes of it may come.
    pub max_bytes: i32,
}

#[derive(Default)]
struct Entry {
    /// Partitions are asked for in the order in which they were first wanted.
    order: u64,
    wanted: Option<Wish>,
    told: Option<Wish>,
}

/// What a broker is to be told: partitions to ask it for, and those that it may forget, each with its topic's id.
type News = (Vec<(Place, Wish)>, Vec<(Place, TopicId)>);

/// What has become of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was answered.
    Answered,
    /// The broker does not know the session any more: it is to be asked for everything.
    SessionLost,
    /// An error that is not the session's.
    Refused(i16),
}

/// One broker's. Only one request of it is under way at a time.
#[derive(Default)]
pub struct Session {
    id: i32,
    /// Of the next request.
    epoch: i32,
    entries: BTreeMap<Place, Entry>,
    /// Of the next entry.
    order: u64,
    /// What may not be as the broker was told.
    changed: BTreeSet<Place>,
    /// How many wanted partitions are of topics whose id is not known.
    without_id: usize,
    /// The last request named topics by their ids.
    by_id: bool,
    /// Names of the topics that requests have named so.
    names: HashMap<TopicId, Bytes>,
    /// The last request named all partitions.
    named_all: bool,
    /// Where the next one that does begins: brokers fill an answer in the order of the request, and everyone is first once.
    /// Within a session they see to that themselves.
    turn: usize,
}

/// What the next request says.
pub struct Next {
    /// The session that it is of.
    pub session_id: i32,
    /// Its number there.
    pub session_epoch: i32,
    /// What it asks for.
    pub asked: Vec<(Place, Wish)>,
    /// What it takes out of the session, and the id by which that was asked for.
    pub forgotten: Vec<(Place, TopicId)>,
}

impl Session {
    /// The partition is asked for from now on, or asked for otherwise.
    pub fn want(&mut self, place: Place, wish: Wish) {
        let entry = self.entries.entry(place.clone()).or_insert_with(|| {
            self.order += 1;
            Entry {
                order: self.order,
                ..Default::default()
            }
        });
        if entry.wanted != Some(wish) {
            let was = entry.wanted.replace(wish);
            self.changed.insert(place);
            self.count(was, Some(wish));
        }
    }

    /// The partition is not asked for any more.
    pub fn forget(&mut self, place: Place) {
        if let Some(entry) = self.entries.get_mut(&place) {
            let was = entry.wanted.take();
            self.changed.insert(place);
            self.count(was, None);
        }
    }

    /// A wish takes the place of another one.
    fn count(&mut self, was: Option<Wish>, is: Option<Wish>) {
        let lacks_id =
            |wish: Option<Wish>| usize::from(wish.is_some_and(|wish| wish.topic_id == NO_TOPIC_ID));
        self.without_id = self.without_id + lacks_id(is) - lacks_id(was);
    }

    /// Whether the ids of all that is asked for are known: a request names its topics by these, or by their names.
    pub fn has_ids(&self) -> bool {
        self.without_id == 0
    }

    /// The next request, which names topics by their ids or by their names: all of it, or what has changed.
    pub fn next(&mut self, version: i16, by_id: bool) -> Next {
        let has_sessions = version >= SESSIONS_FROM;
        // A session knows its topics either way, not now so and now so.
        if std::mem::replace(&mut self.by_id, by_id) != by_id {
            self.epoch = OPENS;
        }
        self.named_all = !has_sessions || self.epoch == OPENS;
        let (asked, forgotten) = match self.named_all {
            true => (self.all(), Vec::new()),
            false => self.news(),
        };
        Next {
            session_id: if has_sessions { self.id } else { NO_SESSION },
            session_epoch: if has_sessions { self.epoch } else { ENDS },
            asked,
            forgotten,
        }
    }

    fn all(&mut self) -> Vec<(Place, Wish)> {
        self.changed.clear();
        self.names.clear();
        self.entries.retain(|_, entry| entry.wanted.is_some());
        let mut entries: Vec<_> = self.entries.iter_mut().collect();
        entries.sort_by_key(|(_, entry)| entry.order);
        let mut parts = Vec::with_capacity(entries.len());
        for (place, entry) in entries {
            entry.told = entry.wanted;
            parts.extend(entry.told.map(|wish| (place.clone(), wish)));
        }
        self.remember_names(&parts);
        if !parts.is_empty() {
            let first = self.turn % parts.len();
            parts.rotate_left(first);
            self.turn = self.turn.wrapping_add(1);
        }
        parts
    }

    fn news(&mut self) -> News {
        let (mut parts, mut forgotten) = (Vec::new(), Vec::new());
        for place in std::mem::take(&mut self.changed) {
            let Some(entry) = self.entries.get_mut(&place) else {
                continue;
            };
            let was = std::mem::replace(&mut entry.told, entry.wanted);
            match entry.wanted {
                Some(wish) if was == Some(wish) => {}
                Some(wish) => {
                    // To the broker a topic of another id is another one, whatever its name.
                    let other = was.filter(|was| self.by_id && was.topic_id != wish.topic_id);
                    forgotten.extend(other.map(|was| (place.clone(), was.topic_id)));
                    parts.push((place, wish));
                }
                None => {
                    self.entries.remove(&place);
                    forgotten.extend(was.map(|was| (place, was.topic_id)));
                }
            }
        }
        self.remember_names(&parts);
        (parts, forgotten)
    }

    fn remember_names(&mut self, asked: &[(Place, Wish)]) {
        if !self.by_id {
            return;
        }
        for ((topic, _), wish) in asked {
            self.names
                .entry(wish.topic_id)
                .or_insert_with(|| topic.clone());
        }
        if self.names.len() > self.entries.len() + MAX_STALE_NAMES {
            let told = self.entries.values().filter_map(|entry| entry.told);
            let told: BTreeSet<TopicId> = told.map(|wish| wish.topic_id).collect();
            self.names.retain(|id, _| told.contains(id));
        }
    }

    /// Gives the topics of an answer that has their ids the names by which the client knows them. One that nobody has asked
    /// for is left out.
    pub fn name_topics(&self, response: &mut FetchResponse) {
        response
            .responses
            .retain_mut(|topic| match self.names.get(&topic.topic_id) {
                _ if topic.topic_id == NO_TOPIC_ID => true,
                None => false,
                Some(name) => {
                    topic.topic = name.clone();
                    true
                }
            });
    }

    /// Takes in what an answer says of the session.
    pub fn answered(&mut self, response: &FetchResponse) -> Verdict {
        let code = response.error_code;
        if code != ErrorCode::None.code() {
            if code == ErrorCode::FetchSessionIdNotFound.code() {
                self.id = NO_SESSION;
            }
            self.epoch = OPENS;
            // Of who was asked for everything anyway that cannot be.
            return match is_of_session(code) && !self.named_all {
                true => Verdict::SessionLost,
                false => Verdict::Refused(code),
            };
        }
        let goes_on =
            response.session_id != NO_SESSION && (self.named_all || response.session_id == self.id);
        self.id = response.session_id;
        self.epoch = match goes_on {
            true if self.named_all => 1,
            true => self.epoch.checked_add(1).unwrap_or(1),
            false => OPENS,
        };
        Verdict::Answered
    }

    /// A request may have been lost: the broker is asked for everything, in place of what it may remember.
    pub fn lost(&mut self) {
        self.epoch = OPENS;
    }

    /// There are no more requests. Gives the session that the broker may forget.
    pub fn end(&mut self) -> Option<i32> {
        let id = std::mem::replace(&mut self.id, NO_SESSION);
        let epoch = std::mem::replace(&mut self.epoch, OPENS);
        (id != NO_SESSION && epoch != OPENS).then_some(id)
    }

    /// The offset that was asked for: brokers send whole batches, which may begin before it. None of a topic that had the
    /// name before, where the answer tells them apart.
    pub fn offset(&self, topic: &Bytes, id: &TopicId, partition: i32) -> Option<i64> {
        let told = self.entries.get(&(topic.clone(), partition))?.told?;
        (*id == NO_TOPIC_ID || *id == told.topic_id).then_some(told.offset)
    }

    /// The partitions that an answer to a request for all of them has passed over. One that throttles gives nothing at
    /// once (KIP-219).
    pub fn passed_over(&self, response: &FetchResponse) -> Vec<Place> {
        let given = || {
            let topics = response.responses.iter();
            topics.flat_map(|topic| {
                let partitions = topic.partitions.iter();
                partitions.map(|data| (topic.topic.clone(), data.partition_index))
            })
        };
        let told = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.told.is_some());
        let is_throttled = response.throttle_time_ms > 0 && given().next().is_none();
        if !self.named_all || is_throttled || given().count() == told.clone().count() {
            return Vec::new();
        }
        let given: BTreeSet<Place> = given().collect();
        told.map(|(place, _)| place.clone())
            .filter(|place| !given.contains(place))
            .collect()
    }
}

fn is_of_session(code: i16) -> bool {
    [
        ErrorCode::FetchSessionIdNotFound,
        ErrorCode::InvalidFetchSessionEpoch,
        ErrorCode::FetchSessionTopicIdError,
    ]
    .iter()
    .any(|of_session| of_session.code() == code)
}
