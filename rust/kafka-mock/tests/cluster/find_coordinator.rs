use crate::support::{code, Bench};
use kafka_wire::messages::find_coordinator::FindCoordinatorRequest;
use kafka_wire::ErrorCode;

fn ask(key: &'static str, key_type: i8) -> FindCoordinatorRequest {
    FindCoordinatorRequest {
        key: key.into(),
        key_type,
        ..Default::default()
    }
}

fn ask_many(keys: &[&'static str]) -> FindCoordinatorRequest {
    let coordinator_keys = keys.iter().map(|&key| key.into()).collect();
    FindCoordinatorRequest {
        coordinator_keys,
        ..Default::default()
    }
}

#[test]
fn every_version_names_the_same_broker_for_a_key_whoever_is_asked() {
    let mut bench = Bench::with_brokers(3, 1);
    let expected = bench.call(&ask("group", 0), 0).node_id;
    for version in 0..=3 {
        for conn in 0..3 {
            let answer = bench.call_on(conn, &ask("group", 0), version);
            assert_eq!(
                (answer.error_code, answer.node_id),
                (0, expected),
                "v{version}"
            );
            assert_eq!(
                (&answer.host[..], answer.port),
                (&b"127.0.0.1"[..], 9000 + expected)
            );
        }
    }
    for version in 4..=6 {
        let answer = bench.call(&ask_many(&["group", "other"]), version);
        let keys: Vec<_> = answer.coordinators.iter().map(|c| c.key.clone()).collect();
        assert_eq!(keys, ["group", "other"], "v{version}");
        assert_eq!(answer.coordinators[0].node_id, expected, "v{version}");
    }
}

#[test]
fn keys_spread_over_the_brokers() {
    let mut bench = Bench::with_brokers(3, 1);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let answer = bench.call(&ask_many(&keys), 4);
    let nodes: std::collections::BTreeSet<_> =
        answer.coordinators.iter().map(|c| c.node_id).collect();
    assert!(nodes.len() > 1, "{nodes:?}");
}

#[test]
fn an_unknown_key_type_is_error_42() {
    let answer = Bench::with_topic(1).call(&ask("group", 9), 1);
    assert_eq!(answer.error_code, code(ErrorCode::InvalidRequest));
    assert_eq!(
        answer.error_message.as_deref(),
        Some(&b"INVALID_REQUEST"[..])
    );
}

#[test]
fn a_stopped_broker_coordinates_nothing() {
    let mut bench = Bench::with_brokers(2, 1);
    bench.cluster.stop_broker(1).unwrap();
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(bench.call(&ask(key, 1), 2).node_id, 0);
    }
}
