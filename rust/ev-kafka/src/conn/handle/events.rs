//! Passing on what a connection reports: to callbacks, to handlers, to the link.

use kafka_conn::{Event, Token};
use kafka_wire::ApiKey;
use perl_xs::{call, Arg, Flow, Perl, Sv};

use super::handlers::HandlerKind;
use super::{ConnHandle, Stage};
use crate::conn::callback::{call_back, Told};
use crate::conn::completion::{Answer, Built, Completion, Failure};
use crate::problem::Problem;

impl ConnHandle {
    /// Acts on all events, then looks after writing and the timer.
    pub(super) fn settle(&self, perl: Perl) -> Flow {
        if self.deliver(perl) == Flow::Exit {
            return Flow::Exit;
        }
        self.link.borrow().transmit_later(&self.connection.borrow());
        self.arm();
        self.offer_room(perl)
    }

    fn offer_room(&self, perl: Perl) -> Flow {
        if self.is_full() {
            return Flow::Continue;
        }
        let waiter = self.waits_for_room.take();
        waiter.map_or(Flow::Continue, |waiter| waiter(perl))
    }

    /// What is within too many others is left to those, or to the loop.
    pub(super) fn deliver(&self, perl: Perl) -> Flow {
        self.later
            .nested(|| self.deliver_all(perl))
            .unwrap_or_else(|| {
                self.later.wake();
                Flow::Continue
            })
    }

    /// Whatever this is within.
    pub(super) fn deliver_all(&self, perl: Perl) -> Flow {
        loop {
            let event = self.connection.borrow_mut().poll_event();
            let Some(event) = event else {
                return Flow::Continue;
            };
            if self.act_on(perl, event) == Flow::Exit {
                return Flow::Exit;
            }
            // A callback may have forked: what else there is to tell is told to the parent only.
            if self.is_foreign() {
                self.abandon();
            }
        }
    }

    fn act_on(&self, perl: Perl, event: Event) -> Flow {
        match event {
            Event::Dial { host, port } => {
                drop(self.use_token_source());
                let news = self.renew_tls();
                let deadline = self.connection.borrow().poll_timeout();
                self.stage.set(Stage::Dialed);
                self.link.borrow_mut().dial(&host, port, deadline);
                return self.tell_of_tls(perl, news);
            }
            Event::Close => self.close_link(),
            Event::Ready => {
                self.stage.set(Stage::Ready);
                self.link.borrow_mut().destination.address_worked();
                return self.call_handler(perl, HandlerKind::Connect, &[]);
            }
            Event::Disconnected => return self.call_handler(perl, HandlerKind::Disconnect, &[]),
            Event::Error(text) => {
                self.link.borrow_mut().destination.address_failed();
                return self.report(perl, &text);
            }
            Event::Notice(text) => return self.tell_of_certificate(perl, text),
            Event::Answer {
                token,
                api,
                version,
                body,
            } => {
                self.stage.set(Stage::Answered);
                return self.complete(perl, token, Ok(Answer { api, version, body }));
            }
            Event::Throttled {
                api,
                throttle_time_ms,
            } => {
                let args = [
                    Arg::Int(throttle_time_ms.into()),
                    Arg::Bytes(api.name().as_bytes()),
                ];
                return self.call_handler(perl, HandlerKind::Throttle, &args);
            }
            Event::Written { token } => {
                if let Some(Completion::Written(told)) = self.take_waiting(token) {
                    return told(perl, Ok(()));
                }
            }
            Event::Failed { token, reason } => {
                let is_unsent = self.connection.borrow().is_unsent(token);
                let failure = Failure { reason, is_unsent };
                return self.complete(perl, token, Err(failure));
            }
            Event::TokenNeeded { id } => return self.ask_for_token(perl, id),
            Event::SaltingNeeded { id, salting } => self.salt(id, salting),
        }
        Flow::Continue
    }

    /// A connection that ends before it was of use, and not by our own wish, speaks against the
    /// address that it went to.
    fn close_link(&self) {
        let mut link = self.link.borrow_mut();
        match self.stage.replace(Stage::Idle) {
            Stage::Dialed => link.destination.attempt_failed(),
            Stage::Ready if !self.waiting.borrow().is_empty() => link.destination.address_failed(),
            Stage::Ready | Stage::Answered | Stage::Idle => {}
        }
        link.close();
        drop(link);
        drop(self.waits_for_room.take());
    }

