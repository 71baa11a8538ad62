//! `metadata`: brokers, topics, and who leads their partitions.

use std::time::Duration;

use kafka_wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponsePartition,
    MetadataResponseTopic,
};
use kafka_wire::{ApiKey, NO_TOPIC_ID};
use perl_xs::{Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::request::{check_connected, send, version_or_lowest};
use super::result::{Read, Shaped};
use super::shapes::{ints, list, outcome, partition_outcome, store_optional};
use crate::arguments::{options_and_callback, Arguments};
use crate::conn::ConnHandle;

/// The first version in which null, not an empty list, asks for all topics.
const NULL_FOR_ALL: i16 = 1;
/// The first version that says whether topics may be created (KIP-204).
const SAYS_WHETHER_TO_CREATE: i16 = 4;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::metadata",
    body: metadata,
}];

/// `metadata(\@topics | undef, $cb, [\%opts])`
fn metadata(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let (request, callback) = request(frame, "metadata")?;
    send(frame, &request, Duration::ZERO, callback)
}

/// The request for the topics and with the options that `$conn->METHOD(\@topics | undef, $cb, [\%opts])` was given.
pub fn request(
    frame: &Frame<'_>,
    method: &'static str,
) -> Result<(MetadataRequest, Option<Sv>), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, method);
    let names = args.nullable_names(1, "topic")?;
    let callback = args.callback(2)?;
    let (options, _) = options_and_callback(frame, 3, method)?;
    let may_create = options.int("allow_auto_topic_creation", 1_i64)? != 0;
    let handle = frame.object::<ConnHandle>()?;
    let version = version_or_lowest(&handle, ApiKey::Metadata);
    let all_is_null = version >= NULL_FOR_ALL;
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
        allow_auto_topic_creation: may_create || version < SAYS_WHETHER_TO_CREATE,
        ..Default::default()
    };
    Ok((request, callback))
}

impl Shaped for MetadataResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// What [`head`] has, and `topics => [...]`, each as [`topic`].
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let mut hash = head(perl, self);
        let topics = list(perl, &self.topics, |described| topic(perl, described));
        hash.store(perl, "topics", topics);
        Ok(hash)
    }
}

/// What it says of the cluster and its brokers.
pub fn head(perl: Perl, response: &MetadataResponse) -> Hv {
    let brokers = list(perl, &response.brokers, |broker| {
        let mut hash = Hv::new(perl);
        hash.store_int(perl, "node_id", broker.node_id.into());
        hash.store_bytes(perl, "host", &broker.host);
        hash.store_int(perl, "port", broker.port.into());
        store_optional(perl, &mut hash, "rack", broker.rack.as_deref());
        hash
    });
    let mut hash = outcome(perl, response.error_code);
    hash.store_int(perl, "controller_id", response.controller_id.into());
    let cluster_id = response.cluster_id.as_deref();
    store_optional(perl, &mut hash, "cluster_id", cluster_id);
    hash.store(perl, "brokers", brokers);
    hash
}

/// A topic and its partitions.
pub fn topic(perl: Perl, topic: &MetadataResponseTopic) -> Hv {
    let name = topic.name.as_deref();
    let mut hash = outcome(perl, topic.error_code);
    hash.store(perl, "name", Sv::bytes_or_undef(perl, name));
    hash.store_int(perl, "is_internal", topic.is_internal.into());
    if topic.topic_id != NO_TOPIC_ID {
        hash.store_bytes(perl, "topic_id", &topic.topic_id);
    }
    let partition = |partition: &MetadataResponsePartition| {
        let mut hash = partition_outcome(perl, partition.partition_index, partition.error_code);
        hash.store_int(perl, "leader", partition.leader_id.into());
        hash.store_int(perl, "leader_epoch", partition.leader_epoch.into());
        hash.store(perl, "replicas", ints(perl, &partition.replica_nodes));
        hash.store(perl, "isr", ints(perl, &partition.isr_nodes));
        hash
    };
    hash.store(perl, "partitions", list(perl, &topic.partitions, partition));
    hash
}
