//! What belongs to one TCP connection and ends with it.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use kafka_wire::api::{correlation_id, strip_response_header};
use kafka_wire::{ApiKey, EncodeError, RequestHeader, Writer};
use zeroize::Zeroizing;

use crate::error::{ConnectionError, SendError};
use crate::event::Token;
use crate::frames::{FrameBuffer, MAX_HANDSHAKE_RESPONSE_SIZE, MAX_RESPONSE_SIZE};
use crate::handshake::Handshake;
use crate::inflight::{InFlight, Pending};
use crate::oneway::{Oneway, Oneways};
use crate::sasl::SaslError;
use crate::session::{HeldRequests, Outgoing, Session};
use crate::tls::{Peer, TlsStream};
use crate::transmit::{Transmit, TransmitQueue};

/// Length of a request's size field.
const SIZE_FIELD: usize = 4;

fn encode_error(error: EncodeError) -> SendError {
    SendError::Encode(error.to_string())
}

/// How many correlation ids lie between two; after the highest follows 1.
fn distance(from: i32, to: i32) -> i64 {
    (i64::from(to) - i64::from(from)).rem_euclid(i32::MAX.into())
}

/// How far a TCP connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In a phase of the handshake, which is to be over by the deadline.
    Handshake(Handshake, Option<Instant>),
    /// Requests can be sent.
    Ready,
}

/// Why a connection ends that nobody asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The broker closed it: brokers do so with idle connections, hence no error.
    ClosedByBroker,
    /// Something went wrong.
    Error(ConnectionError),
}

impl Ending {
    /// Why unanswered requests fail.
    pub(crate) fn reason(&self) -> String {
        match self {
            Ending::ClosedByBroker => "connection closed by broker".into(),
            Ending::Error(error) => error.to_string(),
        }
    }
}

/// An established TCP connection: bytes both ways and the requests that await an answer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stage: Stage,
    incoming: FrameBuffer,
    outgoing: TransmitQueue,
    /// How many bytes were ever queued in `outgoing`.
    queued: u64,
    /// Between the socket and the two of them, on an encrypted connection.
    tls: Option<Box<TlsStream>>,
    in_flight: InFlight,
    oneways: Oneways,
    next_correlation_id: i32,
    /// The correlation id that has come last; 0 before the first.
    last_answered: i32,
    /// Until then nothing is sent (KIP-219).
    throttled_until: Option<Instant>,
    /// When the authentication is to be renewed.
    pub(crate) session: Option<Session>,
    /// Whether requests wait for that.
    pub(crate) holding: bool,
    pub(crate) held: HeldRequests,
    /// When the renewal under way is to be over.
    renewal_deadline: Option<Instant>,
    renewal_timeout: Option<Duration>,
    /// Whether messages go to and fro without headers, one at a time.
    is_bare: bool,
    /// What comes after the bytes in `incoming`.
    ending: Option<Ending>,
    /// When something last came from the socket.
    heard_at: Instant,
}

