//! How partitions stand, and what was counted of them.

use kafka_producer::PartitionStats;
use perl_xs::{Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::Producer;

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Accumulator::count",
        body: count,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::stats",
        body: stats,
    },
];

/// `count`: what is settled from now on is counted.
fn count(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().count();
    Ok(())
}

/// `stats`: a list of one hash for each partition that has anything, or has had anything since `count`.
fn stats(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let producer = frame.object::<Producer>()?;
    let stats = producer.accumulator.borrow().stats();
    frame.ret_list(stats.into_iter().map(|of| partition(perl, &of)));
    Ok(())
}

fn partition(perl: Perl, stats: &PartitionStats) -> Sv {
    let mut hash = Hv::new(perl);
    hash.store_bytes(perl, "topic", &stats.topic);
    let counts = stats.counts;
    for (name, number) in [
        ("partition", stats.partition as u64),
        ("waiting", stats.waiting as u64),
        ("waiting_bytes", stats.waiting_bytes as u64),
        ("in_flight", stats.in_flight as u64),
        ("batches", counts.batches),
        ("messages", counts.messages),
        ("bytes", counts.bytes),
        ("largest", counts.largest),
        ("retries", counts.retries),
        ("failed", counts.failed),
    ] {
        hash.store_int(perl, name, i64::try_from(number).unwrap_or(i64::MAX));
    }
    hash.into_ref(perl)
}
