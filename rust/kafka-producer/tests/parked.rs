//! Records of topics that are not known yet: what becomes of them when the topic does become known, and when it does not.

use std::cell::Cell;
use std::time::Duration;

use kafka_producer::{
    Accumulator, Appended, Destination, GivenUp, Keyless, NewRecord, Refused, Settings,
};
use kafka_wire::records::{batch_span, RecordBatches, MAX_DECOMPRESSED_LEN};
use kafka_wire::{murmur2, Codec};

const TOPIC: &[u8] = b"t";
const NODE: i32 = 1;
const PARTITIONS: usize = 3;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn now() -> Duration {
    NOW.get()
}

fn accumulator() -> Accumulator<u32> {
    with_memory(usize::MAX)
}

fn with_memory(buffer_memory: usize) -> Accumulator<u32> {
    Accumulator::new(Settings {
        batch_size: 4096,
        batch_limit: 4096,
        compression: Codec::None.into(),
        buffer_memory,
        max_request_size: usize::MAX,
        patience: Duration::MAX,
        keyless: Keyless::InTurn,
        idempotent: false,
        transactional: false,
        clock: now,
    })
}

/// A record as it was parked or as it left.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn record(number: u32) -> Record {
    Record {
        timestamp: 1_000 + i64::from(number),
        key: Some(format!("key {number}").into_bytes()),
        value: Some(format!("value {number}").into_bytes()),
        headers: Vec::new(),
    }
}

fn park(
    accumulator: &mut Accumulator<u32>,
    record: &Record,
    callback: Option<u32>,
) -> Result<(), Refused> {
    let topic = accumulator.topic_index(TOPIC);
    let record = NewRecord {
        timestamp: record.timestamp,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (&name[..], value.as_deref())),
        lend: None,
    };
    accumulator.park(topic, Destination::ByKey, record, callback)
}

fn unpark(accumulator: &mut Accumulator<u32>) -> Appended {
    let topic = accumulator.topic_index(TOPIC);
    accumulator.unpark(topic, usize::MAX)
}

fn become_known(accumulator: &mut Accumulator<u32>) {
    accumulator.route(TOPIC, &[NODE; PARTITIONS]);
    unpark(accumulator);
    accumulator.seal_all();
}

/// A batch that has left.
struct Left {
    partition: usize,
    is_transactional: bool,
    records: Vec<Record>,
    callbacks: Vec<Option<u32>>,
}

/// Everything that leaves, batch by batch; all of it is acknowledged.
fn leave(accumulator: &mut Accumulator<u32>) -> Vec<Left> {
    let mut left = Vec::new();
    loop {
        let request = accumulator.take_request(NODE);
        if request.is_empty() {
            return left;
        }
        for outgoing in request {
            let bytes = outgoing.bytes.into_bytes();
            let is_transactional = batch_span(&bytes).expect("a batch").attributes & 0x10 != 0;
            let batch = RecordBatches::new(bytes)
                .next()
                .expect("a batch")
                .expect("whole");
            let records = batch.records(MAX_DECOMPRESSED_LEN).expect("sound");
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let records = records.iter().map(|record| Record {
                timestamp: record.timestamp,
                key: own(record.key),
                value: own(record.value),
                headers: record
                    .headers()
                    .map(|(name, value)| (name.to_vec(), own(value)))
                    .collect(),
            });
            let (_, settled) = accumulator.acknowledge(outgoing.id).expect("in flight");
            left.push(Left {
                partition: outgoing.place.partition,
                is_transactional,
                records: records.collect(),
                callbacks: settled.callbacks,
            });
        }
    }
}

fn callbacks(given_up: Vec<GivenUp<u32>>) -> Vec<u32> {
    let batches = given_up
        .into_iter()
        .flat_map(|given_up| given_up.batch.callbacks);
    batches.flatten().collect()
}

#[test]
fn records_leave_as_they_came_each_for_the_partition_of_its_key() {
    let mut accumulator = accumulator();
    let mut all: Vec<Record> = (0..20).map(record).collect();
    all[3].key = None;
    all[4].value = None;
    all[5].headers = vec![(b"h".to_vec(), Some(b"1".to_vec())), (b"h".to_vec(), None)];
    for (number, record) in (0..).zip(&all) {
        let callback = (number % 2 == 0).then_some(number);
        park(&mut accumulator, record, callback).expect("room");
    }
    become_known(&mut accumulator);
    let left = leave(&mut accumulator);
    assert_eq!(
        left.iter().map(|batch| batch.records.len()).sum::<usize>(),
        20
    );
    for batch in &left {
        let numbers = batch.records.iter().map(|r| (r.timestamp - 1_000) as u32);
        let numbers: Vec<u32> = numbers.collect();
        assert!(numbers.is_sorted(), "in order");
        for (index, (number, record)) in numbers.iter().zip(&batch.records).enumerate() {
            assert_eq!(record, &all[*number as usize]);
            let callback = batch.callbacks.get(index).copied().flatten();
            assert_eq!(
                callback,
                (number % 2 == 0).then_some(*number),
                "the record's own"
            );
            if let Some(key) = &record.key {
                assert_eq!(murmur2(key) as usize % PARTITIONS, batch.partition);
            }
        }
    }
    assert_eq!(accumulator.queued(), (0, 0));
}

