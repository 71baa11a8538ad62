//! The state behind an EV::Kafka::Conn: a [`Connection`], its [`Link`], and who waits for what.
//!
//! Every entry into it (a method, a watcher) first changes the connection and then *settles*:
//! events are taken one at a time, with nothing borrowed, so that a callback may do anything,
//! another entry included. An inner entry simply goes on where the outer one stands.

mod events;
mod later;
mod security;
mod watchers;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_conn::{Config, Connection, SendError, State, Token, VersionError};
use kafka_wire::{ApiKey, Writer};
use perl_xs::{Flow, Freed, Native, ObjectError, Perl, Sv};

use self::later::Later;
use self::security::Security;
use super::completion::{Completion, WrittenCompletion};
use super::kept::Kept;
use super::link::{self, Link};
use super::throttle;
use crate::ev::{Handler, Loop, Timer};
use crate::home::Home;
use crate::strings::Strings;

pub(super) use security::{Sasl, TokenSource};

/// Unsent bytes above which a request does not wait for the end of the loop's turn: a program that
/// produces for long without returning to the loop is not to pile everything up in memory.
const WRITE_AT_ONCE: usize = 256 << 10;

/// What waits for room on a connection: called once, or dropped with it.
pub type Waiter = Box<dyn FnOnce(Perl) -> Flow>;

/// The handlers that Perl code has set; code values.
#[derive(Default)]
struct PerlHandlers {
    on_error: Option<Sv>,
    on_connect: Option<Sv>,
    on_disconnect: Option<Sv>,
    on_notice: Option<Sv>,
}

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
}

/// How far the connection has come, for the judgement on its address.
#[derive(Clone, Copy)]
enum Stage {
    /// There is none, or it is let go of on purpose.
    Idle,
    /// It is being made.
    Dialed,
    /// Requests can be sent.
    Ready,
    /// One was answered.
    Answered,
}

/// How long an answer may take when the program does not say, beyond what the request lets the
/// broker wait: Kafka's own default of `request.timeout.ms`.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One EV::Kafka::Conn.
pub struct ConnHandle {
    connection: RefCell<Connection>,
    link: RefCell<Link>,
    /// Who waits, in the order of the requests.
    waiting: RefCell<VecDeque<(Token, Completion)>>,
    handlers: RefCell<PerlHandlers>,
    security: RefCell<Security>,
    /// What those keep with it who send on it.
    kept: Kept,
    /// What keys, values and headers are to the program.
    strings: Cell<Strings>,
    stage: Cell<Stage>,
    /// Since when something is awaited without a break.
    asked_at: Cell<Instant>,
    /// Who wants to send when what is queued has been written.
    waits_for_room: RefCell<Option<Waiter>>,
    /// How long an answer may take beyond what its request lets the broker wait; none to wait for
    /// ever.
    request_timeout: Cell<Option<Duration>>,
    /// The same for the next request alone, if it has a time of its own.
    patience: Cell<Option<Duration>>,
    /// What is too deep to be called at once.
    later: Later,
    /// A forked child must leave the parent's socket alone.
    home: Home,
}

impl Native for ConnHandle {
    const NAME: &'static str = "EV::Kafka::Conn";

    fn on_free(&self, perl: Perl, how: Freed) {
        match how {
            // A child may have been the first to connect it.
            Freed::Normally | Freed::Forked => {
                let (Flow::Continue | Flow::Exit) = self.destroy(perl);
            }
            Freed::GlobalDestruction => self.abandon(),
        }
    }

    fn refusal(&self) -> Option<String> {
        self.home.is_foreign().then(|| {
            "EV::Kafka::Conn: the connection belongs to the process that opened it, not to a child of fork".into()
        })
    }

    fn describe(error: ObjectError) -> String {
        match error {
            ObjectError::Destroyed => {
                "EV::Kafka::Conn: method called on destroyed connection".into()
            }
            ObjectError::Cloned => "EV::Kafka::Conn: connection belongs to another thread".into(),
            ObjectError::NotAReference | ObjectError::NeverAttached => {
                "EV::Kafka::Conn: not a connection made by _new".into()
            }
        }
    }
}

