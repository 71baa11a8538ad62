//! Message formats 0 and 1: what Java wrote (`java/WriteSets.java`), what a broker may have kept, and what nobody ought
//! to send.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_wire::codec::{Compressor, DecompressError};
use kafka_wire::records::{
    BatchBuilder, BatchError, RecordBatches, SealOptions, MAX_DECOMPRESSED_LEN, NO_HEADERS,
};
use kafka_wire::Codec;
use proptest::prelude::*;

const CODECS: [Codec; 4] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4];
const LOG_APPEND_TIME: i8 = 8;

/// Offset, timestamp, key and value.
type Row = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

#[derive(Clone, Copy)]
struct Head {
    magic: i8,
    offset: i64,
    attributes: i8,
    timestamp: i64,
}

fn message(head: Head, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![head.magic as u8, head.attributes as u8];
    if head.magic > 0 {
        body.extend(head.timestamp.to_be_bytes());
    }
    for field in [key, value] {
        body.extend(field.map_or(-1, |f| f.len() as i32).to_be_bytes());
        body.extend(field.unwrap_or_default());
    }
    let mut crc = crc32(&body).to_be_bytes().to_vec();
    crc.extend(body);
    [
        &head.offset.to_be_bytes()[..],
        &(crc.len() as i32).to_be_bytes(),
        &crc,
    ]
    .concat()
}

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn plain(magic: i8, offset: i64, value: &[u8]) -> Vec<u8> {
    let head = Head {
        magic,
        offset,
        attributes: 0,
        timestamp: 1000 + offset,
    };
    message(head, None, Some(value))
}

fn compressed(codec: Codec, set: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut compressor = Compressor::default();
    compressor
        .compress(codec.into(), set, &mut out)
        .expect("it compresses");
    out
}

/// A set in a message with this offset.
fn wrapped(codec: Codec, head: Head, set: &[u8]) -> Vec<u8> {
    let head = Head {
        attributes: head.attributes | codec.id() as i8,
        ..head
    };
    message(head, None, Some(&compressed(codec, set)))
}

/// All that is read, where reading goes on, and the error at which it ends.
fn read_at_most(bytes: &[u8], limit: usize) -> (Vec<Row>, i64, Option<BatchError>) {
    let (mut rows, mut next) = (Vec::new(), 0);
    for batch in RecordBatches::of_log(Bytes::copy_from_slice(bytes)) {
        let records = match batch.and_then(|batch| batch.records(limit)) {
            Ok(records) => records,
            Err(error) => return (rows, next, Some(error)),
        };
        next = records.next_offset();
        rows.extend(records.iter().map(|record| {
            assert_eq!(record.headers().len(), 0);
            let [key, value] = [record.key, record.value].map(|field| field.map(<[u8]>::to_vec));
            (record.offset, record.timestamp, key, value)
        }));
    }
    (rows, next, None)
}

fn read(bytes: &[u8]) -> (Vec<Row>, i64, Option<BatchError>) {
    read_at_most(bytes, MAX_DECOMPRESSED_LEN)
}

fn offsets(bytes: &[u8]) -> Vec<i64> {
    let (rows, _, error) = read(bytes);
    assert_eq!(error, None);
    rows.into_iter().map(|row| row.0).collect()
}

fn error_of(bytes: &[u8]) -> BatchError {
    read(bytes).2.expect("an error")
}

#[test]
fn javas_sets_are_read_with_every_codec() {
    let bytes = include_bytes!("java/old.sets");
    let (rows, next, error) = read(bytes);
    assert_eq!((rows.len(), next, error), (260, 360, None));
    for (number, (offset, timestamp, key, value)) in rows.into_iter().enumerate() {
        assert_eq!(offset, 100 + number as i64);
        let (set, i) = (number / 20, number % 20);
        let expected = match set % 3 {
            _ if set == 12 => 1_700_000_000_000 + 10 * i as i64,
            0 => -1,
            1 => 1_700_000_000_000 + 10 * i as i64,
            _ => 1_600_000_000_000,
        };
        assert_eq!(timestamp, expected, "record {i} of set {set}");
        let wanted = (i % 5 != 4).then(|| format!("key-{}", i % 7).into_bytes());
        assert_eq!(key, wanted);
        let wanted = (i % 10 != 9).then(|| format!("value number {i} of this set").into_bytes());
        assert_eq!(value, wanted);
    }
}