#[test]
fn more_than_a_chunk_keeps_its_order() {
    let mut accumulator = accumulator();
    let mut large = record(0);
    large.key = Some(b"k".to_vec());
    large.value = Some(vec![b'.'; 1 << 15]);
    for number in 0..40 {
        large.timestamp = number;
        park(&mut accumulator, &large, None).expect("room");
    }
    become_known(&mut accumulator);
    let left = leave(&mut accumulator);
    let timestamps = left
        .iter()
        .flat_map(|batch| &batch.records)
        .map(|record| record.timestamp);
    assert!(timestamps.eq(0..40));
}

#[test]
fn a_topic_that_is_still_unknown_keeps_its_records() {
    let mut accumulator = accumulator();
    park(&mut accumulator, &record(0), Some(0)).expect("room");
    let before = accumulator.queued();
    assert_eq!(before.0, 1);
    assert_eq!(unpark(&mut accumulator), Appended::default());
    assert_eq!(accumulator.queued(), before);
    assert!(accumulator.ready_nodes().is_empty());
    accumulator.route(TOPIC, &[NODE; PARTITIONS]);
    assert!(unpark(&mut accumulator).first, "the linger time begins");
}

#[test]
fn what_is_parked_takes_room_and_what_finds_none_is_not_counted() {
    let mut accumulator = with_memory(200);
    let mut taken = 0;
    while park(&mut accumulator, &record(taken), Some(taken)) == Ok(()) {
        taken += 1;
    }
    assert!(taken > 1);
    let (messages, bytes) = accumulator.queued();
    assert_eq!(messages as u32, taken);
    assert!((1..=200).contains(&bytes), "{bytes}");
    assert_eq!(
        park(&mut accumulator, &record(99), Some(99)),
        Err(Refused::BufferFull)
    );
    assert_eq!(accumulator.queued(), (messages, bytes));
    let topic = accumulator.topic_index(TOPIC);
    let failed = callbacks(accumulator.fail_parked(topic));
    assert_eq!(
        failed,
        (0..taken).collect::<Vec<_>>(),
        "all that were taken, in order"
    );
    assert_eq!(accumulator.queued(), (0, 0));
    park(&mut accumulator, &record(0), None).expect("room again");
}

#[test]
fn records_belong_to_the_transaction_in_which_they_were_parked() {
    let mut accumulator = accumulator();
    park(&mut accumulator, &record(0), Some(0)).expect("room");
    accumulator.begin_transaction();
    park(&mut accumulator, &record(1), Some(1)).expect("room");
    park(&mut accumulator, &record(2), Some(2)).expect("room");
    assert_eq!(accumulator.transaction_unsettled(), 2);
    become_known(&mut accumulator);
    assert_eq!(accumulator.transaction_unsettled(), 2, "they count on");
    let plain = leave(&mut accumulator);
    assert!(plain.iter().all(|batch| !batch.is_transactional));
    assert_eq!(
        plain
            .iter()
            .flat_map(|batch| &batch.callbacks)
            .flatten()
            .collect::<Vec<_>>(),
        [&0]
    );
    for place in accumulator.unregistered() {
        accumulator.register(TOPIC, place.partition);
    }
    let transactional = leave(&mut accumulator);
    assert!(transactional.iter().all(|batch| batch.is_transactional));
    let mut called: Vec<_> = transactional
        .iter()
        .flat_map(|batch| &batch.callbacks)
        .flatten()
        .collect();
    called.sort_unstable();
    assert_eq!(called, [&1, &2]);
    assert_eq!(accumulator.transaction_unsettled(), 0);
}

#[test]
fn an_abort_takes_those_of_the_transaction_and_no_others() {
    let mut accumulator = accumulator();
    park(&mut accumulator, &record(0), Some(0)).expect("room");
    accumulator.begin_transaction();
    park(&mut accumulator, &record(1), Some(1)).expect("room");
    assert_eq!(callbacks(accumulator.fail_transactional()), [1]);
    assert_eq!(accumulator.transaction_unsettled(), 0);
    accumulator.end_transaction();
    park(&mut accumulator, &record(2), Some(2)).expect("room");
    become_known(&mut accumulator);
    let left = leave(&mut accumulator);
    let mut called: Vec<_> = left
        .iter()
        .flat_map(|batch| &batch.callbacks)
        .flatten()
        .collect();
    called.sort_unstable();
    assert_eq!(called, [&0, &2]);
    assert!(left.iter().all(|batch| !batch.is_transactional));
}

#[test]
fn records_age_from_when_they_were_parked() {
    let mut accumulator = accumulator();
    park(&mut accumulator, &record(0), Some(0)).expect("room");
    // What is looked through closes the chunk: younger records are not taken along.
    assert!(accumulator.expire(Duration::from_secs(10)).is_empty());
    NOW.set(Duration::from_secs(7));
    park(&mut accumulator, &record(1), Some(1)).expect("room");
    NOW.set(Duration::from_secs(12));
    let expired = accumulator.expire(Duration::from_secs(10));
    assert!(
        expired.iter().all(|given_up| given_up.partition.is_none()),
        "it had no partition yet"
    );
    assert_eq!(callbacks(expired), [0]);
    become_known(&mut accumulator);
    NOW.set(Duration::from_secs(17));
    assert_eq!(
        callbacks(accumulator.expire(Duration::from_secs(10))),
        [1],
        "nor any younger in its batch"
    );
    assert_eq!(accumulator.queued(), (0, 0));
}

