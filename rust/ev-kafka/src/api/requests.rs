//! The request methods of EV::Kafka::Conn.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use kafka_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use kafka_wire::messages::find_coordinator::FindCoordinatorRequest;
use kafka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use kafka_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_wire::{ApiKey, Codec};
use perl_xs::{Arg, Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::fetch;
use super::records::{self, NewRecord};
use super::request::{check_connected, completion};
use super::single;
use crate::arguments::{options_and_callback, Arguments, Options};
use crate::conn::{call_back, ConnHandle};

/// How long a broker may wait for replicas before it answers a Produce, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
/// How long a broker may take to look offsets up in remote storage (KIP-1075), in milliseconds.
const LIST_OFFSETS_TIMEOUT_MS: i32 = 30_000;
/// Kafka's word for a client in the field where a replica names itself.
const CLIENT_REPLICA_ID: i32 = -1;
/// The leader epoch of a client that knows none (KIP-320).
const NO_LEADER_EPOCH: i32 = -1;
/// The first Produce version that may carry zstd (KIP-110).
const ZSTD_PRODUCE_VERSION: i16 = 7;
/// The first Metadata version in which null, not an empty list, asks for all topics.
const METADATA_NULL_FOR_ALL: i16 = 1;
/// The first Metadata version that says whether topics may be created (KIP-204).
const METADATA_SAYS_WHETHER_TO_CREATE: i16 = 4;
/// The first FindCoordinator version with a list of keys (KIP-699).
const FIND_COORDINATOR_LISTS_FROM: i16 = 4;
/// The first DeleteTopics version in which topics are more than names (KIP-516).
const DELETE_TOPICS_STATES_FROM: i16 = 6;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::metadata",
        body: metadata,
    },
    XsubDef {
        name: "EV::Kafka::Conn::produce",
        body: produce,
    },
    XsubDef {
        name: "EV::Kafka::Conn::produce_batch",
        body: produce_batch,
    },
    XsubDef {
        name: "EV::Kafka::Conn::fetch",
        body: fetch::fetch,
    },
    XsubDef {
        name: "EV::Kafka::Conn::fetch_multi",
        body: fetch::fetch_multi,
    },
    XsubDef {
        name: "EV::Kafka::Conn::list_offsets",
        body: list_offsets,
    },
    XsubDef {
        name: "EV::Kafka::Conn::find_coordinator",
        body: find_coordinator,
    },
    XsubDef {
        name: "EV::Kafka::Conn::create_topics",
        body: create_topics,
    },
    XsubDef {
        name: "EV::Kafka::Conn::delete_topics",
        body: delete_topics,
    },
];

/// Milliseconds of a request's own timeout as time to wait for its answer.
pub fn server_wait(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0) as u64)
}

/// The version for an API, before its request is put together. Where there is none in common the
/// request is not sent, whatever it says; so the lowest will do to find that out.
pub(super) fn version_or_lowest(handle: &ConnHandle, api: ApiKey) -> i16 {
    handle.version(api).unwrap_or(*api.versions().start())
}

/// `metadata(\@topics | undef, $cb, [\%opts])`
fn metadata(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let (request, callback, handle) = metadata_request(frame, "metadata")?;
    handle.request(frame.perl(), &request, Duration::ZERO, completion(callback))
}

/// The request for the topics and with the options that `$conn->METHOD(\@topics | undef, $cb, [\%opts])` was given.
pub(super) fn metadata_request(
    frame: &Frame<'_>,
    method: &'static str,
) -> Result<(MetadataRequest, Option<Sv>, Rc<ConnHandle>), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, method);
    let names = args.nullable_names(1, "topic")?;
    let callback = args.callback(2)?;
    let (options, _) = options_and_callback(frame, 3, method)?;
    let may_create = options.int("allow_auto_topic_creation", 1_i64)? != 0;
    let handle = frame.object::<ConnHandle>()?;
    let version = version_or_lowest(&handle, ApiKey::Metadata);
    let all_is_null = version >= METADATA_NULL_FOR_ALL;
    let topics = names
        .or(if all_is_null { None } else { Some(Vec::new()) })
        .map(|names| {
            let topic = |name| MetadataRequestTopic {
                name: Some(name),
                ..Default::default()
            };
            names.into_iter().map(topic).collect()
        });
    let request = MetadataRequest {
        topics,
        // Brokers that cannot be told create what they like.
        allow_auto_topic_creation: may_create || version < METADATA_SAYS_WHETHER_TO_CREATE,
        ..Default::default()
    };
    Ok((request, callback, handle))
}

