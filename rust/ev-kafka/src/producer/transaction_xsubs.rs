//! The seam between the client's transactions and the accumulator.

use kafka_producer::Accumulator;
use perl_xs::{Croak, Frame, XsubDef};

use super::xsubs::places;
use super::Producer;
use crate::api::transaction_version::TransactionVersion;
use crate::arguments::Arguments;
use crate::problem::Problem;

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Accumulator::begin_transaction",
        body: begin,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::keep_for_next_transaction",
        body: keep_for_next,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::leave_transaction",
        body: leave,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::abort_transaction",
        body: abort,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::end_transaction",
        body: end,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::transaction_version",
        body: version,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::unregistered",
        body: unregistered,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::register",
        body: registered,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::transaction_unsettled",
        body: unsettled,
    },
    XsubDef {
        name: "EV::Kafka::Accumulator::fail_transactional",
        body: fail_unsent,
    },
];

/// `begin_transaction`: records appended from now on are part of a transaction, with those that were kept for it.
fn begin(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().begin_transaction();
    Ok(())
}

/// `keep_for_next_transaction`: records appended from now on are kept for the next transaction.
fn keep_for_next(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer
        .accumulator
        .borrow_mut()
        .keep_for_next_transaction();
    Ok(())
}

/// `leave_transaction`: records appended from now on are part of none.
fn leave(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().leave_transaction();
    Ok(())
}

/// `abort_transaction`: no record of the open transaction is sent again.
fn abort(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().abort_transaction();
    Ok(())
}

/// `end_transaction`: nothing is part of the transaction any more. What it has not sent by now never leaves: `fail_transactional`
/// fails it.
fn end(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    producer.accumulator.borrow_mut().end_transaction();
    Ok(())
}

/// `transaction_version($number)`: what leaves is part of a transaction of this version.
fn version(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let number = Arguments::new(frame, "transaction_version").int(1, "number", 1)?;
    let producer = frame.object::<Producer>()?;
    let version = TransactionVersion::of_number(number)?;
    producer.config.transactions.set(version);
    Ok(())
}

/// `unregistered`: `[$topic, $partition]` of each partition that waits for `register`.
fn unregistered(frame: &mut Frame<'_>) -> Result<(), Croak> {
    places(frame, Accumulator::unregistered)
}

/// `register($topic, $partition)`: the coordinator has added the partition to the transaction.
fn registered(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    let partition = usize::try_from(frame.int(2)?.unwrap_or(-1));
    let partition = partition.map_err(|_| "register: partition required")?;
    let producer = frame.object::<Producer>()?;
    let mut accumulator = producer.accumulator.borrow_mut();
    accumulator.register(&topic, partition);
    Ok(())
}

/// `transaction_unsettled`: how many of the open transaction's records are neither delivered nor failed.
fn unsettled(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame.object::<Producer>()?;
    let records =
        producer.accumulator.borrow().transaction_unsettled() + producer.delivery.waiting();
    frame.ret_int(records as i64);
    Ok(())
}

/// `fail_transactional($error)`: fails the transactional records that are not in flight.
fn fail_unsent(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let problem = Problem::of_argument(frame, 1)?;
    let producer = frame.object::<Producer>()?;
    let failed = producer.accumulator.borrow_mut().fail_transactional();
    producer.give_up(failed, |_, _| problem.clone());
    Ok(())
}
