//! Tagged fields that the other codec sets must not get lost in ours: one that was forgotten in a declaration
//! would be skipped in silence.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as theirs, BrokerId};
use kafka_protocol::protocol::{Encodable, StrBytes};
use kafka_wire::{messages as ours, Message, Reader, Writer};

fn assert_kept<M: Message>(message: impl Encodable, version: i16) {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("they write it");
    let bytes = bytes.freeze();
    let mut reader = Reader::new(bytes.clone());
    let decoded = M::decode(&mut reader, version).expect("we read it");
    assert!(reader.is_empty());
    let mut writer = Writer::new();
    decoded.encode(&mut writer, version).expect("we write it");
    assert_eq!(writer.into_bytes(), bytes);
}

#[test]
fn of_api_versions() {
    use theirs::api_versions_response::*;
    let name = || StrBytes::from_static_str("metadata.version");
    let supported = SupportedFeatureKey::default()
        .with_name(name())
        .with_min_version(1)
        .with_max_version(27);
    let finalized = FinalizedFeatureKey::default()
        .with_name(name())
        .with_min_version_level(2)
        .with_max_version_level(3);
    let response = theirs::ApiVersionsResponse::default()
        .with_supported_features(vec![supported])
        .with_finalized_features_epoch(12)
        .with_finalized_features(vec![finalized])
        .with_zk_migration_ready(true);
    for version in [3, 4] {
        assert_kept::<ours::ApiVersionsResponse>(response.clone(), version);
    }
}

#[test]
fn of_produce() {
    use theirs::produce_response::*;
    let leader = LeaderIdAndEpoch::default()
        .with_leader_id(BrokerId(2))
        .with_leader_epoch(9);
    let partition = PartitionProduceResponse::default()
        .with_error_code(6)
        .with_current_leader(leader);
    let topic = TopicProduceResponse::default().with_partition_responses(vec![partition]);
    let endpoint = NodeEndpoint::default()
        .with_node_id(BrokerId(2))
        .with_host(StrBytes::from_static_str("broker.example"))
        .with_port(9092)
        .with_rack(Some(StrBytes::from_static_str("r")));
    let response = theirs::ProduceResponse::default()
        .with_responses(vec![topic])
        .with_node_endpoints(vec![endpoint]);
    for version in [10, 11] {
        assert_kept::<ours::ProduceResponse>(response.clone(), version);
    }
}

#[test]
fn of_fetch() {
    use theirs::fetch_response::*;
    let partition = PartitionData::default()
        .with_diverging_epoch(EpochEndOffset::default().with_epoch(3).with_end_offset(4))
        .with_current_leader(
            LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(2))
                .with_leader_epoch(9),
        )
        .with_snapshot_id(SnapshotId::default().with_epoch(5).with_end_offset(6))
        .with_records(Some(Bytes::from_static(b"records")));
    let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
    assert_kept::<ours::FetchResponse>(
        theirs::FetchResponse::default().with_responses(vec![topic]),
        12,
    );

    let request =
        theirs::FetchRequest::default().with_cluster_id(Some(StrBytes::from_static_str("cluster")));
    assert_kept::<ours::FetchRequest>(request, 12);
}

#[test]
fn of_create_topics() {
    use theirs::create_topics_response::*;
    let topic = CreatableTopicResult::default().with_topic_config_error_code(29);
    for version in [5, 6, 7] {
        let response = theirs::CreateTopicsResponse::default().with_topics(vec![topic.clone()]);
        assert_kept::<ours::CreateTopicsResponse>(response, version);
    }
}
