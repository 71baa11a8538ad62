//! The methods of an `EV::Kafka::Accumulator`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_producer::{
    Accumulator, Appended, GivenUp, Identity, Keyless, NewRecord, Place, Refused, Settings,
};
use kafka_wire::codec::Compression;
use perl_xs::{attach, ArrayRef, Av, Croak, Frame, HashRef, Sv, XsubDef};

use super::callback::Callback;
use super::{clock, unheard, Config, Plain, Producer};
use crate::api::produce::records::{compression, headers, Headers};
use crate::arguments::{topic_id, Values};
use crate::ev::Loop;
use crate::problem::Problem;
use crate::strings::Strings;
use crate::wall::now_ms;

/// More partitions than any cluster gives a topic: protects against an index that would take all memory.
const MAX_PARTITIONS: i64 = 1 << 20;

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Accumulator::new",
        body: new,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::listen",
        body: listen,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::set_options",
        body: set_options,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::divert",
        body: divert,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::append",
        body: append,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::take",
        body: take,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::partition_for",
        body: partition_for,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::route",
        body: route,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::batches_due",
        body: batches_due,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::leaderless",
        body: leaderless,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::ready_nodes",
        body: ready_nodes,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::send_ready",
        body: send_ready,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::serve",
        body: serve,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::watch",
        body: watch,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::unconfirmed",
        body: unconfirmed,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::resume",
        body: resume,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::expire",
        body: expire,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::forgive",
        body: forgive,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::guard",
        body: guard,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::end_with_turn",
        body: end_with_turn,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::set_identity",
        body: set_producer,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::needs_identity",
        body: needs_producer,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::fail_waiting",
        body: fail_waiting,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::fail_all",
        body: fail_all,
    },
];

/// `EV::Kafka::Accumulator->new(\%conf)`
fn new(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let conf = frame
        .value(1)?
        .and_then(|sv| HashRef::new(&sv))
        .ok_or("EV::Kafka::Accumulator->new: expected hashref")?;
    let int = |key: &str, default: i64| Ok::<_, Croak>(conf.get_i64(perl, key)?.unwrap_or(default));
    let config = Config {
        acks: Cell::new(-1),
        timeout_ms: int("timeout_ms", 30_000)? as i32,
        beyond_ms: int("beyond_ms", 0)?.max(0) as u64,
        max_request_size: usize::try_from(int("max_request_size", i64::from(i32::MAX))?)
            .unwrap_or(0),
        transactional_id: conf.get_bytes(perl, "transactional_id")?.map(Bytes::from),
        transactions: Cell::default(),
        tells_objects: conf.get_bytes(perl, "errors")?.as_deref() == Some(b"object"),
    };
    let seconds = match conf.get(perl, "delivery_timeout")? {
        Some(seconds) => seconds.to_f64(perl)?,
        None => None,
    };
    let settings = Settings {
        batch_size: usize::try_from(int("batch_size", 16_384)?).unwrap_or(0),
        batch_limit: usize::try_from(int("batch_limit", 16_384)?).unwrap_or(0),
        max_request_size: config.max_request_size,
        compression: Compression::default(),
        buffer_memory: match usize::try_from(int("buffer_memory", 0)?) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(bytes) => bytes,
        },
        patience: patience(seconds.unwrap_or(0.0)),
        keyless: Keyless::default(),
        idempotent: int("idempotent", 0)? != 0,
        transactional: config.transactional_id.is_some(),
        clock,
    };
    let name = conf.get_bytes(perl, "strings")?.unwrap_or_default();
    let strings = Strings::from_name(&name).ok_or("EV::Kafka::Accumulator->new: bad strings")?;
    let class = frame
        .arg(0)
        .ok_or("EV::Kafka::Accumulator->new: class required")?;
    let object = Sv::new_ref(perl, &Sv::undef(perl));
    object.bless(perl, class)?;
    let on = match conf.get(perl, "loop")? {
        Some(value) => Loop::from_sv(&value),
        None => Loop::default_loop(),
    };
    attach(perl, &object, Producer::new(&on, config, settings, strings))?;
    frame.ret(object);
    Ok(())
}

