//! `EV::Kafka::Conn::_share_fetch` and `_share_acknowledge`, and the methods of `EV::Kafka::ShareSession`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::share_acknowledge::ShareAcknowledgeResponse;
use kafka_wire::messages::share_fetch::ShareFetchResponse;
use kafka_wire::ApiKey;
use perl_xs::{Av, Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::answer::{self, Brought};
use super::delivery::{self, Delivered, Handing};
use super::ledger::Settled;
use super::object::ShareSession;
use super::session::{Id, Outcome, Place, Session, Terms};
use crate::api::fetch::batches::Unpacking;
use crate::api::request::{completion_with, send_on, server_wait};
use crate::api::result::{decode, finish, object};
use crate::api::shapes::store_message;
use crate::arguments::Arguments;
use crate::conn::{Answer, Built, ConnHandle};
use crate::ev::coarse_ms;

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::_share_fetch",
        body: share_fetch,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_share_acknowledge",
        body: share_acknowledge,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::new",
        body: new,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::want",
        body: want,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::counts",
        body: counts,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::is_open",
        body: is_open,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::places",
        body: places,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::settle",
        body: settle,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::expire",
        body: expire,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::expires_in",
        body: expires_in,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::give_back_fresh",
        body: give_back_fresh,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::lost",
        body: lost,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::moved",
        body: moved,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::deliver",
        body: deliver,
    },
    XsubDef {
        name: "EV::Kafka::ShareSession::interrupt",
        body: interrupt,
    },
];

fn session_at(frame: &Frame<'_>, index: usize) -> Result<Rc<ShareSession>, Croak> {
    frame
        .object_at::<ShareSession>(index)
        .map_err(|_| "expected a session".into())
}

/// The connection, on which something can be sent.
fn connection(frame: &Frame<'_>) -> Result<Rc<ConnHandle>, Croak> {
    let conn = frame.object::<ConnHandle>()?;
    match conn.is_ready() {
        true => Ok(conn),
        false => Err("not connected".into()),
    }
}

/// `$conn->_share_fetch($session, $max_wait_ms, $min_bytes, $max_bytes, $max_records, $acquire_mode, $cb)`: `$cb` gets
/// `{ error_code, error_message?, problems => [[$topic, $partition, $code, $message, $leader, $leader_epoch], …], settled =>
/// [[$topic, $partition, $first_offset, \@kinds, $code, $message], …], endpoints => [[$node_id, $host, $port], …] }`, or an
/// error. What was acquired is in the session.
fn share_fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_share_fetch");
    let terms = Terms {
        max_wait_ms: args.int(2, "max_wait_ms", 0)?,
        min_bytes: args.int(3, "min_bytes", 0)?,
        max_bytes: args.int(4, "max_bytes", 0)?,
        max_records: args.int(5, "max_records", 0)?,
        acquire_mode: args.int(6, "acquire_mode", 0)?,
    };
    let callback = args
        .callback(7)?
        .ok_or("_share_fetch: expected a callback")?;
    let session = session_at(frame, 1)?;
    let conn = connection(frame)?;
    let request = session.state.borrow_mut().next_fetch(&terms);
    let unpacking = conn.kept().get::<Unpacking>();
    let completion = completion_with(&conn, ApiKey::ShareFetch, callback, move |perl, answer| {
        let (response, read) = decode::<ShareFetchResponse>(answer);
        let throttle_time_ms = response.throttle_time_ms;
        let brought = (!read.truncated).then(|| {
            let mut session = session.state.borrow_mut();
            answer::fetched(&mut session, response, &unpacking, coarse_ms())
        });
        built(perl, brought, throttle_time_ms)
    });
    let wait = server_wait(terms.max_wait_ms);
    send_on(frame.perl(), &conn, &request, wait, completion)
}

/// `$conn->_share_acknowledge($session, $is_last, $cb)`: the same for what is only to be settled.
fn share_acknowledge(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_share_acknowledge");
    let is_last = frame.bool(2)?;
    let callback = args
        .callback(3)?
        .ok_or("_share_acknowledge: expected a callback")?;
    let session = session_at(frame, 1)?;
    let conn = connection(frame)?;
    let request = session.state.borrow_mut().next_acknowledge(is_last);
    let api = ApiKey::ShareAcknowledge;
    let completion = completion_with(&conn, api, callback, move |perl, answer| {
        acknowledged(perl, answer, &session)
    });
    send_on(frame.perl(), &conn, &request, Duration::ZERO, completion)
}

