//! Authenticating, for the first time and again (KIP-368).
//!
//! Both run alike: a token, where one has to be asked for, then SaslHandshake, then one or more
//! rounds of SaslAuthenticate, between which the driver may have a password to salt. The first time they are phases of the handshake; later the state
//! stays `Ready`, and what the caller sends waits from SaslHandshake on until it is over.

use std::mem;
use std::time::Instant;

use bytes::Bytes;
use kafka_wire::ApiKey;

use super::Connection;
use crate::error::{ConnectionError, SendError};
use crate::event::{Event, SaltingId, TokenRequestId};
use crate::handshake::{self, Carrier, Handshake, Question};
use crate::link::{Ending, Stage};
use crate::sasl::{self, Exchange, Reply, SaltedPassword, Salting, SaslError, SaslSettings};
use crate::secret::Secret;
use crate::session::Session;

/// The settings that a connection authenticates with, and how far it is.
#[derive(Debug)]
pub(super) struct Authentication {
    settings: SaslSettings,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Nothing is under way.
    Idle,
    /// The driver was asked for a token.
    AwaitsToken(TokenRequestId),
    /// SaslHandshake, spoken at this version, is unanswered; the token to continue with.
    Handshake(Option<Secret>, i16),
    /// A message of the mechanism is unanswered.
    Exchange(Exchange, Carrier),
    /// The driver was asked to salt the password.
    AwaitsSalted(SaltingId, Exchange, Carrier),
}

impl Authentication {
    pub(super) fn new(settings: SaslSettings) -> Self {
        Authentication {
            settings,
            step: Step::Idle,
        }
    }
}

impl Connection {
    /// The first authentication of a connection.
    pub(super) fn begin_authentication(&mut self, now: Instant) {
        self.rearm(Handshake::Mechanism, now);
        self.authenticate(now);
    }

    /// Begins the authentication, or its renewal.
    pub(super) fn authenticate(&mut self, now: Instant) {
        let Some(authentication) = &mut self.authentication else {
            return;
        };
        if !authentication.settings.asks_for_token() {
            return self.choose_mechanism(None, now);
        }
        let id = self.next_token_request;
        self.next_token_request += 1;
        authentication.step = Step::AwaitsToken(id);
        let timeout = self.target.timeout;
        if let Some(link) = self.ready_link() {
            let ends_at = link.session.map_or(now, |session| session.ends_at);
            link.expect_renewal(timeout, ends_at.max(now));
        }
        self.events.push_back(Event::TokenNeeded { id });
    }

    /// What became of the token that was asked for.
    pub(super) fn continue_with_token(
        &mut self,
        id: TokenRequestId,
        token: Result<Secret, String>,
        now: Instant,
    ) {
        match &self.authentication {
            Some(Authentication {
                step: Step::AwaitsToken(asked),
                ..
            }) if *asked == id => {}
            _ => return,
        }
        match token {
            Ok(token) => self.choose_mechanism(Some(token), now),
            Err(reason) => self.refuse(SaslError::NoToken(reason), now),
        }
    }

    fn choose_mechanism(&mut self, token: Option<Secret>, now: Instant) {
        let version = self.version(ApiKey::SaslHandshake);
        let Some(authentication) = &mut self.authentication else {
            return;
        };
        let question = version.map_err(SendError::Version).and_then(|version| {
            authentication.step = Step::Handshake(token, version);
            Question::sasl_handshake(authentication.settings.mechanism(), version)
        });
        self.rearm(Handshake::Mechanism, now);
        self.ask(question, now);
    }

