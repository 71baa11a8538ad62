//! Fetch sessions (KIP-227): what brokers remember of those who fetch.

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use kafka_wire::{ErrorCode, TopicId, NO_TOPIC_ID};
use std::collections::BTreeMap;

/// The id of no session.
pub(crate) const NO_SESSION: i32 = 0;
/// Epoch of a request that names all that it wants, and opens a session.
const OPENS: i32 = 0;
/// Epoch of a request that ends its session, or wants none.
const ENDS: i32 = -1;
/// Stands for what was not told.
const UNTOLD: i64 = -1;

/// A broker's memory of one who fetches.
#[derive(Debug, Clone)]
pub struct FetchSession {
    /// Its id.
    pub id: i32,
    /// The broker that has it.
    pub broker: i32,
    /// That of the next request.
    pub epoch: i32,
    /// How many partitions have been named by requests since it was opened.
    pub named: u64,
    /// How many have been removed.
    pub forgotten: u64,
    /// How many have been in answers since then.
    pub given: u64,
    /// Its requests name topics by their ids (KIP-516).
    by_id: bool,
    partitions: Vec<Remembered>,
}

/// A partition of a session.
#[derive(Debug, Clone)]
struct Remembered {
    topic: Topic,
    asked: FetchPartition,
    /// As it was told last.
    high_watermark: i64,
    log_start_offset: i64,
}

/// A topic as a request names it.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    /// Empty when nobody has the id.
    pub name: Bytes,
    /// [`NO_TOPIC_ID`] when it is the name that counts.
    pub id: TopicId,
}

impl Topic {
    pub fn is_by_id(&self) -> bool {
        self.id != NO_TOPIC_ID
    }

    pub fn is(&self, name: &[u8], id: &TopicId) -> bool {
        self.id == *id && (self.is_by_id() || self.name[..] == *name)
    }
}

/// What kind of Fetch a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It names all, and nothing is remembered.
    Sessionless,
    /// It names all, and opens a session.
    Opening,
    /// Of this session.
    Incremental(i32),
}

/// Those of all brokers; ids are used once.
#[derive(Debug, Default)]
pub(crate) struct FetchSessions {
    by_id: BTreeMap<i32, FetchSession>,
    last_id: i32,
}

impl FetchSession {
    /// Topics and partitions, those that will come first first.
    pub fn partitions(&self) -> impl Iterator<Item = (&Bytes, i32)> {
        let partitions = self.partitions.iter();
        partitions.map(|known| (&known.topic.name, known.asked.partition))
    }

    fn place(&self, name: &[u8], id: &TopicId, partition: i32) -> Option<usize> {
        let mut known = self.partitions.iter();
        known.position(|known| known.topic.is(name, id) && known.asked.partition == partition)
    }

    fn update(&mut self, request: &FetchRequest) {
        for topic in &request.forgotten_topics_data {
            for &partition in &topic.partitions {
                if let Some(place) = self.place(&topic.topic, &topic.topic_id, partition) {
                    self.partitions.remove(place);
                    self.forgotten += 1;
                }
            }
        }
        for topic in &request.topics {
            for asked in &topic.partitions {
                self.named += 1;
                match self.place(&topic.topic, &topic.topic_id, asked.partition) {
                    Some(place) => self.partitions[place].asked = asked.clone(),
                    None => self.partitions.push(Remembered::new(&named(topic), asked)),
                }
            }
        }
    }

    /// Whether the answer must have the partition, which is told then; one with records comes last the next time.
    fn tells(&mut self, topic: &Topic, data: &PartitionData, has_records: bool) -> bool {
        let Some(place) = self.place(&topic.name, &topic.id, data.partition_index) else {
            return false;
        };
        let known = &mut self.partitions[place];
        let has_failed = data.error_code != 0 || data.diverging_epoch.end_offset >= 0;
        let is_news = known.high_watermark != data.high_watermark
            || known.log_start_offset != data.log_start_offset;
        known.tell(data);
        if has_failed {
            // So that the end of it is news, too.
            known.high_watermark = UNTOLD;
        }
        if has_records {
            let known = self.partitions.remove(place);
            self.partitions.push(known);
        }
        let tells = has_records || has_failed || is_news;
        self.given += u64::from(tells);
        tells
    }
}

