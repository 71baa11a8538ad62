//! The consumer's native half: Fetch requests whose answers are handed to `on_message` record by record, without a hash
//! a record.

mod aborted;
pub mod delivery;
mod fetched;
mod in_progress;
mod in_progress_xsubs;
mod rest;
mod seen;
mod session;
mod session_xsubs;
mod xsubs;

use perl_xs::{Native, Perl};

/// Makes the XSUBs of fetching known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, xsubs::XSUBS);
    perl_xs::register(perl, session_xsubs::XSUBS);
    perl_xs::register(perl, in_progress_xsubs::XSUBS);
    for class in [
        <fetched::Fetched as Native>::NAME,
        <fetched::Pool as Native>::NAME,
        <session_xsubs::FetchSession as Native>::NAME,
        <in_progress_xsubs::Records as Native>::NAME,
        <seen::Seen as Native>::NAME,
    ] {
        perl_xs::register_clone_skip(perl, class);
    }
}
