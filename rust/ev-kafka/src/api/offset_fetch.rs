//! `offset_fetch`: a group's stored positions.

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use kafka_wire::{ApiKey, NO_TOPIC_ID};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{
    check_connected, completion, completion_with, encode_at, send_encoded, version_by_ids, NamesOf,
};
use super::result::{decode, shape, Read, Shaped};
use super::shapes::{list, partition_outcome, store_optional, topics};
use crate::arguments::{options_and_callback, Arguments};
use crate::conn::ConnHandle;

/// The first version with an error code of its own, beside those of partitions.
const ERROR_FROM: i16 = 2;
/// The first version with lists: of groups asked for, and in the answer of one for each (KIP-709).
const LISTS_FROM: i16 = 8;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::offset_fetch",
    body: offset_fetch,
}];

/// `offset_fetch($group_id, \@topics, [\%opts,] $cb)`
fn offset_fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "offset_fetch");
    let group_id = args.string(1, "group_id")?;
    let topics = args
        .topics(2)?
        .into_iter()
        .map(|topic| {
            Ok(OffsetFetchRequestTopics {
                name: topic.topic,
                topic_id: topic.topic_id,
                partition_indexes: args.partitions(&topic.partitions)?,
            })
        })
        .collect::<Result<Vec<_>, Croak>>()?;
    let (options, callback) = options_and_callback(frame, 3, "offset_fetch")?;
    let require_stable = options.bool("require_stable")?;
    let handle = frame.object::<ConnHandle>()?;
    let names = NamesOf::topics(topics.iter().map(|topic| (&topic.topic_id, &topic.name)));
    let has_ids = topics.iter().all(|topic| topic.topic_id != NO_TOPIC_ID);
    let version = version_by_ids(&handle, ApiKey::OffsetFetch, has_ids);
    let encoded = encode_at(version, |version| {
        request(group_id, topics, require_stable, version)
    });
    let completion = match callback {
        None => completion::<OffsetFetchRequest>(None),
        Some(callback) => completion_with(
            &handle,
            ApiKey::OffsetFetch,
            callback,
            move |perl, answer| {
                let (mut response, read) = decode::<OffsetFetchResponse>(answer);
                for topic in response
                    .groups
                    .iter_mut()
                    .flat_map(|group| &mut group.topics)
                {
                    names.fill_in(&mut topic.name, &topic.topic_id);
                }
                shape(perl, &response, read)
            },
        ),
    };
    let (perl, api) = (frame.perl(), ApiKey::OffsetFetch);
    send_encoded(perl, &handle, api, encoded, Duration::ZERO, completion)
}

fn request(
    group_id: Bytes,
    topics: Vec<OffsetFetchRequestTopics>,
    require_stable: bool,
    version: i16,
) -> OffsetFetchRequest {
    let default = OffsetFetchRequest {
        require_stable,
        ..Default::default()
    };
    if version >= LISTS_FROM {
        let group = OffsetFetchRequestGroup {
            group_id,
            topics: Some(topics),
            ..Default::default()
        };
        return OffsetFetchRequest {
            groups: vec![group],
            ..default
        };
    }
    let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopic {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
    });
    OffsetFetchRequest {
        group_id,
        topics: Some(topics.collect()),
        ..default
    }
}

impl Shaped for OffsetFetchResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ error_code?, topics => [{ topic, partitions => [{ partition, error_code, offset, leader_epoch, metadata? }] }] }`.
    /// What newer versions say of the one group that was asked for has the shape of older ones.
    fn hash(&self, perl: Perl, read: Read) -> Result<Hv, String> {
        // The topics of both are of different types with the same fields.
        macro_rules! offsets {
            ($topics:expr) => {
                topics(
                    perl,
                    $topics,
                    |topic| &topic.name,
                    |topic| {
                        list(perl, &topic.partitions, |partition| {
                            fetched_offset(
                                perl,
                                partition.partition_index,
                                partition.committed_offset,
                                partition.committed_leader_epoch,
                                partition.metadata.as_deref(),
                                partition.error_code,
                            )
                        })
                    },
                )
            };
        }
        let group = self.groups.first();
        let (mut hash, error_code) = if read.version < LISTS_FROM {
            let told = read.version >= ERROR_FROM;
            (offsets!(&self.topics), told.then_some(self.error_code))
        } else if group.is_some() || read.truncated {
            let topics = group.into_iter().flat_map(|group| &group.topics);
            let error_code = group.map_or(0, |group| group.error_code);
            (offsets!(topics), Some(error_code))
        } else {
            return Err("OffsetFetch: the answer names no group".into());
        };
        if let Some(error_code) = error_code {
            hash.store_int(perl, "error_code", error_code.into());
        }
        Ok(hash)
    }
}

fn fetched_offset(
    perl: Perl,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&[u8]>,
    error_code: i16,
) -> Hv {
    let mut hash = partition_outcome(perl, partition, error_code);
    hash.store_int(perl, "offset", offset);
    hash.store_int(perl, "leader_epoch", leader_epoch.into());
    store_optional(perl, &mut hash, "metadata", metadata);
    hash
}
