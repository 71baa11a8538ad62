//! Batches that are cut off, damaged or lie about themselves.

use bytes::{Bytes, BytesMut};
use kafka_wire::codec::{Compressor, DecompressError, Decompressor};
use kafka_wire::records::*;
use kafka_wire::{crc32c, Codec};
use proptest::prelude::*;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const LIMIT: usize = 1 << 20;

/// Places in the header of a batch.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const MAX_TIMESTAMP: usize = 35;
const RECORD_COUNT: usize = 57;
const RECORDS: usize = 61;

fn batch_of(values: &[&[u8]], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder
            .append(
                1_000,
                Some(b"key"),
                Some(value),
                [(&b"h"[..], Some(&b"v"[..]))],
            )
            .expect("room");
    }
    builder.seal(SealOptions {
        compression: codec.into(),
        ..SealOptions::default()
    })
}

fn compressed(codec: Codec, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::default()
        .compress(codec.into(), data, &mut out)
        .expect("it compresses");
    out
}

fn decompress(codec: Codec, data: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    Decompressor::default().decompress(codec, data, limit)
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Length and CRC to match, so that only what is under test is wrong.
fn repair(batch: &mut [u8]) {
    let length = (batch.len() - 12) as i32;
    put(batch, LENGTH, &length.to_be_bytes());
    let crc = crc32c(&batch[ATTRIBUTES..]);
    put(batch, CRC, &crc.to_be_bytes());
}

/// A batch that claims `count` records, with these bytes where they should be.
fn forged(attributes: i16, count: i32, records: &[u8]) -> Bytes {
    let mut batch = BytesMut::from(&batch_of(&[b"x"], Codec::None)[..RECORDS]);
    batch.extend_from_slice(records);
    put(&mut batch, ATTRIBUTES, &attributes.to_be_bytes());
    put(&mut batch, RECORD_COUNT, &count.to_be_bytes());
    repair(&mut batch);
    batch.freeze()
}

fn open(bytes: Bytes) -> Result<Records, BatchError> {
    RecordBatches::new(bytes)
        .next()
        .expect("a batch or an error")?
        .records(LIMIT)
}

fn reason(records: &[u8], count: i32) -> &'static str {
    match open(forged(0, count, records)) {
        Err(BatchError::InvalidRecord { reason, .. }) => reason,
        other => panic!("expected an invalid record, got {other:?}"),
    }
}

#[test]
fn a_cut_off_last_batch_ends_the_iteration_without_an_error() {
    let first = batch_of(&[b"one", b"two"], Codec::None);
    let second = batch_of(&[b"three"], Codec::None);
    let both = Bytes::from([&first[..], &second[..]].concat());
    for len in 0..=both.len() {
        let mut batches = RecordBatches::new(both.slice(..len));
        let complete = batches.by_ref().inspect(|b| assert!(b.is_ok())).count();
        let expected = usize::from(len >= first.len()) + usize::from(len == both.len());
        assert_eq!(complete, expected, "cut at {len}");
        let cut = ![0, first.len(), both.len()].contains(&len);
        assert_eq!(batches.incomplete().is_some(), cut, "cut at {len}");
    }
}

#[test]
fn an_incomplete_batch_tells_how_large_a_fetch_it_needs() {
    let batch = batch_of(&[&[b'x'; 5000]], Codec::None);
    let mut batches = RecordBatches::new(batch.slice(..100));
    assert!(batches.next().is_none());
    assert_eq!(batches.incomplete(), Some(batch.len()));
}

#[test]
fn every_damaged_byte_under_the_crc_is_noticed() {
    for codec in [Codec::None, Codec::Lz4] {
        let batch = batch_of(&[b"one", b"two"], codec);
        for i in CRC..batch.len() {
            let mut damaged = BytesMut::from(&batch[..]);
            damaged[i] ^= 0x10;
            let error = open(damaged.freeze()).expect_err("it is damaged");
            assert!(
                matches!(error, BatchError::CrcMismatch { .. }),
                "byte {i}: {error}"
            );
        }
    }
}

