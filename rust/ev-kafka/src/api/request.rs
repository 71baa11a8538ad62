//! Sending one request on behalf of a method.

use std::time::Duration;

use kafka_conn::SendError;
use kafka_wire::{ApiKey, Request, Writer};
use perl_xs::{Croak, Frame, Perl, Sv};

use crate::conn::{Completion, ConnHandle};

/// Croaks unless requests can be sent. Comes before a method looks at its arguments.
pub fn check_connected(frame: &Frame<'_>) -> Result<(), Croak> {
    match frame.object::<ConnHandle>()?.is_ready() {
        true => Ok(()),
        false => Err("not connected".into()),
    }
}

/// The completion of a callback that may be missing.
pub fn completion(callback: Option<Sv>) -> Completion {
    callback.map_or(Completion::Silent, Completion::Callback)
}

impl ConnHandle {
    /// Encodes and sends a request. What the broker's version cannot express, and a broker without
    /// a version in common, are the completion's error.
    ///
    /// `server_wait` is how long the broker may take before it answers by the request's own terms;
    /// it is added to the connection's request timeout.
    ///
    /// # Errors
    /// `not connected`: reading the arguments may have run code that disconnected.
    pub(crate) fn request<R: Request>(
        &self,
        perl: Perl,
        request: &R,
        server_wait: Duration,
        completion: Completion,
    ) -> Result<(), Croak> {
        let encoded = self.encode(request);
        self.send_encoded(perl, R::API, encoded, server_wait, completion)
    }

    /// The same for what [`ConnHandle::encode`] gave.
    ///
    /// # Errors
    /// As for [`ConnHandle::request`].
    pub(super) fn send_encoded(
        &self,
        perl: Perl,
        api: ApiKey,
        encoded: Result<(i16, Writer), String>,
        server_wait: Duration,
        completion: Completion,
    ) -> Result<(), Croak> {
        let (version, body) = match encoded {
            Ok(encoded) => encoded,
            Err(reason) => return self.fail(perl, completion, reason).ok(),
        };
        let deadline = self.deadline(server_wait);
        match self.send(api, version, body, deadline, completion) {
            Ok(()) => Ok(()),
            Err((SendError::NotConnected, _)) => Err("not connected".into()),
            Err((error, completion)) => self.fail(perl, completion, error.to_string()).ok(),
        }
    }

    /// The request at the version to speak, or why it cannot be said to this broker.
    pub(super) fn encode<R: Request>(&self, request: &R) -> Result<(i16, Writer), String> {
        let version = self.version(R::API).map_err(|error| error.to_string())?;
        let mut body = Writer::new();
        request
            .encode(&mut body, version)
            .map_err(|error| error.to_string())?;
        Ok((version, body))
    }
}
