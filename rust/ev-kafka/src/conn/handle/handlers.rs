//! The handlers that Perl code has set.

use std::cell::RefCell;

use perl_xs::Sv;

/// Which handler.
#[derive(Clone, Copy)]
pub enum HandlerKind {
    /// `on_error`
    Error,
    /// `on_connect`
    Connect,
    /// `on_disconnect`
    Disconnect,
    /// `on_notice`
    Notice,
    /// `on_throttle`
    Throttle,
}

impl HandlerKind {
    /// What the warning about a handler that died starts with.
    pub fn died(self) -> &'static str {
        match self {
            HandlerKind::Error => "EV::Kafka::Conn: on_error callback error",
            HandlerKind::Connect => "EV::Kafka::Conn: on_connect callback error",
            HandlerKind::Disconnect => "EV::Kafka::Conn: on_disconnect callback error",
            HandlerKind::Notice => "EV::Kafka::Conn: on_notice callback error",
            HandlerKind::Throttle => "EV::Kafka::Conn: on_throttle callback error",
        }
    }
}

/// A code value of each kind, or none.
#[derive(Default)]
pub struct PerlHandlers([RefCell<Option<Sv>>; 5]);

impl PerlHandlers {
    fn place(&self, kind: HandlerKind) -> &RefCell<Option<Sv>> {
        &self.0[kind as usize]
    }

    /// The handler.
    pub fn get(&self, kind: HandlerKind) -> Option<Sv> {
        self.place(kind).borrow().clone()
    }

    /// Whether there is one.
    pub fn has(&self, kind: HandlerKind) -> bool {
        self.place(kind).borrow().is_some()
    }

    /// Sets or clears it.
    pub fn set(&self, kind: HandlerKind, code: Option<Sv>) {
        let old = self.place(kind).replace(code);
        // Freeing a closure may run Perl code: no borrow is open any more.
        drop(old);
    }

    /// Takes them all away; they are given back, not to be freed under a borrow.
    pub fn take(&self) -> [Option<Sv>; 5] {
        self.0.each_ref().map(RefCell::take)
    }
}