#[test]
fn javas_sets_are_no_batches_where_only_these_may_be() {
    let bytes = Bytes::from_static(include_bytes!("java/old.sets"));
    let batches: Vec<_> = RecordBatches::new(bytes).collect();
    let (last, old) = batches.split_last().expect("batches");
    assert!(last.is_ok());
    assert!(old
        .iter()
        .all(|batch| matches!(batch, Err(BatchError::OldMagic { .. }))));
}

#[test]
fn sound_messages_in_a_row_are_one_batch_and_sets_are_one_each() {
    let bytes = Bytes::from_static(include_bytes!("java/old.sets"));
    let counts = RecordBatches::of_log(bytes)
        .map(|batch| batch.expect("sound").record_count)
        .collect::<Vec<_>>();
    assert_eq!(counts, [60, 1, 1, 1, 1, 1, 1, 1, 1, 1, 20]);
}

#[test]
fn offsets_of_format_1_count_from_the_first_and_those_of_format_0_are_themselves() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        for (magic, inner, outer, wanted) in [
            (0, [7, 8, 12], 12, [7, 8, 12]),
            (0, [7, 8, 12], 0, [7, 8, 12]),
            (1, [0, 1, 2], 12, [10, 11, 12]),
            // Compaction leaves gaps.
            (1, [1, 4, 5], 12, [8, 11, 12]),
            // Nobody has filled in the offset.
            (1, [0, 1, 2], 0, [0, 1, 2]),
        ] {
            let set = inner.map(|offset| plain(magic, offset, b"x")).concat();
            let head = Head {
                magic,
                offset: outer,
                attributes: 0,
                timestamp: 5,
            };
            let bytes = wrapped(codec, head, &set);
            assert_eq!(
                offsets(&bytes),
                wanted,
                "{codec:?} {magic} {inner:?} {outer}"
            );
            assert_eq!(read(&bytes).1, wanted[2].max(outer) + 1);
        }
    }
}

#[test]
fn reading_goes_on_behind_a_set_whose_last_messages_were_removed() {
    let set = plain(0, 7, b"x");
    let head = Head {
        magic: 0,
        offset: 9,
        attributes: 0,
        timestamp: 0,
    };
    let (rows, next, error) = read(&wrapped(Codec::Gzip, head, &set));
    assert_eq!((rows[0].0, next, error), (7, 10, None));
}

#[test]
fn the_brokers_time_counts_for_all_of_a_set() {
    let set = [plain(1, 0, b"a"), plain(1, 1, b"b")].concat();
    for (attributes, wanted) in [(0, [1000, 1001]), (LOG_APPEND_TIME, [77, 77])] {
        let head = Head {
            magic: 1,
            offset: 41,
            attributes,
            timestamp: 77,
        };
        let (rows, _, error) = read(&wrapped(Codec::Gzip, head, &set));
        assert_eq!(error, None);
        assert_eq!([rows[0].1, rows[1].1], wanted);
    }
}

#[test]
fn sets_in_sets_are_read_but_not_without_end() {
    let head = |offset| Head {
        magic: 1,
        offset,
        attributes: 0,
        timestamp: 0,
    };
    let pair = [plain(1, 0, b"a"), plain(1, 1, b"b")].concat();
    let both = [
        wrapped(Codec::Gzip, head(1), &pair),
        wrapped(Codec::Lz4, head(3), &pair),
    ]
    .concat();
    assert_eq!(
        offsets(&wrapped(Codec::Snappy, head(103), &both)),
        [100, 101, 102, 103]
    );
    let mut deep = pair;
    for _ in 0..4 {
        deep = wrapped(Codec::Gzip, head(1), &deep);
    }
    assert!(matches!(error_of(&deep), BatchError::InvalidRecord { .. }));
}

