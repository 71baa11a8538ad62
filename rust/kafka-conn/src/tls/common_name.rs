//! Certificates that name their host in the old way: by the common name of their subject, without
//! any subjectAltName. Certificates of brokers are often made so, and OpenSSL accepts them where
//! RFC 9525 no longer does.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};

use super::x509::{NAME_CONSTRAINTS, SUBJECT_ALT_NAME, X509};

/// Whether the certificate has no subjectAltName and a common name that is the host's.
pub(super) fn names(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> bool {
    X509::parse(certificate).is_some_and(|parsed| {
        !parsed.has_extension(SUBJECT_ALT_NAME)
            && parsed.common_names().any(|name| is_name_of(name, host))
    })
}

/// The common names of a certificate that has no subjectAltName; none of one that has it.
pub(super) fn all(certificate: &CertificateDer<'_>) -> Vec<String> {
    X509::parse(certificate)
        .filter(|parsed| !parsed.has_extension(SUBJECT_ALT_NAME))
        .map_or_else(Vec::new, |parsed| {
            parsed.common_names().map(str::to_owned).collect()
        })
}

/// Whether an authority on the way to the certificate may be one that is restricted to certain
/// hosts: webpki holds subjectAltNames against that, and no common names.
pub(super) fn is_constrained(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &[TrustAnchor<'_>],
) -> bool {
    let chain = intermediates.iter().map(|der| X509::parse(der));
    let parsed: Option<Vec<_>> = chain.chain([X509::parse(certificate)]).collect();
    let Some(parsed) = parsed else { return true };
    let is_constrained_root = |issuer: &[u8]| {
        let mut issuers = roots.iter().filter(|root| &root.subject[..] == issuer);
        issuers.any(|root| root.name_constraints.is_some())
    };
    parsed.iter().any(|certificate| {
        certificate.has_extension(NAME_CONSTRAINTS) || is_constrained_root(certificate.issuer)
    })
}

fn is_name_of(name: &str, host: &ServerName<'_>) -> bool {
    match host {
        ServerName::DnsName(host) => is_dns_name_of(name, host.as_ref()),
        ServerName::IpAddress(address) => name.parse() == Ok(IpAddr::from(*address)),
        _ => false,
    }
}

/// Case does not matter, nor does a dot at the end; `*` stands for the first label of three or
/// more.
fn is_dns_name_of(name: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if let Some(parent) = name.strip_prefix("*.") {
        return parent.contains('.')
            && host.split_once('.').is_some_and(|(label, rest)| {
                !label.is_empty() && rest.eq_ignore_ascii_case(parent)
            });
    }
    name.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_name(name: &str, host: &str) -> bool {
        is_name_of(name, &ServerName::try_from(host).expect("a host"))
    }

    #[test]
    fn a_common_name_is_compared_as_names_of_hosts_are() {
        for (name, host) in [
            ("kafka.example", "kafka.example"),
            ("Kafka.EXAMPLE", "kafka.example"),
            ("localhost", "localhost"),
            ("*.kafka.example", "one.kafka.example"),
            ("10.1.2.3", "10.1.2.3"),
            ("0:0:0:0:0:0:0:1", "::1"),
        ] {
            assert!(is_name(name, host), "{name} names {host}");
        }
        for (name, host) in [
            ("", "kafka.example"),
            ("kafka", "kafka.example"),
            ("kafka.example.org", "kafka.example"),
            ("kafka.example\0.org", "kafka.example"),
            ("*", "localhost"),
            ("*.example", "kafka.example"),
            ("*.kafka.example", "kafka.example"),
            ("*.kafka.example", "a.b.kafka.example"),
            ("k*.kafka.example", "k1.kafka.example"),
            ("10.1.2.3", "10.1.2.4"),
            ("*.1.2.3", "10.1.2.3"),
        ] {
            assert!(!is_name(name, host), "{name} does not name {host}");
        }
    }
}
