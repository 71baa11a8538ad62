use crate::support::{batch, code, compressed_batch, forged, produce, tampered, Bench, CODECS};
use bytes::{Bytes, BytesMut};
use kafka_mock::{ClusterConfig, Reply};
use kafka_wire::messages::produce::{PartitionProduceResponse, ProduceRequest};
use kafka_wire::{Codec, ErrorCode};

/// Places within a batch.
const LENGTH: usize = 11;
const LEADER_EPOCH: std::ops::Range<usize> = 12..16;
const MAGIC: usize = 16;
const ATTRIBUTES: usize = 22;
const LAST_OFFSET_DELTA: usize = 26;
const COUNT: usize = 60;
const BODY: usize = 61;

fn refused_with(records: Bytes) -> i16 {
    let mut bench = Bench::with_topic(1);
    let answer = bench.produce_to(0, records);
    assert_eq!(answer.base_offset, -1);
    assert!(bench.values(0).is_empty(), "a refused batch is not kept");
    answer.error_code
}

#[test]
fn offsets_count_up_across_batches_at_every_version() {
    for version in 3..=11 {
        let mut bench = Bench::with_topic(1);
        for expected in [0, 3, 6] {
            let answer = bench.call(&produce(0, batch(&["a", "b", "c"])), version);
            assert_eq!(answer.responses[0].name, "t");
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!(
                (partition.index, partition.error_code),
                (0, 0),
                "v{version}"
            );
            assert_eq!(partition.base_offset, expected, "v{version}");
        }
        assert_eq!(bench.cluster.high_watermark(b"t", 0).unwrap(), 9);
    }
}

#[test]
fn batches_are_kept_as_sent_but_for_offset_and_leader_epoch() {
    let mut bench = Bench::with_brokers(2, 1);
    bench.cluster.set_leader(b"t", 0, 1).unwrap();
    bench.cluster.set_leader(b"t", 0, 0).unwrap();
    for codec in CODECS {
        let sent = compressed_batch(&["one", "two"], codec);
        let answer = bench.produce_to(0, sent.clone());
        let kept = bench.cluster.batches(b"t", 0).unwrap().pop().unwrap();
        assert_eq!(kept[..8], answer.base_offset.to_be_bytes());
        assert_eq!(kept[LEADER_EPOCH], 2i32.to_be_bytes());
        assert_eq!(kept[8..12], sent[8..12]);
        assert_eq!(kept[MAGIC..], sent[MAGIC..]);
    }
    assert_eq!(bench.values(0).len(), 10);
}

#[test]
fn acks_0_gets_no_answer_and_acks_minus_1_does() {
    let mut bench = Bench::with_topic(1);
    let quiet = ProduceRequest {
        acks: 0,
        ..produce(0, batch(&["a"]))
    };
    assert_eq!(bench.send(0, &quiet, 9).0, Reply::NoAnswer);
    let all = ProduceRequest {
        acks: -1,
        ..produce(0, batch(&["b"]))
    };
    assert_eq!(
        bench.call(&all, 9).responses[0].partition_responses[0].base_offset,
        1
    );
    assert_eq!(bench.values(0), ["a", "b"]);
}

#[test]
fn an_error_with_acks_0_closes_the_connection() {
    let mut bench = Bench::with_topic(1);
    let quiet = ProduceRequest {
        acks: 0,
        ..produce(7, batch(&["a"]))
    };
    let (reply, _) = bench.send(0, &quiet, 9);
    assert!(
        matches!(&reply, Reply::Close(why) if why.contains("UNKNOWN_TOPIC")),
        "{reply:?}"
    );
}

#[test]
fn other_acks_are_error_21() {
    let mut bench = Bench::with_topic(1);
    let odd = ProduceRequest {
        acks: 2,
        ..produce(0, batch(&["a"]))
    };
    let partition = bench.call(&odd, 9).responses[0].partition_responses[0].clone();
    assert_eq!(partition.error_code, code(ErrorCode::InvalidRequiredAcks));
}

