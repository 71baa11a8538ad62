use crate::support::{batch_at, code, compressed_batch, Bench, CODECS};
use kafka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_wire::ErrorCode;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

fn ask(partition_index: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition {
        partition_index,
        timestamp,
        ..Default::default()
    };
    let topic = ListOffsetsTopic {
        name: "t".into(),
        partitions: vec![partition],
    };
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn at(bench: &mut Bench, timestamp: i64, version: i16) -> ListOffsetsPartitionResponse {
    let answer = bench.call(&ask(0, timestamp), version);
    assert_eq!(answer.topics[0].name, "t");
    answer.topics[0].partitions[0].clone()
}

#[test]
fn every_version_tells_both_ends() {
    for version in 1..=10 {
        let mut bench = Bench::with_topic(1);
        bench.fill(&["a", "b", "c"]);
        bench.cluster.delete_records(b"t", 0, 1).unwrap();
        for (timestamp, offset) in [(EARLIEST, 1), (LATEST, 3)] {
            let found = at(&mut bench, timestamp, version);
            assert_eq!(
                (found.error_code, found.offset, found.timestamp),
                (0, offset, -1)
            );
            assert_eq!(
                found.leader_epoch,
                if version >= 4 { 0 } else { -1 },
                "v{version}"
            );
        }
    }
}

#[test]
fn a_time_finds_the_first_record_at_or_after_it() {
    let mut bench = Bench::with_topic(1);
    bench.produce_to(0, batch_at(&[(100, "a"), (300, "b"), (200, "c")]));
    bench.produce_to(0, batch_at(&[(150, "d"), (400, "e")]));
    let cases = [
        (0, 0, 100),
        (100, 0, 100),
        (101, 1, 300),
        (300, 1, 300),
        (301, 4, 400),
    ];
    for (time, offset, timestamp) in cases {
        let found = at(&mut bench, time, 7);
        assert_eq!(
            (found.offset, found.timestamp),
            (offset, timestamp),
            "time {time}"
        );
    }
    let none = at(&mut bench, 401, 7);
    assert_eq!((none.error_code, none.offset, none.timestamp), (0, -1, -1));
}

#[test]
fn a_time_looks_into_compressed_batches() {
    for codec in CODECS {
        let mut bench = Bench::with_topic(1);
        bench.produce_to(0, compressed_batch(&["a", "b", "c"], codec));
        let found = at(&mut bench, 1_001, 7);
        assert_eq!((found.offset, found.timestamp), (1, 1_001), "{codec:?}");
    }
}

#[test]
fn the_highest_timestamp_can_be_asked_for() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(at(&mut bench, -3, 7).offset, -1);
    bench.produce_to(0, batch_at(&[(100, "a"), (300, "b"), (200, "c")]));
    let found = at(&mut bench, -3, 7);
    assert_eq!((found.offset, found.timestamp), (1, 300));
}

#[test]
fn nothing_is_in_tiered_storage_or_waits_for_it() {
    let mut bench = Bench::with_topic(1);
    bench.produce_to(0, batch_at(&[(100, "a")]));
    for (timestamp, version) in [(-5, 9), (-6, 11)] {
        let found = at(&mut bench, timestamp, version);
        assert_eq!((found.error_code, found.offset), (0, -1), "{timestamp}");
    }
}

#[test]
fn partitions_that_are_unknown_or_led_elsewhere_are_errors() {
    let mut bench = Bench::with_brokers(2, 2);
    let error = |bench: &mut Bench, partition| {
        bench.call(&ask(partition, LATEST), 5).topics[0].partitions[0].error_code
    };
    assert_eq!(error(&mut bench, 0), 0);
    assert_eq!(error(&mut bench, 1), code(ErrorCode::NotLeaderOrFollower));
    assert_eq!(
        error(&mut bench, 2),
        code(ErrorCode::UnknownTopicOrPartition)
    );
}
