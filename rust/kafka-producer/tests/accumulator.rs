//! The accumulator without Perl: numbers stand for callbacks.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use kafka_producer::verdict::Cause;
use kafka_producer::{
    Accumulator, Appended, BatchId, Counts, Destination, Fate, Identity, Keyless, NewRecord,
    Refused, Settings, LEND_FROM, NO_LEADER,
};
use kafka_wire::records::{RecordBatches, MAX_DECOMPRESSED_LEN, NO_HEADERS};
use kafka_wire::{murmur2, Codec, ErrorCode, Pieces};

const BATCH_SIZE: usize = 1000;
const MAX_REQUEST_SIZE: usize = 20 * BATCH_SIZE;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn accumulator() -> Accumulator<u32> {
    with_codec(Codec::None)
}

fn with_codec(codec: Codec) -> Accumulator<u32> {
    with(codec, BATCH_SIZE)
}

fn with_limit(batch_limit: usize) -> Accumulator<u32> {
    with(Codec::None, batch_limit)
}

fn with(codec: Codec, batch_limit: usize) -> Accumulator<u32> {
    let mut accumulator = Accumulator::new(Settings {
        batch_size: BATCH_SIZE,
        batch_limit,
        compression: codec.into(),
        buffer_memory: usize::MAX,
        max_request_size: MAX_REQUEST_SIZE,
        patience: Duration::MAX,
        keyless: Keyless::InTurn,
        idempotent: false,
        transactional: false,
        clock: || NOW.get(),
    });
    accumulator.route(b"t", &[1, 2, 1]);
    accumulator
}

/// A batch in flight is refused, and waits on.
fn refuse(accumulator: &mut Accumulator<u32>, id: BatchId, code: ErrorCode) {
    let failed = accumulator.failed(id, Cause::Refused(code.code()), "", 0.5);
    assert!(matches!(failed, Some((_, Fate::Waits { .. }))));
}

fn append(
    accumulator: &mut Accumulator<u32>,
    partition: usize,
    value: &[u8],
    callback: Option<u32>,
) -> Appended {
    let topic = accumulator.topic_index(b"t");
    let record = NewRecord {
        timestamp: 5,
        key: None,
        value: Some(value),
        headers: NO_HEADERS.into_iter(),
        lend: None,
    };
    accumulator
        .append(topic, partition, record, callback)
        .expect("small enough")
}

