//! What the client asks about many partitions at once: a row for each, and a row of the answer in its place.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::{Message, Request};
use perl_xs::{Av, Croak, Frame, Hv, Perl, Sv};

use super::request::{by_topic, completion_with, send_on};
use super::result::{decode, finish};
use crate::arguments::Arguments;
use crate::conn::{Built, ConnHandle};

/// `[[$topic, $partition, $number, $number], …]`
pub struct Rows(Vec<(Bytes, i32, [i64; 2])>);

/// The numbers that an answer has for partitions.
pub struct Found<const N: usize>(HashMap<Bytes, HashMap<i32, [i64; N]>>);

/// An answer that has some numbers for each partition.
pub trait Answers<const N: usize>: Message {
    fn found(&self) -> Found<N>;

    /// For how long the broker wants nothing sent to it (KIP-219), in milliseconds.
    fn throttle_time_ms(&self) -> i32;
}

impl Rows {
    /// The rows at an index. Numbers that are undef or left out are -1.
    pub fn read(args: &Arguments<'_, '_>, index: usize) -> Result<Rows, Croak> {
        let rows = args.array(index)?;
        let rows = rows.iter().map(|row| read_row(args, row));
        rows.collect::<Result<_, _>>().map(Rows)
    }

    /// The partitions by topic, each made of its number and the row's other numbers.
    pub fn topics<P, T>(
        &self,
        partition: impl Fn(i32, [i64; 2]) -> P,
        topic: impl Fn(Bytes, Vec<P>) -> T,
    ) -> Vec<T> {
        let rows = self.0.iter();
        let parts = rows.map(|(topic, index, about)| (topic.clone(), partition(*index, *about)));
        let topics = by_topic(parts).into_iter();
        topics.map(|(name, parts)| topic(name, parts)).collect()
    }

    /// `[[$number, …], …]`, undef where the answer lacks the partition.
    fn answers<const N: usize>(&self, perl: Perl, found: &Found<N>) -> Sv {
        let mut rows = Av::with_capacity(perl, self.0.len());
        for (topic, index, _) in &self.0 {
            let numbers = found.0.get(topic).and_then(|found| found.get(index));
            let row = numbers.map(|numbers| numbers_of(perl, numbers));
            rows.push(perl, row.unwrap_or_else(|| Sv::undef(perl)));
        }
        rows.into_ref(perl)
    }
}

impl<const N: usize> Found<N> {
    pub fn new<P>(topics: impl IntoIterator<Item = (Bytes, P)>) -> Found<N>
    where
        P: IntoIterator<Item = (i32, [i64; N])>,
    {
        let mut found = HashMap::<_, HashMap<_, _>>::new();
        for (topic, partitions) in topics {
            found.entry(topic).or_default().extend(partitions);
        }
        Found(found)
    }
}

/// Sends what was asked by rows; the callback gets `{ rows }`.
///
/// # Errors
/// As [`send_on`].
pub fn send_rows<R: Request, const N: usize>(
    frame: &Frame<'_>,
    rows: Rows,
    request: &R,
    callback: Option<Sv>,
) -> Result<(), Croak>
where
    R::Response: Answers<N>,
{
    let handle = frame.object::<ConnHandle>()?;
    let callback = callback.ok_or("expected a callback")?;
    let completion = completion_with(&handle, R::API, callback, move |perl, answer| {
        let (response, read) = decode::<R::Response>(answer);
        let throttle_time_ms = response.throttle_time_ms();
        let mut hash = Hv::new(perl);
        hash.store(perl, "rows", rows.answers(perl, &response.found()));
        Built {
            result: Ok(finish(perl, hash, throttle_time_ms, read.truncated)),
            throttle_time_ms,
        }
    });
    send_on(frame.perl(), &handle, request, Duration::ZERO, completion)
}

fn read_row(args: &Arguments<'_, '_>, row: &Sv) -> Result<(Bytes, i32, [i64; 2]), Croak> {
    let row = args.elements(row, "bad element")?;
    let values = args.values();
    let topic = values.string(row.first(), "topic")?.unwrap_or_default();
    let partition = values.integer(row.get(1), "partition")?.unwrap_or(0);
    let number = |index| Ok::<_, Croak>(values.integer(row.get(index), "number")?.unwrap_or(-1));
    Ok((topic, partition, [number(2)?, number(3)?]))
}

fn numbers_of(perl: Perl, numbers: &[i64]) -> Sv {
    let mut row = Av::with_capacity(perl, numbers.len());
    for &number in numbers {
        row.push(perl, Sv::int(perl, number));
    }
    row.into_ref(perl)
}