impl Link {
    pub(crate) fn new(stage: Stage, tls: Option<Box<TlsStream>>, now: Instant) -> Self {
        Link {
            stage,
            incoming: FrameBuffer::new(),
            outgoing: TransmitQueue::default(),
            queued: 0,
            tls,
            in_flight: InFlight::default(),
            oneways: Oneways::default(),
            next_correlation_id: 1,
            last_answered: 0,
            throttled_until: None,
            session: None,
            holding: false,
            held: HeldRequests::default(),
            renewal_deadline: None,
            renewal_timeout: None,
            is_bare: false,
            ending: None,
            heard_at: now,
        }
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Where what was queued last ends in the stream of bytes.
    pub(crate) fn end(&self) -> u64 {
        self.queued
    }

    /// How many of the caller's requests await an answer.
    pub(crate) fn pending(&self) -> usize {
        self.in_flight.len() + self.held.callers()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        let encrypted = self.tls.as_ref().map_or(0, |tls| tls.queued_bytes());
        encrypted + self.outgoing.len() + self.held.bytes()
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        let encrypted = self.tls.as_ref().map_or(0, |tls| tls.buffered_bytes());
        encrypted + self.incoming.allocated()
    }

    /// Whether TLS, where it is wanted, is established.
    pub(crate) fn is_secured(&self) -> bool {
        !self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// What is to be told of the TLS session that has been established.
    pub(crate) fn tls_notice(&self) -> Option<String> {
        self.tls.as_ref()?.notice()
    }

    pub(crate) fn has_last_words(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_last_words())
    }

    /// The first of the caller's requests that the broker cannot have read as a whole, because
    /// not all of it was given to the socket. All after it are such, too.
    pub(crate) fn first_unsent(&self) -> Option<Token> {
        // What TLS has taken counts as given to the socket.
        let taken = self.queued - self.outgoing.len() as u64;
        let unsent = [
            self.in_flight.first_after(taken),
            self.oneways.first_after(taken),
        ];
        let first = unsent.into_iter().flatten().min();
        first.or_else(|| self.held.first())
    }

    /// The end of this connection: who is left without an answer, oldest first.
    pub(crate) fn into_unanswered(mut self) -> impl Iterator<Item = Token> {
        let in_flight = self.in_flight.take().filter_map(|request| request.token);
        let mut tokens: Vec<Token> = in_flight.chain(self.oneways.take()).collect();
        tokens.sort_unstable();
        tokens.extend(self.held.take().filter_map(|request| request.token));
        tokens.into_iter()
    }
}

/// Outgoing.
impl Link {
    /// Sends a request of the caller's, now or when the authentication has been renewed.
    pub(crate) fn send(&mut self, request: Outgoing, now: Instant) -> Result<(), SendError> {
        if !self.holding {
            return self.dispatch(request, now);
        }
        let Outgoing { api, version, .. } = request;
        self.next_header(request.client_id.clone(), api, version, request.body.len())?;
        let from = self.sendable_at(now);
        self.held.push(request, from);
        Ok(())
    }

    /// As [`Self::send`] with a small body, which is copied.
    pub(crate) fn send_small(
        &mut self,
        client_id: Bytes,
        token: Token,
        (api, version): (ApiKey, i16),
        body: &[u8],
        patience: Option<Duration>,
        now: Instant,
    ) -> Result<(), SendError> {
        if self.holding {
            let mut copy = Writer::new();
            copy.put_slice(body);
            let request = Outgoing {
                client_id,
                token: Some(token),
                is_oneway: false,
                api,
                version,
                body: copy,
                patience,
            };
            return self.send(request, now);
        }
        self.begin(client_id, api, version, body.len(), body)?;
        let id = self.number();
        self.expect(id, Some(token), (api, version), patience, now);
        Ok(())
    }

    fn dispatch(&mut self, request: Outgoing, now: Instant) -> Result<(), SendError> {
        let Outgoing { api, version, .. } = request;
        let id = self.enqueue(request.client_id, api, version, request.body)?;
        match request.token {
            Some(token) if request.is_oneway => {
                let oneway = Oneway {
                    token,
                    api,
                    version,
                    patience: request.patience,
                    end: self.queued,
                };
                let then = self.sendable_at(now);
                self.oneways.push(oneway, then);
            }
            Some(_) => self.expect(id, request.token, (api, version), request.patience, now),
            None => {}
        }
        Ok(())
    }

    /// Frames a request and queues its bytes; returns its correlation id.
    pub(crate) fn enqueue(
        &mut self,
        client_id: Bytes,
        api: ApiKey,
        version: i16,
        body: Writer,
    ) -> Result<i32, SendError> {
        self.begin(client_id, api, version, body.len(), &[])?;
        for segment in body.into_segments() {
            self.queued += segment.len() as u64;
            self.outgoing.push(segment);
        }
        Ok(self.number())
    }

    /// Queues the size field and the header of the next request, and the `start` of its body.
    fn begin(
        &mut self,
        client_id: Bytes,
        api: ApiKey,
        version: i16,
        body: usize,
        start: &[u8],
    ) -> Result<(), SendError> {
        let (size, header, header_len) = self.next_header(client_id, api, version, body)?;
        let len = SIZE_FIELD + header_len + start.len();
        self.queued += len as u64;
        let buffer = self.outgoing.append(len);
        buffer.put_i32(size);
        header.put(buffer).map_err(encode_error)?;
        buffer.extend_from_slice(start);
        Ok(())
    }