    /// The answer to SaslHandshake or SaslAuthenticate has come.
    pub(super) fn continue_authentication(&mut self, body: Bytes, now: Instant) {
        let authenticate = self.version(ApiKey::SaslAuthenticate);
        let Some(authentication) = &mut self.authentication else {
            return;
        };
        let next = match mem::replace(&mut authentication.step, Step::Idle) {
            waiting @ (Step::Idle | Step::AwaitsToken(_) | Step::AwaitsSalted(..)) => {
                authentication.step = waiting;
                return;
            }
            Step::Handshake(token, version) => {
                let started = sasl::handshake_answer(body, version)
                    .and_then(|()| Exchange::start(&authentication.settings, token));
                let (exchange, first) = match started {
                    Ok(started) => started,
                    Err(error) => return self.refuse(error, now),
                };
                let carrier = match (handshake::is_bare_after(version), authenticate) {
                    (true, _) => Carrier::Bare,
                    (false, Ok(version)) => Carrier::Authenticate(version),
                    (false, Err(error)) => return self.give_up(SendError::Version(error), now),
                };
                self.rearm(Handshake::Authentication, now);
                return self.say(exchange, carrier, &first, now);
            }
            Step::Exchange(mut exchange, carrier) => exchange
                .answer(body, carrier)
                .map(|reply| (exchange, carrier, reply)),
        };
        match next {
            Err(error) => self.refuse(error, now),
            Ok((_, _, Reply::Done { lifetime_ms })) => self.authenticated(lifetime_ms, now),
            Ok((exchange, carrier, Reply::Salt(salting))) => self.salt(exchange, carrier, salting),
            Ok((exchange, carrier, Reply::Continue(message))) => {
                self.say(exchange, carrier, &message, now);
            }
        }
    }

    fn salt(&mut self, exchange: Exchange, carrier: Carrier, salting: Salting) {
        let Some(authentication) = &mut self.authentication else {
            return;
        };
        let id = self.next_salting;
        self.next_salting += 1;
        authentication.step = Step::AwaitsSalted(id, exchange, carrier);
        self.events.push_back(Event::SaltingNeeded { id, salting });
    }

    /// The password has been salted.
    pub(super) fn continue_with_salted(
        &mut self,
        id: SaltingId,
        salted: &SaltedPassword,
        now: Instant,
    ) {
        let Some(authentication) = &mut self.authentication else {
            return;
        };
        match mem::replace(&mut authentication.step, Step::Idle) {
            Step::AwaitsSalted(asked, mut exchange, carrier) if asked == id => {
                let message = exchange.salted(salted);
                self.say(exchange, carrier, &message, now);
            }
            other => authentication.step = other,
        }
    }

    /// Sends one message of the mechanism.
    fn say(&mut self, exchange: Exchange, carrier: Carrier, message: &Secret, now: Instant) {
        let client_id = self.client_id.clone();
        let Some(link) = self.link_mut() else { return };
        let api = ApiKey::SaslAuthenticate;
        let queued = match carrier {
            Carrier::Authenticate(version) => {
                let body = handshake::sasl_authenticate(message, version);
                link.enqueue_secret(client_id, api, version, &body)
                    .map(|correlation_id| (correlation_id, version))
            }
            // The answer is told from others by its turn alone.
            Carrier::Bare => link.enqueue_bare_secret(message.expose()).map(|id| (id, 0)),
        };
        match queued {
            Ok((id, version)) => link.expect(id, None, (api, version), None, now),
            Err(error) => return self.give_up(error, now),
        }
        if let Some(authentication) = &mut self.authentication {
            authentication.step = Step::Exchange(exchange, carrier);
        }
    }

    fn authenticated(&mut self, lifetime_ms: i64, now: Instant) {
        let Some(link) = self.link_mut() else { return };
        link.end_bare();
        link.session = Session::granted(lifetime_ms, now);
        if link.stage != Stage::Ready {
            return self.become_ready();
        }
        if let Err(error) = link.release(now) {
            self.give_up(error, now);
        }
    }

    /// Starts the time of a phase of the handshake, or of a renewal.
    fn rearm(&mut self, phase: Handshake, now: Instant) {
        let (timeout, deadline) = (self.target.timeout, self.target.deadline(now));
        let Some(link) = self.link_mut() else { return };
        match link.stage {
            Stage::Handshake(..) => link.stage = Stage::Handshake(phase, deadline),
            Stage::Ready => {
                link.holding = true;
                link.expect_renewal(timeout, link.sendable_at(now));
            }
        }
    }

    fn refuse(&mut self, error: SaslError, now: Instant) {
        self.lose(Ending::Error(ConnectionError::Sasl(error)), now);
    }
}
