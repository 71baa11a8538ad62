//! Fetches that wait, and the order of answers on a connection.

use crate::fetch::fetch;
use crate::support::{batch, code, only_answer, produce, read_answer, Bench};
use kafka_mock::{Output, Reply};
use kafka_wire::messages::fetch::FetchRequest;
use kafka_wire::messages::metadata::MetadataRequest;
use kafka_wire::messages::produce::ProduceRequest;
use kafka_wire::ErrorCode;

fn patient(min_bytes: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 500,
        min_bytes,
        ..fetch(&[(0, 0)])
    }
}

/// A bench with a second connection, 7, to broker 0.
fn bench() -> Bench {
    let mut bench = Bench::with_topic(1);
    bench.cluster.open(7, 0).unwrap();
    bench
}

#[test]
fn a_fetch_without_data_waits_until_its_time_is_over() {
    let mut bench = bench();
    let (reply, id) = bench.send(0, &patient(1), 12);
    assert_eq!(reply, Reply::Waiting);
    assert_eq!(bench.cluster.next_timeout(), Some(1_500));
    assert_eq!(bench.advance(499), []);
    let frame = only_answer(&bench.advance(1), 0);
    let answer = read_answer::<FetchRequest>(&frame, 12, id);
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    assert_eq!(bench.cluster.next_timeout(), None);
}

#[test]
fn data_ends_the_wait() {
    let mut bench = bench();
    let (_, id) = bench.send(0, &patient(1), 12);
    bench.call_on(7, &produce(0, batch(&["a"])), 9);
    let frame = only_answer(&bench.poll(), 0);
    let answer = read_answer::<FetchRequest>(&frame, 12, id);
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 1);
    assert!(!answer.responses[0].partitions[0]
        .records
        .as_ref()
        .unwrap()
        .is_empty());
}

#[test]
fn min_bytes_is_waited_for() {
    let mut bench = bench();
    let one = batch(&["a"]);
    bench.send(0, &patient(one.len() as i32 + 1), 12);
    bench.call_on(7, &produce(0, one.clone()), 9);
    assert_eq!(bench.poll(), []);
    bench.call_on(7, &produce(0, one), 9);
    only_answer(&bench.poll(), 0);
}

#[test]
fn errors_are_told_without_waiting() {
    let mut bench = bench();
    let wrong = FetchRequest {
        max_wait_ms: 500,
        ..fetch(&[(0, 0), (9, 0)])
    };
    assert_eq!(
        bench.call(&wrong, 12).responses[0].partitions[1].error_code,
        3
    );
}

#[test]
fn a_leader_that_moves_ends_the_wait_with_error_6() {
    let mut bench = Bench::with_brokers(2, 1);
    let (_, id) = bench.send(0, &patient(1), 12);
    bench.cluster.set_leader(b"t", 0, 1).unwrap();
    let frame = only_answer(&bench.poll(), 0);
    let answer = read_answer::<FetchRequest>(&frame, 12, id);
    let error = answer.responses[0].partitions[0].error_code;
    assert_eq!(error, code(ErrorCode::NotLeaderOrFollower));
}

#[test]
fn a_topic_that_is_deleted_ends_the_wait_with_error_3() {
    let mut bench = bench();
    let (_, id) = bench.send(0, &patient(1), 12);
    bench.cluster.delete_topic("t");
    let frame = only_answer(&bench.poll(), 0);
    let answer = read_answer::<FetchRequest>(&frame, 12, id);
    assert_eq!(answer.responses[0].partitions[0].error_code, 3);
}

#[test]
fn requests_behind_a_waiting_fetch_are_carried_out_after_it_in_order() {
    let mut bench = bench();
    let (_, fetch_id) = bench.send(0, &patient(1), 12);
    let (reply, metadata_id) = bench.send(0, &MetadataRequest::default(), 9);
    assert_eq!(reply, Reply::Waiting);
    let (reply, produce_id) = bench.send(0, &produce(0, batch(&["late"])), 9);
    assert_eq!(reply, Reply::Waiting);
    let quiet = ProduceRequest {
        acks: 0,
        ..produce(0, batch(&["later"]))
    };
    assert_eq!(bench.send(0, &quiet, 9).0, Reply::Waiting);
    assert_eq!(bench.poll(), []);
    assert!(
        bench.values(0).is_empty(),
        "nothing is carried out ahead of its turn"
    );

    let outputs = bench.advance(500);
    let frames: Vec<_> = outputs
        .iter()
        .map(|(conn, output)| match output {
            Output::Answer(frame) if *conn == 0 => frame,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(frames.len(), 3);
    read_answer::<FetchRequest>(frames[0], 12, fetch_id);
    read_answer::<MetadataRequest>(frames[1], 9, metadata_id);
    let produced = read_answer::<ProduceRequest>(frames[2], 9, produce_id);
    assert_eq!(produced.responses[0].partition_responses[0].base_offset, 0);
    assert_eq!(bench.values(0), ["late", "later"]);
}

#[test]
fn a_queued_produce_wakes_fetches_of_other_connections_in_the_same_poll() {
    let mut bench = bench();
    bench.send(
        0,
        &FetchRequest {
            max_wait_ms: 100,
            ..patient(1)
        },
        12,
    );
    bench.send(0, &produce(0, batch(&["a"])), 9);
    let (_, id) = bench.send(
        7,
        &FetchRequest {
            max_wait_ms: 60_000,
            ..patient(1)
        },
        12,
    );
    let outputs = bench.advance(100);
    let conns: Vec<_> = outputs.iter().map(|(conn, _)| *conn).collect();
    assert_eq!(conns, [0, 0, 7]);
    let Output::Answer(frame) = &outputs[2].1 else {
        panic!("{outputs:?}")
    };
    read_answer::<FetchRequest>(frame, 12, id);
}

#[test]
fn a_closed_connection_waits_for_nothing() {
    let mut bench = bench();
    bench.send(0, &patient(1), 12);
    bench.cluster.close(0);
    assert_eq!(bench.cluster.next_timeout(), None);
    assert_eq!(bench.advance(1_000), []);
    let (reply, _) = bench.send(0, &patient(1), 12);
    assert!(matches!(reply, Reply::Close(_)), "{reply:?}");
}

#[test]
fn a_huge_or_negative_wait_is_no_trouble() {
    let mut bench = bench();
    bench.now_ms = u64::MAX - 1;
    let (reply, _) = bench.send(
        0,
        &FetchRequest {
            max_wait_ms: i32::MAX,
            ..patient(1)
        },
        12,
    );
    assert_eq!(reply, Reply::Waiting);
    bench.call_on(
        7,
        &FetchRequest {
            max_wait_ms: -5,
            ..patient(1)
        },
        12,
    );
}
