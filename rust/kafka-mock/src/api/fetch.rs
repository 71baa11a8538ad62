//! Fetch: reading record batches, and waiting for them.

use super::{Call, Outcome, Serve};
use crate::access::Operation;
use crate::fault::Target;
use crate::fetch_sessions::{Kind, Topic, NO_SESSION};
use crate::log::{Found, IsolationLevel, PartitionLog};
use crate::state::State;
use bytes::{Bytes, BytesMut};
use kafka_wire::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse,
    FetchableTopicResponse, PartitionData,
};
use kafka_wire::{ApiKey, ErrorCode};

/// From here on topics are named by id (KIP-516).
const NAMES_BY_ID: i16 = ApiKey::Fetch.names_topics_up_to() + 1;

/// `last_fetched_epoch` of a client that does not check it (KIP-595).
const ANY_EPOCH: i32 = -1;

/// Errors of a session, which are the whole answer's.
const SESSION_ERRORS: [ErrorCode; 3] = [
    ErrorCode::FetchSessionIdNotFound,
    ErrorCode::InvalidFetchSessionEpoch,
    ErrorCode::FetchSessionTopicIdError,
];

/// A Fetch that has less than `min_bytes` to give so far.
#[derive(Debug)]
pub(crate) struct WaitingFetch {
    request: FetchRequest,
    kind: Kind,
    call: Call,
    /// When it is answered whatever there is.
    pub deadline_ms: u64,
}

impl Serve for FetchRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Read);

    /// What a session remembers is asked for by each of its requests.
    fn targets(&self, cluster: &State) -> Vec<Target> {
        let target = |topic: &Bytes, partition: i32| Target {
            topic: topic.clone(),
            partition: Some(partition),
        };
        let topics = self.topics.iter();
        let named = topics.flat_map(|topic| {
            let name = cluster.topic_name(&topic.topic_id);
            let name = name.unwrap_or(&topic.topic);
            let partitions = topic.partitions.iter();
            partitions.map(|asked| target(name, asked.partition))
        });
        let session = cluster.fetch_sessions.get(self.session_id).into_iter();
        let remembered = session.flat_map(|session| session.partitions());
        named
            .chain(remembered.map(|(topic, partition)| target(topic, partition)))
            .collect()
    }

    fn serve(mut self, state: &mut State, call: Call) -> Outcome {
        let by_id = call.version >= NAMES_BY_ID;
        if by_id {
            for topic in &mut self.topics {
                let name = state.topic_name(&topic.topic_id).cloned();
                topic.topic = name.unwrap_or_default();
            }
        }
        let wait = u64::try_from(self.max_wait_ms).unwrap_or(0);
        let deadline_ms = call.now_ms.saturating_add(wait);
        let now_ms = call.now_ms;
        let begun = match session_error(&call) {
            Some(code) => {
                state.fetch_sessions.forget(self.session_id);
                Err(code)
            }
            None => state.fetch_sessions.begin(call.broker, &self, by_id),
        };
        match begun {
            Err(code) => refused(&call, code),
            Ok(kind) => Box::new(WaitingFetch {
                request: self,
                kind,
                call,
                deadline_ms,
            })
            .attempt(state, now_ms),
        }
    }
}

/// The error that a fault wants the session to have.
fn session_error(call: &Call) -> Option<i16> {
    let wanted = call.faults.error_of_all()?;
    let codes = SESSION_ERRORS.iter().map(|error| error.code());
    codes.into_iter().find(|&code| code == wanted)
}

fn refused(call: &Call, error_code: i16) -> Outcome {
    call.answer::<FetchRequest>(&FetchResponse {
        throttle_time_ms: call.faults.throttle_time_ms(),
        error_code,
        ..Default::default()
    })
}