    /// As [`Self::enqueue`] with a body that is wiped from memory when it has been written.
    pub(crate) fn enqueue_secret(
        &mut self,
        client_id: Bytes,
        api: ApiKey,
        version: i16,
        body: &[u8],
    ) -> Result<i32, SendError> {
        let (size, header, header_len) = self.next_header(client_id, api, version, body.len())?;
        let mut frame = Zeroizing::new(Vec::with_capacity(SIZE_FIELD + header_len + body.len()));
        frame.put_i32(size);
        header.put(&mut *frame).map_err(encode_error)?;
        frame.extend_from_slice(body);
        self.queued += frame.len() as u64;
        self.outgoing.push_uncopied(Bytes::from_owner(frame));
        Ok(self.number())
    }

    /// The same of a message without a header, in an exchange of such messages that lasts until [`Self::end_bare`].
    pub(crate) fn enqueue_bare_secret(&mut self, message: &[u8]) -> Result<i32, SendError> {
        let size = i32::try_from(message.len()).map_err(|_| SendError::TooLarge)?;
        let mut frame = Zeroizing::new(Vec::with_capacity(SIZE_FIELD + message.len()));
        frame.put_i32(size);
        frame.extend_from_slice(message);
        self.queued += frame.len() as u64;
        self.outgoing.push_uncopied(Bytes::from_owner(frame));
        self.is_bare = true;
        Ok(self.number())
    }

    /// What follows are requests and answers again.
    pub(crate) fn end_bare(&mut self) {
        self.is_bare = false;
    }

    /// The size field and the header of the next request, and the length of the header.
    fn next_header(
        &self,
        client_id: Bytes,
        api: ApiKey,
        version: i16,
        body: usize,
    ) -> Result<(i32, RequestHeader, usize), SendError> {
        let header = RequestHeader {
            api,
            version,
            correlation_id: self.next_correlation_id,
            client_id: Some(client_id),
        };
        let header_len = header.encoded_len().map_err(encode_error)?;
        let size = i32::try_from(header_len + body).map_err(|_| SendError::TooLarge)?;
        Ok((size, header, header_len))
    }

    /// Hands out the correlation id of a request that was queued.
    fn number(&mut self) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.checked_add(1).unwrap_or(1);
        correlation_id
    }

    /// Awaits the answer to a queued request.
    pub(crate) fn expect(
        &mut self,
        correlation_id: i32,
        token: Option<Token>,
        (api, version): (ApiKey, i16),
        patience: Option<Duration>,
        now: Instant,
    ) {
        let pending = Pending {
            token,
            correlation_id,
            api,
            version,
            patience,
            end: self.queued,
        };
        self.in_flight.push(pending, now);
    }

    /// When a request that is queued at `now` can leave at the earliest.
    pub(crate) fn sendable_at(&self, now: Instant) -> Instant {
        self.throttled_until.map_or(now, |until| until.max(now))
    }

    /// Sends nothing for `time` from now and leaves that time out of all deadlines.
    pub(crate) fn throttle(&mut self, time: Duration, now: Instant) {
        let until = now + time;
        self.in_flight.heard(until);
        self.oneways.moved(until);
        let before = self.sendable_at(now);
        if until > before {
            let by = until - before;
            self.renewal_deadline = self.renewal_deadline.and_then(|at| at.checked_add(by));
            self.throttled_until = Some(until);
            // What is queued now would leave when the session is over.
            self.holding |= self.session.is_some_and(|session| session.is_due(until));
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        match (self.throttled_until, &mut self.tls) {
            (Some(_), _) => None,
            (None, None) => self.outgoing.poll(),
            (None, Some(tls)) => tls.poll_transmit(&mut self.outgoing),
        }
    }

    pub(crate) fn transmitted(&mut self, n: usize, now: Instant) {
        match &mut self.tls {
            None => self.outgoing.advance(n),
            Some(tls) => tls.transmitted(n),
        }
        if n > 0 {
            self.in_flight.moved(now);
            self.oneways.moved(now);
        }
        self.in_flight.written(self.written(), now);
    }

    /// The next request without an answer that has been written as a whole.
    pub(crate) fn pop_written(&mut self) -> Option<Token> {
        let written = self.written();
        self.oneways.pop_written(written)
    }

    /// Up to where the queued bytes have certainly left. Encrypted ones are never fewer than what
    /// they stand for.
    pub(crate) fn written(&self) -> u64 {
        let encrypted = self.tls.as_ref().map_or(0, |tls| tls.queued_bytes());
        (self.queued - self.outgoing.len() as u64).saturating_sub(encrypted as u64)
    }

    /// All that was written, but for so many bytes, has arrived at the broker's system.
    pub(crate) fn unacknowledged(&mut self, bytes: usize, now: Instant) {
        let arrived = self.written().saturating_sub(bytes as u64);
        self.in_flight.arrived(arrived, now);
    }
}

/// Incoming.
impl Link {
    pub(crate) fn read_buffer(&mut self) -> &mut [u8] {
        match &mut self.tls {
            None => self.incoming.room(),
            Some(tls) => tls.read_buffer(),
        }
    }