fn values(bytes: Pieces) -> Vec<Vec<u8>> {
    let batches: Vec<_> = RecordBatches::new(bytes.into_bytes())
        .map(|b| b.expect("whole"))
        .collect();
    batches
        .iter()
        .flat_map(|batch| {
            let records = batch.records(MAX_DECOMPRESSED_LEN).expect("sound");
            records
                .iter()
                .map(|r| r.value.unwrap_or_default().to_vec())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn only_the_first_record_of_an_empty_accumulator_starts_the_linger_time() {
    let mut accumulator = accumulator();
    assert!(append(&mut accumulator, 0, b"a", None).first);
    assert!(!append(&mut accumulator, 0, b"b", None).first);
    assert!(!append(&mut accumulator, 1, b"c", None).first);
    accumulator.all_due();
    assert!(
        !append(&mut accumulator, 1, b"d", None).first,
        "due already"
    );
    assert!(append(&mut accumulator, 2, b"e", None).first);
}

#[test]
fn a_batch_that_is_due_takes_records_until_it_leaves() {
    let mut accumulator = accumulator();
    append(&mut accumulator, 0, b"1", None);
    assert!(accumulator.ready_nodes().is_empty(), "it lingers");
    accumulator.all_due();
    assert_eq!(accumulator.ready_nodes(), [1]);
    append(&mut accumulator, 0, b"2", None);
    let request = accumulator.take_request(1);
    assert_eq!(request.len(), 1);
    assert_eq!(values(request[0].bytes.clone()), [b"1", b"2"]);
    assert!(append(&mut accumulator, 0, b"3", None).first);
    assert!(accumulator.take_request(1).is_empty(), "it lingers");
}

#[test]
fn a_batch_is_due_by_its_size_and_full_at_its_limit() {
    const LIMIT: usize = 5 * BATCH_SIZE;
    let mut accumulator = with_limit(LIMIT);
    let value = [b'x'; BATCH_SIZE / 2];
    assert!(!append(&mut accumulator, 0, &value, None).due);
    assert!(append(&mut accumulator, 0, &value, None).due);
    assert_eq!(accumulator.ready_nodes(), [1]);
    let told = (0..100).filter(|_| append(&mut accumulator, 0, &value, None).due);
    // One batch of nine records after the other: told when it is due and when it is full.
    assert!((20..=24).contains(&told.count()));
    let mut sizes = Vec::new();
    while let [batch] = &accumulator.take_request(1)[..] {
        sizes.push(batch.bytes.len());
    }
    let last = sizes.pop().expect("some");
    assert!(last <= LIMIT);
    assert!(!sizes.is_empty());
    for size in sizes {
        assert!((LIMIT - BATCH_SIZE..=LIMIT).contains(&size), "{size}");
    }
}

#[test]
fn what_is_due_when_its_leader_goes_leaves_to_the_next_one_with_what_came_since() {
    let mut accumulator = with_limit(5 * BATCH_SIZE);
    append(&mut accumulator, 0, b"1", None);
    accumulator.all_due();
    accumulator.route(b"t", &[NO_LEADER, 2, 1]);
    assert_eq!(accumulator.ready_nodes(), [NO_LEADER]);
    append(&mut accumulator, 0, b"2", None);
    accumulator.route(b"t", &[2, 2, 1]);
    let request = accumulator.take_request(2);
    assert_eq!(values(request[0].bytes.clone()), [b"1", b"2"]);
}

#[test]
fn a_topic_whose_broker_found_a_batch_too_large_gets_smaller_ones() {
    let mut accumulator = with_limit(5 * BATCH_SIZE);
    let value = [b'x'; 100];
    for _ in 0..40 {
        append(&mut accumulator, 0, &value, None);
    }
    let whole = accumulator.take_request(1).remove(0);
    assert!(whole.bytes.len() > 4 * BATCH_SIZE);
    refuse(&mut accumulator, whole.id, ErrorCode::MessageTooLarge);
    for _ in 0..80 {
        append(&mut accumulator, 0, &value, None);
    }
    accumulator.all_due();
    let mut records = 0;
    while let [batch] = &accumulator.take_request(1)[..] {
        assert!(batch.bytes.len() < whole.bytes.len() / 2 + value.len());
        records += values(batch.bytes.clone()).len();
        accumulator.acknowledge(batch.id);
    }
    assert_eq!(records, 120);
    assert_eq!(accumulator.queued(), (0, 0));
}

#[test]
fn the_open_records_of_a_transaction_are_unsettled_whether_due_or_not() {
    let mut accumulator = with_limit(5 * BATCH_SIZE);
    accumulator.begin_transaction();
    append(&mut accumulator, 0, b"1", None);
    assert_eq!(accumulator.transaction_unsettled(), 1);
    assert!(accumulator.unregistered().is_empty(), "it lingers");
    accumulator.all_due();
    append(&mut accumulator, 0, b"2", None);
    assert_eq!(accumulator.transaction_unsettled(), 2);
    assert_eq!(accumulator.unregistered().len(), 1);
    assert!(accumulator.take_request(1).is_empty());
    accumulator.register(b"t", 0);
    let request = accumulator.take_request(1);
    assert_eq!(values(request[0].bytes.clone()), [b"1", b"2"]);
    assert_eq!(accumulator.transaction_unsettled(), 2);
    accumulator.acknowledge(request[0].id);
    assert_eq!(accumulator.transaction_unsettled(), 0);
}

/// The values of the one batch that leaves, which is acknowledged.
fn leaves(accumulator: &mut Accumulator<u32>) -> Vec<Vec<u8>> {
    let request = accumulator.take_request(1);
    assert!(request.len() <= 1);
    let batches = request.into_iter().map(|batch| {
        accumulator.acknowledge(batch.id);
        values(batch.bytes)
    });
    batches.flatten().collect()
}

#[test]
fn records_that_are_kept_for_the_next_transaction_leave_in_it_alone() {
    for ready in [false, true] {
        let mut accumulator = accumulator();
        accumulator.begin_transaction();
        append(&mut accumulator, 0, b"1", None);
        accumulator.keep_for_next_transaction();
        append(&mut accumulator, 0, b"2", None);
        if ready {
            accumulator.all_due();
        }
        assert_eq!(accumulator.transaction_unsettled(), 1);
        accumulator.register(b"t", 0);
        assert_eq!(leaves(&mut accumulator), [b"1"]);
        assert_eq!(accumulator.transaction_unsettled(), 0);
        assert!(leaves(&mut accumulator).is_empty());
        accumulator.end_transaction();
        append(&mut accumulator, 0, b"3", None);
        accumulator.all_due();
        assert!(
            leaves(&mut accumulator).is_empty(),
            "the next one has not begun"
        );
        accumulator.leave_transaction();
        append(&mut accumulator, 0, b"plain", None);
        accumulator.all_due();
        assert_eq!(leaves(&mut accumulator), [b"plain"], "which waits for none");
        assert!(leaves(&mut accumulator).is_empty());
        accumulator.begin_transaction();
        assert_eq!(accumulator.transaction_unsettled(), 2);
        assert_eq!(accumulator.unregistered().len(), 1);
        assert!(leaves(&mut accumulator).is_empty());
        accumulator.register(b"t", 0);
        let mut values = leaves(&mut accumulator);
        values.extend(leaves(&mut accumulator));
        assert_eq!(values, [b"2", b"3"]);
        assert_eq!(accumulator.queued(), (0, 0));
    }
}

#[test]
fn an_abort_leaves_records_that_are_kept_for_the_next_transaction() {
    let mut accumulator = accumulator();
    accumulator.begin_transaction();
    append(&mut accumulator, 0, b"1", Some(1));
    accumulator.keep_for_next_transaction();
    append(&mut accumulator, 0, b"2", Some(2));
    let failed = accumulator.fail_transactional();
    let called: Vec<_> = failed
        .into_iter()
        .flat_map(|given_up| given_up.batch.callbacks)
        .collect();
    assert_eq!(called, [Some(1)]);
    assert_eq!(accumulator.queued().0, 1);
    accumulator.leave_transaction();
    let expired = accumulator.expire(Duration::ZERO);
    assert_eq!(expired.len(), 1);
    assert!(!accumulator.is_transactional(&expired[0].batch));
    assert_eq!(accumulator.queued(), (0, 0));
}

#[test]
fn who_waits_for_a_generation_waits_for_what_is_kept() {
    let mut accumulator = accumulator();
    accumulator.begin_transaction();
    accumulator.keep_for_next_transaction();
    append(&mut accumulator, 0, b"1", None);
    let generation = accumulator.end_generation();
    accumulator.leave_transaction();
    append(&mut accumulator, 0, b"plain", None);
    accumulator.all_due();
    assert!(!accumulator.is_settled(generation));
    accumulator.begin_transaction();
    assert!(!accumulator.is_settled(generation), "behind a younger one");
    assert_eq!(leaves(&mut accumulator), [b"plain"]);
    accumulator.register(b"t", 0);
    assert_eq!(leaves(&mut accumulator), [b"1"]);
    assert!(accumulator.is_settled(generation));
}

#[test]
fn a_record_that_does_not_fit_goes_into_the_next_batch() {
    let mut accumulator = accumulator();
    assert!(!append(&mut accumulator, 0, &[b'x'; 600], None).due);
    assert!(append(&mut accumulator, 0, &[b'y'; 600], None).due);
    let first = accumulator.take_request(1);
    assert_eq!(first.len(), 1);
    assert_eq!(values(first[0].bytes.clone()), [vec![b'x'; 600]]);
    assert!(accumulator.take_request(1).is_empty());
    accumulator.seal_all();
    assert_eq!(accumulator.take_request(1).len(), 1);
}

#[test]
fn a_record_larger_than_a_batch_goes_out_alone_and_at_once() {
    let mut accumulator = accumulator();
    assert!(append(&mut accumulator, 0, &[b'x'; 5000], None).due);
    assert_eq!(accumulator.take_request(1).len(), 1);
}

#[test]
fn a_request_has_one_batch_of_each_partition_of_its_leader_oldest_first() {
    let mut accumulator = accumulator();
    for round in 0..2u8 {
        for partition in 0..3 {
            append(&mut accumulator, partition, &[round; 10], None);
        }
        accumulator.seal_all();
    }
    let mut nodes = accumulator.ready_nodes();
    nodes.sort_unstable();
    assert_eq!(nodes, [1, 2]);
    for round in 0..2u8 {
        let request = accumulator.take_request(1);
        let mut partitions: Vec<_> = request.iter().map(|b| b.place.partition).collect();
        partitions.sort_unstable();
        assert_eq!(partitions, [0, 2]);
        for batch in request {
            assert_eq!(values(batch.bytes), [vec![round; 10]]);
        }
    }
    assert!(accumulator.take_request(1).is_empty());
    assert_eq!(accumulator.ready_nodes(), [2]);
}

#[test]
fn a_requeued_batch_goes_before_younger_ones() {
    let mut accumulator = accumulator();
    for value in [b"1", b"2", b"3"] {
        append(&mut accumulator, 0, value, None);
        accumulator.seal_all();
    }
    let first = accumulator.take_request(1).remove(0);
    let second = accumulator.take_request(1).remove(0);
    accumulator.requeue(second.id);
    accumulator.requeue(first.id);
    let order: Vec<_> = (0..3)
        .map(|_| values(accumulator.take_request(1).remove(0).bytes).remove(0))
        .collect();
    assert_eq!(order, [b"1", b"2", b"3"]);
}

#[test]
fn batches_follow_their_partition_to_its_new_leader() {
    let mut accumulator = accumulator();
    append(&mut accumulator, 0, b"a", None);
    accumulator.seal_all();
    accumulator.route(b"t", &[NO_LEADER, 2, 1]);
    assert_eq!(accumulator.ready_nodes(), [NO_LEADER]);
    assert!(accumulator.take_request(1).is_empty());
    accumulator.route(b"t", &[7, 2, 1]);
    assert_eq!(accumulator.take_request(7).len(), 1);
}

#[test]
fn callbacks_keep_their_records_index() {
    let mut accumulator = accumulator();
    append(&mut accumulator, 0, b"a", None);
    append(&mut accumulator, 0, b"b", Some(7));
    append(&mut accumulator, 0, b"c", None);
    append(&mut accumulator, 0, b"d", Some(9));
    append(&mut accumulator, 0, b"e", None);
    accumulator.seal_all();
    let id = accumulator.take_request(1)[0].id;
    let (_, batch) = accumulator.acknowledge(id).expect("sent");
    assert_eq!(batch.callbacks, [None, Some(7), None, Some(9)]);
    assert_eq!(batch.count, 5);
    assert!(accumulator.acknowledge(id).is_none(), "settled once");
}

#[test]
fn queued_counts_until_settled_with_every_codec() {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let mut accumulator = with_codec(codec);
        for _ in 0..100 {
            append(&mut accumulator, 0, &[b'v'; 50], None);
        }
        assert_eq!(accumulator.queued().0, 100);
        accumulator.seal_all();
        let mut seen = 0;
        loop {
            let request = accumulator.take_request(1);
            let Some(batch) = request.first() else { break };
            seen += values(batch.bytes.clone()).len();
            accumulator.acknowledge(batch.id);
        }
        assert_eq!(seen, 100, "{codec:?}");
        assert_eq!(accumulator.queued(), (0, 0), "{codec:?}");
    }
}

#[test]
fn take_all_empties_it_and_tells_sent_from_unsent() {
    let mut accumulator = accumulator();
    append(&mut accumulator, 0, b"a", Some(1));
    accumulator.seal_all();
    accumulator.take_request(1);
    append(&mut accumulator, 0, b"b", Some(2));
    accumulator.seal_all();
    append(&mut accumulator, 1, b"c", Some(3));
    let (sent, unsent) = accumulator.take_all();
    let callbacks = |batches: Vec<kafka_producer::GivenUp<u32>>| -> Vec<_> {
        batches
            .into_iter()
            .flat_map(|given_up| {
                let partition = given_up.partition;
                let callbacks = given_up.batch.callbacks.into_iter().flatten();
                callbacks.map(move |callback| (callback, partition))
            })
            .collect()
    };
    assert_eq!(callbacks(sent), [(1, Some(0))]);
    assert_eq!(callbacks(unsent), [(2, Some(0)), (3, Some(1))]);
    assert_eq!(accumulator.queued(), (0, 0));
    assert!(accumulator.ready_nodes().is_empty());
    assert!(append(&mut accumulator, 0, b"d", None).first);
}

#[test]
fn keys_choose_partitions_by_murmur2_and_null_keys_go_round_those_with_a_leader() {
    let mut accumulator = accumulator();
    let topic = accumulator.routed_topic(b"t").expect("routed");
    for key in [&b"abc"[..], b"", b"hello"] {
        let partition = accumulator.partition_for(topic, Some(key));
        assert_eq!(partition, murmur2(key) as usize % 3);
    }
    accumulator.route(b"t", &[1, NO_LEADER, 1]);
    let turns: Vec<_> = (0..4)
        .map(|_| accumulator.partition_for(topic, None))
        .collect();
    assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{turns:?}");
    assert!(turns.iter().all(|&partition| partition != 1), "{turns:?}");
}

#[test]
fn a_topic_without_partitions_is_not_routed() {
    let mut accumulator = accumulator();
    assert!(accumulator.routed_topic(b"other").is_none());
    accumulator.route(b"t", &[]);
    assert!(accumulator.routed_topic(b"t").is_none());
}

#[test]
fn batches_of_a_partition_go_one_at_a_time_after_a_refusal() {
    let mut accumulator = accumulator();
    for value in [b"1", b"2", b"3"] {
        append(&mut accumulator, 0, value, None);
        accumulator.seal_all();
    }
    let first = accumulator.take_request(1).remove(0).id;
    let second = accumulator.take_request(1).remove(0).id;
    refuse(&mut accumulator, second, ErrorCode::NotEnoughReplicas);
    assert!(accumulator.take_request(1).is_empty(), "held");
    NOW.set(NOW.get() + Duration::from_secs(1));
    accumulator.resume();
    assert!(accumulator.take_request(1).is_empty(), "the first is out");
    assert!(accumulator.ready_nodes().is_empty());
    refuse(&mut accumulator, first, ErrorCode::NotEnoughReplicas);
    NOW.set(NOW.get() + Duration::from_secs(1));
    accumulator.resume();
    assert_eq!(accumulator.ready_nodes(), [1]);
    assert_eq!(accumulator.take_request(1).remove(0).id, first);
    assert!(accumulator.take_request(1).is_empty(), "one at a time");
    accumulator.acknowledge(first);
    assert_eq!(accumulator.take_request(1).remove(0).id, second);
    assert!(accumulator.take_request(1).is_empty(), "one at a time");
    accumulator.acknowledge(second);
    assert_eq!(values(accumulator.take_request(1).remove(0).bytes), [b"3"]);
}

#[test]
fn records_that_ask_for_other_acknowledgements_leave_in_requests_of_their_own() {
    let mut accumulator = accumulator();
    append(&mut accumulator, 0, b"a", None);
    accumulator.set_acks(Some(0));
    append(&mut accumulator, 0, b"b", None);
    append(&mut accumulator, 2, b"c", None);
    accumulator.set_acks(None);
    append(&mut accumulator, 0, b"d", None);
    accumulator.seal_all();
    let mut left = Vec::new();
    loop {
        let request = accumulator.take_request(1);
        let Some(first) = request.first() else { break };
        let acks = first.acks;
        assert!(request.iter().all(|batch| batch.acks == acks));
        for batch in request {
            left.push((acks, batch.place.partition, values(batch.bytes)));
            accumulator.acknowledge(batch.id).expect("in flight");
        }
    }
    let of = |partition: usize| {
        let there = left.iter().filter(|batch| batch.1 == partition);
        let there = there.map(|(acks, _, values)| (*acks, values.concat()));
        there.collect::<Vec<_>>()
    };
    let (a, b, d) = (b"a".to_vec(), b"b".to_vec(), b"d".to_vec());
    assert_eq!(of(0), [(None, a), (Some(0), b), (None, d)], "in order");
    assert_eq!(of(2), [(Some(0), b"c".to_vec())]);
}

#[test]
fn a_generation_is_settled_when_all_that_came_before_its_end_is() {
    let mut accumulator = accumulator();
    let empty = accumulator.end_generation();
    assert!(accumulator.is_settled(empty), "nothing came");
    append(&mut accumulator, 0, b"a", None);
    let first = accumulator.end_generation();
    assert!(accumulator.is_settled(empty));
    assert!(!accumulator.is_settled(first), "in an open batch");
    accumulator.seal_all();
    assert!(!accumulator.is_settled(first), "in a sealed one");
    append(&mut accumulator, 0, b"b", None);
    let second = accumulator.end_generation();
    accumulator.seal_all();
    let request = accumulator.take_request(1);
    assert!(!accumulator.is_settled(first), "in flight");
    accumulator.acknowledge(request[0].id).expect("in flight");
    assert!(accumulator.is_settled(first));
    assert!(!accumulator.is_settled(second), "what came after it waits");
}

#[test]
fn what_was_parked_stays_in_its_generation() {
    let mut accumulator = accumulator();
    let topic = accumulator.topic_index(b"new");
    let record = |value| NewRecord {
        timestamp: 5,
        key: None,
        value: Some(value),
        headers: NO_HEADERS.into_iter(),
        lend: None,
    };
    for _ in 0..3 {
        let park = accumulator.park(topic, Destination::Partition(0), record(&[b'x'; 700]), None);
        park.expect("room");
    }
    let generation = accumulator.end_generation();
    assert!(!accumulator.is_settled(generation));
    accumulator.route(b"new", &[1]);
    accumulator.unpark(topic, usize::MAX);
    accumulator.seal_all();
    for left in (0..3).rev() {
        assert!(!accumulator.is_settled(generation), "{left}");
        for batch in accumulator.take_request(1) {
            accumulator.acknowledge(batch.id).expect("in flight");
        }
    }
    assert!(accumulator.is_settled(generation));
}

#[test]
fn a_record_that_is_too_large_leaves_no_trace() {
    let mut accumulator = with(Codec::None, BATCH_SIZE);
    accumulator.route(b"small", &[1]);
    let topic = accumulator.topic_index(b"small");
    let record = |value| NewRecord {
        timestamp: 5,
        key: None,
        value: Some(value),
        headers: NO_HEADERS.into_iter(),
        lend: None,
    };
    let large = vec![b'x'; MAX_REQUEST_SIZE];
    for _ in 0..2 {
        let refused = accumulator.append(topic, 0, record(&large), None);
        assert!(matches!(refused, Err(Refused::TooLarge(size)) if size > MAX_REQUEST_SIZE));
        let refused = accumulator.park(topic, Destination::ByKey, record(&large), None);
        assert!(matches!(refused, Err(Refused::TooLarge(_))));
    }
    assert_eq!(accumulator.queued(), (0, 0));
    let next = accumulator.append(topic, 0, record(b"v"), None);
    assert!(next.expect("small").first, "it lingers");
    accumulator.all_due();
    assert_eq!(accumulator.take_request(1).len(), 1);
}

#[test]
fn each_partition_rests_until_its_next_try_and_longer_each_time() {
    let mut accumulator = accumulator();
    append(&mut accumulator, 0, b"a", None);
    append(&mut accumulator, 2, b"b", None);
    accumulator.seal_all();
    let [first, second] = &accumulator.take_request(1)[..] else {
        panic!("a batch of each partition")
    };
    refuse(&mut accumulator, first.id, ErrorCode::NotEnoughReplicas);
    let pass = |time| NOW.set(NOW.get() + Duration::from_millis(time));
    pass(30);
    refuse(&mut accumulator, second.id, ErrorCode::NotEnoughReplicas);
    accumulator.resume();
    assert_eq!(accumulator.next_try(), Some(Duration::from_millis(70)));
    assert!(accumulator.ready_nodes().is_empty());
    pass(70);
    accumulator.resume();
    assert_eq!(accumulator.next_try(), Some(Duration::from_millis(30)));
    let again = accumulator.take_request(1).remove(0);
    assert_eq!(again.id, first.id);
    refuse(&mut accumulator, again.id, ErrorCode::NotEnoughReplicas);
    pass(30);
    accumulator.resume();
    assert_eq!(accumulator.next_try(), Some(Duration::from_millis(170)));
    assert_eq!(accumulator.take_request(1).remove(0).id, second.id);
    pass(170);
    accumulator.resume();
    assert_eq!(accumulator.next_try(), None);
}

/// A producer with batches of a megabyte.
fn for_large_values(codec: Codec) -> Accumulator<u32> {
    let mut accumulator = Accumulator::new(Settings {
        batch_size: 1 << 20,
        batch_limit: 1 << 20,
        compression: codec.into(),
        buffer_memory: usize::MAX,
        max_request_size: 1 << 20,
        patience: Duration::MAX,
        keyless: Keyless::InTurn,
        idempotent: true,
        transactional: false,
        clock: || NOW.get(),
    });
    accumulator.route(b"t", &[1]);
    accumulator.set_identity(Identity { id: 7, epoch: 0 });
    accumulator
}

/// Appends a value that can be borrowed, and gives how often that was done.
fn append_lent(accumulator: &mut Accumulator<u32>, value: &Bytes) -> usize {
    let topic = accumulator.topic_index(b"t");
    let asked = Cell::new(0);
    let lend = || {
        asked.set(asked.get() + 1);
        Some(value.clone())
    };
    let record = NewRecord {
        timestamp: 5,
        key: None,
        value: Some(value),
        headers: NO_HEADERS.into_iter(),
        lend: Some(&lend),
    };
    accumulator.append(topic, 0, record, None).expect("room");
    asked.get()
}

#[test]
fn only_large_values_are_borrowed_and_each_once_in_a_row() {
    let mut accumulator = for_large_values(Codec::None);
    let (large, small) = (vec![b'x'; LEND_FROM], vec![b'y'; LEND_FROM - 1]);
    let (large, small) = (Bytes::from(large), Bytes::from(small));
    let asked =
        [&small, &large, &large, &small, &large].map(|value| append_lent(&mut accumulator, value));
    assert_eq!(asked, [0, 1, 0, 0, 0]);
    accumulator.all_due();
    let sent = accumulator.take_request(1).remove(0);
    assert_eq!(
        values(sent.bytes),
        [&small[..], &large[..], &large[..], &small[..], &large[..]]
    );
    assert!(small.is_unique() && !large.is_unique());
    accumulator.acknowledge(sent.id).expect("in flight");
    assert!(large.is_unique(), "it is let go when its batch is settled");
    assert_eq!(accumulator.queued(), (0, 0));
}

#[test]
fn values_that_are_compressed_are_not_borrowed() {
    let mut accumulator = for_large_values(Codec::Lz4);
    let value = Bytes::from(vec![b'x'; LEND_FROM]);
    assert_eq!(append_lent(&mut accumulator, &value), 0);
    accumulator.set_compression(Codec::None.into());
    assert_eq!(append_lent(&mut accumulator, &value), 1);
    // What was borrowed before is compressed with the others.
    accumulator.set_compression(Codec::Lz4.into());
    accumulator.all_due();
    let sent = accumulator.take_request(1).remove(0);
    assert_eq!(values(sent.bytes), [&value[..], &value[..]]);
    assert!(value.is_unique());
}

#[test]
fn a_batch_of_borrowed_values_is_sent_again_as_it_was_and_can_be_halved() {
    let mut accumulator = for_large_values(Codec::None);
    let lent = [1, 2, 3].map(|byte| Bytes::from(vec![byte; LEND_FROM]));
    for value in &lent {
        assert_eq!(append_lent(&mut accumulator, value), 1);
    }
    accumulator.all_due();
    let first = accumulator.take_request(1).remove(0);
    accumulator.requeue(first.id);
    let again = accumulator.take_request(1).remove(0);
    assert_eq!(again.bytes.into_bytes(), first.bytes.into_bytes());
    refuse(&mut accumulator, again.id, ErrorCode::MessageTooLarge);
    let mut sent = Vec::new();
    loop {
        let request = accumulator.take_request(1);
        let Some(batch) = request.into_iter().next() else {
            break;
        };
        sent.extend(values(batch.bytes));
        accumulator.acknowledge(batch.id).expect("in flight");
    }
    assert_eq!(sent, lent);
    assert!(lent.iter().all(|value| value.is_unique()));
}

#[test]
fn the_memory_of_a_batch_serves_the_next_one() {
    let mut accumulator = accumulator();
    let mut places = Vec::new();
    for round in 0..4u8 {
        append(&mut accumulator, 0, &[round; 900], None);
        accumulator.all_due();
        let sent = accumulator.take_request(1).remove(0);
        places.push(sent.bytes.iter().next().expect("a piece").as_ptr());
        // The request is written, and its bytes dropped, before it is answered.
        let id = sent.id;
        drop(sent);
        accumulator.acknowledge(id).expect("in flight");
    }
    assert!(places.windows(2).skip(1).all(|two| two[0] == two[1]));
}

#[test]
fn what_has_become_of_records_is_counted_by_partition() {
    let mut accumulator = accumulator();
    let send = |accumulator: &mut Accumulator<u32>, partition, records| {
        for _ in 0..records {
            append(accumulator, partition, b"value", None);
        }
        accumulator.all_due();
        let request = accumulator.take_request([1, 2, 1][partition]);
        (request[0].id, request[0].bytes.len() as u64)
    };
    let (uncounted, _) = send(&mut accumulator, 0, 1);
    accumulator.acknowledge(uncounted);
    assert!(accumulator.stats().is_empty(), "nobody has asked");

    accumulator.count();
    let (id, small) = send(&mut accumulator, 0, 2);
    refuse(&mut accumulator, id, ErrorCode::NotEnoughReplicas);
    accumulator.resume();
    NOW.set(NOW.get() + Duration::from_secs(5));
    accumulator.resume();
    accumulator.take_request(1);
    accumulator.acknowledge(id);
    let (id, large) = send(&mut accumulator, 0, 3);
    accumulator.acknowledge(id);
    let (id, _) = send(&mut accumulator, 1, 1);
    let failed = accumulator.failed(id, Cause::Refused(ErrorCode::InvalidRecord.code()), "", 0.5);
    assert!(matches!(failed, Some((_, Fate::Failed { .. }))));
    send(&mut accumulator, 2, 1);
    append(&mut accumulator, 2, b"waits", None);

    let stats = accumulator.stats();
    let partitions: Vec<_> = stats.iter().map(|of| of.partition).collect();
    assert_eq!(partitions, [0, 1, 2]);
    let counts = Counts {
        batches: 2,
        messages: 5,
        bytes: small + large,
        largest: large,
        retries: 1,
        failed: 0,
    };
    assert_eq!(stats[0].counts, counts);
    assert_eq!(stats[1].counts.failed, 1);
    assert_eq!((stats[2].waiting, stats[2].in_flight), (1, 1));
    assert!(stats[2].waiting_bytes > b"waits".len());
    assert_eq!(stats[2].counts, Counts::default());
}
