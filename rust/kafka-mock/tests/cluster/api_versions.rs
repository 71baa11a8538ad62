use crate::support::{read_answer, Bench};
use kafka_mock::Reply;
use kafka_wire::messages::ApiVersionsRequest;
use kafka_wire::{ApiKey, ErrorCode};

fn named() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "ev-kafka".into(),
        client_software_version: "1.00".into(),
        ..Default::default()
    }
}

#[test]
fn every_version_advertises_what_the_mock_speaks() {
    for version in 0..=5 {
        let answer = Bench::with_topic(1).call(&named(), version);
        assert_eq!(answer.error_code, 0, "v{version}");
        let mut told: Vec<(i16, i16, i16)> = answer
            .api_keys
            .iter()
            .map(|k| (k.api_key, k.min_version, k.max_version))
            .collect();
        told.sort_unstable();
        let expected = [
            (0, 3, 13),
            (1, 4, 18),
            (2, 1, 11),
            (3, 0, 13),
            (8, 2, 10),
            (9, 1, 10),
            (10, 0, 6),
            (11, 0, 9),
            (12, 0, 4),
            (13, 0, 5),
            (14, 0, 4),
            (17, 0, 1),
            (18, 0, 5),
            (19, 0, 7),
            (20, 0, 6),
            (22, 0, 5),
            (23, 0, 4),
            (24, 0, 3),
            (25, 0, 4),
            (26, 0, 5),
            (28, 0, 5),
            (36, 0, 2),
            (68, 0, 1),
            (76, 1, 1),
            (78, 1, 2),
            (79, 1, 2),
        ];
        assert_eq!(told, expected, "v{version}");
    }
}

#[test]
fn what_the_mock_speaks_is_what_the_workspace_speaks() {
    let answer = Bench::with_topic(1).call(&named(), 0);
    for told in answer.api_keys {
        let api = ApiKey::from_key(told.api_key).unwrap();
        assert_eq!(told.min_version..=told.max_version, api.versions(), "{api}");
    }
}

#[test]
fn an_unknown_version_gets_error_35_in_version_0_and_the_connection_stays() {
    let mut bench = Bench::with_topic(1);
    let frame = [0, 18, 0, 99, 0, 0, 0, 77, 0xff, 0xff, 1, 2, 3];
    let Reply::Answer(answer) = bench.cluster.handle(0, frame.to_vec().into(), 0) else {
        panic!("no answer")
    };
    let answer = read_answer::<ApiVersionsRequest>(&answer, 0, 77);
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
    let told: Vec<_> = answer
        .api_keys
        .iter()
        .map(|k| (k.api_key, k.min_version, k.max_version))
        .collect();
    assert_eq!(told, [(18, 0, 5)]);
    assert_eq!(bench.call(&named(), 3).error_code, 0);
}

#[test]
fn a_client_without_a_proper_software_name_is_refused_from_version_3() {
    for name in ["", "-x", "a b", "x."] {
        let request = ApiVersionsRequest {
            client_software_name: name.into(),
            ..named()
        };
        let mut bench = Bench::with_topic(1);
        let answer = bench.call(&request, 3);
        assert_eq!(
            answer.error_code,
            ErrorCode::InvalidRequest.code(),
            "{name:?}"
        );
        assert!(answer.api_keys.is_empty());
        assert_eq!(bench.call(&request, 2).error_code, 0, "{name:?}");
    }
}

#[test]
fn an_older_broker_can_be_played() {
    let mut bench = Bench::with_brokers(2, 1);
    bench.cluster.set_api_versions(1, 3, Some(0..=5)).unwrap();
    bench.cluster.set_api_versions(1, 19, None).unwrap();
    let keys = |bench: &mut Bench, conn| bench.call_on(conn, &named(), 0).api_keys;
    let metadata = keys(&mut bench, 1)
        .into_iter()
        .find(|k| k.api_key == 3)
        .unwrap();
    assert_eq!((metadata.min_version, metadata.max_version), (0, 5));
    assert!(keys(&mut bench, 1).iter().all(|k| k.api_key != 19));
    assert!(
        keys(&mut bench, 0).iter().any(|k| k.api_key == 19),
        "the other broker is as it was"
    );

    let request = kafka_wire::messages::MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(bench.call_on(1, &request, 5).topics.len(), 1);
    let (reply, _) = bench.send(1, &request, 6);
    assert!(matches!(reply, Reply::Close(_)), "{reply:?}");
    assert!(bench.cluster.connections_of(1).is_empty());
}

#[test]
fn who_means_another_cluster_or_broker_is_told_so() {
    let mut bench = Bench::with_brokers(2, 1);
    let cases = [
        (None, -1, ErrorCode::None),
        (Some("kafka-mock"), 1, ErrorCode::None),
        (Some("kafka-mock"), 0, ErrorCode::RebootstrapRequired),
        (Some("another"), 1, ErrorCode::RebootstrapRequired),
        (Some("kafka-mock"), -1, ErrorCode::InvalidRequest),
        (None, 1, ErrorCode::InvalidRequest),
    ];
    for (cluster_id, node_id, code) in cases {
        let request = ApiVersionsRequest {
            cluster_id: cluster_id.map(Into::into),
            node_id,
            ..named()
        };
        let answer = bench.call_on(1, &request, 5);
        assert_eq!(answer.error_code, code.code(), "{cluster_id:?} {node_id}");
        assert_eq!(answer.api_keys.is_empty(), code != ErrorCode::None);
        assert_eq!(
            bench.call_on(1, &request, 4).error_code,
            0,
            "not looked at before"
        );
    }
}

#[test]
fn features_are_told_from_version_3() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(bench.call(&named(), 2).finalized_features_epoch, -1);
    let told = |bench: &mut Bench, version| {
        let answer = bench.call(&named(), version);
        let levels = answer.finalized_features.into_iter();
        let group = levels
            .filter(|feature| feature.name == "group.version")
            .map(|feature| feature.max_version_level)
            .next();
        (
            answer.finalized_features_epoch,
            group,
            answer.supported_features.is_empty(),
        )
    };
    assert_eq!(
        told(&mut bench, 3),
        (0, Some(1), true),
        "levels from 0 on are not for version 3"
    );
    assert_eq!(told(&mut bench, 4), (0, Some(1), false));
    bench.cluster.set_feature(b"group.version", 0);
    assert_eq!(told(&mut bench, 4), (1, None, false));
    bench.cluster.set_feature(b"group.version", 7);
    assert_eq!(told(&mut bench, 4), (2, Some(7), false));
    assert_eq!(bench.cluster.feature(b"group.version"), 7);
}