/// `listen(\$listener)`: where a weak reference to the object lies whose methods are called when something has to be done.
fn listen(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let listener = frame.arg(1).and_then(Sv::referent);
    let producer = frame.object::<Producer>()?;
    // It may be the last that holds it.
    let before = producer.listener.replace(listener);
    drop(before);
    Ok(())
}

/// `set_options(\%options, \$partitioner, \%cfg)`: options that count from the next batch on, where the partitioner lies, and
/// the options as the program sees and changes them.
fn set_options(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let options = frame
        .value(1)?
        .and_then(|sv| HashRef::new(&sv))
        .ok_or("set_options: expected hashref")?;
    let compression = compression(
        options.get_bytes(perl, "compression")?.as_deref(),
        options.get_i64(perl, "compression_level")?,
    )?;
    let acks = options.get_i64(perl, "acks")?.unwrap_or(-1);
    let size = |name| Ok::<_, Croak>(options.get_i64(perl, name)?.unwrap_or(16_384));
    let (batch_size, batch_limit) = (size("batch_size")?, size("batch_limit")?);
    let is_zero = options.get_i64(perl, "lingers")?.unwrap_or(0) == 0;
    let is_so = |name| Ok::<_, Croak>(options.get_i64(perl, name)?.unwrap_or(0) != 0);
    let keyless = match (is_so("sticky")?, is_so("uniform")?) {
        (true, _) => Keyless::Sticky,
        (_, true) => Keyless::Uniform,
        _ => Keyless::InTurn,
    };
    let partitioner = frame.arg(2).and_then(Sv::referent);
    let cfg = frame.arg(3).and_then(HashRef::new);
    let producer = frame.object::<Producer>()?;
    producer.options.are(perl, cfg)?;
    producer.config.acks.set(acks as i16);
    producer.linger.set_zero(is_zero);
    let before = producer.partitioner.replace(partitioner);
    let mut accumulator = producer.accumulator.borrow_mut();
    accumulator.set_compression(compression);
    accumulator.set_batch_size(
        usize::try_from(batch_size).unwrap_or(0),
        usize::try_from(batch_limit).unwrap_or(0),
    );
    accumulator.set_keyless(keyless);
    drop(accumulator);
    // It may be the last that holds a closure.
    drop(before);
    Ok(())
}

/// `divert($is_so)`: every produce goes to `_produce_slow`, or only what the native one cannot take.
fn divert(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let is_so = frame.bool(1)?;
    frame.object::<Producer>()?.is_diverted.set(is_so);
    Ok(())
}

/// `append($topic, $partition, $key, $value, $headers, $timestamp_ms, $cb, $acks)`: gives why the record was not taken,
/// nothing when it was. $cb is a code reference, or an array of one and of what it is called with behind result and error. Without
/// acks it has the client's.
fn append(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let message = Message::read(frame)?;
    let producer = frame.object::<Producer>()?;
    let appended = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&message.topic);
        let partition = message.partition()?.unwrap_or(0);
        accumulator.set_acks(message.acks);
        let appended = accumulator.append(
            topic,
            partition as usize,
            message.record(),
            message.callback.clone(),
        );
        accumulator.set_acks(None);
        appended
    };
    taken(frame, &producer, appended)
}

/// What `append` and `park` are given.
pub(super) struct Message {
    pub topic: Vec<u8>,
    partition: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
    timestamp: i64,
    pub callback: Option<Callback>,
    pub acks: Option<i16>,
}

impl Message {
    pub fn read(frame: &Frame<'_>) -> Result<Message, Croak> {
        let values = Values {
            perl: frame.perl(),
            method: "produce",
        };
        Ok(Message {
            topic: frame.bytes(1)?.ok_or("produce: topic required")?,
            partition: frame.int(2)?,
            key: frame.bytes(3)?,
            value: frame.bytes(4)?,
            headers: headers(values, frame.value(5)?.as_ref(), Strings::AsStored)?,
            timestamp: frame.int(6)?.unwrap_or_else(now_ms),
            callback: Callback::from_perl(frame, 7)?,
            acks: frame.int(8)?.map(|acks| acks as i16),
        })
    }

