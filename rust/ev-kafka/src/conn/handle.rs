//! The state behind an EV::Kafka::Conn: a [`Connection`], its [`Link`], and who waits for what.
//!
//! Every entry into it (a method, a watcher) first changes the connection and then *settles*:
//! events are taken one at a time, with nothing borrowed, so that a callback may do anything,
//! another entry included. An inner entry simply goes on where the outer one stands.

mod counting;
mod events;
mod handlers;
mod later;
mod life;
mod securing;
mod security;
mod sending;
mod trust;
mod watchers;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_conn::{Config, Connection, Introduction, State, Token, VersionError};
use kafka_wire::ApiKey;
use perl_xs::{Flow, Freed, Native, ObjectError, Perl, Sv};

use self::handlers::PerlHandlers;
use self::later::Later;
use self::security::Security;
use super::completion::Completion;
use super::kept::Kept;
use super::link::{self, Link};
use crate::ev::{Handler, Loop, Timer};
use crate::home::Home;
use crate::strings::Form;

pub(super) use self::handlers::HandlerKind;
pub(super) use self::security::{Sasl, TokenSource};

/// What waits for room on a connection: called once, or dropped with it.
pub type Waiter = Box<dyn FnOnce(Perl) -> Flow>;

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
    handlers: PerlHandlers,
    security: RefCell<Security>,
    /// What those keep with it who send on it.
    kept: Kept,
    /// What messages are to the program.
    form: Cell<Form>,
    /// Errors are objects for the program.
    tells_objects: Cell<bool>,
    stage: Cell<Stage>,
    /// Since when something is awaited without a break.
    asked_at: Cell<Instant>,
    /// Somebody waits for a sign of life.
    is_doubted: Cell<bool>,
    /// When the last request left that nobody answers.
    unanswered_at: Cell<Option<Instant>>,
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
                handlers: PerlHandlers::default(),
                security: RefCell::default(),
                kept: Kept::default(),
                form: Cell::default(),
                tells_objects: Cell::default(),
                stage: Cell::new(Stage::Idle),
                asked_at: Cell::new(Instant::now()),
                is_doubted: Cell::new(false),
                unanswered_at: Cell::new(None),
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
        let with = with.link.borrow();
        self.link.borrow_mut().destination.share(&with.destination);
    }

    /// Whether the name connected to has addresses that were not tried since one of them has failed.
    pub fn has_untried_addresses(&self) -> bool {
        self.link.borrow().destination.has_untried_addresses()
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

    /// The same for a request that newer versions than `most` cannot express.
    ///
    /// # Errors
    /// The broker advertised only others.
    pub fn version_up_to(&self, api: ApiKey, most: i16) -> Result<i16, VersionError> {
        self.connection.borrow().version_up_to(api, most)
    }

    /// Sets whether errors are objects for the program.
    pub fn set_tells_objects(&self, tells_objects: bool) {
        self.tells_objects.set(tells_objects);
    }

    /// Whether the peer stands in for a broker; see [`Connection::is_stand_in`].
    pub fn is_stand_in(&self) -> bool {
        self.with_connection(Connection::is_stand_in)
    }

    /// Whether the broker has advertised the API.
    pub fn is_offered(&self, api: ApiKey) -> bool {
        self.with_connection(|connection| {
            let offered = connection.api_versions();
            offered.is_some_and(|versions| versions.contains_key(&api.key()))
        })
    }

    /// Sets what messages are to the program.
    pub fn set_form(&self, form: Form) {
        self.form.set(form);
    }

    /// What messages are to the program.
    pub fn form(&self) -> Form {
        self.form.get()
    }

    /// Sets the client id of the requests that follow.
    pub fn set_client_id(&self, client_id: Bytes) {
        self.connection.borrow_mut().set_client_id(client_id);
    }

    /// Tells brokers who asks, from the next connection on.
    pub fn introduce(&self, introduction: Introduction) {
        self.connection
            .borrow_mut()
            .set_introduction(Some(introduction));
    }

    /// What APIs keep with the connection from one request to the next.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Sets or clears a handler.
    pub fn set_handler(&self, kind: HandlerKind, code: Option<Sv>) {
        if let HandlerKind::Throttle = kind {
            let mut connection = self.connection.borrow_mut();
            connection.tell_of_throttling(code.is_some());
        }
        self.handlers.set(kind, code);
    }

    /// Calls before the method returns, or from the loop when that would go too deep.
    pub fn call_at_once(&self, perl: Perl, call: impl FnOnce(Perl) -> Flow + 'static) -> Flow {
        self.later.call_at_once(perl, call)
    }

    /// Looks at the connection's own state.
    pub(super) fn with_connection<R>(&self, look: impl FnOnce(&Connection) -> R) -> R {
        look(&self.connection.borrow())
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
