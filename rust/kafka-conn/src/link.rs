//! What belongs to one TCP connection and ends with it.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::api::{correlation_id, strip_response_header};
use kafka_wire::{ApiKey, RequestHeader, Writer};

use crate::error::{ConnectionError, SendError};
use crate::event::Token;
use crate::frames::FrameBuffer;
use crate::handshake::Handshake;
use crate::inflight::{InFlight, Pending};
use crate::transmit::{Transmit, TransmitQueue};

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
    in_flight: InFlight,
    next_correlation_id: i32,
    /// Until then nothing is sent (KIP-219).
    throttled_until: Option<Instant>,
    /// What comes after the bytes in `incoming`.
    ending: Option<Ending>,
    /// When something last came from the socket.
    heard_at: Instant,
}

impl Link {
    pub(crate) fn new(stage: Stage, now: Instant) -> Self {
        Link {
            stage,
            incoming: FrameBuffer::new(),
            outgoing: TransmitQueue::default(),
            in_flight: InFlight::default(),
            next_correlation_id: 1,
            throttled_until: None,
            ending: None,
            heard_at: now,
        }
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.outgoing.len()
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.incoming.allocated()
    }

    /// The end of this connection: what is left unanswered, oldest first.
    pub(crate) fn into_unanswered(mut self) -> impl Iterator<Item = Pending> {
        self.in_flight.take()
    }
}

/// Outgoing.
impl Link {
    /// Frames a request and queues its bytes; returns its correlation id.
    pub(crate) fn enqueue(
        &mut self,
        client_id: Bytes,
        api: ApiKey,
        version: i16,
        body: Writer,
    ) -> Result<i32, SendError> {
        let correlation_id = self.next_correlation_id;
        let mut header = Writer::new();
        RequestHeader {
            api,
            version,
            correlation_id,
            client_id: Some(client_id),
        }
        .encode(&mut header)
        .map_err(|error| SendError::Encode(error.to_string()))?;
        let size = i32::try_from(header.len() + body.len()).map_err(|_| SendError::TooLarge)?;
        let mut size_field = BytesMut::with_capacity(4);
        size_field.put_i32(size);
        self.outgoing.push(size_field.freeze());
        for segment in header
            .into_segments()
            .into_iter()
            .chain(body.into_segments())
        {
            self.outgoing.push(segment);
        }
        self.next_correlation_id = correlation_id.checked_add(1).unwrap_or(1);
        Ok(correlation_id)
    }

    /// Awaits the answer to a queued request.
    pub(crate) fn expect(
        &mut self,
        correlation_id: i32,
        token: Option<Token>,
        api: ApiKey,
        version: i16,
        deadline: Option<Instant>,
    ) {
        self.in_flight.push(Pending {
            token,
            correlation_id,
            api,
            version,
            deadline,
        });
    }

    /// When a request that is queued at `now` can leave at the earliest.
    pub(crate) fn sendable_at(&self, now: Instant) -> Instant {
        self.throttled_until.map_or(now, |until| until.max(now))
    }

    /// Sends nothing for `time` from now and leaves that time out of all deadlines.
    pub(crate) fn throttle(&mut self, time: Duration, now: Instant) {
        let Some(until) = now.checked_add(time) else {
            return;
        };
        let before = self.sendable_at(now);
        if until > before {
            self.in_flight.postpone(until - before);
            self.throttled_until = Some(until);
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        match self.throttled_until {
            Some(_) => None,
            None => self.outgoing.poll(),
        }
    }

    pub(crate) fn transmitted(&mut self, n: usize) {
        self.outgoing.advance(n);
    }
}

/// Incoming.
impl Link {
    pub(crate) fn read_buffer(&mut self) -> &mut [u8] {
        self.incoming.room()
    }

    pub(crate) fn handle_read(&mut self, n: usize, now: Instant) {
        self.incoming.filled(n);
        self.heard_at = now;
    }

    pub(crate) fn handle_data(&mut self, data: &[u8], now: Instant) {
        self.incoming.extend(data);
        self.heard_at = now;
    }

    /// Nothing follows the bytes that are here already.
    pub(crate) fn handle_ending(&mut self, ending: Ending, now: Instant) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.heard_at = now;
        }
    }

    /// The next response and the request that it answers; after the last one that has arrived,
    /// how the connection ends, if it does.
    pub(crate) fn next_response(&mut self) -> Result<Option<(Pending, Bytes)>, Ending> {
        let Some(frame) = self.incoming.next().map_err(Ending::Error)? else {
            self.incoming.trim(self.in_flight.is_empty());
            return self.ending.take().map_or(Ok(None), Err);
        };
        self.matched(frame).map(Some).map_err(Ending::Error)
    }

    /// Answers come in the order of the requests, so only the oldest one can be meant.
    fn matched(&mut self, frame: Bytes) -> Result<(Pending, Bytes), ConnectionError> {
        let got = correlation_id(&frame).ok_or(ConnectionError::ResponseTooShort)?;
        let mismatch = |expected| ConnectionError::CorrelationIdMismatch { expected, got };
        let oldest = self.in_flight.oldest().ok_or(mismatch(None))?;
        if oldest.correlation_id != got {
            return Err(mismatch(Some(oldest.correlation_id)));
        }
        // A request whose answer has a broken header stays in the queue and fails with the rest.
        let (_, body) = strip_response_header(frame, oldest.api, oldest.version)
            .map_err(|_| ConnectionError::ResponseTooShort)?;
        Ok((self.in_flight.pop().ok_or(mismatch(None))?, body))
    }
}

/// Time.
impl Link {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = match self.stage {
            Stage::Handshake(_, deadline) => deadline,
            Stage::Ready => self.in_flight.earliest_deadline(),
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
            Stage::Ready => {
                self.in_flight
                    .overdue(now)
                    .map(|pending| ConnectionError::RequestTimeout {
                        api: pending.api,
                        version: pending.version,
                    })
            }
        }
    }
}
