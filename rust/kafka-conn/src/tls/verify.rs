//! Which certificates of a broker are accepted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_name, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{
    verify_tls12_signature, verify_tls13_signature, CryptoProvider, WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{common_name, reason, version_1};

/// What a certificate has to be for, and whose key its holder must have.
#[derive(Debug)]
pub(super) struct Verifier {
    policy: Policy,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Policy {
    /// As WebPKI has it, and as well a certificate that is itself in the CA file.
    ///
    /// Such a certificate, self-signed and marked as an authority (what `openssl req -x509`
    /// makes), is how many a broker runs on a developer's machine; OpenSSL accepts it.
    Trusted {
        webpki: Arc<WebPkiServerVerifier>,
        roots: Arc<RootCertStore>,
        /// What the CA file holds.
        ca: Vec<CertificateDer<'static>>,
    },
    /// Any certificate; the peer still has to have its key, where that can be told.
    Anything,
}

impl Verifier {
    /// Trusts these authorities, and the certificates of the CA file themselves.
    pub(super) fn trusting(
        roots: RootCertStore,
        ca: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let algorithms = provider.signature_verification_algorithms;
        let roots = Arc::new(roots);
        let webpki =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider).build()?;
        let policy = Policy::Trusted { webpki, roots, ca };
        Ok(Verifier { policy, algorithms })
    }

    /// Trusts anybody.
    pub(super) fn anything(provider: &CryptoProvider) -> Self {
        Verifier {
            policy: Policy::Anything,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Looks into a certificate of X.509 version 1, where webpki would not.
    fn verify_handshake(
        &self,
        verified: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        tries: usize,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verified {
            Err(error) if reason::is_old_certificate(&error) => {
                let algorithms = &self.algorithms;
                match version_1::has_signed(message, certificate, signature, algorithms, tries) {
                    true => Ok(HandshakeSignatureValid::assertion()),
                    false => Err(CertificateError::BadSignature.into()),
                }
            }
            verified => verified,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Policy::Trusted { webpki, roots, ca } = &self.policy else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = match verified {
            // The period of validity has been checked by then.
            Err(error) if reason::is_authority(&error) && ca.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
                    .map(|()| ServerCertVerified::assertion())
            }
            Err(error) if reason::is_old_certificate(&error) => {
                let (roots, algorithms) = (&roots.roots, &self.algorithms);
                return version_1::verify(end_entity, roots, server_name, now, algorithms)
                    .map(|()| ServerCertVerified::assertion())
                    .map_err(Error::from);
            }
            verified => verified,
        };
        match verified {
            // The name comes last: everything else has been checked by then.
            Err(error) if reason::is_name_mismatch(&error) => {
                if !common_name::names(end_entity, server_name) {
                    return Err(otherwise_named(error, end_entity, server_name));
                }
                match common_name::is_constrained(end_entity, intermediates, &roots.roots) {
                    false => Ok(ServerCertVerified::assertion()),
                    true => Err(error),
                }
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = verify_tls12_signature(message, certificate, signature, &self.algorithms);
        self.verify_handshake(verified, message, certificate, signature, usize::MAX)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = verify_tls13_signature(message, certificate, signature, &self.algorithms);
        // There a scheme stands for one algorithm.
        self.verify_handshake(verified, message, certificate, signature, 1)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A name mismatch that tells of the common names where there is nothing else to tell of.
fn otherwise_named(
    error: Error,
    certificate: &CertificateDer<'_>,
    expected: &ServerName<'_>,
) -> Error {
    match common_name::all(certificate) {
        names if names.is_empty() => error,
        presented => Error::from(CertificateError::NotValidForNameContext {
            expected: expected.to_owned(),
            presented,
        }),
    }
}
