use crate::support::Bench;
use kafka_wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_wire::ErrorCode;

const ANY: i32 = -1;

fn ask(current_leader_epoch: i32, leader_epoch: i32) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition {
        partition: 0,
        current_leader_epoch,
        leader_epoch,
    };
    OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![partition],
        }],
    }
}

/// Error code, epoch and end offset.
fn end_of(bench: &mut Bench, current: i32, epoch: i32, version: i16) -> (i16, i32, i64) {
    let answer = bench.call(&ask(current, epoch), version);
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.leader_epoch, found.end_offset)
}

#[test]
fn every_version_tells_where_an_epoch_ends() {
    for version in 0..=4 {
        let mut bench = Bench::with_topic(1);
        bench.fill(&["a", "b", "c"]);
        bench.cluster.lose_records(b"t", 0, 2).unwrap();
        bench.fill(&["d"]);
        let tells_epoch = |epoch| if version >= 1 { epoch } else { -1 };
        assert_eq!(
            end_of(&mut bench, ANY, 0, version),
            (0, tells_epoch(0), 2),
            "v{version}: the old one"
        );
        assert_eq!(
            end_of(&mut bench, ANY, 1, version),
            (0, tells_epoch(1), 3),
            "v{version}: the new one"
        );
        assert_eq!(
            end_of(&mut bench, ANY, 2, version),
            (0, -1, -1),
            "v{version}: one to come"
        );
    }
}

#[test]
fn an_epoch_without_records_ends_where_the_next_one_begins() {
    let mut bench = Bench::with_topic(1);
    bench.fill(&["a"]);
    bench.cluster.lose_records(b"t", 0, 1).unwrap();
    bench.cluster.lose_records(b"t", 0, 1).unwrap();
    bench.fill(&["b"]);
    assert_eq!(end_of(&mut bench, ANY, 1, 4), (0, 0, 1));
}

#[test]
fn a_client_that_knows_another_leader_epoch_is_told_so() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.lose_records(b"t", 0, 0).unwrap();
    assert_eq!(
        end_of(&mut bench, 0, 0, 4).0,
        ErrorCode::FencedLeaderEpoch.code()
    );
    assert_eq!(end_of(&mut bench, 1, 0, 4).0, 0);
    assert_eq!(
        end_of(&mut bench, 2, 0, 4).0,
        ErrorCode::UnknownLeaderEpoch.code()
    );
}
