//! Compressing and decompressing, with contexts and memory that serve again and again.

use std::io::Write;

use bytes::Bytes;
use kafka_wire::codec::{Compression, Compressor, DecompressError, Decompressor};
use kafka_wire::Codec;
use proptest::prelude::*;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];
const LIMIT: usize = 64 << 20;

/// Around what snappy and LZ4 compress at a time.
const SIZES: [usize; 11] = [
    0,
    1,
    2,
    100,
    (32 << 10) - 1,
    32 << 10,
    (32 << 10) + 1,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    200_000,
];

/// Bytes that no codec makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Bytes like those of records.
fn text(len: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut i = 0_u32;
    while text.len() < len {
        i += 1;
        let id = i.wrapping_mul(2_654_435_761);
        text += &format!("{{\"id\":{id},\"path\":\"/api/v{}/orders\"}}\n", i % 3);
    }
    text.truncate(len);
    text.into_bytes()
}

fn levels(codec: Codec) -> Vec<Compression> {
    let levels: &[i32] = match codec {
        Codec::None | Codec::Snappy => &[],
        Codec::Gzip => &[-1, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        Codec::Lz4 => &[1, 2, 3, 4, 6, 9, 10, 12, 13, 17],
        Codec::Zstd => &[-131_072, -50, -1, 0, 1, 2, 3, 4, 6, 9, 12, 19, 22],
    };
    let at = |level: &i32| Compression::new(codec, *level).expect("a level");
    let default = std::iter::once(Compression::from(codec));
    default.chain(levels.iter().map(at)).collect()
}

fn decompress(codec: Codec, data: &[u8]) -> Result<Bytes, DecompressError> {
    Decompressor::default().decompress(codec, data, LIMIT)
}

#[test]
fn every_codec_gives_back_what_it_got_at_every_level() {
    let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
    for codec in CODECS {
        for compression in levels(codec) {
            for size in SIZES {
                for data in [vec![b'v'; size], text(size), noise(size)] {
                    let mut compressed = b"kept".to_vec();
                    compressor
                        .compress(compression, &data, &mut compressed)
                        .expect("it compresses");
                    assert!(compressed.starts_with(b"kept"));
                    let most = data.len() + data.len() / 100 + 64;
                    assert!(compressed.len() <= most, "{compression:?} blows {size} up");
                    let read = decompressor.decompress(codec, &compressed[4..], data.len());
                    assert!(read == Ok(data.into()), "{compression:?}, {size} bytes");
                    decompressor.trim();
                }
            }
        }
    }
}

#[test]
fn what_was_given_stays_as_it_is() {
    let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
    for codec in CODECS {
        let batches: Vec<_> = (1..20).map(|i| text(i * 20_000)).collect();
        let mut given = Vec::new();
        for batch in &batches {
            let mut compressed = Vec::new();
            compressor
                .compress(codec.into(), batch, &mut compressed)
                .expect("it compresses");
            given.push(decompressor.decompress(codec, &compressed, LIMIT));
            if given.len() % 3 == 0 {
                // Its memory serves for others.
                given[0] = Ok(Bytes::new());
            }
        }
        for (given, batch) in given.iter().zip(&batches).skip(1) {
            assert_eq!(given.as_deref(), Ok(&batch[..]), "{}", codec.name());
        }
    }
}

#[test]
fn a_higher_level_makes_less_of_it() {
    let size_at = |codec, level| {
        let mut compressed = Vec::new();
        let compression = Compression::new(codec, level).expect("a level");
        Compressor::default()
            .compress(compression, &text(300_000), &mut compressed)
            .expect("it compresses");
        compressed.len()
    };
    for (codec, low, high) in [
        (Codec::Gzip, 1, 9),
        (Codec::Lz4, 1, 12),
        (Codec::Zstd, -5, 19),
    ] {
        assert!(
            size_at(codec, low) > size_at(codec, high),
            "{}",
            codec.name()
        );
    }
    assert_eq!(size_at(Codec::Gzip, -1), size_at(Codec::Gzip, 1));
    assert_eq!(size_at(Codec::Zstd, 0), size_at(Codec::Zstd, 3));
    assert_eq!(size_at(Codec::Lz4, 12), size_at(Codec::Lz4, 17));
}

#[test]
fn a_level_that_the_codec_does_not_have_is_refused() {
    let refusal = |codec, level| Compression::new(codec, level).map_err(|error| error.to_string());
    for (codec, level, text) in [
        (
            Codec::Gzip,
            0,
            "must be from 1 to 9, or -1 for the default, with gzip, not 0",
        ),
        (
            Codec::Gzip,
            10,
            "must be from 1 to 9, or -1 for the default, with gzip, not 10",
        ),
        (Codec::Lz4, 0, "must be from 1 to 17 with lz4, not 0"),
        (Codec::Lz4, 18, "must be from 1 to 17 with lz4, not 18"),
        (
            Codec::Zstd,
            23,
            "must be from -131072 to 22 with zstd, not 23",
        ),
        (
            Codec::Zstd,
            -131_073,
            "must be from -131072 to 22 with zstd, not -131073",
        ),
        (Codec::Snappy, 1, "cannot be 1: snappy has no levels"),
    ] {
        assert_eq!(refusal(codec, level), Err(text.to_owned()));
    }
    assert_eq!(refusal(Codec::None, 99), Ok(Codec::None.into()));
}

/// Has the default, and all that differs from it.
fn gzip_of(data: &[u8], level: u32) -> Vec<u8> {
    let builder = flate2::GzBuilder::new()
        .filename("a")
        .comment("b")
        .extra("cd");
    let mut encoder = builder.write(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(data).expect("it compresses");
    encoder.finish().expect("it compresses")
}

#[test]
fn gzip_of_others_is_read() {
    for size in SIZES {
        let data = text(size);
        for level in [0, 1, 6, 9] {
            assert!(decompress(Codec::Gzip, &gzip_of(&data, level)) == Ok(data.clone().into()));
        }
    }
}

#[test]
fn gzip_members_may_be_joined() {
    for (first, second) in [
        (100_000, 300),
        (300, 100_000),
        (70_000, 70_000),
        (5, 0),
        (0, 5),
    ] {
        let (first, second) = (text(first), noise(second));
        let joined = [gzip_of(&first, 6), gzip_of(&second, 6)].concat();
        let whole = [first, second].concat();
        assert!(decompress(Codec::Gzip, &joined) == Ok(whole.into()));
    }
    // Lengths alone do not tell that a member follows.
    let (a, b) = (vec![b'a'; 1000], vec![b'b'; 1000]);
    let joined = [gzip_of(&a, 6), gzip_of(&b, 6)].concat();
    assert!(decompress(Codec::Gzip, &joined) == Ok([a, b].concat().into()));
}

#[test]
fn a_gzip_trailer_that_lies_is_refused() {
    let data = text(100_000);
    let good = gzip_of(&data, 6);
    for claim in [0_u32, 1, 99_999, 100_001, 1 << 30, u32::MAX] {
        let mut lie = good.clone();
        let at = lie.len() - 4;
        lie[at..].copy_from_slice(&claim.to_le_bytes());
        assert!(matches!(
            decompress(Codec::Gzip, &lie),
            Err(DecompressError::Malformed(_))
        ));
    }
}

/// A frame that LZ4's own library writes.
fn lz4_of(data: &[u8], build: impl Fn(&mut lz4::EncoderBuilder)) -> Vec<u8> {
    let mut builder = lz4::EncoderBuilder::new();
    build(&mut builder);
    let mut encoder = builder.build(Vec::new()).expect("an encoder");
    encoder.write_all(data).expect("it compresses");
    let (frame, ended) = encoder.finish();
    ended.expect("it compresses");
    frame
}

#[test]
fn lz4_of_others_is_read() {
    use lz4::liblz4::BlockChecksum;
    use lz4::{BlockMode, BlockSize, ContentChecksum};
    for size in SIZES {
        for data in [text(size), noise(size)] {
            for block_size in [
                BlockSize::Max64KB,
                BlockSize::Max256KB,
                BlockSize::Max1MB,
                BlockSize::Max4MB,
            ] {
                for mode in [BlockMode::Independent, BlockMode::Linked] {
                    for checksum in [true, false] {
                        let frame = lz4_of(&data, |builder| {
                            builder
                                .block_size(block_size.clone())
                                .block_mode(mode.clone());
                            if !checksum {
                                builder
                                    .checksum(ContentChecksum::NoChecksum)
                                    .block_checksum(BlockChecksum::NoBlockChecksum);
                            }
                        });
                        assert!(decompress(Codec::Lz4, &frame) == Ok(data.clone().into()));
                    }
                }
            }
        }
    }
}

#[test]
fn lz4_blocks_that_lie_are_refused() {
    const HEADER: &[u8] = b"\x04\x22\x4d\x18\x60\x40\x82";
    let malformed = |parts: &[&[u8]]| {
        let read = decompress(Codec::Lz4, &parts.concat());
        assert!(
            matches!(read, Err(DecompressError::Malformed(_))),
            "{parts:?}"
        );
    };
    let plain = |len: u32| (len | 1 << 31).to_le_bytes();
    let end = &[0; 4];
    malformed(&[HEADER]);
    malformed(&[HEADER, &[0; 3]]);
    malformed(&[HEADER, &plain(5), b"four", end]);
    malformed(&[HEADER, &plain(65_537), &[7; 65_537], end]);
    malformed(&[HEADER, &u32::MAX.to_le_bytes(), end]);
    // A copy from before the start.
    malformed(&[HEADER, &6_u32.to_le_bytes(), b"\x10a\x09\x00\x00\x00", end]);
    // More than a block may become: a copy of 65,580 bytes.
    let copy = [&b"\x1fa\x01\x00"[..], &[255; 257][..], &[20], b"\x00"].concat();
    malformed(&[HEADER, &(copy.len() as u32).to_le_bytes(), &copy, end]);
    // A header whose checksum is wrong.
    malformed(&[b"\x04\x22\x4d\x18\x60\x40\x83", end]);
    assert_eq!(
        decompress(Codec::Lz4, &[HEADER, end].concat()),
        Ok(Bytes::new())
    );
}

#[test]
fn zstd_of_others_is_read() {
    for size in SIZES {
        let data = text(size);
        // Neither says how much there is.
        let streamed = zstd::stream::encode_all(&data[..], 5).expect("it compresses");
        assert!(decompress(Codec::Zstd, &streamed) == Ok(data.clone().into()));
        let joined = [&streamed[..], b"\x50\x2a\x4d\x18\x03\0\0\0xyz", &streamed].concat();
        assert!(decompress(Codec::Zstd, &joined) == Ok([&data[..], &data].concat().into()));
    }
}

#[test]
fn a_zstd_frame_that_lies_about_its_content_is_refused() {
    let mut frame = Vec::new();
    Compressor::default()
        .compress(Codec::Zstd.into(), &text(100_000), &mut frame)
        .expect("it compresses");
    // A single segment with a content size of four bytes.
    assert_eq!(frame[4] & 0xe0, 0xa0);
    for claim in [0_u32, 99_999, 100_001, u32::MAX] {
        frame[5..9].copy_from_slice(&claim.to_le_bytes());
        assert!(decompress(Codec::Zstd, &frame).is_err(), "{claim}");
    }
}

#[test]
fn after_what_is_malformed_comes_what_is_not() {
    let mut decompressor = Decompressor::default();
    let data = text(100_000);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut compressed = Vec::new();
        Compressor::default()
            .compress(codec.into(), &data, &mut compressed)
            .expect("it compresses");
        for at in (0..compressed.len()).step_by(997) {
            let mut damaged = compressed.clone();
            damaged[at] ^= 0x55;
            let _ = decompressor.decompress(codec, &damaged, LIMIT);
            let _ = decompressor.decompress(codec, &compressed[..at], LIMIT);
            let read = decompressor.decompress(codec, &compressed, LIMIT);
            assert!(read == Ok(data.clone().into()), "{} at {at}", codec.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_codec_gives_back_any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000), repeat in 1..60usize,
    ) {
        let bytes = bytes.repeat(repeat);
        for codec in CODECS {
            let mut compressed = Vec::new();
            Compressor::default().compress(codec.into(), &bytes, &mut compressed).expect("it compresses");
            let read = Decompressor::default().decompress(codec, &compressed, bytes.len());
            prop_assert_eq!(read.as_deref(), Ok(&bytes[..]));
        }
    }

    #[test]
    fn no_bytes_become_more_than_the_limit(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), limit in 0..5000usize,
    ) {
        for codec in CODECS {
            if let Ok(read) = Decompressor::default().decompress(codec, &bytes, limit) {
                prop_assert!(read.len() <= limit);
            }
        }
    }
}
