//! EV::Kafka::Conn: one broker connection on an EV loop.
//!
//! Native code that sends on a connection given by Perl code finds its [`ConnHandle`] with
//! [`from_sv`].

mod addresses;
mod beside;
pub mod budget;
mod consumer_group;
mod dial;
mod fetch;
pub mod fetched;
mod group_requests;
mod group_results;
mod handle;
mod lifecycle;
mod link;
mod metadata;
mod offset_requests;
pub mod records;
mod request;
mod requests;
mod resolve;
pub mod results;
mod security;
mod single;
mod strerror;
mod throttle;
mod tls_source;
mod txn_requests;

use std::rc::Rc;

use perl_xs::{Croak, Native, Perl, Sv};

pub use handle::{Answer, Completion, ConnHandle, Failure};

/// Makes the XSUBs of EV::Kafka::Conn known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, lifecycle::XSUBS);
    perl_xs::register(perl, security::XSUBS);
    perl_xs::register(perl, requests::XSUBS);
    perl_xs::register(perl, metadata::XSUBS);
    perl_xs::register(perl, group_requests::XSUBS);
    perl_xs::register(perl, consumer_group::XSUBS);
    perl_xs::register(perl, offset_requests::XSUBS);
    perl_xs::register(perl, txn_requests::XSUBS);
    metadata::register_clone_skip(perl);
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
