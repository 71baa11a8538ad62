//! EV::Kafka::Conn: one broker connection on an EV loop.
//!
//! Native code that sends on a connection given by Perl code finds its [`ConnHandle`] with
//! [`from_sv`].

mod args;
mod dial;
mod handle;
mod lifecycle;
mod link;
mod records;
mod request;
mod requests;
mod resolve;
pub mod results;

use std::rc::Rc;

use perl_xs::{Croak, Native, Sv, XsubDef};

pub use handle::{Answer, Completion, ConnHandle, NativeCompletion};

/// The XSUBs of EV::Kafka::Conn.
pub fn xsubs() -> &'static [&'static [XsubDef]] {
    &[lifecycle::XSUBS, requests::XSUBS]
}

/// The connection behind an EV::Kafka::Conn object. Look it up last: reading other arguments may
/// run Perl code that destroys it.
///
/// # Errors
/// The croak of a method called on something else, or on a destroyed connection.
pub fn from_sv(connection: &Sv) -> Result<Rc<ConnHandle>, Croak> {
    perl_xs::get::<ConnHandle>(connection).map_err(|error| Croak::from(ConnHandle::describe(error)))
}
