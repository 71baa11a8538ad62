//! How a connection gets from one phase to the next.

use std::mem;
use std::time::Instant;

use bytes::Bytes;

use super::authentication::Authentication;
use super::{Connection, Phase, Target};
use crate::error::{ConnectionError, SendError};
use crate::event::Event;
use crate::handshake::{self, Handshake, Offer, Question, Verdict};
use crate::link::{Ending, Link, Stage};
use crate::tls::TlsStream;

impl Connection {
    pub(super) fn dial(&mut self, now: Instant) {
        (self.api_versions, self.features) = (None, None);
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

    /// Starts the handshake on a new TCP connection.
    pub(super) fn open(&mut self, now: Instant) {
        self.authentication = self.sasl.clone().map(Authentication::new);
        let settings = self.tls.as_ref();
        let tls = settings.map(|settings| TlsStream::new(settings, &self.target.host));
        let (tls, error) = match tls.transpose() {
            Ok(tls) => (tls.map(Box::new), None),
            Err(reason) => (None, Some(ConnectionError::Tls(reason))),
        };
        let encrypted = tls.is_some();
        let stage = Stage::Handshake(Handshake::Tls, self.target.deadline(now));
        self.phase = Phase::Open(Box::new(Link::new(stage, tls, now)));
        match error {
            Some(error) => self.lose(Ending::Error(error), now),
            None if encrypted => {}
            None => self.ask_for_versions(now),
        }
    }

    /// TLS may have been established by what just came.
    pub(super) fn continue_if_secured(&mut self, now: Instant) {
        let secured = self.link().is_some_and(|link| {
            matches!(link.stage, Stage::Handshake(Handshake::Tls, _)) && link.is_secured()
        });
        if secured {
            let notice = self.link().and_then(Link::tls_notice);
            self.events.extend(notice.map(Event::Notice));
            self.ask_for_versions(now);
        }
    }

    fn ask_for_versions(&mut self, now: Instant) {
        let deadline = self.target.deadline(now);
        if let Some(link) = self.link_mut() {
            link.stage = Stage::Handshake(Handshake::ApiVersions, deadline);
        }
        self.ask(Question::api_versions(self.introduction.as_ref()), now);
    }

    /// Sends a request of the handshake.
    pub(super) fn ask(&mut self, question: Result<Question, SendError>, now: Instant) {
        let client_id = self.client_id.clone();
        let Some(link) = self.link_mut() else { return };
        let asked = question.and_then(|Question { api, version, body }| {
            let correlation_id = link.enqueue(client_id, api, version, body)?;
            link.expect(correlation_id, None, (api, version), None, now);
            Ok(())
        });
        if let Err(error) = asked {
            self.give_up(error, now);
        }
    }

    /// A request of the handshake cannot be sent.
    pub(super) fn give_up(&mut self, error: SendError, now: Instant) {
        self.lose(Ending::Error(ConnectionError::Handshake(error)), now);
    }

    /// A request of ours, not the caller's, sent at that version, was answered.
    pub(super) fn continue_handshake(&mut self, version: i16, body: Bytes, now: Instant) {
        let Some(link) = self.link_mut() else { return };
        if !matches!(link.stage, Stage::Handshake(Handshake::ApiVersions, _)) {
            return self.continue_authentication(body, now);
        }
        match handshake::api_versions_answer(body, version) {
            Ok(Verdict::AskAt(version)) => {
                let question = Question::api_versions_at(version, self.introduction.as_ref());
                self.ask(question, now);
            }
            Ok(Verdict::Offer(Offer { versions, features })) => {
                (self.api_versions, self.features) = (Some(versions), features);
                match self.authentication {
                    Some(_) => self.begin_authentication(now),
                    None => self.become_ready(),
                }
            }
            Err(error) => self.lose(Ending::Error(error), now),
        }
    }

    pub(super) fn become_ready(&mut self) {
        if let Some(link) = self.link_mut() {
            link.stage = Stage::Ready;
            self.events.push_back(Event::Ready);
            self.count_ready();
        }
    }

    /// Gives the connection up without having been asked to.
    pub(super) fn lose(&mut self, ending: Ending, now: Instant) {
        let unanswered = self.drop_transport();
        if let Ending::Error(error) = &ending {
            self.may_connect_again = error.may_pass();
            self.met_another = matches!(error, ConnectionError::AnotherBroker);
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
        // With it go the credentials that it used, and the wish for a token or a salted password.
        self.authentication = None;
        self.events.retain(|event| {
            !matches!(
                event,
                Event::TokenNeeded { .. } | Event::SaltingNeeded { .. }
            )
        });
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
                self.count_loss();
                self.first_unsent = link.first_unsent();
                self.events.push_back(Event::Close);
                Some(link)
            }
        }
    }

    pub(super) fn fail(&mut self, link: Option<Box<Link>>, reason: &str) {
        let unanswered = link.into_iter().flat_map(|link| link.into_unanswered());
        self.events.extend(unanswered.map(|token| Event::Failed {
            token,
            reason: reason.into(),
        }));
    }
}