/// Making and inspecting one.
impl ConnHandle {
    /// A connection that is not connected, to live on the given loop.
    pub fn new(on: Loop) -> Rc<ConnHandle> {
        Rc::new_cyclic(|weak: &Weak<ConnHandle>| {
            let handler = |fired: fn(&ConnHandle, Perl, i32) -> Flow| -> Rc<dyn Handler> {
                let weak = weak.clone();
                Rc::new(move |perl: Perl, events: i32| match weak.upgrade() {
                    Some(handle) => handle.fired(perl, events, fired),
                    None => Flow::Continue,
                })
            };
            let handlers = link::Handlers {
                io: handler(ConnHandle::on_io),
                timer: handler(ConnHandle::on_timer),
                prepare: handler(ConnHandle::on_prepare),
                resolved: handler(ConnHandle::on_resolved),
                salted: handler(ConnHandle::on_salted),
            };
            ConnHandle {
                connection: RefCell::new(Connection::new(Config::default())),
                link: RefCell::new(Link::new(&on, handlers)),
                waiting: RefCell::default(),
                handlers: RefCell::default(),
                security: RefCell::default(),
                kept: Kept::default(),
                strings: Cell::default(),
                stage: Cell::new(Stage::Idle),
                asked_at: Cell::new(Instant::now()),
                waits_for_room: RefCell::default(),
                request_timeout: Cell::new(Some(REQUEST_TIMEOUT)),
                patience: Cell::new(None),
                later: Later::new(Timer::new(&on, handler(ConnHandle::on_later))),
                home: Home::new(),
            }
        })
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.connection.borrow().state()
    }

    /// Whether requests can be sent.
    pub fn is_ready(&self) -> bool {
        self.state() == State::Ready
    }

    /// How many requests still wait for their callback to be called.
    pub fn pending(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Whether the peer has closed the connection, though that may not have been read yet.
    pub fn has_ended(&self) -> bool {
        self.link.borrow().has_ended()
    }

    /// Whether the socket takes nothing more for now: what is sent only waits here.
    pub fn is_full(&self) -> bool {
        self.link.borrow().is_blocked()
    }

    /// Has the waiter called when that is over; it takes the place of an earlier one.
    pub fn when_room(&self, waiter: Waiter) {
        let earlier = self.waits_for_room.replace(Some(waiter));
        drop(earlier);
    }

    /// For how long nothing was asked and nothing has come; zero while anything is under way.
    pub fn idle_for(&self) -> Duration {
        match self.is_idle() {
            true => self.link.borrow().idle_for(Instant::now()),
            false => Duration::ZERO,
        }
    }

    /// Has this connection and another one learn together which addresses work.
    pub fn share_addresses(&self, with: &ConnHandle) {
        let book = with.link.borrow().book.clone();
        self.link.borrow_mut().book = book;
    }

    /// Whether the name connected to has addresses that were not tried since one of them has failed.
    pub fn has_untried_addresses(&self) -> bool {
        self.link.borrow().has_untried_addresses()
    }

    /// For how long the broker has said nothing though an answer is awaited; zero when none is.
    pub fn silent_for(&self) -> Duration {
        if self.waiting.borrow().is_empty() {
            return Duration::ZERO;
        }
        let since = self.asked_at.get().max(self.link.borrow().heard_at());
        since.elapsed()
    }

    /// The version to speak for an API on this connection (KIP-35).
    ///
    /// # Errors
    /// The broker advertised only versions that we do not speak.
    pub fn version(&self, api: ApiKey) -> Result<i16, VersionError> {
        self.connection.borrow().version(api)
    }

    /// Looks at the connection's own state.
    pub(super) fn with_connection<R>(&self, look: impl FnOnce(&Connection) -> R) -> R {
        look(&self.connection.borrow())
    }
}

/// Commands.
impl ConnHandle {
    /// Connects; see [`Connection::connect`].
    pub fn connect(&self, perl: Perl, host: &str, port: u16, timeout: Option<Duration>) -> Flow {
        self.home.open();
        self.stage.set(Stage::Idle);
        self.connection
            .borrow_mut()
            .connect(host, port, timeout, Instant::now());
        self.settle(perl)
    }

