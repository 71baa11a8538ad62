//! What is behind an `EV::Kafka::ShareSession`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use perl_xs::{CallLoop, Native};

use super::session::Session;

/// The state of an `EV::Kafka::ShareSession`.
pub struct ShareSession {
    pub state: RefCell<Session>,
    /// The delivery that is under way is to stop.
    pub interrupted: Rc<Cell<bool>>,
    pub call_loop: Cell<Option<CallLoop>>,
}

impl Native for ShareSession {
    const NAME: &'static str = "EV::Kafka::ShareSession";
}

impl ShareSession {
    /// Nothing is being delivered.
    pub fn new(session: Session) -> ShareSession {
        ShareSession {
            state: session.into(),
            interrupted: Rc::default(),
            call_loop: Cell::new(None),
        }
    }
}
