//! Delivery callbacks: called from here, one eval for a whole batch, the result reused while nobody kept it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::vec;

use bytes::Bytes;
use kafka_producer::Place;
use perl_xs::{drop_together, CallLoop, Callee, Calls, Flow, Node, Perl, Slots, Sv, Template};

use super::callback::Callback;
use crate::api::produce::acknowledged::{shape, BASE_OFFSET, ERROR_CODE, PARTITION, THROTTLE};
use crate::ev::coarse_ms;
use crate::home::Home;
use crate::problem::Problem;

/// What the warning about a callback that died starts with.
const WHAT: &str = "produce callback error";

/// How long callbacks are called in one go: heartbeats, answers and whatever else the program does must not wait for all
/// of them. Shorter slices let a program make more closures before older ones are freed, which costs.
const SLICE_MS: i64 = 20;

/// Callbacks between two looks at the clock.
const CALLS_PER_LOOK: u32 = 8;

/// Closures that have been called are freed together, at the latest when there are so many of them.
const FREED_TOGETHER: usize = 4096;

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The broker has it; offset of its first record, -1 when the broker did not say.
    Acknowledged { base_offset: i64, throttle_ms: i32 },
    /// It was sent under acks 0: nobody will say what became of it.
    Unacknowledged,
    /// It failed before any broker gave it an error code.
    Failed(Problem),
    /// The broker refused it.
    Refused { error_code: i16, problem: Problem },
}

/// A batch that is done with, and those of its callbacks that have yet to be called.
pub struct Settled {
    /// Topic and partition.
    pub place: Place,
    /// The topic's name.
    pub topic: Bytes,
    /// See [`kafka_producer::Sealed::callbacks`].
    pub callbacks: vec::IntoIter<Option<Callback>>,
    /// How it ended.
    pub end: End,
    /// See [`kafka_producer::Accumulator::end_generation`].
    pub generation: u64,
}

/// Whether callbacks may wait for the event loop to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When they have taken long enough.
    InTurns,
    /// No: nothing will come after.
    AtOnce,
}

/// Whether what is queued goes on in a turn of the loop to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    No,
    /// Nobody has been told yet.
    Begun,
    Told,
}

/// Calls delivery callbacks, oldest first; keeps what makes the next call cheap.
///
/// Perl frees closures ever more slowly the more of them there are: each is searched for among all. So those that were called
/// in one go are freed together, and a million of them do not hold up the loop.
#[derive(Default)]
pub struct Delivery {
    call_loop: Cell<Option<CallLoop>>,
    /// The result's shape for each partition that ever had a callback called.
    results: RefCell<HashMap<Place, Template>>,
    /// How many calls of [`Delivery::deliver`] are under way.
    depth: Cell<usize>,
    queue: RefCell<VecDeque<Settled>>,
    /// Records in `queue`.
    waiting: Cell<usize>,
    rest: Cell<Rest>,
    /// Callbacks that have been called and that nobody else holds.
    called: RefCell<Vec<Sv>>,
    /// Errors are objects for the program.
    tells_objects: bool,
}

impl Delivery {
    /// One that tells errors as objects, or as texts.
    pub fn new(tells_objects: bool) -> Delivery {
        Delivery {
            tells_objects,
            ..Delivery::default()
        }
    }

    /// Lets the callbacks of the batches wait, in order, behind those that wait already.
    pub fn queue(&self, settled: impl IntoIterator<Item = Settled>) {
        settled.into_iter().for_each(|batch| self.push(batch));
    }

    /// Calls every callback that waits. Anything may happen meanwhile: the caller must hold no borrow.
    pub fn deliver(&self, perl: Perl, pace: Pace) -> Flow {
        if pace == Pace::InTurns && self.rest.get() != Rest::No {
            return Flow::Continue;
        }
        let until = match pace {
            Pace::InTurns => Some(coarse_ms() + SLICE_MS),
            Pace::AtOnce => None,
        };
        self.depth.set(self.depth.get() + 1);
        let flow = self.deliver_queued(perl, until);
        self.free_called(perl, 0);
        self.depth.set(self.depth.get() - 1);
        flow
    }

