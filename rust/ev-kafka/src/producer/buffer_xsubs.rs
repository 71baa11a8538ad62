//! What is queued: how much, and where it lies as long as its topic is not known.

use kafka_producer::{Appended, BatchId, Destination};
use perl_xs::{ArrayRef, Av, Croak, Frame, Sv, XsubDef};

use super::delivery::Pace;
use super::xsubs::{follow_up, taken, Message};
use super::{unheard, Producer};
use crate::problem::Problem;

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Accumulator::park",
        body: park,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::unpark",
        body: unpark,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::must_unpark",
        body: must_unpark,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::fail_parked",
        body: fail_parked,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::unpark_answered",
        body: unpark_answered,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::waiting_beyond",
        body: waiting_beyond,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::end_generation",
        body: end_generation,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::is_settled",
        body: is_settled,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::deliver",
        body: deliver,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::deliver_all",
        body: deliver_all,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::is_delivering",
        body: is_delivering,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::queued",
        body: queued,
    },
];

/// `park($topic, $partition, $key, $value, $headers, $timestamp_ms, $cb, $acks, $asks)`: as `append`, but keeps the message
/// until `unpark`. Its partition is the one given, or that which `unpark_answered` is told, or goes by its key. $asks is
/// 0 when its key decides, 1 when the partitioner does, 2 when that gets the key as text.
fn park(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let message = Message::read(frame)?;
    let asks = frame.int(9)?.unwrap_or(0);
    let producer = frame.object::<Producer>()?;
    let destination = match message.partition()? {
        Some(partition) => Destination::Partition(partition),
        None if asks == 0 => Destination::ByKey,
        None => Destination::Asked { is_text: asks > 1 },
    };
    let parked = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&message.topic);
        accumulator.set_acks(message.acks);
        let callback = message.callback.clone();
        let parked = accumulator.park(topic, destination, message.record(), callback);
        accumulator.set_acks(None);
        parked
    };
    taken(frame, &producer, parked.map(|()| Appended::default()))
}

/// Bytes that one call of `unpark` moves: a few milliseconds' work.
const UNPARKED_AT_ONCE: usize = 1 << 20;

/// `must_unpark($topic)`: whether there is anything left to do for `unpark`.
fn must_unpark(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    let producer = frame.object::<Producer>()?;
    let must = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        accumulator.must_unpark(topic)
    };
    frame.ret_int(must.into());
    Ok(())
}

/// `unpark($topic)`: the topic is known; moves some of its messages. Gives a number, and the keys of messages whose partitions `unpark_answered` has
/// to be told before it can go on, each with 1 behind it if it is text and 0 if not; nothing if there are none.
fn unpark(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let topic = frame.bytes(1)?.unwrap_or_default();
    let producer = frame.object::<Producer>()?;
    let appended = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        accumulator.unpark(topic, UNPARKED_AT_ONCE)
    };
    follow_up(frame, &producer, appended)?;
    let question = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        accumulator.asked(topic)
    };
    if let Some(question) = question {
        frame.ret_int(question.id as i64);
        for (key, is_text) in question.keys {
            frame.ret(Sv::bytes_or_undef(perl, key.as_deref()));
            frame.ret_int(is_text.into());
        }
    }
    Ok(())
}

