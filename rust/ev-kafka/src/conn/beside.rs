//! Work that would block the loop, done on a thread that wakes it.

use std::io;
use std::rc::Rc;
use std::sync::mpsc::{channel, Receiver};

use crate::ev::{self, Async, Handler, Loop};

/// A computation under way on a thread of its own. Dropping it forgets what it comes to.
pub struct Beside<T> {
    result: Receiver<T>,
    _wake: Async,
}

impl<T: Send + 'static> Beside<T> {
    /// Starts computing; `handler` fires on the loop when [`Beside::take`] has the result.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        on: &Loop,
        name: &str,
        handler: Rc<dyn Handler>,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Beside<T>> {
        let wake = Async::new(on, handler);
        let sender = wake.sender();
        let (give, result) = channel();
        ev::spawn_quietly(name, move || {
            // A receiver that is gone wants no result any more.
            let _ = give.send(compute());
            sender.send();
        })?;
        Ok(Beside {
            result,
            _wake: wake,
        })
    }

    /// The result, once.
    pub fn take(&self) -> Option<T> {
        self.result.try_recv().ok()
    }
}
