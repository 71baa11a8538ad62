use crate::support::{code, stamped_batch, Bench, Producer};
use kafka_mock::Fault;
use kafka_wire::messages::InitProducerIdRequest;
use kafka_wire::{ApiKey, ErrorCode};

fn without_transactions() -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    }
}

/// Produces records whose sequences begin there: error code and base offset.
fn write(bench: &mut Bench, by: Producer, sequence: i32, values: &[&str]) -> (i16, i64) {
    let answer = bench.produce_to(0, stamped_batch(by, sequence, values));
    (answer.error_code, answer.base_offset)
}

const P: Producer = Producer { id: 7, epoch: 0 };
const OUT_OF_ORDER: (i16, i64) = (45, -1);

#[test]
fn every_version_gives_a_new_producer_id_whatever_broker_is_asked() {
    let mut bench = Bench::with_brokers(2, 1);
    let mut expected = 0;
    for version in 0..=5 {
        for conn in [0, 1] {
            let answer = bench.call_on(conn, &without_transactions(), version);
            let told = (answer.error_code, answer.producer_id, answer.producer_epoch);
            assert_eq!(told, (0, expected, 0), "v{version}");
            expected += 1;
        }
    }
}

#[test]
fn batches_in_sequence_are_appended_and_a_repeated_one_is_not() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(write(&mut bench, P, 0, &["a", "b"]), (0, 0));
    assert_eq!(write(&mut bench, P, 2, &["c"]), (0, 2));
    assert_eq!(write(&mut bench, P, 0, &["a", "b"]), (0, 0));
    assert_eq!(write(&mut bench, P, 2, &["c"]), (0, 2));
    assert_eq!(write(&mut bench, P, 3, &["d"]), (0, 3));
    assert_eq!(bench.values(0), ["a", "b", "c", "d"]);
}

#[test]
fn only_the_last_five_batches_may_be_repeated() {
    let mut bench = Bench::with_topic(1);
    for sequence in 0..6 {
        assert_eq!(write(&mut bench, P, sequence, &["x"]).0, 0);
    }
    assert_eq!(write(&mut bench, P, 1, &["x"]), (0, 1));
    assert_eq!(write(&mut bench, P, 0, &["x"]), OUT_OF_ORDER);
    assert_eq!(bench.values(0).len(), 6);
}

#[test]
fn a_batch_cut_otherwise_is_no_repetition() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(write(&mut bench, P, 0, &["a", "b"]), (0, 0));
    assert_eq!(write(&mut bench, P, 0, &["a"]), OUT_OF_ORDER);
    assert_eq!(write(&mut bench, P, 1, &["b"]), OUT_OF_ORDER);
}

#[test]
fn a_gap_is_error_45() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(write(&mut bench, P, 0, &["a"]), (0, 0));
    assert_eq!(write(&mut bench, P, 2, &["c"]), OUT_OF_ORDER);
    assert_eq!(write(&mut bench, P, 1, &["b"]), (0, 1));
}

#[test]
fn a_producer_that_the_partition_does_not_know_begins_anywhere() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(write(&mut bench, P, 17, &["a"]), (0, 0));
    assert_eq!(write(&mut bench, P, 18, &["b"]), (0, 1));
    assert_eq!(write(&mut bench, P, 0, &["c"]), OUT_OF_ORDER);
}

#[test]
fn sequences_begin_at_0_again_behind_the_largest() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(write(&mut bench, P, i32::MAX - 1, &["a", "b", "c"]), (0, 0));
    assert_eq!(write(&mut bench, P, i32::MAX - 1, &["a", "b", "c"]), (0, 0));
    assert_eq!(write(&mut bench, P, 1, &["d"]), (0, 3));
}

#[test]
fn an_older_epoch_is_error_47_and_a_newer_one_begins_at_0() {
    let mut bench = Bench::with_topic(1);
    let bumped = Producer { epoch: 1, ..P };
    assert_eq!(write(&mut bench, P, 0, &["a"]), (0, 0));
    assert_eq!(write(&mut bench, bumped, 1, &["b"]), OUT_OF_ORDER);
    assert_eq!(write(&mut bench, bumped, 0, &["b"]), (0, 1));
    assert_eq!(write(&mut bench, P, 1, &["c"]), (47, -1));
    assert_eq!(write(&mut bench, P, 0, &["a"]), (47, -1));
    assert_eq!(write(&mut bench, bumped, 1, &["c"]), (0, 2));
}

#[test]
fn producers_and_partitions_are_apart() {
    let mut bench = Bench::with_topic(2);
    let other = Producer { id: 8, epoch: 3 };
    assert_eq!(write(&mut bench, P, 0, &["a"]), (0, 0));
    assert_eq!(write(&mut bench, other, 0, &["b"]), (0, 1));
    let elsewhere = bench.produce_to(1, stamped_batch(P, 0, &["a"]));
    assert_eq!((elsewhere.error_code, elsewhere.base_offset), (0, 0));
}

#[test]
fn what_was_appended_behind_an_error_is_a_repetition_when_it_comes_again() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.fault(Fault {
        error: Some(7),
        applied: true,
        times: Some(1),
        ..Fault::on(ApiKey::Produce)
    });
    assert_eq!(write(&mut bench, P, 0, &["a"]), (7, -1));
    assert_eq!(write(&mut bench, P, 0, &["a"]), (0, 0));
    assert_eq!(bench.values(0), ["a"]);
}

#[test]
fn a_leader_knows_what_the_last_one_knew() {
    let mut bench = Bench::with_brokers(2, 1);
    assert_eq!(write(&mut bench, P, 0, &["a"]), (0, 0));
    bench.cluster.set_leader(b"t", 0, 1).unwrap();
    let request = crate::support::produce(0, stamped_batch(P, 0, &["a"]));
    let answer = bench.call_on(1, &request, 9);
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 0);
    assert_eq!(bench.values(0), ["a"]);
}

#[test]
fn a_producer_id_without_a_sequence_is_error_87() {
    let mut bench = Bench::with_topic(1);
    let refused = write(&mut bench, P, -1, &["a"]);
    assert_eq!(refused, (code(ErrorCode::InvalidRecord), -1));
}

#[test]
fn an_id_can_be_refused_by_a_fault() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.fault(Fault {
        error: Some(14),
        times: Some(1),
        ..Fault::on(ApiKey::InitProducerId)
    });
    let answer = bench.call(&without_transactions(), 4);
    let told = (answer.error_code, answer.producer_id, answer.producer_epoch);
    assert_eq!(told, (14, -1, -1));
    assert_eq!(bench.call(&without_transactions(), 4).producer_id, 0);
}