    /// The partition's number, if one was given.
    pub fn partition(&self) -> Result<Option<u32>, Croak> {
        match self.partition {
            None => Ok(None),
            Some(partition) if (0..MAX_PARTITIONS).contains(&partition) => {
                Ok(Some(partition as u32))
            }
            Some(partition) => Err(Croak::from(format!(
                "produce: partition {partition} is out of range"
            ))),
        }
    }

    pub fn record(
        &self,
    ) -> NewRecord<'_, impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone + '_> {
        NewRecord {
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (&name[..], value.as_deref())),
            lend: None,
        }
    }
}

/// Gives why a record was not taken, and looks after what follows if it was.
pub(super) fn taken(
    frame: &mut Frame<'_>,
    producer: &Rc<Producer>,
    appended: Result<Appended, Refused>,
) -> Result<(), Croak> {
    let reason = match appended {
        Ok(appended) => return follow_up(frame, producer, appended),
        Err(Refused::BufferFull) => "producer buffer full".to_owned(),
        Err(Refused::NeverFits(size)) => {
            format!("message too large: {size} bytes do not fit buffer_memory")
        }
        Err(Refused::TooLarge(size)) => {
            let most = producer.config.max_request_size;
            format!("message too large: {size} bytes, max_request_size is {most}")
        }
    };
    frame.ret(Sv::bytes(frame.perl(), reason.as_bytes()));
    Ok(())
}

/// Tells the listener that records have come.
pub(super) fn follow_up(
    frame: &Frame<'_>,
    producer: &Rc<Producer>,
    appended: Appended,
) -> Result<(), Croak> {
    let perl = frame.perl();
    if appended.first {
        producer.linger_begin(perl)?;
    }
    match appended.due {
        true => producer.send_ready(perl).ok(),
        false => Ok(()),
    }
}

/// `take($topic, $key, $value, [$cb])`: whether the message could be taken as `EV::Kafka::Client::produce` takes one.
fn take(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let topic = frame.bytes(1)?.unwrap_or_default();
    let stored = |index| frame.arg(index).map_or(Ok(None), |sv| sv.to_stored(perl));
    let (key, value) = (stored(2)?, stored(3)?);
    let callback = Callback::from_perl(frame, 4)?;
    let producer = frame.object::<Producer>()?;
    let message = Plain {
        topic: &topic,
        key: key.as_ref().map(|(bytes, _)| &bytes[..]),
        value: value.as_ref().map(|(bytes, _)| &bytes[..]),
        is_stored_so: || {
            let is_so = |stored: &Option<(Vec<u8>, bool)>| {
                let is_so = |(bytes, is_utf8): &(Vec<u8>, bool)| {
                    producer.strings.is_stored_so(bytes, *is_utf8)
                };
                stored.as_ref().is_none_or(is_so)
            };
            is_so(&key) && is_so(&value)
        },
        lend: None,
        callback: || callback.clone(),
    };
    let appended = match producer.has_partitioner() {
        true => None,
        false => producer.take(message),
    };
    if let Some(appended) = appended {
        follow_up(frame, &producer, appended)?;
    }
    frame.ret_int(appended.is_some().into());
    Ok(())
}

