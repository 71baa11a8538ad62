//! What is read and written for one record at a time is what the general code reads and writes.

use bytes::Bytes;
use kafka_wire::arbitrary::{Arbitrary, Entropy};
use kafka_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, SingleAnswer,
    SinglePartition, TopicProduceData, TopicProduceResponse,
};
use kafka_wire::records::{BatchBuilder, SealOptions, SingleRecord, NO_HEADERS};
use kafka_wire::{ApiKey, Message, Writer};
use proptest::prelude::*;

fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("it fits");
    writer.into_bytes()
}

fn sealed(record: &SingleRecord<'_>) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder
        .append(record.timestamp_ms, record.key, record.value, NO_HEADERS)
        .expect("there is room");
    builder.seal(SealOptions::default())
}

fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    // Around the lengths at which a varint grows.
    let len = prop_oneof![0..20usize, 50..140usize, 8000..8400usize, 16300..16500usize];
    proptest::option::of(len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len)))
}

proptest! {
    #[test]
    fn a_batch_of_one_record_is_as_the_builder_makes_it(
        timestamp_ms: i64, key in field(), value in field(), before in proptest::collection::vec(any::<u8>(), 0..5)
    ) {
        let record = SingleRecord { timestamp_ms, key: key.as_deref(), value: value.as_deref() };
        let mut out = before.clone();
        record.put_batch(&mut out);
        prop_assert_eq!(&out[..before.len()], &before[..]);
        prop_assert_eq!(&out[before.len()..], &sealed(&record)[..]);
        prop_assert_eq!(out.len() - before.len(), record.batch_len());
    }

    #[test]
    fn a_request_with_one_record_is_as_the_message_encodes_it(
        topic in "[a-z]{0,200}", partition: i32, acks in -1..2i16, timeout_ms: i32, key in field(), value in field()
    ) {
        for version in ApiKey::Produce.versions() {
            let record = SingleRecord { timestamp_ms: 1_700_000_000_000, key: key.as_deref(), value: value.as_deref() };
            let single = SinglePartition::new(topic.clone().into(), partition, acks, timeout_ms, version).expect("a name");
            let mut out = Vec::new();
            single.put(&record, &mut out);
            let data = PartitionProduceData { index: partition, records: Some(sealed(&record).into()) };
            let request = ProduceRequest {
                transactional_id: None,
                acks,
                timeout_ms,
                topic_data: vec![TopicProduceData {
                    name: topic.clone().into(),
                    partition_data: vec![data],
                    ..Default::default()
                }],
            };
            prop_assert_eq!(&out[..], &encode(&request, version)[..]);
        }
    }

    #[test]
    fn an_answer_about_one_partition_is_read_as_the_message_reads_it(
        topic in "[a-z]{0,200}", index: i32, error_code: i16, base_offset: i64,
        log_append_time_ms: i64, log_start_offset: i64, throttle_time_ms: i32, cut in 0..60usize
    ) {
        for version in *ApiKey::Produce.versions().start()..=ApiKey::Produce.names_topics_up_to() {
            let partition = PartitionProduceResponse {
                index, error_code, base_offset, log_append_time_ms, log_start_offset, ..Default::default()
            };
            let response = ProduceResponse {
                responses: vec![TopicProduceResponse {
                    name: topic.clone().into(),
                    partition_responses: vec![partition],
                    ..Default::default()
                }],
                throttle_time_ms,
                ..Default::default()
            };
            let body = encode(&response, version);
            let expected = SingleAnswer {
                topic: topic.as_bytes(), partition: index, error_code, base_offset, throttle_time_ms
            };
            prop_assert_eq!(SingleAnswer::read(&body, version), Some(expected));
            let end = body.len().saturating_sub(cut + 1);
            prop_assert_eq!(SingleAnswer::read(&body[..end], version), None);
            let longer = [&body[..], &[0]].concat();
            prop_assert_eq!(SingleAnswer::read(&longer, version), None);
        }
    }

    /// Whatever is read is what the general code reads, and there is nothing else in the answer.
    #[test]
    fn an_answer_that_says_more_is_left_to_the_message(choices in proptest::collection::vec(any::<u8>(), 0..400)) {
        for version in ApiKey::Produce.versions() {
            let response = ProduceResponse::arbitrary(&mut Entropy::new(&choices), version);
            let body = encode(&response, version);
            let Some(answer) = SingleAnswer::read(&body, version) else { continue };
            prop_assert_eq!(response.responses.len(), 1);
            prop_assert!(response.node_endpoints.is_empty());
            let topic = &response.responses[0];
            prop_assert_eq!(topic.partition_responses.len(), 1);
            let partition = &topic.partition_responses[0];
            prop_assert!(partition.record_errors.is_empty());
            prop_assert_eq!(&partition.error_message, &None);
            prop_assert_eq!(answer, SingleAnswer {
                topic: &topic.name,
                partition: partition.index,
                error_code: partition.error_code,
                base_offset: partition.base_offset,
                throttle_time_ms: response.throttle_time_ms,
            });
        }
    }

    #[test]
    fn bytes_of_any_kind_do_not_disturb(body in proptest::collection::vec(any::<u8>(), 0..80), version in -1..20i16) {
        let _ = SingleAnswer::read(&body, version);
    }
}
