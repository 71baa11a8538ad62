//! Batches that Kafka's own Java client wrote (`java/WriteBatches.java`), one for each codec.

use bytes::Bytes;
use kafka_wire::records::{RecordBatches, MAX_DECOMPRESSED_LEN};
use kafka_wire::Codec;

const BATCHES: [(Codec, &[u8]); 5] = [
    (Codec::None, include_bytes!("java/none.batch")),
    (Codec::Gzip, include_bytes!("java/gzip.batch")),
    (Codec::Snappy, include_bytes!("java/snappy.batch")),
    (Codec::Lz4, include_bytes!("java/lz4.batch")),
    (Codec::Zstd, include_bytes!("java/zstd.batch")),
];

#[test]
fn javas_batches_are_read_with_every_codec() {
    for (codec, bytes) in BATCHES {
        let batch = RecordBatches::new(Bytes::from_static(bytes))
            .next()
            .expect("a batch")
            .expect("sound");
        assert_eq!(batch.codec_id(), codec.id());
        assert_eq!((batch.base_offset, batch.next_offset()), (100, 150));
        let records = batch.records(MAX_DECOMPRESSED_LEN).expect("sound");
        assert_eq!(records.len(), 50);
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.offset, 100 + i as i64);
            assert_eq!(record.timestamp, 1_700_000_000_000 + 10 * i as i64);
            let key = (i % 5 != 4).then(|| format!("key-{}", i % 7));
            assert_eq!(record.key, key.as_ref().map(String::as_bytes));
            let value = (i % 10 != 9).then(|| format!("value number {i} of this batch"));
            assert_eq!(record.value, value.as_ref().map(String::as_bytes));
            let id = format!("id-{i}");
            let headers: [(&[u8], Option<&[u8]>); 2] =
                [(b"trace", Some(id.as_bytes())), (b"null", None)];
            let expected = if i % 2 == 0 {
                &headers[..0]
            } else {
                &headers[..]
            };
            assert!(record.headers().eq(expected.iter().copied()), "record {i}");
        }
    }
}
