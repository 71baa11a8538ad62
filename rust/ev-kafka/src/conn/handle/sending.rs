//! Requests on their way to the broker, and how long their answers may take.

use std::time::{Duration, Instant};

use kafka_conn::{SendError, Token};
use kafka_wire::{ApiKey, Writer};
use perl_xs::{Flow, Perl};

use super::ConnHandle;
use crate::conn::completion::{Completion, WrittenCompletion};
use crate::conn::throttle;

/// Unsent bytes above which a request does not wait for the end of the loop's turn: a program that
/// produces for long without returning to the loop is not to pile everything up in memory.
const WRITE_AT_ONCE: usize = 256 << 10;

impl ConnHandle {
    /// How long to wait for the answer to a request that lets the broker wait `server_wait` by its
    /// own terms; none for ever. What [`ConnHandle::send`] takes.
    pub fn deadline(&self, server_wait: Duration) -> Option<Duration> {
        self.patience
            .take()
            .or(self.request_timeout.get())
            .map(|timeout| timeout.saturating_add(server_wait))
    }

    /// Sets how long an answer may take beyond what its request lets the broker wait; none for
    /// ever. Counts for the requests that follow.
    pub fn set_request_timeout(&self, timeout: Option<Duration>) {
        self.request_timeout.set(timeout);
    }

    /// Gives the next request a time of its own; none for the same as all.
    pub fn set_patience(&self, patience: Option<Duration>) {
        self.patience.set(patience);
    }

    /// Sends a request whose `body` was encoded at `version`; the completion is called exactly
    /// once, later. With a `deadline` the connection is given up when no answer came in that time.
    ///
    /// # Errors
    /// Nothing was sent and the completion is given back: not connected, or the broker does not
    /// speak the version.
    pub fn send(
        &self,
        api: ApiKey,
        version: i16,
        body: Writer,
        deadline: Option<Duration>,
        completion: Completion,
    ) -> Result<(), (SendError, Completion)> {
        let idle = self.is_idle();
        let sent = self
            .connection
            .borrow_mut()
            .send(api, version, body, deadline, Instant::now());
        match sent {
            Ok(token) => self.await_answer(token, completion),
            Err(error) => return Err((error, completion)),
        }
        self.write(idle);
        Ok(())
    }

    /// As [`ConnHandle::send`] with a body of a few kilobytes at most. The completion is asked for
    /// when nothing can go wrong any more.
    ///
    /// # Errors
    /// As for [`ConnHandle::send`].
    pub fn send_small(
        &self,
        api: ApiKey,
        version: i16,
        body: &[u8],
        deadline: Option<Duration>,
        completion: impl FnOnce() -> Completion,
    ) -> Result<(), SendError> {
        let idle = self.is_idle();
        let token = self.connection.borrow_mut().send_small(
            api,
            version,
            body,
            deadline,
            Instant::now(),
        )?;
        self.await_answer(token, completion());
        self.write(idle);
        Ok(())
    }

    fn await_answer(&self, token: Token, completion: Completion) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.asked_at.set(Instant::now());
        }
        waiting.push_back((token, completion));
    }

    /// Sends a request that the broker does not answer: Produce with acks 0.
    ///
    /// # Errors
    /// As for [`ConnHandle::send`].
    pub fn send_oneway(&self, api: ApiKey, version: i16, body: Writer) -> Result<(), SendError> {
        let idle = self.is_idle();
        self.connection
            .borrow_mut()
            .send_oneway(api, version, body, Instant::now())?;
        self.write(idle);
        Ok(())
    }

    /// As [`ConnHandle::send_oneway`], for somebody who wants to know when it has been written. When
    /// for `patience` nothing could be, it fails with the connection.
    ///
    /// # Errors
    /// As for [`ConnHandle::send`].
    pub fn send_unanswered(
        &self,
        api: ApiKey,
        version: i16,
        body: Writer,
        patience: Option<Duration>,
        completion: WrittenCompletion,
    ) -> Result<(), SendError> {
        let idle = self.is_idle();
        let now = Instant::now();
        let sent = self
            .connection
            .borrow_mut()
            .send_unanswered(api, version, body, patience, now);
        let token = sent?;
        self.waiting
            .borrow_mut()
            .push_back((token, Completion::Written(completion)));
        self.write(idle);
        Ok(())
    }

    /// Tells at once what there is to tell: requests may have been written already.
    pub fn tell(&self, perl: Perl) -> Flow {
        self.settle(perl)
    }

    /// Obeys the `throttle_time_ms` of an answer of `api` at `version` (KIP-219).
    pub fn throttle(&self, api: ApiKey, version: i16, throttle_time_ms: i32) {
        if throttle_time_ms <= 0 {
            return;
        }
        let mut connection = self.connection.borrow_mut();
        connection.throttled(api, throttle_time_ms);
        if throttle::is_left_to_client(api, version) {
            connection.throttle(throttle_time_ms, Instant::now());
            drop(connection);
            self.arm();
        }
    }
}

/// Bytes.
impl ConnHandle {
    /// Nothing is on its way in either direction: whoever sends now waits for nothing else.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.borrow().is_empty() && self.connection.borrow().queued_bytes() == 0
    }

    fn write(&self, at_once: bool) {
        let queued = self.connection.borrow().queued_bytes();
        let due = at_once || queued >= WRITE_AT_ONCE;
        if due && !self.link.borrow().is_blocked() {
            self.transmit();
        } else {
            self.link.borrow().transmit_later(&self.connection.borrow());
        }
        self.arm();
    }

    pub(super) fn transmit(&self) {
        self.link
            .borrow_mut()
            .transmit(&mut self.connection.borrow_mut());
        if self.connection.borrow().has_events() {
            self.link.borrow().fire_soon();
        }
    }

    pub(super) fn arm(&self) {
        self.link.borrow_mut().arm(&self.connection.borrow());
    }
}
