//! What readers of committed records get while transactions go on, and after.

use crate::fetch::fetch;
use crate::support::{batch, stamped_batch, Bench, Producer, TxnClient};
use kafka_mock::Reply;
use kafka_wire::messages::fetch::{FetchRequest, PartitionData};
use kafka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_wire::records::{ControlType, RecordBatches, MAX_DECOMPRESSED_LEN};

fn read(bench: &mut Bench, offset: i64, isolation_level: i8, version: i16) -> PartitionData {
    let request = FetchRequest {
        isolation_level,
        min_bytes: 0,
        ..fetch(&[(0, offset)])
    };
    bench.call(&request, version).responses[0].partitions[0].clone()
}

/// Producer ids and first offsets.
fn aborted(data: &PartitionData) -> Option<Vec<(i64, i64)>> {
    let list = data.aborted_transactions.as_ref()?;
    Some(
        list.iter()
            .map(|a| (a.producer_id, a.first_offset))
            .collect(),
    )
}

/// The base offsets of all batches.
fn offsets(data: &PartitionData) -> Vec<i64> {
    let batches = RecordBatches::new(data.records.clone().unwrap_or_default());
    batches.map(|batch| batch.unwrap().base_offset).collect()
}

#[test]
fn a_fetch_of_committed_records_ends_where_the_first_transaction_is_open() {
    let mut bench = Bench::with_topic(1);
    bench.fill(&["before"]);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    client.write(&mut bench, 0, 0, &["in"]);
    bench.fill(&["after"]);
    for version in 4..=12 {
        let committed = read(&mut bench, 0, 1, version);
        assert_eq!(offsets(&committed), [0], "v{version}");
        assert_eq!(aborted(&committed), Some(vec![]), "v{version}");
        let told = (committed.last_stable_offset, committed.high_watermark);
        assert_eq!(told, (1, 3), "v{version}");
        let all = read(&mut bench, 0, 0, version);
        assert_eq!(offsets(&all), [0, 1, 2], "v{version}");
        assert_eq!(aborted(&all), None, "v{version}");
        assert_eq!(all.last_stable_offset, 1, "v{version}");
    }
    assert_eq!(bench.cluster.last_stable_offset(b"t", 0).unwrap(), 1);
    assert_eq!(bench.committed(0), ["before"]);
    assert_eq!(offsets(&read(&mut bench, 2, 1, 11)), [0i64; 0]);
    client.end(&mut bench, true);
    assert_eq!(offsets(&read(&mut bench, 2, 1, 11)), [2, 3]);
    assert_eq!(bench.committed(0), ["before", "in", "after"]);
}

#[test]
fn aborted_transactions_are_told_of_where_they_matter() {
    let mut bench = Bench::with_topic(1);
    let one = TxnClient::start(&mut bench, "one");
    let two = TxnClient::start(&mut bench, "two");
    one.add(&mut bench, &[0]);
    two.add(&mut bench, &[0]);
    one.write(&mut bench, 0, 0, &["a"]);
    two.write(&mut bench, 0, 0, &["b"]);
    one.write(&mut bench, 0, 1, &["c"]);
    one.end(&mut bench, false);
    two.end(&mut bench, true);
    one.add(&mut bench, &[0]);
    one.write(&mut bench, 0, 2, &["d"]);
    one.end(&mut bench, false);
    bench.fill(&["e"]);
    let id = one.producer.id;
    assert_eq!(
        aborted(&read(&mut bench, 0, 1, 11)),
        Some(vec![(id, 0), (id, 5)])
    );
    assert_eq!(
        aborted(&read(&mut bench, 3, 1, 11)),
        Some(vec![(id, 0), (id, 5)])
    );
    assert_eq!(aborted(&read(&mut bench, 4, 1, 11)), Some(vec![(id, 5)]));
    assert_eq!(aborted(&read(&mut bench, 7, 1, 11)), Some(vec![]));
    assert_eq!(bench.committed(0), ["b", "e"]);
}