    pub(crate) fn handle_read(&mut self, n: usize, now: Instant) {
        match &mut self.tls {
            None => self.incoming.filled(n),
            Some(tls) => {
                let outcome = tls.handle_read(n, &mut self.incoming);
                self.handle_decrypted(outcome, now);
            }
        }
        self.heard(n, now);
    }

    pub(crate) fn handle_data(&mut self, data: &[u8], now: Instant) {
        match &mut self.tls {
            None => self.incoming.extend(data),
            Some(tls) => {
                let outcome = tls.handle_data(data, &mut self.incoming);
                self.handle_decrypted(outcome, now);
            }
        }
        self.heard(data.len(), now);
    }

    fn heard(&mut self, n: usize, now: Instant) {
        self.heard_at = now;
        if n > 0 {
            self.in_flight.heard(now);
        }
    }

    fn handle_decrypted(&mut self, outcome: Result<Peer, String>, now: Instant) {
        match outcome {
            Ok(Peer::Open) => {}
            Ok(Peer::Closed) => self.handle_ending(Ending::ClosedByBroker, now),
            Err(reason) => self.handle_ending(Ending::Error(ConnectionError::Tls(reason)), now),
        }
    }

    /// Nothing follows the bytes that are here already.
    pub(crate) fn handle_ending(&mut self, mut ending: Ending, now: Instant) {
        // What a broker does that was expecting something else than TLS.
        if ending == Ending::ClosedByBroker && !self.is_secured() {
            let reason = "the broker closed the connection during the handshake";
            ending = Ending::Error(ConnectionError::Tls(reason.into()));
        }
        if ending == Ending::ClosedByBroker && self.is_bare {
            ending = Ending::Error(ConnectionError::Sasl(SaslError::Closed));
        }
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.heard_at = now;
        }
    }

    /// The next response and the request that it answers; after the last one that has arrived,
    /// how the connection ends, if it does.
    pub(crate) fn next_response(&mut self) -> Result<Option<(Pending, Bytes)>, Ending> {
        let answered = loop {
            let max_size = self.max_response_size();
            self.incoming.set_sizes(max_size, self.is_bare);
            let Some(frame) = self.incoming.next().map_err(Ending::Error)? else {
                self.incoming.trim(self.in_flight.is_empty());
                return self.ending.take().map_or(Ok(None), Err);
            };
            if self.is_bare || !self.skips(&frame) {
                break self.matched(frame).map_err(Ending::Error)?;
            }
        };
        let next = self.in_flight.oldest();
        if self.renewal_deadline.is_some() && next.is_some_and(|next| next.token.is_none()) {
            self.expect_renewal(self.renewal_timeout, self.heard_at);
        }
        Ok(Some(answered))
    }

    /// How large the next answer may be: those to the caller's requests are what it asked for.
    fn max_response_size(&self) -> usize {
        let is_callers = |oldest: &Pending| oldest.token.is_some();
        match self.in_flight.oldest().is_some_and(is_callers) {
            true => MAX_RESPONSE_SIZE,
            false => MAX_HANDSHAKE_RESPONSE_SIZE,
        }
    }

    /// Some answer even what wants no answer, Produce with acks 0. As answers come in the order of the requests,
    /// that is what was numbered after the last one that has come and before the oldest that is awaited.
    fn skips(&mut self, frame: &[u8]) -> bool {
        let Some(got) = correlation_id(frame).filter(|&got| got > 0) else {
            return false;
        };
        let oldest = self.in_flight.oldest();
        let end = oldest.map_or(self.next_correlation_id, |oldest| oldest.correlation_id);
        let skipped = distance(self.last_answered, got);
        let is_unawaited = skipped > 0 && skipped < distance(self.last_answered, end);
        if is_unawaited {
            self.last_answered = got;
        }
        is_unawaited
    }

