//! The state machine.

mod authentication;
mod counting;
mod transitions;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::{ApiKey, Writer};

use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::{ConnectionError, SendError, VersionError};
use crate::event::{Event, SaltingId, State, Token, TokenRequestId};
use crate::handshake::Introduction;
use crate::inflight::Pending;
use crate::link::{Ending, Link, Stage};
use crate::sasl::{SaltedPassword, SaslSettings};
use crate::secret::Secret;
use crate::session::Outgoing;
use crate::stats::Stats;
use crate::tls::TlsSettings;
use crate::transmit::Transmit;
use crate::versions::{self, ApiVersions, Features};

use self::authentication::Authentication;

/// The delay before the first attempt to reconnect unless
/// [`set_auto_reconnect`](Connection::set_auto_reconnect) says otherwise.
const DEFAULT_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// The longest time for which a broker is obeyed when it wants nothing to be sent. Quotas are
/// counted over seconds (`quota.window.num` and `quota.window.size.seconds`, 11 by default), and
/// a broker that is still throttling then reads no further; a field of 32 bits can say 24 days.
const MAX_THROTTLE: Duration = Duration::from_secs(300);

/// One connection to one broker, and after its loss the next one to the same broker.
///
/// It does no I/O and reads no clock. Its methods are of four kinds:
///
/// * **Getters** tell how things stand: [`state`](Self::state), [`pending`](Self::pending),
///   [`api_versions`](Self::api_versions), [`features`](Self::features), [`version`](Self::version), [`is_stand_in`](Self::is_stand_in),
///   [`client_id`](Self::client_id), [`queued_bytes`](Self::queued_bytes),
///   [`buffered_bytes`](Self::buffered_bytes), [`has_last_words`](Self::has_last_words),
///   [`is_unsent`](Self::is_unsent), [`has_events`](Self::has_events), [`stats`](Self::stats).
/// * **`handle_*`** take in what happened outside: [`handle_dialed`](Self::handle_dialed),
///   [`handle_dial_failed`](Self::handle_dial_failed), [`handle_read`](Self::handle_read) (after
///   [`read_buffer`](Self::read_buffer)) or [`handle_data`](Self::handle_data),
///   [`handle_eof`](Self::handle_eof), [`handle_io_error`](Self::handle_io_error),
///   [`handle_unacknowledged`](Self::handle_unacknowledged),
///   [`handle_timeout`](Self::handle_timeout).
/// * **Commands** are the caller's wishes: [`connect`](Self::connect),
///   [`disconnect`](Self::disconnect), [`destroy`](Self::destroy), [`send`](Self::send),
///   [`send_small`](Self::send_small), [`send_oneway`](Self::send_oneway),
///   [`send_unanswered`](Self::send_unanswered), [`throttle`](Self::throttle),
///   [`set_auto_reconnect`](Self::set_auto_reconnect), [`set_client_id`](Self::set_client_id),
///   [`set_introduction`](Self::set_introduction), [`set_tls`](Self::set_tls), [`set_sasl`](Self::set_sasl),
///   [`provide_token`](Self::provide_token), [`provide_salted`](Self::provide_salted),
///   [`count`](Self::count), [`go_on_counting`](Self::go_on_counting),
///   [`tell_of_throttling`](Self::tell_of_throttling), [`throttled`](Self::throttled).
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
/// On an encrypted connection ([`set_tls`](Self::set_tls)) the bytes that a driver moves are
/// ciphertext. Nothing else is different for it, except that
/// [`has_last_words`](Self::has_last_words) may ask it to write once before step 1. What [`set_sasl`](Self::set_sasl) asks for may
/// add an event: [`Event::TokenNeeded`] or [`Event::SaltingNeeded`].
///
/// Points in time must not run backwards. A driver never has to remember which attempt something
/// belongs to: after [`Event::Close`] it reports nothing of the closed socket any more.
#[derive(Debug)]
pub struct Connection {
    client_id: Bytes,
    phase: Phase,
    target: Target,
    tls: Option<TlsSettings>,
    sasl: Option<SaslSettings>,
    /// How the connection that exists authenticates, if it does.
    authentication: Option<Authentication>,
    next_token_request: TokenRequestId,
    next_salting: SaltingId,
    auto_reconnect: bool,
    /// The last error was none that every attempt would meet with.
    may_connect_again: bool,
    /// It was that another broker than the one that is meant has answered.
    met_another: bool,
    backoff: Backoff,
    introduction: Option<Introduction>,
    api_versions: Option<ApiVersions>,
    features: Option<Features>,
    next_token: Token,
    /// Of the requests that the last loss has failed, the first that was not sent.
    first_unsent: Option<Token>,
    /// What is counted, if anything is.
    stats: Option<Box<Stats>>,
    tells_of_throttling: bool,
    /// What `poll_event` yields before it looks at what the broker sent.
    events: VecDeque<Event>,
}

