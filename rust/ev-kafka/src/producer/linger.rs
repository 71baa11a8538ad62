//! With `linger_ms` 0 nothing lingers: what one turn of the loop produces leaves together when that ends, without any
//! Perl and without a timer. What lingers has one, which is Perl's.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use perl_xs::{Croak, Flow, Outcome, Perl};

use super::Producer;
use crate::ev::{Loop, Prepare};

/// See the module's description.
pub(super) struct Linger {
    turn_ends: Prepare,
    /// The option, as it was applied.
    is_zero: Cell<bool>,
    /// Somebody sees to it that what waits does not wait for ever.
    is_guarded: Cell<bool>,
}

impl Linger {
    pub fn new(on: &Loop, producer: Weak<Producer>) -> Linger {
        let fired = move |perl: Perl, _: i32| match producer.upgrade() {
            Some(producer) => producer.turn_ends(perl),
            None => Flow::Continue,
        };
        Linger {
            turn_ends: Prepare::new(on, Rc::new(fired)),
            is_zero: Cell::new(false),
            is_guarded: Cell::new(false),
        }
    }

    pub fn set_zero(&self, is_so: bool) {
        self.is_zero.set(is_so);
    }

    pub fn set_guarded(&self, is_so: bool) {
        self.is_guarded.set(is_so);
    }

    /// What has come leaves when this turn of the loop ends.
    pub fn end_with_turn(&self) {
        self.turn_ends.start();
    }
}

impl Producer {
    /// The first record of a batch has come after all the others had become due.
    pub(super) fn linger_begin(&self, perl: Perl) -> Result<(), Croak> {
        let linger = &self.linger;
        if linger.is_zero.get() && linger.is_guarded.get() && !self.options.have_changed(perl) {
            linger.end_with_turn();
            return Ok(());
        }
        let told = self.tell(perl, "linger_begin", &[]);
        told.map_or(Ok(()), Outcome::ok)
    }

    fn turn_ends(self: &Rc<Self>, perl: Perl) -> Flow {
        self.linger.turn_ends.stop();
        self.accumulator.borrow_mut().all_due();
        self.send_ready(perl)
    }
}
