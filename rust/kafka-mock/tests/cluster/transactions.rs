use crate::support::{
    init, initialising, produce, stamped_batch, transactional_batch, Bench, Producer, TxnClient,
};
use kafka_mock::{ConnId, CoordinatorKey, TransactionState};
use kafka_wire::messages::{InitProducerIdRequest, ProduceRequest};

const CONCURRENT: i16 = 51;
const FENCED: i16 = 90;
const INVALID_EPOCH: i16 = 47;
const INVALID_STATE: i16 = 48;
const INVALID_MAPPING: i16 = 49;

fn state(bench: &Bench) -> TransactionState {
    let (_, transaction) = bench.cluster.transactions().next().unwrap();
    transaction.state
}

#[test]
fn a_transactional_id_keeps_its_producer_id_and_gets_the_next_epoch() {
    let mut bench = Bench::with_topic(1);
    for version in 0..=5 {
        let answer = bench.call(&initialising("tx", None), version);
        let told = (answer.error_code, answer.producer_id, answer.producer_epoch);
        assert_eq!(told, (0, 0, version), "v{version}");
    }
    assert_eq!(init(&mut bench, "other", None).producer_id, 1);
}

#[test]
fn a_committed_transaction_is_visible_and_an_aborted_one_is_not() {
    let mut bench = Bench::with_topic(2);
    let client = TxnClient::start(&mut bench, "tx");
    assert_eq!(client.add(&mut bench, &[0, 1]), [0, 0]);
    assert_eq!(client.write(&mut bench, 0, 0, &["a", "b"]), 0);
    assert_eq!(client.write(&mut bench, 1, 0, &["c"]), 0);
    assert_eq!(bench.committed(0), [""; 0]);
    assert_eq!(client.end(&mut bench, true), 0);
    assert_eq!(bench.committed(0), ["a", "b"]);
    assert_eq!(bench.committed(1), ["c"]);

    assert_eq!(client.add(&mut bench, &[0]), [0]);
    assert_eq!(client.write(&mut bench, 0, 2, &["d"]), 0);
    assert_eq!(client.end(&mut bench, false), 0);
    assert_eq!(bench.values(0), ["a", "b", "d"]);
    assert_eq!(bench.committed(0), ["a", "b"]);
    // A marker takes up an offset.
    assert_eq!(bench.cluster.high_watermark(b"t", 0).unwrap(), 5);
}

#[test]
fn the_coordinator_shows_what_goes_on() {
    let mut bench = Bench::with_topic(2);
    let client = TxnClient::start(&mut bench, "tx");
    assert_eq!(state(&bench), TransactionState::Empty);
    client.add(&mut bench, &[1]);
    client.add_group(&mut bench, "g");
    let (id, transaction) = bench.cluster.transactions().next().unwrap();
    assert_eq!((&id[..], transaction.timeout_ms), (&b"tx"[..], 60_000));
    assert_eq!(transaction.state.name(), "Ongoing");
    assert!(transaction.partitions.iter().eq([&("t".into(), 1)]));
    assert!(transaction.groups.iter().eq(["g"]));
    client.end(&mut bench, true);
    assert_eq!(state(&bench), TransactionState::CompleteCommit);
    client.add(&mut bench, &[1]);
    client.end(&mut bench, false);
    assert_eq!(state(&bench), TransactionState::CompleteAbort);
}

#[test]
fn ending_twice_is_fine_if_it_is_the_same_end() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    assert_eq!(client.end(&mut bench, true), INVALID_STATE);
    client.add(&mut bench, &[0]);
    assert_eq!(client.end(&mut bench, true), 0);
    assert_eq!(client.end(&mut bench, true), 0);
    assert_eq!(client.end(&mut bench, false), INVALID_STATE);
    client.add(&mut bench, &[0]);
    assert_eq!(client.end(&mut bench, false), 0);
    assert_eq!(client.end(&mut bench, false), 0);
    assert_eq!(client.end(&mut bench, true), INVALID_STATE);
}

#[test]
fn a_second_instance_aborts_and_fences_the_first() {
    let mut bench = Bench::with_topic(1);
    let first = TxnClient::start(&mut bench, "tx");
    first.add(&mut bench, &[0]);
    first.write(&mut bench, 0, 0, &["lost"]);
    assert_eq!(init(&mut bench, "tx", None).error_code, CONCURRENT);
    let second = init(&mut bench, "tx", None);
    // One epoch to fence the first, and one for the second.
    assert_eq!((second.error_code, second.producer_epoch), (0, 2));

    assert_eq!(first.write(&mut bench, 0, 1, &["x"]), INVALID_EPOCH);
    assert_eq!(first.add(&mut bench, &[0]), [FENCED]);
    assert_eq!(first.add_group(&mut bench, "g"), FENCED);
    assert_eq!(first.end(&mut bench, true), FENCED);
    assert_eq!(first.commit_offset(&mut bench, "g", 1), INVALID_EPOCH);
    assert_eq!(bench.committed(0), [""; 0]);
    assert_eq!(bench.values(0), ["lost"]);
}

