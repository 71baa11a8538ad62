//! `fetch` and `fetch_multi`.

use std::rc::Rc;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use perl_xs::{Arg, Croak, Flow, Frame, Perl, Sv};

use super::fetched::{self, Asked};
use super::request::check_connected;
use super::requests::server_wait;
use super::results;
use crate::arguments::{options_and_callback, Arguments, Options};
use crate::conn::{call_back, Completion, ConnHandle, Failure};
use crate::strings::Strings;

/// Bytes of an answer, and of each partition in it, unless `max_bytes` says otherwise.
const MAX_BYTES: i32 = 1 << 20;
/// How long a broker waits for `min_bytes`, in milliseconds.
const MAX_WAIT_MS: i32 = 500;
/// A broker answers as soon as it has this many bytes.
const MIN_BYTES: i32 = 1;
/// The epoch that stands for "no fetch session" (KIP-227).
const NO_SESSION: i32 = -1;

/// `fetch($topic, $partition, $offset, [\%opts,] $cb)`
pub fn fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "fetch");
    let asked = Asked {
        topic: args.string(1, "topic")?,
        partition: args.int(2, "partition", 0)?,
        offset: args.int(3, "offset", 0)?,
    };
    let (options, callback) = options_and_callback(frame, 4, "fetch")?;
    send(frame, vec![asked], &options, callback)
}

/// `fetch_multi(\%topics, [\%opts,] $cb)`
pub fn fetch_multi(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "fetch_multi");
    let mut asked = Vec::new();
    for (topic, entries) in args.pairs(1)? {
        let topic = Bytes::from(topic);
        for entry in args.elements(&entries, "value must be an arrayref")? {
            asked.push(asked_partition(&args, topic.clone(), &entry)?);
        }
    }
    let (options, callback) = options_and_callback(frame, 2, "fetch_multi")?;
    send(frame, asked, &options, callback)
}

fn asked_partition(args: &Arguments<'_, '_>, topic: Bytes, entry: &Sv) -> Result<Asked, Croak> {
    let entry = args.hash(entry, "partition entry must be a hashref")?;
    Ok(Asked {
        topic,
        partition: entry.int("partition", 0)?,
        offset: entry.int("offset", 0)?,
    })
}

fn send(
    frame: &Frame<'_>,
    asked: Vec<Asked>,
    options: &Options,
    callback: Option<Sv>,
) -> Result<(), Croak> {
    let perl = frame.perl();
    let max_bytes = options.int("max_bytes", MAX_BYTES)?;
    let max_wait_ms = options.int("max_wait_ms", MAX_WAIT_MS)?;
    let request = FetchRequest {
        max_wait_ms,
        min_bytes: options.int("min_bytes", MIN_BYTES)?,
        max_bytes,
        isolation_level: i8::from(options.int("isolation_level", 0_i64)? != 0),
        session_epoch: NO_SESSION,
        topics: by_topic(&asked, max_bytes),
        ..Default::default()
    };
    let handle = frame.object::<ConnHandle>()?;
    let strings = handle.strings();
    let weak = Rc::downgrade(&handle);
    let completion = Completion::Native(Box::new(move |perl, outcome| {
        let outcome = outcome.map_err(Failure::into_reason).map(|answer| {
            let (response, truncated) = results::decode::<FetchResponse>(&answer);
            if let Some(handle) = weak.upgrade() {
                handle.throttle(answer.api, answer.version, response.throttle_time_ms);
            }
            (response, truncated)
        });
        deliver(perl, callback, (&asked, strings), outcome)
    }));
    handle.request(perl, &request, server_wait(max_wait_ms), completion)
}

/// One topic of the request for each topic, in the order in which they were first named.
fn by_topic(asked: &[Asked], max_bytes: i32) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for Asked {
        topic,
        partition,
        offset,
    } in asked
    {
        let entry = FetchPartition {
            partition: *partition,
            fetch_offset: *offset,
            partition_max_bytes: max_bytes,
            ..Default::default()
        };
        match topics.iter_mut().find(|known| known.topic == *topic) {
            Some(known) => known.partitions.push(entry),
            None => topics.push(FetchTopic {
                topic: topic.clone(),
                partitions: vec![entry],
                ..Default::default()
            }),
        }
    }
    topics
}

fn deliver(
    perl: Perl,
    callback: Option<Sv>,
    (asked, strings): (&[Asked], Strings),
    outcome: Result<(FetchResponse, bool), String>,
) -> Flow {
    let Some(callback) = callback else {
        return Flow::Continue;
    };
    match outcome {
        Ok((response, truncated)) => {
            let hash = fetched::result(perl, &response, asked, strings);
            let result = results::finish(perl, hash, response.throttle_time_ms, truncated);
            call_back(perl, &callback, &[Arg::Sv(&result), Arg::Undef])
        }
        Err(reason) => call_back(
            perl,
            &callback,
            &[Arg::Undef, Arg::Bytes(reason.as_bytes())],
        ),
    }
}
