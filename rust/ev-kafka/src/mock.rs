//! EV::Kafka::Mock's native half: a `kafka_mock::Cluster` on loopback ports.

mod cluster;
mod coordinators;
mod link;
mod partitions;
mod rules;
mod security;
mod server;
mod tls;
mod topics;
mod values;

use perl_xs::Perl;

/// Makes the methods known to Perl.
pub fn register(perl: Perl) {
    for xsubs in [
        cluster::XSUBS,
        coordinators::XSUBS,
        partitions::XSUBS,
        rules::XSUBS,
        security::XSUBS,
        topics::XSUBS,
    ] {
        perl_xs::register(perl, xsubs);
    }
}
