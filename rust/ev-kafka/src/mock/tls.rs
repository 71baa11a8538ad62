//! The TLS side of a mock cluster: certificates of its own, or given ones, and one connection's encryption.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use kafka_mock::FrameReader;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

/// Names and addresses that a certificate of our own is for: all by which a broker may be asked for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What brokers are to prove and to demand, in PEM.
#[derive(Default)]
pub(super) struct TlsGiven {
    /// The brokers' certificate, followed by those that lead to its authority, and its key; without them the
    /// cluster makes its own.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Whose certificates clients must have.
    pub client_ca: Option<Vec<u8>>,
    /// Whether they must have one of the cluster's own authority.
    pub client_auth: bool,
}

/// How a cluster's connections are encrypted.
pub(super) struct Tls {
    config: Arc<ServerConfig>,
    authority: Option<Authority>,
}

impl Tls {
    /// # Errors
    /// What is given is no certificate, no key, or does not fit.
    pub fn new(given: &TlsGiven) -> Result<Tls, String> {
        let authority = match given.identity {
            Some(_) => None,
            None => Some(Authority::new().map_err(|error| error.to_string())?),
        };
        let (chain, key) = match (&given.identity, &authority) {
            (Some((chain, key)), _) => (certificates(chain)?, private_key(key)?),
            (None, Some(authority)) => authority.issue("broker", &NAMES)?,
            (None, None) => return Err("no certificate".into()),
        };
        let clients_of = match (&given.client_ca, &authority) {
            (Some(pem), _) => certificates(pem)?,
            (None, Some(authority)) if given.client_auth => vec![authority.certificate.clone()],
            (None, None) if given.client_auth => {
                return Err("tls_client_auth needs tls_client_ca_file beside tls_cert_file".into())
            }
            (None, _) => Vec::new(),
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match clients_of.is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(clients_of);
                let provider = Arc::new(default_provider());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, key);
        Ok(Tls {
            config: Arc::new(config.map_err(|error| error.to_string())?),
            authority,
        })
    }

    /// The authority that clients have to trust, where it is our own.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }
}

/// A certificate authority of a cluster's own.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Result<Authority, rcgen::Error> {
        let mut params = CertificateParams::new([])?;
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "EV::Kafka::Mock");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Authority {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// Its certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// A certificate for a name, in DER, and its key in PKCS#8, for a client.
    pub fn client(&self, name: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
        let (chain, key) = self.issue(name, &[])?;
        let certificate = chain.into_iter().next().ok_or("no certificate")?;
        Ok((certificate.to_vec(), key.secret_der().to_vec()))
    }

    fn issue(&self, common_name: &str, names: &[&str]) -> Result<Credentials, String> {
        let issued = || -> Result<Credentials, rcgen::Error> {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            let mut params = CertificateParams::new(names)?;
            let name = &mut params.distinguished_name;
            name.push(DnType::CommonName, common_name);
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
            Ok((vec![certificate], key.into()))
        };
        issued().map_err(|error| error.to_string())
    }
}

type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("no certificate in the PEM text".into()),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "no private key in the PEM text".into())
}

/// The encryption of one connection.
pub(super) struct Encryption(ServerConnection);

impl Encryption {
    /// # Errors
    /// The configuration does not do for any connection.
    pub fn new(tls: &Tls) -> Result<Encryption, rustls::Error> {
        let mut connection = ServerConnection::new(Arc::clone(&tls.config))?;
        // What the cluster answers has no bounds of its own either.
        connection.set_buffer_limit(None);
        Ok(Encryption(connection))
    }

    /// Takes ciphertext; what is in it goes to `frames`.
    pub fn decrypt(&mut self, mut data: &[u8], frames: &mut FrameReader) -> Result<(), String> {
        let mut plaintext = Vec::new();
        while !data.is_empty() {
            self.0
                .read_tls(&mut data)
                .map_err(|error| error.to_string())?;
            let state = self
                .0
                .process_new_packets()
                .map_err(|error| error.to_string())?;
            plaintext.resize(state.plaintext_bytes_to_read(), 0);
            self.0
                .reader()
                .read_exact(&mut plaintext)
                .map_err(|error| error.to_string())?;
            frames.push(&plaintext);
            if state.peer_has_closed() {
                return Err("closed by the client".into());
            }
        }
        Ok(())
    }

    pub fn encrypt(&mut self, data: &[u8]) {
        // Without a limit it takes everything.
        let _ = self.0.writer().write_all(data);
    }

    /// Says that nothing follows.
    pub fn end(&mut self) {
        self.0.send_close_notify();
    }

    /// What is to be written to the socket.
    pub fn outgoing(&mut self) -> Bytes {
        let mut records = Vec::new();
        while self.0.wants_write() {
            if !matches!(self.0.write_tls(&mut records), Ok(1..)) {
                break;
            }
        }
        records.into()
    }
}
