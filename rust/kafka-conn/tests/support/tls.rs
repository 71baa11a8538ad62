//! Certificates, and a broker's TLS side in memory.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use kafka_conn::{Connection, Pem, Secret, TlsOptions, TlsSettings};
use rcgen::{
    date_time_ymd, BasicConstraints, Certificate, CertificateParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::ring::default_provider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::{Driver, HOST};

/// TLS 1.2 alone, and TLS 1.3 alone.
pub static EACH_VERSION: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

/// A certificate authority.
pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both in PEM (the key in PKCS#8).
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub fn with(name: &str, change: impl Fn(&mut CertificateParams)) -> Self {
        let params = Self::params(name, change);
        Self::made_of(params, |params, key| params.self_signed(key))
    }

    fn params(name: &str, change: impl Fn(&mut CertificateParams)) -> CertificateParams {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        params
    }

    /// An authority below this one.
    pub fn below(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Self {
        let params = Self::params(name, change);
        Self::made_of(params, |params, key| params.signed_by(key, &self.issuer))
    }

    fn made_of(
        params: CertificateParams,
        sign: impl Fn(&CertificateParams, &KeyPair) -> Result<Certificate, rcgen::Error>,
    ) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = sign(&params, &key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Authority {
            certificate,
            issuer,
        }
    }

    /// The authority of most tests.
    pub fn usual() -> &'static Self {
        static USUAL: OnceLock<Authority> = OnceLock::new();
        USUAL.get_or_init(|| Authority::new("usual authority"))
    }

    /// A certificate for these names and addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Identity {
        let names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What `openssl req -x509` makes: self-signed, and an authority.
pub fn self_signed(names: &[&str]) -> Identity {
    self_signed_with(names, |_| {})
}

pub fn self_signed_with(names: &[&str], change: impl Fn(&mut CertificateParams)) -> Identity {
    let names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    Identity {
        certificate: params.self_signed(&key).expect("a certificate").pem(),
        key: key.serialize_pem(),
    }
}

/// A period of validity that is over.
pub fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
}

/// A period of validity that has not begun.
pub fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2999, 1, 1);
    params.not_after = date_time_ymd(3000, 1, 1);
}

/// A file that openssl made and rcgen does not: keys in several forms, a certificate of X.509
/// version 1.
pub fn fixture(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/");
    std::fs::read_to_string(format!("{folder}{name}.pem")).expect("a file of the tests")
}

pub fn pem(name: &str, contents: &str) -> Pem {
    Pem {
        name: name.into(),
        contents: Secret::from(contents),
    }
}

/// Options that trust this authority.
pub fn trusting(ca: &str) -> TlsOptions {
    TlsOptions {
        ca: Some(pem("ca.pem", ca)),
        ..TlsOptions::default()
    }
}

pub fn settings(options: &TlsOptions) -> TlsSettings {
    TlsSettings::new(options).expect("good options")
}

/// What a broker's listener is set to.
pub struct Listener {
    pub identity: Identity,
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// The authority that a client's certificate has to come from.
    pub client_ca: Option<String>,
}

impl Listener {
    pub fn new(identity: Identity) -> Self {
        Listener {
            identity,
            versions: rustls::ALL_VERSIONS,
            client_ca: None,
        }
    }

    /// A broker whom everybody trusts who trusts the usual authority.
    pub fn usual() -> Self {
        Self::new(Authority::usual().issue(&[HOST]))
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .expect("versions");
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(ca));
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .expect("a verifier");
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes()).expect("a key");
        let chain = certificates(&self.identity.certificate);
        let key = any_supported_type(&key).expect("a key");
        let identity = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        Arc::new(builder.with_cert_resolver(Arc::new(identity)))
    }

    pub fn accept(&self) -> TlsPeer {
        TlsPeer::new(self.config())
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("certificates")
}

/// The broker's end of a connection.
pub struct TlsPeer {
    pub tls: ServerConnection,
    /// How much is moved at a time.
    pub step: usize,
    /// What the client said, decrypted.
    pub heard: Vec<u8>,
    /// Why the broker gave up.
    pub failure: Option<rustls::Error>,
}

impl TlsPeer {
    pub fn new(config: Arc<ServerConfig>) -> Self {
        let mut tls = ServerConnection::new(config).expect("a connection");
        tls.set_buffer_limit(None);
        TlsPeer {
            tls,
            step: usize::MAX,
            heard: Vec::new(),
            failure: None,
        }
    }

    /// Encrypts what the broker says.
    pub fn say(&mut self, plaintext: &[u8]) {
        self.tls.writer().write_all(plaintext).expect("room");
    }

    /// Moves bytes both ways until there are none left.
    pub fn exchange(&mut self, driver: &mut Driver) {
        loop {
            let up = driver.take_sent();
            let down = self.take();
            if up.is_empty() && down.is_empty() {
                return;
            }
            up.chunks(self.step).for_each(|bytes| self.hear(bytes));
            down.chunks(self.step.min(1 << 20))
                .for_each(|bytes| driver.feed(bytes));
        }
    }

    /// What the broker has to send, encrypted.
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("a Vec takes all");
        }
        bytes
    }

    pub fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.failure.is_none() {
            self.tls.read_tls(&mut bytes).expect("room");
            match self.tls.process_new_packets() {
                Ok(state) => {
                    let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
                    self.tls
                        .reader()
                        .read_exact(&mut plaintext)
                        .expect("so many");
                    self.heard.extend(plaintext);
                }
                Err(error) => self.failure = Some(error),
            }
        }
    }
}

/// Connects to `host` by TLS as far as the handshake gets.
pub fn connect(driver: &mut Driver, settings: Option<TlsSettings>, host: &str, peer: &mut TlsPeer) {
    let conn: &mut Connection = &mut driver.conn;
    conn.set_tls(settings);
    conn.connect(host, 9093, Some(super::TIMEOUT), driver.now);
    while let Some(event) = driver.conn.poll_event() {
        assert!(matches!(event, kafka_conn::Event::Dial { .. }), "{event:?}");
    }
    driver.conn.handle_dialed(driver.now);
    peer.exchange(driver);
}