/// Where the connection is in its life.
#[derive(Debug)]
enum Phase {
    /// Nothing is to happen.
    Disconnected,
    /// The next attempt is to be made then.
    Waiting(Instant),
    /// The driver resolves and connects; it is to be done by the deadline.
    Dialing(Option<Instant>),
    /// There is a TCP connection.
    Open(Box<Link>),
}

/// Whom to connect to.
#[derive(Debug, Default)]
struct Target {
    host: String,
    port: u16,
    timeout: Option<Duration>,
}

impl Target {
    /// When a phase that begins now is to be over.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        self.timeout.and_then(|timeout| now.checked_add(timeout))
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
            tls: None,
            sasl: None,
            authentication: None,
            next_token_request: 1,
            next_salting: 1,
            auto_reconnect: false,
            may_connect_again: true,
            met_another: false,
            backoff: Backoff::new(DEFAULT_RECONNECT_DELAY, config.jitter_seed),
            introduction: None,
            api_versions: None,
            features: None,
            next_token: 1,
            first_unsent: None,
            stats: None,
            tells_of_throttling: false,
            events: VecDeque::new(),
        }
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Disconnected | Phase::Waiting(_) => State::Disconnected,
            Phase::Dialing(_) => State::Connecting,
            Phase::Open(link) => match link.stage {
                Stage::Handshake(step, _) => step.state(),
                Stage::Ready => State::Ready,
            },
        }
    }

    /// How many requests await an answer that `poll_event` has not yielded yet.
    pub fn pending(&self) -> usize {
        self.link().map_or(0, Link::pending)
    }

    /// What the broker advertised in the handshake; `None` before it. It stays readable after a
    /// loss, until the next attempt.
    pub fn api_versions(&self) -> Option<&ApiVersions> {
        self.api_versions.as_ref()
    }

    /// What the broker told of features in the handshake, if it did; see
    /// [`set_introduction`](Self::set_introduction). Readable for as long as
    /// [`api_versions`](Self::api_versions).
    pub fn features(&self) -> Option<&Features> {
        self.features.as_ref()
    }

    /// Whether the peer is no broker but stands in for one, for programs that were written against this library's
    /// first releases: it advertises neither DescribeGroups nor ListGroups.
    pub fn is_stand_in(&self) -> bool {
        versions::is_stand_in(self.api_versions())
    }

    /// The version to speak for `api`: the highest that both sides know, or
    /// [`ApiKey::fallback_version`] when a stand-in did not advertise the API (KIP-35).
    ///
    /// # Errors
    /// The broker advertised only versions that this client does not speak, or not the API.
    pub fn version(&self, api: ApiKey) -> Result<i16, VersionError> {
        self.version_up_to(api, i16::MAX)
    }

    /// The same for a request that newer versions than `most` cannot express.
    ///
    /// # Errors
    /// The broker advertised only others, or not the API.
    pub fn version_up_to(&self, api: ApiKey, most: i16) -> Result<i16, VersionError> {
        versions::negotiate(self.api_versions(), api, most).map_err(|error| self.named(error))
    }

    /// Says which broker it is.
    fn named(&self, error: VersionError) -> VersionError {
        let node_id = self.introduction.as_ref().and_then(|who| who.node_id);
        VersionError { node_id, ..error }
    }

    /// The client id sent with requests.
    pub fn client_id(&self) -> &Bytes {
        &self.client_id
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.link().map_or(0, Link::queued_bytes)
    }

    /// Memory held by the read buffer, in bytes.
    pub fn buffered_bytes(&self) -> usize {
        self.link().map_or(0, Link::buffered_bytes)
    }

    /// Whether TLS has failed and the broker is still to be told why by an alert. The events that
    /// follow drop the socket: a driver writes before it takes them, as far as the socket lets it.
    pub fn has_last_words(&self) -> bool {
        self.link().is_some_and(Link::has_last_words)
    }

    /// Whether a request that has failed was not written as a whole, so that no broker can have
    /// read it. Answers for those that the last loss of a connection has failed.
    pub fn is_unsent(&self, token: Token) -> bool {
        self.first_unsent.is_some_and(|first| token >= first)
    }

    fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Open(link) => Some(link),
            _ => None,
        }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Open(link) => Some(link),
            _ => None,
        }
    }

    fn ready_link(&mut self) -> Option<&mut Link> {
        self.link_mut().filter(|link| link.stage == Stage::Ready)
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
        self.close("reconnecting");
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
        if self.close("disconnected") {
            self.events.push_back(Event::Disconnected);
        }
    }

    /// The owner goes away: as `disconnect`, but unanswered requests fail with `destroyed`, and
    /// no `Error` or `Disconnected` is reported any more. The credentials are forgotten.
    pub fn destroy(&mut self) {
        self.close("destroyed");
        // Whoever still holds the value holds no credentials with it.
        (self.tls, self.sasl) = (None, None);
        self.events
            .retain(|event| !matches!(event, Event::Error(_) | Event::Disconnected));
    }

    /// Whether an attempt after the last [`Event::Error`] may end otherwise, with what is configured.
    pub fn may_connect_again(&self) -> bool {
        self.may_connect_again
    }

    /// Whether the last [`Event::Error`] said that another broker than the one that is meant has answered, or one
    /// of another cluster (KIP-1242).
    pub fn met_another(&self) -> bool {
        self.met_another
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

    /// How to introduce oneself on the connections that are made from now on (KIP-511); `None` asks for no more
    /// than every broker answers, and tells nothing of features.
    pub fn set_introduction(&mut self, introduction: Option<Introduction>) {
        self.introduction = introduction;
    }

    /// Encrypts the connections that are made from now on; `None` makes them plain. The one that
    /// exists stays as it is.
    pub fn set_tls(&mut self, settings: Option<TlsSettings>) {
        self.tls = settings;
    }

    /// Authenticates on the connections that are made from now on; `None` leaves that out. The
    /// one that exists stays with what it began with, also when it authenticates again (KIP-368).
    pub fn set_sasl(&mut self, settings: Option<SaslSettings>) {
        self.sasl = settings;
    }

    /// Answers [`Event::TokenNeeded`]: a token, or why there is none, which ends the connection.
    /// An answer that comes too late, when its connection has gone, changes nothing.
    pub fn provide_token(
        &mut self,
        id: TokenRequestId,
        token: Result<Secret, String>,
        now: Instant,
    ) {
        self.continue_with_token(id, token, now);
    }

    /// Answers [`Event::SaltingNeeded`]. An answer that comes too late, when its connection has
    /// gone, changes nothing.
    pub fn provide_salted(&mut self, id: SaltingId, salted: &SaltedPassword, now: Instant) {
        self.continue_with_salted(id, salted, now);
    }

    /// Queues a request whose `body` was encoded at `version`. Exactly one `Answer` or `Failed`
    /// with the returned token follows.
    ///
    /// When nothing has come from the broker for `patience` after it had the request, or when for
    /// so long nothing of what waits could be written, not counting throttled time, the request
    /// fails, and with it the connection: answers come in order. `None` waits for ever.
    ///
    /// # Errors
    /// Not in [`State::Ready`], or the broker advertised `api` without `version`.
    pub fn send(
        &mut self,
        api: ApiKey,
        version: i16,
        body: Writer,
        patience: Option<Duration>,
        now: Instant,
    ) -> Result<Token, SendError> {
        self.queue(api, version, body, patience, false, now)
    }

    /// Queues a request that the broker does not answer, for somebody who wants to know when it
    /// has left: exactly one `Written` or `Failed` with the returned token follows.
    ///
    /// When for `patience` nothing could be written, not counting throttled time, the request
    /// fails, and with it the connection. `None` waits for ever.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_unanswered(
        &mut self,
        api: ApiKey,
        version: i16,
        body: Writer,
        patience: Option<Duration>,
        now: Instant,
    ) -> Result<Token, SendError> {
        self.queue(api, version, body, patience, true, now)
    }

    fn queue(
        &mut self,
        api: ApiKey,
        version: i16,
        body: Writer,
        patience: Option<Duration>,
        is_oneway: bool,
        now: Instant,
    ) -> Result<Token, SendError> {
        let token = self.next_token;
        let (link, client_id) = self.link_for(api, version)?;
        let request = Outgoing {
            client_id,
            token: Some(token),
            is_oneway,
            api,
            version,
            body,
            patience,
        };
        link.send(request, now)?;
        self.next_token += 1;
        self.count_sent(api, (!is_oneway).then_some(token), now);
        Ok(token)
    }

    /// Whether `poll_event` has something to say without looking at what the broker sent.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// As [`send`](Self::send) with a body of a few kilobytes at most, which is copied.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_small(
        &mut self,
        api: ApiKey,
        version: i16,
        body: &[u8],
        patience: Option<Duration>,
        now: Instant,
    ) -> Result<Token, SendError> {
        let token = self.next_token;
        let (link, client_id) = self.link_for(api, version)?;
        link.send_small(client_id, token, (api, version), body, patience, now)?;
        self.next_token += 1;
        self.count_sent(api, Some(token), now);
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
        now: Instant,
    ) -> Result<(), SendError> {
        let (link, client_id) = self.link_for(api, version)?;
        let request = Outgoing {
            client_id,
            token: None,
            is_oneway: true,
            api,
            version,
            body,
            patience: None,
        };
        link.send(request, now)?;
        self.count_sent(api, None, now);
        Ok(())
    }

    /// Obeys an answer's `throttle_time_ms` (KIP-219): nothing is sent for that long, and the
    /// deadlines of requests leave that time out. Zero and less do nothing, and five minutes are
    /// the most.
    pub fn throttle(&mut self, throttle_time_ms: i32, now: Instant) {
        let time = Duration::from_millis(u64::try_from(throttle_time_ms).unwrap_or(0));
        let time = time.min(MAX_THROTTLE);
        if let Some(link) = self.ready_link().filter(|_| !time.is_zero()) {
            link.throttle(time, now);
        }
    }

    fn link_for(&mut self, api: ApiKey, version: i16) -> Result<(&mut Link, Bytes), SendError> {
        if self.link().is_none_or(|link| link.stage != Stage::Ready) {
            return Err(SendError::NotConnected);
        }
        versions::check(self.api_versions(), api, version)
            .map_err(|error| SendError::Version(self.named(error)))?;
        let Phase::Open(link) = &mut self.phase else {
            return Err(SendError::NotConnected);
        };
        Ok((link, self.client_id.clone()))
    }
}

