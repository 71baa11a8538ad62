//! Delivery callbacks: called from here, one eval for a whole batch, the result reused while nobody kept it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use perl_xs::{CallLoop, Callee, Calls, Flow, Node, Perl, Slots, Sv, Template};

use super::accumulator::Place;
use crate::home::Home;

/// What the warning about a callback that died starts with.
const WHAT: &str = "produce callback error";

/// The leaves of a result's template.
pub(crate) const PARTITION: usize = 0;
pub(crate) const ERROR_CODE: usize = 1;
pub(crate) const BASE_OFFSET: usize = 2;
pub(crate) const THROTTLE: usize = 3;

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The broker has it; offset of its first record, -1 when the broker did not say.
    Acknowledged { base_offset: i64, throttle_ms: i32 },
    /// It was sent under acks 0: nobody will say what became of it.
    Unacknowledged,
    /// It failed before any broker gave it an error code.
    Failed { reason: String },
    /// The broker refused it.
    Refused { error_code: i16, reason: String },
}

impl End {
    /// Whether a broker has the batch as far as anybody can know.
    pub fn is_success(&self) -> bool {
        matches!(self, End::Acknowledged { .. } | End::Unacknowledged)
    }
}

/// A batch that is done with.
pub struct Settled {
    /// Topic and partition.
    pub place: Place,
    /// The topic's name.
    pub topic: Vec<u8>,
    /// See [`super::accumulator::Sealed::callbacks`].
    pub callbacks: Vec<Option<Sv>>,
    /// How it ended.
    pub end: End,
}

/// Calls delivery callbacks; keeps what makes the next call cheap.
#[derive(Default)]
pub struct Delivery {
    call_loop: Cell<Option<CallLoop>>,
    /// The result's shape for each partition that ever had a callback called.
    results: RefCell<HashMap<Place, Template>>,
    /// How many calls of [`Delivery::deliver`] are under way.
    depth: Cell<usize>,
}

impl Delivery {
    /// Calls every callback of the batches, in order. Anything may happen meanwhile: the caller must hold no borrow.
    pub fn deliver(&self, perl: Perl, settled: Vec<Settled>) -> Flow {
        self.depth.set(self.depth.get() + 1);
        let flow = self.deliver_all(perl, settled);
        self.depth.set(self.depth.get() - 1);
        flow
    }

    /// Whether callbacks are being called.
    pub fn is_active(&self) -> bool {
        self.depth.get() > 0
    }

    fn deliver_all(&self, perl: Perl, settled: Vec<Settled>) -> Flow {
        let home = Home::new();
        for batch in settled {
            if batch.callbacks.is_empty() {
                continue;
            }
            if self.deliver_batch(perl, batch) == Flow::Exit {
                return Flow::Exit;
            }
            if !home.is_here() {
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

    fn deliver_batch(&self, perl: Perl, batch: Settled) -> Flow {
        let place = batch.place.clone();
        let with_result = matches!(batch.end, End::Acknowledged { .. } | End::Refused { .. });
        let result = match batch.end {
            End::Unacknowledged => Some(Template::new(perl, &Node::Hash(Vec::new()))),
            End::Failed { .. } => None,
            _ => Some(self.result_of(perl, &batch)),
        };
        let mut calls = BatchCalls::new(batch, result);
        let mut call_loop = self.call_loop.take().unwrap_or_default();
        let flow = call_loop.run(perl, &mut calls, WHAT);
        self.call_loop.set(Some(call_loop));
        if with_result {
            if let Some(result) = calls.result {
                self.results.borrow_mut().insert(place, result);
            }
        }
        flow
    }
}

/// What a callback gets for records of one partition.
pub(crate) fn shape(topic: &[u8]) -> Node {
    let partition = Node::Hash(vec![
        ("partition", Node::Int(PARTITION)),
        ("error_code", Node::Int(ERROR_CODE)),
        ("base_offset", Node::Int(BASE_OFFSET)),
    ]);
    let topic = Node::Hash(vec![
        ("topic", Node::Str(topic.to_vec())),
        ("partitions", Node::Array(vec![partition])),
    ]);
    Node::Hash(vec![
        ("topics", Node::Array(vec![topic])),
        ("throttle_time_ms", Node::Int(THROTTLE)),
    ])
}

struct BatchCalls {
    /// When a callback forks and returns, the rest is the parent's to call.
    home: Home,
    callbacks: std::vec::IntoIter<Option<Sv>>,
    /// Offset of the record whose callback comes next; -1 when offsets are not known.
    offset: i64,
    result: Option<Template>,
    error: Option<String>,
}

impl BatchCalls {
    fn new(batch: Settled, mut result: Option<Template>) -> Self {
        let has_leaves = batch.end != End::Unacknowledged;
        let (offset, error_code, throttle_ms, error) = match batch.end {
            End::Acknowledged {
                base_offset,
                throttle_ms,
            } => (base_offset, 0, throttle_ms, None),
            End::Unacknowledged => (-1, 0, 0, None),
            End::Failed { reason } => (-1, -1, 0, Some(reason)),
            End::Refused { error_code, reason } => (-1, error_code, 0, Some(reason)),
        };
        if let (Some(result), true) = (&mut result, has_leaves) {
            result.set(PARTITION, batch.place.partition as i64);
            result.set(ERROR_CODE, i64::from(error_code));
            result.set(BASE_OFFSET, -1);
            result.set(THROTTLE, i64::from(throttle_ms));
        }
        BatchCalls {
            home: Home::new(),
            callbacks: batch.callbacks.into_iter(),
            offset,
            result,
            error,
        }
    }
}

impl Calls for BatchCalls {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        if !self.home.is_here() {
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
        slots.bytes(self.error.as_deref().map(str::as_bytes));
        Some(Callee::Release(callback))
    }
}
