//! A share group's native half (KIP-932): what a member holds of each broker's partitions, the session in which it asks,
//! and the records as they are handed to `on_record`.

mod answer;
mod delivery;
mod ledger;
mod object;
mod session;
mod xsubs;

use perl_xs::{Native, Perl};

/// Makes the XSUBs known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, xsubs::XSUBS);
    perl_xs::register_clone_skip(perl, <object::ShareSession as Native>::NAME);
}