#[test]
fn an_unknown_partition_is_error_3_and_another_brokers_is_error_6_with_its_leader() {
    let mut bench = Bench::with_brokers(2, 2);
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(bench.produce_to(2, batch(&["a"])).error_code, unknown);
    assert_eq!(bench.produce_to(-1, batch(&["a"])).error_code, unknown);

    let answer = bench.call(&produce(1, batch(&["a"])), 10);
    let PartitionProduceResponse {
        error_code,
        current_leader,
        ..
    } = &answer.responses[0].partition_responses[0];
    assert_eq!(*error_code, code(ErrorCode::NotLeaderOrFollower));
    assert_eq!(
        (current_leader.leader_id, current_leader.leader_epoch),
        (1, 0)
    );
    let endpoints: Vec<_> = answer
        .node_endpoints
        .iter()
        .map(|e| (e.node_id, e.port))
        .collect();
    assert_eq!(endpoints, [(1, 9001)]);
}

#[test]
fn a_checksum_that_does_not_fit_is_error_2() {
    let flipped = tampered(&batch(&["abc"]), BODY + 2, |b| b ^ 1);
    assert_eq!(refused_with(flipped), code(ErrorCode::CorruptMessage));
}

#[test]
fn what_is_not_one_magic_2_batch_is_error_87() {
    let good = batch(&["abc"]);
    let invalid = code(ErrorCode::InvalidRecord);
    assert_eq!(refused_with(Bytes::new()), invalid, "nothing");
    for (magic, error) in [
        (0, invalid),
        (1, invalid),
        (3, code(ErrorCode::CorruptMessage)),
    ] {
        assert_eq!(
            refused_with(tampered(&good, MAGIC, |_| magic)),
            error,
            "magic {magic}"
        );
    }
    let mut two = BytesMut::from(&good[..]);
    two.extend_from_slice(&good);
    assert_eq!(refused_with(two.freeze()), invalid, "two batches");
}

#[test]
fn counts_that_contradict_each_other_are_error_87() {
    let good = batch(&["abc", "def"]);
    let invalid = code(ErrorCode::InvalidRecord);
    assert_eq!(
        refused_with(forged(&good, LAST_OFFSET_DELTA, |_| 5)),
        invalid,
        "delta"
    );
    assert_eq!(refused_with(forged(&good, COUNT, |_| 3)), invalid, "count");
    assert_eq!(
        refused_with(forged(&good, COUNT, |_| 0)),
        invalid,
        "no records"
    );
}

#[test]
fn control_batches_of_a_client_are_refused() {
    let control = forged(&batch(&["abc"]), ATTRIBUTES, |a| a | 0x20);
    assert_eq!(refused_with(control), code(ErrorCode::InvalidRecord));
}

#[test]
fn a_batch_that_is_cut_off_or_lies_about_its_length_is_refused() {
    let good = batch(&["abc"]);
    for length in 1..good.len() {
        let error = refused_with(good.slice(..length));
        assert!([2, 87].contains(&error), "{length} bytes: error {error}");
    }
    let long = refused_with(tampered(&good, LENGTH, |b| b + 1));
    assert!([2, 87].contains(&long), "error {long}");
}

#[test]
fn data_that_does_not_decompress_is_refused() {
    let plain = batch(&["abc"]);
    for codec in 1..=7 {
        let error = refused_with(forged(&plain, ATTRIBUTES, |a| a | codec));
        assert_ne!(error, 0, "codec {codec}");
    }
}

#[test]
fn zstd_needs_produce_7() {
    let mut bench = Bench::with_topic(1);
    let request = produce(0, compressed_batch(&["abc"], Codec::Zstd));
    let old = bench.call(&request, 6).responses[0].partition_responses[0].clone();
    assert_eq!(old.error_code, code(ErrorCode::UnsupportedCompressionType));
    assert_eq!(
        bench.call(&request, 7).responses[0].partition_responses[0].error_code,
        0
    );
}

#[test]
fn a_batch_over_max_message_bytes_is_error_10() {
    let big = batch(&[&"x".repeat(1000)]);
    for (max_message_bytes, error) in [(big.len(), 0), (big.len() - 1, 10)] {
        let mut bench = Bench::new(ClusterConfig {
            max_message_bytes,
            ..Default::default()
        });
        bench.cluster.create_topic("t", 1).unwrap();
        assert_eq!(bench.produce_to(0, big.clone()).error_code, error);
    }
}