    fn complete(&self, perl: Perl, token: Token, outcome: Result<Answer, Failure>) -> Flow {
        let waiting = self.take_waiting(token);
        waiting.map_or(Flow::Continue, |completion| {
            self.finish(perl, completion, outcome)
        })
    }

    fn take_waiting(&self, token: Token) -> Option<Completion> {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|(waits, _)| *waits == token)?;
        waiting.remove(place).map(|(_, completion)| completion)
    }

    /// Calls the completion of a request that was not sent.
    pub(crate) fn fail(&self, perl: Perl, completion: Completion, reason: String) -> Flow {
        let operation = match &completion {
            Completion::Callback(_, _, api) => Some(api.name()),
            _ => None,
        };
        let told = self.told(reason.clone(), self.has_ended(), operation);
        self.call_at_once(perl, move |perl| {
            let failure = Failure::unsent(reason);
            match completion {
                Completion::Silent(_) => Flow::Continue,
                Completion::Native(native) => native(perl, Err(failure)),
                Completion::Written(told) => told(perl, Err(failure)),
                Completion::Callback(callback, _, _) => call_back(perl, &callback, Err(told)),
            }
        })
    }

    /// An error as the program is told of it.
    fn told(&self, text: String, is_retriable: bool, operation: Option<&str>) -> Told {
        if !self.tells_objects.get() {
            return Told::Text(text);
        }
        Told::Object(Box::new(Problem {
            broker: self.link.borrow().destination.name(),
            operation: operation.map(str::to_owned),
            ..Problem::without_code(text, is_retriable)
        }))
    }

    /// What a request has come to, as its callback is told of it.
    pub(crate) fn told_of(
        &self,
        api: ApiKey,
        outcome: Result<Answer, Failure>,
        build: impl FnOnce(&Answer) -> Built,
    ) -> Result<Sv, Told> {
        let told = |text, is_retriable| self.told(text, is_retriable, Some(api.name()));
        // It was lost with its connection.
        let answer = outcome.map_err(|failure| told(failure.reason, true))?;
        let built = build(&answer);
        self.throttle(answer.api, answer.version, built.throttle_time_ms);
        built.result.map_err(|text| told(text, false))
    }

    /// Calls a completion that is waiting for nothing any more.
    fn finish(&self, perl: Perl, completion: Completion, outcome: Result<Answer, Failure>) -> Flow {
        match completion {
            Completion::Native(native) => native(perl, outcome),
            Completion::Written(told) => told(perl, outcome.map(drop)),
            Completion::Silent(throttle_time_ms) => {
                if let Ok(answer) = outcome {
                    self.throttle(answer.api, answer.version, throttle_time_ms(&answer));
                }
                Flow::Continue
            }
            Completion::Callback(callback, build, api) => {
                let told = self.told_of(api, outcome, |answer| build(perl, answer, &self.kept));
                call_back(perl, &callback, told)
            }
        }
    }

    fn call_handler(&self, perl: Perl, kind: HandlerKind, args: &[Arg<'_>]) -> Flow {
        match self.handlers.get(kind) {
            Some(code) => call(perl, &code, args).or_warn(perl, kind.died()),
            None => Flow::Continue,
        }
    }

    /// Tells of something that ends nothing; without a text, that it is over.
    pub(super) fn notice(&self, perl: Perl, subject: &str, text: Option<&str>) -> Flow {
        let is_heard = self.handlers.has(HandlerKind::Notice);
        match (is_heard, text) {
            (true, _) => {}
            (false, Some(text)) => return perl.warn(format!("EV::Kafka::Conn: {text}")),
            (false, None) => return Flow::Continue,
        }
        let text = text.map_or(Arg::Undef, |text| Arg::Bytes(text.as_bytes()));
        let args = [text, Arg::Bytes(subject.as_bytes())];
        self.call_handler(perl, HandlerKind::Notice, &args)
    }

    fn report(&self, perl: Perl, text: &str) -> Flow {
        if !self.handlers.has(HandlerKind::Error) {
            return perl.warn(format!("EV::Kafka::Conn: {text}"));
        }
        let is_retriable = self.connection.borrow().may_connect_again();
        let told = self.told(text.to_owned(), is_retriable, None);
        told.with_argument(perl, |error| {
            self.call_handler(perl, HandlerKind::Error, &[error])
        })
    }
}