#[test]
fn taking_everything_out_tells_them_from_what_was_sent() {
    let mut accumulator = accumulator();
    park(&mut accumulator, &record(0), Some(0)).expect("room");
    park(&mut accumulator, &record(1), None).expect("room");
    let (sent, unsent) = accumulator.take_all();
    assert!(sent.is_empty());
    let records = unsent.iter().map(|given_up| given_up.batch.count);
    assert_eq!(records.sum::<usize>(), 2);
    assert!(unsent.iter().all(|given_up| given_up.partition.is_none()));
    assert_eq!(accumulator.queued(), (0, 0));
    become_known(&mut accumulator);
    assert!(leave(&mut accumulator).is_empty());
}

/// Records that come one by one while nothing can leave: how old are they when they are given up?
fn ages_at_the_end(mut take: impl FnMut(&mut Accumulator<u32>, u32)) -> Vec<Duration> {
    const PATIENCE: Duration = Duration::from_secs(20);
    const STEP: Duration = Duration::from_millis(100);
    let mut accumulator = accumulator();
    let mut born = Vec::new();
    let mut ages = Vec::new();
    for step in 0..600 {
        NOW.set(STEP * step);
        if step < 300 {
            born.push(now());
            take(&mut accumulator, step);
        }
        if step % 10 == 0 {
            accumulator.all_due();
            let expired = callbacks(accumulator.expire(PATIENCE));
            ages.extend(expired.iter().map(|&n| now() - born[n as usize]));
        }
    }
    assert_eq!(ages.len(), born.len());
    ages
}

fn assert_nearly(ages: &[Duration], seconds: std::ops::RangeInclusive<u64>) {
    let [least, most] = [seconds.start(), seconds.end()].map(|&s| Duration::from_secs(s));
    assert!(ages.iter().all(|&age| age >= least), "{ages:?}");
    assert!(ages.iter().all(|&age| age <= most), "{ages:?}");
}

#[test]
fn records_of_unknown_topics_are_given_up_at_their_time() {
    let ages = ages_at_the_end(|accumulator, n| {
        park(accumulator, &record(n), Some(n)).expect("room");
    });
    assert_nearly(&ages, 20..=22);
}

#[test]
fn records_without_a_leader_are_given_up_at_their_time() {
    let ages = ages_at_the_end(|accumulator, n| {
        let topic = accumulator.topic_index(TOPIC);
        let value = n.to_be_bytes();
        let record = NewRecord {
            timestamp: 5,
            key: None,
            value: Some(&value),
            headers: std::iter::empty(),
            lend: None,
        };
        accumulator.append(topic, 0, record, Some(n)).expect("room");
    });
    assert_nearly(&ages, 20..=22);
}

#[test]
fn time_that_was_lost_is_not_held_against_records() {
    let mut accumulator = accumulator();
    let patience = Duration::from_secs(10);
    assert!(accumulator.expire(patience).is_empty());
    park(&mut accumulator, &record(0), Some(0)).expect("room");
    NOW.set(Duration::from_secs(30));
    park(&mut accumulator, &record(1), Some(1)).expect("room");
    NOW.set(Duration::from_secs(40));
    accumulator.forgive(Duration::from_secs(38));
    assert!(accumulator.expire(patience).is_empty());
    NOW.set(Duration::from_secs(48));
    assert_eq!(callbacks(accumulator.expire(patience)), [0]);
    NOW.set(Duration::from_secs(50));
    assert_eq!(callbacks(accumulator.expire(patience)), [1]);
}

#[test]
fn they_can_be_unparked_little_by_little() {
    const RECORDS: u32 = 20_000;
    let mut accumulator = accumulator();
    let before: Vec<_> = (0..RECORDS).map(record).collect();
    for (number, record) in (0..).zip(&before) {
        park(&mut accumulator, record, Some(number)).expect("room");
    }
    accumulator.route(TOPIC, &[NODE; PARTITIONS]);
    let topic = accumulator.topic_index(TOPIC);
    let mut steps = 0;
    while accumulator.must_unpark(topic) {
        assert!(
            accumulator.routed_topic(TOPIC).is_none(),
            "others wait behind"
        );
        accumulator.unpark(topic, 1);
        steps += 1;
    }
    assert!(steps >= 3, "{steps}");
    assert!(accumulator.routed_topic(TOPIC).is_some());
    accumulator.all_due();
    let left = leave(&mut accumulator);
    let mut called: Vec<_> = left
        .iter()
        .flat_map(|b| &b.callbacks)
        .flatten()
        .copied()
        .collect();
    called.sort_unstable();
    assert_eq!(called, (0..RECORDS).collect::<Vec<_>>());
}