    /// Whether callbacks are being called.
    pub fn is_active(&self) -> bool {
        self.depth.get() > 0
    }

    /// Records of batches that wait for a turn of the loop.
    pub fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Whether none of these is of the generation, or older.
    pub fn is_done(&self, generation: u64) -> bool {
        let queue = self.queue.borrow();
        queue.iter().all(|batch| batch.generation > generation)
    }

    /// True once each time that callbacks have begun to wait: somebody has to [`resume`](Self::resume) them.
    pub fn take_rest(&self) -> bool {
        let has_begun = self.rest.get() == Rest::Begun;
        if has_begun {
            self.rest.set(Rest::Told);
        }
        has_begun
    }

    /// The loop has turned.
    pub fn resume(&self) {
        self.rest.set(Rest::No);
    }

    /// Frees callbacks if there are more than so many.
    fn free_called(&self, perl: Perl, than: usize) {
        if self.called.borrow().len() > than {
            let called = self.called.take();
            drop_together(perl, called);
        }
    }

    fn push(&self, batch: Settled) {
        if batch.callbacks.len() > 0 {
            self.waiting.set(self.waiting.get() + batch.callbacks.len());
            self.queue.borrow_mut().push_back(batch);
        }
    }

    fn pop(&self) -> Option<Settled> {
        let batch = self.queue.borrow_mut().pop_front()?;
        self.waiting.set(self.waiting.get() - batch.callbacks.len());
        Some(batch)
    }

    fn put_back(&self, batch: Settled) {
        self.waiting.set(self.waiting.get() + batch.callbacks.len());
        self.queue.borrow_mut().push_front(batch);
    }

    fn deliver_queued(&self, perl: Perl, until: Option<i64>) -> Flow {
        let home = Home::new();
        while let Some(batch) = self.pop() {
            let mut left = None;
            if self.deliver_batch(perl, batch, until, &mut left) == Flow::Exit {
                return Flow::Exit;
            }
            self.free_called(perl, FREED_TOGETHER);
            if !home.is_here() {
                break;
            }
            left.into_iter().for_each(|left| self.put_back(left));
            // A callback may have let the loop turn, and what came then may have begun to rest.
            let has_time = until.is_none_or(|until| coarse_ms() < until);
            if until.is_some() && self.rest.get() != Rest::No {
                break;
            }
            if !has_time && !self.queue.borrow().is_empty() {
                self.rest.set(Rest::Begun);
                break;
            }
        }
        Flow::Continue
    }

    /// The result's shape for the batch's partition, for as long as its callbacks are called.
    fn result_of(&self, perl: Perl, batch: &Settled) -> Template {
        let kept = self.results.borrow_mut().remove(&batch.place);
        kept.unwrap_or_else(|| Template::new(perl, &shape(&batch.topic)))
    }

    fn error_of(&self, perl: Perl, batch: &Settled) -> Option<Told> {
        let problem = match &batch.end {
            End::Failed(problem) | End::Refused { problem, .. } => problem,
            End::Acknowledged { .. } | End::Unacknowledged => return None,
        };
        let object = self.tells_objects.then(|| problem.object(perl));
        Some(
            match object.and_then(|object| Some((object.referent()?, object))) {
                Some((fields, reference)) => Told::Object(perl, fields, reference),
                None => Told::Text(problem.text.clone()),
            },
        )
    }