#[test]
fn older_formats_have_an_error_of_their_own_and_what_follows_is_still_read() {
    for magic in [0, 1, 3, -1] {
        let mut old = BytesMut::from(&batch_of(&[b"old"], Codec::None)[..]);
        old[MAGIC] = magic as u8;
        let bytes = Bytes::from([&old[..], &batch_of(&[b"new"], Codec::None)].concat());
        let mut batches = RecordBatches::new(bytes);
        let error = batches.next().expect("something").expect_err("not magic 2");
        let is_old = matches!(error, BatchError::OldMagic { magic: m, .. } if m == magic);
        let is_unknown = matches!(error, BatchError::UnknownMagic { magic: m, .. } if m == magic);
        assert!(
            if magic == 0 || magic == 1 {
                is_old
            } else {
                is_unknown
            },
            "{error}"
        );
        assert!(batches.next().expect("the next batch").is_ok());
        assert!(batches.next().is_none());
    }
}

#[test]
fn a_message_of_magic_1_that_is_shorter_than_our_header_is_recognised() {
    // Offset, size 22, CRC, magic 1, attributes, timestamp, null key, null value.
    let mut message = vec![0; 34];
    put(&mut message, LENGTH, &22i32.to_be_bytes());
    message[MAGIC] = 1;
    let error = RecordBatches::new(message.into())
        .next()
        .expect("something")
        .expect_err("old");
    assert_eq!(error, BatchError::OldMagic { magic: 1, size: 34 });
    assert_eq!(
        error.to_string(),
        "message format v1 (before Kafka 0.11) instead of a record batch"
    );
}

#[test]
fn lengths_that_no_batch_can_have_end_the_iteration_with_an_error() {
    for length in [i32::MIN, -1, 0, 4, 48] {
        let mut batch = BytesMut::from(&batch_of(&[b"x"], Codec::None)[..]);
        put(&mut batch, LENGTH, &length.to_be_bytes());
        let mut batches = RecordBatches::new(batch.freeze());
        assert_eq!(
            batches.next().map(Result::err),
            Some(Some(BatchError::InvalidLength(length)))
        );
        assert!(batches.next().is_none());
    }
    let mut batch = BytesMut::from(&batch_of(&[b"x"], Codec::None)[..]);
    put(&mut batch, LENGTH, &i32::MAX.to_be_bytes());
    let mut batches = RecordBatches::new(batch.freeze());
    assert!(batches.next().is_none());
    assert_eq!(batches.incomplete(), Some(12 + i32::MAX as usize));
}

#[test]
fn the_record_count_must_be_the_number_of_records() {
    let batch = batch_of(&[b"one", b"two"], Codec::None);
    let records = &batch[RECORDS..];
    assert!(open(forged(0, 2, records)).is_ok());
    assert_eq!(reason(records, 1), "more records than the batch declares");
    assert_eq!(reason(records, 0), "more records than the batch declares");
    assert_eq!(reason(records, 3), "truncated");
    assert_eq!(reason(records, i32::MAX), "truncated");
    assert_eq!(reason(records, -1), "negative record count");
}

#[test]
fn a_batch_that_compaction_emptied_is_sound() {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let records = open(forged(codec.id(), 0, b"")).expect("sound");
        assert!(records.is_empty());
        assert_eq!(records.iter().count(), 0);
    }
}

