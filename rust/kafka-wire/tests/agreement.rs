//! Every message at every version that we speak, held against the kafka-protocol crate: a codec generated from
//! Kafka's own definitions by somebody else. 0.18 is Kafka 4.1, 0.15.1 is Kafka 3.9 with the oldest versions.

use bytes::{Bytes, BytesMut};
use kafka_wire::arbitrary::{Arbitrary, Entropy};
use kafka_wire::messages as ours;
use kafka_wire::{ApiKey, Message, Reader, Writer};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Versions that are younger than those crates. Their fields are held against Kafka's own definitions by
/// xt/kafka/definitions.t; here they have to come back as they were.
const YOUNGER: &[(ApiKey, i16)] = &[
    (ApiKey::Fetch, 18),
    (ApiKey::ListOffsets, 11),
    (ApiKey::ApiVersions, 5),
    (ApiKey::OffsetCommit, 10),
    (ApiKey::OffsetFetch, 10),
    (ApiKey::WriteTxnMarkers, 2),
    (ApiKey::DescribeLogDirs, 5),
    (ApiKey::DeleteGroups, 3),
    (ApiKey::ShareFetch, 2),
    (ApiKey::ShareAcknowledge, 2),
    (ApiKey::DescribeShareGroupOffsets, 1),
];

/// Random messages for each version of each message.
const CASES: u32 = 60;

fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message
        .encode(&mut writer, version)
        .expect("an arbitrary message fits its version");
    let len = writer.len();
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len(), len);
    bytes
}

/// Encodes made-up messages, hands the bytes to `roundtrip` (decode and encode again, by the other codec), and
/// wants the same bytes back and the same message out of them.
fn hold_against<M>(version: i16, roundtrip: impl Fn(Bytes) -> Bytes)
where
    M: Arbitrary + PartialEq + std::fmt::Debug,
{
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(CASES)
    });
    let choices = proptest::collection::vec(any::<u8>(), 0..600);
    let result = runner.run(&choices, |choices| {
        let message = M::arbitrary(&mut Entropy::new(&choices), version);
        let bytes = encode(&message, version);
        let theirs = roundtrip(bytes.clone());
        prop_assert_eq!(
            &theirs,
            &bytes,
            "the other codec reads something else: {:?}",
            message
        );

        let mut reader = Reader::new(theirs.clone());
        let decoded = M::decode(&mut reader, version).expect("we read what the other codec wrote");
        prop_assert!(reader.is_empty());
        prop_assert_eq!(&decoded, &message);
        let (partial, truncated) = M::decode_partial(theirs, version);
        prop_assert!(!truncated);
        prop_assert_eq!(&partial, &message);
        Ok(())
    });
    if let Err(error) = result {
        panic!("version {version}: {error}");
    }
}

macro_rules! roundtrip_by {
    ($protocol:ident, $message:ident, $version:ident) => {
        |mut bytes: Bytes| {
            use $protocol::protocol::{Decodable, Encodable};
            let message = $protocol::messages::$message::decode(&mut bytes, $version)
                .expect("the other codec reads what we wrote");
            assert!(
                bytes.is_empty(),
                "the other codec left {} bytes over: {message:?}",
                bytes.len()
            );
            let mut out = BytesMut::new();
            message
                .encode(&mut out, $version)
                .expect("the other codec writes what it read");
            out.freeze()
        }
    };
}

macro_rules! has_version {
    ($protocol:ident, $message:ident, $version:ident) => {{
        use $protocol::protocol::Message;
        let versions = $protocol::messages::$message::VERSIONS;
        (versions.min..=versions.max).contains(&$version)
    }};
}

macro_rules! agreement {
    ($($protocol:ident)+; $($test:ident: $message:ident of $api:ident;)*) => {
        agreement! { @each ($($protocol)+) $($test: $message of $api;)* }
    };
    (@each $protocols:tt $($test:ident: $message:ident of $api:ident;)*) => {$(
        #[test]
        fn $test() {
            for version in ApiKey::$api.versions() {
                let is_held = agreement! { @held $protocols $message version };
                if !is_held {
                    assert!(YOUNGER.contains(&(ApiKey::$api, version)), "nobody else speaks version {version}");
                    hold_against::<ours::$message>(version, |bytes| bytes);
                }
            }
        }
    )*};
    (@held ($($protocol:ident)+) $message:ident $version:ident) => {{
        let mut is_held = false;
        $(
            if has_version!($protocol, $message, $version) {
                hold_against::<ours::$message>($version, roundtrip_by!($protocol, $message, $version));
                is_held = true;
            }
        )+
        is_held
    }};
}