    /// Calls the batch's callbacks; what there was no time for is `left`.
    fn deliver_batch(
        &self,
        perl: Perl,
        mut batch: Settled,
        until: Option<i64>,
        left: &mut Option<Settled>,
    ) -> Flow {
        let with_result = matches!(batch.end, End::Acknowledged { .. } | End::Refused { .. });
        let result = match batch.end {
            End::Unacknowledged => Some(Template::new(perl, &Node::Hash(Vec::new()))),
            End::Failed(_) => None,
            _ => Some(self.result_of(perl, &batch)),
        };
        let error = self.error_of(perl, &batch);
        let mut calls = BatchCalls::new(&mut batch, result, error, until);
        let mut call_loop = self.call_loop.take().unwrap_or_default();
        let flow = call_loop.run(perl, &mut calls, WHAT);
        self.call_loop.set(Some(call_loop));
        let BatchCalls {
            callbacks,
            offset,
            result,
            last,
            ..
        } = calls;
        self.called.borrow_mut().extend(last);
        if with_result {
            if let Some(result) = result {
                let place = batch.place.clone();
                let other = self.results.borrow_mut().insert(place, result);
                // A delivery within this one has left it. Freeing what its callbacks put into it may run Perl code: no
                // borrow is open any more.
                drop(other);
            }
        }
        if callbacks.len() > 0 {
            if let End::Acknowledged { base_offset, .. } = &mut batch.end {
                *base_offset = offset;
            }
            *left = Some(Settled { callbacks, ..batch });
        }
        flow
    }
}

/// An error as a program gets it.
enum Told {
    Text(String),
    /// The object's hash, and the reference to it that was handed over last.
    Object(Perl, Sv, Sv),
}

impl Told {
    fn hand_over<'a>(&'a mut self, slots: &mut Slots<'a>) {
        match self {
            Told::Text(text) => slots.bytes(Some(text.as_bytes())),
            Told::Object(perl, fields, reference) => {
                // What a callback assigns to its argument is nothing for the next one.
                *reference = Sv::new_ref(*perl, fields);
                slots.sv(reference);
            }
        }
    }
}

struct BatchCalls {
    /// When a callback forks and returns, the rest is the parent's to call.
    home: Home,
    callbacks: vec::IntoIter<Option<Callback>>,
    /// Offset of the record whose callback comes next; -1 when offsets are not known.
    offset: i64,
    result: Option<Template>,
    error: Option<Told>,
    /// No callback is called after this, by the coarse clock.
    until: Option<i64>,
    called: u32,
    /// Those of them that nobody else holds.
    last: Vec<Sv>,
}

impl BatchCalls {
    fn new(
        batch: &mut Settled,
        mut result: Option<Template>,
        error: Option<Told>,
        until: Option<i64>,
    ) -> Self {
        let has_leaves = batch.end != End::Unacknowledged;
        let (offset, error_code, throttle_ms) = match &batch.end {
            End::Acknowledged {
                base_offset,
                throttle_ms,
            } => (*base_offset, 0, *throttle_ms),
            End::Unacknowledged => (-1, 0, 0),
            End::Failed(_) => (-1, -1, 0),
            End::Refused { error_code, .. } => (-1, *error_code, 0),
        };
        if let (Some(result), true) = (&mut result, has_leaves) {
            result.set(PARTITION, batch.place.partition as i64);
            result.set(ERROR_CODE, i64::from(error_code));
            result.set(BASE_OFFSET, -1);
            result.set(THROTTLE, i64::from(throttle_ms));
        }
        BatchCalls {
            home: Home::new(),
            callbacks: std::mem::take(&mut batch.callbacks),
            offset,
            result,
            error,
            until,
            called: 0,
            last: Vec::new(),
        }
    }

    /// Looks at the clock once in a while.
    fn is_late(&mut self) -> bool {
        self.called += 1;
        (self.called - 1) % CALLS_PER_LOOK == CALLS_PER_LOOK - 1
            && self.until.is_some_and(|until| coarse_ms() >= until)
    }
}

impl Calls for BatchCalls {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        if !self.home.is_here() || self.is_late() {
            return None;
        }
        let callback = loop {
            let callback = self.callbacks.next()?;
            let offset = self.offset;
            if offset >= 0 {
                self.offset += 1;
            }
            if let Some(callback) = callback {
                if let (Some(result), true) = (&mut self.result, offset >= 0) {
                    result.set(BASE_OFFSET, offset);
                }
                break callback;
            }
        };
        match &mut self.result {
            Some(result) => slots.template(result),
            None => slots.undef(),
        }
        match &mut self.error {
            None => slots.undef(),
            Some(error) => error.hand_over(slots),
        }
        Some(callback.into_call(slots, &mut self.last))
    }
}
