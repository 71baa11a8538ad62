//! `produce` of one record as most programs call it: plain arguments, no options, an answer without
//! surprises. The same bytes go out and the same result comes back as by the general way, but what
//! stays the same from call to call is kept: waiting for one answer after the other, a program
//! finds the processor's caches cold each time, and pays for every line of code and data.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use kafka_wire::messages::produce::{ProduceResponse, SingleAnswer, SinglePartition};
use kafka_wire::records::SingleRecord;
use kafka_wire::ApiKey;
use perl_xs::{Frame, InPlace, Perl, Sv, Template};

use super::acknowledged::{shape, BASE_OFFSET, ERROR_CODE, PARTITION, THROTTLE};
use super::request::{version, DEFAULT_ACKS, TIMEOUT_MS};
use crate::api::request::server_wait;
use crate::api::result::{build, throttle_time_ms};
use crate::conn::{Answer, Built, Completion, ConnHandle, Kept};
use crate::wall::now_ms;

/// Key and value together; more than this costs more to copy than is saved.
const MAX_LEN: usize = 2048;

/// What a connection keeps from one request with one record to the next.
#[derive(Default)]
pub struct Single {
    request: RefCell<Request>,
    acknowledged: Cell<Option<Box<Acknowledged>>>,
}

#[derive(Default)]
struct Request {
    /// Of whom the last record was, and at which version.
    to: Option<(Bytes, i32, i16)>,
    frame: Option<SinglePartition>,
    body: Vec<u8>,
}

/// What the callback of the last request for a topic got.
struct Acknowledged {
    topic: Vec<u8>,
    template: Template,
}

/// Sends the record; false, and nothing was done, when the general way is to be taken. It comes
/// first: only a call that needs nothing else is recognised.
pub fn produce(frame: &Frame<'_>) -> bool {
    frame
        .in_place(|args: &[InPlace<'_>; 7]| {
            let topic = args[1].bytes()??;
            let partition = i32::try_from(args[2].int()?).ok()?;
            let record = SingleRecord {
                timestamp_ms: now_ms(),
                key: args[3].bytes()?,
                value: args[4].bytes()?,
            };
            let callback = match frame.len() {
                5 => None,
                6 => Some(&args[5]),
                7 if args[5].is_undef() => Some(&args[6]),
                _ => return None,
            };
            let is_code = callback.is_none_or(InPlace::is_code);
            let len = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            if !is_code || partition < 0 || len > MAX_LEN {
                return None;
            }
            let handle = frame.object::<ConnHandle>().ok()?;
            let strings = handle.form().strings;
            let is_stored_so = |arg: &InPlace<'_>, bytes: Option<&[u8]>| {
                bytes.is_none_or(|bytes| strings.is_stored_so(bytes, arg.is_utf8()))
            };
            if !is_stored_so(&args[3], record.key) || !is_stored_so(&args[4], record.value) {
                return None;
            }
            // A program knows topics by their names.
            let version = version(&handle, None, false).ok()?;
            let single = handle.kept().get::<Single>();
            let mut request = single.request.borrow_mut();
            let body = request.encode(topic, partition, version, &record)?;
            let deadline = handle.deadline(server_wait(TIMEOUT_MS));
            let completion = || completion(callback.and_then(InPlace::code));
            handle
                .send_small(ApiKey::Produce, version, body, deadline, completion)
                .ok()
        })
        .flatten()
        .is_some()
}

impl Request {
    fn encode(
        &mut self,
        topic: &[u8],
        partition: i32,
        version: i16,
        record: &SingleRecord<'_>,
    ) -> Option<&[u8]> {
        let is_same = self
            .to
            .as_ref()
            .is_some_and(|to| to.0 == topic && to.1 == partition && to.2 == version);
        if !is_same {
            let name = Bytes::copy_from_slice(topic);
            let frame =
                SinglePartition::new(name.clone(), partition, DEFAULT_ACKS, TIMEOUT_MS, version);
            self.frame = Some(frame.ok()?);
            self.to = Some((name, partition, version));
        }
        self.body.clear();
        self.frame.as_ref()?.put(record, &mut self.body);
        Some(&self.body)
    }
}

/// The completion of a callback that may be missing.
pub fn completion(callback: Option<Sv>) -> Completion {
    match callback {
        Some(callback) => Completion::Callback(callback, result, ApiKey::Produce),
        None => Completion::Silent(throttle_time_ms::<ProduceResponse>),
    }
}

/// What the callback of any Produce request gets.
fn result(perl: Perl, answer: &Answer, kept: &Kept) -> Built {
    match SingleAnswer::read(&answer.body, answer.version) {
        Some(said) => kept.get::<Single>().acknowledge(perl, &said),
        // It says more.
        None => build::<ProduceResponse>(perl, answer, kept),
    }
}

impl Single {
    /// The result that the answer says, reused while nobody kept it.
    fn acknowledge(&self, perl: Perl, said: &SingleAnswer<'_>) -> Built {
        let kept = self.acknowledged.take();
        let mut kept = match kept.filter(|kept| kept.topic == said.topic) {
            Some(kept) => kept,
            None => Box::new(Acknowledged {
                topic: said.topic.to_vec(),
                template: Template::new(perl, &shape(said.topic)),
            }),
        };
        let template = &mut kept.template;
        template.set(PARTITION, said.partition.into());
        template.set(ERROR_CODE, said.error_code.into());
        template.set(BASE_OFFSET, said.base_offset);
        template.set(THROTTLE, said.throttle_time_ms.into());
        let result = template.lend(perl);
        self.acknowledged.set(Some(kept));
        Built {
            result: Ok(result),
            throttle_time_ms: said.throttle_time_ms,
        }
    }
}
