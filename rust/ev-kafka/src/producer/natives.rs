//! All that Perl code can call.

use perl_xs::Perl;

use super::{buffer_xsubs, client, stats, transaction_xsubs, xsubs};

/// Makes the XSUBs of producing known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, xsubs::XSUBS);
    perl_xs::register(perl, stats::XSUBS);
    perl_xs::register(perl, transaction_xsubs::XSUBS);
    perl_xs::register(perl, buffer_xsubs::XSUBS);
    client::register(perl);
}
