//! TLS failures in words that say what to mend.

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};

/// How many of a certificate's names an error lists.
const MAX_NAMES: usize = 10;

/// How webpki, whose errors rustls does not translate in full, names two of its reasons.
const AUTHORITY: &str = "CaUsedAsEndEntity";
const OLD_VERSION: &str = "UnsupportedCertVersion";

/// Whether a certificate was refused because it is marked as an authority.
pub(super) fn is_authority(error: &Error) -> bool {
    is_of_webpki(error, AUTHORITY)
}

/// Whether a certificate was refused because it is not of X.509 version 3.
pub(super) fn is_old_certificate(error: &Error) -> bool {
    is_of_webpki(error, OLD_VERSION)
}

/// Whether a certificate that is good otherwise names other hosts, or none.
pub(super) fn is_name_mismatch(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

fn is_of_webpki(error: &Error, name: &str) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else {
        return false;
    };
    inner.to_string().contains(name)
}

/// What went wrong, without the prefix `TLS: `.
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(reason) => {
            format!("certificate verify failed: {}", certificate(reason))
        }
        Error::AlertReceived(alert) => match explained(*alert) {
            Some(reason) => format!("the broker refused: {reason} ({alert:?})"),
            None => format!("the broker refused: alert {alert:?}"),
        },
        Error::InvalidMessage(_) => format!("the peer does not speak TLS as expected: {error}"),
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "the broker speaks neither TLS 1.2 nor 1.3".into()
        }
        other => other.to_string(),
    }
}

fn certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".into()
        }
        CertificateError::UnknownIssuer => {
            "unknown issuer: signed by an authority that is not trusted".into()
        }
        CertificateError::NotValidForName => "name mismatch".into(),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => name_mismatch(expected, presented),
        CertificateError::BadSignature => "bad signature".into(),
        CertificateError::Revoked => "certificate has been revoked".into(),
        CertificateError::Other(other) if other.0.to_string().contains(AUTHORITY) => {
            "unknown issuer: the broker's certificate is an authority that is not trusted".into()
        }
        CertificateError::Other(other) if other.0.to_string().contains(OLD_VERSION) => {
            "an authority on the way has a certificate of X.509 version 1".into()
        }
        CertificateError::Other(other) => other.0.to_string(),
        other => other.to_string(),
    }
}

fn name_mismatch(expected: &ServerName<'_>, presented: &[String]) -> String {
    let expected = expected.to_str();
    match presented {
        [] => format!("name mismatch: the certificate names no host, wanted {expected}"),
        names => {
            let names = names.iter().take(MAX_NAMES).map(|name| bare(name));
            format!(
                "name mismatch: the certificate is for {}, not for {expected}",
                names.collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// The name in `DnsName("broker.example")` or `IpAddress(127.0.0.1)`, which is how rustls lists
/// those of a certificate. It is text of the peer's.
fn bare(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(name);
    let inner = inner.trim_matches('"');
    inner.chars().filter(|c| !c.is_control()).collect()
}

/// What a broker means by an alert, where its name does not say so.
fn explained(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::CertificateRequired => Some("it requires a client certificate"),
        AlertDescription::BadCertificate => {
            Some("it does not accept the client certificate, or requires one")
        }
        AlertDescription::UnknownCA => {
            Some("it does not know the issuer of the client certificate")
        }
        AlertDescription::CertificateExpired => Some("the client certificate has expired"),
        AlertDescription::CertificateRevoked => Some("the client certificate has been revoked"),
        AlertDescription::CertificateUnknown | AlertDescription::UnsupportedCertificate => {
            Some("it does not accept the client certificate")
        }
        AlertDescription::ProtocolVersion => Some("no TLS version in common"),
        AlertDescription::HandshakeFailure => {
            Some("no cipher suite in common, or it requires a client certificate")
        }
        _ => None,
    }
}
