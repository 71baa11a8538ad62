//! Connecting, disconnecting, and the end.

use std::time::{Duration, Instant};

use perl_xs::{Flow, Perl};

use super::{ConnHandle, Stage};

impl ConnHandle {
    /// Connects; see [`kafka_conn::Connection::connect`].
    pub fn connect(&self, perl: Perl, host: &str, port: u16, timeout: Option<Duration>) -> Flow {
        self.home.open();
        self.stage.set(Stage::Idle);
        self.connection
            .borrow_mut()
            .connect(host, port, timeout, Instant::now());
        self.settle(perl)
    }

    /// Disconnects; see [`kafka_conn::Connection::disconnect`]. Requests without an answer that were accepted
    /// are still given to the socket, as far as it takes them at once. In a forked child it only
    /// closes our side of the parent's socket.
    pub fn disconnect(&self, perl: Perl) -> Flow {
        if self.home.is_foreign() {
            self.abandon();
            return Flow::Continue;
        }
        self.transmit();
        self.stage.set(Stage::Idle);
        self.connection.borrow_mut().disconnect(Instant::now());
        self.settle(perl)
    }

    /// The end: pending callbacks get `destroyed`, handlers are forgotten.
    pub fn destroy(&self, perl: Perl) -> Flow {
        if perl.in_global_destruction() || !self.home.is_here() {
            self.abandon();
            return Flow::Continue;
        }
        self.transmit();
        self.stage.set(Stage::Idle);
        let handlers = (self.handlers.take(), self.security.take());
        self.connection.borrow_mut().destroy();
        // Whoever is called finds no connection any more: this goes no deeper.
        let flow = match self.later.make_all_calls(perl) {
            Flow::Continue => self.deliver_all(perl),
            Flow::Exit => Flow::Exit,
        };
        self.link.borrow_mut().shut();
        drop((handlers, self.later.forget()));
        flow
    }

    /// See [`kafka_conn::Connection::set_auto_reconnect`].
    pub fn set_auto_reconnect(&self, enable: bool, delay: Duration) {
        self.connection
            .borrow_mut()
            .set_auto_reconnect(enable, delay);
        self.arm();
    }
}
