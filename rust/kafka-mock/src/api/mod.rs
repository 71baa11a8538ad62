//! What brokers do with a request: one file per API, and the steps they have in common.

mod api_versions;
mod consumer_group_heartbeat;
mod create_topics;
mod delete_topics;
mod fetch;
mod find_coordinator;
mod group;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sasl;
mod share_acknowledge;
mod share_fetch;
mod share_group_heartbeat;
mod txn;
mod txn_offset_commit;

pub(crate) use fetch::WaitingFetch;
pub(crate) use group::WaitingMember;
pub(crate) use share_fetch::WaitingShareFetch;

use crate::access::{Need, Operation};
use crate::conn_id::ConnId;
use crate::fault::{ActiveFaults, Target};
use crate::login::Login;
use crate::state::State;
use bytes::{Bytes, BytesMut};
use kafka_wire::api::put_response_header;
use kafka_wire::messages as m;
use kafka_wire::{ApiKey, Message, Reader, Request, RequestHeader, Writer};
use std::ops::RangeInclusive;

/// The APIs a cluster answers, with the versions it speaks of each.
const SUPPORTED: [(ApiKey, RangeInclusive<i16>); 26] = [
    (ApiKey::Produce, 3..=13),
    (ApiKey::Fetch, 4..=18),
    (ApiKey::ListOffsets, 1..=11),
    (ApiKey::Metadata, 0..=13),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::ApiVersions, 0..=5),
    (ApiKey::CreateTopics, 0..=7),
    (ApiKey::DeleteTopics, 0..=6),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::OffsetForLeaderEpoch, 0..=4),
    (ApiKey::AddPartitionsToTxn, 0..=3),
    (ApiKey::AddOffsetsToTxn, 0..=4),
    (ApiKey::EndTxn, 0..=5),
    (ApiKey::TxnOffsetCommit, 0..=5),
    (ApiKey::OffsetCommit, 2..=10),
    (ApiKey::OffsetFetch, 1..=10),
    (ApiKey::JoinGroup, 0..=9),
    (ApiKey::SyncGroup, 0..=4),
    (ApiKey::Heartbeat, 0..=4),
    (ApiKey::LeaveGroup, 0..=5),
    (ApiKey::ConsumerGroupHeartbeat, 0..=1),
    (ApiKey::ShareGroupHeartbeat, 1..=1),
    (ApiKey::ShareFetch, 1..=2),
    (ApiKey::ShareAcknowledge, 1..=2),
    (ApiKey::SaslHandshake, 0..=1),
    (ApiKey::SaslAuthenticate, 0..=2),
];

/// API keys and versions that a broker advertises unless it is told otherwise.
pub(crate) fn supported() -> impl Iterator<Item = (i16, RangeInclusive<i16>)> + Clone {
    SUPPORTED
        .into_iter()
        .map(|(api, versions)| (api.key(), versions))
}

/// What becomes of one request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A whole answer frame, length prefix included.
    Answer(Bytes),
    NoAnswer,
    Close(String),
    /// A whole answer frame, behind which the connection is closed.
    LastAnswer(Bytes, String),
    /// Another outcome, behind which nothing is heard of the client for some milliseconds.
    Deaf {
        ms: u64,
        outcome: Box<Outcome>,
    },
    /// Another outcome, kept back.
    Delayed {
        until_ms: u64,
        outcome: Box<Outcome>,
    },
    /// Nothing, ever.
    Hang,
    /// A Fetch that waits for data.
    Fetch(Box<WaitingFetch>),
    /// A ShareFetch that waits for records.
    ShareFetch(Box<WaitingShareFetch>),
    /// A JoinGroup or SyncGroup that waits for other members.
    Member(Box<WaitingMember>),
}

/// Who asks: the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub conn: ConnId,
    /// Node id of the broker that it is connected to.
    pub broker: i32,
    pub login: Login,
}

/// The circumstances of a request, apart from its body.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Node id of the broker that was asked.
    pub broker: i32,
    /// The connection on which it was.
    pub conn: ConnId,
    /// As whom the connection is authenticated.
    pub user: Option<Bytes>,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Bytes>,
    pub faults: ActiveFaults,
    pub now_ms: u64,
}

/// A request that brokers know how to carry out.
pub(crate) trait Serve: Request {
    /// What the client must be allowed to do with the topics that the request is about.
    const TOPIC_OPERATION: Option<Operation> = None;

    /// What else it must be allowed.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    /// Topics and partitions that the request is about, for fault rules that name some.
    fn targets(&self, _cluster: &State) -> Vec<Target> {
        Vec::new()
    }

    fn serve(self, state: &mut State, call: Call) -> Outcome;
}

impl Call {
    /// Carries out a request whose answer has one error code for all of it, or gives the error of a fault
    /// instead, or after it.
    pub fn whole<T>(&self, run: impl FnOnce() -> Result<T, i16>) -> Result<T, i16> {
        match self.faults.error() {
            None => run(),
            Some(code) => {
                if self.faults.applied_with_error() {
                    // The fault's error hides whatever came of it.
                    let _ = run();
                }
                Err(code)
            }
        }
    }

