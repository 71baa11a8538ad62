//! Fetch: reading record batches, and waiting for them.

use super::{Call, Outcome, Serve};
use crate::fault::Target;
use crate::log::{Found, IsolationLevel, PartitionLog};
use crate::state::State;
use bytes::{Bytes, BytesMut};
use kafka_wire::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, PartitionData,
};
use kafka_wire::ErrorCode;

/// Session id of a full fetch that opens no session (KIP-227).
const NO_SESSION: i32 = 0;
/// `last_fetched_epoch` of a client that does not check it (KIP-595).
const ANY_EPOCH: i32 = -1;

/// A Fetch that has less than `min_bytes` to give so far.
#[derive(Debug)]
pub(crate) struct WaitingFetch {
    request: FetchRequest,
    call: Call,
    /// When it is answered whatever there is.
    pub deadline_ms: u64,
}

impl Serve for FetchRequest {
    fn targets(&self, _cluster: &State) -> Vec<Target> {
        let of_topic = |topic: &FetchTopic| {
            let name = topic.topic.clone();
            let indexes: Vec<i32> = topic.partitions.iter().map(|p| p.partition).collect();
            indexes.into_iter().map(move |index| Target {
                topic: name.clone(),
                partition: Some(index),
            })
        };
        self.topics.iter().flat_map(of_topic).collect()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        if self.session_id != NO_SESSION {
            return call.answer::<Self>(&FetchResponse {
                throttle_time_ms: call.faults.throttle_time_ms(),
                error_code: ErrorCode::FetchSessionIdNotFound.code(),
                ..Default::default()
            });
        }
        let wait = u64::try_from(self.max_wait_ms).unwrap_or(0);
        let deadline_ms = call.now_ms.saturating_add(wait);
        let now_ms = call.now_ms;
        Box::new(WaitingFetch {
            request: self,
            call,
            deadline_ms,
        })
        .attempt(state, now_ms)
    }
}

impl WaitingFetch {
    /// Answers, if there is enough, an error to tell, or no time left; else waits on. To be called
    /// whenever log, leader or time have changed.
    pub fn attempt(self: Box<Self>, state: &State, now_ms: u64) -> Outcome {
        let mut reading = Reading::new(&self.request);
        let topics: Vec<TopicRead> = self
            .request
            .topics
            .iter()
            .map(|topic| reading.topic(state, &self.call, topic))
            .collect();
        let min_bytes = usize::try_from(self.request.min_bytes).unwrap_or(0);
        let is_ready = reading.bytes >= min_bytes
            || reading.failed
            || topics.is_empty()
            || self.deadline_ms <= now_ms;
        if !is_ready {
            return Outcome::Fetch(self);
        }
        self.call.answer::<FetchRequest>(&FetchResponse {
            throttle_time_ms: self.call.faults.throttle_time_ms(),
            error_code: ErrorCode::None.code(),
            session_id: NO_SESSION,
            responses: topics.into_iter().map(TopicRead::into_response).collect(),
            ..Default::default()
        })
    }
}

/// What was found for one topic; the records are joined only when the answer is made.
struct TopicRead {
    topic: Bytes,
    partitions: Vec<(PartitionData, Vec<Bytes>)>,
}

impl TopicRead {
    fn into_response(self) -> FetchableTopicResponse {
        let joined = self.partitions.into_iter().map(|(mut data, parts)| {
            data.records = Some(join(parts));
            data
        });
        FetchableTopicResponse {
            topic: self.topic,
            partitions: joined.collect(),
            ..Default::default()
        }
    }
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

    fn topic(&mut self, state: &State, call: &Call, topic: &FetchTopic) -> TopicRead {
        let read = |asked| self.partition(state, call, &topic.topic, asked);
        TopicRead {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().map(read).collect(),
        }
    }

    fn partition(
        &mut self,
        state: &State,
        call: &Call,
        topic: &Bytes,
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
        topic: &Bytes,
        asked: &FetchPartition,
    ) -> Result<(PartitionData, Vec<Bytes>), i16> {
        let index = asked.partition;
        if let Some(code) = call.faults.error_for(topic, Some(index)) {
            return Err(code);
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