/// `list_offsets($topic, $partition, $timestamp, $cb, [\%opts])`
fn list_offsets(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "list_offsets");
    let name = args.string(1, "topic")?;
    let partition_index = args.int(2, "partition", 0)?;
    let timestamp = args.int(3, "timestamp", 0)?;
    let callback = args.callback(4)?;
    let (options, _) = options_and_callback(frame, 5, "list_offsets")?;
    let partition = ListOffsetsPartition {
        partition_index,
        timestamp,
        current_leader_epoch: options.int("leader_epoch", NO_LEADER_EPOCH)?,
    };
    let request = ListOffsetsRequest {
        replica_id: CLIENT_REPLICA_ID,
        isolation_level: i8::from(options.int("isolation_level", 0_i64)? != 0),
        topics: vec![ListOffsetsTopic {
            name,
            partitions: vec![partition],
        }],
        timeout_ms: LIST_OFFSETS_TIMEOUT_MS,
    };
    let handle = frame.object::<ConnHandle>()?;
    handle.request(frame.perl(), &request, Duration::ZERO, completion(callback))
}

/// `find_coordinator($key, $cb, [$key_type])`
fn find_coordinator(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "find_coordinator");
    let key = args.string(1, "key")?;
    let callback = args.callback(2)?;
    let key_type = args.int(3, "key_type", 0)?;
    let handle = frame.object::<ConnHandle>()?;
    let request =
        match version_or_lowest(&handle, ApiKey::FindCoordinator) >= FIND_COORDINATOR_LISTS_FROM {
            true => FindCoordinatorRequest {
                coordinator_keys: vec![key],
                key_type,
                ..Default::default()
            },
            false => FindCoordinatorRequest {
                key,
                key_type,
                ..Default::default()
            },
        };
    handle.request(frame.perl(), &request, Duration::ZERO, completion(callback))
}

/// `create_topics(\@topics, $timeout_ms, $cb)`
fn create_topics(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "create_topics");
    let topics = args
        .array(1)?
        .iter()
        .map(|element| creatable_topic(&args, element))
        .collect::<Result<_, _>>()?;
    let timeout_ms = args.int(2, "timeout_ms", 0)?;
    let callback = args.callback(3)?;
    let request = CreateTopicsRequest {
        topics,
        timeout_ms,
        ..Default::default()
    };
    let handle = frame.object::<ConnHandle>()?;
    let wait = server_wait(timeout_ms);
    handle.request(frame.perl(), &request, wait, completion(callback))
}

fn creatable_topic(args: &Arguments<'_, '_>, element: &Sv) -> Result<CreatableTopic, Croak> {
    let topic = args.hash(element, "topic must be a hashref")?;
    Ok(CreatableTopic {
        name: topic.string("name")?.unwrap_or_default(),
        num_partitions: topic.int("num_partitions", 1)?,
        replication_factor: topic.int("replication_factor", 1)?,
        ..Default::default()
    })
}

/// `delete_topics(\@names, $timeout_ms, $cb)`
fn delete_topics(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "delete_topics");
    let names = args.names(1, "name")?;
    let timeout_ms = args.int(2, "timeout_ms", 0)?;
    let callback = args.callback(3)?;
    let handle = frame.object::<ConnHandle>()?;
    let mut request = DeleteTopicsRequest {
        timeout_ms,
        ..Default::default()
    };
    if version_or_lowest(&handle, ApiKey::DeleteTopics) >= DELETE_TOPICS_STATES_FROM {
        let state = |name| DeleteTopicState {
            name: Some(name),
            ..Default::default()
        };
        request.topics = names.into_iter().map(state).collect();
    } else {
        request.topic_names = names;
    }
    let wait = server_wait(timeout_ms);
    handle.request(frame.perl(), &request, wait, completion(callback))
}