    /// Disconnects; see [`Connection::disconnect`]. Requests without an answer that were accepted
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
        let flow = match self.make_all_calls(perl) {
            Flow::Continue => self.deliver_all(perl),
            Flow::Exit => Flow::Exit,
        };
        self.link.borrow_mut().shut();
        drop((handlers, self.later.forget()));
        flow
    }

    /// See [`Connection::set_auto_reconnect`].
    pub fn set_auto_reconnect(&self, enable: bool, delay: Duration) {
        self.connection
            .borrow_mut()
            .set_auto_reconnect(enable, delay);
        self.arm();
    }

    /// How long to wait for the answer to a request that lets the broker wait `server_wait` by its
    /// own terms; none for ever. What [`ConnHandle::send`] takes.
    pub fn deadline(&self, server_wait: Duration) -> Option<Duration> {
        self.patience
            .take()
            .or(self.request_timeout.get())
            .map(|timeout| timeout.saturating_add(server_wait))
    }

    /// Sets how long an answer may take beyond what its request lets the broker wait; none for
    /// ever. Counts for the requests that follow.
    pub fn set_request_timeout(&self, timeout: Option<Duration>) {
        self.request_timeout.set(timeout);
    }

    /// Gives the next request a time of its own; none for the same as all.
    pub fn set_patience(&self, patience: Option<Duration>) {
        self.patience.set(patience);
    }

    /// Sets what keys, values and headers are to the program.
    pub fn set_strings(&self, strings: Strings) {
        self.strings.set(strings);
    }

    /// What keys, values and headers are to the program.
    pub fn strings(&self) -> Strings {
        self.strings.get()
    }

    /// Sets the client id of the requests that follow.
    pub fn set_client_id(&self, client_id: Bytes) {
        self.connection.borrow_mut().set_client_id(client_id);
    }

    /// Sets or clears a handler.
    pub fn set_handler(&self, kind: HandlerKind, code: Option<Sv>) {
        let old = {
            let mut handlers = self.handlers.borrow_mut();
            let place = match kind {
                HandlerKind::Error => &mut handlers.on_error,
                HandlerKind::Connect => &mut handlers.on_connect,
                HandlerKind::Disconnect => &mut handlers.on_disconnect,
                HandlerKind::Notice => &mut handlers.on_notice,
            };
            std::mem::replace(place, code)
        };
        // Freeing a closure may run Perl code: no borrow is open any more.
        drop(old);
    }

    /// Sends a request whose `body` was encoded at `version`; the completion is called exactly
    /// once, later. With a `deadline` the connection is given up when no answer came in that time.
    ///
    /// # Errors
    /// Nothing was sent and the completion is given back: not connected, or the broker does not
    /// speak the version.
    pub fn send(
        &self,
        api: ApiKey,
        version: i16,
        body: Writer,
        deadline: Option<Duration>,
        completion: Completion,
    ) -> Result<(), (SendError, Completion)> {
        let idle = self.is_idle();
        let sent = self
            .connection
            .borrow_mut()
            .send(api, version, body, deadline, Instant::now());
        match sent {
            Ok(token) => self.await_answer(token, completion),
            Err(error) => return Err((error, completion)),
        }
        self.write(idle);
        Ok(())
    }

