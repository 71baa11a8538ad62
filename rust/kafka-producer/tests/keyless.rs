//! Which partitions records without a key go to, by rule.

use std::time::Duration;

use kafka_producer::{Accumulator, Keyless, NewRecord, Settings};
use kafka_wire::Codec;

const BATCH_SIZE: usize = 1000;
const VALUE: [u8; 90] = [b'v'; 90];

fn accumulator(keyless: Keyless, leaders: &[i32]) -> Accumulator<u32> {
    let mut accumulator = Accumulator::new(Settings {
        batch_size: BATCH_SIZE,
        batch_limit: 100 * BATCH_SIZE,
        compression: Codec::None.into(),
        buffer_memory: usize::MAX,
        max_request_size: usize::MAX,
        patience: Duration::MAX,
        keyless,
        idempotent: false,
        transactional: false,
        clock: || Duration::ZERO,
    });
    accumulator.route(b"t", leaders);
    accumulator
}

/// Produces a record without a key, and gives the partition.
fn produce(accumulator: &mut Accumulator<u32>) -> usize {
    let topic = accumulator.routed_topic(b"t").expect("routed");
    let partition = accumulator.partition_for(topic, None);
    let record = NewRecord {
        timestamp: 5,
        key: None,
        value: Some(&VALUE[..]),
        headers: std::iter::empty(),
        lend: None,
    };
    let appended = accumulator.append(topic, partition, record, None);
    assert!(appended.is_ok());
    partition
}

/// All that a broker is to be sent leaves; what it answers at once is settled.
fn send(accumulator: &mut Accumulator<u32>, node: i32, is_answered: bool) {
    for batch in accumulator.take_request(node) {
        if is_answered {
            accumulator.acknowledge(batch.id);
        }
    }
}

#[test]
fn they_stay_for_the_bytes_of_a_batch_however_many_batches_that_are() {
    let mut accumulator = accumulator(Keyless::Uniform, &[1, 1, 1, 1, 1, 1, 1, 1]);
    for _ in 0..50 {
        let first = produce(&mut accumulator);
        // What lingers leaves: the sticky partitioner would go on.
        accumulator.all_due();
        send(&mut accumulator, 1, true);
        let rest: Vec<_> = (1..9).map(|_| produce(&mut accumulator)).collect();
        assert_eq!(rest, vec![first; 8]);
        // The batch that has begun is filled, up to twice as many bytes in all.
        while produce(&mut accumulator) == first {}
        // The next round begins anew.
        accumulator.set_keyless(Keyless::InTurn);
        accumulator.set_keyless(Keyless::Uniform);
        accumulator.all_due();
        send(&mut accumulator, 1, true);
    }
}

#[test]
fn brokers_that_are_alike_get_alike() {
    let mut accumulator = accumulator(Keyless::Uniform, &[1, 2, 3]);
    let mut counts = [0; 3];
    for _ in 0..60_000 {
        counts[produce(&mut accumulator)] += 1;
        (1..4).for_each(|node| send(&mut accumulator, node, true));
    }
    assert!(
        counts.iter().all(|n| (17_500..22_500).contains(n)),
        "{counts:?}"
    );
}

#[test]
fn a_slow_broker_gets_less() {
    let mut uniform = accumulator(Keyless::Uniform, &[1, 2, 3]);
    let mut sticky = accumulator(Keyless::Sticky, &[1, 2, 3]);
    let mut shares = [&mut uniform, &mut sticky].map(|accumulator| {
        let mut counts = [0; 3];
        for _ in 0..6_000 {
            counts[produce(accumulator)] += 1;
            send(accumulator, 1, true);
            send(accumulator, 2, false);
            send(accumulator, 3, true);
        }
        counts
    });
    let [uniform, sticky] = &mut shares;
    assert!(uniform[1] < 600, "{uniform:?}");
    assert!(sticky[1] > 1_500, "{sticky:?}");
}

#[test]
fn what_has_no_leader_gets_nothing() {
    let mut accumulator = accumulator(Keyless::Uniform, &[1, -1, 1]);
    let given: Vec<_> = (0..1_000).map(|_| produce(&mut accumulator)).collect();
    assert!(!given.contains(&1));
    // It loses its leader while they stay on it.
    let last = given[999];
    let leaders: Vec<i32> = (0..3).map(|p| if p == last { -1 } else { 1 }).collect();
    accumulator.route(b"t", &leaders);
    assert_ne!(produce(&mut accumulator), last);
    accumulator.route(b"t", &[-1, -1, -1]);
    assert!(produce(&mut accumulator) < 3);
}
