//! `EV::Kafka::Conn::_fetch` and the methods of `EV::Kafka::Fetched`.

use kafka_wire::messages::fetch::FetchResponse;
use kafka_wire::{error, ApiKey};
use perl_xs::{ArrayRef, Croak, Frame, HashRef, Hv, Perl, Sv, XsubDef};

use super::fetched::{Delivered, Fetched, OnDie, Pool, Reader};
use crate::api::fetch::request::{request, Asked, Part, Terms};
use crate::api::request::{completion_with, send_on, server_wait, version_or_lowest};
use crate::api::result::{decode, object};
use crate::arguments::NO_LEADER_EPOCH;
use crate::conn::{Answer, Built, ConnHandle};

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::_fetch",
        body: fetch,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::partitions",
        body: partitions,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::deliver",
        body: deliver,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::deliver_batches",
        body: deliver_batches,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::Pool::new",
        body: new_pool,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::interrupt",
        body: interrupt,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::position",
        body: position,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::handled",
        body: handled,
    },
    XsubDef {
        name: "EV::Kafka::Fetched::throttle_time_ms",
        body: throttle_time_ms,
    },
];

/// `$conn->_fetch(\@parts, \%opts, $cb)`, parts as
/// `[$topic, $partition, $offset, $leader_epoch, $last_epoch]`; an epoch that is not known is -1.
fn fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let parts = frame
        .value(1)?
        .and_then(|sv| ArrayRef::new(&sv))
        .ok_or("_fetch: expected arrayref")?
        .to_vec(perl)?;
    let terms = terms(perl, frame.value(2)?)?;
    let callback = frame.code(3)?.ok_or("_fetch: expected a callback")?;
    let parts = parts
        .iter()
        .map(|part| read_part(perl, part))
        .collect::<Result<Vec<_>, _>>()?;
    let conn = frame.object::<ConnHandle>()?;
    if !conn.is_ready() {
        return Err(Croak::from("not connected"));
    }
    let asked = Asked::new(&parts);
    let reader = Reader {
        read_committed: terms.isolation_level != 0,
        strings: conn.strings(),
    };
    let request = request(parts, &terms, version_or_lowest(&conn, ApiKey::Fetch));
    let completion = completion_with(&conn, callback, move |perl, answer| {
        result(perl, answer, &asked, reader)
    });
    send_on(
        perl,
        &conn,
        &request,
        server_wait(terms.max_wait_ms),
        completion,
    )
}

/// The defaults are those of `fetch`.
fn terms(perl: Perl, options: Option<Sv>) -> Result<Terms, Croak> {
    let options = options.and_then(|sv| HashRef::new(&sv));
    let int = |key: &str, default: i32| -> Result<i32, Croak> {
        let given = match &options {
            Some(options) => options.get_i64(perl, key)?,
            None => None,
        };
        Ok(given.map_or(default, |value| value.clamp(0, i64::from(i32::MAX)) as i32))
    };
    let default = Terms::default();
    Ok(Terms {
        max_bytes: int("max_bytes", default.max_bytes)?,
        max_wait_ms: int("max_wait_ms", default.max_wait_ms)?,
        min_bytes: int("min_bytes", default.min_bytes)?,
        isolation_level: int("isolation_level", default.isolation_level.into())? as i8,
    })
}

fn read_part(perl: Perl, part: &Sv) -> Result<Part, Croak> {
    let part = ArrayRef::new(part).ok_or("_fetch: expected [topic, partition, offset]")?;
    let field = |index, default| -> Result<i64, Croak> {
        match part.get(perl, index)? {
            Some(value) => Ok(value.to_i64(perl)?.unwrap_or(default)),
            None => Ok(default),
        }
    };
    let topic = part.get(perl, 0)?.ok_or("_fetch: missing topic")?;
    Ok(Part {
        topic: topic.to_bytes(perl)?.unwrap_or_default().into(),
        partition: field(1, 0)? as i32,
        offset: field(2, 0)?,
        leader_epoch: field(3, NO_LEADER_EPOCH.into())? as i32,
        last_epoch: field(4, NO_LEADER_EPOCH.into())? as i32,
    })
}

fn result(perl: Perl, answer: &Answer, asked: &Asked, reader: Reader) -> Built {
    let (response, read) = decode::<FetchResponse>(answer);
    let (throttle_time_ms, code) = (response.throttle_time_ms, response.error_code);
    let result = if read.truncated {
        Err("malformed Fetch response".to_owned())
    } else if code != 0 {
        let name = error::name(code);
        Err(format!("Fetch error: {name} (code {code})"))
    } else {
        let fetched = Fetched::new(response, asked, reader);
        object(perl, fetched).map_err(|croak| croak.into_text(perl))
    };
    Built {
        result,
        throttle_time_ms,
    }
}