/// What happened outside.
impl Connection {
    /// The TCP connection that [`Event::Dial`] asked for is made.
    pub fn handle_dialed(&mut self, now: Instant) {
        if self.driver_dials() {
            self.backoff.reset();
            self.open(now);
        }
    }

    /// The TCP connection could not be made; `reason` is a [`DialError`](crate::DialError) or
    /// its text.
    pub fn handle_dial_failed(&mut self, reason: impl fmt::Display, now: Instant) {
        if self.driver_dials() {
            self.lose(
                Ending::Error(ConnectionError::Driver(reason.to_string())),
                now,
            );
        }
    }

    /// Room for the next read from the socket: initialised, and 4 to 512 KiB, following
    /// what the broker sends; empty without a socket. Whatever is read into its front is announced
    /// by [`handle_read`](Self::handle_read).
    pub fn read_buffer(&mut self) -> &mut [u8] {
        self.link_mut().map_or(&mut [], Link::read_buffer)
    }

    /// `n` bytes were read into the front of the last [`read_buffer`](Self::read_buffer). Take
    /// the events before reading again: it keeps the buffer small.
    pub fn handle_read(&mut self, n: usize, now: Instant) {
        self.count_read(n);
        if let Some(link) = self.link_mut() {
            link.handle_read(n, now);
            self.continue_if_secured(now);
        }
    }

