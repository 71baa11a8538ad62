//! CreateTopics and DeleteTopics.

use crate::support::{code, Bench};
use kafka_mock::{ClusterConfig, ClusterError};
use kafka_wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest,
};
use kafka_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use kafka_wire::messages::metadata::MetadataRequest;
use kafka_wire::ErrorCode;

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    let name = name.as_bytes().to_vec().into();
    CreatableTopic {
        name,
        num_partitions,
        replication_factor,
        ..Default::default()
    }
}

fn create(topics: &[CreatableTopic]) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: topics.to_vec(),
        ..Default::default()
    }
}

fn delete(names: &[&'static str]) -> DeleteTopicsRequest {
    let topic_names = names.iter().map(|&name| name.into()).collect();
    DeleteTopicsRequest {
        topic_names,
        ..Default::default()
    }
}

fn bench() -> Bench {
    let config = ClusterConfig {
        brokers: 3,
        default_partitions: 5,
        ..Default::default()
    };
    Bench::new(config)
}

/// Error of the only topic.
fn error(bench: &mut Bench, request: &CreateTopicsRequest) -> i16 {
    bench.call(request, 5).topics[0].error_code
}

#[test]
fn every_version_creates_topics() {
    for version in 0..=7 {
        let mut bench = bench();
        let answer = bench.call(&create(&[topic("a", 2, 3), topic("b", 1, 1)]), version);
        let told: Vec<_> = answer
            .topics
            .iter()
            .map(|t| (&t.name[..], t.error_code))
            .collect();
        assert_eq!(told, [(&b"a"[..], 0), (&b"b"[..], 0)], "v{version}");
        assert_eq!(bench.cluster.partition_count(b"a"), Some(2));
        if version >= 5 {
            assert_eq!(
                (
                    answer.topics[0].num_partitions,
                    answer.topics[0].replication_factor
                ),
                (2, 3)
            );
        }
        let described = bench.call(
            &MetadataRequest {
                topics: None,
                ..Default::default()
            },
            12,
        );
        if version >= 7 {
            assert_eq!(answer.topics[0].topic_id, described.topics[0].topic_id);
        }
        assert_eq!(described.topics[0].partitions[1].replica_nodes, [1, 2, 0]);
    }
}

#[test]
fn counts_of_minus_1_are_the_defaults() {
    let mut bench = bench();
    assert_eq!(error(&mut bench, &create(&[topic("a", -1, -1)])), 0);
    assert_eq!(bench.cluster.partition_count(b"a"), Some(5));
}

#[test]
fn what_cannot_be_created_says_why() {
    let mut bench = bench();
    assert_eq!(error(&mut bench, &create(&[topic("a", 1, 1)])), 0);
    let cases = [
        (topic("a", 1, 1), ErrorCode::TopicAlreadyExists),
        (topic("b", 0, 1), ErrorCode::InvalidPartitions),
        (topic("b", -2, 1), ErrorCode::InvalidPartitions),
        (topic("b", i32::MAX, 1), ErrorCode::InvalidPartitions),
        (topic("b", 1, 0), ErrorCode::InvalidReplicationFactor),
        (topic("b", 1, 4), ErrorCode::InvalidReplicationFactor),
        (topic("b c", 1, 1), ErrorCode::InvalidTopicException),
        (topic("", 1, 1), ErrorCode::InvalidTopicException),
        (
            topic(&"x".repeat(250), 1, 1),
            ErrorCode::InvalidTopicException,
        ),
    ];
    for (refused, expected) in cases {
        let answer = bench.call(&create(std::slice::from_ref(&refused)), 5);
        assert_eq!(answer.topics[0].error_code, code(expected), "{refused:?}");
        assert!(answer.topics[0].error_message.is_some());
    }
    assert_eq!(bench.cluster.topic_names().count(), 1);
}

#[test]
fn one_bad_topic_does_not_keep_the_others() {
    let mut bench = bench();
    let request = create(&[topic("bad name", 1, 1), topic("good", 1, 1)]);
    let errors: Vec<_> = bench
        .call(&request, 4)
        .topics
        .iter()
        .map(|t| t.error_code)
        .collect();
    assert_eq!(errors, [code(ErrorCode::InvalidTopicException), 0]);
    assert_eq!(bench.cluster.partition_count(b"good"), Some(1));
}

#[test]
fn a_name_given_twice_is_error_42_once() {
    let mut bench = bench();
    let answer = bench.call(&create(&[topic("a", 1, 1), topic("a", 2, 1)]), 4);
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(answer.topics[0].error_code, code(ErrorCode::InvalidRequest));
    assert_eq!(bench.cluster.topic_names().count(), 0);
}

#[test]
fn validate_only_creates_nothing() {
    let mut bench = bench();
    let check = |topic| CreateTopicsRequest {
        validate_only: true,
        ..create(&[topic])
    };
    assert_eq!(error(&mut bench, &check(topic("a", 2, 1))), 0);
    assert_eq!(
        error(&mut bench, &check(topic("a", 0, 1))),
        code(ErrorCode::InvalidPartitions)
    );
    assert_eq!(bench.cluster.topic_names().count(), 0);
}

#[test]
fn replicas_can_be_assigned() {
    let mut bench = bench();
    let assigned = |ids: &[(i32, &[i32])]| CreatableTopic {
        assignments: ids
            .iter()
            .map(|&(partition_index, ids)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: ids.to_vec(),
            })
            .collect(),
        ..topic("a", -1, -1)
    };
    let invalid = code(ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        error(&mut bench, &create(&[assigned(&[(0, &[7])])])),
        invalid
    );
    assert_eq!(
        error(&mut bench, &create(&[assigned(&[(1, &[0])])])),
        invalid
    );
    assert_eq!(
        error(&mut bench, &create(&[assigned(&[(0, &[])])])),
        invalid
    );
    let counted = CreatableTopic {
        num_partitions: 1,
        ..assigned(&[(0, &[0])])
    };
    assert_eq!(
        error(&mut bench, &create(&[counted])),
        code(ErrorCode::InvalidRequest)
    );
    assert_eq!(
        error(&mut bench, &create(&[assigned(&[(1, &[2, 0]), (0, &[1])])])),
        0
    );
    let leaders = [0, 1].map(|partition| bench.cluster.leader(b"a", partition).unwrap());
    assert_eq!(leaders, [1, 2]);
}

