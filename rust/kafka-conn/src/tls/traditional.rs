//! Keys behind a password in OpenSSL's older form: PEM whose first lines say how what follows is
//! encrypted (RFC 1421, section 4.6). `openssl ec -aes256` and older tools write it.

use std::borrow::Cow;
use std::ops::Range;

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use cbc::Decryptor;
use des::TdesEde3;
use md5::{Digest, Md5};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::der::{Der, INTEGER, SEQUENCE};
use super::pem::{bytes_of, find};
use crate::secret::Secret;

/// What is wrong with a key, after what names it.
pub(super) const WRONG_PASSWORD: &str = "cannot be decrypted: the tls_key_password is wrong";

/// The line that says that what follows is encrypted, and the one that says how.
const PROC_TYPE: &[u8] = b"Proc-Type: 4,ENCRYPTED";
const DEK_INFO: &[u8] = b"DEK-Info: ";
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
/// How many bytes of the initialisation vector also salt the password.
const SALT: usize = 8;
/// The longest key, and the longest initialisation vector, in bytes.
const MAX_KEY: usize = 32;
const MAX_IV: usize = 16;

/// The text without such keys: who looks for certificates in it would take them for malformed.
pub(super) fn without_keys(text: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Cow::Borrowed(text);
    while let Some(range) = Key::find(&text).map(|key| key.range) {
        text = Cow::Owned([&text[..range.start], &text[range.end..]].concat());
    }
    text
}

/// An encrypted key in a file.
pub(super) struct Key<'a> {
    /// Where it stands in the text, up to its END.
    range: Range<usize>,
    /// What stands after BEGIN.
    label: &'a [u8],
    /// The lines between BEGIN and END.
    lines: &'a [u8],
}

impl<'a> Key<'a> {
    /// The first key of this form.
    pub(super) fn find(text: &'a [u8]) -> Option<Self> {
        let proc_type = find(text, PROC_TYPE)?;
        let before = &text[..proc_type];
        let begin = before.windows(BEGIN.len()).rposition(|at| at == BEGIN)?;
        let label = &before[begin + BEGIN.len()..];
        let lines = &text[proc_type + PROC_TYPE.len()..];
        let end = find(lines, END).unwrap_or(lines.len());
        Some(Key {
            range: begin..proc_type + PROC_TYPE.len() + end,
            label: label.strip_suffix(b"\n").unwrap_or(label).trim_ascii_end(),
            lines: &lines[..end],
        })
    }

    /// The key itself; why it cannot be had.
    pub(super) fn decrypted(&self, password: &Secret) -> Result<PrivateKeyDer<'static>, String> {
        let (method, iv, lines) = self
            .parts()
            .ok_or("is malformed PEM: it does not say how it is encrypted")?;
        let decrypt = match method {
            b"AES-128-CBC" => decrypt::<Aes128>,
            b"AES-192-CBC" => decrypt::<Aes192>,
            b"AES-256-CBC" => decrypt::<Aes256>,
            b"DES-EDE3-CBC" => decrypt::<TdesEde3>,
            other => {
                let method = String::from_utf8_lossy(other);
                return Err(format!(
                    "is encrypted by {}, which is not known here: write it anew by \
                     openssl pkcs8 -topk8 -v2 aes256",
                    method.escape_debug()
                ));
            }
        };
        let mut bytes = bytes_of(lines)?;
        let key = decrypt(password.expose(), &iv, &mut bytes).filter(|key| is_key(key));
        let key = key.ok_or(WRONG_PASSWORD)?.to_vec();
        Ok(match self.label {
            b"EC PRIVATE KEY-----" => PrivateSec1KeyDer::from(key).into(),
            _ => PrivatePkcs1KeyDer::from(key).into(),
        })
    }

    /// The method, the initialisation vector, and what is encrypted.
    fn parts(&self) -> Option<(&'a [u8], Vec<u8>, &'a [u8])> {
        let info = &self.lines[find(self.lines, DEK_INFO)? + DEK_INFO.len()..];
        let end = info.iter().position(|&byte| byte == b'\n')?;
        let (line, rest) = info.split_at(end);
        let comma = line.iter().position(|&byte| byte == b',')?;
        let (method, iv) = (&line[..comma], line[comma + 1..].trim_ascii());
        (iv.len() <= 2 * MAX_IV).then_some(())?;
        Some((method, bytes_of_hex(iv)?, rest))
    }
}

fn bytes_of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let pairs = text.chunks(2).map(|pair| {
        let digits = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    pairs.collect()
}

/// Whether this has the beginning of a key: a sequence whose first element is a number. A wrong
/// password makes anything else.
fn is_key(bytes: &[u8]) -> bool {
    let contents = Der(bytes).expect(SEQUENCE);
    contents.is_some_and(|contents| Der(contents).expect(INTEGER).is_some())
}

/// Decrypts in place.
fn decrypt<'a, C>(password: &[u8], iv: &[u8], bytes: &'a mut [u8]) -> Option<&'a [u8]>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let key = derived(password, iv.get(..SALT)?);
    let cipher = Decryptor::<C>::new_from_slices(&key[..C::key_size()], iv).ok()?;
    cipher.decrypt_padded::<Pkcs7>(bytes).ok()
}

/// OpenSSL's EVP_BytesToKey with MD5 and one round.
fn derived(password: &[u8], salt: &[u8]) -> Zeroizing<[u8; MAX_KEY]> {
    let mut key = Zeroizing::new([0; MAX_KEY]);
    let mut filled = 0;
    while filled < MAX_KEY {
        let mut hash = Md5::new();
        hash.update(&key[filled.saturating_sub(16)..filled]);
        hash.update(password);
        hash.update(salt);
        key[filled..filled + 16].copy_from_slice(&hash.finalize());
        filled += 16;
    }
    key
}