    /// Bytes came that were read into a buffer of the driver's; they are copied.
    pub fn handle_data(&mut self, data: &[u8], now: Instant) {
        self.count_read(data.len());
        if let Some(link) = self.link_mut() {
            link.handle_data(data, now);
            self.continue_if_secured(now);
        }
    }

    /// The broker closed the connection. A driver reports a reset connection the same way.
    pub fn handle_eof(&mut self, now: Instant) {
        if let Some(link) = self.link_mut() {
            link.handle_ending(Ending::ClosedByBroker, now);
        }
    }

    /// Reading or writing failed for good; `reason` is the whole text for the error handler, such
    /// as `read: ` and the system's words. After a failed write a driver reads on to the end
    /// first, because answers may have arrived before it.
    pub fn handle_io_error(&mut self, reason: impl fmt::Display, now: Instant) {
        if let Some(link) = self.link_mut() {
            let error = ConnectionError::Driver(reason.to_string());
            link.handle_ending(Ending::Error(error), now);
        }
    }

    /// Of what was written, the broker's system has not acknowledged so many bytes. A driver that
    /// can find that out says so now and then: what is on its way over a slow connection is not
    /// late.
    pub fn handle_unacknowledged(&mut self, bytes: usize, now: Instant) {
        if let Some(link) = self.link_mut() {
            link.unacknowledged(bytes, now);
        }
    }

