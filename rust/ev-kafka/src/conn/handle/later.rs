//! Calls that would go too deep. A method that calls back before it returns may be called again by
//! that callback, and so on until the stack has no room left: from some depth on the loop makes the
//! call.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use perl_xs::{Flow, Perl};

use crate::ev::Timer;

/// Calls within calls of one connection; each takes a few kilobytes of the stack.
const MAX_DEPTH: u32 = 50;

/// Something that calls the program.
type Call = Box<dyn FnOnce(Perl) -> Flow>;

/// How deep the calls under way are, and what the loop is to call.
pub struct Later {
    depth: Cell<u32>,
    calls: RefCell<VecDeque<Call>>,
    timer: Timer,
}

impl Later {
    pub fn new(timer: Timer) -> Later {
        Later {
            depth: Cell::new(0),
            calls: RefCell::default(),
            timer,
        }
    }

    /// Has the loop look at what waits.
    pub fn wake(&self) {
        self.timer.start(Duration::ZERO);
    }

    /// Forgets them all; what they hold is given back, not to be freed under a borrow.
    pub fn forget(&self) -> VecDeque<Call> {
        self.timer.stop();
        self.calls.take()
    }

    /// Runs what may call the program back before a method returns; none when that is too deep.
    pub fn nested(&self, run: impl FnOnce() -> Flow) -> Option<Flow> {
        let depth = self.depth.get();
        if depth >= MAX_DEPTH {
            return None;
        }
        self.depth.set(depth + 1);
        let flow = run();
        self.depth.set(depth);
        Some(flow)
    }

    /// Calls before the method returns, or from the loop.
    pub fn call_at_once(&self, perl: Perl, call: impl FnOnce(Perl) -> Flow + 'static) -> Flow {
        let mut call = Some(call);
        let is_first = self.calls.borrow().is_empty();
        let called = match is_first {
            true => self.nested(|| call.take().map_or(Flow::Continue, |call| call(perl))),
            // Those that wait came before.
            false => None,
        };
        if let Some(flow) = called {
            return flow;
        }
        if let Some(call) = call {
            self.calls.borrow_mut().push_back(Box::new(call));
            self.wake();
        }
        Flow::Continue
    }

    /// Makes the calls that waited when this began.
    pub fn make_calls(&self, perl: Perl) -> Flow {
        let waiting = self.calls.borrow().len();
        for _ in 0..waiting {
            let call = self.calls.borrow_mut().pop_front();
            let Some(call) = call else { break };
            // What it asks for waits behind the others.
            if self.nested(|| call(perl)).unwrap_or(Flow::Continue) == Flow::Exit {
                return Flow::Exit;
            }
        }
        if !self.calls.borrow().is_empty() {
            self.wake();
        }
        Flow::Continue
    }

    /// Makes all calls that wait, however deep this is.
    pub fn make_all_calls(&self, perl: Perl) -> Flow {
        loop {
            let call = self.calls.borrow_mut().pop_front();
            match call.map(|call| call(perl)) {
                None => return Flow::Continue,
                Some(Flow::Exit) => return Flow::Exit,
                Some(Flow::Continue) => {}
            }
        }
    }
}
