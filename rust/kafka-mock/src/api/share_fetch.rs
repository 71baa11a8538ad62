//! ShareFetch (KIP-932): acquiring records, and waiting for them.

use super::share_acknowledge::{check_member, check_said, settle, targets, Said};
use super::{Call, Outcome, Serve};
use crate::access::{Need, Operation};
use crate::fault::Target;
use crate::shares::{Acquired, Opened, Place, CLOSES, OPENS};
use crate::state::State;
use bytes::{Bytes, BytesMut};
use kafka_wire::messages::share_fetch::{
    AcquiredRecords, LeaderIdAndEpoch, PartitionData, ShareFetchRequest, ShareFetchResponse,
    ShareFetchableTopicResponse,
};
use kafka_wire::ErrorCode;

/// KIP-1206's number of the mode in which no batch exceeds the limit.
const RECORD_LIMIT: i8 = 1;

/// A ShareFetch that has nothing to give so far.
#[derive(Debug)]
pub(crate) struct WaitingShareFetch {
    request: ShareFetchRequest,
    group: Bytes,
    member: Bytes,
    /// What came of what was said.
    settled: Vec<(Place, i16)>,
    call: Call,
    /// When it is answered whatever there is.
    pub deadline_ms: u64,
}

impl Serve for ShareFetchRequest {
    const TOPIC_OPERATION: Option<Operation> = Some(Operation::Read);

    fn needs(&self) -> Vec<Need> {
        let group = self.group_id.iter();
        group.map(|id| Need::group(id, Operation::Read)).collect()
    }

    /// What a session remembers is asked for by each of its requests.
    fn targets(&self, cluster: &State) -> Vec<Target> {
        let said = said(self);
        let sessions = cluster.shares.sessions.all();
        let own = sessions.filter(|session| {
            self.group_id.as_ref() == Some(&session.group)
                && self.member_id.as_ref() == Some(&session.member)
        });
        let remembered = own.flat_map(|session| session.partitions.iter().copied());
        targets(
            cluster,
            said.iter().map(|(place, _)| *place).chain(remembered),
        )
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome {
        if let Some(code) = call.faults.error_of_all() {
            let of = (&self.group_id, &self.member_id);
            state.forget_share_session_for(code, of, call.broker);
            return refused(&call, code);
        }
        let now_ms = call.now_ms;
        match begin(&self, state, &call) {
            Err(code) => refused(&call, code),
            Ok((group, member, settled)) => {
                let wait = u64::try_from(self.max_wait_ms).unwrap_or(0);
                Box::new(WaitingShareFetch {
                    deadline_ms: now_ms.saturating_add(wait),
                    request: self,
                    group,
                    member,
                    settled,
                    call,
                })
                .attempt(state, now_ms)
            }
        }
    }
}

fn refused(call: &Call, error_code: i16) -> Outcome {
    call.answer::<ShareFetchRequest>(&ShareFetchResponse {
        throttle_time_ms: call.faults.throttle_time_ms(),
        error_code,
        ..Default::default()
    })
}

fn said(request: &ShareFetchRequest) -> Said {
    let topics = request.topics.iter();
    topics
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| {
                let batches = partition.acknowledgement_batches.iter();
                let settling =
                    batches.map(|b| (b.first_offset, b.last_offset, b.acknowledge_types.clone()));
                (
                    (topic.topic_id, partition.partition_index),
                    settling.collect(),
                )
            })
        })
        .collect()
}

type Begun = (Bytes, Bytes, Vec<(Place, i16)>);

/// Opens the session, or goes on with it, and settles what is said.
fn begin(request: &ShareFetchRequest, state: &mut State, call: &Call) -> Result<Begun, i16> {
    let invalid = ErrorCode::InvalidRequest.code();
    let (group, member) = check_member(state, (&request.group_id, &request.member_id))?;
    let said = said(request);
    let epoch = request.share_session_epoch;
    check_said(&said, request.is_renew_ack)?;
    let limits = [
        request.max_bytes,
        request.min_bytes,
        request.max_records,
        request.max_wait_ms,
    ];
    if request.is_renew_ack && limits.iter().any(|&limit| limit != 0) {
        return Err(invalid);
    }
    let sessions = &mut state.shares.sessions;
    let opened = match epoch {
        OPENS if said.iter().any(|(_, settling)| !settling.is_empty()) => return Err(invalid),
        CLOSES if !said.is_empty() => return Err(invalid),
        OPENS => {
            sessions.open(&group, &member, call.broker, call.conn);
            Opened::Session
        }
        _ => sessions.go_on(&group, &member, call.broker, epoch)?,
    };
    let places: Vec<Place> = said.iter().map(|(place, _)| *place).collect();
    let settled = settle(state, call, (&group, &member), said);
    if opened == Opened::Closing {
        state.end_share_session(&group, &member, call.broker);
    }
    if let Some(session) = state.shares.sessions.get(&group, &member, call.broker) {
        places.into_iter().for_each(|place| session.add(place));
        for topic in &request.forgotten_topics_data {
            for &partition in &topic.partitions {
                session.forget((topic.topic_id, partition));
            }
        }
    }
    Ok((group, member, settled))
}