#[test]
fn every_length_in_a_record_is_checked() {
    // Length, attributes, timestamp delta, offset delta, key, value, header count; all zigzag.
    let sound: &[u8] = &[12, 0, 0, 0, 1, 1, 0];
    assert!(open(forged(0, 1, sound)).is_ok());
    assert_eq!(reason(&[11, 0, 0, 0, 1, 1, 0], 1), "negative length");
    assert_eq!(reason(&[14, 0, 0, 0, 1, 1, 0], 1), "truncated");
    assert_eq!(reason(&[10, 0, 0, 0, 1, 1], 1), "truncated");
    assert_eq!(
        reason(&[14, 0, 0, 0, 1, 1, 0, 0], 1),
        "longer than its fields"
    );
    assert_eq!(reason(&[12, 0, 0, 0, 3, 1, 0], 1), "invalid length");
    assert_eq!(reason(&[12, 0, 0, 0, 1, 3, 0], 1), "invalid length");
    assert_eq!(reason(&[12, 0, 0, 0, 10, 1, 0], 1), "truncated");
    assert_eq!(reason(&[12, 0, 0, 0, 1, 1, 1], 1), "negative header count");
    assert_eq!(reason(&[12, 0, 0, 0, 1, 1, 2], 1), "truncated");
    assert_eq!(
        reason(&[16, 0, 0, 0, 1, 1, 2, 1, 1], 1),
        "header name is null"
    );
    assert_eq!(reason(&[0], 1), "truncated");
    assert_eq!(reason(b"", 1), "truncated");
    // A header count of 2³¹ - 1 is not believed either.
    assert_eq!(
        reason(&[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], 1),
        "truncated"
    );
    // Varints of five bytes with too many bits, of six bytes, and cut off.
    assert_eq!(reason(&[0x80, 0x80, 0x80, 0x80, 0x10], 1), "bad varint");
    assert_eq!(
        reason(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 1),
        "bad varint"
    );
    assert_eq!(reason(&[0x80], 1), "truncated");
}

#[test]
fn one_bad_record_spoils_the_whole_batch() {
    let batch = batch_of(&[b"one", b"two", b"three"], Codec::None);
    let mut records = batch[RECORDS..].to_vec();
    let last = records.len() - 1;
    records[last] = 0;
    records.truncate(last);
    assert!(matches!(
        open(forged(0, 3, &records)),
        Err(BatchError::InvalidRecord { index: 2, .. })
    ));
}

#[test]
fn under_log_append_time_every_record_has_the_max_timestamp() {
    let mut batch = BytesMut::from(&batch_of(&[b"one", b"two"], Codec::None)[..]);
    put(&mut batch, ATTRIBUTES, &0x08i16.to_be_bytes());
    put(&mut batch, MAX_TIMESTAMP, &123_456i64.to_be_bytes());
    repair(&mut batch);
    let records = open(batch.freeze()).expect("sound");
    assert!(records.iter().all(|r| r.timestamp == 123_456));
}

#[test]
fn control_batches_are_recognised_and_read() {
    for (kind, expected) in [
        (0, Some(ControlType::Abort)),
        (1, Some(ControlType::Commit)),
        (2, None),
    ] {
        let mut builder = BatchBuilder::new();
        builder
            .append(0, Some(&[0, 0, 0, kind]), Some(&[0; 6]), NO_HEADERS)
            .expect("room");
        let mut batch = BytesMut::from(&builder.seal(SealOptions::default())[..]);
        put(&mut batch, ATTRIBUTES, &0x30i16.to_be_bytes());
        repair(&mut batch);
        let batch = RecordBatches::new(batch.freeze())
            .next()
            .expect("a batch")
            .expect("sound");
        assert!(batch.is_control() && batch.is_transactional());
        let records = batch.records(LIMIT).expect("sound");
        assert_eq!(
            records.iter().next().expect("a marker").control_type(),
            expected
        );
    }
}

#[test]
fn unknown_codecs_are_refused() {
    for id in 5..=7 {
        assert_eq!(
            open(forged(id, 1, b"whatever")).err(),
            Some(BatchError::UnknownCodec(id))
        );
    }
}

#[test]
fn a_bomb_gets_an_error_not_the_memory() {
    let zeros = vec![0; 64 << 20];
    for codec in CODECS {
        let bomb = compressed(codec, &zeros);
        let error = open(forged(codec.id(), 1, &bomb)).expect_err("too large");
        assert_eq!(
            error,
            BatchError::Decompress(DecompressError::TooLarge(LIMIT)),
            "{}",
            codec.name()
        );
    }
}

