//! Answers that end early, lie about lengths, or are no answers at all.

use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::arbitrary::{Arbitrary, Entropy};
use kafka_wire::message::DecodeErrorKind;
use kafka_wire::messages::metadata::*;
use kafka_wire::messages::*;
use kafka_wire::{ApiKey, Message, Reader, Request, Writer};
use proptest::prelude::*;

fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message
        .encode(&mut writer, version)
        .expect("it fits the version");
    writer.into_bytes()
}

fn decode<M: Message>(bytes: Bytes, version: i16) -> Result<M, kafka_wire::DecodeError> {
    M::decode(&mut Reader::new(bytes), version)
}

/// Choices that fill a message well: a fixed, ugly sequence.
fn choices(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..400)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn truncate_everywhere<R: Request>()
where
    R::Response: Arbitrary + PartialEq + Debug,
{
    for version in R::API.versions() {
        for seed in 0..4 {
            let message = R::Response::arbitrary(&mut Entropy::new(&choices(seed)), version);
            let bytes = encode(&message, version);
            let step = bytes.len() / 3000 + 1;
            for len in (0..bytes.len()).step_by(step) {
                let cut = bytes.slice(..len);
                assert!(
                    decode::<R::Response>(cut.clone(), version).is_err(),
                    "{} cut at {len}",
                    R::API
                );
                let (_, truncated) = R::Response::decode_partial(cut, version);
                assert!(truncated, "{} version {version} cut at {len}", R::API);
            }
            let (whole, truncated) = R::Response::decode_partial(bytes, version);
            assert!(!truncated);
            assert_eq!(whole, message);
        }
    }
}

#[test]
fn every_answer_can_be_cut_at_every_byte() {
    truncate_everywhere::<ApiVersionsRequest>();
    truncate_everywhere::<MetadataRequest>();
    truncate_everywhere::<ProduceRequest>();
    truncate_everywhere::<FetchRequest>();
    truncate_everywhere::<ListOffsetsRequest>();
    truncate_everywhere::<FindCoordinatorRequest>();
    truncate_everywhere::<CreateTopicsRequest>();
    truncate_everywhere::<DeleteTopicsRequest>();
    truncate_everywhere::<JoinGroupRequest>();
    truncate_everywhere::<SyncGroupRequest>();
    truncate_everywhere::<HeartbeatRequest>();
    truncate_everywhere::<LeaveGroupRequest>();
    truncate_everywhere::<OffsetCommitRequest>();
    truncate_everywhere::<OffsetFetchRequest>();
    truncate_everywhere::<InitProducerIdRequest>();
    truncate_everywhere::<AddPartitionsToTxnRequest>();
    truncate_everywhere::<AddOffsetsToTxnRequest>();
    truncate_everywhere::<EndTxnRequest>();
    truncate_everywhere::<TxnOffsetCommitRequest>();
    truncate_everywhere::<SaslHandshakeRequest>();
    truncate_everywhere::<SaslAuthenticateRequest>();
}

fn cluster() -> MetadataResponse {
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: Bytes::from_static(b"broker.example"),
        port: 9092,
        ..Default::default()
    };
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        replica_nodes: vec![1, 2],
        isr_nodes: vec![2, 1],
        ..Default::default()
    };
    let topic = |name: &'static str| MetadataResponseTopic {
        name: Some(Bytes::from_static(name.as_bytes())),
        partitions: (0..3).map(partition).collect(),
        ..Default::default()
    };
    MetadataResponse {
        brokers: vec![broker(1), broker(2)],
        topics: vec![topic("first"), topic("second")],
        ..Default::default()
    }
}

/// `part` has only whole elements of `whole`, in order, except that its last topic may miss partitions.
fn assert_prefix(part: &MetadataResponse, whole: &MetadataResponse) {
    assert_eq!(part.brokers, whole.brokers[..part.brokers.len()]);
    for (i, (topic, full)) in part.topics.iter().zip(&whole.topics).enumerate() {
        assert_eq!(topic.name, full.name);
        assert_eq!(topic.partitions, full.partitions[..topic.partitions.len()]);
        assert!(
            !topic.partitions.is_empty(),
            "a topic without a whole partition is not worth keeping"
        );
        assert!(topic.partitions.len() == 3 || i + 1 == part.topics.len());
    }
}

#[test]
fn what_was_complete_before_the_break_is_kept() {
    let whole = cluster();
    for version in ApiKey::Metadata.versions() {
        let bytes = encode(&whole, version);
        let mut seen = Vec::new();
        for len in 0..bytes.len() {
            let (part, truncated) = MetadataResponse::decode_partial(bytes.slice(..len), version);
            assert!(truncated);
            assert_prefix(&part, &whole);
            let partitions: usize = part.topics.iter().map(|t| t.partitions.len()).sum();
            seen.push((part.brokers.len(), part.topics.len(), partitions));
        }
        assert!(seen.is_sorted(), "more bytes never give less");
        seen.dedup();
        let steps = [
            (0, 0, 0),
            (1, 0, 0),
            (2, 0, 0),
            (2, 1, 1),
            (2, 1, 2),
            (2, 1, 3),
            (2, 2, 4),
            (2, 2, 5),
        ];
        assert!(seen.starts_with(&steps), "version {version}: {seen:?}");
    }
}

