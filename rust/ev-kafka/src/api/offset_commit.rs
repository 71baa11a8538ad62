//! `offset_commit`: storing a group's positions.

use std::time::Duration;

use bytes::Bytes;
use kafka_conn::VersionError;
use kafka_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use kafka_wire::{ApiKey, Message, Writer, NO_TOPIC_ID};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{
    check_connected, completion, completion_with, encode_at, send_encoded, version_by_ids, Encoded,
    NamesOf,
};
use super::result::{decode, shape, Read, Shaped};
use super::shapes::partition_outcomes;
use crate::arguments::{Arguments, TopicArgument};
use crate::conn::{Built, ConnHandle};

/// Kafka's word for the generation of a committer that is no member.
pub const NO_GENERATION: i32 = -1;
/// The version that stand-in brokers read without `retention_time_ms`.
const WITHOUT_RETENTION: i16 = 2;
/// The version whose definition is version 2 without that field.
const SAME_LAYOUT: i16 = 5;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::offset_commit",
    body: offset_commit,
}];

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
        false => encode_at(version(&handle, &request), |_| request.clone()),
    };
    let completion = match callback {
        None => completion::<OffsetCommitRequest>(None),
        Some(callback) => {
            let asked = partitions_of(&request);
            let topics = request.topics.iter();
            let names = NamesOf::topics(topics.map(|topic| (&topic.topic_id, &topic.name)));
            completion_with(
                &handle,
                ApiKey::OffsetCommit,
                callback,
                move |perl, answer| {
                    let (mut response, read) = decode::<OffsetCommitResponse>(answer);
                    for topic in &mut response.topics {
                        names.fill_in(&mut topic.name, &topic.topic_id);
                    }
                    result(perl, &asked, &response, read)
                },
            )
        }
    };
    let (perl, api) = (frame.perl(), ApiKey::OffsetCommit);
    send_encoded(perl, &handle, api, encoded, Duration::ZERO, completion)
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
        topic_id: argument.topic_id,
        partitions,
    })
}

fn version(handle: &ConnHandle, request: &OffsetCommitRequest) -> Result<i16, VersionError> {
    let mut topics = request.topics.iter();
    let has_ids = !request.topics.is_empty() && topics.all(|topic| topic.topic_id != NO_TOPIC_ID);
    version_by_ids(handle, ApiKey::OffsetCommit, has_ids)
}

/// Who stands in for a broker reads version 2 without `retention_time_ms`.
fn expects_no_retention(handle: &ConnHandle) -> bool {
    let version = handle.version(ApiKey::OffsetCommit);
    handle.is_stand_in() && version.is_ok_and(|version| version == WITHOUT_RETENTION)
}

fn encode_without_retention(request: &OffsetCommitRequest) -> Encoded {
    let mut body = Writer::new();
    request
        .encode(&mut body, SAME_LAYOUT)
        .map_err(|error| error.to_string())?;
    Ok((WITHOUT_RETENTION, body))
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

fn result(
    perl: Perl,
    asked: &[(Bytes, i32)],
    response: &OffsetCommitResponse,
    read: Read,
) -> Built {
    let mut built = shape(perl, response, read);
    if !read.truncated {
        built.result = all_answered(asked, response).and(built.result);
    }
    built
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

impl Shaped for OffsetCommitResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ topic, partitions => [{ partition, error_code }] }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(partition_outcomes(
            perl,
            &self.topics,
            |topic| (&topic.name, &topic.partitions),
            |partition| (partition.partition_index, partition.error_code),
            |_, _| (),
        ))
    }
}
