//! What a connection has counted, as Perl sees it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka_conn::{ApiStats, Stats};
use perl_xs::{Croak, Frame, Hv, Native, Perl, Sv, XsubDef};

use super::handle::ConnHandle;

/// The shares of round trips that are told of.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::stats",
        body: stats,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_count",
        body: count,
    },
];

/// `stats(@others)`: what this connection, and the others, have counted since this was asked for first.
fn stats(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    frame.object::<ConnHandle>()?;
    let object = |index| frame.object_at::<ConnHandle>(index);
    let handles: Vec<Rc<ConnHandle>> = (0..frame.len())
        .map(object)
        .collect::<Result<_, _>>()
        .map_err(ConnHandle::describe)?;
    handles.iter().for_each(|handle| handle.count(None));
    let counted: Vec<Stats> = handles.iter().filter_map(|handle| handle.stats()).collect();
    let now = Instant::now();
    let sum = Stats::sum(&counted, now);
    let mut hash = counts(perl, &sum, now);
    let total =
        |of: fn(&ConnHandle) -> usize| handles.iter().map(|handle| of(handle)).sum::<usize>();
    hash.store_int(perl, "in_flight", total(ConnHandle::pending) as i64);
    hash.store_int(perl, "bytes_queued", total(ConnHandle::queued_bytes) as i64);
    frame.ret(hash.into_ref(perl));
    Ok(())
}

/// `_count($before)`: counts from now on; with a connection from where that stands, which counts no more.
fn count(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let before = match frame.is_ref(1) {
        true => Some(
            frame
                .object_at::<ConnHandle>(1)
                .map_err(ConnHandle::describe)?,
        ),
        false => None,
    };
    frame.object::<ConnHandle>()?.count(before.as_deref());
    Ok(())
}

fn counts(perl: Perl, stats: &Stats, now: Instant) -> Hv {
    let mut hash = Hv::new(perl);
    for (name, count) in [
        ("bytes_in", stats.bytes_in),
        ("bytes_out", stats.bytes_out),
        ("connects", stats.connects),
    ] {
        hash.store_int(perl, name, integer(count));
    }
    let (answers, time) = stats.throttled;
    let mut throttled = Hv::new(perl);
    throttled.store_int(perl, "answers", integer(answers));
    throttled.store_int(perl, "ms", time.as_millis().try_into().unwrap_or(i64::MAX));
    hash.store(perl, "throttled", throttled.into_ref(perl));
    let mut requests = Hv::new(perl);
    for api in &stats.apis {
        requests.store(perl, api.api.name(), requests_of(perl, api, now));
    }
    hash.store(perl, "requests", requests.into_ref(perl));
    hash
}

fn requests_of(perl: Perl, api: &ApiStats, now: Instant) -> Sv {
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "sent", integer(api.requests));
    hash.store_int(perl, "answered", integer(api.round_trips.count));
    hash.store(perl, "total_ms", millis(perl, api.round_trips.total));
    let recent = api.round_trips.recent(now);
    let mut percentiles = Hv::new(perl);
    for (name, share) in PERCENTILES {
        if let Some(time) = recent.percentile(share) {
            percentiles.store(perl, name, millis(perl, time));
        }
    }
    hash.store(perl, "round_trip_ms", percentiles.into_ref(perl));
    hash.into_ref(perl)
}

fn millis(perl: Perl, time: Duration) -> Sv {
    Sv::float(perl, time.as_secs_f64() * 1000.0)
}

fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
