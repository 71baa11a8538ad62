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
            _ => self.read(perl).0,
        }
    }

    pub(super) fn on_timer(&self, perl: Perl, _: i32) -> Flow {
        self.link.borrow_mut().disarm();
        self.dialed();
        // Nothing is late because the loop is: what waits is written, and what has arrived is
        // taken, first. When it is too much for one turn of the loop the next one goes on.
        self.transmit();
        let (flow, drained_at) = self.read(perl);
        if let (Flow::Continue, Some(now)) = (flow, drained_at) {
            let mut connection = self.connection.borrow_mut();
            self.link
                .borrow_mut()
                .look_after_bytes(&mut connection, now);
            connection.handle_timeout(now);
        }
        flow
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

    pub(super) fn on_later(&self, perl: Perl, _: i32) -> Flow {
        self.later.make_calls(perl)
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
    /// Also tells when the socket was found empty.
    fn read(&self, perl: Perl) -> (Flow, Option<Instant>) {
        let serial = self.link.borrow().serial();
        for _ in 0..READS_PER_TURN {
            let now = Instant::now();
            if self.link.borrow().serial() != serial {
                return (Flow::Continue, Some(now));
            }
            let progress = self
                .link
                .borrow_mut()
                .read(&mut self.connection.borrow_mut(), now);
            if self.connection.borrow().has_last_words() {
                self.transmit();
            }
            if self.deliver(perl) == Flow::Exit {
                return (Flow::Exit, None);
            }
            if progress == Progress::Drained {
                return (Flow::Continue, Some(now));
            }
        }
        (Flow::Continue, None)
    }
}
