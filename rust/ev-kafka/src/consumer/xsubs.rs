//! `EV::Kafka::Conn::_fetch` and the methods of `EV::Kafka::Fetched`.

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafka_wire::{error, ApiKey, Message, Writer};
use perl_xs::{
    attach, call, Arg, ArrayRef, Croak, Flow, Frame, HashRef, Hv, Native, Perl, Sv, XsubDef,
};

use super::fetched::{Asked, Delivered, Fetched, OnDie, Pool, CLASS, POOL_CLASS};
use crate::conn::{Answer, Completion, ConnHandle, Failure};

/// The epoch of a leader, or of a record, that is not known (KIP-320).
const NO_EPOCH: i64 = -1;

/// The first Fetch version that asks whether the reader's log is still the leader's (KIP-595).
const LAST_EPOCH_FROM: i16 = 12;

/// What the warning about a callback that died starts with.
const CALLBACK_ERROR: &str = "EV::Kafka::Conn: callback error";

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

/// What a Fetch asks for beside its partitions; the defaults are those of `fetch`.
struct Options {
    max_bytes: i32,
    max_wait_ms: i32,
    min_bytes: i32,
    isolation_level: i8,
}

impl Options {
    fn read(perl: Perl, options: Option<Sv>) -> Result<Options, Croak> {
        let options = options.and_then(|sv| HashRef::new(&sv));
        let int = |key: &str, default: i32| -> Result<i32, Croak> {
            let given = match &options {
                Some(options) => options.get_i64(perl, key)?,
                None => None,
            };
            Ok(given.map_or(default, |value| value.clamp(0, i64::from(i32::MAX)) as i32))
        };
        Ok(Options {
            max_bytes: int("max_bytes", 1 << 20)?,
            max_wait_ms: int("max_wait_ms", 500)?,
            min_bytes: int("min_bytes", 1)?,
            isolation_level: int("isolation_level", 0)? as i8,
        })
    }
}

/// `$conn->_fetch(\@parts, \%opts, $cb)`, parts as
/// `[$topic, $partition, $offset, $leader_epoch, $last_epoch]`; an epoch that is not known is -1.
fn fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let parts = frame
        .value(1)?
        .and_then(|sv| ArrayRef::new(&sv))
        .ok_or("_fetch: expected arrayref")?
        .to_vec(perl)?;
    let options = Options::read(perl, frame.value(2)?)?;
    let callback = frame.code(3)?.ok_or("_fetch: expected a callback")?;
    let (topics, offsets) = read_parts(perl, &parts, options.max_bytes)?;
    let conn = frame.object::<ConnHandle>()?;
    let asked = Asked {
        offsets,
        read_committed: options.isolation_level != 0,
        strings: conn.strings(),
    };
    if !conn.is_ready() {
        return Err(Croak::from("not connected"));
    }
    let max_wait = Duration::from_millis(options.max_wait_ms as u64);
    let encoded = conn
        .version(ApiKey::Fetch)
        .map_err(|error| error.to_string())
        .and_then(|version| Ok((version, encode(topics, &options, version)?)));
    let (version, body) = match encoded {
        Ok(encoded) => encoded,
        Err(reason) => {
            let completion = Completion::Callback(callback);
            return conn.fail(perl, completion, reason).ok();
        }
    };
    let weak = Rc::downgrade(&conn);
    let completion = Completion::Native(Box::new(move |perl, outcome| {
        let outcome = outcome.map_err(Failure::into_reason);
        complete(perl, &weak, &asked, &callback, outcome)
    }));
    let deadline = conn.deadline(max_wait);
    conn.send(ApiKey::Fetch, version, body, deadline, completion)
        .map_err(|(error, _)| Croak::from(error.to_string()))
}

type Offsets = HashMap<(Bytes, i32), i64>;

fn read_parts(
    perl: Perl,
    parts: &[Sv],
    max_bytes: i32,
) -> Result<(Vec<FetchTopic>, Offsets), Croak> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut places: HashMap<Bytes, usize> = HashMap::new();
    let mut offsets = Offsets::new();
    for part in parts {
        let part = ArrayRef::new(part).ok_or("_fetch: expected [topic, partition, offset]")?;
        let field = |index, default| -> Result<i64, Croak> {
            match part.get(perl, index)? {
                Some(value) => Ok(value.to_i64(perl)?.unwrap_or(default)),
                None => Ok(default),
            }
        };
        let topic = part.get(perl, 0)?.ok_or("_fetch: missing topic")?;
        let topic = Bytes::from(topic.to_bytes(perl)?.unwrap_or_default());
        let (partition, fetch_offset) = (field(1, 0)? as i32, field(2, 0)?);
        let place = *places.entry(topic.clone()).or_insert_with(|| {
            topics.push(FetchTopic {
                topic: topic.clone(),
                ..Default::default()
            });
            topics.len() - 1
        });
        topics[place].partitions.push(FetchPartition {
            partition,
            fetch_offset,
            current_leader_epoch: field(3, NO_EPOCH)? as i32,
            last_fetched_epoch: field(4, NO_EPOCH)? as i32,
            partition_max_bytes: max_bytes,
            ..Default::default()
        });
        offsets.insert((topic, partition), fetch_offset);
    }
    Ok((topics, offsets))
}

fn encode(mut topics: Vec<FetchTopic>, options: &Options, version: i16) -> Result<Writer, String> {
    if version < LAST_EPOCH_FROM {
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.last_fetched_epoch = NO_EPOCH as i32;
        }
    }
    let request = FetchRequest {
        max_wait_ms: options.max_wait_ms,
        min_bytes: options.min_bytes,
        max_bytes: options.max_bytes,
        isolation_level: options.isolation_level,
        topics,
        ..Default::default()
    };
    let mut body = Writer::new();
    request
        .encode(&mut body, version)
        .map_err(|error| error.to_string())?;
    Ok(body)
}

fn complete(
    perl: Perl,
    conn: &Weak<ConnHandle>,
    asked: &Asked,
    callback: &Sv,
    outcome: Result<Answer, String>,
) -> Flow {
    let fetched = outcome.and_then(|answer| {
        let version = answer.version;
        let (response, truncated) = FetchResponse::decode_partial(answer.body, version);
        if let Some(conn) = conn.upgrade() {
            conn.throttle(ApiKey::Fetch, version, response.throttle_time_ms);
        }
        if truncated {
            return Err("malformed Fetch response".to_owned());
        }
        if response.error_code != 0 {
            return Err(format!(
                "Fetch error: {} (code {})",
                error::name(response.error_code),
                response.error_code
            ));
        }
        Ok(Fetched::new(response, asked))
    });
    call_back(perl, callback, fetched)
}

fn call_back(perl: Perl, callback: &Sv, fetched: Result<Fetched, String>) -> Flow {
    let object = fetched
        .and_then(|fetched| blessed(perl, fetched, CLASS).map_err(|croak| croak.into_text(perl)));
    let outcome = match &object {
        Ok(object) => call(perl, callback, &[Arg::Sv(object), Arg::Undef]),
        Err(reason) => call(perl, callback, &[Arg::Undef, Arg::Bytes(reason.as_bytes())]),
    };
    outcome.or_warn(perl, CALLBACK_ERROR)
}

fn blessed<T: Native>(perl: Perl, state: T, class: &str) -> Result<Sv, Croak> {
    let object = Hv::new(perl).into_ref(perl);
    attach(perl, &object, Rc::new(state))?;
    object.bless(perl, &Sv::bytes(perl, class.as_bytes()))?;
    Ok(object)
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
    let pool = blessed(frame.perl(), Pool::default(), POOL_CLASS)?;
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