impl WaitingFetch {
    /// Answers, if there is enough, an error to tell, or no time left; else waits on. To be called
    /// whenever log, leader or time have changed.
    pub fn attempt(self: Box<Self>, state: &mut State, now_ms: u64) -> Outcome {
        let Some(asked) = state.fetch_sessions.asked(self.kind, &self.request) else {
            return refused(&self.call, ErrorCode::FetchSessionIdNotFound.code());
        };
        let mut reading = Reading::new(&self.request);
        let read: Vec<PartitionRead> = asked
            .into_iter()
            .map(|(topic, asked)| {
                let (data, parts) = reading.partition(state, &self.call, &topic, &asked);
                PartitionRead {
                    topic,
                    asked,
                    data,
                    parts,
                }
            })
            .collect();
        let min_bytes = usize::try_from(self.request.min_bytes).unwrap_or(0);
        let is_ready = reading.bytes >= min_bytes
            || reading.failed
            || read.is_empty()
            || self.deadline_ms <= now_ms;
        if !is_ready {
            return Outcome::Fetch(self);
        }
        let (session_id, read) = self.remember(state, read);
        self.call.answer::<FetchRequest>(&FetchResponse {
            throttle_time_ms: self.call.faults.throttle_time_ms(),
            error_code: ErrorCode::None.code(),
            session_id,
            responses: by_topic(read),
            ..Default::default()
        })
    }

    /// The session, and what the answer has of what was read.
    fn remember(
        &self,
        state: &mut State,
        mut read: Vec<PartitionRead>,
    ) -> (i32, Vec<PartitionRead>) {
        let most = state.config.max_fetch_sessions;
        let sessions = &mut state.fetch_sessions;
        let session_id = match self.kind {
            Kind::Sessionless => NO_SESSION,
            Kind::Opening => {
                let told = read.iter();
                let told = told.map(|p| (p.topic.clone(), p.asked.clone(), p.data.clone()));
                let by_id = self.call.version >= NAMES_BY_ID;
                sessions.open(self.call.broker, most, by_id, told)
            }
            Kind::Incremental(id) => {
                read.retain(|p| sessions.tells(id, &p.topic, &p.data, !p.parts.is_empty()));
                id
            }
        };
        (session_id, read)
    }
}

/// What was found in one partition; the records are joined only when the answer is made.
struct PartitionRead {
    topic: Topic,
    asked: FetchPartition,
    data: PartitionData,
    parts: Vec<Bytes>,
}

fn by_topic(read: Vec<PartitionRead>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for mut partition in read {
        partition.data.records = Some(join(partition.parts));
        let is_it = |t: &FetchableTopicResponse| partition.topic.is(&t.topic, &t.topic_id);
        let place = topics.iter().position(is_it);
        match place {
            Some(place) => topics[place].partitions.push(partition.data),
            None => topics.push(FetchableTopicResponse {
                topic: partition.topic.name,
                topic_id: partition.topic.id,
                partitions: vec![partition.data],
            }),
        }
    }
    topics
}

/// The state of one pass over the partitions of a Fetch.
struct Reading {
    /// What the request's `max_bytes` leaves.
    budget: usize,
    isolation: IsolationLevel,
    /// Bytes of records found.
    bytes: usize,
    /// Whether a partition has an error, which is told without waiting.
    failed: bool,
}

impl Reading {
    fn new(request: &FetchRequest) -> Self {
        Self {
            budget: usize::try_from(request.max_bytes).unwrap_or(0),
            isolation: IsolationLevel::from_code(request.isolation_level),
            bytes: 0,
            failed: false,
        }
    }

    fn partition(
        &mut self,
        state: &State,
        call: &Call,
        topic: &Topic,
        asked: &FetchPartition,
    ) -> (PartitionData, Vec<Bytes>) {
        match self.read(state, call, topic, asked) {
            Ok(found) => found,
            Err(error_code) => {
                self.failed = true;
                let data = PartitionData {
                    partition_index: asked.partition,
                    error_code,
                    high_watermark: -1,
                    last_stable_offset: -1,
                    log_start_offset: -1,
                    aborted_transactions: None,
                    ..Default::default()
                };
                (data, Vec::new())
            }
        }
    }

