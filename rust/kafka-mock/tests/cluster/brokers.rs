//! Brokers that stop and start, and leaders that move.

use crate::support::{batch, code, produce, Bench};
use kafka_mock::{ClusterConfig, ClusterError, Output};
use kafka_wire::messages::metadata::MetadataRequest;
use kafka_wire::{ApiKey, ErrorCode};

fn replicated(replication: i16) -> Bench {
    let config = ClusterConfig {
        brokers: 3,
        default_replication_factor: replication,
        ..Default::default()
    };
    let mut bench = Bench::new(config);
    bench.cluster.create_topic("t", 3).unwrap();
    bench
}

fn leaders(bench: &Bench) -> [i32; 3] {
    [0, 1, 2].map(|partition| bench.cluster.leader(b"t", partition).unwrap())
}

#[test]
fn stopping_a_broker_closes_its_connections_and_moves_its_partitions() {
    let mut bench = replicated(2);
    bench.cluster.open(9, 1).unwrap();
    bench.cluster.stop_broker(1).unwrap();
    let closed: Vec<_> = bench
        .poll()
        .into_iter()
        .map(|(conn, output)| {
            assert!(matches!(output, Output::Close(_)));
            conn
        })
        .collect();
    assert_eq!(closed, [1, 9]);
    assert_eq!(leaders(&bench), [0, 2, 2]);
    assert_eq!(
        bench.cluster.open(10, 1),
        Err(ClusterError::UnknownBroker(1))
    );

    bench.cluster.start_broker(1).unwrap();
    assert_eq!(leaders(&bench), [0, 2, 2], "a leader that serves stays");
    bench.cluster.open(10, 1).unwrap();
}

#[test]
fn without_another_replica_a_partition_waits_for_its_broker() {
    let mut bench = replicated(1);
    bench.cluster.stop_broker(1).unwrap();
    assert_eq!(leaders(&bench), [0, -1, 2]);
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let answer = bench.call(&request, 9);
    let nodes: Vec<_> = answer.brokers.iter().map(|broker| broker.node_id).collect();
    assert_eq!(nodes, [0, 2]);
    let partition = &answer.topics[0].partitions[1];
    assert_eq!(partition.error_code, code(ErrorCode::LeaderNotAvailable));
    assert_eq!(
        (partition.leader_id, &partition.isr_nodes[..]),
        (-1, &[][..])
    );
    assert_eq!(partition.offline_replicas, [1]);

    bench.cluster.start_broker(1).unwrap();
    assert_eq!(leaders(&bench), [0, 1, 2]);
}

#[test]
fn records_survive_their_broker() {
    let mut bench = replicated(3);
    assert_eq!(bench.produce_to(0, batch(&["kept"])).error_code, 0);
    bench.cluster.stop_broker(0).unwrap();
    assert_eq!(bench.values(0), ["kept"]);
    let leader = bench.cluster.leader(b"t", 0).unwrap();
    let answer = bench.call_on(leader as u64, &produce(0, batch(&["next"])), 9);
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 1);
}

#[test]
fn the_controller_is_the_first_broker_that_is_up() {
    let mut bench = replicated(1);
    bench.cluster.stop_broker(0).unwrap();
    assert_eq!(bench.cluster.controller(), 1);
    for broker in [1, 2] {
        bench.cluster.stop_broker(broker).unwrap();
    }
    assert_eq!(bench.cluster.controller(), -1);
    bench.cluster.create_topic("while-all-are-down", 2).unwrap();
    assert_eq!(bench.cluster.leader(b"while-all-are-down", 0), Ok(-1));
}

#[test]
fn a_moved_leader_is_told_and_the_old_one_refuses() {
    let mut bench = replicated(1);
    bench.cluster.set_leader(b"t", 0, 2).unwrap();
    let refused = code(ErrorCode::NotLeaderOrFollower);
    assert_eq!(bench.produce_to(0, batch(&["a"])).error_code, refused);
    let answer = bench.call_on(2, &produce(0, batch(&["a"])), 9);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(
        bench.cluster.set_leader(b"t", 0, 3),
        Err(ClusterError::UnknownBroker(3))
    );
}

#[test]
fn requests_and_connections_are_counted() {
    let mut bench = replicated(1);
    let request = MetadataRequest::default();
    bench.call_on(0, &request, 9);
    bench.call_on(2, &request, 1);
    bench.call_on(2, &request, 1);
    assert_eq!(bench.cluster.request_count(ApiKey::Metadata), 3);
    assert_eq!(bench.cluster.request_count_at(2, ApiKey::Metadata), 2);
    assert_eq!(bench.cluster.request_count(ApiKey::Fetch), 0);
    assert_eq!(bench.cluster.connections_of(2), [2]);
}