    /// Carries out the part of a request that is about one partition, or gives the error of a fault instead, or
    /// after it.
    pub fn partition<T>(
        &self,
        topic: &[u8],
        partition: i32,
        run: impl FnOnce() -> Result<T, i16>,
    ) -> Result<T, i16> {
        match self.faults.error_for(topic, Some(partition)) {
            None => run(),
            Some(code) => {
                if self.faults.applies_to(topic, Some(partition)) {
                    let _ = run();
                }
                Err(code)
            }
        }
    }

    /// The outcome of a request that is answered at once.
    pub fn answer<R: Request>(&self, response: &R::Response) -> Outcome {
        match frame::<R>(response, self.version, self.correlation_id) {
            Ok(frame) => self.done(Outcome::Answer(frame)),
            Err(why) => Outcome::Close(why),
        }
    }

    /// The outcome of a request that was carried out and has no answer.
    pub fn unanswered(&self) -> Outcome {
        self.done(Outcome::NoAnswer)
    }

    fn done(&self, outcome: Outcome) -> Outcome {
        match self.faults.deaf_ms() {
            0 => outcome,
            ms => Outcome::Deaf {
                ms,
                outcome: Box::new(outcome),
            },
        }
    }
}

/// Carries out one request frame that came to a broker.
pub(crate) fn execute(state: &mut State, peer: &mut Peer, frame: Bytes, now_ms: u64) -> Outcome {
    if peer.login.expects_token() {
        return sasl::token(state, peer, &frame, now_ms);
    }
    let broker = peer.broker;
    let Some(head) = Head::peek(&frame) else {
        return Outcome::Close("request too short".into());
    };
    state.count_request(broker, head.api_key);
    let Some(api) = ApiKey::from_key(head.api_key) else {
        return Outcome::Close(format!("unknown API key {}", head.api_key));
    };
    if !head.is_accepted(state, broker) {
        if api == ApiKey::ApiVersions {
            return api_versions::unsupported_version(state, broker, head.correlation_id);
        }
        let (name, version) = (api.name(), head.version);
        return Outcome::Close(format!("{name} version {version} is not supported"));
    }
    if let Err(why) = sasl::check(state, peer, api, now_ms) {
        return Outcome::Close(why);
    }
    let from = &*peer;
    match api {
        ApiKey::SaslHandshake => sasl::handshake(state, peer, frame, now_ms),
        ApiKey::SaslAuthenticate => sasl::authenticate(state, peer, frame, now_ms),
        ApiKey::Produce => serve::<m::ProduceRequest>(state, from, frame, now_ms),
        ApiKey::Fetch => serve::<m::FetchRequest>(state, from, frame, now_ms),
        ApiKey::ListOffsets => serve::<m::ListOffsetsRequest>(state, from, frame, now_ms),
        ApiKey::Metadata => serve::<m::MetadataRequest>(state, from, frame, now_ms),
        ApiKey::FindCoordinator => serve::<m::FindCoordinatorRequest>(state, from, frame, now_ms),
        ApiKey::ApiVersions => serve::<m::ApiVersionsRequest>(state, from, frame, now_ms),
        ApiKey::CreateTopics => serve::<m::CreateTopicsRequest>(state, from, frame, now_ms),
        ApiKey::DeleteTopics => serve::<m::DeleteTopicsRequest>(state, from, frame, now_ms),
        ApiKey::InitProducerId => serve::<m::InitProducerIdRequest>(state, from, frame, now_ms),
        ApiKey::OffsetForLeaderEpoch => {
            serve::<m::OffsetForLeaderEpochRequest>(state, from, frame, now_ms)
        }
        ApiKey::AddPartitionsToTxn => {
            serve::<m::AddPartitionsToTxnRequest>(state, from, frame, now_ms)
        }
        ApiKey::AddOffsetsToTxn => serve::<m::AddOffsetsToTxnRequest>(state, from, frame, now_ms),
        ApiKey::EndTxn => serve::<m::EndTxnRequest>(state, from, frame, now_ms),
        ApiKey::TxnOffsetCommit => serve::<m::TxnOffsetCommitRequest>(state, from, frame, now_ms),
        ApiKey::OffsetCommit => serve::<m::OffsetCommitRequest>(state, from, frame, now_ms),
        ApiKey::OffsetFetch => serve::<m::OffsetFetchRequest>(state, from, frame, now_ms),
        ApiKey::JoinGroup => serve::<m::JoinGroupRequest>(state, from, frame, now_ms),
        ApiKey::SyncGroup => serve::<m::SyncGroupRequest>(state, from, frame, now_ms),
        ApiKey::Heartbeat => serve::<m::HeartbeatRequest>(state, from, frame, now_ms),
        ApiKey::LeaveGroup => serve::<m::LeaveGroupRequest>(state, from, frame, now_ms),
        ApiKey::ConsumerGroupHeartbeat => {
            serve::<m::ConsumerGroupHeartbeatRequest>(state, from, frame, now_ms)
        }
        ApiKey::ShareGroupHeartbeat => {
            serve::<m::ShareGroupHeartbeatRequest>(state, from, frame, now_ms)
        }
        ApiKey::ShareFetch => serve::<m::ShareFetchRequest>(state, from, frame, now_ms),
        ApiKey::ShareAcknowledge => serve::<m::ShareAcknowledgeRequest>(state, from, frame, now_ms),
        // Only where a program lets the broker say that it knows it.
        _ => Outcome::Close(format!("{} is not supported", api.name())),
    }
}

