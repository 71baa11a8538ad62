//! Faults in what a transactional producer asks for.

use crate::support::{init, initialising, Bench, TxnClient};
use kafka_mock::{Fault, Reply, TransactionState};
use kafka_wire::ApiKey;

fn once(api: ApiKey, error: i16) -> Fault {
    Fault {
        error: Some(error),
        times: Some(1),
        ..Fault::on(api)
    }
}

fn state(bench: &Bench) -> TransactionState {
    bench.cluster.transactions().next().unwrap().1.state
}

#[test]
fn an_error_keeps_the_request_from_taking_effect() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    bench.cluster.fault(once(ApiKey::AddPartitionsToTxn, 51));
    assert_eq!(client.add(&mut bench, &[0]), [51]);
    assert_eq!(state(&bench), TransactionState::Empty);
    bench.cluster.fault(once(ApiKey::AddOffsetsToTxn, 14));
    assert_eq!(client.add_group(&mut bench, "g"), 14);
    assert_eq!(state(&bench), TransactionState::Empty);
    client.add_group(&mut bench, "g");
    bench.cluster.fault(once(ApiKey::TxnOffsetCommit, 15));
    assert_eq!(client.commit_offset(&mut bench, "g", 3), 15);
    bench.cluster.fault(once(ApiKey::EndTxn, 7));
    assert_eq!(client.end(&mut bench, true), 7);
    assert_eq!(state(&bench), TransactionState::Ongoing);
    assert_eq!(client.end(&mut bench, true), 0);
    assert_eq!(bench.cluster.committed_offsets(b"g").count(), 0);
    bench.cluster.fault(once(ApiKey::InitProducerId, 16));
    assert_eq!(init(&mut bench, "tx", None).error_code, 16);
    assert_eq!(init(&mut bench, "tx", None).producer_epoch, 1);
}

#[test]
fn an_error_can_come_although_the_request_took_effect() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    let applied = |api| Fault {
        applied: true,
        ..once(api, 7)
    };
    bench.cluster.fault(applied(ApiKey::AddPartitionsToTxn));
    assert_eq!(client.add(&mut bench, &[0]), [7]);
    assert_eq!(state(&bench), TransactionState::Ongoing);
    assert_eq!(client.write(&mut bench, 0, 0, &["x"]), 0);
    client.add_group(&mut bench, "g");
    bench.cluster.fault(applied(ApiKey::TxnOffsetCommit));
    assert_eq!(client.commit_offset(&mut bench, "g", 3), 7);
    bench.cluster.fault(applied(ApiKey::EndTxn));
    assert_eq!(client.end(&mut bench, true), 7);
    assert_eq!(bench.committed(0), ["x"]);
    assert_eq!(bench.cluster.committed_offsets(b"g").count(), 1);
}

#[test]
fn an_error_of_one_partition_leaves_the_others_unattempted() {
    let mut bench = Bench::with_topic(3);
    let client = TxnClient::start(&mut bench, "tx");
    bench.cluster.fault(Fault {
        partition: Some(1),
        ..once(ApiKey::AddPartitionsToTxn, 29)
    });
    assert_eq!(client.add(&mut bench, &[0, 2]), [0, 0]);
    assert_eq!(client.add(&mut bench, &[0, 1, 2]), [55, 29, 55]);
    assert_eq!(client.add(&mut bench, &[0, 1, 2]), [0, 0, 0]);
}

#[test]
fn a_commit_whose_answer_is_lost_has_been_made() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    client.write(&mut bench, 0, 0, &["x"]);
    bench.cluster.fault(Fault {
        drop: true,
        applied: true,
        times: Some(1),
        ..Fault::on(ApiKey::EndTxn)
    });
    let (reply, _) = bench.send(0, &client.ending(true), 3);
    assert!(matches!(reply, Reply::Close(_)), "{reply:?}");
    bench.cluster.open(0, 0).unwrap();
    assert_eq!(bench.committed(0), ["x"]);
    assert_eq!(client.end(&mut bench, true), 0);
}

#[test]
fn answers_can_be_late() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.fault(Fault {
        delay_ms: 50,
        times: Some(1),
        ..Fault::on(ApiKey::InitProducerId)
    });
    let (reply, _) = bench.send(0, &initialising("tx", None), 4);
    assert_eq!(reply, Reply::Waiting);
    assert_eq!(bench.advance(49), []);
    assert_eq!(bench.advance(1).len(), 1);
}
