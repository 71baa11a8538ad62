//! The state machine.

mod machine;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::{ApiKey, Writer};

use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::{ConnectionError, SendError, VersionError};
use crate::event::{Event, State, Token};
use crate::frames::FrameBuffer;
use crate::handshake::Handshake;
use crate::inflight::{InFlight, Pending};
use crate::transmit::{Transmit, TransmitQueue};
use crate::versions::{self, ApiVersions};

/// The delay before the first attempt to reconnect unless
/// [`set_auto_reconnect`](Connection::set_auto_reconnect) says otherwise.
const DEFAULT_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// One connection to one broker, and after its loss the next one to the same broker.
///
/// It does no I/O and reads no clock. Its methods are of four kinds:
///
/// * **Getters** tell how things stand: [`state`](Self::state), [`pending`](Self::pending),
///   [`api_versions`](Self::api_versions), [`version`](Self::version),
///   [`client_id`](Self::client_id), [`queued_bytes`](Self::queued_bytes),
///   [`buffered_bytes`](Self::buffered_bytes).
/// * **`handle_*`** take in what happened outside: [`handle_dialed`](Self::handle_dialed),
///   [`handle_dial_failed`](Self::handle_dial_failed), [`handle_read`](Self::handle_read) (after
///   [`read_buffer`](Self::read_buffer)) or [`handle_data`](Self::handle_data),
///   [`handle_eof`](Self::handle_eof), [`handle_io_error`](Self::handle_io_error),
///   [`handle_timeout`](Self::handle_timeout).
/// * **Commands** are the caller's wishes: [`connect`](Self::connect),
///   [`disconnect`](Self::disconnect), [`destroy`](Self::destroy), [`send`](Self::send),
///   [`send_oneway`](Self::send_oneway), [`throttle`](Self::throttle),
///   [`set_auto_reconnect`](Self::set_auto_reconnect), [`set_client_id`](Self::set_client_id).
/// * **`poll_*`** say what to do next: [`poll_event`](Self::poll_event),
///   [`poll_transmit`](Self::poll_transmit) (followed by [`transmitted`](Self::transmitted)),
///   [`poll_timeout`](Self::poll_timeout).
///
/// After every `handle_*` and every command a driver
///
/// 1. calls `poll_event` until it yields `None`, acting on each event before it asks for the
///    next one,
/// 2. writes what `poll_transmit` offers, and calls `transmitted` with what the socket took,
/// 3. sets its timer to `poll_timeout`, and calls `handle_timeout` when that has passed.
///
/// While acting on an event any command may be called, and the events of that command follow in
/// the same loop: an answer is taken out of the read buffer only when `poll_event` comes to it,
/// so a `disconnect` between two answers that arrived together makes the second one fail with
/// `disconnected`, and nothing of it remains. For the same reason what `handle_eof` and
/// `handle_io_error` report takes effect only after the answers that arrived before it.
///
/// Points in time must not run backwards. A driver never has to remember which attempt something
/// belongs to: after [`Event::Close`] it reports nothing of the closed socket any more.
#[derive(Debug)]
pub struct Connection {
    client_id: Bytes,
    phase: Phase,
    target: Target,
    auto_reconnect: bool,
    backoff: Backoff,
    api_versions: Option<ApiVersions>,
    next_token: Token,
    next_correlation_id: i32,
    in_flight: InFlight,
    incoming: FrameBuffer,
    outgoing: TransmitQueue,
    /// When set, nothing is sent until then (KIP-219).
    throttled_until: Option<Instant>,
    /// The end of the incoming bytes, once it is known.
    ending: Option<Ending>,
    /// When the bytes in `incoming` were read.
    read_at: Option<Instant>,
    events: VecDeque<Event>,
}

/// Where the connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is to happen.
    Disconnected,
    /// The next attempt is to be made then.
    Waiting(Instant),
    /// The driver resolves and connects.
    Dialing { deadline: Option<Instant> },
    /// The handshake is under way.
    Handshake {
        step: Handshake,
        deadline: Option<Instant>,
    },
    /// Requests can be sent.
    Ready,
}

/// Whom to connect to.
#[derive(Debug, Default)]
struct Target {
    host: String,
    port: u16,
    timeout: Option<Duration>,
}

/// How the incoming bytes end.
#[derive(Debug)]
enum Ending {
    ClosedByBroker,
    Error(ConnectionError),
}

impl Ending {
    fn reason(&self) -> String {
        match self {
            Ending::ClosedByBroker => "connection closed by broker".into(),
            Ending::Error(error) => error.to_string(),
        }
    }
}