impl WaitingShareFetch {
    /// Answers, if there is anything, an error to tell, or no time left; else waits on. To be called whenever logs,
    /// leaders, locks or time have changed.
    pub fn attempt(self: Box<Self>, state: &mut State, now_ms: u64) -> Outcome {
        let sessions = &mut state.shares.sessions;
        let session = sessions.get(&self.group, &self.member, self.call.broker);
        let places = session.map_or(Vec::new(), |session| session.partitions.clone());
        let wants = self.request.max_bytes > 0 && self.request.max_records > 0;
        let mut answers: Vec<(Place, PartitionData)> = Vec::new();
        let mut left = usize::try_from(self.request.max_records).unwrap_or(0);
        for place in places.into_iter().filter(|_| wants) {
            let data = self.read(state, place, &mut left, now_ms);
            let data = data.unwrap_or_else(|error_code| PartitionData {
                error_code,
                current_leader: leader(state, place, error_code),
                ..Default::default()
            });
            if data.error_code != 0 || !data.acquired_records.is_empty() {
                answers.push((place, data));
            }
        }
        if answers.is_empty() && wants && self.deadline_ms > now_ms {
            return Outcome::ShareFetch(self);
        }
        self.tell_settled(&mut answers);
        let lock_ms = i32::try_from(state.config.share_lock_ms).unwrap_or(i32::MAX);
        let responses = answers.into_iter().map(|((topic_id, index), data)| {
            let partitions = vec![PartitionData {
                partition_index: index,
                ..data
            }];
            ShareFetchableTopicResponse {
                topic_id,
                partitions,
            }
        });
        self.call.answer::<ShareFetchRequest>(&ShareFetchResponse {
            throttle_time_ms: self.call.faults.throttle_time_ms(),
            acquisition_lock_timeout_ms: lock_ms,
            responses: responses.collect(),
            ..Default::default()
        })
    }

    fn tell_settled(&self, answers: &mut Vec<(Place, PartitionData)>) {
        for &(place, code) in &self.settled {
            match answers.iter_mut().find(|(known, _)| *known == place) {
                Some((_, data)) => data.acknowledge_error_code = code,
                None => answers.push((
                    place,
                    PartitionData {
                        acknowledge_error_code: code,
                        records: Some(Bytes::new()),
                        ..Default::default()
                    },
                )),
            }
        }
    }

    fn read(
        &self,
        state: &mut State,
        place: Place,
        left: &mut usize,
        now_ms: u64,
    ) -> Result<PartitionData, i16> {
        let topic = state.topic_name(&place.0).cloned();
        let topic = topic.ok_or(ErrorCode::UnknownTopicId.code())?;
        if let Some(code) = self.call.faults.error_for(&topic, Some(place.1)) {
            return Err(code);
        }
        let mut wish = crate::shares::Wish {
            member: &self.member,
            broker: self.call.broker,
            records: *left,
            is_strict: self.request.share_acquire_mode == RECORD_LIMIT,
            bytes: usize::try_from(self.request.max_bytes).unwrap_or(0),
            batch_size: usize::try_from(self.request.batch_size).unwrap_or(0),
            now_ms,
        };
        // Without a limit batches are whole.
        wish.batch_size = if wish.batch_size == 0 {
            usize::MAX
        } else {
            wish.batch_size
        };
        let (parts, acquired) = state.acquire_shared(&self.group, (&topic, place), &wish)?;
        let count: i64 = acquired
            .iter()
            .map(|(first, last, _)| last - first + 1)
            .sum();
        *left = left.saturating_sub(usize::try_from(count).unwrap_or(0));
        if let Some(session) =
            state
                .shares
                .sessions
                .get(&self.group, &self.member, self.call.broker)
        {
            if count > 0 {
                session.served(place);
            }
        }
        Ok(PartitionData {
            records: Some(join(&parts)),
            acquired_records: acquired.into_iter().map(acquired_records).collect(),
            ..Default::default()
        })
    }
}

fn leader(state: &State, place: Place, error_code: i16) -> LeaderIdAndEpoch {
    let (leader_id, leader_epoch) = state.leader_at(place, error_code);
    LeaderIdAndEpoch {
        leader_id,
        leader_epoch,
    }
}

fn acquired_records((first_offset, last_offset, delivery_count): Acquired) -> AcquiredRecords {
    AcquiredRecords {
        first_offset,
        last_offset,
        delivery_count,
    }
}

fn join(parts: &[Bytes]) -> Bytes {
    let mut joined = BytesMut::new();
    for part in parts {
        joined.extend_from_slice(part);
    }
    joined.freeze()
}
