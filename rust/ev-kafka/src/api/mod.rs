//! The APIs of Kafka as methods of EV::Kafka::Conn: their requests, and what their callbacks get.

pub mod budget;
mod consumer_group;
mod fetch;
pub mod fetched;
mod group_requests;
mod group_results;
mod metadata;
mod offset_requests;
pub mod records;
mod request;
mod requests;
pub mod results;
pub mod single;
mod txn_requests;

use perl_xs::Perl;

/// Makes the methods known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, requests::XSUBS);
    perl_xs::register(perl, metadata::XSUBS);
    perl_xs::register(perl, group_requests::XSUBS);
    perl_xs::register(perl, consumer_group::XSUBS);
    perl_xs::register(perl, offset_requests::XSUBS);
    perl_xs::register(perl, txn_requests::XSUBS);
    metadata::register_clone_skip(perl);
}