    /// Time has passed: does what is due at `now`. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let error = match &mut self.phase {
            Phase::Waiting(until) if *until <= now => return self.dial(now),
            Phase::Dialing(Some(deadline)) if *deadline <= now => ConnectionError::ConnectTimeout,
            Phase::Open(link) => match link.handle_timeout(now) {
                Some(error) => error,
                None if link.begins_renewal(now) => return self.authenticate(now),
                None => return,
            },
            Phase::Disconnected | Phase::Waiting(_) | Phase::Dialing(_) => return,
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
            let link = self.link_mut()?;
            let heard_at = link.heard_at();
            match link.next_response() {
                Ok(Some((request, body))) => match request.token {
                    Some(token) => {
                        let Pending { api, version, .. } = request;
                        self.count_answered(token, api, heard_at);
                        return Some(Event::Answer {
                            token,
                            api,
                            version,
                            body,
                        });
                    }
                    None => self.continue_handshake(request.version, body, heard_at),
                },
                Ok(None) => return None,
                Err(ending) => self.lose(ending, heard_at),
            }
        }
    }

    /// What to write now; `None` when there is nothing, or while throttled.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.link_mut()?.poll_transmit()
    }

    /// The socket took the first `n` bytes of what `poll_transmit` offered. Events may follow:
    /// see [`has_events`](Self::has_events).
    pub fn transmitted(&mut self, n: usize, now: Instant) {
        let Phase::Open(link) = &mut self.phase else {
            return;
        };
        link.transmitted(n, now);
        if let Some(stats) = &mut self.stats {
            stats.transmitted(n, link.written(), now);
        }
        while let Some(token) = link.pop_written() {
            self.events.push_back(Event::Written { token });
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest; `None` means that
    /// nothing depends on time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Disconnected => None,
            Phase::Waiting(until) => Some(*until),
            Phase::Dialing(deadline) => *deadline,
            Phase::Open(link) => link.poll_timeout(),
        }
    }
}
