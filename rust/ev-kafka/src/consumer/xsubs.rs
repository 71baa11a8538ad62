//! The methods of `EV::Kafka::Fetched`.

use perl_xs::{Av, Croak, Frame, Perl, Sv, XsubDef};

use super::fetched::{Delivered, Fetched, Handing, OnDie, Pool};
use super::in_progress_xsubs::Records as InProgress;
use crate::api::result::object;

/// What [`deliver`] gives before a batch that does not verify.
const DAMAGED: i64 = -1;

pub(super) static XSUBS: &[XsubDef] = &[
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
        name: "EV::Kafka::Fetched::passed_over",
        body: passed_over,
    },
];

/// `$fetched->partitions`: a list, one for each partition in the order of the answer, of `["topic:partition", $error_code,
/// $next_offset, $last_epoch, $record_count, $high_watermark, $last_stable_offset, $diverging_epoch, $diverging_end_offset]`.
fn partitions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let fetched = frame.object::<Fetched>()?;
    let partitions = fetched.partitions.borrow();
    let rows = partitions.iter().map(|partition| {
        let numbers = [
            i64::from(partition.error_code),
            partition.next_offset,
            i64::from(partition.last_epoch),
            partition.record_count as i64,
            partition.high_watermark,
            partition.last_stable_offset,
            i64::from(partition.diverging_epoch.0),
            partition.diverging_epoch.1,
        ];
        let mut row = Av::with_capacity(perl, 1 + numbers.len());
        row.push(perl, key(perl, &partition.topic, partition.partition));
        for number in numbers {
            row.push(perl, Sv::int(perl, number));
        }
        row.into_ref(perl)
    });
    frame.ret_list(rows.collect::<Vec<_>>());
    Ok(())
}

/// `$fetched->passed_over`: the keys of the partitions that the answer lacks.
fn passed_over(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let fetched = frame.object::<Fetched>()?;
    let keys = fetched.passed_over.iter();
    frame.ret_list(
        keys.map(|(topic, partition)| key(perl, topic, *partition))
            .collect::<Vec<_>>(),
    );
    Ok(())
}

/// By which Perl finds what it knows of a partition.
fn key(perl: Perl, topic: &[u8], partition: i32) -> Sv {
    let mut key = topic.to_vec();
    key.push(b':');
    key.extend_from_slice(partition.to_string().as_bytes());
    Sv::bytes(perl, &key)
}

fn index_of(frame: &Frame<'_>, method: &str) -> Result<usize, Croak> {
    let index = frame.int(1)?.unwrap_or(0);
    usize::try_from(index).map_err(|_| format!("{method}: no such partition").into())
}

/// From the milliseconds, and from whether a die stops and what is in progress behind them.
fn handing(frame: &Frame<'_>, ms: usize, stops: usize) -> Result<Handing, Croak> {
    let is_stopped = frame.int(stops)?.unwrap_or(0) != 0;
    let in_progress = frame.arg(stops + 1).is_some_and(Sv::is_ref);
    Ok(Handing {
        budget_ms: frame.int(ms)?.unwrap_or(i64::MAX),
        on_die: if is_stopped { OnDie::Stop } else { OnDie::Warn },
        in_progress: match in_progress {
            true => Some(
                frame
                    .object_at::<InProgress>(stops + 1)
                    .map_err(|_| "expected what is in progress")?,
            ),
            false => None,
        },
    })
}

fn answer(frame: &mut Frame<'_>, delivered: Delivered) -> Result<(), Croak> {
    match delivered {
        Delivered::Paused { is_done } => frame.ret_int(i64::from(is_done)),
        Delivered::Damaged => frame.ret_int(DAMAGED),
        Delivered::Died(error) => {
            frame.ret_int(0);
            frame.ret(error);
        }
        Delivered::Exit => return Err(Croak::Exit),
    }
    Ok(())
}

/// `my ($outcome, @died) = $fetched->deliver($index, $on_message, $budget_ms, $stops, $in_progress)`: 1 when nothing is left to
/// deliver of the partition, 0 when something is, -1 when that does not verify. With a true `$stops` also what `$on_message` died of; its record counts as not delivered then.
/// With an EV::Kafka::InProgress each record is put in there, as long as there is room.
fn deliver(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let index = index_of(frame, "deliver")?;
    let on_message = frame.code(2)?.ok_or("deliver: expected a callback")?;
    let handing = handing(frame, 3, 4)?;
    let fetched = frame.object::<Fetched>()?;
    let delivered = fetched.deliver(frame.perl(), index, on_message, handing);
    answer(frame, delivered)
}

/// `$fetched->deliver_batches($index, $on_batch, $budget_ms, $pool, $stops, $in_progress)`: the same for `$on_batch`.
fn deliver_batches(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let index = index_of(frame, "deliver_batches")?;
    let on_batch = frame
        .code(2)?
        .ok_or("deliver_batches: expected a callback")?;
    let handing = handing(frame, 3, 5)?;
    let pool = frame
        .object_at::<Pool>(4)
        .map_err(|_| "deliver_batches: expected a pool")?;
    let fetched = frame.object::<Fetched>()?;
    let delivered = fetched.deliver_batches(frame.perl(), index, on_batch, &pool, handing);
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
