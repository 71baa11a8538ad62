//! A fetch session (KIP-227): what a broker was told of the partitions that it is asked for, and what it is to be told next.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_wire::messages::fetch::FetchResponse;
use kafka_wire::ErrorCode;

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

/// What is wanted of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
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
    /// What it takes out of the session.
    pub forgotten: Vec<Place>,
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
            entry.wanted = Some(wish);
            self.changed.insert(place);
        }
    }

    /// The partition is not asked for any more.
    pub fn forget(&mut self, place: Place) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.wanted = None;
            self.changed.insert(place);
        }
    }

    /// The next request: all of it, or what has changed.
    pub fn next(&mut self, version: i16) -> Next {
        let has_sessions = version >= SESSIONS_FROM;
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
        self.entries.retain(|_, entry| entry.wanted.is_some());
        let mut entries: Vec<_> = self.entries.iter_mut().collect();
        entries.sort_by_key(|(_, entry)| entry.order);
        let mut parts = Vec::with_capacity(entries.len());
        for (place, entry) in entries {
            entry.told = entry.wanted;
            parts.extend(entry.told.map(|wish| (place.clone(), wish)));
        }
        if !parts.is_empty() {
            let first = self.turn % parts.len();
            parts.rotate_left(first);
            self.turn = self.turn.wrapping_add(1);
        }
        parts
    }

    fn news(&mut self) -> (Vec<(Place, Wish)>, Vec<Place>) {
        let (mut parts, mut forgotten) = (Vec::new(), Vec::new());
        for place in std::mem::take(&mut self.changed) {
            let Some(entry) = self.entries.get_mut(&place) else {
                continue;
            };
            let was = std::mem::replace(&mut entry.told, entry.wanted);
            match entry.wanted {
                Some(wish) if was == Some(wish) => {}
                Some(wish) => parts.push((place, wish)),
                None => {
                    self.entries.remove(&place);
                    if was.is_some() {
                        forgotten.push(place);
                    }
                }
            }
        }
        (parts, forgotten)
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

    /// The offset that was asked for: brokers send whole batches, which may begin before it.
    pub fn offset(&self, topic: &Bytes, partition: i32) -> Option<i64> {
        let entry = self.entries.get(&(topic.clone(), partition))?;
        entry.told.map(|wish| wish.offset)
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