/// `produce($topic, $partition, $key, $value, [\%opts,] [$cb])`
fn produce(frame: &mut Frame<'_>) -> Result<(), Croak> {
    const METHOD: &str = "produce";
    check_connected(frame)?;
    if single::produce(frame, PRODUCE_TIMEOUT_MS) {
        return Ok(());
    }
    let args = Arguments::new(frame, METHOD);
    let now = records::now_ms();
    let topic = args.string(1, "topic")?;
    let partition = args.int(2, "partition", 0)?;
    let strings = frame.object::<ConnHandle>()?.strings();
    let key = args.encoded(3, "key", strings)?;
    let value = args.encoded(4, "value", strings)?;
    let (options, callback) = options_and_callback(frame, 5, METHOD)?;
    let record = NewRecord {
        timestamp: options.int("timestamp", now)?,
        key,
        value,
        headers: records::headers(args.values(), options.value("headers")?.as_ref(), strings)?,
    };
    send_records(frame, topic, partition, &[record], &options, callback)
}

/// `produce_batch($topic, $partition, \@records, [\%opts,] [$cb])`
fn produce_batch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    const METHOD: &str = "produce_batch";
    check_connected(frame)?;
    let args = Arguments::new(frame, METHOD);
    let now = records::now_ms();
    let topic = args.string(1, "topic")?;
    let partition = args.int(2, "partition", 0)?;
    let strings = frame.object::<ConnHandle>()?.strings();
    let elements = frame.value(3)?;
    let (options, callback) = options_and_callback(frame, 4, METHOD)?;
    let timestamp = options.int("timestamp", now)?;
    let records = records::records(args.values(), elements.as_ref(), timestamp, strings)?;
    send_records(frame, topic, partition, &records, &options, callback)
}

fn send_records(
    frame: &Frame<'_>,
    topic: Bytes,
    partition: i32,
    records: &[NewRecord],
    options: &Options,
    callback: Option<Sv>,
) -> Result<(), Croak> {
    let perl = frame.perl();
    let acks = options.int("acks", 1)?;
    let transactional_id = options.string("transactional_id")?;
    let seal = records::seal_options(options, transactional_id.is_some())?;
    let batch = records::encode(records, seal).map_err(|error| options.error(error))?;
    let data = PartitionProduceData {
        index: partition,
        records: Some(batch),
    };
    let request = ProduceRequest {
        transactional_id,
        acks,
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: topic,
            partition_data: vec![data],
            ..Default::default()
        }],
    };
    let handle = frame.object::<ConnHandle>()?;
    if seal.codec == Codec::Zstd
        && version_or_lowest(&handle, ApiKey::Produce) < ZSTD_PRODUCE_VERSION
    {
        let reason = format!(
            "zstd compression needs Produce version {ZSTD_PRODUCE_VERSION}, which the broker lacks"
        );
        return handle.fail(perl, completion(callback), reason).ok();
    }
    match acks {
        0 => send_unanswered(perl, &handle, &request, callback),
        _ => handle.request(
            perl,
            &request,
            server_wait(PRODUCE_TIMEOUT_MS),
            completion(callback),
        ),
    }
}

/// What the callbacks of a connection get that the broker has closed.
const CLOSED_BY_BROKER: &str = "connection closed by broker";

/// With acks 0 the broker never answers: what was handed to the socket counts as done.
fn send_unanswered(
    perl: Perl,
    handle: &Rc<ConnHandle>,
    request: &ProduceRequest,
    callback: Option<Sv>,
) -> Result<(), Croak> {
    let sent = handle.encode(request).and_then(|(version, body)| {
        if handle.has_ended() {
            return Err(CLOSED_BY_BROKER.into());
        }
        handle
            .send_oneway(ApiKey::Produce, version, body)
            .map_err(|error| error.to_string())
    });
    match (sent, callback) {
        (Err(reason), callback) => handle.fail(perl, completion(callback), reason).ok(),
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(callback)) => handle
            .call_at_once(perl, move |perl| {
                let result = Hv::new(perl).into_ref(perl);
                call_back(perl, &callback, &[Arg::Sv(&result), Arg::Undef])
            })
            .ok(),
    }
}