fn serve<R: Serve>(state: &mut State, from: &Peer, frame: Bytes, now_ms: u64) -> Outcome {
    let rules = |request: &R, state: &mut State| {
        let mut faults = ActiveFaults::default();
        if !(state.faults.is_empty() && state.access.is_open()) {
            let targets = request.targets(state);
            faults = state.faults.take(from.broker, R::API, &targets);
            let of_topics = (R::TOPIC_OPERATION, &targets[..]);
            let refusals = state
                .access
                .refusals(from.login.user(), request.needs(), of_topics);
            faults.refuse(refusals);
        }
        faults
    };
    match received::<R>(state, from, frame, now_ms, rules) {
        Ok((request, call)) => carry_out(state, R::API, call, |state, call| {
            request.serve(state, call)
        }),
        Err(why) => Outcome::Close(why),
    }
}

/// The request in a frame, and its circumstances, with the rules that apply to it.
fn received<R: Request>(
    state: &mut State,
    from: &Peer,
    frame: Bytes,
    now_ms: u64,
    rules: impl FnOnce(&R, &mut State) -> ActiveFaults,
) -> Result<(R, Call), String> {
    let (header, request) =
        parse::<R>(frame).map_err(|why| format!("malformed {} request: {why}", R::API.name()))?;
    let mut faults = rules(&request, state);
    faults.throttle(state.quotas.throttle_time_ms(&header.client_id, R::API));
    let call = Call {
        broker: from.broker,
        conn: from.conn,
        user: from.login.user().clone(),
        version: header.version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
        faults,
        now_ms,
    };
    Ok((request, call))
}

/// Carries out a request, or what faults make of it.
fn carry_out(
    state: &mut State,
    api: ApiKey,
    call: Call,
    run: impl FnOnce(&mut State, Call) -> Outcome,
) -> Outcome {
    let (faults, now_ms) = (call.faults.clone(), call.now_ms);
    let outcome = if !(faults.drops() || faults.hangs()) {
        run(state, call)
    } else {
        if faults.applied_unanswered() {
            run(state, call);
        }
        if faults.hangs() {
            return Outcome::Hang;
        }
        Outcome::Close(format!("{} dropped by a fault", api.name()))
    };
    match faults.delay_ms() {
        0 => outcome,
        delay => Outcome::Delayed {
            until_ms: now_ms.saturating_add(delay),
            outcome: Box::new(outcome),
        },
    }
}

fn parse<R: Request>(frame: Bytes) -> Result<(RequestHeader, R), String> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader).map_err(|e| e.to_string())?;
    let request = R::decode(&mut reader, header.version).map_err(|e| e.to_string())?;
    match reader.remaining() {
        0 => Ok((header, request)),
        // A broker would overlook them; for a client under test they are a bug.
        left => Err(format!("{left} bytes too many")),
    }
}

/// The answer frame: length, header and body.
fn frame<R: Request>(
    response: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Result<Bytes, String> {
    let mut writer = Writer::new();
    put_response_header(&mut writer, R::API, version, correlation_id);
    response
        .encode(&mut writer, version)
        .map_err(|e| format!("{} answer: {e}", R::API.name()))?;
    let length = i32::try_from(writer.len()).map_err(|_| "answer too long".to_string())?;
    let mut frame = BytesMut::with_capacity(4 + writer.len());
    frame.extend_from_slice(&length.to_be_bytes());
    for segment in writer.into_segments() {
        frame.extend_from_slice(&segment);
    }
    Ok(frame.freeze())
}

/// The part of a request header that is the same in every version.
struct Head {
    api_key: i16,
    version: i16,
    correlation_id: i32,
}

impl Head {
    fn peek(frame: &[u8]) -> Option<Self> {
        let &[a, b, c, d, e, f, g, h] = frame.first_chunk()?;
        Some(Self {
            api_key: i16::from_be_bytes([a, b]),
            version: i16::from_be_bytes([c, d]),
            correlation_id: i32::from_be_bytes([e, f, g, h]),
        })
    }

    /// Whether the broker advertises the version and the mock can speak it.
    fn is_accepted(&self, state: &State, broker: i32) -> bool {
        let advertised = state
            .broker(broker)
            .and_then(|b| b.versions.get(&self.api_key));
        advertised.is_some_and(|&(min, max)| (min..=max).contains(&self.version))
            && supported().any(|(key, range)| key == self.api_key && range.contains(&self.version))
    }
}