/// Getters.
impl Connection {
    /// A connection that is not connected.
    pub fn new(config: Config) -> Self {
        Connection {
            client_id: config.client_id,
            phase: Phase::Disconnected,
            target: Target::default(),
            auto_reconnect: false,
            backoff: Backoff::new(DEFAULT_RECONNECT_DELAY, config.jitter_seed),
            api_versions: None,
            next_token: 1,
            next_correlation_id: 1,
            in_flight: InFlight::default(),
            incoming: FrameBuffer::new(),
            outgoing: TransmitQueue::default(),
            throttled_until: None,
            ending: None,
            read_at: None,
            events: VecDeque::new(),
        }
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Disconnected | Phase::Waiting(_) => State::Disconnected,
            Phase::Dialing { .. } => State::Connecting,
            Phase::Handshake { step, .. } => step.state(),
            Phase::Ready => State::Ready,
        }
    }

    /// How many requests await an answer that `poll_event` has not yielded yet.
    pub fn pending(&self) -> usize {
        self.in_flight.len()
    }

    /// What the broker advertised in the last handshake; `None` before the first one. It
    /// outlives the connection.
    pub fn api_versions(&self) -> Option<&ApiVersions> {
        self.api_versions.as_ref()
    }

    /// The version to speak for `api`: the highest that both sides know, or
    /// [`ApiKey::fallback_version`] when the broker did not advertise the API (KIP-35).
    ///
    /// # Errors
    /// The broker advertised only versions that this client does not speak.
    pub fn version(&self, api: ApiKey) -> Result<i16, VersionError> {
        versions::negotiate(self.api_versions(), api)
    }

    /// The client id sent with requests.
    pub fn client_id(&self) -> &Bytes {
        &self.client_id
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Memory held by the read buffer, in bytes.
    pub fn buffered_bytes(&self) -> usize {
        self.incoming.allocated()
    }
}

/// Commands.
impl Connection {
    /// Connects to `host`, a name or an address literal. `timeout` bounds resolving and
    /// connecting together, and then each phase of the handshake; `None` means no bound. It holds
    /// for later attempts too.
    ///
    /// A connection that exists or is being made is dropped first; its unanswered requests fail
    /// with `reconnecting`, and no `Disconnected` is reported.
    pub fn connect(
        &mut self,
        host: impl Into<String>,
        port: u16,
        timeout: Option<Duration>,
        now: Instant,
    ) {
        self.drop_transport();
        self.fail_pending("reconnecting");
        self.target = Target {
            host: host.into(),
            port,
            timeout,
        };
        self.backoff.reset();
        self.dial(now);
    }

    /// Closes the connection, or gives up making one. Unanswered requests fail with
    /// `disconnected`. No attempt follows until the next `connect`.
    pub fn disconnect(&mut self, _now: Instant) {
        let was_active = self.drop_transport();
        self.fail_pending("disconnected");
        if was_active {
            self.events.push_back(Event::Disconnected);
        }
    }

    /// The owner goes away: as `disconnect`, but unanswered requests fail with `destroyed`, and
    /// no `Error` or `Disconnected` is reported any more.
    pub fn destroy(&mut self) {
        self.drop_transport();
        self.fail_pending("destroyed");
        self.events
            .retain(|event| !matches!(event, Event::Error(_) | Event::Disconnected));
    }

    /// Whether to connect again after a loss that `disconnect` did not ask for, failed attempts
    /// included: first after exactly `delay`, then after doubled delays up to 30 s with 25 %
    /// jitter either way. A TCP connection starts the series over. Disabling also cancels an
    /// attempt that is being waited for.
    pub fn set_auto_reconnect(&mut self, enable: bool, delay: Duration) {
        self.auto_reconnect = enable;
        self.backoff.set_delay(delay);
        if !enable && matches!(self.phase, Phase::Waiting(_)) {
            self.phase = Phase::Disconnected;
        }
    }

    /// Sets the client id of the requests that follow.
    pub fn set_client_id(&mut self, client_id: Bytes) {
        self.client_id = client_id;
    }

    /// Queues a request whose `body` was encoded at `version`. Exactly one `Answer` or `Failed`
    /// with the returned token follows.
    ///
    /// When no answer has come `deadline` from now, not counting throttled time, the request
    /// fails, and with it the connection: answers come in order. `None` waits for ever.
    ///
    /// # Errors
    /// Not in [`State::Ready`], or the broker advertised `api` without `version`.
    pub fn send(
        &mut self,
        api: ApiKey,
        version: i16,
        body: Writer,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Result<Token, SendError> {
        let correlation_id = self.enqueue_checked(api, version, body)?;
        let token = self.next_token;
        self.next_token += 1;
        let starts = self.throttled_until.map_or(now, |until| until.max(now));
        let deadline = deadline.and_then(|deadline| starts.checked_add(deadline));
        self.in_flight.push(Pending {
            token: Some(token),
            correlation_id,
            api,
            version,
            deadline,
        });
        Ok(token)
    }

    /// Queues a request that the broker does not answer: Produce with acks 0.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_oneway(
        &mut self,
        api: ApiKey,
        version: i16,
        body: Writer,
    ) -> Result<(), SendError> {
        self.enqueue_checked(api, version, body).map(drop)
    }

