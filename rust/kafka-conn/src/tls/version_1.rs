//! Certificates of X.509 version 1, into which webpki does not look. Recipes for Kafka make them:
//! `openssl x509 -req` without a file of extensions. They hold no subjectAltName, so that their
//! common name counts.
//!
//! One is accepted when an authority that is trusted has signed it itself: nothing in such a
//! certificate could tell what an authority in between may do.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct};

use super::common_name;
use super::x509::{public_key, X509};

/// Verifies a broker's certificate.
///
/// # Errors
/// Why it is not accepted.
pub(super) fn verify(
    certificate: &CertificateDer<'_>,
    roots: &[TrustAnchor<'_>],
    host: &ServerName<'_>,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), CertificateError> {
    let parsed = X509::parse(certificate)
        .filter(|parsed| parsed.is_version_1)
        .ok_or(CertificateError::BadEncoding)?;
    let (from, to) = parsed.validity().ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < from {
        return Err(CertificateError::NotValidYet);
    }
    if now > to {
        return Err(CertificateError::Expired);
    }
    let mut issuers = roots
        .iter()
        .filter(|root| &root.subject[..] == parsed.issuer && root.name_constraints.is_none())
        .peekable();
    if issuers.peek().is_none() {
        return Err(CertificateError::UnknownIssuer);
    }
    let is_signed = issuers.any(|root| {
        public_key(&root.subject_public_key_info).is_some_and(|(key_algorithm, key)| {
            algorithms.all.iter().any(|algorithm| {
                algorithm.signature_alg_id().as_ref() == parsed.algorithm
                    && algorithm.public_key_alg_id().as_ref() == key_algorithm
                    && algorithm
                        .verify_signature(key, parsed.signed, parsed.signature)
                        .is_ok()
            })
        })
    });
    if !is_signed {
        return Err(CertificateError::BadSignature);
    }
    match common_name::names(certificate, host) {
        true => Ok(()),
        false => Err(CertificateError::NotValidForNameContext {
            expected: host.to_owned(),
            presented: common_name::all(certificate),
        }),
    }
}

/// Whether the holder of the certificate's key has signed a message of the handshake, by one of
/// the first `tries` algorithms that the scheme stands for.
pub(super) fn has_signed(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
    tries: usize,
) -> bool {
    let parsed = X509::parse(certificate);
    let Some((key_algorithm, key)) = parsed.and_then(|parsed| parsed.public_key()) else {
        return false;
    };
    let known = algorithms.mapping.iter();
    let mut of_scheme = known.filter(|(scheme, _)| *scheme == signed.scheme);
    of_scheme.any(|(_, algorithms)| {
        algorithms.iter().take(tries).any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm
                    .verify_signature(key, message, signed.signature())
                    .is_ok()
        })
    })
}
