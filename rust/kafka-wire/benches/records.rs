//! What a message costs: appending it to a batch, and reading it out of one.

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use kafka_wire::records::{
    BatchBuilder, RecordBatches, SealOptions, MAX_DECOMPRESSED_LEN, NO_HEADERS,
};
use kafka_wire::Codec;
use std::hint::black_box;

/// Messages in a batch: about a megabyte of them.
const COUNT: usize = 9000;
const VALUE: [u8; 100] = [b'v'; 100];

fn fill(builder: &mut BatchBuilder) {
    for i in 0..COUNT as i64 {
        builder
            .append(
                1_700_000_000_000 + i / 100,
                Some(black_box(b"key-0001")),
                Some(black_box(&VALUE)),
                NO_HEADERS,
            )
            .expect("it fits");
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(COUNT as u64));
    let mut builder = BatchBuilder::with_capacity(1 << 20);
    group.bench_function("key and 100 bytes, sealed uncompressed", |b| {
        b.iter(|| {
            fill(&mut builder);
            builder.seal(SealOptions::default())
        })
    });
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        group.bench_function(
            format!("key and 100 bytes, sealed with {}", codec.name()),
            |b| {
                b.iter(|| {
                    fill(&mut builder);
                    builder.seal(SealOptions {
                        compression: codec.into(),
                        ..SealOptions::default()
                    })
                })
            },
        );
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(COUNT as u64));
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let mut builder = BatchBuilder::with_capacity(1 << 20);
        fill(&mut builder);
        let bytes = builder.seal(SealOptions {
            compression: codec.into(),
            ..SealOptions::default()
        });
        let batch = RecordBatches::new(bytes)
            .next()
            .expect("a batch")
            .expect("sound");
        group.bench_function(format!("open and iterate, {}", codec.name()), |b| {
            b.iter(|| {
                let records = batch.records(MAX_DECOMPRESSED_LEN).expect("sound");
                records
                    .iter()
                    .map(|r| r.value.map_or(0, <[u8]>::len) as i64 + r.offset)
                    .sum::<i64>()
            })
        });
    }
    let mut builder = BatchBuilder::with_capacity(1 << 20);
    fill(&mut builder);
    let batch = RecordBatches::new(builder.seal(SealOptions::default()))
        .next()
        .expect("a batch")
        .expect("sound");
    let records = batch.records(MAX_DECOMPRESSED_LEN).expect("sound");
    group.bench_function("iterate only", |b| {
        b.iter(|| {
            records
                .iter()
                .map(|r| r.value.map_or(0, <[u8]>::len) as i64 + r.offset)
                .sum::<i64>()
        })
    });
    group.bench_function("verify the CRC only", |b| b.iter(|| batch.verify()));
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