#[test]
fn older_versions_call_a_fenced_producer_one_of_an_invalid_epoch() {
    let mut bench = Bench::with_topic(1);
    let first = TxnClient::start(&mut bench, "tx");
    TxnClient::start(&mut bench, "tx");
    for (version, expected) in [(0, 47), (1, 47), (2, 90), (3, 90)] {
        let answer = bench.call(&first.adding(&[0]), version);
        let code = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
        assert_eq!(code.partition_error_code, expected, "v{version}");
        let ended = bench.call(&first.ending(true), version);
        assert_eq!(ended.error_code, expected, "v{version}");
    }
    let stranger = Producer { id: 77, epoch: 0 };
    for (version, expected) in [(3, 47), (4, 90)] {
        let answer = bench.call(&initialising("tx", Some(stranger)), version);
        assert_eq!(answer.error_code, expected, "v{version}");
    }
}

#[test]
fn a_producer_bumps_its_own_epoch_and_may_ask_twice() {
    let mut bench = Bench::with_topic(1);
    let before = TxnClient::start(&mut bench, "tx").producer;
    for _ in 0..2 {
        let answer = init(&mut bench, "tx", Some(before));
        let told = (answer.error_code, answer.producer_id, answer.producer_epoch);
        assert_eq!(
            told,
            (0, before.id, 1),
            "the same answer to the same request"
        );
    }
    let bumped = Producer { epoch: 1, ..before };
    assert_eq!(init(&mut bench, "tx", Some(bumped)).producer_epoch, 2);
    assert_eq!(init(&mut bench, "tx", Some(before)).error_code, FENCED);
    let half = InitProducerIdRequest {
        producer_epoch: -1,
        ..initialising("tx", Some(before))
    };
    assert_eq!(bench.call(&half, 4).error_code, 42);
}

#[test]
fn the_last_epoch_is_followed_by_another_producer_id() {
    let mut bench = Bench::with_topic(1);
    let mut last = TxnClient::start(&mut bench, "tx").producer;
    while last.epoch < i16::MAX - 1 {
        last.epoch = init(&mut bench, "tx", Some(last)).producer_epoch;
    }
    for _ in 0..2 {
        let answer = init(&mut bench, "tx", Some(last));
        assert_eq!(answer.error_code, 0);
        assert_ne!(answer.producer_id, last.id);
    }
}

#[test]
fn a_partition_that_was_not_added_is_refused() {
    let mut bench = Bench::with_topic(2);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    for (version, expected) in [(3, 48), (10, 48), (11, 120)] {
        let code = client.write_at(&mut bench, 1, 0, &["x"], version);
        assert_eq!(code, expected, "v{version}");
    }
    assert_eq!(client.write(&mut bench, 0, 0, &["x"]), 0);
    client.end(&mut bench, true);
    assert_eq!(client.write(&mut bench, 0, 1, &["y"]), INVALID_STATE);
}

#[test]
fn a_batch_and_its_producer_must_agree_about_the_transaction() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    let anonymous = produce(0, transactional_batch(client.producer, 0, &["x"]));
    let error = |bench: &mut Bench, request: &ProduceRequest| {
        let answer = bench.call(request, 9);
        answer.responses[0].partition_responses[0].error_code
    };
    assert_eq!(error(&mut bench, &anonymous), 53);
    assert_eq!(client.write(&mut bench, 0, 0, &["x"]), 0);
    let plain = produce(0, stamped_batch(client.producer, 1, &["y"]));
    assert_eq!(error(&mut bench, &plain), INVALID_STATE);
    let stranger = Producer { id: 99, epoch: 0 };
    let other = ProduceRequest {
        transactional_id: Some("tx".into()),
        ..produce(0, transactional_batch(stranger, 0, &["z"]))
    };
    assert_eq!(error(&mut bench, &other), INVALID_MAPPING);
}

#[test]
fn an_unknown_partition_keeps_all_others_out() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    assert_eq!(client.add(&mut bench, &[0, 7]), [55, 3]);
    assert_eq!(client.write(&mut bench, 0, 0, &["x"]), INVALID_STATE);
}