#[test]
fn every_version_deletes_topics() {
    for version in 0..=6 {
        let mut bench = Bench::with_topic(1);
        let mut request = delete(&["t", "missing"]);
        if version >= 6 {
            let named = |name: bytes::Bytes| DeleteTopicState {
                name: Some(name),
                topic_id: [0; 16],
            };
            request.topics = std::mem::take(&mut request.topic_names)
                .into_iter()
                .map(named)
                .collect();
        }
        let answer = bench.call(&request, version);
        let errors: Vec<_> = answer.responses.iter().map(|r| r.error_code).collect();
        assert_eq!(
            errors,
            [0, code(ErrorCode::UnknownTopicOrPartition)],
            "v{version}"
        );
        assert_eq!(bench.cluster.topic_names().count(), 0, "v{version}");
    }
}

#[test]
fn topics_are_deleted_by_id_in_version_6() {
    let mut bench = Bench::with_topic(1);
    let id = bench
        .call(
            &MetadataRequest {
                topics: None,
                ..Default::default()
            },
            12,
        )
        .topics[0]
        .topic_id;
    let by_id = |topic_id| DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: None,
            topic_id,
        }],
        ..Default::default()
    };
    let unknown = bench.call(&by_id([7; 16]), 6);
    assert_eq!(
        unknown.responses[0].error_code,
        code(ErrorCode::UnknownTopicId)
    );
    let answer = bench.call(&by_id(id), 6);
    assert_eq!(
        (answer.responses[0].error_code, answer.responses[0].topic_id),
        (0, id)
    );
    assert_eq!(answer.responses[0].name.as_deref(), Some(&b"t"[..]));
}

#[test]
fn the_owner_of_the_cluster_is_told_what_he_cannot_create() {
    let mut bench = Bench::with_topic(1);
    let cluster = &mut bench.cluster;
    assert_eq!(
        cluster.create_topic("t", 1),
        Err(ClusterError::TopicExists("t".into()))
    );
    assert_eq!(
        cluster.create_topic("", 1),
        Err(ClusterError::InvalidTopicName("".into()))
    );
    assert_eq!(
        cluster.create_topic("u", 0),
        Err(ClusterError::InvalidPartitionCount(0))
    );
    let missing = ClusterError::UnknownPartition("t-5".into());
    assert_eq!(cluster.leader(b"t", 5), Err(missing));
}