#[test]
fn a_waiting_fetch_of_committed_records_is_answered_at_the_end_of_the_transaction() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.open(7, 0).unwrap();
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    let request = FetchRequest {
        isolation_level: 1,
        min_bytes: 1,
        max_wait_ms: 10_000,
        ..fetch(&[(0, 0)])
    };
    assert_eq!(bench.send(7, &request, 11).0, Reply::Waiting);
    client.write(&mut bench, 0, 0, &["a"]);
    assert_eq!(bench.poll(), []);
    client.end(&mut bench, true);
    assert_eq!(bench.poll().len(), 1);
}

#[test]
fn a_marker_is_a_control_batch_of_the_producer() {
    for (committed, expected) in [(true, ControlType::Commit), (false, ControlType::Abort)] {
        let mut bench = Bench::with_topic(1);
        let client = TxnClient::start(&mut bench, "tx");
        client.add(&mut bench, &[0]);
        client.write(&mut bench, 0, 0, &["a"]);
        client.end(&mut bench, committed);
        let bytes = bench.cluster.batches(b"t", 0).unwrap().pop().unwrap();
        let marker = RecordBatches::new(bytes).next().unwrap().unwrap();
        assert!(marker.is_control() && marker.is_transactional());
        assert_eq!(marker.base_offset, 1);
        let by = (
            marker.producer_id,
            marker.producer_epoch,
            marker.base_sequence,
        );
        assert_eq!(by, (client.producer.id, client.producer.epoch, -1));
        let records = marker.records(MAX_DECOMPRESSED_LEN).unwrap();
        let types: Vec<_> = records.iter().map(|record| record.control_type()).collect();
        assert_eq!(types, [Some(expected)]);
    }
}

#[test]
fn the_latest_offset_is_the_last_stable_one_for_readers_of_committed_records() {
    let mut bench = Bench::with_topic(1);
    bench.fill(&["before"]);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    client.write(&mut bench, 0, 0, &["in"]);
    let mut at = |timestamp, isolation_level, version| {
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level,
            topics: vec![ListOffsetsTopic {
                name: "t".into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: 0,
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        bench.call(&request, version).topics[0].partitions[0].offset
    };
    for version in 2..=10 {
        assert_eq!(at(-1, 1, version), 1, "v{version}");
        assert_eq!(at(-1, 0, version), 2, "v{version}");
        assert_eq!(at(-2, 1, version), 0, "v{version}");
    }
    assert_eq!(at(1_000, 1, 5), 0);
}

#[test]
fn a_transaction_leaves_what_others_write_alone() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    client.write(&mut bench, 0, 0, &["aborted"]);
    bench.produce_to(0, batch(&["plain"]));
    let idempotent = Producer { id: 40, epoch: 0 };
    bench.produce_to(0, stamped_batch(idempotent, 0, &["idempotent"]));
    client.end(&mut bench, false);
    assert_eq!(bench.committed(0), ["plain", "idempotent"]);
}

#[test]
fn a_deleted_topic_does_not_keep_a_transaction_from_ending() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    client.write(&mut bench, 0, 0, &["a"]);
    bench.cluster.delete_topic("t");
    assert_eq!(client.end(&mut bench, true), 0);
}

#[test]
fn lost_records_are_lost_to_producers_and_transactions_too() {
    let mut bench = Bench::with_topic(1);
    let client = TxnClient::start(&mut bench, "tx");
    client.add(&mut bench, &[0]);
    client.write(&mut bench, 0, 0, &["a"]);
    client.write(&mut bench, 0, 1, &["b"]);
    bench.cluster.lose_records(b"t", 0, 1).unwrap();
    assert_eq!(client.write(&mut bench, 0, 2, &["c"]), 45, "1 was lost");
    assert_eq!(client.write(&mut bench, 0, 1, &["b"]), 0);
    assert_eq!(bench.values(0), ["a", "b"]);
    bench.cluster.lose_records(b"t", 0, 0).unwrap();
    bench.fill(&["other"]);
    assert_eq!(bench.committed(0), ["other"], "no transaction is open");
}
