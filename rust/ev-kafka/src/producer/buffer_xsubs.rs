//! What is queued: how much, and where it lies as long as its topic is not known.

use perl_xs::{Croak, Frame, XsubDef};

use super::accumulator::NewRecord;
use super::xsubs::{follow_up, taken, text};
use super::{unheard, Producer};
use crate::conn::records::{headers, now_ms};

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Client::_park",
        body: park,
    },
    XsubDef {
        name: "EV::Kafka::Client::_unpark",
        body: unpark,
    },
    XsubDef {
        name: "EV::Kafka::Client::_fail_parked",
        body: fail_parked,
    },
    XsubDef {
        name: "EV::Kafka::Client::_reserve",
        body: reserve,
    },
    XsubDef {
        name: "EV::Kafka::Client::_release",
        body: release,
    },
    XsubDef {
        name: "EV::Kafka::Client::_queued",
        body: queued,
    },
];

/// `_park($topic, $key, $value, $headers, $timestamp_ms, $cb)`: keeps a message until `_unpark`; false when the buffer is
/// full.
fn park(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let topic = frame.bytes(1)?.ok_or("produce: topic required")?;
    let (key, value) = (frame.bytes(2)?, frame.bytes(3)?);
    let headers = headers(perl, frame.value(4)?.as_ref(), "produce")?;
    let timestamp = frame.int(5)?.unwrap_or_else(now_ms);
    let callback = frame.code(6)?;
    let producer = frame.object::<Producer>()?;
    let parked = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        let record = NewRecord {
            timestamp,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: headers
                .iter()
                .map(|(name, value)| (&name[..], value.as_deref())),
        };
        accumulator.park(topic, record, callback)
    };
    let taken = taken(frame, parked.map(|()| None))?;
    frame.ret_int(taken.into());
    Ok(())
}

/// `_unpark($topic)`: the topic is known.
fn unpark(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    let producer = frame.object::<Producer>()?;
    let appended = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        accumulator.unpark(topic)
    };
    follow_up(frame, appended)
}

/// `_fail_parked($topic, $text)`: gives the number of messages outside of transactions that had no callback, and whether
/// there were messages of a transaction.
fn fail_parked(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    let reason = text(frame, 2)?;
    let producer = frame.object::<Producer>()?;
    let failed = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        accumulator.fail_parked(topic)
    };
    let plain = failed.iter().filter(|f| f.batch.transaction.is_none());
    let unheard: usize = plain.map(|failed| unheard(&failed.batch)).sum();
    let is_transactional = failed.iter().any(|f| f.batch.transaction.is_some());
    producer
        .give_up(frame.perl(), failed, |_| reason.clone())
        .ok()?;
    frame.ret_int(unheard as i64);
    frame.ret_int(is_transactional.into());
    Ok(())
}

/// `_reserve($bytes)`: counts a message that Perl keeps; false when the buffer is full.
fn reserve(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let bytes = frame.int(1)?.unwrap_or(0).try_into().unwrap_or(0);
    let producer = frame.object::<Producer>()?;
    let has_room = producer.accumulator.borrow_mut().reserve(bytes);
    frame.ret_int(has_room.into());
    Ok(())
}

/// `_release($bytes)`
fn release(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let bytes = frame.int(1)?.unwrap_or(0).try_into().unwrap_or(0);
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().release(bytes);
    Ok(())
}

/// `_queued`: messages and bytes that are accepted and not settled yet.
fn queued(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    let (messages, bytes) = producer.accumulator.borrow().queued();
    frame.ret_int(messages as i64);
    frame.ret_int(bytes as i64);
    Ok(())
}
