//! Calling back with the outcome of a request.

use perl_xs::{call, Arg, Flow, Perl, Sv};

/// What the warning about a callback that died starts with.
const CALLBACK_ERROR: &str = "EV::Kafka::Conn: callback error";

/// Calls a request's callback: `($result, undef)` or `(undef, $reason)`.
pub fn call_back(perl: Perl, callback: &Sv, outcome: Result<Sv, String>) -> Flow {
    let outcome = match &outcome {
        Ok(result) => call(perl, callback, &[Arg::Sv(result), Arg::Undef]),
        Err(reason) => call(perl, callback, &[Arg::Undef, Arg::Bytes(reason.as_bytes())]),
    };
    outcome.or_warn(perl, CALLBACK_ERROR)
}