#[test]
fn a_batch_exactly_at_the_limit_is_read() {
    for codec in CODECS {
        let compressed = compressed(codec, &vec![1; LIMIT]);
        assert_eq!(
            decompress(codec, &compressed, LIMIT)
                .expect("it fits")
                .len(),
            LIMIT
        );
        assert_eq!(
            decompress(codec, &compressed, LIMIT - 1),
            Err(DecompressError::TooLarge(LIMIT - 1))
        );
    }
}

#[test]
fn a_snappy_block_that_claims_the_impossible_is_refused() {
    // 2²⁰ bytes out of three.
    let claim = [0x80, 0x80, 0x40];
    let error = decompress(Codec::Snappy, &claim, usize::MAX).expect_err("impossible");
    assert!(matches!(error, DecompressError::Malformed(_)));
}

#[test]
fn compressed_data_that_ends_early_is_malformed() {
    let data: Vec<u8> = (0..200_000u32)
        .flat_map(|i| (i / 7).to_be_bytes())
        .collect();
    for codec in CODECS {
        let compressed = compressed(codec, &data);
        for len in [
            1,
            5,
            9,
            20,
            compressed.len() / 2,
            compressed.len() - 9,
            compressed.len() - 5,
        ] {
            let result = decompress(codec, &compressed[..len], LIMIT);
            assert_ne!(
                result.as_deref(),
                Ok(&data[..]),
                "{} cut at {len}",
                codec.name()
            );
        }
        assert_eq!(
            decompress(codec, &compressed, LIMIT).as_deref(),
            Ok(&data[..])
        );
    }
}

#[test]
fn snappy_is_read_raw_and_in_xerials_framing() {
    let batch = batch_of(&[b"one", b"two"], Codec::None);
    let records = &batch[RECORDS..];
    let raw = snap_raw(records);
    assert!(open(forged(Codec::Snappy.id(), 2, &raw)).is_ok());
    let framed = compressed(Codec::Snappy, records);
    assert_eq!(&framed[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    assert_eq!(&framed[20..], &raw[..]);
    assert!(open(forged(Codec::Snappy.id(), 2, &framed)).is_ok());
    let twice = [&framed[..], &framed[..]].concat();
    assert!(
        open(forged(Codec::Snappy.id(), 4, &twice)).is_ok(),
        "streams may be joined"
    );
}

fn snap_raw(data: &[u8]) -> Vec<u8> {
    let mut framed = compressed(Codec::Snappy, data);
    framed.split_off(20)
}

#[test]
fn lz4_is_written_as_frames_of_independent_blocks() {
    let frame = compressed(Codec::Lz4, b"hello hello hello");
    assert_eq!(&frame[..4], b"\x04\x22\x4d\x18");
    assert_eq!(frame[4] & 0xe0, 0x60, "version 1, block independence");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for batch in RecordBatches::new(bytes.into()).flatten() {
            let _ = batch.records(LIMIT);
        }
    }

    #[test]
    fn random_records_under_a_good_crc_never_panic(
        codec in 0..5i16, count in 0..5i32, records in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(records) = open(forged(codec, count, &records)) {
            prop_assert_eq!(records.iter().count(), count as usize);
        }
    }

    #[test]
    fn a_damaged_record_is_refused_or_read_in_full(at in 0..60usize, byte in any::<u8>()) {
        let batch = batch_of(&[b"one", b"two"], Codec::None);
        let mut records = batch[RECORDS..].to_vec();
        let at = at % records.len();
        records[at] = byte;
        if let Ok(records) = open(forged(0, 2, &records)) {
            prop_assert_eq!(records.iter().count(), 2);
            for record in &records {
                prop_assert_eq!(record.headers().count(), record.headers().len());
            }
        }
    }

    #[test]
    fn damaged_compressed_data_never_panics(
        codec in 0..4usize, at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let codec = CODECS[codec];
        let mut compressed = compressed(codec, &[b'x'; 3000]);
        let at = at.index(compressed.len());
        compressed[at] = byte;
        let _ = decompress(codec, &compressed, LIMIT);
    }
}
