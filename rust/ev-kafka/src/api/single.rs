//! `produce` of one record as most programs call it: plain arguments, no options, an answer without
//! surprises. The same bytes go out and the same result comes back as by the general way, but what
//! stays the same from call to call is kept: waiting for one answer after the other, a program
//! finds the processor's caches cold each time, and pays for every line of code and data.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use kafka_wire::messages::produce::{SingleAnswer, SinglePartition};
use kafka_wire::records::SingleRecord;
use kafka_wire::ApiKey;
use perl_xs::{Arg, Flow, Frame, InPlace, Perl, Sv, Template};

use super::records::now_ms;
use super::request::completion;
use super::requests::server_wait;
use crate::conn::{call_back, Answer, ConnHandle};
use crate::producer::delivery::{shape, BASE_OFFSET, ERROR_CODE, PARTITION, THROTTLE};

/// Key and value together; more than this costs more to copy than is saved.
const MAX_LEN: usize = 2048;
/// Acks when a program does not say.
const DEFAULT_ACKS: i16 = 1;

/// What a connection keeps from one request with one record to the next.
#[derive(Default)]
pub struct Single {
    request: RefCell<Request>,
    result: Cell<Option<Box<Result>>>,
}

#[derive(Default)]
struct Request {
    /// Of whom the last record was, and at which version.
    to: Option<(Bytes, i32, i16)>,
    frame: Option<SinglePartition>,
    body: Vec<u8>,
}

struct Result {
    topic: Vec<u8>,
    template: Template,
}

/// Sends the record; false, and nothing was done, when the general way is to be taken. It comes
/// first: only a call that needs nothing else is recognised.
pub(super) fn produce(frame: &Frame<'_>, timeout_ms: i32) -> bool {
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
            let strings = handle.strings();
            let is_stored_so = |arg: &InPlace<'_>, bytes: Option<&[u8]>| {
                bytes.is_none_or(|bytes| strings.is_stored_so(bytes, arg.is_utf8()))
            };
            if !is_stored_so(&args[3], record.key) || !is_stored_so(&args[4], record.value) {
                return None;
            }
            let version = handle.version(ApiKey::Produce).ok()?;
            let mut request = handle.single().request.borrow_mut();
            let body = request.encode(topic, partition, version, timeout_ms, &record)?;
            let deadline = handle.deadline(server_wait(timeout_ms));
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
        timeout_ms: i32,
        record: &SingleRecord<'_>,
    ) -> Option<&[u8]> {
        let is_same = self
            .to
            .as_ref()
            .is_some_and(|to| to.0 == topic && to.1 == partition && to.2 == version);
        if !is_same {
            let name = Bytes::copy_from_slice(topic);
            let frame =
                SinglePartition::new(name.clone(), partition, DEFAULT_ACKS, timeout_ms, version);
            self.frame = Some(frame.ok()?);
            self.to = Some((name, partition, version));
        }
        self.body.clear();
        self.frame.as_ref()?.put(record, &mut self.body);
        Some(&self.body)
    }
}

impl ConnHandle {
    /// Calls the callback of a Produce request with the result that its answer says, reused while
    /// nobody kept it. `None`, and nothing was done, when the answer says more.
    pub(crate) fn acknowledge(&self, perl: Perl, callback: &Sv, answer: &Answer) -> Option<Flow> {
        let said = SingleAnswer::read(&answer.body, answer.version)?;
        self.throttle(ApiKey::Produce, answer.version, said.throttle_time_ms);
        // While the callback runs the result is not to be found here: it may wait for another one.
        let kept = self.single().result.take();
        let mut kept = match kept.filter(|kept| kept.topic == said.topic) {
            Some(kept) => kept,
            None => Box::new(Result {
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
        let flow = call_back(perl, callback, &[Arg::Sv(&result), Arg::Undef]);
        drop(result);
        self.single().result.set(Some(kept));
        Some(flow)
    }
}
