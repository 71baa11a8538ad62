//! Record batches: built by us and read by the kafka-protocol crate, and the other way round.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use kafka_wire::codec::Compressor;
use kafka_wire::records::*;
use kafka_wire::Codec;
use proptest::prelude::*;

const CODECS: [(Codec, Compression); 5] = [
    (Codec::None, Compression::None),
    (Codec::Gzip, Compression::Gzip),
    (Codec::Snappy, Compression::Snappy),
    (Codec::Lz4, Compression::Lz4),
    (Codec::Zstd, Compression::Zstd),
];

#[derive(Debug, Clone, PartialEq)]
struct Message {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Message {
    fn of(record: &Record<'_>) -> Message {
        Message {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers()
                .map(|(name, value)| {
                    (
                        String::from_utf8(name.to_vec()).expect("ASCII"),
                        value.map(<[u8]>::to_vec),
                    )
                })
                .collect(),
        }
    }

    fn of_theirs(record: &TheirRecord) -> Message {
        Message {
            timestamp: record.timestamp,
            key: record.key.as_ref().map(|b| b.to_vec()),
            value: record.value.as_ref().map(|b| b.to_vec()),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_ref().map(|b| b.to_vec())))
                .collect(),
        }
    }

    fn append_to(&self, builder: &mut BatchBuilder) {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_deref()));
        builder
            .append(
                self.timestamp,
                self.key.as_deref(),
                self.value.as_deref(),
                headers,
            )
            .expect("there is room");
    }

    fn lend_to(&self, builder: &mut BatchBuilder) {
        let Some(value) = self.value.clone() else {
            return self.append_to(builder);
        };
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_deref()));
        builder
            .append_lent(self.timestamp, self.key.as_deref(), value.into(), headers)
            .expect("there is room");
    }

    fn to_theirs(&self, index: usize) -> TheirRecord {
        TheirRecord {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 3,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: 1000 + index as i64,
            sequence: NO_SEQUENCE.wrapping_add(index as i32),
            timestamp: self.timestamp,
            key: self.key.clone().map(Bytes::from),
            value: self.value.clone().map(Bytes::from),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| {
                    (
                        StrBytes::from_string(name.clone()),
                        value.clone().map(Bytes::from),
                    )
                })
                .collect::<IndexMap<_, _>>(),
        }
    }
}

/// Lengths on both sides of every border: of the varints, and of what is copied by hand.
fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let len = prop_oneof![0..20usize, 50..80usize, 120..140usize, 8180..8200usize];
    let bytes = len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len));
    proptest::option::weighted(0.8, bytes)
}

fn message() -> impl Strategy<Value = Message> {
    let timestamp = prop_oneof![
        1_700_000_000_000..1_700_000_000_200i64,
        1_600_000_000_000..1_800_000_000_000i64,
        Just(0),
        Just(-1),
    ];
    let headers = proptest::collection::btree_map("[a-z]{0,70}", bytes(), 0..3);
    (timestamp, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Message {
        timestamp,
        key,
        value,
        headers: headers.into_iter().collect(),
    })
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    proptest::collection::vec(message(), 1..12)
}

fn sealed(messages: &[Message], options: SealOptions) -> Bytes {
    let mut builder = BatchBuilder::new();
    messages.iter().for_each(|m| m.append_to(&mut builder));
    builder.seal(options)
}

fn only_batch(bytes: Bytes) -> Batch {
    let mut batches = RecordBatches::new(bytes);
    let batch = batches.next().expect("a batch").expect("a sound batch");
    assert!(batches.next().is_none());
    assert_eq!(batches.incomplete(), None);
    batch
}

