//! What a connection does when its watchers fire.

use std::time::Instant;

use perl_xs::{Flow, Perl};

use super::ConnHandle;
use crate::conn::link::Progress;
use crate::ev::{READ, WRITE};

/// Reads per wake-up of a socket before other watchers get their turn.
const READS_PER_TURN: usize = 8;

impl ConnHandle {
    pub(super) fn fired(
        &self,
        perl: Perl,
        events: i32,
        run: fn(&ConnHandle, Perl, i32) -> Flow,
    ) -> Flow {
        if self.is_foreign() {
            self.abandon();
            return Flow::Continue;
        }
        match run(self, perl, events) {
            Flow::Continue => self.settle(perl),
            Flow::Exit => Flow::Exit,
        }
    }

    pub(super) fn on_io(&self, perl: Perl, events: i32) -> Flow {
        self.dialed();
        if events & WRITE != 0 {
            self.transmit();
        }
        match events & READ {
            0 => Flow::Continue,
            _ => self.read(perl),
        }
    }

    pub(super) fn on_timer(&self, perl: Perl, _: i32) -> Flow {
        self.link.borrow_mut().disarm();
        self.dialed();
        // An answer that has arrived is in time, however late the loop is.
        if self.read(perl) == Flow::Exit {
            return Flow::Exit;
        }
        self.connection.borrow_mut().handle_timeout(Instant::now());
        Flow::Continue
    }

    pub(super) fn on_prepare(&self, _: Perl, _: i32) -> Flow {
        self.transmit();
        Flow::Continue
    }

    pub(super) fn on_resolved(&self, _: Perl, _: i32) -> Flow {
        self.link.borrow_mut().resolved();
        self.dialed();
        Flow::Continue
    }

    pub(super) fn on_salted(&self, _: Perl, _: i32) -> Flow {
        let salted = self.link.borrow_mut().salted();
        if let Some((id, salted)) = salted {
            let now = Instant::now();
            self.connection
                .borrow_mut()
                .provide_salted(id, &salted, now);
        }
        Flow::Continue
    }

    fn dialed(&self) {
        self.link
            .borrow_mut()
            .dialed(&mut self.connection.borrow_mut(), Instant::now());
    }

    /// Reads and delivers until the socket is empty, or gone, or others should have their turn.
    fn read(&self, perl: Perl) -> Flow {
        let serial = self.link.borrow().serial();
        for _ in 0..READS_PER_TURN {
            if self.link.borrow().serial() != serial {
                break;
            }
            let progress = self
                .link
                .borrow_mut()
                .read(&mut self.connection.borrow_mut(), Instant::now());
            if self.connection.borrow().has_last_words() {
                self.transmit();
            }
            if self.deliver(perl) == Flow::Exit {
                return Flow::Exit;
            }
            if progress == Progress::Drained {
                break;
            }
        }
        Flow::Continue
    }
}