    fn read(
        &mut self,
        state: &State,
        call: &Call,
        topic: &Topic,
        asked: &FetchPartition,
    ) -> Result<(PartitionData, Vec<Bytes>), i16> {
        let index = asked.partition;
        let is_unknown = topic.is_by_id() && state.topic_name(&topic.id).is_none();
        let topic = &topic.name;
        if let Some(code) = call.faults.error_for(topic, Some(index)) {
            return Err(code);
        }
        if is_unknown {
            return Err(ErrorCode::UnknownTopicId.code());
        }
        let partition = state
            .partition_ref(topic, index)
            .map_err(|_| ErrorCode::UnknownTopicOrPartition.code())?;
        partition.check_leader(call.broker, asked.current_leader_epoch)?;
        let log = &partition.log;
        if let Some(diverging_epoch) = diverging(log, asked, partition.leader_epoch)? {
            self.failed = true;
            let data = PartitionData {
                partition_index: index,
                high_watermark: log.high_watermark(),
                last_stable_offset: log.last_stable_offset(),
                log_start_offset: log.start_offset(),
                diverging_epoch,
                ..Default::default()
            };
            return Ok((data, Vec::new()));
        }
        let limit = usize::try_from(asked.partition_max_bytes)
            .unwrap_or(0)
            .min(self.budget);
        // The first batch of an answer comes whole whatever the limits, or a client with small
        // ones would never get past it (KIP-74).
        let at_least_one = self.bytes == 0;
        let found = log
            .read(asked.fetch_offset, self.isolation, limit, at_least_one)
            .ok_or(ErrorCode::OffsetOutOfRange.code())?;
        let aborted_transactions = self.aborted(log, asked.fetch_offset, &found);
        let mut parts = found.parts;
        if call.faults.truncates(topic, index) {
            cut_last(&mut parts);
        }
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        self.bytes += bytes;
        self.budget = self.budget.saturating_sub(bytes);
        let data = PartitionData {
            partition_index: index,
            error_code: ErrorCode::None.code(),
            high_watermark: log.high_watermark(),
            last_stable_offset: log.last_stable_offset(),
            aborted_transactions,
            log_start_offset: log.start_offset(),
            ..Default::default()
        };
        Ok((data, parts))
    }

    /// What the reader has to leave out of what was found; nobody tells those who want all.
    fn aborted(
        &self,
        log: &PartitionLog,
        from: i64,
        found: &Found,
    ) -> Option<Vec<AbortedTransaction>> {
        if self.isolation == IsolationLevel::ReadUncommitted {
            return None;
        }
        let aborted = log.aborted_between(from, found.end_offset);
        let told = aborted.map(|aborted| AbortedTransaction {
            producer_id: aborted.producer_id,
            first_offset: aborted.first_offset,
        });
        Some(told.collect())
    }
}

/// Where the log that the client has read ends to be this one (KIP-595). Of an epoch that no leader has had yet nobody
/// can say: the answer is then that of an offset that does not exist.
fn diverging(
    log: &PartitionLog,
    asked: &FetchPartition,
    leader_epoch: i32,
) -> Result<Option<EpochEndOffset>, i16> {
    if asked.last_fetched_epoch == ANY_EPOCH {
        return Ok(None);
    }
    let (epoch, end_offset) = log.end_of_epoch(asked.last_fetched_epoch, leader_epoch);
    if epoch < 0 || end_offset < 0 {
        return Err(ErrorCode::OffsetOutOfRange.code());
    }
    let is_the_same = epoch >= asked.last_fetched_epoch && end_offset >= asked.fetch_offset;
    Ok((!is_the_same).then_some(EpochEndOffset { epoch, end_offset }))
}

/// Leaves about half of the last batch.
fn cut_last(parts: &mut [Bytes]) {
    if let Some(last) = parts.last_mut() {
        last.truncate(last.len() / 2);
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        joined.extend_from_slice(&part);
    }
    joined.freeze()
}
