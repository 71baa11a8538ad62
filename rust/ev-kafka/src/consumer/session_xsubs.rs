//! `EV::Kafka::Conn::_fetch`, and the methods of `EV::Kafka::FetchSession` and `EV::Kafka::Consumer::Seen`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchRequest, FetchResponse, ForgottenTopic};
use kafka_wire::{error, ApiKey};
use perl_xs::{ArrayRef, Av, Croak, Frame, HashRef, Native, Perl, Sv, XsubDef};

use super::fetched::{Fetched, Reader};
use super::seen::Seen;
use super::session::{Next, Place, Session, Verdict, Wish, ENDS};
use crate::api::fetch::batches::Unpacking;
use crate::api::fetch::request::{self, Part, Terms};
use crate::api::request::{
    by_topic, completion, completion_with, encode_at, send_encoded, send_on, server_wait, TopicName,
};
use crate::api::result::{decode, object};
use crate::arguments::topic_id;
use crate::conn::{Answer, Built, ConnHandle};

/// The state of an `EV::Kafka::FetchSession`.
#[derive(Default)]
pub(super) struct FetchSession(RefCell<Session>);

impl Native for FetchSession {
    const NAME: &'static str = "EV::Kafka::FetchSession";
}

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::_fetch",
        body: fetch,
    },
    XsubDef {
        name: "EV::Kafka::FetchSession::new",
        body: new_session,
    },
    XsubDef {
        name: "EV::Kafka::FetchSession::want",
        body: want,
    },
    XsubDef {
        name: "EV::Kafka::FetchSession::forget",
        body: forget,
    },
    XsubDef {
        name: "EV::Kafka::FetchSession::start_over",
        body: start_over,
    },
    XsubDef {
        name: "EV::Kafka::FetchSession::end_on",
        body: end_on,
    },
    XsubDef {
        name: "EV::Kafka::Consumer::Seen::new",
        body: new_seen,
    },
    XsubDef {
        name: "EV::Kafka::Consumer::Seen::take",
        body: take,
    },
    XsubDef {
        name: "EV::Kafka::Consumer::Seen::doubt",
        body: doubt,
    },
    XsubDef {
        name: "EV::Kafka::Consumer::Seen::changes",
        body: changes,
    },
];

/// `$conn->_fetch($session, $max_bytes, $max_wait_ms, $min_bytes, $isolation_level, $cb)`: asks for what the session says.
/// `$cb` gets an `EV::Kafka::Fetched`, an error, or nothing: then the broker has forgotten the session, and is to be asked
/// again.
fn fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let terms = Terms {
        max_bytes: number(frame, 2)?,
        max_wait_ms: number(frame, 3)?,
        min_bytes: number(frame, 4)?,
        isolation_level: i8::from(number(frame, 5)? != 0),
    };
    let callback = frame.code(6)?.ok_or("_fetch: expected a callback")?;
    let session = frame
        .object_at::<FetchSession>(1)
        .map_err(|_| "_fetch: expected a session")?;
    let conn = frame.object::<ConnHandle>()?;
    if !conn.is_ready() {
        return Err(Croak::from("not connected"));
    }
    let reader = Reader {
        read_committed: terms.isolation_level != 0,
        form: conn.form(),
    };
    let version = request::version(&conn, session.0.borrow().has_ids());
    let encoded = encode_at(version, |version| {
        let by_id = request::names_by_id(version);
        let next = session.0.borrow_mut().next(version, by_id);
        request_of(next, &terms, version)
    });
    let unpacking = conn.kept().get::<Unpacking>();
    let completion = completion_with(&conn, ApiKey::Fetch, callback, move |perl, answer| {
        result(perl, answer, &session, reader, &unpacking)
    });
    let wait = server_wait(terms.max_wait_ms);
    send_encoded(perl, &conn, ApiKey::Fetch, encoded, wait, completion)
}

fn request_of(next: Next, terms: &Terms, version: i16) -> FetchRequest {
    let parts = next
        .asked
        .into_iter()
        .map(|((topic, partition), wish)| Part {
            topic_id: wish.topic_id,
            leader_epoch: wish.leader_epoch,
            last_epoch: wish.last_epoch,
            max_bytes: Some(wish.max_bytes),
            ..Part::new(topic, partition, wish.offset)
        });
    let forgotten = next.forgotten.into_iter();
    let forgotten = forgotten.map(|((topic, partition), id)| (TopicName { topic, id }, partition));
    let forgotten = by_topic(forgotten).into_iter();
    let forgotten = forgotten.map(|(name, partitions)| ForgottenTopic {
        topic: name.topic,
        topic_id: name.id,
        partitions,
    });
    FetchRequest {
        session_id: next.session_id,
        session_epoch: next.session_epoch,
        forgotten_topics_data: forgotten.collect(),
        ..request::request(parts.collect(), terms, version)
    }
}