agreement! {
    kafka_protocol kafka_protocol_3_9;
    api_versions_request: ApiVersionsRequest of ApiVersions;
    api_versions_response: ApiVersionsResponse of ApiVersions;
    metadata_request: MetadataRequest of Metadata;
    metadata_response: MetadataResponse of Metadata;
    produce_request: ProduceRequest of Produce;
    produce_response: ProduceResponse of Produce;
    fetch_request: FetchRequest of Fetch;
    fetch_response: FetchResponse of Fetch;
    list_offsets_request: ListOffsetsRequest of ListOffsets;
    list_offsets_response: ListOffsetsResponse of ListOffsets;
    find_coordinator_request: FindCoordinatorRequest of FindCoordinator;
    find_coordinator_response: FindCoordinatorResponse of FindCoordinator;
    create_topics_request: CreateTopicsRequest of CreateTopics;
    create_topics_response: CreateTopicsResponse of CreateTopics;
    delete_topics_request: DeleteTopicsRequest of DeleteTopics;
    delete_topics_response: DeleteTopicsResponse of DeleteTopics;
    join_group_request: JoinGroupRequest of JoinGroup;
    join_group_response: JoinGroupResponse of JoinGroup;
    sync_group_request: SyncGroupRequest of SyncGroup;
    sync_group_response: SyncGroupResponse of SyncGroup;
    heartbeat_request: HeartbeatRequest of Heartbeat;
    heartbeat_response: HeartbeatResponse of Heartbeat;
    leave_group_request: LeaveGroupRequest of LeaveGroup;
    leave_group_response: LeaveGroupResponse of LeaveGroup;
    offset_commit_request: OffsetCommitRequest of OffsetCommit;
    offset_commit_response: OffsetCommitResponse of OffsetCommit;
    offset_fetch_request: OffsetFetchRequest of OffsetFetch;
    offset_fetch_response: OffsetFetchResponse of OffsetFetch;
    init_producer_id_request: InitProducerIdRequest of InitProducerId;
    init_producer_id_response: InitProducerIdResponse of InitProducerId;
    add_partitions_to_txn_request: AddPartitionsToTxnRequest of AddPartitionsToTxn;
    add_partitions_to_txn_response: AddPartitionsToTxnResponse of AddPartitionsToTxn;
    add_offsets_to_txn_request: AddOffsetsToTxnRequest of AddOffsetsToTxn;
    add_offsets_to_txn_response: AddOffsetsToTxnResponse of AddOffsetsToTxn;
    end_txn_request: EndTxnRequest of EndTxn;
    end_txn_response: EndTxnResponse of EndTxn;
    txn_offset_commit_request: TxnOffsetCommitRequest of TxnOffsetCommit;
    txn_offset_commit_response: TxnOffsetCommitResponse of TxnOffsetCommit;
    offset_for_leader_epoch_request: OffsetForLeaderEpochRequest of OffsetForLeaderEpoch;
    offset_for_leader_epoch_response: OffsetForLeaderEpochResponse of OffsetForLeaderEpoch;
    consumer_group_heartbeat_request: ConsumerGroupHeartbeatRequest of ConsumerGroupHeartbeat;
    consumer_group_heartbeat_response: ConsumerGroupHeartbeatResponse of ConsumerGroupHeartbeat;
    create_partitions_request: CreatePartitionsRequest of CreatePartitions;
    create_partitions_response: CreatePartitionsResponse of CreatePartitions;
    describe_topic_partitions_request: DescribeTopicPartitionsRequest of DescribeTopicPartitions;
    describe_topic_partitions_response: DescribeTopicPartitionsResponse of DescribeTopicPartitions;
    describe_configs_request: DescribeConfigsRequest of DescribeConfigs;
    describe_configs_response: DescribeConfigsResponse of DescribeConfigs;
    incremental_alter_configs_request: IncrementalAlterConfigsRequest of IncrementalAlterConfigs;
    incremental_alter_configs_response: IncrementalAlterConfigsResponse of IncrementalAlterConfigs;
    list_groups_request: ListGroupsRequest of ListGroups;
    list_groups_response: ListGroupsResponse of ListGroups;
    describe_groups_request: DescribeGroupsRequest of DescribeGroups;
    describe_groups_response: DescribeGroupsResponse of DescribeGroups;
    consumer_group_describe_request: ConsumerGroupDescribeRequest of ConsumerGroupDescribe;
    consumer_group_describe_response: ConsumerGroupDescribeResponse of ConsumerGroupDescribe;
    delete_groups_request: DeleteGroupsRequest of DeleteGroups;
    delete_groups_response: DeleteGroupsResponse of DeleteGroups;
    offset_delete_request: OffsetDeleteRequest of OffsetDelete;
    offset_delete_response: OffsetDeleteResponse of OffsetDelete;
    delete_records_request: DeleteRecordsRequest of DeleteRecords;
    delete_records_response: DeleteRecordsResponse of DeleteRecords;
    describe_cluster_request: DescribeClusterRequest of DescribeCluster;
    describe_cluster_response: DescribeClusterResponse of DescribeCluster;
    describe_acls_request: DescribeAclsRequest of DescribeAcls;
    describe_acls_response: DescribeAclsResponse of DescribeAcls;
    create_acls_request: CreateAclsRequest of CreateAcls;
    create_acls_response: CreateAclsResponse of CreateAcls;
    delete_acls_request: DeleteAclsRequest of DeleteAcls;
    delete_acls_response: DeleteAclsResponse of DeleteAcls;
    describe_user_scram_credentials_request: DescribeUserScramCredentialsRequest of DescribeUserScramCredentials;
    describe_user_scram_credentials_response: DescribeUserScramCredentialsResponse of DescribeUserScramCredentials;
    alter_user_scram_credentials_request: AlterUserScramCredentialsRequest of AlterUserScramCredentials;
    alter_user_scram_credentials_response: AlterUserScramCredentialsResponse of AlterUserScramCredentials;
    describe_client_quotas_request: DescribeClientQuotasRequest of DescribeClientQuotas;
    describe_client_quotas_response: DescribeClientQuotasResponse of DescribeClientQuotas;
    alter_client_quotas_request: AlterClientQuotasRequest of AlterClientQuotas;
    alter_client_quotas_response: AlterClientQuotasResponse of AlterClientQuotas;
    elect_leaders_request: ElectLeadersRequest of ElectLeaders;
    elect_leaders_response: ElectLeadersResponse of ElectLeaders;
    describe_log_dirs_request: DescribeLogDirsRequest of DescribeLogDirs;
    describe_log_dirs_response: DescribeLogDirsResponse of DescribeLogDirs;
    alter_partition_reassignments_request: AlterPartitionReassignmentsRequest of AlterPartitionReassignments;
    alter_partition_reassignments_response: AlterPartitionReassignmentsResponse of AlterPartitionReassignments;
    list_partition_reassignments_request: ListPartitionReassignmentsRequest of ListPartitionReassignments;
    list_partition_reassignments_response: ListPartitionReassignmentsResponse of ListPartitionReassignments;
    list_transactions_request: ListTransactionsRequest of ListTransactions;
    list_transactions_response: ListTransactionsResponse of ListTransactions;
    describe_transactions_request: DescribeTransactionsRequest of DescribeTransactions;
    describe_transactions_response: DescribeTransactionsResponse of DescribeTransactions;
    describe_producers_request: DescribeProducersRequest of DescribeProducers;
    describe_producers_response: DescribeProducersResponse of DescribeProducers;
    write_txn_markers_request: WriteTxnMarkersRequest of WriteTxnMarkers;
    write_txn_markers_response: WriteTxnMarkersResponse of WriteTxnMarkers;
    update_features_request: UpdateFeaturesRequest of UpdateFeatures;
    update_features_response: UpdateFeaturesResponse of UpdateFeatures;
    describe_quorum_request: DescribeQuorumRequest of DescribeQuorum;
    describe_quorum_response: DescribeQuorumResponse of DescribeQuorum;
    sasl_handshake_request: SaslHandshakeRequest of SaslHandshake;
    sasl_handshake_response: SaslHandshakeResponse of SaslHandshake;
    sasl_authenticate_request: SaslAuthenticateRequest of SaslAuthenticate;
    sasl_authenticate_response: SaslAuthenticateResponse of SaslAuthenticate;
}

