//! What each codec costs, and what it leaves: `codecs BATCH_BYTES < LINES`, a record a line. `bench/codecs.pl` gives it
//! records as people have them.

use std::hint::black_box;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::codec::{Compression, Compressor, Decompressor};
use kafka_wire::records::{
    BatchBuilder, RecordBatches, SealOptions, MAX_DECOMPRESSED_LEN, NO_HEADERS,
};
use kafka_wire::Codec;

/// Of so many rounds the fastest counts.
const ROUNDS: usize = 15;

/// Levels that are shown, none for the default.
const SHOWN: [(Codec, &[Option<i32>]); 5] = [
    (Codec::None, &[None]),
    (Codec::Snappy, &[None]),
    (Codec::Lz4, &[None, Some(1), Some(3), Some(9), Some(12)]),
    (Codec::Gzip, &[None, Some(4), Some(5), Some(6), Some(9)]),
    (Codec::Zstd, &[None, Some(-5), Some(1), Some(6), Some(9)]),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: codecs BATCH_BYTES < LINES";
    let batch_bytes: usize = std::env::args().nth(1).ok_or(usage)?.parse()?;
    let mut lines = String::new();
    io::stdin().read_to_string(&mut lines)?;
    let batches = batches_of(lines.lines(), batch_bytes)?;
    println!("codec   level   bytes/record   compress µs   decompress µs");
    for (codec, levels) in SHOWN {
        for level in levels {
            let compression = match level {
                None => codec.into(),
                Some(level) => Compression::new(codec, *level)?,
            };
            let level = level.map_or("-".to_owned(), |level| level.to_string());
            print!("{:7} {level:>5}", codec.name());
            measure(compression, &batches)?;
        }
    }
    Ok(())
}

/// Records in batches of about so many bytes.
fn batches_of<'a>(
    records: impl Iterator<Item = &'a str>,
    batch_bytes: usize,
) -> Result<Vec<Vec<&'a str>>, &'static str> {
    let (mut batches, mut bytes) = (Vec::new(), batch_bytes);
    for record in records {
        if bytes >= batch_bytes {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += record.len();
        batches.last_mut().ok_or("no batch")?.push(record);
    }
    match batches.is_empty() {
        true => Err("no records"),
        false => Ok(batches),
    }
}

fn built(records: &[&str]) -> Result<BatchBuilder, Box<dyn std::error::Error>> {
    let mut builder = BatchBuilder::new();
    for (index, record) in records.iter().enumerate() {
        let timestamp = 1_750_000_000_000 + index as i64 / 100;
        builder.append(timestamp, None, Some(record.as_bytes()), NO_HEADERS)?;
    }
    Ok(builder)
}

/// Sealing and opening all batches, as a producer and a consumer do it.
fn measure(
    compression: Compression,
    batches: &[Vec<&str>],
) -> Result<(), Box<dyn std::error::Error>> {
    let options = SealOptions {
        compression,
        ..SealOptions::default()
    };
    let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
    let (mut compress, mut decompress) = (Duration::MAX, Duration::MAX);
    let mut sealed: Vec<Bytes> = Vec::new();
    for _ in 0..ROUNDS {
        let builders: Result<Vec<_>, _> = batches.iter().map(|batch| built(batch)).collect();
        let mut builders = builders?;
        let start = Instant::now();
        let mut seal =
            |builder: &mut BatchBuilder| builder.encode(options, &mut compressor).into_bytes();
        sealed = builders.iter_mut().map(&mut seal).collect();
        compress = compress.min(start.elapsed());

        let start = Instant::now();
        for batch in &sealed {
            for batch in RecordBatches::new(batch.clone()) {
                black_box(batch?.records_with(MAX_DECOMPRESSED_LEN, &mut decompressor)?);
            }
        }
        decompress = decompress.min(start.elapsed());
    }
    let records: usize = batches.iter().map(Vec::len).sum();
    let bytes: usize = sealed.iter().map(Bytes::len).sum();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / records as f64;
    println!(
        "   {:12.1}   {:11.3}   {:13.3}",
        bytes as f64 / records as f64,
        each(compress),
        each(decompress)
    );
    Ok(())
}