/// `$fetched->partitions`: a list of hashes, one for each partition in the order of the answer.
fn partitions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let fetched = frame.object::<Fetched>()?;
    let partitions = fetched.partitions.borrow();
    let rows = partitions.iter().map(|partition| {
        let mut row = Hv::new(perl);
        row.store_bytes(perl, "topic", &partition.topic);
        for (name, value) in [
            ("partition", i64::from(partition.partition)),
            ("error_code", i64::from(partition.error_code)),
            ("high_watermark", partition.high_watermark),
            ("last_stable_offset", partition.last_stable_offset),
            ("log_start_offset", partition.log_start_offset),
            ("next_offset", partition.next_offset),
            ("last_epoch", i64::from(partition.last_epoch)),
            ("needed_bytes", partition.needed_bytes as i64),
            ("record_count", partition.record_count as i64),
            ("diverging_epoch", i64::from(partition.diverging_epoch.0)),
            ("diverging_end_offset", partition.diverging_epoch.1),
        ] {
            row.store_int(perl, name, value);
        }
        row.into_ref(perl)
    });
    frame.ret_list(rows.collect::<Vec<_>>());
    Ok(())
}

fn index_of(frame: &Frame<'_>, method: &str) -> Result<usize, Croak> {
    let index = frame.int(1)?.unwrap_or(0);
    usize::try_from(index).map_err(|_| format!("{method}: no such partition").into())
}

fn on_die(frame: &Frame<'_>, index: usize) -> Result<OnDie, Croak> {
    let stops = frame.int(index)?.unwrap_or(0) != 0;
    Ok(if stops { OnDie::Stop } else { OnDie::Warn })
}

fn answer(frame: &mut Frame<'_>, delivered: Delivered) -> Result<(), Croak> {
    match delivered {
        Delivered::Paused { is_done } => frame.ret_int(i64::from(is_done)),
        Delivered::Died(error) => {
            frame.ret_int(0);
            frame.ret(error);
        }
        Delivered::Exit => return Err(Croak::Exit),
    }
    Ok(())
}

/// `my ($is_done, @died) = $fetched->deliver($index, $on_message, $budget_ms, $stops)`: whether nothing is left to deliver
/// of the partition. With a true `$stops` also what `$on_message` died of; its record counts as not delivered then.
fn deliver(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let index = index_of(frame, "deliver")?;
    let on_message = frame.code(2)?.ok_or("deliver: expected a callback")?;
    let budget_ms = frame.int(3)?.unwrap_or(i64::MAX);
    let on_die = on_die(frame, 4)?;
    let fetched = frame.object::<Fetched>()?;
    let delivered = fetched.deliver(frame.perl(), index, on_message, budget_ms, on_die);
    answer(frame, delivered)
}

/// `$fetched->deliver_batches($index, $on_batch, $budget_ms, $pool, $stops)`: the same for `$on_batch`.
fn deliver_batches(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let index = index_of(frame, "deliver_batches")?;
    let on_batch = frame
        .code(2)?
        .ok_or("deliver_batches: expected a callback")?;
    let budget_ms = frame.int(3)?.unwrap_or(i64::MAX);
    let on_die = on_die(frame, 5)?;
    let pool = frame
        .object_at::<Pool>(4)
        .map_err(|_| "deliver_batches: expected a pool")?;
    let fetched = frame.object::<Fetched>()?;
    let delivered =
        fetched.deliver_batches(frame.perl(), index, on_batch, budget_ms, &pool, on_die);
    answer(frame, delivered)
}

/// `EV::Kafka::Fetched::Pool->new`
fn new_pool(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let pool = object(frame.perl(), Pool::default())?;
    frame.ret(pool);
    Ok(())
}

/// `$fetched->interrupt`: the delivery under way pauses after the record that is being delivered.
fn interrupt(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.object::<Fetched>()?.interrupt();
    Ok(())
}

/// `my ($offset, $leader_epoch) = $fetched->position($index)`: where delivering has come to.
fn position(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let index = index_of(frame, "position")?;
    let position = frame.object::<Fetched>()?.position(index);
    ret_position(frame, position.ok_or("position: no such partition")?)
}

/// `my ($offset, $leader_epoch) = $fetched->handled($index)`: the same without what is being delivered.
fn handled(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let index = index_of(frame, "handled")?;
    let position = frame.object::<Fetched>()?.handled(index);
    ret_position(frame, position.ok_or("handled: no such partition")?)
}

fn ret_position(frame: &mut Frame<'_>, (offset, epoch): (i64, i32)) -> Result<(), Croak> {
    let perl = frame.perl();
    frame.ret_list([Sv::int(perl, offset), Sv::int(perl, i64::from(epoch))]);
    Ok(())
}

/// `$fetched->throttle_time_ms`: for how long the broker wants to be left alone (KIP-219).
fn throttle_time_ms(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let throttle = frame.object::<Fetched>()?.throttle_time_ms;
    frame.ret_int(i64::from(throttle));
    Ok(())
}
