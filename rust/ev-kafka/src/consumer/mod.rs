//! The consumer's native half: Fetch requests whose answers are handed to `on_message` record by record, without a hash
//! a record.

mod aborted;
mod delivery;
mod fetched;
mod xsubs;

use perl_xs::Perl;

/// Makes the XSUBs of fetching known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, xsubs::XSUBS);
    perl_xs::register_clone_skip(perl, <fetched::Fetched as perl_xs::Native>::NAME);
    perl_xs::register_clone_skip(perl, <fetched::Pool as perl_xs::Native>::NAME);
}