// Kafka 3.9 had none of these, or not in a version that lasted.
agreement! {
    kafka_protocol;
    share_group_heartbeat_request: ShareGroupHeartbeatRequest of ShareGroupHeartbeat;
    share_group_heartbeat_response: ShareGroupHeartbeatResponse of ShareGroupHeartbeat;
    share_fetch_request: ShareFetchRequest of ShareFetch;
    share_fetch_response: ShareFetchResponse of ShareFetch;
    share_acknowledge_request: ShareAcknowledgeRequest of ShareAcknowledge;
    share_acknowledge_response: ShareAcknowledgeResponse of ShareAcknowledge;
    share_group_describe_request: ShareGroupDescribeRequest of ShareGroupDescribe;
    share_group_describe_response: ShareGroupDescribeResponse of ShareGroupDescribe;
    list_config_resources_request: ListConfigResourcesRequest of ListConfigResources;
    list_config_resources_response: ListConfigResourcesResponse of ListConfigResources;
    describe_share_group_offsets_request: DescribeShareGroupOffsetsRequest of DescribeShareGroupOffsets;
    describe_share_group_offsets_response: DescribeShareGroupOffsetsResponse of DescribeShareGroupOffsets;
}

macro_rules! data_agreement {
    ($($test:ident: $message:ident;)*) => {$(
        #[test]
        fn $test() {
            for version in 0..=ours::consumer_protocol::NEWEST_VERSION {
                assert!(has_version!(kafka_protocol, $message, version));
                hold_against::<ours::$message>(version, roundtrip_by!(kafka_protocol, $message, version));
            }
        }
    )*};
}

data_agreement! {
    consumer_protocol_subscription: ConsumerProtocolSubscription;
    consumer_protocol_assignment: ConsumerProtocolAssignment;
}

#[test]
fn every_api_is_held_against_another_codec() {
    let source = include_str!("agreement.rs");
    for api in ApiKey::ALL {
        for kind in ["Request", "Response"] {
            let line = format!(": {api}{kind} of {api};");
            assert!(source.contains(&line), "no test for {api}{kind}");
        }
    }
}
