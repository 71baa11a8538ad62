//! Whatever bytes come, the cluster answers or closes the connection.

use crate::fetch::fetch;
use crate::support::{batch, initialising, produce, request_frame, tampered, Bench};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_mock::Reply;
use kafka_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use kafka_wire::messages::{
    AddPartitionsToTxnRequest, ConsumerGroupHeartbeatRequest, FindCoordinatorRequest,
    JoinGroupRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use proptest::prelude::*;

fn is_closed(reply: &Reply) -> bool {
    matches!(reply, Reply::Close(_))
}

/// Sends a frame on a connection of its own.
fn offer(bench: &mut Bench, frame: Bytes) -> Reply {
    bench.cluster.open(99, 0).unwrap();
    let reply = bench.cluster.handle(99, frame, bench.now_ms);
    bench.cluster.poll(bench.now_ms);
    bench.cluster.close(99);
    reply
}

fn samples() -> Vec<Bytes> {
    let topic = CreatableTopic {
        name: "u".into(),
        num_partitions: 3,
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic],
        ..Default::default()
    };
    vec![
        request_frame(&MetadataRequest::default(), 1, 1),
        request_frame(&MetadataRequest::default(), 13, 1),
        request_frame(&produce(0, batch(&["abc", "def"])), 3, 1),
        request_frame(&produce(0, batch(&["abc", "def"])), 11, 1),
        request_frame(&fetch(&[(0, 0), (1, 0)]), 4, 1),
        request_frame(&fetch(&[(0, 0), (1, 0)]), 12, 1),
        request_frame(&create, 2, 1),
        request_frame(&create, 7, 1),
        request_frame(&FindCoordinatorRequest::default(), 0, 1),
        request_frame(&JoinGroupRequest::default(), 9, 1),
        request_frame(&ConsumerGroupHeartbeatRequest::default(), 1, 1),
        request_frame(&SyncGroupRequest::default(), 4, 1),
        request_frame(&OffsetCommitRequest::default(), 9, 1),
        request_frame(&OffsetFetchRequest::default(), 1, 1),
        request_frame(&OffsetFetchRequest::default(), 8, 1),
        request_frame(&initialising("tx", None), 4, 1),
        request_frame(&AddPartitionsToTxnRequest::default(), 3, 1),
    ]
}

#[test]
fn a_request_that_is_cut_off_closes_the_connection() {
    let mut bench = Bench::with_topic(2);
    for frame in samples() {
        for length in 0..frame.len() {
            let reply = offer(&mut bench, frame.slice(..length));
            assert!(is_closed(&reply), "{length} of {frame:?}: {reply:?}");
        }
        assert!(!is_closed(&offer(&mut bench, frame)));
    }
}

#[test]
fn a_request_with_bytes_left_over_closes_the_connection() {
    let mut bench = Bench::with_topic(2);
    for frame in samples() {
        let longer = Bytes::from([&frame[..], &[0]].concat());
        assert!(is_closed(&offer(&mut bench, longer)));
    }
}

#[test]
fn unknown_apis_and_versions_close_the_connection() {
    let mut bench = Bench::with_topic(1);
    // SaslHandshake is an API that the workspace knows and the mock does not serve.
    for (api, version) in [
        (-1, 0),
        (17, 0),
        (999, 0),
        (i16::MAX, 0),
        (3, -1),
        (3, 14),
        (0, 2),
    ] {
        let mut frame = BytesMut::new();
        frame.put_i16(api);
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        let reply = offer(&mut bench, frame.freeze());
        assert!(is_closed(&reply), "API {api} version {version}: {reply:?}");
    }
}

#[test]
fn any_single_byte_may_be_wrong() {
    let mut bench = Bench::with_topic(2);
    for frame in samples() {
        for at in 0..frame.len() {
            for change in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                offer(&mut bench, tampered(&frame, at, |_| change));
            }
        }
    }
}

proptest! {
    #[test]
    fn random_requests_of_served_apis_never_panic(
        api in prop::sample::select(vec![0i16, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18, 19, 20, 22, 24, 25, 26, 28, 68]),
        version in 0i16..14,
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = BytesMut::new();
        frame.put_i16(api);
        frame.put_i16(version);
        frame.put_slice(&rest);
        offer(&mut Bench::with_topic(2), frame.freeze());
    }

    #[test]
    fn random_record_batches_never_panic(records in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bench = Bench::with_topic(1);
        prop_assert_ne!(bench.produce_to(0, records.into()).error_code, 0);
        prop_assert!(bench.values(0).is_empty());
    }

    #[test]
    fn unchecked_bytes_can_be_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bench = Bench::with_topic(1);
        bench.cluster.append_unchecked(b"t", 0, bytes.into(), 1).unwrap();
        bench.cluster.records(b"t", 0).unwrap();
        bench.call(&fetch(&[(0, 0)]), 12);
    }
}