#[test]
fn the_wrong_checksum_of_old_lz4_headers_is_right_in_format_0_only() {
    for magic in [0, 1] {
        let mut frame = compressed(Codec::Lz4, &plain(magic, 0, b"x"));
        frame[6] ^= 0x55;
        let head = Head {
            magic,
            offset: 0,
            attributes: Codec::Lz4.id() as i8,
            timestamp: 0,
        };
        let (rows, _, error) = read(&message(head, None, Some(&frame)));
        assert_eq!(
            (rows.len(), error.is_some()),
            if magic == 0 { (1, false) } else { (0, true) }
        );
    }
}

#[test]
fn zstd_and_what_is_no_codec_do_not_exist_in_old_formats() {
    for id in 4..8 {
        for magic in [0, 1] {
            let head = Head {
                magic,
                offset: 0,
                attributes: id,
                timestamp: 0,
            };
            let zstd = compressed(Codec::Zstd, &plain(magic, 0, b"x"));
            assert_eq!(
                error_of(&message(head, None, Some(&zstd))),
                BatchError::UnknownCodec(id.into())
            );
        }
    }
}

#[test]
fn what_becomes_too_large_is_refused_whatever_its_parts_are() {
    let zeros = vec![0; 100_000];
    let head = |offset| Head {
        magic: 1,
        offset,
        attributes: 0,
        timestamp: 0,
    };
    let set = wrapped(Codec::Gzip, head(0), &plain(1, 0, &zeros));
    let too_large = |limit| Some(DecompressError::TooLarge(limit).into());
    assert_eq!(read_at_most(&set, 100_034).2, None);
    assert_eq!(read_at_most(&set, 100_033).2, too_large(100_033));
    let two = [set, wrapped(Codec::Gzip, head(1), &plain(1, 0, &zeros))].concat();
    let nested = wrapped(Codec::Gzip, head(1), &two);
    assert_eq!(read_at_most(&nested, 210_000).2, None);
    assert_eq!(read_at_most(&nested, 200_000).2, too_large(200_000));
}

#[test]
fn a_message_that_was_cut_off_ends_the_answer() {
    let bytes = [plain(1, 0, b"a"), plain(1, 1, b"b")].concat();
    let one = bytes.len() / 2;
    for end in one + 1..bytes.len() {
        let mut batches = RecordBatches::of_log(Bytes::copy_from_slice(&bytes[..end]));
        assert_eq!(
            batches
                .next()
                .expect("a batch")
                .expect("sound")
                .next_offset(),
            1
        );
        assert!(batches.next().is_none());
        // As long as not even the length is there, nothing is known of it.
        let known = batches.incomplete().expect("it was cut off");
        assert!(end < one + 12 || known == one, "{end}: {known}");
    }
}

#[test]
fn what_came_before_a_broken_message_is_read() {
    let good = [plain(0, 3, b"a"), plain(1, 4, b"b")].concat();
    let mut bad = plain(1, 5, b"c");
    *bad.last_mut().expect("bytes") ^= 1;
    let (rows, next, error) = read(&[good, bad, plain(1, 6, b"d")].concat());
    assert_eq!((rows.len(), next), (2, 5));
    assert!(matches!(error, Some(BatchError::CrcMismatch { .. })));
}

#[test]
fn lengths_are_not_believed() {
    for magic in [0, 1] {
        let key_at = if magic == 0 { 18 } else { 26 };
        for (at, value) in [
            (key_at, -2),
            (key_at, i32::MIN),
            (key_at, i32::MAX),
            (key_at, 1),
            (key_at + 4, -2),
            (key_at + 4, 0),
            (key_at + 4, 2),
            (key_at + 4, i32::MAX),
        ] {
            let mut bytes = plain(magic, 0, b"x");
            bytes[at..at + 4].copy_from_slice(&i32::to_be_bytes(value));
            let crc = crc32(&bytes[16..]);
            bytes[12..16].copy_from_slice(&crc.to_be_bytes());
            assert!(
                matches!(error_of(&bytes), BatchError::InvalidRecord { .. }),
                "{at} {value}"
            );
        }
        for length in [i32::MIN, -1, 0, 4] {
            let mut bytes = plain(magic, 0, b"x");
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            assert!(matches!(error_of(&bytes), BatchError::InvalidLength(_)));
        }
        let mut bytes = plain(magic, 0, b"x");
        bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(read(&bytes), (vec![], 0, None));
    }
}

