//! A group's positions: `offset_commit` and `offset_fetch`.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use kafka_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_wire::{ApiKey, Message, Writer};
use perl_xs::{Arg, Croak, Flow, Frame, Perl, Sv, XsubDef};

use super::request::{check_connected, completion};
use super::requests::version_or_lowest;
use super::results;
use crate::arguments::{options_and_callback, Arguments, TopicArgument};
use crate::conn::{call_back, Answer, Completion, ConnHandle, Failure};

/// Kafka's word for the generation of a committer that is no member.
pub(super) const NO_GENERATION: i32 = -1;
/// The first OffsetFetch version with a list of groups (KIP-709).
const OFFSET_FETCH_LISTS_FROM: i16 = 8;
/// The OffsetCommit version that stand-in brokers read without `retention_time_ms`.
const OFFSET_COMMIT_WITHOUT_RETENTION: i16 = 2;
/// The OffsetCommit version whose definition is version 2 without that field.
const OFFSET_COMMIT_SAME_LAYOUT: i16 = 5;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::offset_commit",
        body: offset_commit,
    },
    XsubDef {
        name: "EV::Kafka::Conn::offset_fetch",
        body: offset_fetch,
    },
];

/// `offset_commit($group_id, $generation_id, $member_id, \@offsets, $cb, [$group_instance_id])`
fn offset_commit(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "offset_commit");
    let request = OffsetCommitRequest {
        group_id: args.string(1, "group_id")?,
        generation_id_or_member_epoch: args.int(2, "generation_id", NO_GENERATION)?,
        member_id: args.string(3, "member_id")?,
        topics: args
            .topics(4)?
            .into_iter()
            .map(|topic| commit_topic(&args, topic))
            .collect::<Result<_, _>>()?,
        group_instance_id: args.nullable_string(6, "group_instance_id")?,
        ..Default::default()
    };
    let callback = args.callback(5)?;
    let handle = frame.object::<ConnHandle>()?;
    let encoded = match expects_no_retention(&handle) {
        true => encode_without_retention(&request),
        false => handle.encode(&request),
    };
    let asked = partitions_of(&request);
    let weak = Rc::downgrade(&handle);
    let completion = Completion::Native(Box::new(move |perl, outcome| {
        let outcome = outcome.map_err(Failure::into_reason).and_then(|answer| {
            let (response, truncated) = results::decode::<OffsetCommitResponse>(&answer);
            if let Some(handle) = weak.upgrade() {
                handle.throttle(answer.api, answer.version, response.throttle_time_ms);
            }
            match truncated {
                true => Ok(answer),
                false => all_answered(&asked, &response).map(|()| answer),
            }
        });
        deliver(perl, callback, outcome)
    }));
    let api = ApiKey::OffsetCommit;
    handle.send_encoded(frame.perl(), api, encoded, Duration::ZERO, completion)
}

fn commit_topic(
    args: &Arguments<'_, '_>,
    argument: TopicArgument,
) -> Result<OffsetCommitRequestTopic, Croak> {
    let partitions = args
        .offsets(&argument.partitions)?
        .into_iter()
        .map(|entry| OffsetCommitRequestPartition {
            partition_index: entry.partition,
            committed_offset: entry.offset,
            committed_leader_epoch: entry.leader_epoch,
            committed_metadata: Some(entry.metadata),
        })
        .collect();
    Ok(OffsetCommitRequestTopic {
        name: argument.topic,
        partitions,
        ..Default::default()
    })
}

/// Version 2 is spoken only to a broker that advertises nothing newer, or nothing at all. Such are
/// made to stand in for real ones, and read it without `retention_time_ms`.
fn expects_no_retention(handle: &ConnHandle) -> bool {
    let version = handle.version(ApiKey::OffsetCommit);
    version.is_ok_and(|version| version == OFFSET_COMMIT_WITHOUT_RETENTION)
}

fn encode_without_retention(request: &OffsetCommitRequest) -> Result<(i16, Writer), String> {
    let mut body = Writer::new();
    request
        .encode(&mut body, OFFSET_COMMIT_SAME_LAYOUT)
        .map_err(|error| error.to_string())?;
    Ok((OFFSET_COMMIT_WITHOUT_RETENTION, body))
}

fn partitions_of(request: &OffsetCommitRequest) -> Vec<(Bytes, i32)> {
    request
        .topics
        .iter()
        .flat_map(|topic| {
            let numbers = topic.partitions.iter().map(|entry| entry.partition_index);
            numbers.map(|number| (topic.name.clone(), number))
        })
        .collect()
}

/// A broker that read less than was sent answers without an error, but also without what it did
/// not read: nothing was stored for that.
fn all_answered(asked: &[(Bytes, i32)], response: &OffsetCommitResponse) -> Result<(), String> {
    let is_answered = |(name, number): &&(Bytes, i32)| {
        let mut topics = response.topics.iter().filter(|topic| topic.name == *name);
        topics.any(|topic| {
            let mut partitions = topic.partitions.iter();
            partitions.any(|partition| partition.partition_index == *number)
        })
    };
    match asked.iter().find(|partition| !is_answered(partition)) {
        None => Ok(()),
        Some((name, number)) => Err(format!(
            "OffsetCommit: the answer lacks partition {number} of topic {}",
            String::from_utf8_lossy(name)
        )),
    }
}

fn deliver(perl: Perl, callback: Option<Sv>, outcome: Result<Answer, String>) -> Flow {
    let Some(callback) = callback else {
        return Flow::Continue;
    };
    let result = outcome.and_then(|answer| results::build(perl, &answer).result);
    match result {
        Ok(result) => call_back(perl, &callback, &[Arg::Sv(&result), Arg::Undef]),
        Err(reason) => call_back(
            perl,
            &callback,
            &[Arg::Undef, Arg::Bytes(reason.as_bytes())],
        ),
    }
}

/// `offset_fetch($group_id, \@topics, [\%opts,] $cb)`
fn offset_fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "offset_fetch");
    let perl = frame.perl();
    let group_id = args.string(1, "group_id")?;
    let topics = args
        .topics(2)?
        .into_iter()
        .map(|topic| Ok((topic.topic, args.partitions(&topic.partitions)?)))
        .collect::<Result<Vec<_>, Croak>>()?;
    let (options, callback) = options_and_callback(frame, 3, "offset_fetch")?;
    let require_stable = options.bool("require_stable")?;
    let handle = frame.object::<ConnHandle>()?;
    let mut request = OffsetFetchRequest {
        require_stable,
        ..Default::default()
    };
    if version_or_lowest(&handle, ApiKey::OffsetFetch) >= OFFSET_FETCH_LISTS_FROM {
        request.groups.push(group(group_id, topics));
    } else {
        request.group_id = group_id;
        request.topics = Some(
            topics
                .into_iter()
                .map(|(name, partition_indexes)| OffsetFetchRequestTopic {
                    name,
                    partition_indexes,
                })
                .collect(),
        );
    }
    handle.request(perl, &request, Duration::ZERO, completion(callback))
}

fn group(group_id: Bytes, topics: Vec<(Bytes, Vec<i32>)>) -> OffsetFetchRequestGroup {
    let topic = |(name, partition_indexes)| OffsetFetchRequestTopics {
        name,
        partition_indexes,
        ..Default::default()
    };
    OffsetFetchRequestGroup {
        group_id,
        topics: Some(topics.into_iter().map(topic).collect()),
        ..Default::default()
    }
}