#[test]
fn a_fetched_partition_is_kept_whole_or_not_at_all() {
    use kafka_wire::messages::fetch::*;
    let partition = |partition_index| PartitionData {
        partition_index,
        aborted_transactions: Some(vec![AbortedTransaction {
            producer_id: 1,
            first_offset: 2,
        }]),
        records: Some(Bytes::from_static(b"records")),
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        topic: Bytes::from_static(b"t"),
        partitions: vec![partition(0), partition(1)],
        ..Default::default()
    };
    let whole = FetchResponse {
        responses: vec![topic],
        ..Default::default()
    };
    for version in ApiKey::Fetch.versions() {
        let bytes = encode(&whole, version);
        for len in 0..bytes.len() {
            let (part, _) = FetchResponse::decode_partial(bytes.slice(..len), version);
            for topic in &part.responses {
                assert_eq!(
                    topic.partitions,
                    whole.responses[0].partitions[..topic.partitions.len()]
                );
            }
        }
    }
}

#[test]
fn a_count_that_cannot_be_true_costs_nothing() {
    // Metadata 1: an array of 2³¹ - 1 brokers, then nothing.
    let bytes = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let error = decode::<MetadataResponse>(bytes.clone(), 1).expect_err("there are none");
    assert_eq!(error.kind, DecodeErrorKind::UnexpectedEnd);
    assert_eq!(
        error.to_string(),
        "MetadataResponse.brokers: unexpected end of data"
    );
    assert_eq!(
        MetadataResponse::decode_partial(bytes, 1),
        (MetadataResponse::default(), true)
    );
    // The same as a compact array, behind the throttle time.
    let bytes = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(decode::<MetadataResponse>(bytes.clone(), 9).is_err());
    assert!(MetadataResponse::decode_partial(bytes, 9).1);
}

#[test]
fn negative_lengths_and_unexpected_nulls_are_refused() {
    let with_count = |count: i32| Bytes::copy_from_slice(&count.to_be_bytes());
    let kind = |bytes| {
        decode::<MetadataResponse>(bytes, 1)
            .expect_err("refused")
            .kind
    };
    assert_eq!(kind(with_count(-2)), DecodeErrorKind::InvalidLength(-2));
    assert_eq!(
        kind(with_count(i32::MIN)),
        DecodeErrorKind::InvalidLength(i32::MIN)
    );
    assert_eq!(kind(with_count(-1)), DecodeErrorKind::NullNotAllowed);
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    // ApiVersions 3: no error, no APIs, no throttling, then two tagged fields of which we know one.
    let mut bytes = BytesMut::from(&[0, 0, 1, 0, 0, 0, 0, 2][..]);
    bytes.put_slice(&[1, 8]);
    bytes.put_i64(42);
    bytes.put_slice(&[100, 3, 1, 2, 3]);
    let decoded: ApiVersionsResponse = decode(bytes.freeze(), 3).expect("sound");
    assert_eq!(decoded.finalized_features_epoch, 42);
}

#[test]
fn a_tagged_field_cannot_read_beyond_its_size() {
    let mut bytes = BytesMut::from(&[0, 0, 1, 0, 0, 0, 0, 1][..]);
    bytes.put_slice(&[1, 4]);
    bytes.put_i64(42);
    assert!(decode::<ApiVersionsResponse>(bytes.freeze(), 3).is_err());
    // A size that reaches beyond the answer, and four thousand million fields.
    for tail in [
        &[1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
        &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
    ] {
        let bytes = Bytes::from([&[0, 0, 1, 0, 0, 0, 0][..], tail].concat());
        assert!(decode::<ApiVersionsResponse>(bytes, 3).is_err());
    }
}

macro_rules! never_panic {
    ($bytes:expr, $($request:ty),*) => {$(
        for version in <$request>::API.versions() {
            let _ = decode::<$request>($bytes.clone(), version);
            let _ = decode::<<$request as Request>::Response>($bytes.clone(), version);
            let _ = <$request as Request>::Response::decode_partial($bytes.clone(), version);
        }
    )*};
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0..4u8], 0..200),
    ) {
        let bytes = Bytes::from(bytes);
        never_panic!(
            bytes, ApiVersionsRequest, MetadataRequest, ProduceRequest, FetchRequest, ListOffsetsRequest,
            FindCoordinatorRequest, CreateTopicsRequest, DeleteTopicsRequest, JoinGroupRequest, SyncGroupRequest,
            HeartbeatRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, InitProducerIdRequest,
            AddPartitionsToTxnRequest, AddOffsetsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest,
            SaslHandshakeRequest, SaslAuthenticateRequest
        );
    }
}
