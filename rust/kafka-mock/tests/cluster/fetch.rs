use crate::support::{batch, code, Bench};
use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use kafka_wire::ErrorCode;

/// A Fetch of partitions `(index, offset)` of topic "t" that does not wait.
pub fn fetch(partitions: &[(i32, i64)]) -> FetchRequest {
    let partition = |&(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: partitions.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn ask(bench: &mut Bench, request: &FetchRequest) -> Vec<PartitionData> {
    bench.call(request, 12).responses.remove(0).partitions
}

fn records(data: &PartitionData) -> Bytes {
    data.records.clone().unwrap_or_default()
}

/// All batches of partition 0, one after another.
fn whole_log(bench: &Bench) -> Vec<u8> {
    bench.cluster.batches(b"t", 0).unwrap().concat()
}

#[test]
fn every_version_reads_back_what_was_produced() {
    for version in 4..=12 {
        let mut bench = Bench::with_topic(1);
        bench.fill(&["a", "b", "c"]);
        let answer = bench.call(&fetch(&[(0, 0)]), version);
        assert_eq!((answer.error_code, answer.session_id), (0, 0), "v{version}");
        assert_eq!(answer.responses[0].topic, "t");
        let data = &answer.responses[0].partitions[0];
        assert_eq!((data.error_code, data.high_watermark), (0, 3), "v{version}");
        assert_eq!(data.last_stable_offset, 3, "v{version}");
        assert_eq!(records(data), whole_log(&bench), "v{version}");
    }
}

#[test]
fn reading_begins_with_the_batch_that_holds_the_offset() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(bench.produce_to(0, batch(&["a", "b", "c"])).error_code, 0);
    assert_eq!(bench.produce_to(0, batch(&["d", "e"])).error_code, 0);
    let log = bench.cluster.batches(b"t", 0).unwrap();
    for (offset, expected) in [(0, &log[..]), (2, &log[..]), (3, &log[1..]), (4, &log[1..])] {
        let data = ask(&mut bench, &fetch(&[(0, offset)])).remove(0);
        assert_eq!(records(&data), expected.concat(), "offset {offset}");
    }
    let at_end = ask(&mut bench, &fetch(&[(0, 5)])).remove(0);
    assert_eq!((at_end.error_code, records(&at_end).len()), (0, 0));
}

#[test]
fn an_offset_outside_of_the_log_is_error_1() {
    let mut bench = Bench::with_topic(1);
    bench.fill(&["a", "b", "c"]);
    bench.cluster.delete_records(b"t", 0, 1).unwrap();
    for offset in [-1, 0, 4, i64::MAX, i64::MIN] {
        let data = ask(&mut bench, &fetch(&[(0, offset)])).remove(0);
        assert_eq!(
            data.error_code,
            code(ErrorCode::OffsetOutOfRange),
            "offset {offset}"
        );
        assert_eq!(data.high_watermark, -1);
    }
    let data = ask(&mut bench, &fetch(&[(0, 1)])).remove(0);
    assert_eq!(
        (data.error_code, data.log_start_offset, data.high_watermark),
        (0, 1, 3)
    );
}

#[test]
fn unknown_partitions_are_error_3_and_those_of_another_broker_error_6() {
    let mut bench = Bench::with_brokers(2, 2);
    let found = ask(&mut bench, &fetch(&[(0, 0), (1, 0), (2, 0), (-1, 0)]));
    let errors: Vec<i16> = found.iter().map(|data| data.error_code).collect();
    assert_eq!(errors, [0, 6, 3, 3]);
}

#[test]
fn a_limit_cuts_the_last_batch_off_but_never_the_first() {
    let mut bench = Bench::with_topic(1);
    bench.fill(&["first", "second", "third"]);
    let log = whole_log(&bench);
    let first = bench.cluster.batches(b"t", 0).unwrap()[0].len();
    for limit in [
        0,
        1,
        first,
        first + 1,
        log.len() - 1,
        log.len(),
        log.len() + 1,
    ] {
        let expected = &log[..limit.clamp(first, log.len())];
        let mut by_partition = fetch(&[(0, 0)]);
        by_partition.topics[0].partitions[0].partition_max_bytes = limit as i32;
        assert_eq!(
            records(&ask(&mut bench, &by_partition)[0]),
            expected,
            "partition {limit}"
        );
        let by_request = FetchRequest {
            max_bytes: limit as i32,
            ..fetch(&[(0, 0)])
        };
        assert_eq!(
            records(&ask(&mut bench, &by_request)[0]),
            expected,
            "request {limit}"
        );
    }
}

#[test]
fn only_the_first_partition_with_data_may_exceed_the_requests_limit() {
    let mut bench = Bench::with_topic(3);
    for partition in [1, 2] {
        assert_eq!(bench.produce_to(partition, batch(&["abc"])).error_code, 0);
    }
    let tight = FetchRequest {
        max_bytes: 10,
        ..fetch(&[(0, 0), (1, 0), (2, 0)])
    };
    let found = ask(&mut bench, &tight);
    let sizes: Vec<bool> = found.iter().map(|data| records(data).is_empty()).collect();
    assert_eq!(sizes, [true, false, true]);
    assert_eq!(
        found[2].high_watermark, 1,
        "an empty partition still tells its high watermark"
    );
}

#[test]
fn a_fetch_session_nobody_opened_is_error_70() {
    let mut bench = Bench::with_topic(1);
    let session = FetchRequest {
        session_id: 5,
        session_epoch: 1,
        ..fetch(&[(0, 0)])
    };
    assert_eq!(
        bench.call(&session, 12).error_code,
        code(ErrorCode::FetchSessionIdNotFound)
    );
}

#[test]
fn leader_epochs_are_fenced() {
    let mut bench = Bench::with_brokers(2, 1);
    bench.cluster.set_leader(b"t", 0, 1).unwrap();
    bench.cluster.set_leader(b"t", 0, 0).unwrap();
    let fenced = code(ErrorCode::FencedLeaderEpoch);
    let unknown = code(ErrorCode::UnknownLeaderEpoch);
    for (epoch, error) in [(-1, 0), (0, fenced), (1, fenced), (2, 0), (3, unknown)] {
        let mut request = fetch(&[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(
            ask(&mut bench, &request)[0].error_code,
            error,
            "epoch {epoch}"
        );
    }
}

#[test]
fn bytes_that_were_put_in_unchecked_come_out_as_they_are() {
    let mut bench = Bench::with_topic(1);
    let offset = bench
        .cluster
        .append_unchecked(b"t", 0, "no batch".into(), 3)
        .unwrap();
    assert_eq!(
        (offset, bench.cluster.high_watermark(b"t", 0).unwrap()),
        (0, 3)
    );
    bench.fill(&["after"]);
    let data = ask(&mut bench, &fetch(&[(0, 2)])).remove(0);
    assert!(records(&data).starts_with(b"no batch"));
    assert_eq!(bench.values(0), ["after"]);
}