/// `unpark_answered($topic, $number, \@partitions)`, undef for a message that gets none. Gives for each of these its
/// index, its callback as `append` takes it, and whether it is part of the open transaction.
fn unpark_answered(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let topic = frame.bytes(1)?.unwrap_or_default();
    let id = frame.int(2)?.unwrap_or(0) as BatchId;
    let answers = frame
        .value(3)?
        .and_then(|sv| ArrayRef::new(&sv))
        .ok_or("unpark_answered: expected arrayref")?
        .to_vec(perl)?
        .iter()
        .map(|answer| Ok(answer.to_i64(perl)?.and_then(|n| usize::try_from(n).ok())))
        .collect::<Result<Vec<_>, Croak>>()?;
    let producer = frame.object::<Producer>()?;
    let answered = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        accumulator.unpark_answered(topic, id, &answers)
    };
    let Some(answered) = answered else {
        return Ok(());
    };
    follow_up(frame, &producer, answered.appended)?;
    for (index, callback) in answered.refused {
        let mut row = Av::with_capacity(perl, 3);
        row.push(perl, Sv::int(perl, index as i64));
        row.push(
            perl,
            callback.map_or_else(|| Ok(Sv::undef(perl)), |callback| callback.into_perl(perl))?,
        );
        row.push(perl, Sv::int(perl, answered.is_transactional.into()));
        frame.ret(row.into_ref(perl));
    }
    Ok(())
}

/// `waiting_beyond($topic)`: partitions that the topic is not known to have, and for which messages wait.
fn waiting_beyond(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    let producer = frame.object::<Producer>()?;
    let partitions = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        accumulator.waiting_beyond(topic)
    };
    for partition in partitions {
        frame.ret_int(partition as i64);
    }
    Ok(())
}

/// `fail_parked($topic, $partition, $error)`: fails what waits for the topic to be known, or for that partition. Gives the
/// number of messages outside of transactions that had no callback, and whether there were messages of a transaction.
fn fail_parked(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    let partition = frame.int(2)?.and_then(|n| usize::try_from(n).ok());
    let problem = Problem::of_argument(frame, 3)?;
    let producer = frame.object::<Producer>()?;
    let failed = {
        let mut accumulator = producer.accumulator.borrow_mut();
        let topic = accumulator.topic_index(&topic);
        match partition {
            Some(partition) => accumulator.fail_partition(topic, partition),
            None => accumulator.fail_parked(topic),
        }
    };
    let (unheard, is_transactional) = {
        let accumulator = producer.accumulator.borrow();
        let (transactional, plain): (Vec<_>, Vec<_>) = failed
            .iter()
            .map(|failed| &failed.batch)
            .partition(|batch| accumulator.is_transactional(batch));
        let unheard: usize = plain.into_iter().map(unheard).sum();
        (unheard, !transactional.is_empty())
    };
    producer.give_up(failed, |_, _| problem.clone());
    frame.ret_int(unheard as i64);
    frame.ret_int(is_transactional.into());
    Ok(())
}

/// `end_generation`: names what has been accepted up to now.
fn end_generation(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    let generation = producer.accumulator.borrow_mut().end_generation();
    frame.ret_int(generation as i64);
    Ok(())
}

/// `is_settled($generation)`: whether all of that has been delivered or has failed, and was called back or is about to be.
fn is_settled(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let generation = frame.int(1)?.unwrap_or(0) as u64;
    let producer = frame.object::<Producer>()?;
    let is_settled = producer.accumulator.borrow().is_settled(generation)
        && producer.delivery.is_done(generation);
    frame.ret_int(is_settled.into());
    Ok(())
}

/// `deliver([$has_rested])`: calls the callbacks of what was settled. When that has taken long enough for one turn of the
/// loop `rest` is told, and nothing is called until this is called with true in another turn.
fn deliver(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let has_rested = frame.bool(1)?;
    let producer = frame.object::<Producer>()?;
    if has_rested {
        producer.delivery.resume();
    }
    producer.deliver(frame.perl()).ok()
}

/// `deliver_all`: the same when nothing comes after.
fn deliver_all(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.delivery.deliver(frame.perl(), Pace::AtOnce).ok()
}

/// `is_delivering`: whether delivery callbacks are being called, so that more may follow.
fn is_delivering(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    frame.ret_int(producer.delivery.is_active().into());
    Ok(())
}

/// `queued`: messages and bytes that are accepted and not settled yet.
fn queued(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    let (messages, bytes) = producer.accumulator.borrow().queued();
    frame.ret_int((messages + producer.delivery.waiting()) as i64);
    frame.ret_int(bytes as i64);
    Ok(())
}
