//! Handing the records of a partition to `on_message` or `on_batch`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use perl_xs::{Callee, Calls, Perl, Row, Rows, Slots, Sv};

use super::in_progress_xsubs::Records as InProgress;
use super::rest::Rest;
use crate::api::fetch::records::headers_ref;
use crate::home::Home;
use crate::strings::Form;

/// The most records in one call of `on_batch`. Their arrays are kept and filled again: more of them would not stay in the
/// processor's cache, and a batch may have any number of records.
const MAX_ROWS: usize = 1000;

/// How far the delivery of a partition has come. The record that is being delivered counts.
pub struct Progress {
    /// The offset after the last record delivered, or after all that the answer brought.
    pub position: Cell<i64>,
    /// The epoch of the leader that appended that record; -1 before the first.
    pub epoch: Cell<i32>,
    /// The same two without the record, or batch, whose callback has not returned.
    pub handled: Cell<(i64, i32)>,
    /// The offset of that record, or of that batch's first one.
    pub called: Cell<i64>,
}

impl Progress {
    /// From this offset on.
    pub fn from(offset: i64, epoch: i32) -> Progress {
        Progress {
            position: Cell::new(offset),
            epoch: Cell::new(epoch),
            handled: Cell::new((offset, epoch)),
            called: Cell::new(offset),
        }
    }

    /// All before this has been delivered, and handled.
    pub fn comes_to(&self, offset: i64, epoch: i32) {
        self.position.set(offset);
        self.epoch.set(epoch);
        self.handle();
    }

    /// The callback has died, and its records are not done with.
    pub fn undo(&self) {
        let (_, epoch) = self.handled.get();
        self.position.set(self.called.get());
        self.epoch.set(epoch);
    }

    /// The callback has returned.
    #[inline]
    pub fn handle(&self) {
        self.handled.set((self.position.get(), self.epoch.get()));
    }
}

/// The clock is looked at once in so many calls at most.
const MOST_UNTIMED: u32 = 16;

/// While a call takes less than this: others are timed one by one.
const QUICK: Duration = Duration::from_micros(20);

/// When to pause between two calls and let the event loop turn.
pub struct Pause {
    /// Somebody wants to look at what has changed.
    pub interrupted: Rc<Cell<bool>>,
    /// When a callback forks and returns, the rest is the parent's to handle.
    home: Home,
    /// None for never.
    until: Option<Instant>,
    /// When the clock was looked at, and after how many calls that is to be done again.
    looked_at: Instant,
    stride: u32,
    untimed: u32,
}

impl Pause {
    /// After so many milliseconds, or when interrupted; but not before one call was made.
    pub fn after(budget_ms: i64, interrupted: Rc<Cell<bool>>) -> Pause {
        let now = Instant::now();
        let budget = Duration::from_millis(u64::try_from(budget_ms).unwrap_or(0));
        Pause {
            interrupted,
            home: Home::new(),
            until: now.checked_add(budget),
            looked_at: now,
            stride: 0,
            untimed: 0,
        }
    }

    /// Whether it is time. Called before each call.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        if self.stride == 0 {
            self.stride = 1;
            return false;
        }
        if self.interrupted.get() || !self.home.is_here() {
            return true;
        }
        if self.untimed > 0 {
            self.untimed -= 1;
            return false;
        }
        self.is_over()
    }

    #[inline(never)]
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let are_quick = now.duration_since(self.looked_at) < QUICK * self.stride;
        self.stride = match are_quick {
            true => (2 * self.stride).min(MOST_UNTIMED),
            false => 1,
        };
        self.untimed = self.stride - 1;
        self.looked_at = now;
        self.until.is_some_and(|until| now >= until)
    }
}

/// How many more records may be begun.
#[inline]
fn room_of(in_progress: &Option<Rc<InProgress>>) -> usize {
    match in_progress {
        None => usize::MAX,
        Some(in_progress) => in_progress.0.borrow().room(),
    }
}

/// One call of `on_message` for each record.
pub struct MessageCalls {
    pub perl: Perl,
    pub pause: Pause,
    pub progress: Rc<Progress>,
    pub on_message: Sv,
    pub form: Form,
    pub topic: Sv,
    pub partition: i64,
    /// What the program is not done with, if it says so.
    pub in_progress: Option<Rc<InProgress>>,
    pub rest: Rest,
    /// The headers of the record being delivered.
    pub headers: Option<Sv>,
}

impl Calls for MessageCalls {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        self.progress.handle();
        if room_of(&self.in_progress) == 0 || self.pause.is_due() || !self.rest.advance() {
            return None;
        }
        let (batch, cursor) = self.rest.current()?;
        let record = batch.records.next_at(cursor)?;
        if let Some(in_progress) = &self.in_progress {
            in_progress.0.borrow_mut().begin(record.offset, batch.epoch);
        }
        self.progress.called.set(record.offset);
        self.progress.position.set(record.offset.saturating_add(1));
        self.progress.epoch.set(batch.epoch);
        let headers = record.headers();
        let (form, strings) = (self.form, self.form.strings);
        self.headers = (headers.len() > 0).then(|| headers_ref(self.perl, headers, form));
        slots.shared(&self.topic);
        slots.int(self.partition);
        slots.int(record.offset);
        slots.string(record.key.map(|key| strings.decode(key)));
        slots.string(record.value.map(|value| strings.decode(value)));
        match &self.headers {
            Some(headers) => slots.sv(headers),
            None => slots.undef(),
        }
        slots.int(record.timestamp);
        Some(Callee::Keep(&self.on_message))
    }
}

/// One call of `on_batch` for each batch, and for each thousand records of a larger one.
pub struct BatchCalls {
    pub perl: Perl,
    pub pause: Pause,
    pub progress: Rc<Progress>,
    pub on_batch: Sv,
    pub form: Form,
    pub topic: Sv,
    pub partition: i64,
    /// What the program is not done with, if it says so.
    pub in_progress: Option<Rc<InProgress>>,
    pub rest: Rest,
    pub rows: Rows,
}

impl Calls for BatchCalls {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        self.progress.handle();
        let most = room_of(&self.in_progress).min(MAX_ROWS);
        if most == 0 || self.pause.is_due() || !self.rest.advance() {
            return None;
        }
        let in_progress = &self.in_progress;
        let (perl, progress, form) = (self.perl, &self.progress, self.form);
        let strings = form.strings;
        let (batch, cursor) = self.rest.current()?;
        slots.shared(&self.topic);
        slots.int(self.partition);
        slots.rows(&mut self.rows, |sink| {
            while sink.len() < most {
                let Some(record) = batch.records.next_at(cursor) else {
                    break;
                };
                if sink.is_empty() {
                    progress.called.set(record.offset);
                }
                progress.position.set(record.offset.saturating_add(1));
                if let Some(in_progress) = in_progress {
                    in_progress.0.borrow_mut().begin(record.offset, batch.epoch);
                }
                let headers = record.headers();
                sink.push(Row {
                    first: record.offset,
                    a: record.key.map(|key| strings.decode(key)),
                    b: record.value.map(|value| strings.decode(value)),
                    value: (headers.len() > 0).then(|| headers_ref(perl, headers, form)),
                    last: record.timestamp,
                });
            }
        });
        progress.epoch.set(batch.epoch);
        Some(Callee::Keep(&self.on_batch))
    }
}