fn read(bytes: Bytes) -> Vec<Message> {
    let records = only_batch(bytes)
        .records(MAX_DECOMPRESSED_LEN)
        .expect("sound records");
    records.iter().map(|r| Message::of(&r)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_other_codec_reads_our_batches(messages in messages()) {
        for (codec, theirs) in CODECS {
            let options = SealOptions {
                compression: codec.into(), producer_id: 77, producer_epoch: 5, base_sequence: 900, transactional: true,
            };
            let mut bytes = sealed(&messages, options);
            let info = RecordBatchDecoder::decode_batch_info(&mut bytes.clone()).expect("a header");
            prop_assert_eq!(info[0].record_count as usize, messages.len());
            prop_assert_eq!(info[0].base_sequence, 900);
            prop_assert_eq!(info[0].compression, theirs);
            let sets = RecordBatchDecoder::decode_all(&mut bytes).expect("they read it");
            prop_assert_eq!(sets.len(), 1);
            let read: Vec<_> = sets[0].records.iter().map(Message::of_theirs).collect();
            prop_assert_eq!(&read, &messages);
            for (i, record) in sets[0].records.iter().enumerate() {
                prop_assert_eq!(record.offset, i as i64);
                prop_assert_eq!((record.producer_id, record.producer_epoch), (77, 5));
                prop_assert!(record.transactional && !record.control);
            }
        }
    }

    #[test]
    fn values_that_are_lent_make_the_same_bytes(messages in messages(), lent in any::<u16>()) {
        for (codec, _) in CODECS {
            let options = SealOptions { compression: codec.into(), ..SealOptions::default() };
            let expected = sealed(&messages, options);
            let mut builder = BatchBuilder::new();
            for _ in 0..2 {
                for (i, message) in messages.iter().enumerate() {
                    match lent >> i & 1 {
                        0 => message.append_to(&mut builder),
                        _ => message.lend_to(&mut builder),
                    }
                }
                prop_assert_eq!(builder.len(), sealed(&messages, SealOptions::default()).len());
                let mut batch = builder.encode(options, &mut Compressor::default());
                prop_assert!(builder.is_empty());
                prop_assert_eq!(builder.len(), 0);
                prop_assert_eq!(batch.len(), expected.len());
                prop_assert_eq!(&batch.pieces().clone().into_bytes(), &expected);
                batch.assign_producer(7, 3, 11);
                let batch = only_batch(batch.into_bytes());
                prop_assert_eq!((batch.producer_id, batch.base_sequence), (7, 11));
                prop_assert!(batch.verify().is_ok());
            }
        }
    }

    #[test]
    fn we_read_the_other_codecs_batches(messages in messages()) {
        for (codec, theirs) in CODECS {
            let records: Vec<_> = messages.iter().enumerate().map(|(i, m)| m.to_theirs(i)).collect();
            let mut bytes = BytesMut::new();
            let options = RecordEncodeOptions { version: 2, compression: theirs };
            RecordBatchEncoder::encode(&mut bytes, records.iter(), &options).expect("they write it");
            let batch = only_batch(bytes.freeze());
            prop_assert_eq!(batch.codec_id(), codec.id());
            prop_assert_eq!(batch.base_offset, 1000);
            prop_assert_eq!(batch.next_offset(), 1000 + messages.len() as i64);
            prop_assert_eq!(batch.partition_leader_epoch, 3);
            let records = batch.records(MAX_DECOMPRESSED_LEN).expect("we read it");
            prop_assert_eq!(records.len(), messages.len());
            for (i, record) in records.iter().enumerate() {
                prop_assert_eq!(record.offset, 1000 + i as i64);
                prop_assert_eq!(&Message::of(&record), &messages[i]);
            }
        }
    }

    #[test]
    fn a_builder_that_is_used_again_builds_the_same(first in messages(), second in messages()) {
        for (codec, _) in CODECS {
            let options = SealOptions { compression: codec.into(), ..SealOptions::default() };
            let mut builder = BatchBuilder::with_capacity(100);
            for messages in [&first, &second, &first] {
                messages.iter().for_each(|m| m.append_to(&mut builder));
                prop_assert_eq!(builder.count(), messages.len());
                let plain = sealed(messages, SealOptions::default());
                prop_assert_eq!(builder.len(), plain.len(), "len() is the size of the uncompressed batch");
                let bytes = builder.seal(options);
                prop_assert!(builder.is_empty());
                prop_assert_eq!(builder.len(), 0);
                prop_assert_eq!(&read(bytes), messages);
            }
        }
    }
}

#[test]
fn thousands_of_records_keep_their_order_and_offsets() {
    for (codec, _) in CODECS {
        let mut builder = BatchBuilder::new();
        for i in 0..20_000u32 {
            let index = builder.append(
                1_000 + i64::from(i),
                Some(&i.to_be_bytes()),
                Some(&[b'x'; 100]),
                NO_HEADERS,
            );
            assert_eq!(index, Ok(i as usize));
        }
        let batch = only_batch(builder.seal(SealOptions {
            compression: codec.into(),
            ..SealOptions::default()
        }));
        assert_eq!((batch.base_timestamp, batch.max_timestamp), (1_000, 20_999));
        let records = batch.records(MAX_DECOMPRESSED_LEN).expect("sound");
        let mut cursor = RecordCursor::default();
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.offset, i as i64);
            assert_eq!(record.timestamp, 1_000 + i as i64);
            assert_eq!(record.key, Some(&(i as u32).to_be_bytes()[..]));
            let same = records.next_at(&mut cursor).expect("the same record");
            assert_eq!((same.offset, same.key), (record.offset, record.key));
        }
        assert!(records.next_at(&mut cursor).is_none());
        assert_eq!(records.iter().len(), 20_000);
    }
}