/// `partition_for($topic, $key)`: the default partitioner's choice, undef for a topic without a route.
fn partition_for(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.ok_or("produce: topic required")?;
    let key = frame.bytes(2)?;
    let producer = frame.object::<Producer>()?;
    let partition = {
        let mut accumulator = producer.accumulator.borrow_mut();
        accumulator
            .routed_topic(&topic)
            .map(|topic| accumulator.partition_for(topic, key.as_deref()))
    };
    match partition {
        Some(partition) => frame.ret_int(partition as i64),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// `route($topic, \@leaders, $topic_id)`: an id that is not known is undef.
fn route(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let topic = frame.bytes(1)?.ok_or("route: topic required")?;
    let leaders = frame
        .value(2)?
        .and_then(|sv| ArrayRef::new(&sv))
        .ok_or("route: expected arrayref")?
        .to_vec(perl)?
        .iter()
        .map(|leader| Ok(leader.to_i64(perl)?.unwrap_or(-1) as i32))
        .collect::<Result<Vec<i32>, Croak>>()?;
    let producer = frame.object::<Producer>()?;
    if leaders.len() as i64 > MAX_PARTITIONS {
        return Err(Croak::from("route: too many partitions"));
    }
    let id = topic_id(frame, 3)?;
    let mut accumulator = producer.accumulator.borrow_mut();
    accumulator.route(&topic, &leaders);
    accumulator.set_topic_id(&topic, id);
    Ok(())
}

/// `batches_due`: what is open leaves as soon as it can.
fn batches_due(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().all_due();
    Ok(())
}

/// `ready_nodes`: the leaders that batches wait for which are due.
fn ready_nodes(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    let nodes = producer.accumulator.borrow().ready_nodes();
    for node in nodes {
        frame.ret_int(i64::from(node));
    }
    Ok(())
}

/// `send_ready`: whatever can leave does.
fn send_ready(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.send_ready(frame.perl()).ok()
}

/// `serve($node_id, $conn, $seconds)`: the connection leads to the broker, unless nothing has moved on it for longer than that.
fn serve(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let node = frame.int(1)?.unwrap_or(-1) as i32;
    let longest_quiet = patience(frame.float(3)?.unwrap_or(0.0));
    let conn = frame.arg(2).ok_or("serve: connection required")?;
    let conn = crate::conn::from_sv(conn)?;
    let producer = frame.object::<Producer>()?;
    producer.brokers.serve(node, &conn, longest_quiet);
    producer.send_to(frame.perl(), node).ok()
}

/// `watch($is_so)`: whether `progress` is told whenever something has been settled.
fn watch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let is_so = frame.bool(1)?;
    frame.object::<Producer>()?.is_watched.set(is_so);
    Ok(())
}

/// `unconfirmed`: the brokers that have got something which they do not answer.
fn unconfirmed(frame: &mut Frame<'_>) -> Result<(), Croak> {
    for node in frame.object::<Producer>()?.brokers.unconfirmed() {
        frame.ret_int(node.into());
    }
    Ok(())
}

/// `resume`: refused batches whose time has come may leave again. Gives the seconds until the next ones', undef without.
fn resume(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    let next = {
        let mut accumulator = producer.accumulator.borrow_mut();
        accumulator.resume();
        accumulator.next_try()
    };
    match next {
        Some(delay) => frame.ret(Sv::float(frame.perl(), delay.as_secs_f64())),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// `expire($seconds)`: fails what waits for longer than that and, if it was sent before, has had its retries.
/// Gives the number of batches, that of batches that are part of a transaction, and for each place where other ones have
/// records without a callback an error that says so.
fn expire(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let seconds = frame.float(1)?.unwrap_or(0.0);
    let producer = frame.object::<Producer>()?;
    let expired = producer.accumulator.borrow_mut().expire(patience(seconds));
    let counts = {
        let accumulator = producer.accumulator.borrow();
        let is_transactional = |e: &&GivenUp<Callback>| accumulator.is_transactional(&e.batch);
        [
            expired.len(),
            expired.iter().filter(is_transactional).count(),
        ]
    };
    let late = |place: &str, code: Option<i16>| {
        let text = format!("delivery timed out after {seconds} s: {place}");
        Problem {
            code,
            ..Problem::without_code(text, true)
        }
    };
    let reports = reports(&producer, &expired, late);
    producer.give_up(expired, late);
    counts
        .into_iter()
        .for_each(|count| frame.ret_int(count as i64));
    reports
        .values()
        .for_each(|problem| frame.ret(problem.object(perl)));
    Ok(())
}

/// 0 for ever.
fn patience(seconds: f64) -> Duration {
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) | Err(_) => Duration::MAX,
        Ok(patience) => patience,
    }
}

/// `forgive($seconds)`: the program has not let the event loop turn for so long.
fn forgive(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let seconds = frame.float(1)?.unwrap_or(0.0);
    let producer = frame.object::<Producer>()?;
    if let Ok(lost) = Duration::try_from_secs_f64(seconds) {
        producer.accumulator.borrow_mut().forgive(lost);
    }
    Ok(())
}

/// `guard($is_so)`: whether `expire` is going to be called. If not, and if something is to linger, `linger_begin` is told when
/// the first record of a batch has come.
fn guard(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let is_so = frame.bool(1)?;
    frame.object::<Producer>()?.linger.set_guarded(is_so);
    Ok(())
}

/// `end_with_turn`: what has come is due when this turn of the loop ends.
fn end_with_turn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.object::<Producer>()?.linger.end_with_turn();
    Ok(())
}

