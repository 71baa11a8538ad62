//! Headers, versions, and what may not be encoded.

use bytes::{Bytes, BytesMut};
use kafka_wire::api::{correlation_id, put_response_header, strip_response_header};
use kafka_wire::message::EncodeErrorKind;
use kafka_wire::messages::*;
use kafka_wire::primitives::SHARE_THRESHOLD;
use kafka_wire::{ApiKey, EncodeError, Message, Reader, RequestHeader, Writer};

fn try_encode(message: &impl Message, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// Kafka 4 has dropped the only version of it that is not flexible, and the other codec takes that for flexible, too.
fn is_known_to_the_other_codec(api: ApiKey, version: i16) -> bool {
    (api, version) != (ApiKey::WriteTxnMarkers, 0)
}

#[test]
fn request_headers_agree_with_the_other_codec() {
    use kafka_protocol::messages::{ApiKey as TheirApiKey, RequestHeader as TheirHeader};
    use kafka_protocol::protocol::{Decodable, Encodable};
    for api in ApiKey::ALL {
        for version in api
            .versions()
            .filter(|&v| is_known_to_the_other_codec(*api, v))
        {
            for client_id in [
                None,
                Some(Bytes::new()),
                Some(Bytes::from_static(b"ev-kafka")),
            ] {
                let header = RequestHeader {
                    api: *api,
                    version,
                    correlation_id: 7,
                    client_id: client_id.clone(),
                };
                let mut writer = Writer::new();
                header.encode(&mut writer).expect("a short client id");
                let bytes = writer.into_bytes();

                let header_version = TheirApiKey::try_from(api.key())
                    .expect("known")
                    .request_header_version(version);
                let theirs =
                    TheirHeader::decode(&mut bytes.clone(), header_version).expect("they read it");
                assert_eq!(theirs.request_api_key, api.key());
                assert_eq!(
                    theirs.client_id.as_ref().map(|id| id.as_bytes()),
                    client_id.as_deref()
                );
                let mut again = BytesMut::new();
                theirs
                    .encode(&mut again, header_version)
                    .expect("they write it");
                assert_eq!(again, bytes);

                let mut reader = Reader::new(bytes);
                assert_eq!(
                    RequestHeader::decode(&mut reader).expect("we read it"),
                    header
                );
                assert!(reader.is_empty());
            }
        }
    }
}

#[test]
fn response_headers_agree_with_the_other_codec() {
    use kafka_protocol::messages::{ApiKey as TheirApiKey, ResponseHeader};
    use kafka_protocol::protocol::Encodable;
    for api in ApiKey::ALL {
        for version in api
            .versions()
            .filter(|&v| is_known_to_the_other_codec(*api, v))
        {
            let mut writer = Writer::new();
            put_response_header(&mut writer, *api, version, 0x01020304);
            let ours = writer.into_bytes();
            let header_version = TheirApiKey::try_from(api.key())
                .expect("known")
                .response_header_version(version);
            let mut theirs = BytesMut::new();
            let header = ResponseHeader::default().with_correlation_id(0x01020304);
            header
                .encode(&mut theirs, header_version)
                .expect("they write it");
            assert_eq!(ours, theirs, "{api} {version}");

            let frame = Bytes::from([&ours[..], b"body"].concat());
            assert_eq!(correlation_id(&frame), Some(0x01020304));
            let (id, body) = strip_response_header(frame, *api, version).expect("long enough");
            assert_eq!((id, &body[..]), (0x01020304, &b"body"[..]));
            assert!(strip_response_header(ours.slice(..ours.len() - 1), *api, version).is_err());
        }
    }
    assert_eq!(correlation_id(b"abc"), None);
}

#[test]
fn an_unknown_api_in_a_request_is_an_error_that_names_it() {
    let frame = Bytes::from_static(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    let error = RequestHeader::decode(&mut Reader::new(frame)).expect_err("unknown");
    assert_eq!(error.to_string(), "unknown API key 32767");
}

#[test]
fn api_keys_and_names_find_each_other() {
    for api in ApiKey::ALL {
        assert_eq!(ApiKey::from_key(api.key()), Some(*api));
        assert!(api.versions().contains(&api.fallback_version()), "{api}");
        assert_eq!(api.to_string(), api.name());
    }
    assert_eq!(ApiKey::from_key(-1), None);
    assert_eq!(ApiKey::Produce.name(), "Produce");
    assert_eq!(ApiKey::TxnOffsetCommit.key(), 28);
}

#[test]
fn a_field_that_the_version_lacks_is_an_error_that_names_it() {
    let request = FindCoordinatorRequest {
        key: Bytes::from_static(b"tx"),
        key_type: 1,
        ..Default::default()
    };
    let error = try_encode(&request, 0).expect_err("version 0 knows groups only");
    assert_eq!(error.kind, EncodeErrorKind::FieldNotInVersion);
    assert_eq!(
        error.to_string(),
        "FindCoordinatorRequest version 0 has no field key_type"
    );
    assert!(try_encode(&request, 1).is_ok());

    let request = JoinGroupRequest {
        group_instance_id: Some(Bytes::from_static(b"me")),
        ..Default::default()
    };
    let error = try_encode(&request, 4).expect_err("static members came with version 5");
    assert_eq!(error.field, "group_instance_id");
    assert!(try_encode(&request, 5).is_ok());
}

#[test]
fn an_ignorable_field_is_left_out_where_the_version_lacks_it() {
    let request = JoinGroupRequest {
        reason: Some(Bytes::from_static(b"because")),
        rebalance_timeout_ms: 60_000,
        ..Default::default()
    };
    let without = JoinGroupRequest::default();
    assert_eq!(try_encode(&request, 0), try_encode(&without, 0));
    assert_ne!(try_encode(&request, 8), try_encode(&without, 8));
}

#[test]
fn a_field_with_its_default_never_stands_in_the_way() {
    for version in ApiKey::Metadata.versions() {
        try_encode(&MetadataRequest::default(), version)
            .expect("allow_auto_topic_creation is true by default");
    }
    let forbids = MetadataRequest {
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    assert!(
        try_encode(&forbids, 3).is_err(),
        "older brokers would create the topic"
    );
    assert!(try_encode(&forbids, 4).is_ok());
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let error = try_encode(&all, 0).expect_err("version 0 asks for all topics by an empty list");
    assert_eq!(
        error.to_string(),
        "MetadataRequest version 0: topics must not be null"
    );
    assert_eq!(
        try_encode(&all, 1).expect("allowed"),
        Bytes::from_static(&[0xff; 4])
    );
}

#[test]
fn a_string_that_is_too_long_is_an_error_that_names_its_field() {
    for version in [0, 3] {
        let longest = Bytes::from(vec![b'x'; i16::MAX as usize]);
        assert!(try_encode(
            &FindCoordinatorRequest {
                key: longest,
                ..Default::default()
            },
            version
        )
        .is_ok());
        let too_long = Bytes::from(vec![b'x'; i16::MAX as usize + 1]);
        let error = try_encode(
            &FindCoordinatorRequest {
                key: too_long,
                ..Default::default()
            },
            version,
        )
        .expect_err("too long");
        assert_eq!((error.kind, error.field), (EncodeErrorKind::TooLong, "key"));
    }
}

#[test]
fn a_large_record_batch_is_shared_and_a_small_one_copied() {
    use kafka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
    let request = |records: &Bytes| ProduceRequest {
        topic_data: vec![TopicProduceData {
            name: Bytes::from_static(b"topic"),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(records.clone().into()),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in ApiKey::Produce.versions() {
        let large = Bytes::from(vec![1; SHARE_THRESHOLD]);
        let mut writer = Writer::new();
        request(&large).encode(&mut writer, version).expect("valid");
        let len = writer.len();
        let segments = writer.into_segments();
        assert!(segments.iter().any(|s| s.as_ptr() == large.as_ptr()));
        assert_eq!(segments.iter().map(Bytes::len).sum::<usize>(), len);

        let small = Bytes::from(vec![1; SHARE_THRESHOLD - 1]);
        let mut writer = Writer::new();
        request(&small).encode(&mut writer, version).expect("valid");
        assert_eq!(writer.into_segments().len(), 1);
    }
}

#[test]
fn byte_fields_are_slices_of_the_frame() {
    let response = SaslAuthenticateResponse {
        auth_bytes: Bytes::from_static(b"r=nonce"),
        ..Default::default()
    };
    let frame = try_encode(&response, 2).expect("valid");
    let decoded =
        SaslAuthenticateResponse::decode(&mut Reader::new(frame.clone()), 2).expect("sound");
    assert!(frame.as_ptr_range().contains(&decoded.auth_bytes.as_ptr()));
}

#[test]
fn strings_need_not_be_utf8() {
    let name = Bytes::from_static(b"\xff\xfe\x00");
    let request = SaslHandshakeRequest {
        mechanism: name.clone(),
    };
    let bytes = try_encode(&request, 1).expect("valid");
    assert_eq!(
        SaslHandshakeRequest::decode(&mut Reader::new(bytes), 1)
            .expect("sound")
            .mechanism,
        name
    );
}