    /// As [`ConnHandle::send`] with a body of a few kilobytes at most. The completion is asked for
    /// when nothing can go wrong any more.
    ///
    /// # Errors
    /// As for [`ConnHandle::send`].
    pub fn send_small(
        &self,
        api: ApiKey,
        version: i16,
        body: &[u8],
        deadline: Option<Duration>,
        completion: impl FnOnce() -> Completion,
    ) -> Result<(), SendError> {
        let idle = self.is_idle();
        let token = self.connection.borrow_mut().send_small(
            api,
            version,
            body,
            deadline,
            Instant::now(),
        )?;
        self.await_answer(token, completion());
        self.write(idle);
        Ok(())
    }

    fn await_answer(&self, token: Token, completion: Completion) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.asked_at.set(Instant::now());
        }
        waiting.push_back((token, completion));
    }

    /// What APIs keep with the connection from one request to the next.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Sends a request that the broker does not answer: Produce with acks 0.
    ///
    /// # Errors
    /// As for [`ConnHandle::send`].
    pub fn send_oneway(&self, api: ApiKey, version: i16, body: Writer) -> Result<(), SendError> {
        let idle = self.is_idle();
        self.connection
            .borrow_mut()
            .send_oneway(api, version, body, Instant::now())?;
        self.write(idle);
        Ok(())
    }

    /// As [`ConnHandle::send_oneway`], for somebody who wants to know when it has been written. When
    /// for `patience` nothing could be, it fails with the connection.
    ///
    /// # Errors
    /// As for [`ConnHandle::send`].
    pub fn send_unanswered(
        &self,
        api: ApiKey,
        version: i16,
        body: Writer,
        patience: Option<Duration>,
        completion: WrittenCompletion,
    ) -> Result<(), SendError> {
        let idle = self.is_idle();
        let now = Instant::now();
        let sent = self
            .connection
            .borrow_mut()
            .send_unanswered(api, version, body, patience, now);
        let token = sent?;
        self.waiting
            .borrow_mut()
            .push_back((token, Completion::Written(completion)));
        self.write(idle);
        Ok(())
    }

    /// Tells at once what there is to tell: requests may have been written already.
    pub fn tell(&self, perl: Perl) -> Flow {
        self.settle(perl)
    }

    /// Obeys the `throttle_time_ms` of an answer of `api` at `version` (KIP-219).
    pub fn throttle(&self, api: ApiKey, version: i16, throttle_time_ms: i32) {
        if throttle_time_ms > 0 && throttle::is_left_to_client(api, version) {
            self.connection
                .borrow_mut()
                .throttle(throttle_time_ms, Instant::now());
            self.arm();
        }
    }
}

/// Bytes.
impl ConnHandle {
    /// Nothing is on its way in either direction: whoever sends now waits for nothing else.
    fn is_idle(&self) -> bool {
        self.waiting.borrow().is_empty() && self.connection.borrow().queued_bytes() == 0
    }

    fn write(&self, at_once: bool) {
        let queued = self.connection.borrow().queued_bytes();
        let due = at_once || queued >= WRITE_AT_ONCE;
        if due && !self.link.borrow().is_blocked() {
            self.transmit();
        } else {
            self.link.borrow().transmit_later(&self.connection.borrow());
        }
        self.arm();
    }

    fn transmit(&self) {
        self.link
            .borrow_mut()
            .transmit(&mut self.connection.borrow_mut());
        if self.connection.borrow().has_events() {
            self.link.borrow().fire_soon();
        }
    }

    fn arm(&self) {
        self.link.borrow_mut().arm(&self.connection.borrow());
    }
}

/// Forks.
impl ConnHandle {
    /// Whether this is a child of the process that the socket, and the answers on it, belong to.
    pub(super) fn is_foreign(&self) -> bool {
        self.home.is_foreign()
    }

    /// Closes our side of the socket without a word to anybody and calls nobody.
    fn abandon(&self) {
        let old = self.connection.replace(Connection::new(Config::default()));
        self.link.borrow_mut().shut();
        // Freeing closures may run Perl code: no borrow is open any more.
        drop((old, self.waiting.take(), self.later.forget()));
    }
}