fn acknowledged(perl: Perl, answer: &Answer, session: &Rc<ShareSession>) -> Built {
    let (response, read) = decode::<ShareAcknowledgeResponse>(answer);
    let throttle_time_ms = response.throttle_time_ms;
    let brought = (!read.truncated).then(|| {
        let mut session = session.state.borrow_mut();
        answer::acknowledged(&mut session, response, coarse_ms())
    });
    built(perl, brought, throttle_time_ms)
}

fn built(perl: Perl, brought: Option<Brought>, throttle_time_ms: i32) -> Built {
    let result = match brought {
        None => Err("incomplete answer".to_owned()),
        Some(brought) => Ok(finish(perl, shape(perl, &brought), throttle_time_ms, false)),
    };
    Built {
        result,
        throttle_time_ms,
    }
}

fn shape(perl: Perl, brought: &Brought) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "error_code", brought.code.into());
    store_message(perl, &mut hash, brought.message.as_deref());
    let mut problems = Av::with_capacity(perl, brought.problems.len());
    for problem in &brought.problems {
        let mut row = row_of(perl, &problem.place);
        row.push(perl, Sv::int(perl, problem.code.into()));
        row.push(perl, Sv::bytes_or_undef(perl, problem.message.as_deref()));
        row.push(perl, Sv::int(perl, problem.leader.0.into()));
        row.push(perl, Sv::int(perl, problem.leader.1.into()));
        problems.push(perl, row.into_ref(perl));
    }
    hash.store(perl, "problems", problems.into_ref(perl));
    hash.store(perl, "settled", rows(perl, &brought.outcomes));
    let mut endpoints = Av::with_capacity(perl, brought.endpoints.len());
    for (node_id, host, port) in &brought.endpoints {
        let mut row = Av::with_capacity(perl, 3);
        row.push(perl, Sv::int(perl, i64::from(*node_id)));
        row.push(perl, Sv::bytes(perl, host));
        row.push(perl, Sv::int(perl, i64::from(*port)));
        endpoints.push(perl, row.into_ref(perl));
    }
    hash.store(perl, "endpoints", endpoints.into_ref(perl));
    hash
}

fn row_of(perl: Perl, place: &Place) -> Av {
    let mut row = Av::with_capacity(perl, 6);
    row.push(perl, Sv::bytes(perl, &place.0));
    row.push(perl, Sv::int(perl, place.1.into()));
    row
}

/// `[[$topic, $partition, $first_offset, \@kinds, $code, $message], …]`; the code is undef when nobody has answered.
fn rows(perl: Perl, outcomes: &[Outcome]) -> Sv {
    let mut rows = Av::with_capacity(perl, outcomes.len());
    for outcome in outcomes {
        let mut row = row_of(perl, &outcome.place);
        row.push(perl, Sv::int(perl, outcome.stretch.first));
        let mut kinds = Av::with_capacity(perl, outcome.stretch.kinds.len());
        for &kind in &outcome.stretch.kinds {
            kinds.push(perl, Sv::int(perl, kind.into()));
        }
        row.push(perl, kinds.into_ref(perl));
        let code = outcome.code.map(|code| Sv::int(perl, code.into()));
        row.push(perl, code.unwrap_or_else(|| Sv::undef(perl)));
        row.push(perl, Sv::bytes_or_undef(perl, outcome.message.as_deref()));
        rows.push(perl, row.into_ref(perl));
    }
    rows.into_ref(perl)
}

/// `EV::Kafka::ShareSession->new($group_id, $member_id, $tells_all)`: with a true last one success is told as well.
fn new(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "new");
    let mut state = Session::new(args.string(1, "group_id")?, args.string(2, "member_id")?);
    state.tells_all = frame.bool(3)?;
    let session = object(frame.perl(), ShareSession::new(state))?;
    frame.ret(session);
    Ok(())
}

/// `$session->want([[$topic, $topic_id, $partition], …])`: all that is to be fetched from now on.
fn want(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "want");
    let mut wanted = BTreeMap::new();
    for row in args.array(1)? {
        let row = args.elements(&row, "bad element")?;
        let values = args.values();
        let topic = values.string(row.first(), "topic")?.unwrap_or_default();
        let id = values.string(row.get(1), "topic_id")?.unwrap_or_default();
        let id = Id::try_from(id.as_ref()).map_err(|_| args.error("a topic's id has 16 bytes"))?;
        let partition = values.integer(row.get(2), "partition")?.unwrap_or(0);
        wanted.insert((topic, partition), id);
    }
    session_at(frame, 0)?.state.borrow_mut().want(wanted);
    Ok(())
}