#[test]
fn an_id_that_is_unknown_or_mapped_otherwise_is_error_49() {
    let mut bench = Bench::with_topic(1);
    let mut client = TxnClient::start(&mut bench, "tx");
    client.producer.id = 55;
    assert_eq!(client.add(&mut bench, &[0]), [INVALID_MAPPING]);
    client.id = "unknown";
    assert_eq!(client.end(&mut bench, true), INVALID_MAPPING);
    client.id = "";
    assert_eq!(client.end(&mut bench, true), 42);
}

#[test]
fn a_timeout_must_be_one_that_brokers_allow() {
    let mut bench = Bench::with_topic(1);
    for (timeout, expected) in [(0, 50), (-1, 50), (900_001, 50), (900_000, 0)] {
        let request = InitProducerIdRequest {
            transaction_timeout_ms: timeout,
            ..initialising("tx", None)
        };
        assert_eq!(bench.call(&request, 4).error_code, expected, "{timeout}");
    }
}

#[test]
fn a_transaction_that_lasts_too_long_is_aborted_and_its_producer_fenced() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    bench.advance(5_000);
    assert_eq!(bench.cluster.next_timeout(), None);
    client.add(&mut bench, &[0]);
    client.write(&mut bench, 0, 0, &["x"]);
    assert_eq!(bench.cluster.next_timeout(), Some(bench.now_ms + 60_000));
    bench.advance(59_999);
    assert_eq!(state(&bench), TransactionState::Ongoing);
    bench.advance(1);
    assert_eq!(state(&bench), TransactionState::CompleteAbort);
    assert_eq!(client.end(&mut bench, true), FENCED);
    assert_eq!(client.write(&mut bench, 0, 1, &["y"]), INVALID_EPOCH);
}

#[test]
fn only_the_coordinator_answers_and_it_moves_when_its_broker_stops() {
    let mut bench = Bench::with_brokers(3, 1);
    bench.cluster.set_leader(b"t", 0, 2).unwrap();
    bench
        .cluster
        .set_coordinator(CoordinatorKey::Transaction, b"tx", 1)
        .unwrap();
    let client = TxnClient::start(&mut bench, "tx");
    let wrong: [ConnId; 2] = [0, 2];
    for conn in wrong {
        let answer = bench.call_on(conn, &initialising("tx", None), 4);
        assert_eq!(answer.error_code, 16);
        assert_eq!(bench.call_on(conn, &client.ending(true), 3).error_code, 16);
        let added = bench.call_on(conn, &client.adding(&[0]), 3);
        let topic = &added.results_by_topic_v3_and_below[0];
        assert_eq!(topic.results_by_partition[0].partition_error_code, 16);
    }
    assert_eq!(client.add(&mut bench, &[0]), [0]);
    bench.cluster.stop_broker(1).unwrap();
    assert_eq!(bench.txn_coordinator("tx"), 2);
    assert_eq!(client.write(&mut bench, 0, 0, &["x"]), 0);
    assert_eq!(client.end(&mut bench, true), 0);
    assert_eq!(bench.committed(0), ["x"]);
}

#[test]
fn the_positions_of_a_transaction_count_once_it_is_committed() {
    let mut bench = Bench::with_brokers(2, 1);
    let client = TxnClient::start(&mut bench, "tx");
    let stored = |bench: &Bench| -> Vec<i64> {
        let offsets = bench.cluster.committed_offsets(b"g");
        offsets.map(|(_, stored)| stored.offset).collect()
    };
    assert_eq!(client.commit_offset(&mut bench, "g", 5), INVALID_STATE);
    assert_eq!(client.add_group(&mut bench, "g"), 0);
    assert_eq!(client.commit_offset(&mut bench, "g", 5), 0);
    assert_eq!(stored(&bench), [0i64; 0]);
    assert_eq!(client.end(&mut bench, true), 0);
    assert_eq!(stored(&bench), [5]);

    client.add_group(&mut bench, "g");
    client.commit_offset(&mut bench, "g", 9);
    client.end(&mut bench, false);
    assert_eq!(stored(&bench), [5]);
}

#[test]
fn positions_are_stored_at_every_version_by_the_groups_coordinator() {
    let mut bench = Bench::with_brokers(2, 1);
    let client = TxnClient::start(&mut bench, "tx");
    client.add_group(&mut bench, "g");
    let right = bench.cluster.coordinator(CoordinatorKey::Group, b"g") as ConnId;
    for version in 0..=4 {
        for (conn, expected) in [(right, 0), (1 - right, 16)] {
            let answer = bench.call_on(conn, &client.storing("g", 1), version);
            let code = answer.topics[0].partitions[0].error_code;
            assert_eq!(code, expected, "v{version}");
        }
    }
    let elsewhere = bench.call_on(right, &client.storing("other", 1), 4);
    assert!([16, 120].contains(&elsewhere.topics[0].partitions[0].error_code));
}
