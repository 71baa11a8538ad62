//! The transitions behind the public methods.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::api::{correlation_id, strip_response_header};
use kafka_wire::{ApiKey, RequestHeader, Writer};

use super::{Connection, Ending, Phase, Target};
use crate::error::{ConnectionError, SendError};
use crate::event::Event;
use crate::handshake::{Handshake, Question, Step};
use crate::inflight::Pending;
use crate::versions;

/// Making and losing the connection.
impl Connection {
    pub(super) fn has_socket(&self) -> bool {
        matches!(self.phase, Phase::Handshake { .. } | Phase::Ready)
    }

    fn phase_deadline(&self, now: Instant) -> Option<Instant> {
        self.target
            .timeout
            .and_then(|timeout| now.checked_add(timeout))
    }

    pub(super) fn dial(&mut self, now: Instant) {
        self.phase = Phase::Dialing {
            deadline: self.phase_deadline(now),
        };
        let Target { host, port, .. } = &self.target;
        self.events.push_back(Event::Dial {
            host: host.clone(),
            port: *port,
        });
    }

    /// Begins a phase of the handshake, whose time starts now.
    pub(super) fn enter(&mut self, step: Handshake, now: Instant) {
        self.phase = Phase::Handshake {
            step,
            deadline: self.phase_deadline(now),
        };
        if let Err(error) = self.ask(step) {
            self.lose(Ending::Error(ConnectionError::Io(error.to_string())), now);
        }
    }

    fn ask(&mut self, step: Handshake) -> Result<(), SendError> {
        let Question { api, version, body } = step.question()?;
        let correlation_id = self.enqueue(api, version, body)?;
        let deadline = None; // the phase has one
        self.in_flight.push(Pending {
            token: None,
            correlation_id,
            api,
            version,
            deadline,
        });
        Ok(())
    }

    /// What arrived before takes effect before this does: see `poll_event`.
    pub(super) fn end(&mut self, ending: Ending, now: Instant) {
        if self.has_socket() && self.ending.is_none() {
            self.ending = Some(ending);
            self.read_at = Some(now);
        }
    }

    /// Gives the connection up without having been asked to.
    pub(super) fn lose(&mut self, ending: Ending, now: Instant) {
        self.drop_transport();
        if let Ending::Error(error) = &ending {
            self.events.push_back(Event::Error(error.to_string()));
        }
        self.fail_pending(&ending.reason());
        self.events.push_back(Event::Disconnected);
        if self.auto_reconnect {
            let delay = self.backoff.next_delay();
            self.phase = now
                .checked_add(delay)
                .map_or(Phase::Disconnected, Phase::Waiting);
        }
    }

    /// As `lose`, at the time when the last bytes came.
    pub(super) fn lose_where_read(&mut self, ending: Ending) {
        match self.read_at {
            Some(at) => self.lose(ending, at),
            None => debug_assert!(false, "bytes come at a time"),
        }
    }

    /// Leaves no socket and nothing that belonged to it, except the unanswered requests. Tells
    /// whether there was a connection or an attempt at one.
    pub(super) fn drop_transport(&mut self) -> bool {
        let was_active = !matches!(self.phase, Phase::Disconnected | Phase::Waiting(_));
        self.phase = Phase::Disconnected;
        self.incoming.clear();
        self.outgoing.clear();
        self.throttled_until = None;
        self.ending = None;
        if was_active {
            // A dial that the driver has not heard of needs no closing.
            let heard = self.events.len();
            self.events
                .retain(|event| !matches!(event, Event::Dial { .. }));
            if self.events.len() == heard {
                self.events.push_back(Event::Close);
            }
        }
        self.events.retain(|event| *event != Event::Ready);
        was_active
    }

    pub(super) fn fail_pending(&mut self, reason: &str) {
        for pending in self.in_flight.take() {
            if let Some(token) = pending.token {
                self.events.push_back(Event::Failed {
                    token,
                    reason: reason.into(),
                });
            }
        }
    }
}

/// Requests and responses.
impl Connection {
    pub(super) fn enqueue_checked(
        &mut self,
        api: ApiKey,
        version: i16,
        body: Writer,
    ) -> Result<i32, SendError> {
        if self.phase != Phase::Ready {
            return Err(SendError::NotConnected);
        }
        versions::check(self.api_versions.as_ref(), api, version).map_err(SendError::Version)?;
        self.enqueue(api, version, body)
    }

    /// Frames a request and queues its bytes; returns its correlation id.
    fn enqueue(&mut self, api: ApiKey, version: i16, body: Writer) -> Result<i32, SendError> {
        let correlation_id = self.next_correlation_id;
        let client_id = Some(self.client_id.clone());
        let mut header = Writer::new();
        RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
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

    /// Matches a response with the oldest unanswered request.
    pub(super) fn take_response(&mut self, frame: Bytes) {
        match self.matched(frame) {
            Ok((
                Some(Pending {
                    token: Some(token),
                    api,
                    version,
                    ..
                }),
                body,
            )) => {
                self.events.push_back(Event::Answer {
                    token,
                    api,
                    version,
                    body,
                });
            }
            Ok((_, body)) => self.continue_handshake(body),
            Err(error) => self.lose_where_read(Ending::Error(error)),
        }
    }

    fn matched(&mut self, frame: Bytes) -> Result<(Option<Pending>, Bytes), ConnectionError> {
        let got = correlation_id(&frame).ok_or(ConnectionError::ResponseTooShort)?;
        let oldest = self.in_flight.oldest();
        let expected = oldest.map(|pending| pending.correlation_id);
        let Some(pending) = oldest.filter(|_| expected == Some(got)) else {
            return Err(ConnectionError::CorrelationIdMismatch { expected, got });
        };
        // Only now may the request leave the queue: one whose answer has a broken header fails
        // with the connection.
        let (_, body) = strip_response_header(frame, pending.api, pending.version)
            .map_err(|_| ConnectionError::ResponseTooShort)?;
        Ok((self.in_flight.pop(), body))
    }

    fn continue_handshake(&mut self, body: Bytes) {
        let Phase::Handshake { step, .. } = self.phase else {
            return;
        };
        match step.answer(body) {
            Ok(Step::Ready(api_versions)) => {
                self.api_versions = Some(api_versions);
                self.phase = Phase::Ready;
                self.events.push_back(Event::Ready);
            }
            Err(error) => self.lose_where_read(Ending::Error(error)),
        }
    }
}