/// What Kafka has 32 bits for.
fn number(frame: &Frame<'_>, index: usize) -> Result<i32, Croak> {
    let given = frame.int(index)?.unwrap_or(0);
    Ok(given.clamp(0, i64::from(i32::MAX)) as i32)
}

fn result(
    perl: Perl,
    answer: &Answer,
    session: &Rc<FetchSession>,
    reader: Reader,
    unpacking: &Rc<Unpacking>,
) -> Built {
    let (response, read) = decode::<FetchResponse>(answer);
    let throttle_time_ms = response.throttle_time_ms;
    let mut session = session.0.borrow_mut();
    let result = if read.truncated {
        session.lost();
        Err("malformed Fetch response".to_owned())
    } else {
        match session.answered(&response) {
            Verdict::SessionLost => Ok(Sv::undef(perl)),
            Verdict::Refused(code) => {
                let name = error::name(code);
                Err(format!("Fetch error: {name} (code {code})"))
            }
            Verdict::Answered => {
                let fetched = Fetched::new(response, &session, reader, unpacking);
                object(perl, fetched).map_err(|croak| croak.into_text(perl))
            }
        }
    };
    Built {
        result,
        throttle_time_ms,
    }
}

/// `EV::Kafka::FetchSession->new`
fn new_session(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let session = object(frame.perl(), FetchSession::default())?;
    frame.ret(session);
    Ok(())
}

fn place(frame: &Frame<'_>) -> Result<Place, Croak> {
    let topic = frame.bytes(1)?.ok_or("missing topic")?;
    let partition = frame.int(2)?.unwrap_or(0) as i32;
    Ok((Bytes::from(topic), partition))
}

/// `$session->want($topic, $partition, $offset, $leader_epoch, $last_epoch, $max_bytes, $topic_id)`: an epoch that is not known
/// is -1, an id undef.
fn want(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let place = place(frame)?;
    let wish = Wish {
        topic_id: topic_id(frame, 7)?,
        offset: frame.int(3)?.unwrap_or(0),
        leader_epoch: frame.int(4)?.unwrap_or(-1) as i32,
        last_epoch: frame.int(5)?.unwrap_or(-1) as i32,
        max_bytes: number(frame, 6)?,
    };
    frame
        .object::<FetchSession>()?
        .0
        .borrow_mut()
        .want(place, wish);
    Ok(())
}

/// `$session->forget($topic, $partition)`: it is not asked for any more.
fn forget(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let place = place(frame)?;
    frame.object::<FetchSession>()?.0.borrow_mut().forget(place);
    Ok(())
}

/// `$session->start_over`: nobody knows what of it the broker has.
fn start_over(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.object::<FetchSession>()?.0.borrow_mut().lost();
    Ok(())
}

/// `$session->end_on($conn)`: tells the broker, if there is a session, that it may forget it. Nobody waits for the answer.
fn end_on(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let conn = frame
        .object_at::<ConnHandle>(1)
        .map_err(|_| "end_on: expected a connection")?;
    let session = frame.object::<FetchSession>()?;
    let ended = session.0.borrow_mut().end();
    let Some(session_id) = ended.filter(|_| conn.is_ready()) else {
        return Ok(());
    };
    let request = FetchRequest {
        session_id,
        session_epoch: ENDS,
        ..Default::default()
    };
    let completion = completion::<FetchRequest>(None);
    send_on(frame.perl(), &conn, &request, Duration::ZERO, completion)
}

/// `EV::Kafka::Consumer::Seen->new`
fn new_seen(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let seen = object(frame.perl(), Seen::default())?;
    frame.ret(seen);
    Ok(())
}

fn array(frame: &Frame<'_>, index: usize) -> Result<ArrayRef, Croak> {
    let value = frame.value(index)?;
    value
        .and_then(|value| ArrayRef::new(&value))
        .ok_or_else(|| "expected an arrayref".into())
}

/// `$seen->take(\@assignments, \@keys)`: another list, whose entries have these keys.
fn take(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let (list, keys) = (array(frame, 1)?, array(frame, 2)?);
    frame.object::<Seen>()?.take(frame.perl(), &list, &keys)
}

/// `$seen->doubt(\@keys)`: what is under these counts as changed the next time.
fn doubt(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let keys = array(frame, 1)?;
    frame.object::<Seen>()?.doubt(frame.perl(), &keys)
}

/// `$seen->changes(\@assignments, \%leaders)`: the keys of the entries whose offset or leader is another one than the last
/// time, as an arrayref; undef if the list is another one.
fn changes(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let list = array(frame, 1)?;
    let leaders = frame.value(2)?.and_then(|value| HashRef::new(&value));
    let seen = frame.object::<Seen>()?;
    match seen.changes(perl, &list, leaders.as_ref())? {
        None => frame.ret_undef(),
        Some(keys) => {
            let mut list = Av::with_capacity(perl, keys.len());
            keys.into_iter().for_each(|key| list.push(perl, key));
            frame.ret(list.into_ref(perl));
        }
    }
    Ok(())
}
