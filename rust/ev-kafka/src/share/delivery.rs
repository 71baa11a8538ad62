//! Handing records to `on_record`.

use std::rc::Rc;

use kafka_wire::records::RecordCursor;
use perl_xs::{Av, CallLoop, Callee, Calls, Outcome, Perl, Slots, Sv};

use super::ledger::{ACCEPT, RELEASE};
use super::object::ShareSession;
use super::session::Part;
use crate::api::fetch::records::headers_ref;
use crate::consumer::delivery::Pause;
use crate::ev::coarse_ms;
use crate::home::Home;
use crate::strings::Form;

/// The class of records.
const RECORD: &[u8] = b"EV::Kafka::ShareGroup::Record";

/// To whom, and for how long.
pub struct Handing {
    pub on_record: Sv,
    /// Each record has it, to be settled by.
    pub keeper: Sv,
    pub budget_ms: i64,
    /// The program says what becomes of records.
    pub is_explicit: bool,
    pub form: Form,
}

/// How delivering came back.
pub enum Delivered {
    Paused { is_done: bool },
    Exit,
}

/// One call of `on_record` for each record of a part.
struct RecordCalls<'p> {
    perl: Perl,
    session: Rc<ShareSession>,
    handing: &'p Handing,
    class: &'p Sv,
    pause: Pause,
    topic: Sv,
    partition: Sv,
    count: (i16, Sv),
    part: Part,
    /// What is being called with.
    record: Option<Sv>,
    at: Option<(i64, i16)>,
}

impl RecordCalls<'_> {
    /// The handler has returned, or died.
    fn is_through(&mut self, kind: u8) {
        let Some((offset, count)) = self.at.take() else {
            return;
        };
        let mut session = self.session.state.borrow_mut();
        let ledger = session.ledger(&self.part.place);
        let Some(ledger) = ledger.filter(|_| !self.handing.is_explicit) else {
            return;
        };
        if ledger.is_in_hand(offset) {
            ledger.settle(offset, count, kind, coarse_ms());
        }
    }

    fn record(&mut self) -> Option<Sv> {
        let perl = self.perl;
        loop {
            let Some(records) = &self.part.current else {
                self.part.current = Some(self.part.batches.next()?);
                self.part.cursor = RecordCursor::default();
                continue;
            };
            let Some(record) = records.next_at(&mut self.part.cursor) else {
                self.part.current = None;
                continue;
            };
            let mut session = self.session.state.borrow_mut();
            let ledger = session.ledger(&self.part.place);
            let handed = ledger.and_then(|ledger| ledger.hand_over(record.offset, coarse_ms()));
            drop(session);
            let Some(count) = handed else {
                continue;
            };
            if self.count.0 != count {
                self.count = (count, Sv::int(perl, count.into()));
            }
            self.at = Some((record.offset, count));
            let (form, headers) = (self.handing.form, record.headers());
            let string = |bytes: Option<_>| {
                Sv::string_or_undef(perl, bytes.map(|bytes| form.strings.decode(bytes)))
            };
            let mut fields = Av::with_capacity(perl, 10);
            fields.push(perl, self.topic.clone());
            fields.push(perl, self.partition.clone());
            fields.push(perl, Sv::int(perl, record.offset));
            fields.push(perl, string(record.key));
            fields.push(perl, string(record.value));
            fields.push(
                perl,
                match headers.len() {
                    0 => Sv::undef(perl),
                    _ => headers_ref(perl, headers, form),
                },
            );
            fields.push(perl, Sv::int(perl, record.timestamp));
            fields.push(perl, self.count.1.clone());
            fields.push(perl, self.handing.keeper.clone());
            let record = fields.into_ref(perl);
            // A new array can be blessed.
            let _ = record.bless(perl, self.class);
            return Some(record);
        }
    }
}

impl Calls for RecordCalls<'_> {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        self.is_through(ACCEPT);
        if self.pause.is_due() {
            return None;
        }
        self.record = Some(self.record()?);
        slots.sv(self.record.as_ref()?);
        Some(Callee::Keep(&self.handing.on_record))
    }
}

/// Hands over what is queued, until time is over or the session is interrupted.
pub fn deliver(perl: Perl, session: &Rc<ShareSession>, handing: &Handing) -> Delivered {
    session.interrupted.set(false);
    let class = Sv::shared(perl, RECORD);
    let until_ms = coarse_ms().saturating_add(handing.budget_ms);
    let mut call_loop = session.call_loop.take().unwrap_or_default();
    // What a handler's forked child returns to is the parent's to hand over.
    let home = Home::new();
    let mut left_ms = handing.budget_ms;
    let mut delivered = Delivered::Paused { is_done: true };
    loop {
        let Some(part) = session.state.borrow_mut().queue.pop_front() else {
            break;
        };
        let mut calls = RecordCalls {
            perl,
            session: session.clone(),
            handing,
            class: &class,
            pause: Pause::after(left_ms, session.interrupted.clone()),
            topic: Sv::shared(perl, &part.place.0),
            partition: Sv::int(perl, part.place.1.into()),
            count: (0, Sv::int(perl, 0)),
            part,
            record: None,
            at: None,
        };
        if run(perl, &mut call_loop, &mut calls) {
            delivered = Delivered::Exit;
            break;
        }
        let part = calls.part;
        let is_left = part.current.is_some() || part.batches.len() > 0;
        let mut state = session.state.borrow_mut();
        // What has been given back meanwhile is passed over when its turn comes.
        if is_left {
            state.queue.push_front(part);
        }
        left_ms = until_ms.saturating_sub(coarse_ms());
        if is_left || left_ms <= 0 || session.interrupted.get() || !home.is_here() {
            delivered = Delivered::Paused {
                is_done: state.queue.is_empty(),
            };
            break;
        }
    }
    session.call_loop.set(Some(call_loop));
    delivered
}

/// A handler that dies gives its record back, and the next one comes. True when the process ends.
fn run(perl: Perl, call_loop: &mut CallLoop, calls: &mut RecordCalls<'_>) -> bool {
    loop {
        let died = match call_loop.run_until_died(perl, calls) {
            Outcome::Returned => return false,
            Outcome::Exit => return true,
            Outcome::Died(error) => error,
        };
        calls.is_through(RELEASE);
        let text = died.to_bytes(perl).ok().flatten().unwrap_or_default();
        let text = format!("on_record error: {}", String::from_utf8_lossy(&text));
        if matches!(perl.warn(text), perl_xs::Flow::Exit) {
            return true;
        }
    }
}
