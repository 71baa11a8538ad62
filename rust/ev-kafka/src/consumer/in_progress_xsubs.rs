//! The methods of `EV::Kafka::InProgress`.

use std::cell::RefCell;

use perl_xs::{Croak, Frame, Native, Perl, Sv, XsubDef};

use super::in_progress::InProgress;
use crate::api::result::object;

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::InProgress::new",
        body: new,
    },
    XsubDef {
        name: "EV::Kafka::InProgress::begin",
        body: begin,
    },
    XsubDef {
        name: "EV::Kafka::InProgress::done",
        body: done,
    },
    XsubDef {
        name: "EV::Kafka::InProgress::forget_from",
        body: forget_from,
    },
    XsubDef {
        name: "EV::Kafka::InProgress::first",
        body: first,
    },
    XsubDef {
        name: "EV::Kafka::InProgress::count",
        body: count,
    },
    XsubDef {
        name: "EV::Kafka::InProgress::is_full",
        body: is_full,
    },
];

/// The state of an `EV::Kafka::InProgress`.
pub struct Records(pub RefCell<InProgress>);

impl Native for Records {
    const NAME: &'static str = "EV::Kafka::InProgress";
}

/// `EV::Kafka::InProgress->new($limit)`
fn new(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let limit = usize::try_from(frame.int(1)?.unwrap_or(0)).unwrap_or(0);
    let records = object(frame.perl(), Records(InProgress::new(limit).into()))?;
    frame.ret(records);
    Ok(())
}

fn offset(frame: &Frame<'_>) -> Result<i64, Croak> {
    frame.int(1)?.ok_or_else(|| "expected an offset".into())
}

/// `$in_progress->begin($offset, $leader_epoch)`: what delivering does natively.
fn begin(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let (offset, epoch) = (offset(frame)?, frame.int(2)?.unwrap_or(-1) as i32);
    let records = frame.object::<Records>()?;
    records.0.borrow_mut().begin(offset, epoch);
    Ok(())
}

/// `$in_progress->done($offset)`: whether it was in progress.
fn done(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let offset = offset(frame)?;
    let was_begun = frame.object::<Records>()?.0.borrow_mut().done(offset);
    frame.ret_int(was_begun.into());
    Ok(())
}

/// `$in_progress->forget_from($offset)`: it comes again, and what is behind it.
fn forget_from(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let offset = offset(frame)?;
    let records = frame.object::<Records>()?;
    records.0.borrow_mut().forget_from(offset);
    Ok(())
}

/// `my ($offset, $leader_epoch) = $in_progress->first`: nothing when all is done.
fn first(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl: Perl = frame.perl();
    let first = frame.object::<Records>()?.0.borrow().first();
    if let Some((offset, epoch)) = first {
        frame.ret_list([Sv::int(perl, offset), Sv::int(perl, i64::from(epoch))]);
    }
    Ok(())
}

/// `$in_progress->count`
fn count(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let count = frame.object::<Records>()?.0.borrow().len();
    frame.ret_int(count as i64);
    Ok(())
}

/// `$in_progress->is_full`
fn is_full(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let is_full = frame.object::<Records>()?.0.borrow().room() == 0;
    frame.ret_int(is_full.into());
    Ok(())
}
