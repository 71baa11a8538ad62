//! What the simulations share: chance, time, records that tell who they are, and what stands in a batch.

#![allow(dead_code)] // No simulation needs all of it.

pub mod cluster;

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use kafka_producer::{Accumulator, Identity, Keyless, NewRecord, Settings};
use kafka_wire::records::{batch_span, RecordBatches, MAX_DECOMPRESSED_LEN, NO_PRODUCER_ID};
use kafka_wire::Codec;

pub const TOPIC: &[u8] = b"t";

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Time passes.
pub fn wait(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// xorshift64*: the same seed gives the same history.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// Small batches, some of them compressed, some growing while they wait.
pub fn settings(seed: u64) -> Settings {
    Settings {
        batch_size: 200,
        batch_limit: if seed % 2 == 0 { 200 } else { 600 },
        compression: match seed % 3 {
            0 => Codec::Lz4.into(),
            _ => Codec::None.into(),
        },
        buffer_memory: usize::MAX,
        max_request_size: usize::MAX,
        patience: Duration::MAX,
        keyless: Keyless::InTurn,
        idempotent: true,
        transactional: false,
        clock: || NOW.get(),
    }
}

/// What has been produced, and what callbacks were told.
pub struct Records {
    pub produced: Vec<u32>,
    pub acknowledged: HashSet<u32>,
    pub failed: HashSet<u32>,
}

impl Records {
    pub fn new(partitions: usize) -> Records {
        Records {
            produced: vec![0; partitions],
            acknowledged: HashSet::new(),
            failed: HashSet::new(),
        }
    }

    /// The next record of some partition: its value, of some length, begins with a number that tells both.
    pub fn next(&mut self, dice: &mut Dice) -> (usize, u32, Vec<u8>) {
        let partitions = self.produced.len();
        let partition = dice.below(partitions);
        let number = self.produced[partition] * partitions as u32 + partition as u32;
        self.produced[partition] += 1;
        let mut value = number.to_be_bytes().to_vec();
        value.resize(4 + dice.below(60), b'.');
        (partition, number, value)
    }

    pub fn append(&mut self, dice: &mut Dice, accumulator: &mut Accumulator<u32>) {
        let (partition, number, value) = self.next(dice);
        let topic = accumulator.topic_index(TOPIC);
        accumulator
            .append(topic, partition, record(&value), Some(number))
            .expect("small");
    }

    pub fn acknowledge(&mut self, callbacks: Vec<Option<u32>>) {
        for number in callbacks.into_iter().flatten() {
            assert!(!self.failed.contains(&number), "called back twice");
            assert!(self.acknowledged.insert(number), "called back twice");
        }
    }

    pub fn fail(&mut self, callbacks: Vec<Option<u32>>) {
        for number in callbacks.into_iter().flatten() {
            assert!(!self.acknowledged.contains(&number), "called back twice");
            assert!(self.failed.insert(number), "called back twice");
        }
    }

    /// Whether everything that was produced was settled.
    pub fn check_settled(&self) {
        let settled = self.acknowledged.len() + self.failed.len();
        assert_eq!(settled as u32, self.produced.iter().sum::<u32>());
    }

    /// What of a partition's log has not failed: all that was produced, once and in order. Gives how much that is.
    pub fn check_log(&self, partition: usize, log: &[u32]) -> usize {
        let mut once = HashSet::new();
        for value in log {
            assert!(once.insert(*value), "{value} is in the log twice");
        }
        let kept = log.iter().filter(|value| !self.failed.contains(value));
        let kept: Vec<_> = kept.copied().collect();
        let partitions = self.produced.len() as u32;
        let expected: Vec<_> = (0..self.produced[partition])
            .map(|n| n * partitions + partition as u32)
            .filter(|value| !self.failed.contains(value))
            .collect();
        assert_eq!(kept, expected, "partition {partition}");
        kept.len()
    }
}

type Header = (&'static [u8], Option<&'static [u8]>);

pub fn record(value: &[u8]) -> NewRecord<'_, std::iter::Empty<Header>> {
    NewRecord {
        timestamp: 5,
        key: None,
        value: Some(value),
        headers: std::iter::empty(),
        lend: None,
    }
}

/// Who wrote a batch, and its first and last sequence number.
pub type Stamped = (Identity, i32, i32);

/// Nothing for a batch without sequence numbers.
pub fn stamp(bytes: &[u8]) -> Option<Stamped> {
    let header = batch_span(bytes).expect("a batch");
    if header.producer_id == NO_PRODUCER_ID {
        return None;
    }
    let identity = Identity {
        id: header.producer_id,
        epoch: header.producer_epoch,
    };
    let last = i64::from(header.base_sequence) + i64::from(header.last_offset_delta);
    let last = (last % (1 << 31)) as i32;
    Some((identity, header.base_sequence, last))
}

/// Whether a batch that begins with this number follows one that ends with the other.
pub fn follows(first: i32, before: i32) -> bool {
    i64::from(first) == (i64::from(before) + 1) % (1 << 31)
}

/// The numbers of a batch's records.
pub fn numbers(bytes: &Bytes) -> Vec<u32> {
    let batch = RecordBatches::new(bytes.clone())
        .next()
        .expect("a batch")
        .expect("whole");
    let records = batch.records(MAX_DECOMPRESSED_LEN).expect("sound");
    let values = records.iter().map(|r| r.value.expect("a value"));
    values
        .map(|value| u32::from_be_bytes(value[..4].try_into().expect("four bytes")))
        .collect()
}

/// Plays so many histories and gives the sum of what they give: records that went through.
pub fn histories(seeds: std::ops::Range<u64>, play: impl Fn(u64) -> usize) -> usize {
    let mut records = 0;
    for seed in seeds {
        let play = std::panic::AssertUnwindSafe(|| play(seed));
        records += std::panic::catch_unwind(play).unwrap_or_else(|_| panic!("seed {seed}"));
    }
    records
}

/// How many: `EV_KAFKA_HISTORIES`, or as many as take a moment.
pub fn scale() -> u64 {
    let given = std::env::var("EV_KAFKA_HISTORIES").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(150)
}
