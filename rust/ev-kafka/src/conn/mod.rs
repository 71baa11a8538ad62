//! EV::Kafka::Conn: one broker connection on an EV loop.
//!
//! Native code that sends on a connection given by Perl code finds its [`ConnHandle`] with
//! [`from_sv`].

mod addresses;
mod beside;
mod callback;
mod completion;
mod destination;
mod dial;
mod handle;
mod kept;
mod lifecycle;
mod link;
mod offer;
mod resolve;
mod security;
mod stats;
mod strerror;
mod throttle;
mod tls_source;

use std::rc::Rc;

use perl_xs::{Croak, Native, Perl, Sv};

pub use callback::{call_back, Told};
pub use completion::{Answer, Build, Built, Completion, Failure};
pub use handle::ConnHandle;
pub use kept::Kept;

/// Makes the XSUBs of EV::Kafka::Conn known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, lifecycle::XSUBS);
    perl_xs::register(perl, offer::XSUBS);
    perl_xs::register(perl, security::XSUBS);
    perl_xs::register(perl, stats::XSUBS);
}

/// The connection behind an EV::Kafka::Conn object. Look it up last: reading other arguments may
/// run Perl code that destroys it.
///
/// # Errors
/// The croak of a method called on something else, on a destroyed connection, or on that of the process
/// that this one was forked from.
pub fn from_sv(connection: &Sv) -> Result<Rc<ConnHandle>, Croak> {
    let handle = perl_xs::get::<ConnHandle>(connection)
        .map_err(|error| Croak::from(ConnHandle::describe(error)))?;
    match handle.refusal() {
        None => Ok(handle),
        Some(text) => Err(text.into()),
    }
}