#[test]
fn a_cursor_skips_to_an_offset() {
    let mut builder = BatchBuilder::new();
    for _ in 0..10 {
        builder.append(0, None, None, NO_HEADERS).expect("room");
    }
    let bytes = assign_base_offset(builder.seal(SealOptions::default()), 100);
    let records = only_batch(bytes).records(1024).expect("sound");
    for (asked, found) in [
        (0, Some(100)),
        (100, Some(100)),
        (107, Some(107)),
        (109, Some(109)),
        (110, None),
    ] {
        let mut cursor = RecordCursor::default();
        records.skip_to(&mut cursor, asked);
        assert_eq!(records.has_next(&cursor), found.is_some());
        assert_eq!(records.next_at(&mut cursor).map(|r| r.offset), found);
    }
}

#[test]
fn null_and_empty_are_different() {
    let messages: Vec<_> = [
        (None, None),
        (Some(vec![]), None),
        (None, Some(vec![])),
        (Some(vec![]), Some(vec![])),
    ]
    .into_iter()
    .map(|(key, value)| Message {
        timestamp: 5,
        key,
        value,
        headers: vec![("h".into(), None), ("i".into(), Some(vec![]))],
    })
    .collect();
    assert_eq!(read(sealed(&messages, SealOptions::default())), messages);
}

#[test]
fn header_names_may_repeat_and_keep_their_order() {
    let names = ["b", "a", "b"];
    let mut builder = BatchBuilder::new();
    builder
        .append(0, None, None, names.iter().map(|n| (n.as_bytes(), None)))
        .expect("room");
    let records = only_batch(builder.seal(SealOptions::default()))
        .records(1024)
        .expect("sound");
    let record = records.iter().next().expect("a record");
    let read: Vec<_> = record.headers().map(|(name, _)| name).collect();
    assert_eq!(read, names.map(str::as_bytes));
}

#[test]
fn timestamps_may_go_backwards() {
    let mut builder = BatchBuilder::new();
    for timestamp in [1_000, 500, 2_000, 1_999] {
        builder
            .append(timestamp, None, Some(b"v"), NO_HEADERS)
            .expect("room");
    }
    assert_eq!(
        (builder.base_timestamp(), builder.max_timestamp()),
        (1_000, 2_000)
    );
    let batch = only_batch(builder.seal(SealOptions::default()));
    assert_eq!((batch.base_timestamp, batch.max_timestamp), (1_000, 2_000));
    let records = batch.records(1024).expect("sound");
    let timestamps: Vec<_> = records.iter().map(|r| r.timestamp).collect();
    assert_eq!(timestamps, [1_000, 500, 2_000, 1_999]);
}

#[test]
fn timestamps_at_the_ends_of_their_type_survive() {
    let ends = [i64::MIN, i64::MAX, 0, -1];
    let mut builder = BatchBuilder::new();
    for timestamp in ends {
        builder
            .append(timestamp, None, None, NO_HEADERS)
            .expect("room");
    }
    let records = only_batch(builder.seal(SealOptions::default()))
        .records(1024)
        .expect("sound");
    assert!(records.iter().map(|r| r.timestamp).eq(ends));
}

#[test]
fn an_empty_builder_seals_to_nothing() {
    assert!(BatchBuilder::new().seal(SealOptions::default()).is_empty());
}

#[test]
fn an_uncompressed_batch_is_sealed_where_it_was_built() {
    let mut builder = BatchBuilder::with_capacity(1200);
    builder
        .append(0, None, Some(&[7; 1000]), NO_HEADERS)
        .expect("room");
    let len = builder.len();
    let bytes = builder.seal(SealOptions::default());
    assert_eq!(bytes.len(), len);
    assert!(len <= 61 + BatchBuilder::max_record_len(0, 1000));
    let record = only_batch(bytes.clone())
        .records(0)
        .expect("nothing is decompressed, so no limit applies");
    let value = record.iter().next().and_then(|r| r.value).expect("a value");
    assert!(
        bytes.as_ptr_range().contains(&value.as_ptr()),
        "read without a copy too"
    );
}