#[test]
fn a_set_has_messages_of_its_own_format_and_at_least_one() {
    let head = |magic| Head {
        magic,
        offset: 3,
        attributes: 0,
        timestamp: 0,
    };
    let mut batch = BatchBuilder::new();
    batch
        .append(1, None, Some(b"x"), NO_HEADERS)
        .expect("there is room");
    for set in [
        vec![],
        plain(0, 3, b"x"),
        batch.seal(SealOptions::default()).to_vec(),
        [plain(1, 0, b"x"), plain(1, 0, b"again")].concat(),
        [plain(1, 0, b"x"), vec![0; 3]].concat(),
    ] {
        let bytes = wrapped(Codec::Gzip, head(1), &set);
        assert!(read(&bytes).2.is_some(), "{set:?}");
        assert_eq!(read(&bytes).0, []);
    }
    let null = Head {
        attributes: 1,
        ..head(1)
    };
    assert!(matches!(
        error_of(&message(null, None, None)),
        BatchError::InvalidRecord { .. }
    ));
}

fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    let len = prop_oneof![0..20usize, 120..140usize, 8180..8200usize];
    let bytes = len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len));
    proptest::option::weighted(0.8, bytes)
}

type Set = (i8, usize, Vec<(i64, i64, Row)>);

/// Sets of either format, the gaps before their messages, and what is in them.
fn sets() -> impl Strategy<Value = Vec<Set>> {
    let row = (1..5i64, any::<i64>(), field(), field())
        .prop_map(|(gap, time, key, value)| (gap, time, (0, time, key, value)));
    let rows = proptest::collection::vec(row, 1..10);
    proptest::collection::vec((0..2i8, 0..CODECS.len(), rows), 1..6)
}

proptest! {
    #[test]
    fn whatever_lies_in_a_log_is_read_as_it_was_written(sets in sets(), cut in any::<prop::sample::Index>()) {
        let (mut log, mut wanted, mut last) = (Vec::new(), Vec::new(), 0);
        for (magic, codec, rows) in sets {
            let codec = CODECS[codec];
            let (first, mut set) = (last + 1, Vec::new());
            for (gap, timestamp, (_, _, key, value)) in rows {
                last += gap;
                let is_relative = magic == 1 && codec != Codec::None;
                let offset = if is_relative { last - first } else { last };
                let head = Head { magic, offset, attributes: 0, timestamp };
                set.extend(message(head, key.as_deref(), value.as_deref()));
                wanted.push((last, if magic == 0 { -1 } else { timestamp }, key, value));
            }
            log.extend(match codec {
                Codec::None => set,
                _ => wrapped(codec, Head { magic, offset: last, attributes: 0, timestamp: 0 }, &set),
            });
        }
        let (rows, next, error) = read(&log);
        prop_assert_eq!((&rows, next, error), (&wanted, last + 1, None));
        let (rows, _, error) = read(&log[..cut.index(log.len())]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&rows[..], &wanted[..rows.len()]);
    }

    #[test]
    fn no_byte_of_a_log_makes_it_panic_or_lie(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let sound = include_bytes!("java/old.sets");
        let (wanted, ..) = read(sound);
        let wanted: BTreeSet<_> = wanted.into_iter().map(|row| (row.1, row.2, row.3)).collect();
        let mut bytes = sound.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let (rows, ..) = read(&bytes);
        // The CRC leaves out the offset, as it always has.
        let is_same = rows.into_iter().all(|row| wanted.contains(&(row.1, row.2, row.3)));
        prop_assert!(is_same);
    }
}