fn named(topic: &FetchTopic) -> Topic {
    Topic {
        name: topic.topic.clone(),
        id: topic.topic_id,
    }
}

impl Remembered {
    fn new(topic: &Topic, asked: &FetchPartition) -> Self {
        Self {
            // A copy: what a request brought would keep all that was read with it.
            topic: Topic {
                name: Bytes::copy_from_slice(&topic.name),
                id: topic.id,
            },
            asked: asked.clone(),
            high_watermark: UNTOLD,
            log_start_offset: UNTOLD,
        }
    }

    fn tell(&mut self, data: &PartitionData) {
        self.high_watermark = data.high_watermark;
        self.log_start_offset = data.log_start_offset;
    }
}

impl FetchSessions {
    /// Those of a broker.
    pub fn of(&self, broker: i32) -> impl Iterator<Item = &FetchSession> {
        let sessions = self.by_id.values();
        sessions.filter(move |session| session.broker == broker)
    }

    pub fn get(&self, id: i32) -> Option<&FetchSession> {
        self.by_id.get(&id)
    }

    /// One that makes no more requests, or was made to go.
    pub fn forget(&mut self, id: i32) {
        self.by_id.remove(&id);
    }

    /// All of a broker, as when it was started anew.
    pub fn forget_all_of(&mut self, broker: i32) {
        self.by_id.retain(|_, session| session.broker != broker);
    }

    /// What a request is, and what it changes.
    pub fn begin(&mut self, broker: i32, request: &FetchRequest, by_id: bool) -> Result<Kind, i16> {
        if request.session_epoch == OPENS || request.session_epoch == ENDS {
            self.by_id.remove(&request.session_id);
            return Ok(match request.session_epoch {
                OPENS => Kind::Opening,
                _ => Kind::Sessionless,
            });
        }
        let session = self.by_id.get_mut(&request.session_id);
        let session = session
            .filter(|session| session.broker == broker)
            .ok_or(ErrorCode::FetchSessionIdNotFound.code())?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch.code());
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError.code());
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        session.update(request);
        Ok(Kind::Incremental(session.id))
    }

    /// What a request of that kind reads.
    pub fn asked(
        &self,
        kind: Kind,
        request: &FetchRequest,
    ) -> Option<Vec<(Topic, FetchPartition)>> {
        if let Kind::Incremental(id) = kind {
            let partitions = self.by_id.get(&id)?.partitions.iter();
            let asked = partitions.map(|known| (known.topic.clone(), known.asked.clone()));
            return Some(asked.collect());
        }
        let topics = request.topics.iter();
        let asked = topics.flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|asked| (named(topic), asked.clone()))
        });
        Some(asked.collect())
    }

    /// Opens a session for who was answered with this; [`NO_SESSION`] where there is room for `most` only.
    pub fn open(
        &mut self,
        broker: i32,
        most: usize,
        by_id: bool,
        answered: impl Iterator<Item = (Topic, FetchPartition, PartitionData)>,
    ) -> i32 {
        if self.of(broker).count() >= most {
            return NO_SESSION;
        }
        self.last_id += 1;
        let partitions = answered.map(|(topic, asked, data)| {
            let mut known = Remembered::new(&topic, &asked);
            known.tell(&data);
            known
        });
        let session = FetchSession {
            id: self.last_id,
            broker,
            epoch: 1,
            named: 0,
            forgotten: 0,
            given: 0,
            by_id,
            partitions: partitions.collect(),
        };
        self.by_id.insert(session.id, session);
        self.last_id
    }

    /// Whether the session's answer must have the partition.
    pub fn tells(
        &mut self,
        id: i32,
        topic: &Topic,
        data: &PartitionData,
        has_records: bool,
    ) -> bool {
        let session = self.by_id.get_mut(&id);
        session.is_some_and(|session| session.tells(topic, data, has_records))
    }
}
