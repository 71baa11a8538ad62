//! Calling back with the outcome of a request.

use perl_xs::{call, Arg, Flow, Perl, Sv};

use crate::problem::Problem;

/// What the warning about a callback that died starts with.
const CALLBACK_ERROR: &str = "EV::Kafka::Conn: callback error";

/// What a program is told of an error: by its text alone, or by an object, which costs more.
pub enum Told {
    Text(String),
    Object(Box<Problem>),
}

impl Told {
    /// Calls `tell` with the argument that a program gets.
    pub fn with_argument<R>(&self, perl: Perl, tell: impl FnOnce(Arg<'_>) -> R) -> R {
        match self {
            Told::Text(text) => tell(Arg::Bytes(text.as_bytes())),
            Told::Object(problem) => tell(Arg::Sv(&problem.object(perl))),
        }
    }
}

/// Calls a request's callback: `($result, undef)` or `(undef, $error)`.
pub fn call_back(perl: Perl, callback: &Sv, outcome: Result<Sv, Told>) -> Flow {
    let outcome = match &outcome {
        Ok(result) => call(perl, callback, &[Arg::Sv(result), Arg::Undef]),
        Err(told) => told.with_argument(perl, |error| call(perl, callback, &[Arg::Undef, error])),
    };
    outcome.or_warn(perl, CALLBACK_ERROR)
}
