//! How a connection gets from one phase to the next.

use std::mem;
use std::time::Instant;

use bytes::Bytes;

use super::{Connection, Phase, Target};
use crate::error::ConnectionError;
use crate::event::Event;
use crate::handshake::{Handshake, Question, Step};
use crate::link::{Ending, Link, Stage};

impl Connection {
    pub(super) fn dial(&mut self, now: Instant) {
        self.api_versions = None;
        self.phase = Phase::Dialing(self.target.deadline(now));
        let Target { host, port, .. } = &self.target;
        self.events.push_back(Event::Dial {
            host: host.clone(),
            port: *port,
        });
    }

    /// Whether the driver is dialing now. While the wish for it is still queued, what a driver
    /// reports is about an attempt that was given up.
    pub(super) fn driver_dials(&self) -> bool {
        matches!(self.phase, Phase::Dialing(_)) && !self.dial_is_queued()
    }

    fn dial_is_queued(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Dial { .. }))
    }

    /// Begins a phase of the handshake, whose time starts now.
    pub(super) fn enter(&mut self, step: Handshake, now: Instant) {
        let deadline = self.target.deadline(now);
        let client_id = self.client_id.clone();
        let Some(link) = self.link_mut() else { return };
        link.stage = Stage::Handshake(step, deadline);
        let asked = step.question().and_then(|Question { api, version, body }| {
            let correlation_id = link.enqueue(client_id, api, version, body)?;
            link.expect(correlation_id, None, api, version, None);
            Ok(())
        });
        if let Err(error) = asked {
            self.lose(Ending::Error(ConnectionError::Handshake(error)), now);
        }
    }

    pub(super) fn continue_handshake(&mut self, body: Bytes, now: Instant) {
        let Some(link) = self.link_mut() else { return };
        let Stage::Handshake(step, _) = link.stage else {
            return;
        };
        match step.answer(body) {
            Ok(Step::Ready(api_versions)) => {
                link.stage = Stage::Ready;
                self.api_versions = Some(api_versions);
                self.events.push_back(Event::Ready);
            }
            Err(error) => self.lose(Ending::Error(error), now),
        }
    }

    /// Gives the connection up without having been asked to.
    pub(super) fn lose(&mut self, ending: Ending, now: Instant) {
        let unanswered = self.drop_transport();
        if let Ending::Error(error) = &ending {
            self.events.push_back(Event::Error(error.to_string()));
        }
        self.fail(unanswered, &ending.reason());
        self.events.push_back(Event::Disconnected);
        if self.auto_reconnect {
            let delay = self.backoff.next_delay();
            self.phase = now
                .checked_add(delay)
                .map_or(Phase::Disconnected, Phase::Waiting);
        }
    }

    /// Leaves no connection, no attempt and none to come; tells whether there was one of the
    /// first two.
    pub(super) fn close(&mut self, reason: &str) -> bool {
        let was_active = !matches!(self.phase, Phase::Disconnected | Phase::Waiting(_));
        let unanswered = self.drop_transport();
        self.fail(unanswered, reason);
        was_active
    }

    /// Has the driver drop its socket or stop dialing, and returns what is left unanswered.
    pub(super) fn drop_transport(&mut self) -> Option<Box<Link>> {
        match mem::replace(&mut self.phase, Phase::Disconnected) {
            Phase::Disconnected | Phase::Waiting(_) => None,
            // A dial that the driver has not heard of needs no closing.
            Phase::Dialing(_) if self.dial_is_queued() => {
                self.events
                    .retain(|event| !matches!(event, Event::Dial { .. }));
                None
            }
            Phase::Dialing(_) => {
                self.events.push_back(Event::Close);
                None
            }
            Phase::Open(link) => {
                self.events.push_back(Event::Close);
                Some(link)
            }
        }
    }

    pub(super) fn fail(&mut self, link: Option<Box<Link>>, reason: &str) {
        let unanswered = link.into_iter().flat_map(|link| link.into_unanswered());
        let tokens = unanswered.filter_map(|request| request.token);
        self.events.extend(tokens.map(|token| Event::Failed {
            token,
            reason: reason.into(),
        }));
    }
}