/// What nobody else hears of the failure of these batches: a transaction says itself that it has failed.
fn reports(
    producer: &Producer,
    failed: &[GivenUp<Callback>],
    problem: impl Fn(&str, Option<i16>) -> Problem,
) -> BTreeMap<String, Problem> {
    let accumulator = producer.accumulator.borrow();
    let failed = failed.iter().map(|given_up| (given_up, &given_up.batch));
    failed
        .filter(|(_, batch)| !accumulator.is_transactional(batch) && unheard(batch) > 0)
        .map(|(given_up, _)| producer.problem_of(given_up, &problem))
        .map(|problem| (problem.text.clone(), problem))
        .collect()
}

/// `set_identity($producer_id, $epoch)`: the identity of batches that were never sent or must be sent anew.
fn set_producer(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let identity = Identity {
        id: frame.int(1)?.unwrap_or(-1),
        epoch: frame.int(2)?.unwrap_or(-1) as i16,
    };
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().set_identity(identity);
    Ok(())
}

/// `needs_identity`: whether some partition waits for a new identity.
fn needs_producer(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    let needs = producer.accumulator.borrow().needs_identity();
    frame.ret_int(needs.into());
    Ok(())
}

/// `leaderless`: partitions without a leader for which messages wait.
fn leaderless(frame: &mut Frame<'_>) -> Result<(), Croak> {
    places(frame, Accumulator::leaderless)
}

/// Returns partitions: `[$topic, $partition]` of each.
pub(super) fn places(
    frame: &mut Frame<'_>,
    places: impl FnOnce(&Accumulator<Callback>) -> Vec<Place>,
) -> Result<(), Croak> {
    let perl = frame.perl();
    let producer = frame.object::<Producer>()?;
    let rows: Vec<Sv> = {
        let accumulator = producer.accumulator.borrow();
        let row = |place: Place| {
            let mut row = Av::with_capacity(perl, 2);
            row.push(perl, Sv::bytes(perl, accumulator.topic_name(place.topic)));
            row.push(perl, Sv::int(perl, place.partition as i64));
            row.into_ref(perl)
        };
        places(&accumulator).into_iter().map(row).collect()
    };
    rows.into_iter().for_each(|row| frame.ret(row));
    Ok(())
}

/// `fail_waiting($error)`: fails what is not in flight. Gives how many records that were, and of how many batches of the
/// transaction.
fn fail_waiting(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let problem = Problem::of_argument(frame, 1)?;
    let producer = frame.object::<Producer>()?;
    let failed = producer.accumulator.borrow_mut().fail_unsent();
    let records: usize = failed.iter().map(|given_up| given_up.batch.count).sum();
    let transactional = {
        let accumulator = producer.accumulator.borrow();
        let is_transactional = |e: &&GivenUp<Callback>| accumulator.is_transactional(&e.batch);
        failed.iter().filter(is_transactional).count()
    };
    producer.give_up(failed, |_, _| problem.clone());
    for count in [records, transactional] {
        frame.ret_int(count as i64);
    }
    Ok(())
}

/// `fail_all($unsent_error, $inflight_error)`. Gives the number of messages of whose end nobody hears.
fn fail_all(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let for_unsent = Problem::of_argument(frame, 1)?;
    let for_sent = Problem::of_argument(frame, 2)?;
    let producer = frame.object::<Producer>()?;
    let (sent, unsent) = producer.accumulator.borrow_mut().take_all();
    let unheard: usize = sent
        .iter()
        .chain(&unsent)
        .map(|given_up| unheard(&given_up.batch))
        .sum();
    producer.give_up(sent, |_, _| for_sent.clone());
    producer.give_up(unsent, |_, _| for_unsent.clone());
    frame.ret_int(unheard as i64);
    Ok(())
}
