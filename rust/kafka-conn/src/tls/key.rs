//! Private keys, some of them behind a password.

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::der::{Der, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};
use super::pem::{bytes_of, find, Pem};
use super::traditional::{self, WRONG_PASSWORD};
use crate::secret::Secret;

/// The section of a key in encrypted PKCS#8 form (RFC 7468, section 11).
const ENCRYPTED_BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";

/// The first private key in the file; why there is none that can be used.
pub(super) fn private_key(
    file: &Pem,
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, String> {
    let text = super::pem::tidied(&file.contents);
    let (text, name) = (text.expose(), &file.name);
    let of_key = |reason: &str| format!("the private key in {name} {reason}");
    let needed = || password.ok_or_else(|| of_key(NO_PASSWORD));
    if let Some(key) = traditional::Key::find(text) {
        return key.decrypted(needed()?).map_err(|reason| of_key(&reason));
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Err(Error::NoItemsFound) => match encrypted(text) {
            None => Err(format!("no private key in {name}")),
            Some(section) => decrypted(section, needed()?).map_err(of_key),
        },
        found => found.map_err(|error| format!("{name}: {}", super::pem::malformed(&error))),
    }
}

/// What is between the markers of an encrypted key.
fn encrypted(text: &[u8]) -> Option<&[u8]> {
    let start = find(text, ENCRYPTED_BEGIN)? + ENCRYPTED_BEGIN.len();
    let rest = &text[start..];
    Some(&rest[..find(rest, ENCRYPTED_END).unwrap_or(rest.len())])
}

fn decrypted(section: &[u8], password: &Secret) -> Result<PrivateKeyDer<'static>, &'static str> {
    let der = bytes_of(section)?;
    let encrypted =
        EncryptedPrivateKeyInfoRef::try_from(&der[..]).map_err(|error| unreadable(&error, &der))?;
    let key = encrypted
        .decrypt(password.expose())
        .map_err(|error| match error {
            // A wrong password makes garbage, which may even look like a key's beginning.
            pkcs8::Error::Asn1(_) => WRONG_PASSWORD,
            error => unreadable(&error, &der),
        })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// What is wrong with a key, after what names it.
const NO_PASSWORD: &str = "is encrypted, and no tls_key_password is given";

/// Why an encrypted key is of no use.
fn unreadable(error: &pkcs8::Error, der: &[u8]) -> &'static str {
    const UNKNOWN_METHOD: &str = "is encrypted by a method that is not known here: write it anew \
        by openssl pkcs8 -topk8 -v2 aes256";
    match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) => WRONG_PASSWORD,
        pkcs8::Error::EncryptedPrivateKey(_) => UNKNOWN_METHOD,
        _ if names_a_method(der) => UNKNOWN_METHOD,
        _ => "is malformed: not an encrypted PKCS#8 key",
    }
}

/// Whether this has the form of an EncryptedPrivateKeyInfo (RFC 5958, section 3).
fn names_a_method(der: &[u8]) -> bool {
    let parts = || {
        let mut info = Der(Der(der).expect(SEQUENCE)?);
        Der(info.expect(SEQUENCE)?).expect(OBJECT_IDENTIFIER)?;
        info.expect(OCTET_STRING)
    };
    parts().is_some()
}
