//! Which certificates of a broker are accepted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_name, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{
    verify_tls12_signature, verify_tls13_signature, CryptoProvider, WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::reason;

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
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let policy = Policy::Trusted { webpki, ca };
        Ok(Verifier { policy, algorithms })
    }

    /// Trusts anybody.
    pub(super) fn anything(provider: &CryptoProvider) -> Self {
        Verifier {
            policy: Policy::Anything,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// A certificate of X.509 version 1 is not looked into; any that is accepted unseen proves as
    /// little.
    fn accept_old_certificate(
        &self,
        verified: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match (&self.policy, verified) {
            (Policy::Anything, Err(error)) if reason::is_old_certificate(&error) => {
                Ok(HandshakeSignatureValid::assertion())
            }
            (_, verified) => verified,
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
        let Policy::Trusted { webpki, ca } = &self.policy else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The period of validity has been checked by then.
            Err(error) if reason::is_authority(&error) && ca.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
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
        self.accept_old_certificate(verified)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = verify_tls13_signature(message, certificate, signature, &self.algorithms);
        self.accept_old_certificate(verified)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