/// `my ($fresh, $in_hand, $pending, $renews) = $session->counts`: records that were not handed over, that the program has, of
/// which the broker is to be told, and whose locks are to be renewed.
fn counts(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let counts = session_at(frame, 0)?.state.borrow().counts();
    let perl = frame.perl();
    let all = [counts.fresh, counts.in_hand, counts.pending, counts.renews];
    frame.ret_list(all.map(|count| Sv::int(perl, count as i64)));
    Ok(())
}

/// `$session->is_open`
fn is_open(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let is_open = session_at(frame, 0)?.state.borrow().is_open();
    frame.ret_int(is_open.into());
    Ok(())
}

/// `$session->places`: `[$topic, $partition]` of each partition of which something is held.
fn places(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let session = session_at(frame, 0)?;
    let places: Vec<Sv> = session
        .state
        .borrow()
        .places()
        .map(|place| row_of(perl, place).into_ref(perl))
        .collect();
    frame.ret_list(places);
    Ok(())
}

fn place(frame: &Frame<'_>) -> Result<Place, Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    let partition = frame.int(2)?.unwrap_or(0) as i32;
    Ok((Bytes::from(topic), partition))
}

/// `$session->settle($topic, $partition, $offset, $delivery_count, $kind)`: 0, or 1 when it was settled before, 2 when its
/// lock has run out, 3 when it is not held.
fn settle(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let place = place(frame)?;
    let offset = frame.int(3)?.unwrap_or(-1);
    let count = frame.int(4)?.unwrap_or(0) as i16;
    let kind = frame.int(5)?.unwrap_or(0) as u8;
    let session = session_at(frame, 0)?;
    let settled = match session.state.borrow_mut().ledger(&place) {
        Some(ledger) => ledger.settle(offset, count, kind, coarse_ms()),
        None => Settled::Lost,
    };
    frame.ret_int(match settled {
        Settled::Taken => 0,
        Settled::Twice => 1,
        Settled::Late => 2,
        Settled::Lost => 3,
    });
    Ok(())
}

/// `$session->expire`: forgets what is locked no more, and gives how many of these records the program has.
fn expire(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let count = session_at(frame, 0)?.state.borrow_mut().expire(coarse_ms());
    frame.ret_int(count as i64);
    Ok(())
}

/// `$session->expires_in`: milliseconds until the first lock runs out; undef without any.
fn expires_in(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let at = session_at(frame, 0)?.state.borrow().next_expiry();
    match at {
        Some(at) => frame.ret_int(at.saturating_sub(coarse_ms()).max(0)),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// `$session->give_back_fresh`: nothing more is handed over.
fn give_back_fresh(frame: &mut Frame<'_>) -> Result<(), Croak> {
    session_at(frame, 0)?.state.borrow_mut().give_back_fresh();
    Ok(())
}

/// `$session->lost`: the connection has ended. Gives what the broker may not have heard, as `settled` above.
fn lost(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let outcomes = session_at(frame, 0)?.state.borrow_mut().lost();
    let rows = rows(frame.perl(), &outcomes);
    frame.ret(rows);
    Ok(())
}

/// `$session->moved($topic, $partition)`: another broker leads it. Gives the same.
fn moved(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let place = place(frame)?;
    let outcomes = session_at(frame, 0)?.state.borrow_mut().moved(&place);
    let rows = rows(frame.perl(), &outcomes);
    frame.ret(rows);
    Ok(())
}

/// `my ($is_done) = $session->deliver($conn, $on_record, $keeper, $budget_ms, $is_explicit)`: hands over what was acquired.
fn deliver(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let on_record = frame.code(2)?.ok_or("deliver: expected a callback")?;
    let keeper = frame.value(3)?.ok_or("deliver: expected a keeper")?;
    let budget_ms = frame.int(4)?.unwrap_or(0);
    let is_explicit = frame.bool(5)?;
    let conn = frame
        .object_at::<ConnHandle>(1)
        .map_err(|_| "deliver: expected a connection")?;
    let session = session_at(frame, 0)?;
    let handing = Handing {
        on_record,
        keeper,
        budget_ms,
        is_explicit,
        form: conn.form(),
    };
    match delivery::deliver(frame.perl(), &session, &handing) {
        Delivered::Paused { is_done } => frame.ret_int(is_done.into()),
        Delivered::Exit => return Err(Croak::Exit),
    }
    Ok(())
}

/// `$session->interrupt`: the delivery under way stops behind the record that is being delivered.
fn interrupt(frame: &mut Frame<'_>) -> Result<(), Croak> {
    session_at(frame, 0)?.interrupted.set(true);
    Ok(())
}