    /// Answers come in the order of the requests, so only the oldest one can be meant.
    fn matched(&mut self, frame: Bytes) -> Result<(Pending, Bytes), ConnectionError> {
        if self.is_bare {
            let unasked = ConnectionError::CorrelationIdMismatch {
                expected: None,
                got: 0,
            };
            let pending = self.in_flight.pop().ok_or(unasked)?;
            self.last_answered = pending.correlation_id;
            return Ok((pending, frame));
        }
        let got = correlation_id(&frame).ok_or(ConnectionError::ResponseTooShort)?;
        let mismatch = |expected| ConnectionError::CorrelationIdMismatch { expected, got };
        let oldest = self.in_flight.oldest().ok_or(mismatch(None))?;
        if oldest.correlation_id != got {
            return Err(mismatch(Some(oldest.correlation_id)));
        }
        // A request whose answer has a broken header stays in the queue and fails with the rest.
        let (_, body) = strip_response_header(frame, oldest.api, oldest.version)
            .map_err(|_| ConnectionError::ResponseTooShort)?;
        self.last_answered = got;
        Ok((self.in_flight.pop().ok_or(mismatch(None))?, body))
    }
}

/// Time.
impl Link {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = match self.stage {
            Stage::Handshake(_, deadline) => deadline,
            Stage::Ready => self.earliest_deadline(),
        };
        [deadline, self.throttled_until].into_iter().flatten().min()
    }

    /// What is overdue at `now`, if anything is.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<ConnectionError> {
        if self.throttled_until.is_some_and(|until| until <= now) {
            self.throttled_until = None;
        }
        // What has arrived has arrived in time, even when nobody has looked at it yet.
        if self.incoming.is_due() || self.ending.is_some() {
            return None;
        }
        match self.stage {
            Stage::Handshake(_, deadline) => deadline
                .filter(|&deadline| deadline <= now)
                .map(|_| ConnectionError::HandshakeTimeout),
            Stage::Ready => self.overdue(now),
        }
    }

    fn overdue(&self, now: Instant) -> Option<ConnectionError> {
        if self.renewal_timer().is_some_and(|deadline| deadline <= now) {
            return Some(ConnectionError::HandshakeTimeout);
        }
        let in_flight = self.in_flight.overdue(now);
        let held = self.held.overdue(now);
        let oneway = self.oneways.overdue(now);
        in_flight
            .map(|request| (request.api, request.version))
            .or(held.map(|request| (request.api, request.version)))
            .or(oneway.map(|request| (request.api, request.version)))
            .map(|(api, version)| ConnectionError::RequestTimeout { api, version })
    }

    fn earliest_deadline(&self) -> Option<Instant> {
        let hold_at = self.session.filter(|_| !self.holding);
        [
            self.in_flight.earliest_deadline(),
            self.held.earliest_deadline(),
            self.oneways.deadline(),
            self.session.and_then(|session| session.renew_at),
            hold_at.map(|session| session.hold_at),
            self.renewal_timer(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The deadline of the renewal under way. Its time does not run while the broker works off
    /// what came before: a JoinGroup may wait for minutes.
    fn renewal_timer(&self) -> Option<Instant> {
        let waits_for_others = self
            .in_flight
            .oldest()
            .is_some_and(|oldest| oldest.token.is_some());
        self.renewal_deadline.filter(|_| !waits_for_others)
    }
}

/// Renewing the authentication.
impl Link {
    /// The renewal is to be over within `timeout` of `from`, or of when the broker comes to it.
    pub(crate) fn expect_renewal(&mut self, timeout: Option<Duration>, from: Instant) {
        self.renewal_timeout = timeout;
        self.renewal_deadline = timeout.and_then(|timeout| from.checked_add(timeout));
    }

    /// Whether the authentication is to be renewed at `now`; true once a session. From shortly
    /// before the session's end on, requests wait.
    pub(crate) fn begins_renewal(&mut self, now: Instant) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        self.holding |= session.hold_at <= now;
        session.renew_at.take_if(|at| *at <= now).is_some()
    }

    /// The renewal is over: what was held leaves.
    ///
    /// # Errors
    /// None that did not show when the request was held.
    pub(crate) fn release(&mut self, now: Instant) -> Result<(), SendError> {
        self.holding = false;
        self.renewal_deadline = None;
        self.held
            .take()
            .try_for_each(|request| self.dispatch(request, now))
    }
}
