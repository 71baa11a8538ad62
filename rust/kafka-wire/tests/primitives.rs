//! Varints and zigzag, and the hash of keys.

use bytes::Bytes;
use kafka_wire::message::DecodeErrorKind;
use kafka_wire::primitives::*;
use kafka_wire::{crc32c, murmur2, Codec};
use proptest::prelude::*;

fn written(put: impl FnOnce(&mut Writer)) -> Bytes {
    let mut writer = Writer::new();
    put(&mut writer);
    writer.into_bytes()
}

proptest! {
    #[test]
    fn varints_come_back(value in any::<i32>(), shift in 0..32) {
        let value = value >> shift;
        let bytes = written(|w| w.put_varint(value));
        prop_assert!(bytes.len() <= MAX_VARINT_LEN);
        let mut reader = Reader::new(bytes.clone());
        prop_assert_eq!(reader.get_varint(), Ok(value));
        prop_assert!(reader.is_empty());
        // As a 64-bit number it has the same bytes.
        prop_assert_eq!(Reader::new(bytes).get_varlong(), Ok(value.into()));
    }

    #[test]
    fn varlongs_come_back(value in any::<i64>(), shift in 0..64) {
        let value = value >> shift;
        let bytes = written(|w| w.put_varlong(value));
        prop_assert!(bytes.len() <= MAX_VARLONG_LEN);
        let mut reader = Reader::new(bytes);
        prop_assert_eq!(reader.get_varlong(), Ok(value));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn unsigned_varints_come_back(value in any::<u32>(), shift in 0..32u32) {
        let value = value >> shift;
        let bytes = written(|w| w.put_uvarint(value));
        let bits = 32 - value.leading_zeros().min(31);
        prop_assert_eq!(bytes.len() as u32, bits.div_ceil(7));
        prop_assert_eq!(Reader::new(bytes).get_uvarint(), Ok(value));
    }

    #[test]
    fn zigzag_undoes_itself(a in any::<i32>(), b in any::<i64>()) {
        prop_assert_eq!(unzigzag32(zigzag32(a)), a);
        prop_assert_eq!(unzigzag64(zigzag64(b)), b);
        prop_assert_eq!(zigzag64(a.into()), u64::from(zigzag32(a)));
    }

    #[test]
    fn murmur2_stays_within_31_bits(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert!(murmur2(&bytes) <= 0x7fff_ffff);
    }
}

#[test]
fn zigzag_has_its_known_values() {
    let known = [
        (0, 0),
        (-1, 1),
        (1, 2),
        (-2, 3),
        (i32::MAX, u32::MAX - 1),
        (i32::MIN, u32::MAX),
    ];
    for (value, folded) in known {
        assert_eq!(zigzag32(value), folded);
    }
    assert_eq!(zigzag64(i64::MIN), u64::MAX);
}

#[test]
fn varints_that_do_not_fit_are_refused() {
    let kind = |bytes: &'static [u8]| Reader::new(bytes.into()).get_uvarint().map_err(|e| e.kind);
    assert_eq!(kind(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
    assert_eq!(
        kind(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
        Err(DecodeErrorKind::VarintTooLong)
    );
    assert_eq!(
        kind(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        Err(DecodeErrorKind::VarintTooLong)
    );
    assert_eq!(kind(&[0x80, 0x80]), Err(DecodeErrorKind::UnexpectedEnd));
    assert_eq!(kind(&[]), Err(DecodeErrorKind::UnexpectedEnd));
    let kind = |bytes: &'static [u8]| Reader::new(bytes.into()).get_varlong().map_err(|e| e.kind);
    assert_eq!(
        kind(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        Ok(i64::MIN)
    );
    assert_eq!(
        kind(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        Err(DecodeErrorKind::VarintTooLong)
    );
}

#[test]
fn murmur2_agrees_with_java() {
    let known: [(&[u8], u32); 3] = [
        (b"", 275646681),
        (b"abc", 479470107),
        (b"hello", 2132663229),
    ];
    for (key, hash) in known {
        assert_eq!(murmur2(key), hash);
    }
}

#[test]
fn crc32c_has_its_check_value() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
}

#[test]
fn codecs_have_kafkas_names_and_numbers() {
    let known = [
        ("none", 0),
        ("gzip", 1),
        ("snappy", 2),
        ("lz4", 3),
        ("zstd", 4),
    ];
    for (name, id) in known {
        let codec = Codec::from_name(name).expect("a codec");
        assert_eq!(
            (codec.id(), codec.name(), Codec::from_id(id)),
            (id, name, Some(codec))
        );
    }
    assert_eq!(Codec::from_name("brotli"), None);
    assert_eq!(Codec::from_id(5), None);
}
