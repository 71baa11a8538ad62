use crate::support::Bench;
use kafka_mock::ClusterConfig;
use kafka_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use kafka_wire::ErrorCode;

fn ask(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some(name.as_bytes().to_vec().into()),
        ..Default::default()
    };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn all() -> MetadataRequest {
    MetadataRequest {
        topics: None,
        ..Default::default()
    }
}

fn told(answer: &MetadataResponse) -> Vec<(String, i16, usize)> {
    let name = |name: &Option<bytes::Bytes>| {
        String::from_utf8(name.clone().unwrap_or_default().to_vec()).unwrap()
    };
    answer
        .topics
        .iter()
        .map(|t| (name(&t.name), t.error_code, t.partitions.len()))
        .collect()
}

#[test]
fn every_version_tells_brokers_topics_and_leaders() {
    for version in 0..=13 {
        let mut bench = Bench::with_brokers(3, 4);
        let answer = bench.call(&ask(&["t"]), version);
        let brokers: Vec<_> = answer.brokers.iter().map(|b| (b.node_id, b.port)).collect();
        assert_eq!(brokers, [(0, 9000), (1, 9001), (2, 9002)], "v{version}");
        assert_eq!(told(&answer), [("t".to_string(), 0, 4)], "v{version}");
        let leaders: Vec<_> = answer.topics[0]
            .partitions
            .iter()
            .map(|p| p.leader_id)
            .collect();
        assert_eq!(leaders, [0, 1, 2, 0], "v{version}");
        assert_eq!(
            answer.topics[0].topic_id != [0; 16],
            version >= 10,
            "v{version}"
        );
        assert_eq!(
            answer.controller_id,
            if version >= 1 { 0 } else { -1 },
            "v{version}"
        );
    }
}

#[test]
fn an_empty_list_means_all_in_version_0_and_none_later() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(bench.call(&ask(&[]), 0).topics.len(), 1);
    assert_eq!(bench.call(&ask(&[]), 1).topics.len(), 0);
    assert_eq!(bench.call(&all(), 1).topics.len(), 1);
}

#[test]
fn an_unknown_topic_is_created_only_if_cluster_and_client_want_it() {
    let config = ClusterConfig {
        default_partitions: 3,
        ..Default::default()
    };
    let mut bench = Bench::new(config.clone());
    let unwanted = MetadataRequest {
        allow_auto_topic_creation: false,
        ..ask(&["new"])
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(
        told(&bench.call(&unwanted, 4)),
        [("new".to_string(), unknown, 0)]
    );
    assert_eq!(
        told(&bench.call(&ask(&["new"]), 4)),
        [("new".to_string(), 0, 3)]
    );
    assert_eq!(bench.cluster.partition_count(b"new"), Some(3));

    let mut strict = Bench::new(ClusterConfig {
        auto_create_topics: false,
        ..config
    });
    assert_eq!(
        told(&strict.call(&ask(&["new"]), 4)),
        [("new".to_string(), unknown, 0)]
    );
}

#[test]
fn an_invalid_name_is_error_17_and_creates_nothing() {
    let mut bench = Bench::new(ClusterConfig::default());
    let invalid = ErrorCode::InvalidTopicException.code();
    assert_eq!(
        told(&bench.call(&ask(&["a b"]), 9)),
        [("a b".to_string(), invalid, 0)]
    );
    assert_eq!(bench.cluster.topic_names().count(), 0);
}

#[test]
fn topics_are_found_by_id_from_version_12() {
    let mut bench = Bench::with_topic(2);
    let id = bench.call(&all(), 10).topics[0].topic_id;
    let by_id = |topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id,
            name: None,
        }]),
        ..Default::default()
    };
    assert_eq!(told(&bench.call(&by_id(id), 12)), [("t".to_string(), 0, 2)]);
    let answer = bench.call(&by_id([9; 16]), 13);
    assert_eq!(
        answer.topics[0].error_code,
        ErrorCode::UnknownTopicId.code()
    );
    assert_eq!(
        (answer.topics[0].topic_id, &answer.topics[0].name),
        ([9; 16], &None)
    );
    let refused = bench.call(&by_id(id), 11);
    assert_eq!(
        refused.topics[0].error_code,
        ErrorCode::InvalidRequest.code()
    );
}

#[test]
fn a_topic_created_anew_has_another_id() {
    let mut bench = Bench::with_topic(1);
    let before = bench.call(&all(), 12).topics[0].topic_id;
    assert!(bench.cluster.delete_topic("t"));
    bench.cluster.create_topic("t", 1).unwrap();
    assert_ne!(bench.call(&all(), 12).topics[0].topic_id, before);
}