    /// Obeys an answer's `throttle_time_ms` (KIP-219): nothing is sent for that long, and the
    /// deadlines of requests leave that time out. Zero and less do nothing.
    pub fn throttle(&mut self, throttle_time_ms: i32, now: Instant) {
        let time = match u64::try_from(throttle_time_ms) {
            Ok(ms) if ms > 0 && self.phase == Phase::Ready => Duration::from_millis(ms),
            _ => return,
        };
        let Some(until) = now.checked_add(time) else {
            return;
        };
        let held_already = self.throttled_until.map_or(now, |earlier| earlier.max(now));
        if until > held_already {
            self.in_flight.postpone(until - held_already);
            self.throttled_until = Some(until);
        }
    }
}

/// What happened outside.
impl Connection {
    /// The TCP connection that [`Event::Dial`] asked for is made.
    pub fn handle_dialed(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Dialing { .. }) {
            self.backoff.reset();
            self.next_correlation_id = 1;
            self.enter(Handshake::first(), now);
        }
    }

    /// The TCP connection could not be made; `reason` is a [`DialError`](crate::DialError) or
    /// its text.
    pub fn handle_dial_failed(&mut self, reason: impl fmt::Display, now: Instant) {
        if matches!(self.phase, Phase::Dialing { .. }) {
            self.lose(Ending::Error(ConnectionError::Io(reason.to_string())), now);
        }
    }

    /// Room for the next read from the socket: 8 to 512 KiB, initialised, following what the
    /// broker sends. Whatever is read into its front is announced by
    /// [`handle_read`](Self::handle_read).
    pub fn read_buffer(&mut self) -> &mut [u8] {
        self.incoming.room()
    }

    /// `n` bytes were read into the front of the last [`read_buffer`](Self::read_buffer). Take
    /// the events before reading again: it keeps the buffer small.
    pub fn handle_read(&mut self, n: usize, now: Instant) {
        if self.has_socket() {
            self.incoming.filled(n);
            self.read_at = Some(now);
        }
    }

    /// Bytes came that were read into a buffer of the driver's; they are copied.
    pub fn handle_data(&mut self, data: &[u8], now: Instant) {
        if self.has_socket() {
            self.incoming.extend(data);
            self.read_at = Some(now);
        }
    }

    /// The broker closed the connection. A driver reports a reset connection the same way.
    pub fn handle_eof(&mut self, now: Instant) {
        self.end(Ending::ClosedByBroker, now);
    }

    /// Reading or writing failed for good; `reason` is the whole text for the error handler, such
    /// as `read: ` and the system's words.
    pub fn handle_io_error(&mut self, reason: impl fmt::Display, now: Instant) {
        self.end(Ending::Error(ConnectionError::Io(reason.to_string())), now);
    }

    /// Time has passed: does what is due at `now`. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.throttled_until) {
            self.throttled_until = None;
        }
        // What has arrived has arrived in time, even when it was not looked at yet.
        if self.incoming.is_due() || self.ending.is_some() {
            return;
        }
        let error = match self.phase {
            Phase::Disconnected => return,
            Phase::Waiting(until) if until <= now => return self.dial(now),
            Phase::Waiting(_) => return,
            Phase::Dialing { deadline } if due(deadline) => ConnectionError::ConnectTimeout,
            Phase::Handshake { deadline, .. } if due(deadline) => ConnectionError::HandshakeTimeout,
            Phase::Dialing { .. } | Phase::Handshake { .. } => return,
            Phase::Ready => match self.in_flight.overdue(now) {
                Some(&Pending { api, version, .. }) => {
                    ConnectionError::RequestTimeout { api, version }
                }
                None => return,
            },
        };
        self.lose(Ending::Error(error), now);
    }
}

/// What to do next.
impl Connection {
    /// The next thing to do or to pass on; `None` when all is done for now.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if !self.has_socket() {
                return None;
            }
            match self.incoming.next() {
                Ok(Some(frame)) => self.take_response(frame),
                Ok(None) => {
                    self.incoming.trim(self.in_flight.is_empty());
                    let ending = self.ending.take()?;
                    self.lose_where_read(ending);
                }
                Err(error) => self.lose_where_read(Ending::Error(error)),
            }
        }
    }

    /// What to write now; `None` when there is nothing, or while throttled.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        match self.throttled_until {
            Some(_) => None,
            None => self.outgoing.poll(),
        }
    }

    /// The socket took the first `n` bytes of what `poll_transmit` offered.
    pub fn transmitted(&mut self, n: usize) {
        self.outgoing.advance(n);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest; `None` means that
    /// nothing depends on time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = match self.phase {
            Phase::Disconnected => None,
            Phase::Waiting(until) => Some(until),
            Phase::Dialing { deadline } | Phase::Handshake { deadline, .. } => deadline,
            Phase::Ready => self.in_flight.earliest_deadline(),
        };
        [deadline, self.throttled_until].into_iter().flatten().min()
    }
}