#[test]
fn a_broker_assigns_the_base_offset_without_touching_the_rest() {
    let bytes = sealed(
        &[Message {
            timestamp: 1,
            key: None,
            value: None,
            headers: vec![],
        }],
        SealOptions::default(),
    );
    let shared = bytes.clone();
    let assigned = assign_base_offset(bytes, 4711);
    assert_eq!(
        batch_span(&shared).expect("a batch").base_offset,
        0,
        "shared bytes are copied"
    );
    assert_eq!(batch_span(&assigned).expect("a batch").base_offset, 4711);
    let records = only_batch(assigned)
        .records(1024)
        .expect("the CRC still holds");
    assert_eq!(records.iter().next().expect("a record").offset, 4711);
}

#[test]
fn a_value_that_is_lent_is_sent_from_where_it_lies() {
    let value = Bytes::from(vec![b'x'; 10_000]);
    let mut builder = BatchBuilder::new();
    for _ in 0..3 {
        let again = builder.lent_again(&value);
        assert_eq!(again.is_some(), !builder.is_empty());
        let lent = again.unwrap_or_else(|| value.clone());
        builder
            .append_lent(1, None, lent, NO_HEADERS)
            .expect("fits");
    }
    assert!(builder.lent_again(&value[1..]).is_none());
    assert!(builder.lent_again(&value[..9_999]).is_none());
    assert!(builder.written_len() < 1_000 && builder.len() > 30_000);
    let mut batch = builder.encode(SealOptions::default(), &mut Compressor::default());
    let lent = |piece: &&Bytes| piece.as_ptr() == value.as_ptr();
    assert_eq!(batch.pieces().iter().filter(lent).count(), 3);
    assert!(batch.into_memory().is_none());
    assert!(value.is_unique(), "it is let go with the batch");
}

#[test]
fn values_that_are_lent_count_towards_the_largest_batch() {
    let value = Bytes::from(vec![b'x'; 16 << 20]);
    let mut builder = BatchBuilder::new();
    let mut appended = 0;
    while builder
        .append_lent(1, None, value.clone(), NO_HEADERS)
        .is_ok()
    {
        appended += 1;
    }
    assert_eq!(appended, 127);
    assert!(builder.len() <= i32::MAX as usize);
    assert_eq!(builder.count(), appended);
    assert!(builder.append(1, None, Some(&value), NO_HEADERS).is_err());
    assert_eq!(builder.append(1, None, Some(b"small"), NO_HEADERS), Ok(127));
}

#[test]
fn a_batch_can_move_to_another_producer() {
    let mut builder = BatchBuilder::new();
    builder.append(1, None, None, NO_HEADERS).expect("fits");
    let mut batch = builder.encode(SealOptions::default(), &mut Compressor::default());
    let first_at = |batch: &mut EncodedBatch| batch.pieces().iter().next().map(|b| b.as_ptr());
    let place = first_at(&mut batch);
    for (id, epoch, sequence) in [(9, 2, 100), (10, 0, 0)] {
        batch.assign_producer(id, epoch, sequence);
        let sent = only_batch(batch.pieces().clone().into_bytes());
        assert_eq!(
            (sent.producer_id, sent.producer_epoch, sent.base_sequence),
            (id, epoch, sequence)
        );
        sent.verify().expect("the CRC was made anew");
    }
    assert_eq!(
        first_at(&mut batch),
        place,
        "bytes that nobody shares are changed in place"
    );
}

#[test]
fn what_was_sent_does_not_change_when_its_batch_moves() {
    let mut builder = BatchBuilder::new();
    builder.append(1, None, None, NO_HEADERS).expect("fits");
    let mut batch = builder.encode(SealOptions::default(), &mut Compressor::default());
    batch.assign_producer(9, 2, 100);
    let sent = batch.pieces().clone();
    batch.assign_producer(10, 0, 0);
    assert_eq!(only_batch(batch.into_bytes()).producer_id, 10);
    let sent = only_batch(sent.into_bytes());
    assert_eq!(sent.producer_id, 9);
    sent.verify().expect("whole");
}

#[test]
fn what_is_shorter_than_a_batch_is_left_alone() {
    let bytes = Bytes::from_static(b"short");
    assert_eq!(assign_base_offset(bytes.clone(), 1), bytes);
}
