//! Whose a thing with sockets is. Both sides of a fork would write into one socket and read each
//! other's answers from it, so it belongs to one process: to that which first opens it.

use std::cell::Cell;

use crate::ev::process_generation;

/// The process that a thing belongs to.
pub struct Home {
    process: Cell<i32>,
    is_open: Cell<bool>,
}

impl Home {
    /// Nothing is open: the next process to open it has it.
    pub fn new() -> Home {
        Home {
            process: Cell::new(process_generation()),
            is_open: Cell::new(false),
        }
    }

    /// It opens something, and is this process's from now on if it was nobody's.
    pub fn open(&self) {
        if !self.is_open.replace(true) {
            self.process.set(process_generation());
        }
    }

    /// Whether it was made, or opened, by this process: others have nothing to say about its end.
    #[inline]
    pub fn is_here(&self) -> bool {
        self.process.get() == process_generation()
    }

    /// Whether another process has opened it: this one may only close its descriptors.
    #[inline]
    pub fn is_foreign(&self) -> bool {
        !self.is_here() && self.is_open.get()
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}
