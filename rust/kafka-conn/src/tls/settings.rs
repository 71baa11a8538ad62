//! Whom to trust and who to be.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ring::digest;
use rustls::crypto::{ring as provider, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroize;

use super::pem::Pem;
use super::verify::Verifier;
use crate::secret::Secret;

/// What [`TlsSettings`] are made of. The default trusts the system's certificate authorities and
/// has no client certificate.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificates to trust in addition to the system's.
    pub ca: Option<Pem>,
    /// Accept any certificate. The connection is then encrypted, but may be with anybody.
    pub skip_verify: bool,
    /// The client's certificate, followed by those that lead to its authority, for brokers that
    /// demand one.
    pub certificate: Option<Pem>,
    /// The key that belongs to `certificate`: PKCS#1, PKCS#8 or SEC1. `None` takes it from the
    /// same file as the certificate. What is held here is wiped; rustls and ring do not wipe what
    /// they make of a key.
    pub key: Option<Pem>,
    /// The password of a key in encrypted PKCS#8 form.
    pub key_password: Option<Secret>,
    /// The name or address that the broker's certificate has to have, and that brokers behind one
    /// address are told (SNI). `None` is the host that is connected to.
    pub server_name: Option<String>,
}

/// How connections are to be encrypted, for
/// [`Connection::set_tls`](crate::Connection::set_tls). Cheap to clone.
///
/// Connections whose settings have the same contents share the sessions that brokers let them
/// resume, so that only the first of them pays for a full handshake.
#[derive(Clone)]
pub struct TlsSettings {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: Option<Arc<str>>,
    /// Whether the broker's certificate is looked at.
    pub(super) verifies: bool,
}

/// Why [`TlsSettings`] cannot be made of their options. `Display` is the text for the error
/// handler and names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for TlsError {}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// Reads the PEM contents and, unless verification is skipped, the system's certificates.
    ///
    /// # Errors
    /// Something in the PEM files is missing, malformed or does not fit.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        if let Some(name) = &options.server_name {
            server_name(name).map_err(|reason| TlsError(format!("server name: {reason}")))?;
        }
        let fingerprint = Fingerprint::of(options);
        let config = match shared(fingerprint) {
            Some(config) => config,
            None => {
                let config = Arc::new(client_config(options)?);
                share(fingerprint, &config);
                config
            }
        };
        Ok(TlsSettings {
            config,
            server_name: options.server_name.as_deref().map(Arc::from),
            verifies: !options.skip_verify,
        })
    }
}

/// The name that a broker's certificate has to have.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    // The zone of a link-local IPv6 address means nothing to the peer.
    let bare = match bare.split_once('%') {
        Some((address, _)) if address.contains(':') => address,
        _ => bare,
    };
    ServerName::try_from(bare)
        .map(|name| name.to_owned())
        .map_err(|_| format!("not a host name or address: {}", host.escape_debug()))
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider::default_provider());
    let ca = options.ca.as_ref().map(certificates).transpose()?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(error.to_string()))?
        .dangerous();
    let verifier = match options.skip_verify {
        true => Verifier::anything(&provider),
        false => trust(ca.unwrap_or_default(), options.ca.as_ref(), provider)?,
    };
    let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
    Ok(match identity(options)? {
        Some(identity) => {
            let resolver = SingleCertAndKey::from(identity);
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
        None => builder.with_no_client_auth(),
    })
}

fn trust(
    ca: Vec<CertificateDer<'static>>,
    file: Option<&Pem>,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, TlsError> {
    let mut roots = RootCertStore::empty();
    // A certificate of the system that does not parse is none that anybody relies on.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    add_authorities(&mut roots, &ca, file.map_or("", |file| &file.name))?;
    Verifier::trusting(roots, ca, provider).map_err(|_| {
        TlsError("no CA certificates: the system has none and no CA file is given".into())
    })
}

/// Trusts what can be used of a CA file. Bundles of many authorities hold some that not every
/// library understands, which is no reason to do without the others.
fn add_authorities(
    roots: &mut RootCertStore,
    ca: &[CertificateDer<'static>],
    file: &str,
) -> Result<(), TlsError> {
    let mut unusable = None;
    let mut used = 0;
    for certificate in ca {
        match roots.add(certificate.clone()) {
            Ok(()) => used += 1,
            Err(error) => unusable = unusable.or(Some(error)),
        }
    }
    match unusable {
        Some(error) if used == 0 => {
            let reason = super::reason::text(&error);
            Err(TlsError(format!("CA file {file}: {reason}")))
        }
        _ => Ok(()),
    }
}

/// The client's certificate and key.
fn identity(options: &TlsOptions) -> Result<Option<CertifiedKey>, TlsError> {
    let file = match (&options.certificate, &options.key) {
        (None, None) => return Ok(None),
        (None, Some(key)) => {
            let name = &key.name;
            let text = format!("key file {name} without a client certificate");
            return Err(TlsError(text));
        }
        (Some(certificate), _) => certificate,
    };
    let chain = certificates(file)?;
    let password = options.key_password.as_ref();
    let mut der = super::key::private_key(options.key.as_ref().unwrap_or(file), password)
        .map_err(TlsError)?;
    let unfit = |error| {
        TlsError(format!(
            "client certificate {}: {}",
            file.name,
            unfit(&error)
        ))
    };
    let key = provider::sign::any_supported_type(&der);
    der.zeroize();
    let key = key.map_err(unfit)?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        // Version 1 of X.509, which `openssl x509 -req` still makes: rustls cannot look into it,
        // and brokers accept it.
        Err(error) if super::reason::is_old_certificate(&error) => {}
        fitting => fitting.map_err(unfit)?,
    }
    Ok(Some(identity))
}

fn certificates(file: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = super::pem::tidied(&file.contents);
    let text = super::traditional::without_keys(text.expose());
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError(format!("no certificate in {}", file.name))),
        Ok(found) => Ok(found),
        Err(error) => {
            let reason = super::pem::malformed(&error);
            Err(TlsError(format!("{}: {reason}", file.name)))
        }
    }
}

/// Why a certificate and a key cannot be used.
fn unfit(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the private key belongs to another one".into(),
        rustls::Error::General(text) => text.clone(),
        other => super::reason::text(other),
    }
}

/// Identifies the contents of options without keeping them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u8; digest::SHA256_OUTPUT_LEN]);

impl Fingerprint {
    fn of(options: &TlsOptions) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&[options.skip_verify.into()]);
        let files = [&options.ca, &options.certificate, &options.key];
        let files = files.map(|file| file.as_ref().map(|file| &file.contents));
        for contents in files.into_iter().chain([options.key_password.as_ref()]) {
            let contents = contents.map_or(&[][..], Secret::expose);
            context.update(&(contents.len() as u64).to_be_bytes());
            context.update(contents);
        }
        let mut fingerprint = [0; digest::SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Fingerprint(fingerprint)
    }
}

/// The configurations in use. Each holds the sessions that can be resumed; the last settings to
/// go take it with them.
static IN_USE: Mutex<Vec<(Fingerprint, Weak<ClientConfig>)>> = Mutex::new(Vec::new());

fn shared(fingerprint: Fingerprint) -> Option<Arc<ClientConfig>> {
    let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, config) = in_use.iter().find(|(known, _)| *known == fingerprint)?;
    config.upgrade()
}

fn share(fingerprint: Fingerprint, config: &Arc<ClientConfig>) {
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    in_use.retain(|(known, config)| *known != fingerprint && config.strong_count() > 0);
    in_use.push((fingerprint, Arc::downgrade(config)));
}
